"""Blocks that change the class token alone, after the others (CaiT, arXiv:2103.17239)."""

import torch
from torch import Tensor, nn

from ..attention.class_attention import ClassAttention, ClassAttn
from ..drop import create_drop_path
from ..mlp.mlp import Mlp
from ..names import LayerFactory, LayerType


class LayerScaleBlockClassAttn(nn.Module):
    """The class-attention block of CaiT, which is given the class token apart.

    Args:
        dim: D of the tokens.
        num_heads: heads of the attention.
        mlp_ratio: width inside the MLP, as a multiple of D.
        qkv_bias: biases of queries, keys and values.
        proj_drop: dropout after the attention and in the MLP.
        attn_drop: dropout of the attention weights.
        drop_path: stochastic-depth rate.
        act_layer: activation of the MLP.
        norm_layer: class or partial of the norms.
        attn_block: class or partial of the attention.
        mlp_block: class or partial of the MLP.
        init_values: layer scale at the start.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = False,
        proj_drop: float = 0.0,
        attn_drop: float = 0.0,
        drop_path: float = 0.0,
        act_layer: LayerType = nn.GELU,
        norm_layer: LayerFactory = nn.LayerNorm,
        attn_block: LayerFactory = ClassAttn,
        mlp_block: LayerFactory = Mlp,
        init_values: float = 1e-4,
    ) -> None:
        super().__init__()
        self.gamma_1 = nn.Parameter(torch.full((dim,), init_values))
        self.gamma_2 = nn.Parameter(torch.full((dim,), init_values))
        drops = dict(attn_drop=attn_drop, proj_drop=proj_drop)
        self.norm1 = norm_layer(dim)
        self.attn = attn_block(dim, num_heads=num_heads, qkv_bias=qkv_bias, **drops)
        self.drop_path = create_drop_path(drop_path)
        self.norm2 = norm_layer(dim)
        self.mlp = mlp_block(dim, int(dim * mlp_ratio), act_layer=act_layer, drop=proj_drop)

    def forward(self, x: Tensor, x_cls: Tensor) -> Tensor:
        """x: (B, N, D), the patches; x_cls: (B, 1, D). Returns: (B, 1, D), the class token."""
        seen = self.attn(self.norm1(torch.cat((x_cls, x), 1)))
        x_cls = x_cls + self.drop_path(self.gamma_1 * seen)
        return x_cls + self.drop_path(self.gamma_2 * self.mlp(self.norm2(x_cls)))


class ClassBlock(nn.Module):
    """The class-attention block of VOLO (arXiv:2106.13112).

    Args:
        dim: D of the tokens.
        num_heads: heads of the attention.
        head_dim: width of a head; D / heads if not given.
        mlp_ratio: width inside the MLP, as a multiple of D.
        qkv_bias: biases of queries, keys and values.
        drop: dropout after the attention and in the MLP.
        attn_drop: dropout of the attention weights.
        drop_path: stochastic-depth rate.
        act_layer: activation of the MLP.
        norm_layer: class or partial of the norms.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        head_dim: int | None = None,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = False,
        drop: float = 0.0,
        attn_drop: float = 0.0,
        drop_path: float = 0.0,
        act_layer: LayerType = nn.GELU,
        norm_layer: LayerFactory = nn.LayerNorm,
    ) -> None:
        super().__init__()
        self.norm1 = norm_layer(dim)
        self.attn = ClassAttention(dim, num_heads, head_dim, qkv_bias, attn_drop, drop)
        self.drop_path1 = create_drop_path(drop_path)
        self.norm2 = norm_layer(dim)
        self.mlp = Mlp(dim, int(dim * mlp_ratio), act_layer=act_layer, drop=drop)
        self.drop_path2 = create_drop_path(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, N, D), class token first. Returns: the same shape; patches as they were."""
        token, patches = x[:, :1], x[:, 1:]
        token = token + self.drop_path1(self.attn(self.norm1(x)))
        token = token + self.drop_path2(self.mlp(self.norm2(token)))
        return torch.cat((token, patches), 1)
