"""Convolutions with standardized kernels: each output channel's has mean 0 and variance 1.

`StdConv2d` is BiT's (arXiv:1903.10520), `ScaledStdConv2d` that of networks without norms (NFNet,
arXiv:2101.08692), with a learned gain per output channel.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ..padding import PadType, Size, pad_same, resolve_padding
from ..tuples import to_2tuple


class StdConv2d(nn.Conv2d):
    """A convolution whose kernel is standardized before each use.

    Args:
        in_channel: C of the input (named as in timm).
        out_channels: C of the output.
        kernel_size: height and width, or one number.
        stride: likewise.
        padding: a number, `""` for symmetric, `"same"` for TensorFlow's; None is symmetric.
        dilation: likewise.
        groups: parts that are convolved apart.
        bias: add a learned number per output channel.
        eps: added to the variance.
        device: where the parameters live.
        dtype: type of the parameters.
    """

    default_padding: PadType = ""

    def __init__(
        self,
        in_channel: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: PadType | None = None,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = False,
        eps: float = 1e-6,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        padding = self.default_padding if padding is None else padding
        static = resolve_padding(padding, kernel_size, stride, dilation)
        super().__init__(
            in_channel,
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
        self.same_pad = static is None
        self.eps = eps

    def standardized(self) -> torch.Tensor:
        """The kernel that is applied: (out_channels, in_channels / groups, height, width)."""
        rows = self.weight.flatten(1)
        # layer_norm standardizes each output channel in one kernel.
        return F.layer_norm(rows, rows.shape[1:], eps=self.eps).view_as(self.weight)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """input: (B, C, H, W). Returns: (B, out_channels, H', W')."""
        if self.same_pad:
            input = pad_same(input, self.kernel_size, self.stride, self.dilation)
        return self._conv_forward(input, self.standardized(), self.bias)


class StdConv2dSame(StdConv2d):
    """`StdConv2d` with TensorFlow's SAME padding where none is given."""

    default_padding = "same"


class ScaledStdConv2d(StdConv2d):
    """`StdConv2d` scaled so that it keeps the variance of its input, times a gain per channel.

    Args:
        in_channels: C of the input.
        out_channels: see `StdConv2d`, as for the others that it has.
        kernel_size: likewise.
        stride: likewise.
        padding: likewise.
        dilation: likewise.
        groups: likewise.
        bias: likewise.
        gamma: makes up for the activation before, which shrinks the variance.
        eps: likewise.
        gain_init: the gain at the start.
        device: where the parameters live.
        dtype: type of the parameters.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: PadType | None = None,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
        gamma: float = 1.0,
        eps: float = 1e-6,
        gain_init: float = 1.0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        geometry = stride, padding, dilation, groups, bias, eps, device, dtype
        super().__init__(in_channels, out_channels, kernel_size, *geometry)
        self.scale = gamma * self.weight[0].numel() ** -0.5
        self.gain = nn.Parameter(torch.empty(out_channels, 1, 1, 1, device=device, dtype=dtype))
        self.gain_init = gain_init
        nn.init.constant_(self.gain, gain_init)

    def reset_parameters(self) -> None:
        """Draw the kernel anew and set the gain back."""
        super().reset_parameters()
        if hasattr(self, "gain"):  # nn.Conv2d calls this before there is one
            nn.init.constant_(self.gain, self.gain_init)

    def standardized(self) -> torch.Tensor:
        """The kernel that is applied, scaled: (out_channels, in_channels / groups, h, w)."""
        return super().standardized() * (self.gain * self.scale)


class ScaledStdConv2dSame(ScaledStdConv2d):
    """`ScaledStdConv2d` with TensorFlow's SAME padding where none is given."""

    default_padding = "same"
