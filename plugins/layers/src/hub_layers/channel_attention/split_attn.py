"""Split attention (ResNeSt, arXiv:2004.08955): groups of channels weighted against each other."""

from typing import Any

import torch
from torch import nn

from ..act.activations import create_act_layer
from ..names import LayerFactory, LayerType
from ..tuples import make_divisible


class RadixSoftmax(nn.Module):
    """Softmax over the radix R of each of G groups; a sigmoid where R is 1.

    Args:
        radix: R.
        cardinality: G.
    """

    def __init__(self, radix: int, cardinality: int) -> None:
        super().__init__()
        self.radix = radix
        self.cardinality = cardinality

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (B, G * R * C, 1, 1). Returns: (B, R * G * C), ordered R first."""
        x = x.flatten(1)
        if self.radix == 1:
            return x.sigmoid()
        groups = x.reshape(len(x), self.cardinality, self.radix, -1)
        return groups.transpose(1, 2).softmax(1).flatten(1)


class SplitAttn(nn.Module):
    """A convolution to R parts, summed with weights per channel.

    Args:
        in_channels: C of the input.
        out_channels: C of the output; `in_channels` if not given.
        kernel_size: of the convolution.
        stride: likewise.
        padding: likewise; half the kernel if not given.
        dilation: likewise.
        groups: G, of the convolution (which has R times as many) and the attention.
        bias: of the convolution.
        radix: R.
        rd_ratio: width of the attention as a share of R * C.
        rd_channels: width of the attention for one part, which then decides.
        rd_divisor: the width is rounded to a multiple of it, at least 32.
        act_layer: activation by name, class or partial.
        norm_layer: class or partial of the norms; none if not given.
        drop_layer: class or partial of a dropout after the first norm.
        kwargs: further options of `nn.Conv2d`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int | None = None,
        kernel_size: int = 3,
        stride: int = 1,
        padding: int | None = None,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = False,
        radix: int = 2,
        rd_ratio: float = 0.25,
        rd_channels: int | None = None,
        rd_divisor: int = 8,
        act_layer: LayerType = nn.ReLU,
        norm_layer: LayerFactory | None = None,
        drop_layer: LayerFactory | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        out = out_channels or in_channels
        wide = out * radix
        if rd_channels is None:
            hidden = make_divisible(in_channels * radix * rd_ratio, rd_divisor, min_value=32)
        else:
            hidden = rd_channels * radix
        padding = kernel_size // 2 if padding is None else padding
        geometry = kernel_size, stride, padding, dilation, groups * radix, bias
        self.radix = radix
        self.conv = nn.Conv2d(in_channels, wide, *geometry, **kwargs)
        self.bn0 = nn.Identity() if norm_layer is None else norm_layer(wide)
        self.drop = nn.Identity() if drop_layer is None else drop_layer()
        self.act0 = create_act_layer(act_layer, inplace=True) or nn.Identity()
        self.fc1 = nn.Conv2d(out, hidden, 1, groups=groups)
        self.bn1 = nn.Identity() if norm_layer is None else norm_layer(hidden)
        self.act1 = create_act_layer(act_layer, inplace=True) or nn.Identity()
        self.fc2 = nn.Conv2d(hidden, wide, 1, groups=groups)
        self.rsoftmax = RadixSoftmax(radix, groups)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (B, C, H, W). Returns: (B, out_channels, H', W')."""
        x = self.act0(self.drop(self.bn0(self.conv(x))))
        parts = x.reshape(len(x), self.radix, -1, *x.shape[2:])  # (B, R, out_channels, H', W')
        pooled = parts.sum(1).mean((2, 3), keepdim=True)
        weights = self.rsoftmax(self.fc2(self.act1(self.bn1(self.fc1(pooled)))))
        return (parts * weights.view(*parts.shape[:3], 1, 1)).sum(1)
