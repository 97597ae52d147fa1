"""How much to pad: PyTorch's symmetric way, and TensorFlow's SAME, which depends on the size."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from .tuples import to_2tuple

Size = int | Sequence[int]
PadType = str | int | tuple[int, int]


def get_padding(kernel_size: Size, stride: Size = 1, dilation: Size = 1) -> int | list[int]:
    """Symmetric padding that gives ceil(size / stride) outputs for odd kernels.

    Returns one number, or one per axis where an argument is a sequence.
    """
    if any(isinstance(v, Sequence) for v in (kernel_size, stride, dilation)):
        axes = zip(*map(to_2tuple, (kernel_size, stride, dilation)), strict=True)
        return [_symmetric(*axis) for axis in axes]
    return _symmetric(kernel_size, stride, dilation)  # type: ignore[arg-type]


def _symmetric(kernel_size: int, stride: int, dilation: int) -> int:
    return (dilation * (kernel_size - 1) + stride - 1) // 2


def get_same_padding(x: int, kernel_size: int, stride: int, dilation: int) -> Any:
    """Total padding of one axis of size `x` for TensorFlow's SAME: ceil(x / stride) outputs."""
    outputs, reach = (x + stride - 1) // stride, dilation * (kernel_size - 1) + 1
    total = (outputs - 1) * stride + reach - x
    # Negative with gaps between outputs only; x is symbolic when exported with a dynamic size.
    return total if reach >= stride else torch.sym_max(total, 0)


def pad_same(
    x: torch.Tensor,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int] = (1, 1),
    value: float = 0,
) -> torch.Tensor:
    """Pad x: (B, C, H, W) for a SAME convolution or pooling; an odd row or column goes after."""
    pad_h, pad_w = map(get_same_padding, x.shape[-2:], kernel_size, stride, dilation)
    return F.pad(x, (pad_w // 2, pad_w - pad_w // 2, pad_h // 2, pad_h - pad_h // 2), value=value)


def resolve_padding(
    padding: PadType | Sequence[int] | None, kernel_size: Size, stride: Size, dilation: Size
) -> int | tuple[int, ...] | None:
    """What a static layer is given, or None where the padding depends on the input's size.

    Args:
        padding: `""` or None (symmetric), `"same"`, `"valid"`, or numbers.
        kernel_size: of the convolution or pooling.
        stride: likewise.
        dilation: likewise.

    Raises:
        ValueError: another string.
    """
    if padding is None or padding == "":
        padding = get_padding(kernel_size, stride, dilation)
    if not isinstance(padding, str):
        return padding if isinstance(padding, int) else tuple(padding)
    match padding.lower():
        case "valid":
            return 0
        case "same":
            axes = zip(*map(to_2tuple, (kernel_size, stride, dilation)), strict=True)
            if any(s != 1 or d * (k - 1) % 2 for k, s, d in axes):
                return None
            return resolve_padding("", kernel_size, stride, dilation)
    raise ValueError(f"unknown padding {padding!r}. Known: '', 'same', 'valid', or numbers")
