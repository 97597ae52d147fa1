"""Self-attention whose queries and keys turn with their position."""

from typing import Any

import torch
from torch import nn

from ..names import LayerFactory
from ..position.rotary import apply_rot_embed_cat
from .attention import attend


class AttentionRope(nn.Module):
    """Multi-head self-attention with rotary position embedding.

    With the attribute `fused_attn` set to False it is computed step by step: a forward hook of
    `attn_drop` then sees the weights (B, heads, N, N).

    Args:
        dim: D of the input.
        num_heads: heads of the queries.
        dim_out: D of the output; `dim` if not given.
        qkv_bias: biases of queries, keys and values.
        qkv_fused: one projection to all three, else three.
        num_prefix_tokens: tokens at the start that have no position.
        attn_drop: dropout rate of the attention weights.
        proj_drop: dropout rate after the last projection.
        attn_head_dim: width of a head; `dim / num_heads` if not given.
        norm_layer: class or partial of the norms; needed for the next two.
        qk_norm: normalize queries and keys per head.
        scale_norm: normalize what the heads give.
        proj_bias: bias of the last projection.
        rotate_half: channels of a pair are half the width apart, see `apply_rot_embed`.
        gated: a sigmoid of the input multiplies what the heads give.
        num_kv_heads: heads of keys and values, each for several of the queries
            (arXiv:2305.13245); `num_heads` if not given.

    Raises:
        ValueError: the heads do not divide `dim` or each other, no norm for a norm that is asked
            for, or fewer heads of keys with one projection.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int = 8,
        dim_out: int | None = None,
        qkv_bias: bool = True,
        qkv_fused: bool = True,
        num_prefix_tokens: int = 1,
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
        attn_head_dim: int | None = None,
        norm_layer: LayerFactory | None = None,
        qk_norm: bool = False,
        scale_norm: bool = False,
        proj_bias: bool = True,
        rotate_half: bool = False,
        gated: bool = False,
        num_kv_heads: int | None = None,
    ) -> None:
        super().__init__()
        kv_heads = num_kv_heads or num_heads
        if attn_head_dim is None and dim % num_heads:
            raise ValueError(f"num_heads={num_heads} does not divide the width {dim}")
        if num_heads % kv_heads:
            raise ValueError(f"num_kv_heads={kv_heads} does not divide num_heads={num_heads}")
        if qkv_fused and kv_heads != num_heads:
            raise ValueError(f"num_kv_heads={kv_heads} needs qkv_fused=False")
        if (qk_norm or scale_norm) and norm_layer is None:
            raise ValueError("qk_norm=True and scale_norm=True need a norm_layer")
        norm: LayerFactory = norm_layer or nn.Identity
        self.num_heads = num_heads
        self.head_dim = attn_head_dim or dim // num_heads
        self.kv_groups = num_heads // kv_heads
        self.num_prefix_tokens = num_prefix_tokens
        self.rotate_half = rotate_half
        self.fused_attn = True
        width, kv_width = self.head_dim * num_heads, self.head_dim * kv_heads
        self._build_qkv(dim, width, kv_width, qkv_bias, qkv_fused)
        self.q_norm = norm(self.head_dim) if qk_norm else nn.Identity()
        self.k_norm = norm(self.head_dim) if qk_norm else nn.Identity()
        self.attn_drop = nn.Dropout(attn_drop)
        self.norm = norm(width) if scale_norm else nn.Identity()
        self.gate = nn.Linear(dim, width, bias=qkv_bias) if gated else None
        self.proj = nn.Linear(width, dim_out or dim, bias=proj_bias)
        self.proj_drop = nn.Dropout(proj_drop)

    def _build_qkv(self, dim: int, width: int, kv_width: int, bias: bool, fused: bool) -> None:
        """Set the projections to queries, keys and values; those not used are None."""
        self.qkv = nn.Linear(dim, 3 * width, bias=bias) if fused else None
        self.q_proj = None if fused else nn.Linear(dim, width, bias=bias)
        self.k_proj = None if fused else nn.Linear(dim, kv_width, bias=bias)
        self.v_proj = None if fused else nn.Linear(dim, kv_width, bias=bias)

    def _project(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """x: (B, N, D). Returns: queries, keys, values, each (B, N, width)."""
        if self.qkv is not None:
            return self.qkv(x).chunk(3, -1)
        assert self.q_proj is not None and self.k_proj is not None and self.v_proj is not None
        return self.q_proj(x), self.k_proj(x), self.v_proj(x)

    def _turn(self, x: torch.Tensor, rope: torch.Tensor) -> torch.Tensor:
        """Turn all but the prefix tokens of x: (B, heads, N, head_dim)."""
        before, after = x.tensor_split((self.num_prefix_tokens,), 2)
        return torch.cat((before, apply_rot_embed_cat(after, rope, self.rotate_half)), 2)

    def forward(
        self,
        x: torch.Tensor,
        rope: torch.Tensor | None = None,
        attn_mask: torch.Tensor | None = None,
        is_causal: bool = False,
    ) -> torch.Tensor:
        """Mix the tokens.

        Args:
            x: (B, N, D).
            rope: (N without prefix tokens, 2 * head_dim), or with axes that broadcast to B and
                heads before; None for no positions.
            attn_mask: see `attend`, as for the last.
            is_causal: likewise.

        Returns:
            (B, N, dim_out).
        """
        by_head = *x.shape[:2], -1, self.head_dim
        parts = (t.reshape(by_head).transpose(1, 2) for t in self._project(x))
        q, k, v = parts  # each (B, heads, N, head_dim)
        q, k = self.q_norm(q), self.k_norm(k)
        if rope is not None:
            q, k = self._turn(q, rope).type_as(v), self._turn(k, rope).type_as(v)
        if self.kv_groups > 1:
            k, v = (t.repeat_interleave(self.kv_groups, 1) for t in (k, v))
        y = attend(q, k, v, self.attn_drop, attn_mask, is_causal, self.fused_attn)
        y = self.norm(y.transpose(1, 2).flatten(2))  # (B, N, width)
        if self.gate is not None:
            y = y * self.gate(x).sigmoid()
        return self.proj_drop(self.proj(y))


class EvaAttention(AttentionRope):
    """`AttentionRope` of EVA (arXiv:2211.07636): keys have no bias.

    Args:
        dim: see `AttentionRope`, as for those that it has.
        num_heads: likewise.
        qkv_bias: biases of queries and values; with one projection, `q_bias` and `v_bias`.
        qkv_fused: likewise.
        qkv_bias_separate: add the biases after the projection, as some recipes round it.
        num_prefix_tokens: likewise.
        attn_drop: likewise.
        proj_drop: likewise.
        attn_head_dim: likewise.
        norm_layer: likewise.
        qk_norm: likewise.
        scale_norm: likewise.
        rotate_half: likewise.
        gated: likewise.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int = 8,
        qkv_bias: bool = True,
        qkv_fused: bool = True,
        qkv_bias_separate: bool = False,
        num_prefix_tokens: int = 1,
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
        attn_head_dim: int | None = None,
        norm_layer: LayerFactory | None = None,
        qk_norm: bool = False,
        scale_norm: bool = True,
        rotate_half: bool = False,
        gated: bool = False,
    ) -> None:
        shape: dict[str, Any] = dict(num_heads=num_heads, attn_head_dim=attn_head_dim, gated=gated)
        norms: dict[str, Any] = dict(norm_layer=norm_layer, qk_norm=qk_norm, scale_norm=scale_norm)
        drops: dict[str, Any] = dict(attn_drop=attn_drop, proj_drop=proj_drop)
        turns: dict[str, Any] = dict(num_prefix_tokens=num_prefix_tokens, rotate_half=rotate_half)
        super().__init__(
            dim, qkv_bias=qkv_bias, qkv_fused=qkv_fused, **shape, **norms, **drops, **turns
        )
        self.qkv_bias_separate = qkv_bias_separate

    def _build_qkv(self, dim: int, width: int, kv_width: int, bias: bool, fused: bool) -> None:
        super()._build_qkv(dim, width, kv_width, bias and not fused, fused)
        if not fused:
            self.k_proj = nn.Linear(dim, kv_width, bias=False)
        zeros: Any = (lambda: nn.Parameter(torch.zeros(width))) if fused and bias else lambda: None
        self.q_bias, self.v_bias = zeros(), zeros()

    def _project(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        if self.qkv is None or self.q_bias is None:
            return super()._project(x)
        bias = torch.cat((self.q_bias, torch.zeros_like(self.q_bias), self.v_bias))
        if self.qkv_bias_separate:
            return (self.qkv(x) + bias).chunk(3, -1)
        return nn.functional.linear(x, self.qkv.weight, bias).chunk(3, -1)
