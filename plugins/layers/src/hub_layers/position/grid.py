"""Coordinates of the tokens of a map, and the frequencies at which they are read."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

Shape = Sequence[int]


def freq_bands(
    num_bands: int, temperature: float = 10000.0, step: int = 2, device: Any = None
) -> Tensor:
    """`temperature ** -(i / num_bands)` for every `step`-th i (arXiv:1706.03762)."""
    steps = torch.arange(0, num_bands, step, dtype=torch.float32, device=device)
    return temperature ** -(steps / num_bands)


def pixel_freq_bands(
    num_bands: int, max_freq: float = 224.0, linear_bands: bool = True, device: Any = None
) -> Tensor:
    """Frequencies from pi to `max_freq / 2` times pi, evenly spaced or by a constant factor."""
    exact: dict[str, Any] = dict(dtype=torch.float32, device=device)
    if linear_bands:
        return math.pi * torch.linspace(1.0, max_freq / 2, num_bands, **exact)
    return math.pi * 2.0 ** torch.linspace(0, math.log2(max_freq / 2), num_bands, **exact)


def grid_coordinates(
    feat_shape: Shape,
    grid_type: str = "index",
    ref_feat_shape: Shape | None = None,
    grid_offset: float = 0.0,
    grid_indexing: str = "ij",
    normalize_coords: str = "separate",
    device: Any = None,
) -> Tensor:
    """Where each token of a map stands.

    Args:
        feat_shape: (H, W), in tokens.
        grid_type: "index" counts from 0; "pixel" goes from -1 to 1; "centered" takes the middles
            of the tokens, from -1 to 1 between the borders (DINOv3, arXiv:2508.10104).
        ref_feat_shape: the map of pretraining, to whose coordinates these are scaled (EVA).
        grid_offset: added to indices.
        grid_indexing: "ij" puts the row first, "xy" the column.
        normalize_coords: "centered" divides each axis by its own size ("separate"), or all by the
            "min" or the "max".
        device: where they live.

    Returns:
        (H * W, 2) float32, row by row.

    Raises:
        ValueError: another word.
    """
    sizes = list(feat_shape)
    index = [torch.arange(n, dtype=torch.float32, device=device) for n in sizes]
    match grid_type:
        case "index":
            axes = [i + grid_offset for i in index]
        case "pixel":
            axes = [torch.linspace(-1.0, 1.0, n, device=device) for n in sizes]
        case "centered":
            axes = [
                (i + 0.5 + grid_offset) / n
                for i, n in zip(index, _denominators(sizes, normalize_coords), strict=True)
            ]
        case _:
            raise ValueError(f"grid_type={grid_type!r}: it can be 'index', 'pixel' or 'centered'")
    if ref_feat_shape is not None:
        axes = [a / n * r for a, n, r in zip(axes, sizes, ref_feat_shape, strict=True)]
    if grid_type == "centered":
        axes = [2 * a - 1 for a in axes]
    columns = [a.flatten() for a in torch.meshgrid(*axes, indexing="ij")]
    if grid_indexing == "xy":
        columns[:2] = columns[1::-1]
    elif grid_indexing != "ij":
        raise ValueError(f"grid_indexing={grid_indexing!r}: it can be 'ij' or 'xy'")
    return torch.stack(columns, -1)


def _denominators(sizes: list[int], normalize: str) -> list[int]:
    if normalize not in ("separate", "min", "max"):
        raise ValueError(f"normalize_coords={normalize!r}: it can be 'separate', 'min' or 'max'")
    if normalize == "separate":
        return sizes
    return [min(sizes) if normalize == "min" else max(sizes)] * len(sizes)


def augment_coordinates(
    coords: Tensor,
    shift_coords: float | None = None,
    jitter_coords: float | None = None,
    rescale_coords: float | None = None,
) -> Tensor:
    """Move all tokens together, as DINOv3 does in training.

    Args:
        coords: (N, axes).
        shift_coords: each axis is moved by up to this much.
        jitter_coords: each axis is scaled by up to this factor or its inverse.
        rescale_coords: all axes are scaled together, likewise.

    Returns:
        (N, axes).
    """
    axes = coords.shape[-1]
    if shift_coords is not None:
        coords = coords + coords.new_empty(axes).uniform_(-shift_coords, shift_coords)
    if jitter_coords is not None:
        coords = coords * _log_uniform(coords, axes, jitter_coords)
    if rescale_coords is not None:
        coords = coords * _log_uniform(coords, 1, rescale_coords)
    return coords


def _log_uniform(like: Tensor, count: int, factor: float) -> Tensor:
    reach = math.log(factor)
    return like.new_empty(count).uniform_(-reach, reach).exp()


def check_augmentation(
    shift_coords: float | None, jitter_coords: float | None, rescale_coords: float | None
) -> None:
    """Raise ValueError for what `augment_coordinates` cannot do."""
    if shift_coords is not None and not 0 <= shift_coords < math.inf:
        raise ValueError(f"shift_coords={shift_coords}: give a distance of 0 or more")
    for name, factor in dict(jitter=jitter_coords, rescale=rescale_coords).items():
        if factor is not None and not 1 <= factor < math.inf:
            raise ValueError(f"{name}_coords={factor}: it is a factor, give 1 or more")
