"""Position embeddings and patch kernels for another image or patch size than the pretrained one.

Patch kernels: FlexiViT, arXiv:2212.08013, section 3.4. Relative-position tables are in
`relative_position`.

A family calls these in the converter that it declares (`Family(converter=...)`), where the network
that is loaded into says which sizes it wants. What is adapted is logged in one line, at level INFO
of the logger "hub"; what fits is returned as it is.

Differences from timm:

* The pseudo-inverse is taken per axis (a resize is separable) and in float64.
* A non-square embedding that already has the wanted number of positions needs no `old_size`.
* A batch of embeddings is resized like one.
* What does not fit is a `ValueError` that says what would.
"""

import logging
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

log = logging.getLogger("hub")

Grid = tuple[int, int]

SMOOTH = ("bicubic", "bilinear")
MODES = (*SMOOTH, "nearest", "nearest-exact", "area")


def resample_abs_pos_embed(
    posemb: Tensor,
    new_size: Sequence[int],
    old_size: Sequence[int] | None = None,
    num_prefix_tokens: int = 1,
    interpolation: str = "bicubic",
    antialias: bool = True,
    verbose: bool = False,
    align_corners: bool | None = None,
) -> Tensor:
    """Resize the grid of a position embedding; what belongs to the prefix tokens stays.

    Args:
        posemb: (B, prefix + H * W, D), B mostly 1.
        new_size: (height, width) of the grid wanted, in patches.
        old_size: (height, width) of the given grid; default: square, or `new_size` where only that
            has this many positions.
        num_prefix_tokens: leading tokens (class, registers) that are at no position of the grid.
        interpolation: "bicubic", "bilinear", "nearest", "nearest-exact" or "area".
        antialias: filter where the grid shrinks; only for the first two.
        verbose: log also for a Parameter. A network that resizes its own at every forward pass
            would not stop talking.
        align_corners: whether the outermost positions stay where they are, as in
            `torch.nn.functional.interpolate`.

    Returns:
        (B, prefix + new_h * new_w, D) in the dtype of `posemb`; `posemb` itself if nothing changes.

    Raises:
        ValueError: the sizes do not fit the embedding, or the interpolation is unknown.
    """
    if posemb.ndim != 3:
        raise ValueError(f"posemb: shape {tuple(posemb.shape)}; give (1, tokens, width)")
    new = as_grid(new_size, "new_size")
    num_positions = posemb.shape[1] - num_prefix_tokens
    old = source_grid(
        num_positions, new, None if old_size is None else as_grid(old_size, "old_size"), "old_size"
    )
    if same_grid(old, new):
        return posemb
    prefix, grid = posemb[:, :num_prefix_tokens], posemb[:, num_prefix_tokens:]
    maps = grid.reshape(len(grid), *old, -1).permute(0, 3, 1, 2)  # (B, H * W, D) -> (B, D, H, W)
    maps = resize_maps(maps, new, interpolation, antialias, align_corners)
    if verbose or not isinstance(posemb, nn.Parameter):
        report("pos_embed", old, new)
    return torch.cat((prefix, maps.flatten(2).transpose(1, 2)), dim=1)  # (B, prefix + H * W, D)


def resample_abs_pos_embed_nhwc(
    posemb: Tensor,
    new_size: Sequence[int],
    interpolation: str = "bicubic",
    antialias: bool = True,
    verbose: bool = False,
) -> Tensor:
    """Resize a position embedding that is kept as a map.

    Args:
        posemb: (B, H, W, D), B mostly 1.
        new_size: (height, width) wanted, in patches.
        interpolation: as in `resample_abs_pos_embed`.
        antialias: likewise.
        verbose: likewise.

    Returns:
        (B, new_h, new_w, D) in the dtype of `posemb`; `posemb` itself if nothing changes.

    Raises:
        ValueError: `posemb` is no such map, or the interpolation is unknown.
    """
    if posemb.ndim != 4:
        raise ValueError(
            f"posemb: shape {tuple(posemb.shape)}; give (1, height, width, channels), or tokens "
            "(1, tokens, width) to resample_abs_pos_embed"
        )
    new, old = as_grid(new_size, "new_size"), (posemb.shape[1], posemb.shape[2])
    if same_grid(old, new):
        return posemb
    maps = resize_maps(posemb.permute(0, 3, 1, 2), new, interpolation, antialias)
    if verbose or not isinstance(posemb, nn.Parameter):
        report("pos_embed", old, new)
    return maps.permute(0, 2, 3, 1).contiguous()


def resample_patch_embed(
    patch_embed: Tensor,
    new_size: Sequence[int],
    interpolation: str = "bicubic",
    antialias: bool = True,
    verbose: bool = False,
) -> Tensor:
    """Resize patch kernels so that a patch resized with them has the embedding it had.

    With R the matrix that resizes a patch x, kernels w and w' agree where <w', R x> = <w, x>. That
    is R^T w' = w, which the pseudo-inverse solves: exactly where patches grow, in the least-squares
    sense where they shrink.

    Args:
        patch_embed: (D, C, h, w) kernels.
        new_size: (height, width) of the kernels wanted.
        interpolation: how patches are resized, see `resample_abs_pos_embed`.
        antialias: likewise.
        verbose: log also for a Parameter.

    Returns:
        (D, C, new_h, new_w) in the dtype of `patch_embed`; itself if nothing changes.

    Raises:
        ValueError: these are no kernels, or the interpolation is unknown.
    """
    if patch_embed.ndim != 4:
        raise ValueError(
            f"patch_embed: shape {tuple(patch_embed.shape)}; give (out, in, height, width) kernels"
        )
    new, old = as_grid(new_size, "new_size"), (patch_embed.shape[2], patch_embed.shape[3])
    if old == new:
        return patch_embed
    rows, columns = (
        _undo_resize(*sizes, interpolation, antialias).to(patch_embed.device)
        for sizes in zip(old, new, strict=True)
    )
    kernels = rows @ patch_embed.float() @ columns.T  # (D, C, new_h, new_w)
    if verbose or not isinstance(patch_embed, nn.Parameter):
        report("patch_embed", old, new)
    return kernels.to(patch_embed.dtype)


def _undo_resize(old: int, new: int, interpolation: str, antialias: bool) -> Tensor:
    """Pseudo-inverse (new, old) of the transposed matrix that resizes one axis."""
    # Along the width: torch 2.15 antialiases the height of maps of width one wrongly.
    units = torch.eye(old, dtype=torch.float64, device="cpu").reshape(old, 1, 1, old)
    transposed = resize_maps(units, (1, new), interpolation, antialias).reshape(old, new)
    return torch.linalg.pinv(transposed).float()


def resize_maps(
    maps: Tensor,
    size: Grid,
    interpolation: str = "bicubic",
    antialias: bool = True,
    align_corners: bool | None = None,
) -> Tensor:
    """Resize (B, C, H, W) to (B, C, *size), in float32 at least; the dtype is kept.

    Raises:
        ValueError: the interpolation is unknown, or does not go with the other options.
    """
    if interpolation not in MODES:
        raise ValueError(f"interpolation={interpolation!r}; known: {', '.join(MODES)}")
    if interpolation not in SMOOTH and (antialias or align_corners is not None):
        raise ValueError(
            f"interpolation={interpolation!r} with antialias={antialias}, align_corners="
            f"{align_corners}: only {' and '.join(SMOOTH)} have these; give antialias=False and no "
            "align_corners"
        )
    exact = maps if maps.dtype == torch.float64 else maps.float()
    resized = F.interpolate(
        exact, size=size, mode=interpolation, antialias=antialias, align_corners=align_corners
    )
    return resized.to(maps.dtype)


def as_grid(size: Sequence[int], argument: str) -> Grid:
    """Return (height, width) of what an argument gave.

    Raises:
        ValueError: it is no pair of positive numbers.
    """
    if not isinstance(size, Sequence) or len(size) != 2 or min(size) < 1:
        raise ValueError(f"{argument}={size!r}; give (height, width), both at least 1")
    return size[0], size[1]


def same_grid(old: Grid, new: Grid) -> bool:
    """Return whether two grids are equal, and are so for all sizes that an export is made for."""
    if not torch.compiler.is_exporting():
        return old == new
    from torch.fx.experimental.symbolic_shapes import statically_known_true

    return all(statically_known_true(a == b) for a, b in zip(old, new, strict=True))


def source_grid(count: int, new: Grid, old: Grid | None, argument: str) -> Grid:
    """Return the grid that `count` positions form.

    Args:
        count: number of positions.
        new: grid wanted, taken where the positions cannot form a square but fill it.
        old: grid that the caller states.
        argument: how the caller's argument for it is called.

    Raises:
        ValueError: `old` has another number of positions, or none was given and it is needed.
    """
    if old is not None:
        if old[0] * old[1] != count:
            raise ValueError(f"{count} positions are no grid of {old[0]}x{old[1]}: see {argument}")
        return old
    side = math.isqrt(max(count, 0))
    if count > 0 and side * side == count:
        return side, side
    if count == new[0] * new[1]:
        return new
    raise ValueError(
        f"{count} positions form no square and not the {new[0]}x{new[1]} wanted: give {argument}, "
        "(height, width), and check the number of extra tokens"
    )


def report(what: str, old: Grid, new: Grid) -> None:
    """Log what was adapted; a compiled network keeps quiet, for logging would break its graph."""
    if not torch.compiler.is_compiling():
        log.info("%s: adapted from %dx%d to %dx%d", what, *old, *new)
