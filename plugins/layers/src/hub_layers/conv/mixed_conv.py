"""Mixed convolution: shares of the channels, each with a kernel size of its own."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from ..padding import PadType, Size
from .conv2d_same import create_plain_conv2d


def split_channels(channels: int, shares: int) -> list[int]:
    """`channels` in equal parts; what is left goes to the first: (32, 3) -> [12, 10, 10]."""
    part, rest = divmod(channels, shares)
    return [part + rest] + [part] * (shares - 1)


class MixedConv2d(nn.ModuleDict):
    """MixConv (arXiv:1907.09595): a convolution per kernel size, outputs joined along C.

    Keys are "0", "1", ... in the order of the kernel sizes.

    Args:
        in_channels: C of the input, split evenly.
        out_channels: C of the output, split likewise.
        kernel_size: kernel sizes, or one.
        stride: of all parts.
        padding: see `create_conv2d`; of all parts.
        dilation: of all parts.
        depthwise: one group per channel in every part.
        bias: learn biases.
        device: where the parameters live.
        dtype: type of the parameters.

    Raises:
        ValueError: more kernels than channels; unknown padding.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int] = 3,
        stride: Size = 1,
        padding: PadType | None = "",
        dilation: Size = 1,
        depthwise: bool = False,
        bias: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        kernels = [kernel_size] if isinstance(kernel_size, int) else list(kernel_size)
        if not 0 < len(kernels) <= min(in_channels, out_channels):
            raise ValueError(
                f"kernel_size={kernel_size!r}: {len(kernels)} kernels cannot share {in_channels} "
                f"input and {out_channels} output channels; give one kernel per channel at most"
            )
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.splits = split_channels(in_channels, len(kernels))
        outputs = split_channels(out_channels, len(kernels))
        common: dict[str, Any] = dict(stride=stride, padding=padding, dilation=dilation)
        common |= dict(bias=bias, device=device, dtype=dtype)
        for index, (kernel, chs, out) in enumerate(zip(kernels, self.splits, outputs, strict=True)):
            groups = chs if depthwise else 1
            self[str(index)] = create_plain_conv2d(chs, out, kernel, groups=groups, **common)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (B, C, H, W). Returns: (B, out_channels, H', W')."""
        parts = x.split_with_sizes(self.splits, dim=1)
        return torch.cat([conv(part) for conv, part in zip(self.values(), parts, strict=True)], 1)
