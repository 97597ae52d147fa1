"""Squeeze-and-excitation: a gate per channel from the pooled map."""

from typing import Any

import torch
from torch import nn

from ..act.activations import create_act_layer
from ..names import LayerFactory, LayerType
from ..tuples import make_divisible


def create_gate(layer: LayerType) -> nn.Module:
    """The activation that turns numbers into gates."""
    return create_act_layer(layer) or nn.Identity()


def reduced_channels(channels: int, rd_ratio: float, rd_channels: int | None, divisor: int) -> int:
    """Width of the bottleneck: `rd_channels` if given, else a share of `channels`, rounded."""
    return rd_channels or make_divisible(channels * rd_ratio, divisor, round_limit=0.0)


def squeeze(x: torch.Tensor, add_maxpool: bool = False) -> torch.Tensor:
    """(B, C, H, W) -> (B, C, 1, 1): the mean, or half of it plus half of the maximum."""
    mean = x.mean((2, 3), keepdim=True)
    return (mean + x.amax((2, 3), keepdim=True)) / 2 if add_maxpool else mean


class SEModule(nn.Module):
    """Squeeze-and-excitation (arXiv:1709.01507): `x * gate(fc2(act(fc1(mean(x)))))`.

    Args:
        channels: C of the input.
        rd_ratio: width of the bottleneck as a share of C.
        rd_channels: width of the bottleneck, which then decides instead of `rd_ratio`.
        rd_divisor: the width is rounded to a multiple of it.
        add_maxpool: squeeze by half mean, half maximum.
        bias: of both layers.
        act_layer: activation in the bottleneck.
        norm_layer: class or partial of a norm in the bottleneck; none if not given.
        gate_layer: activation that gates.
        device: where the parameters live.
        dtype: type of the parameters.
    """

    def __init__(
        self,
        channels: int,
        rd_ratio: float = 1.0 / 16,
        rd_channels: int | None = None,
        rd_divisor: int = 8,
        add_maxpool: bool = False,
        bias: bool = True,
        act_layer: LayerType = nn.ReLU,
        norm_layer: LayerFactory | None = None,
        gate_layer: LayerType = "sigmoid",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        factory: dict[str, Any] = dict(device=device, dtype=dtype)
        width = reduced_channels(channels, rd_ratio, rd_channels, rd_divisor)
        self.add_maxpool = add_maxpool
        self.fc1 = nn.Conv2d(channels, width, 1, bias=bias, **factory)
        self.bn = nn.Identity() if norm_layer is None else norm_layer(width, **factory)
        self.act = create_act_layer(act_layer, inplace=True) or nn.Identity()
        self.fc2 = nn.Conv2d(width, channels, 1, bias=bias, **factory)
        self.gate = create_gate(gate_layer)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (B, C, H, W). Returns: the same shape."""
        weight = self.act(self.bn(self.fc1(squeeze(x, self.add_maxpool))))  # (B, width, 1, 1)
        return x * self.gate(self.fc2(weight))


class EffectiveSEModule(nn.Module):
    """Squeeze-and-excitation without bottleneck (CenterMask, arXiv:1911.06667).

    Args:
        channels: C of the input.
        add_maxpool: squeeze by half mean, half maximum.
        gate_layer: activation that gates.
        device: where the parameters live.
        dtype: type of the parameters.
        **_: the reduction keywords that networks give every attention, without effect here.
    """

    def __init__(
        self,
        channels: int,
        add_maxpool: bool = False,
        gate_layer: LayerType = "hard_sigmoid",
        device: Any = None,
        dtype: Any = None,
        **_: Any,
    ) -> None:
        super().__init__()
        self.add_maxpool = add_maxpool
        self.fc = nn.Conv2d(channels, channels, 1, device=device, dtype=dtype)
        self.gate = create_gate(gate_layer)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (B, C, H, W). Returns: the same shape."""
        return x * self.gate(self.fc(squeeze(x, self.add_maxpool)))


SqueezeExcite = SEModule
EffectiveSqueezeExcite = EffectiveSEModule
