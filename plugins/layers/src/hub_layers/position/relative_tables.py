"""Relative-position bias: which table entry a pair of tokens uses, and tables for other windows.

Entry (dy, dx) of a table for a window of h x w tokens is the bias between tokens that far apart:
(2h - 1) x (2w - 1) entries per head, kept flat (entries, heads), with those of the class token last
(Swin, arXiv:2103.14030; BEiT, arXiv:2106.08254), or as (heads, 2h - 1, 2w - 1) (MaxViT,
arXiv:2204.01697).

Differences from timm:

* All heads are interpolated at once, on their own device, in float32 for every dtype and function.
* Tables of non-square windows that fit are taken as they are by each function.
* What does not fit is a `ValueError` that says what would.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .resample import Grid, as_grid, report, resize_maps, source_grid


def gen_relative_position_index(
    q_size: Sequence[int],
    k_size: Sequence[int] | None = None,
    class_token: bool = False,
    device: torch.device | str | None = None,
) -> Tensor:
    """Index into a flat table for each pair of tokens of a window.

    Args:
        q_size: (height, width) of the window, in tokens.
        k_size: of the keys' window; only the same is known.
        class_token: put a class token first. Its entries are the last three of the table: to the
            others, from the others, to itself.
        device: where the index is made.

    Returns:
        (N, N) int64, N = height * width, and one more with a class token.

    Raises:
        ValueError: another window for the keys.
    """
    height, width = as_grid(q_size, "q_size")
    if k_size is not None and as_grid(k_size, "k_size") != (height, width):
        raise ValueError(f"k_size={tuple(k_size)} is not q_size={(height, width)}: leave it out")
    stride = 2 * width - 1
    rows = torch.arange(height, device=device) * stride
    place = (rows[:, None] + torch.arange(width, device=device)).flatten()  # (N,)
    centre = (height - 1) * stride + width - 1  # the entry of distance zero
    index = place[:, None] - place + centre  # (N, N)
    if class_token:
        entries = (2 * height - 1) * stride
        index = F.pad(index, (1, 0, 1, 0), value=entries)
        index[1:, 0] = entries + 1
        index[0, 0] = entries + 2
    return index


def resize_rel_pos_bias_table(
    rel_pos_bias: Tensor,
    new_window_size: Sequence[int],
    new_bias_shape: Sequence[int],
    old_window_size: Sequence[int] | None = None,
) -> Tensor:
    """Resize a table as BEiT does: near distances keep their bias, far ones are spread.

    The old entries are put at distances that grow geometrically from the centre and reach as far as
    the new window does; between them the bias is interpolated linearly.

    Args:
        rel_pos_bias: (entries, heads), extra entries last, or (heads, 2h - 1, 2w - 1).
        new_window_size: (height, width) of the window wanted, in tokens.
        new_bias_shape: shape of the table wanted; what it has beyond the window are extra entries.
        old_window_size: (height, width) of the window of a flat table; default: square, or the new
            one where only that has this many entries.

    Returns:
        A table of `new_bias_shape` in the dtype of the given one, or itself if nothing changes.

    Raises:
        ValueError: the sizes do not fit each other.
    """
    old = None if old_window_size is None else as_grid(old_window_size, "old_window_size")
    return _resize_table(rel_pos_bias, new_window_size, new_bias_shape, old, _resize_geometric)


def resize_rel_pos_bias_table_simple(
    rel_pos_bias: Tensor, new_window_size: Sequence[int], new_bias_shape: Sequence[int]
) -> Tensor:
    """Resize a table by bicubic interpolation; arguments as in `resize_rel_pos_bias_table`.

    Raises:
        ValueError: the sizes do not fit each other.
    """
    return _resize_table(rel_pos_bias, new_window_size, new_bias_shape, None, _resize_bicubic)


def resize_rel_pos_bias_table_levit(
    position_bias_table: Tensor,
    new_size: Sequence[int],
    interpolation: str = "bicubic",
    antialias: bool = True,
) -> Tensor:
    """Resize a table of LeViT (arXiv:2104.01136): absolute distances, one entry per token.

    Args:
        position_bias_table: (h * w, heads) of a square window.
        new_size: shape of the table wanted, likewise square.
        interpolation: as in `resample_abs_pos_embed`.
        antialias: likewise.

    Returns:
        A table of shape `new_size` in the dtype of the given one, or itself if nothing changes.

    Raises:
        ValueError: a window is not square, or the number of heads is another.
    """
    _check_shape(position_bias_table, new_size, flat=True)
    if position_bias_table.shape[0] == new_size[0]:
        return position_bias_table
    counts = position_bias_table.shape[0], new_size[0]
    old, new = map(math.isqrt, counts)
    if (old * old, new * new) != counts:
        raise ValueError(
            f"a table of {counts[0]} entries cannot become one of {counts[1]}: both must be square "
            "numbers (49, 196, ...), and new_size is (entries, heads)"
        )
    maps = position_bias_table.T.reshape(1, -1, old, old)  # (L, heads) -> (1, heads, h, w)
    maps = resize_maps(maps, (new, new), interpolation, antialias)
    report("position_bias_table", (old, old), (new, new))
    return maps[0].flatten(1).T.contiguous()  # (L, heads)


def _resize_table(
    table: Tensor,
    new_window: Sequence[int],
    new_shape: Sequence[int],
    old_window: Grid | None,
    resize: Callable[[Tensor, Grid], Tensor],
) -> Tensor:
    """Resize a table of either layout with `resize`: (heads, H, W), (H', W') -> (heads, H', W')."""
    window = as_grid(new_window, "new_window_size")
    new = _span(window)
    flat = table.ndim == 2
    _check_shape(table, new_shape, flat)
    extra = new_shape[0] - new[0] * new[1] if flat else 0
    if extra < 0 or (not flat and tuple(new_shape[1:]) != new):
        raise ValueError(
            f"new_bias_shape={tuple(new_shape)} is no table for windows of {window[0]}x{window[1]}:"
            f" these have {new[0]}x{new[1]} entries per head"
        )
    given = table.shape[0] - extra
    if flat:
        old_span = None if old_window is None else _span(old_window)
        old = source_grid(given, new, old_span, "old_window_size")
    else:
        old = (table.shape[1], table.shape[2])
    if old == new:
        return table
    if not old[0] % 2 or not old[1] % 2:
        raise ValueError(
            f"a table of shape {tuple(table.shape)} has {old[0]}x{old[1]} distances, and those of "
            "a window are odd, 2 * size - 1: check the table and its extra entries in "
            "new_bias_shape"
        )
    maps = table[:given].T.reshape(-1, *old) if flat else table  # (heads, H, W)
    maps = resize(maps.float(), new).to(table.dtype)
    report("relative position table", (old[0] // 2 + 1, old[1] // 2 + 1), window)
    return torch.cat((maps.flatten(1).T, table[given:])) if flat else maps.contiguous()


def _check_shape(table: Tensor, new_shape: Sequence[int], flat: bool) -> None:
    axis = 1 if flat else 0  # of the heads
    ndim = 2 if flat else 3
    if table.ndim != ndim or len(new_shape) != ndim or table.shape[axis] != new_shape[axis]:
        raise ValueError(
            f"a table of shape {tuple(table.shape)} cannot become {tuple(new_shape)}: give "
            "(entries, heads) or (heads, height, width), the same for both, of as many heads"
        )


def _span(window: Grid) -> Grid:
    """Return how many distances there are in a window along each axis."""
    return 2 * window[0] - 1, 2 * window[1] - 1


def _resize_bicubic(maps: Tensor, size: Grid) -> Tensor:
    return resize_maps(maps[None], size, antialias=False, align_corners=False)[0]


def _resize_geometric(maps: Tensor, size: Grid) -> Tensor:
    rows, columns = (
        _geometric_weights(old, new).to(maps.device)
        for old, new in zip(maps.shape[1:], size, strict=True)
    )
    return rows @ maps @ columns.T  # (heads, H', W')


def _geometric_weights(old: int, new: int) -> Tensor:
    """Matrix (new, old) that interpolates between entries at geometrically growing distances."""
    half = old // 2
    exact: dict[str, Any] = dict(dtype=torch.float64, device="cpu")
    far = (_growth(half, new // 2) ** torch.arange(half, **exact)).cumsum(0)
    knots = torch.cat((-far.flip(0), torch.zeros(1, **exact), far))
    wanted = torch.arange(-(new // 2), new // 2 + 1, **exact)
    # A broken line is its first value plus each rise as far as it was climbed; beyond the ends it
    # stays level.
    climbed = ((wanted[:, None] - knots[:-1]) / knots.diff()).clamp(0, 1)  # (new, old - 1)
    values = torch.eye(old, **exact)
    return (values[0] + climbed @ values.diff(dim=0)).float()


def _growth(steps: int, reach: int) -> float:
    """Ratio of a geometric series of `steps` terms that starts at one and sums to `reach`."""
    low, high = 1.01, 1.5  # BEiT's bounds and precision, which results depend on
    while high - low > 1e-6:
        ratio = (low + high) / 2
        if (ratio**steps - 1) / (ratio - 1) > reach:
            high = ratio
        else:
            low = ratio
    return ratio
