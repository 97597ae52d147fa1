"""Global context (GCNet, arXiv:1904.11492): pooled features, added to the map or scaling it."""

from typing import Any

import torch
from torch import nn

from ..mlp.mlp import ConvMlp
from ..names import LayerType
from ..norm.norms import LayerNorm2d
from .squeeze_excite import create_gate, reduced_channels, squeeze


class GlobalContext(nn.Module):
    """Global context block.

    Args:
        channels: C of the input.
        use_attn: pool by learned attention over positions; the mean otherwise.
        fuse_add: add the transformed context to the map.
        fuse_scale: scale the map by the gated, transformed context.
        init_last_zero: start the added branch at zero.
        rd_ratio: width of the transform as a share of C.
        rd_channels: width of the transform, which then decides instead of `rd_ratio`.
        rd_divisor: the width is rounded to a multiple of it.
        act_layer: activation of the transform.
        gate_layer: activation that gates.
        device: where the parameters live.
        dtype: type of the parameters.
    """

    def __init__(
        self,
        channels: int,
        use_attn: bool = True,
        fuse_add: bool = False,
        fuse_scale: bool = True,
        init_last_zero: bool = False,
        rd_ratio: float = 1.0 / 8,
        rd_channels: int | None = None,
        rd_divisor: int = 1,
        act_layer: LayerType = nn.ReLU,
        gate_layer: LayerType = "sigmoid",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        factory: dict[str, Any] = dict(device=device, dtype=dtype)
        width = reduced_channels(channels, rd_ratio, rd_channels, rd_divisor)
        options: dict[str, Any] = factory | dict(act_layer=act_layer, norm_layer=LayerNorm2d)
        self.init_last_zero = init_last_zero
        self.conv_attn = nn.Conv2d(channels, 1, 1, **factory) if use_attn else None
        self.mlp_add = ConvMlp(channels, width, **options) if fuse_add else None
        self.mlp_scale = ConvMlp(channels, width, **options) if fuse_scale else None
        self.gate = create_gate(gate_layer)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialize what the block does not leave to its parts."""
        if self.conv_attn is not None:
            nn.init.kaiming_normal_(self.conv_attn.weight, mode="fan_in", nonlinearity="relu")
        if self.mlp_add is not None and self.init_last_zero:
            nn.init.zeros_(self.mlp_add.fc2.weight)

    def context(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> (B, C, 1, 1)."""
        if self.conv_attn is None:
            return squeeze(x)
        attn = self.conv_attn(x).flatten(2).softmax(-1)  # (B, 1, H * W)
        return (x.flatten(2) @ attn.transpose(1, 2))[..., None]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (B, C, H, W). Returns: the same shape."""
        context = self.context(x)
        if self.mlp_scale is not None:
            x = x * self.gate(self.mlp_scale(context))
        return x if self.mlp_add is None else x + self.mlp_add(context)
