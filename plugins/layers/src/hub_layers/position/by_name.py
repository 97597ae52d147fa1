"""Rotary embeddings by name."""

from typing import Any

from torch import nn

from ..names import LayerFactory, NameTable
from .rotary import (
    RotaryEmbedding,
    RotaryEmbeddingCat,
    RotaryEmbeddingDinoV3,
    RotaryEmbeddingMixed,
)

ROPES: NameTable[LayerFactory] = NameTable(
    "rotary embedding",
    {
        "base": RotaryEmbedding,
        "cat": RotaryEmbeddingCat,
        "mixed": RotaryEmbeddingMixed,
        "dinov3": RotaryEmbeddingDinoV3,
    },
)
# What "base" and "cat" know and the others have no use for: one call may name any kind.
_ONLY_FIXED = ("in_pixels", "ref_feat_shape")


def create_rope_embed(
    rope_type: str = "cat", dim: int = 768, num_heads: int = 12, **kwargs: Any
) -> nn.Module:
    """Build a rotary embedding.

    Args:
        rope_type: "base", "cat", "mixed" or "dinov3".
        dim: width of all heads.
        num_heads: heads.
        kwargs: options of the kind.

    Raises:
        UnknownLayerError: another kind.
        ValueError: `rotate_half` for "mixed", whose pairs are neighbours.
    """
    rope = ROPES[rope_type]
    if rope_type in ("base", "cat"):
        return rope(dim // num_heads, **kwargs)
    kwargs = {k: v for k, v in kwargs.items() if k not in _ONLY_FIXED}
    if rope_type == "dinov3":
        return rope(dim // num_heads, **kwargs)
    if kwargs.pop("rotate_half", False):
        raise ValueError("rope_type='mixed' turns neighbours: leave rotate_half out")
    return rope(dim, num_heads=num_heads, **kwargs)
