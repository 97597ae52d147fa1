"""`nn.Conv2d`, and the one that pads as TensorFlow does."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ..padding import PadType, Size, pad_same, resolve_padding
from ..tuples import to_2tuple


def conv2d_same(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: tuple[int, ...] = (1, 1),
    padding: Any = (0, 0),
    dilation: tuple[int, ...] = (1, 1),
    groups: int = 1,
) -> torch.Tensor:
    """`F.conv2d` with SAME padding; `padding` stands here only to keep the order of arguments."""
    x = pad_same(x, weight.shape[-2:], stride, dilation)
    return F.conv2d(x, weight, bias, stride, (0, 0), dilation, groups)


class Conv2dSame(nn.Conv2d):
    """`nn.Conv2d` with TensorFlow's SAME padding: ceil(size / stride) outputs for any size.

    Args: those of `nn.Conv2d`, whose `padding` is ignored.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: PadType = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            to_2tuple(kernel_size),
            to_2tuple(stride),
            dilation=to_2tuple(dilation),
            groups=groups,
            bias=bias,
            device=device,
            dtype=dtype,
        )

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """input: (B, C, H, W). Returns: (B, out_channels, ceil(H / stride), ceil(W / stride))."""
        geometry = self.stride, self.padding, self.dilation, self.groups
        return conv2d_same(input, self.weight, self.bias, *geometry)


def create_plain_conv2d(
    in_channels: int,
    out_channels: int,
    kernel_size: Size,
    stride: Size = 1,
    padding: PadType | None = "",
    dilation: Size = 1,
    groups: int = 1,
    bias: bool = False,
    device: Any = None,
    dtype: Any = None,
) -> nn.Conv2d:
    """One convolution with one kernel; `create_conv2d` documents the arguments.

    Raises:
        ValueError: unknown padding.
    """
    static = resolve_padding(padding, kernel_size, stride, dilation)
    layer = Conv2dSame if static is None else nn.Conv2d
    return layer(
        in_channels,
        out_channels,
        to_2tuple(kernel_size),
        to_2tuple(stride),
        to_2tuple(static or 0),
        to_2tuple(dilation),
        groups,
        bias,
        device=device,
        dtype=dtype,
    )
