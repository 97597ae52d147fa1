"""Windows of a map (Swin, arXiv:2103.14030), and the map of windows."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from ..tuples import to_2tuple

Window = int | Sequence[int]


def window_partition(x: torch.Tensor, window_size: Window) -> torch.Tensor:
    """Cut a map into windows; zeros are added below and to the right where they do not fit.

    Args:
        x: (B, H, W, C).
        window_size: (height h, width w), or one number.

    Returns:
        (B * windows, h, w, C), windows row by row.
    """
    height, width = to_2tuple(window_size)
    bottom, right = -x.shape[1] % height, -x.shape[2] % width
    if bottom or right:
        x = F.pad(x, (0, 0, 0, right, 0, bottom))
    rows, columns = x.shape[1] // height, x.shape[2] // width
    cut = x.reshape(len(x), rows, height, columns, width, x.shape[3])
    return cut.transpose(2, 3).flatten(0, 2)


def window_reverse(
    windows: torch.Tensor, window_size: Window, height: int, width: int
) -> torch.Tensor:
    """Put the windows of `window_partition` together; what it added is cut off.

    Args:
        windows: (B * windows, h, w, C).
        window_size: (h, w), or one number.
        height: H of the map.
        width: W of the map.

    Returns:
        (B, H, W, C).
    """
    rows, columns = (
        -(-size // step) for size, step in zip((height, width), to_2tuple(window_size), strict=True)
    )
    grid = windows.reshape(-1, rows, columns, *windows.shape[1:])
    grid = grid.transpose(2, 3)  # (B, rows, h, columns, w, C)
    return grid.flatten(3, 4).flatten(1, 2)[:, :height, :width].contiguous()
