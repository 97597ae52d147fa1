"""Layouts of feature maps, and the way from one to another."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

LAYOUTS = ("NCHW", "NHWC", "NLC")


def check_layout(output_fmt: str) -> None:
    """Raise ValueError unless maps can be had in a layout."""
    if output_fmt not in LAYOUTS:
        raise ValueError(f"output_fmt={output_fmt!r}: it can be {', '.join(LAYOUTS)}")


def to_layout(x: Tensor, have: str, want: str, size: tuple[int, int]) -> Tensor:
    """Return a map in another layout.

    Args:
        x: (B, C, H, W), (B, H, W, C) or (B, H * W, C), as `have` says.
        have: "NCHW", "NHWC" or "NLC".
        want: one of these.
        size: (H, W) of tokens; that of a map is read off the map.
    """
    if have == want:
        return x
    if have == "NLC":
        x = x.reshape(x.shape[0], *size, -1)  # (B, H, W, C)
    elif have == "NCHW":
        x = x.permute(0, 2, 3, 1)  # (B, H, W, C)
    if want == "NLC":
        return x.flatten(1, 2)  # (B, H * W, C)
    return x.permute(0, 3, 1, 2).contiguous() if want == "NCHW" else x
