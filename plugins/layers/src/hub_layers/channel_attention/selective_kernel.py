"""Selective kernels (SKNet, arXiv:1903.06586): paths of several kernels, weighted per channel."""

from typing import Any

import torch
from torch import nn

from ..act.activations import create_act_layer
from ..conv.conv import ConvNormAct
from ..names import LayerFactory, LayerType
from ..norm.norms import create_norm_layer
from ..tuples import make_divisible


class SelectiveKernelAttn(nn.Module):
    """Weights of the paths, from their sum pooled over all positions.

    Args:
        channels: C of a path.
        num_paths: P.
        attn_channels: width between the two layers.
        act_layer: activation by name, class or partial.
        norm_layer: norm likewise.
    """

    def __init__(
        self,
        channels: int,
        num_paths: int = 2,
        attn_channels: int = 32,
        act_layer: LayerType = nn.ReLU,
        norm_layer: LayerType = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        self.num_paths = num_paths
        self.fc_reduce = nn.Conv2d(channels, attn_channels, 1, bias=False)
        self.bn = create_norm_layer(norm_layer, attn_channels)
        self.act = create_act_layer(act_layer, inplace=True) or nn.Identity()
        self.fc_select = nn.Conv2d(attn_channels, channels * num_paths, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (B, P, C, H, W). Returns: (B, P, C, 1, 1), which sums to one over P."""
        pooled = x.sum(1).mean((2, 3), keepdim=True)
        logits = self.fc_select(self.act(self.bn(self.fc_reduce(pooled))))
        return logits.unflatten(1, (self.num_paths, -1)).softmax(1)


class SelectiveKernel(nn.Module):
    """Convolutions with several kernels, mixed by `SelectiveKernelAttn`.

    Args:
        in_channels: C of the input.
        out_channels: C of the output; `in_channels` if not given.
        kernel_size: odd kernel of each path, or one for two paths; (3, 5) if not given.
        stride: of each path.
        dilation: of a 3x3 kernel.
        groups: of each path; at most `out_channels`.
        rd_ratio: width of the attention as a share of `out_channels`.
        rd_channels: width of the attention, which then decides.
        rd_divisor: the width is rounded to a multiple of it.
        keep_3x3: larger kernels become dilated 3x3 ones.
        split_input: each path sees its own part of the channels.
        act_layer: activation by name, class or partial.
        norm_layer: norm likewise.
        aa_layer: what blurs before subsampling, see `create_aa`.
        drop_layer: class or partial of a dropout after each norm.

    Raises:
        ValueError: an even kernel, or channels that do not divide into the paths.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int | None = None,
        kernel_size: int | list[int] | None = None,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        rd_ratio: float = 1 / 16,
        rd_channels: int | None = None,
        rd_divisor: int = 8,
        keep_3x3: bool = True,
        split_input: bool = True,
        act_layer: LayerType = nn.ReLU,
        norm_layer: LayerType = nn.BatchNorm2d,
        aa_layer: LayerType | None = None,
        drop_layer: LayerFactory | None = None,
    ) -> None:
        super().__init__()
        out = out_channels or in_channels
        kernels = kernel_size or [3, 5]
        kernels = [kernels] * 2 if isinstance(kernels, int) else list(kernels)
        if any(k < 3 or k % 2 == 0 for k in kernels):
            raise ValueError(f"kernel_size={kernel_size}: give odd numbers from 3 on")
        if split_input and in_channels % len(kernels):
            raise ValueError(f"{in_channels} channels do not divide into {len(kernels)} paths")
        self.split_input = split_input
        width = in_channels // len(kernels) if split_input else in_channels
        shared: dict[str, Any] = dict(
            stride=stride,
            groups=min(out, groups),
            act_layer=act_layer,
            norm_layer=norm_layer,
            aa_layer=aa_layer,
            drop_layer=drop_layer,
        )
        self.paths = nn.ModuleList(
            ConvNormAct(width, out, 3, dilation=dilation * (k - 1) // 2, **shared)
            if keep_3x3
            else ConvNormAct(width, out, k, dilation=dilation, **shared)
            for k in kernels
        )
        hidden = rd_channels or make_divisible(out * rd_ratio, rd_divisor)
        self.attn = SelectiveKernelAttn(out, len(kernels), hidden)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (B, C, H, W). Returns: (B, out_channels, H', W')."""
        count = len(self.paths)
        parts = x.chunk(count, 1) if self.split_input else (x,) * count
        paths = torch.stack([path(p) for path, p in zip(self.paths, parts, strict=True)], 1)
        return (paths * self.attn(paths)).sum(1)
