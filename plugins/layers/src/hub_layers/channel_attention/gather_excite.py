"""Gather-excite: a gate per channel and region (arXiv:1810.12348)."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ..act.activations import create_act_layer
from ..conv.conv import create_conv2d
from ..mlp.mlp import ConvMlp
from ..names import LayerFactory, LayerType
from .squeeze_excite import create_gate, reduced_channels, squeeze


class GatherExcite(nn.Module):
    """Gather over an extent, then excite.

    Args:
        channels: C of the input.
        feat_size: H and W of the map, for the learned gather over all of it.
        extra_params: gather by depthwise convolutions instead of pooling.
        extent: side of the region that is gathered; 0 for the whole map.
        use_mlp: excite through a bottleneck.
        rd_ratio: width of the bottleneck as a share of C.
        rd_channels: width of the bottleneck, which then decides instead of `rd_ratio`.
        rd_divisor: the width is rounded to a multiple of it.
        add_maxpool: pool by half mean, half maximum.
        act_layer: activation in gather and bottleneck.
        norm_layer: class or partial of the norm in the learned gather; None for none.
        gate_layer: activation that gates.
        device: where the parameters live.
        dtype: type of the parameters.

    Raises:
        ValueError: a learned gather over the whole map without `feat_size`, or over an extent that
            is no power of 2.
    """

    def __init__(
        self,
        channels: int,
        feat_size: tuple[int, int] | None = None,
        extra_params: bool = False,
        extent: int = 0,
        use_mlp: bool = True,
        rd_ratio: float = 1.0 / 16,
        rd_channels: int | None = None,
        rd_divisor: int = 1,
        add_maxpool: bool = False,
        act_layer: LayerType = nn.ReLU,
        norm_layer: LayerFactory | None = nn.BatchNorm2d,
        gate_layer: LayerType = "sigmoid",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        factory: dict[str, Any] = dict(device=device, dtype=dtype)
        self.extent = extent
        self.add_maxpool = add_maxpool
        self.gather: nn.Sequential | None = None
        if extra_params:
            steps = _gather_steps(feat_size, extent)
            self.gather = _create_gather(channels, steps, norm_layer, act_layer, **factory)
        width = reduced_channels(channels, rd_ratio, rd_channels, rd_divisor)
        mlp: dict[str, Any] = factory | dict(act_layer=act_layer)
        self.mlp = ConvMlp(channels, width, **mlp) if use_mlp else nn.Identity()
        self.gate = create_gate(gate_layer)

    def pool(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> (B, C, H / extent, W / extent), or (B, C, 1, 1) for extent 0."""
        if self.extent == 0:
            return squeeze(x, self.add_maxpool)
        side, pad = 2 * self.extent - 1, self.extent - 1
        mean = F.avg_pool2d(x, side, self.extent, pad, count_include_pad=False)
        if not self.add_maxpool:
            return mean
        return 0.5 * (mean + F.max_pool2d(x, side, self.extent, pad))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (B, C, H, W). Returns: the same shape."""
        gathered = self.mlp(self.pool(x) if self.gather is None else self.gather(x))
        if gathered.shape[-2:] != x.shape[-2:]:
            gathered = F.interpolate(gathered, size=x.shape[-2:])
        return x * self.gate(gathered)


def _gather_steps(feat_size: tuple[int, int] | None, extent: int) -> list[dict[str, Any]]:
    """Kernel and stride of each depthwise convolution of the learned gather."""
    if extent == 0:
        if feat_size is None:
            raise ValueError("extra_params=True with extent=0 spans the map: give its feat_size")
        return [dict(kernel_size=tuple(feat_size), stride=1)]
    if extent < 2 or extent & (extent - 1):
        raise ValueError(f"extent={extent}: a learned gather halves the map, give 2, 4, 8, ...")
    return [dict(kernel_size=3, stride=2)] * int(math.log2(extent))


def _create_gather(
    channels: int,
    steps: list[dict[str, Any]],
    norm_layer: LayerFactory | None,
    act_layer: LayerType,
    **factory: Any,
) -> nn.Sequential:
    gather = nn.Sequential()
    for i, step in enumerate(steps, start=1):
        conv = create_conv2d(channels, channels, depthwise=True, **step, **factory)
        gather.add_module(f"conv{i}", conv)
        if norm_layer is not None:
            gather.add_module(f"norm{i}", norm_layer(channels, **factory))
        if i < len(steps):
            act = create_act_layer(act_layer, inplace=True) or nn.Identity()
            gather.add_module(f"act{i}", act)
    return gather
