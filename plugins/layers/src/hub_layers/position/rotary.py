"""Rotary position embedding (arXiv:2104.09864) on two axes: pairs of channels turn with position.

An embedding is the sine and cosine of each token's angles, made in float32 for any type of the
network and cast at the end. Channels of a pair are neighbours, or half the width apart
(`rotate_half`).

Differences from timm:

* One path makes all embeddings; kinds differ in their frequencies and grids.
* `RotaryEmbeddingDinoV3` keeps the frequencies (`bands`), not the periods.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .grid import (
    Shape,
    augment_coordinates,
    check_augmentation,
    freq_bands,
    grid_coordinates,
    pixel_freq_bands,
)


def spread_pairs(x: Tensor, rotate_half: bool = False) -> Tensor:
    """Give both channels of a pair its value: (..., D / 2) -> (..., D)."""
    return torch.cat((x, x), -1) if rotate_half else x.repeat_interleave(2, -1)


def apply_rot_embed(x: Tensor, sin_emb: Tensor, cos_emb: Tensor, half: bool = False) -> Tensor:
    """Turn each pair of channels by its angle.

    Args:
        x: (..., N, D).
        sin_emb: broadcasts to x.
        cos_emb: likewise.
        half: the pairs are half the width apart, else neighbours.

    Returns:
        The shape and type of x.
    """
    if half:
        first, second = x.chunk(2, -1)
        turned = torch.cat((-second, first), -1)
    else:
        first, second = x[..., ::2], x[..., 1::2]
        turned = torch.stack((-second, first), -1).flatten(-2)
    return (x * cos_emb + turned * sin_emb).to(x.dtype)


def apply_rot_embed_cat(x: Tensor, emb: Tensor, half: bool = False) -> Tensor:
    """`apply_rot_embed` with sine and cosine in one tensor (..., N, 2 * D)."""
    sin_emb, cos_emb = emb.chunk(2, -1)
    return apply_rot_embed(x, sin_emb, cos_emb, half)


def apply_rot_embed_list(
    x: Tensor | Sequence[Tensor], sin_emb: Tensor, cos_emb: Tensor, half: bool = False
) -> list[Tensor]:
    """`apply_rot_embed` of each tensor."""
    given = [x] if isinstance(x, Tensor) else x
    return [apply_rot_embed(t, sin_emb, cos_emb, half) for t in given]


def apply_keep_indices_nlc(
    x: Tensor, pos_embed: Tensor, keep_indices: Tensor, pos_embed_has_batch: bool = False
) -> Tensor:
    """Keep the embedding of the tokens that patch dropout kept.

    Args:
        x: (B, ...), for its B.
        pos_embed: (..., N, D), with B first where `pos_embed_has_batch`.
        keep_indices: (B, K), the tokens of each sample.
        pos_embed_has_batch: see `pos_embed`.

    Returns:
        (B, ..., K, D).
    """
    if not pos_embed_has_batch:
        pos_embed = pos_embed.expand(x.shape[0], *pos_embed.shape)
    middle = (1,) * (pos_embed.ndim - 3)
    index = keep_indices.view(keep_indices.shape[0], *middle, -1, 1)
    return pos_embed.gather(-2, index.expand(*pos_embed.shape[:-2], -1, pos_embed.shape[-1]))


def build_rotary_pos_embed(
    feat_shape: Shape,
    bands: Tensor | None = None,
    dim: int = 64,
    max_res: int = 224,
    temperature: float = 10000.0,
    linear_bands: bool = False,
    in_pixels: bool = True,
    ref_feat_shape: Shape | None = None,
    grid_offset: float = 0.0,
    grid_indexing: str = "ij",
    rotate_half: bool = False,
    device: Any = None,
    dtype: torch.dtype = torch.float32,
    grid_type: str | None = None,
    normalize_coords: str = "separate",
    shift_coords: float | None = None,
    jitter_coords: float | None = None,
    rescale_coords: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Sine and cosine of the angles of each token.

    Args:
        feat_shape: (H, W), in tokens.
        bands: (dim / 4,) frequencies; made from the next four if not given.
        dim: D, the width that turns.
        max_res: largest frequency of pixel bands, see `pixel_freq_bands`.
        temperature: of the other bands, see `freq_bands`.
        linear_bands: pixel bands are evenly spaced.
        in_pixels: pixel bands, and a "pixel" grid where `grid_type` is not given.
        ref_feat_shape: see `grid_coordinates`, as for the next two.
        grid_offset: likewise.
        grid_indexing: likewise.
        rotate_half: channels of a pair are half the width apart.
        device: where they live; that of the bands if not given.
        dtype: of the result.
        grid_type: see `grid_coordinates`.
        normalize_coords: likewise.
        shift_coords: see `augment_coordinates`, as for the next two.
        jitter_coords: likewise.
        rescale_coords: likewise.

    Returns:
        Two tensors (H * W, D).
    """
    if bands is None:
        bands = _bands(dim, max_res, temperature, linear_bands, in_pixels)
    grid = grid_coordinates(
        feat_shape,
        grid_type or ("pixel" if in_pixels else "index"),
        ref_feat_shape,
        grid_offset,
        grid_indexing,
        normalize_coords,
        bands.device if device is None else device,
    )
    grid = augment_coordinates(grid, shift_coords, jitter_coords, rescale_coords)
    angles = (grid[..., None] * bands.to(grid.device)).flatten(1)  # (N, axes * bands)
    sin, cos = (spread_pairs(t, rotate_half).to(dtype) for t in (angles.sin(), angles.cos()))
    return sin, cos


def _bands(dim: int, max_res: int, temperature: float, linear: bool, in_pixels: bool) -> Tensor:
    if in_pixels:
        return pixel_freq_bands(dim // 4, float(max_res), linear)
    return freq_bands(dim // 4, float(temperature), step=1)


class RotaryEmbeddingCat(nn.Module):
    """Rotary embedding of maps, sine and cosine in one tensor.

    Args:
        dim: D, the width of a head; a multiple of 4.
        max_res: see `build_rotary_pos_embed`, as for the others without a word.
        temperature: likewise.
        in_pixels: likewise.
        linear_bands: likewise.
        feat_shape: (H, W) whose embedding is kept; without it each call says its own.
        ref_feat_shape: likewise.
        grid_offset: likewise.
        grid_indexing: likewise.
        rotate_half: likewise.
        grid_type: likewise.
        normalize_coords: likewise.
        shift_coords: in training only, as the next two.
        jitter_coords: likewise.
        rescale_coords: likewise.

    Raises:
        ValueError: `dim` is no multiple of 4, or an augmentation is impossible.
    """

    bands: Tensor
    pos_embed: Tensor | None

    def __init__(
        self,
        dim: int,
        max_res: int = 224,
        temperature: float = 10000,
        in_pixels: bool = True,
        linear_bands: bool = False,
        feat_shape: Shape | None = None,
        ref_feat_shape: Shape | None = None,
        grid_offset: float = 0.0,
        grid_indexing: str = "ij",
        rotate_half: bool = False,
        grid_type: str | None = None,
        normalize_coords: str = "separate",
        shift_coords: float | None = None,
        jitter_coords: float | None = None,
        rescale_coords: float | None = None,
    ) -> None:
        super().__init__()
        if dim % 4:
            raise ValueError(f"dim={dim}: two axes of pairs need a multiple of 4")
        check_augmentation(shift_coords, jitter_coords, rescale_coords)
        self.dim = dim
        self.feat_shape = feat_shape
        self.rotate_half = rotate_half
        self.grid: dict[str, Any] = dict(
            in_pixels=in_pixels,
            ref_feat_shape=ref_feat_shape,
            grid_offset=grid_offset,
            grid_indexing=grid_indexing,
            grid_type=grid_type,
            normalize_coords=normalize_coords,
        )
        self.augmentation: dict[str, Any] = dict(
            shift_coords=shift_coords, jitter_coords=jitter_coords, rescale_coords=rescale_coords
        )
        bands = _bands(dim, max_res, temperature, linear_bands, in_pixels)
        self._keep(bands)

    def _keep(self, bands: Tensor) -> None:
        """Set frequencies, and the embedding of `feat_shape`."""
        self.register_buffer("bands", bands, persistent=False)
        kept = None if self.feat_shape is None else self._make(self.feat_shape)
        self.register_buffer("pos_embed", kept, persistent=False)

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        exact = self.bands
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if self.bands.dtype != exact.dtype:  # rounded frequencies would be off more, the farther
            self.bands = exact.to(self.bands.device)
        return self

    def _make(self, shape: Shape, augment: bool = False) -> Tensor:
        changes = self.augmentation if augment else {}
        pair = build_rotary_pos_embed(
            shape, self.bands, rotate_half=self.rotate_half, **self.grid, **changes
        )
        return torch.cat(pair, -1)

    def update_feat_shape(self, feat_shape: Shape) -> None:
        """Keep the embedding of another map, where one is kept."""
        if self.pos_embed is not None and self.feat_shape != feat_shape:
            self.pos_embed = self._make(feat_shape).to(self.pos_embed.dtype)
            self.feat_shape = feat_shape

    def _embed(self, shape: Shape | None, dtype: torch.dtype | None) -> Tensor:
        augment = self.training and any(v is not None for v in self.augmentation.values())
        wanted = self.feat_shape if self.feat_shape is not None else shape
        if wanted is None:
            raise ValueError("no feat_shape is kept: give the shape of the map, (H, W) in tokens")
        kept = self.pos_embed
        emb = self._make(wanted, augment) if augment or kept is None else kept
        return emb if dtype is None else emb.to(dtype)

    def get_embed(self, shape: Shape | None = None, dtype: torch.dtype | None = None) -> Any:
        """The embedding of a map.

        Args:
            shape: (H, W), in tokens; not needed where `feat_shape` is kept, which then decides.
            dtype: type of the result; float32, or that of the kept one, if not given.

        Returns:
            (H * W, 2 * D).

        Raises:
            ValueError: no shape.
        """
        return self._embed(shape, dtype)

    def get_batch_embeds(
        self,
        shapes: Sequence[tuple[int, int]],
        seq_len: int | None = None,
        dtype: torch.dtype | None = None,
    ) -> Tensor | list[Tensor]:
        """The embeddings of several maps, in a list, or padded with zeros to `seq_len` tokens.

        Raises:
            RuntimeError: the embedding of one shape is kept.
        """
        if self.feat_shape is not None:
            raise RuntimeError("feat_shape is kept: build the embedding without it for many shapes")
        return pad_embeds([self._embed(shape, dtype) for shape in shapes], seq_len)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, D, H, W). Returns: the same shape, turned."""
        tokens = x.flatten(2).transpose(1, 2)  # (B, N, D)
        turned = apply_rot_embed_cat(tokens, self._embed(x.shape[2:], None), self.rotate_half)
        return turned.transpose(1, 2).reshape(x.shape)


class RotaryEmbedding(RotaryEmbeddingCat):
    """`RotaryEmbeddingCat` whose `get_embed` returns sine and cosine apart, each (H * W, D)."""

    def get_embed(self, shape: Shape | None = None, dtype: torch.dtype | None = None) -> Any:
        """Sine and cosine, see `RotaryEmbeddingCat.get_embed`."""
        return self._embed(shape, dtype).chunk(2, -1)


class RotaryEmbeddingDinoV3(RotaryEmbeddingCat):
    """Rotary embedding of DINOv3 (arXiv:2508.10104): middles of the tokens from -1 to 1.

    Args:
        dim: D, the width of a head; a multiple of 4.
        temperature: the periods are its powers from 0 to nearly 1.
        min_period: shortest period, in half maps; together with the next instead of `temperature`.
        max_period: longest period.
        feat_shape: see `RotaryEmbeddingCat`, as for the others.
        normalize_coords: likewise.
        grid_offset: likewise.
        grid_indexing: likewise.
        rotate_half: likewise.
        shift_coords: likewise.
        jitter_coords: likewise.
        rescale_coords: likewise.

    Raises:
        ValueError: neither temperature nor both periods.
    """

    def __init__(
        self,
        dim: int,
        temperature: float | None = 100.0,
        min_period: float | None = None,
        max_period: float | None = None,
        feat_shape: Shape | None = None,
        normalize_coords: str = "separate",
        grid_offset: float = 0.0,
        grid_indexing: str = "ij",
        rotate_half: bool = True,
        shift_coords: float | None = None,
        jitter_coords: float | None = None,
        rescale_coords: float | None = None,
    ) -> None:
        super().__init__(
            dim,
            feat_shape=feat_shape,
            grid_offset=grid_offset,
            grid_indexing=grid_indexing,
            rotate_half=rotate_half,
            grid_type="centered",
            normalize_coords=normalize_coords,
            shift_coords=shift_coords,
            jitter_coords=jitter_coords,
            rescale_coords=rescale_coords,
        )
        count = dim // 4
        if min_period is not None and max_period is not None:
            periods = min_period * (max_period / min_period) ** torch.linspace(0, 1, count)
        elif temperature is not None:
            periods = temperature ** (torch.arange(count, dtype=torch.float32) / count)
        else:
            raise ValueError("give temperature, or min_period and max_period")
        self._keep(2 * math.pi / periods)


class RotaryEmbeddingMixed(nn.Module):
    """Rotary embedding with learned directions (RoPE-ViT, arXiv:2403.13298).

    Each block and head has its own frequencies along both axes.

    Args:
        dim: width of all heads.
        depth: blocks.
        num_heads: heads.
        temperature: of the lengths of the frequencies at the start, see `freq_bands`.
        feat_shape: (H, W), in tokens, used where a call gives none.
        grid_indexing: "xy" counts columns first.
        shift_coords: see `RotaryEmbeddingCat`, as for the others.
        jitter_coords: likewise.
        rescale_coords: likewise.

    Raises:
        ValueError: the width of a head is no multiple of 4, or an augmentation is impossible.
    """

    def __init__(
        self,
        dim: int,
        depth: int,
        num_heads: int,
        temperature: float = 10.0,
        feat_shape: Shape | None = None,
        grid_indexing: str = "xy",
        shift_coords: float | None = None,
        jitter_coords: float | None = None,
        rescale_coords: float | None = None,
    ) -> None:
        super().__init__()
        head_dim = dim // num_heads
        if dim % num_heads or head_dim % 4:
            raise ValueError(f"dim={dim} in {num_heads} heads: each needs a multiple of 4 channels")
        check_augmentation(shift_coords, jitter_coords, rescale_coords)
        self.dim = dim
        self.depth = depth
        self.num_heads = num_heads
        self.temperature = temperature
        self.feat_shape = feat_shape
        self.grid_indexing = grid_indexing
        self.augmentation = dict(
            shift_coords=shift_coords, jitter_coords=jitter_coords, rescale_coords=rescale_coords
        )
        self.freqs = nn.Parameter(torch.empty(2, depth, num_heads, head_dim // 2))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw a direction per block and head; the second half of the pairs is at right angles."""
        length = freq_bands(self.freqs.shape[-1] // 2, self.temperature, step=1)
        angle = 2 * math.pi * torch.rand(self.depth, self.num_heads, 1)
        angle = torch.cat((angle, angle + math.pi / 2), -1).repeat_interleave(len(length), -1)
        with torch.no_grad():
            self.freqs.copy_(torch.stack((angle.cos(), angle.sin())) * length.repeat(2))

    def update_feat_shape(self, feat_shape: Shape) -> None:
        """Use another map where a call gives none."""
        if self.feat_shape is not None:
            self.feat_shape = feat_shape

    def get_embed(self, shape: Shape | None = None, dtype: torch.dtype | None = None) -> Tensor:
        """The embedding of a map for each block and head.

        Args:
            shape: (H, W), in tokens; `feat_shape` if not given.
            dtype: type of the result; that of the frequencies if not given.

        Returns:
            (depth, heads, H * W, 2 * D), D the width of a head.

        Raises:
            ValueError: no shape.
        """
        shape = self.feat_shape if shape is None else shape
        if shape is None:
            raise ValueError("no feat_shape is kept: give the shape of the map, (H, W) in tokens")
        device = self.freqs.device
        grid = grid_coordinates(shape, grid_indexing=self.grid_indexing, device=device)
        if self.training:
            grid = augment_coordinates(grid, **self.augmentation)
        emb = get_mixed_freqs(self.freqs, grid[:, 0], grid[:, 1])
        return emb.to(self.freqs.dtype if dtype is None else dtype)

    def get_batch_embeds(
        self,
        shapes: Sequence[tuple[int, int]],
        seq_len: int | None = None,
        dtype: torch.dtype | None = None,
    ) -> Tensor | list[Tensor]:
        """The embeddings of several maps, in a list, or padded with zeros to `seq_len` tokens."""
        return pad_embeds([self.get_embed(shape, dtype) for shape in shapes], seq_len)


def get_mixed_freqs(freqs: Tensor, t_x: Tensor, t_y: Tensor) -> Tensor:
    """Sine and cosine of learned frequencies (2, ..., D / 2) at N places.

    Args:
        freqs: frequencies along the first and the second axis.
        t_x: (N,), places on the first.
        t_y: (N,), places on the second.

    Returns:
        (..., N, 2 * D) float32, also where autocast would round.
    """
    first, second = freqs.float()
    angles = t_x[:, None] * first[..., None, :] + t_y[:, None] * second[..., None, :]
    return torch.cat((spread_pairs(angles.sin()), spread_pairs(angles.cos())), -1)


def pad_embeds(embeds: list[Tensor], seq_len: int | None) -> Tensor | list[Tensor]:
    """Stack embeddings (..., N, D) of several N, padded with zeros to `seq_len`; None: the list.

    Raises:
        ValueError: one is longer.
    """
    if seq_len is None or not embeds:
        return embeds
    longest = max(e.shape[-2] for e in embeds)
    if longest > seq_len:
        raise ValueError(f"seq_len={seq_len}: a map has {longest} tokens, give at least as many")
    pad = nn.functional.pad
    return torch.stack([pad(e, (0, 0, 0, seq_len - e.shape[-2])) for e in embeds])
