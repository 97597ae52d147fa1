"""Convolutional block attention (CBAM, arXiv:1807.06521): gates per channel, then per position."""

from typing import Any

import torch
from torch import nn

from ..act.activations import create_act_layer
from ..conv.conv import ConvNormAct
from ..names import LayerType
from .squeeze_excite import create_gate, reduced_channels, squeeze


class ChannelAttn(nn.Module):
    """Gate per channel: one MLP, applied to the mean and to the maximum, its outputs added.

    Args:
        channels: C of the input.
        rd_ratio: width of the MLP as a share of C.
        rd_channels: width of the MLP, which then decides instead of `rd_ratio`.
        rd_divisor: the width is rounded to a multiple of it.
        act_layer: activation in the MLP.
        gate_layer: activation that gates.
        mlp_bias: bias of both layers.
        device: where the parameters live.
        dtype: type of the parameters.
    """

    def __init__(
        self,
        channels: int,
        rd_ratio: float = 1.0 / 16,
        rd_channels: int | None = None,
        rd_divisor: int = 1,
        act_layer: LayerType = nn.ReLU,
        gate_layer: LayerType = "sigmoid",
        mlp_bias: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        options: dict[str, Any] = dict(bias=mlp_bias, device=device, dtype=dtype)
        width = reduced_channels(channels, rd_ratio, rd_channels, rd_divisor)
        self.fc1 = nn.Conv2d(channels, width, 1, **options)
        self.act = create_act_layer(act_layer, inplace=True) or nn.Identity()
        self.fc2 = nn.Conv2d(width, channels, 1, **options)
        self.gate = create_gate(gate_layer)

    def mlp(self, pooled: torch.Tensor) -> torch.Tensor:
        """(B, C, 1, 1) -> (B, C, 1, 1)."""
        return self.fc2(self.act(self.fc1(pooled)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (B, C, H, W). Returns: the same shape."""
        return x * self.gate(self.mlp(squeeze(x)) + self.mlp(x.amax((2, 3), keepdim=True)))


class LightChannelAttn(ChannelAttn):
    """`ChannelAttn` with mean and maximum averaged before the MLP instead of added after it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (B, C, H, W). Returns: the same shape."""
        return x * self.gate(self.mlp(squeeze(x, add_maxpool=True)))


class SpatialAttn(nn.Module):
    """Gate per position: a convolution over the mean and the maximum of the channels.

    Args:
        kernel_size: of the convolution.
        gate_layer: activation that gates.
        device: where the parameters live.
        dtype: type of the parameters.
    """

    num_maps = 2  # what `pool` returns

    def __init__(
        self,
        kernel_size: int = 7,
        gate_layer: LayerType = "sigmoid",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        options: dict[str, Any] = dict(apply_act=False, device=device, dtype=dtype)
        self.conv = ConvNormAct(self.num_maps, 1, kernel_size, **options)
        self.gate = create_gate(gate_layer)

    def pool(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> (B, 2, H, W)."""
        return torch.cat((x.mean(1, keepdim=True), x.amax(1, keepdim=True)), dim=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (B, C, H, W). Returns: the same shape."""
        return x * self.gate(self.conv(self.pool(x)))


class LightSpatialAttn(SpatialAttn):
    """`SpatialAttn` on the average of mean and maximum."""

    num_maps = 1

    def pool(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> (B, 1, H, W)."""
        return 0.5 * (x.mean(1, keepdim=True) + x.amax(1, keepdim=True))


class CbamModule(nn.Module):
    """`ChannelAttn`, then `SpatialAttn`.

    Args:
        channels: C of the input.
        rd_ratio: see `ChannelAttn`.
        rd_channels: see `ChannelAttn`.
        rd_divisor: see `ChannelAttn`.
        spatial_kernel_size: kernel of `SpatialAttn`.
        act_layer: activation in the MLP.
        gate_layer: activation that gates, of both.
        mlp_bias: bias of the MLP.
        device: where the parameters live.
        dtype: type of the parameters.
    """

    light = False

    def __init__(
        self,
        channels: int,
        rd_ratio: float = 1.0 / 16,
        rd_channels: int | None = None,
        rd_divisor: int = 1,
        spatial_kernel_size: int = 7,
        act_layer: LayerType = nn.ReLU,
        gate_layer: LayerType = "sigmoid",
        mlp_bias: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        factory: dict[str, Any] = dict(device=device, dtype=dtype)
        mlp = rd_ratio, rd_channels, rd_divisor, act_layer, gate_layer, mlp_bias
        channel, spatial = (
            (LightChannelAttn, LightSpatialAttn) if self.light else (ChannelAttn, SpatialAttn)
        )
        self.channel = channel(channels, *mlp, **factory)
        # timm's light kind gates positions by a sigmoid whatever `gate_layer` says.
        gate = "sigmoid" if self.light else gate_layer
        self.spatial = spatial(spatial_kernel_size, gate, **factory)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (B, C, H, W). Returns: the same shape."""
        return self.spatial(self.channel(x))


class LightCbamModule(CbamModule):
    """`CbamModule` of the two light kinds; `gate_layer` is that of the channels only."""

    light = True
