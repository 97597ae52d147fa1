"""Multi-head self-attention on tokens (arXiv:1706.03762)."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ..names import LayerFactory


class Attention(nn.Module):
    """Multi-head self-attention with one projection to queries, keys and values.

    With the attribute `fused_attn` set to False it is computed step by step: a forward hook of
    `attn_drop` then sees the weights (B, heads, N, N).

    Args:
        dim: D of the input (B, N, D).
        num_heads: heads that D is divided into.
        qkv_bias: biases of the projection to queries, keys and values.
        qk_norm: normalize queries and keys per head (arXiv:2302.05442).
        proj_bias: bias of the projection after the heads.
        attn_drop: dropout rate of the attention weights.
        proj_drop: dropout rate after the last projection.
        norm_layer: class or partial of the norm of queries and keys; needed for `qk_norm`.
        device: where the parameters live.
        dtype: type of the parameters.

    Raises:
        ValueError: the heads do not divide `dim`, or `qk_norm` has no `norm_layer`.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int = 8,
        *,
        qkv_bias: bool = False,
        qk_norm: bool = False,
        proj_bias: bool = True,
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
        norm_layer: LayerFactory | None = None,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"num_heads={num_heads} does not divide the width {dim}")
        if qk_norm and norm_layer is None:
            raise ValueError("qk_norm=True needs a norm_layer")
        factory: dict[str, Any] = dict(device=device, dtype=dtype)
        self.fused_attn = True
        self.num_heads = num_heads
        self.head_dim = dim // num_heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias, **factory)
        norm = norm_layer if qk_norm and norm_layer is not None else None
        self.q_norm = nn.Identity() if norm is None else norm(self.head_dim, **factory)
        self.k_norm = nn.Identity() if norm is None else norm(self.head_dim, **factory)
        self.attn_drop = nn.Dropout(attn_drop)
        self.proj = nn.Linear(dim, dim, bias=proj_bias, **factory)
        self.proj_drop = nn.Dropout(proj_drop)

    def forward(self, x: torch.Tensor, attn_mask: torch.Tensor | None = None) -> torch.Tensor:
        """Mix the tokens.

        Args:
            x: (B, N, D).
            attn_mask: broadcasts to (B, heads, N, N); True where a token may look, or a number
                that is added to the logits.

        Returns:
            (B, N, D).
        """
        qkv = self.qkv(x).unflatten(-1, (3, self.num_heads, self.head_dim))
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, heads, N, head_dim)
        q, k = self.q_norm(q), self.k_norm(k)
        x = attend(q, k, v, self.attn_drop, attn_mask, fused=self.fused_attn)
        x = x.transpose(1, 2).flatten(2)  # (B, N, D)
        return self.proj_drop(self.proj(x))


def attend(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    drop: nn.Dropout,
    attn_mask: torch.Tensor | None = None,
    is_causal: bool = False,
    fused: bool = True,
) -> torch.Tensor:
    """Mix values by the likeness of queries and keys.

    Args:
        q: (B, heads, Nq, head_dim).
        k: (B, heads, N, head_dim).
        v: (B, heads, N, width).
        drop: dropout of the weights, in training.
        attn_mask: broadcasts to (B, heads, Nq, N); True where a query may look, or a number that
            is added to the logits.
        is_causal: a token sees itself and those before it; then there is no mask.
        fused: in one kernel; else step by step, so that a hook of `drop` sees the weights.

    Returns:
        (B, heads, Nq, width).
    """
    if fused:
        rate = drop.p if drop.training else 0.0
        return F.scaled_dot_product_attention(
            q, k, v, attn_mask=attn_mask, dropout_p=rate, is_causal=is_causal
        )
    logits = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)  # (B, heads, Nq, N)
    if is_causal:
        attn_mask = torch.ones_like(logits[0, 0], dtype=torch.bool).tril()
    return drop(_masked(logits, attn_mask).softmax(dim=-1)) @ v


def _masked(logits: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    if mask is None:
        return logits
    if mask.dtype is torch.bool:
        return logits.masked_fill(~mask, float("-inf"))
    return logits + mask
