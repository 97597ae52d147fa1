"""Attention of the class token to all tokens (CaiT, arXiv:2103.17239)."""

import torch
from torch import nn

from .attention import attend


class ClassAttn(nn.Module):
    """Class attention with three projections (CaiT, XCiT).

    Args:
        dim: D of the input.
        num_heads: heads that D is divided into.
        qkv_bias: biases of queries, keys and values.
        attn_drop: dropout rate of the attention weights.
        proj_drop: dropout rate after the last projection.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int = 8,
        qkv_bias: bool = False,
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.fused_attn = True
        self.q = nn.Linear(dim, dim, bias=qkv_bias)
        self.k = nn.Linear(dim, dim, bias=qkv_bias)
        self.v = nn.Linear(dim, dim, bias=qkv_bias)
        self.attn_drop = nn.Dropout(attn_drop)
        self.proj = nn.Linear(dim, dim)
        self.proj_drop = nn.Dropout(proj_drop)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (B, N, D), class token first. Returns: (B, 1, D), the class token."""
        parts = self.q(x[:, :1]), self.k(x), self.v(x)
        q, k, v = (t.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for t in parts)
        y = attend(q, k, v, self.attn_drop, fused=self.fused_attn)  # (B, heads, 1, head_dim)
        return self.proj_drop(self.proj(y.transpose(1, 2).flatten(2)))


class ClassAttention(nn.Module):
    """Class attention with one projection to keys and values (VOLO, arXiv:2106.13112).

    Args:
        dim: D of the input.
        num_heads: heads.
        head_dim: width of a head; `dim / num_heads` if not given.
        qkv_bias: biases of queries, keys and values.
        attn_drop: dropout rate of the attention weights.
        proj_drop: dropout rate after the last projection.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int = 8,
        head_dim: int | None = None,
        qkv_bias: bool = False,
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.fused_attn = True
        width = num_heads * (head_dim or dim // num_heads)
        self.kv = nn.Linear(dim, 2 * width, bias=qkv_bias)
        self.q = nn.Linear(dim, width, bias=qkv_bias)
        self.attn_drop = nn.Dropout(attn_drop)
        self.proj = nn.Linear(width, dim)
        self.proj_drop = nn.Dropout(proj_drop)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (B, N, D), class token first. Returns: (B, 1, D), the class token."""
        parts = self.q(x[:, :1]), *self.kv(x).chunk(2, -1)
        q, k, v = (t.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for t in parts)
        y = attend(q, k, v, self.attn_drop, fused=self.fused_attn)  # (B, heads, 1, head_dim)
        return self.proj_drop(self.proj(y.transpose(1, 2).flatten(2)))
