"""The block of a vision transformer (arXiv:2010.11929, figure 1)."""

from __future__ import annotations

from hub_layers import Attention, DropPath, LayerFactory, LayerScale, Mlp
from torch import Tensor, nn


class Block(nn.Module):
    """Attention, then an MLP, each with a norm before it and a shortcut around it.

    Args:
        dim: D of the tokens.
        num_heads: heads of the attention.
        mlp_ratio: width inside the MLP, as a multiple of D.
        qkv_bias: biases of queries, keys and values.
        qk_norm: normalize queries and keys.
        proj_bias: biases of the projection after the heads and of the MLP.
        proj_drop: dropout after the attention and in the MLP.
        attn_drop: dropout of the attention weights.
        init_values: layer scale at the start; None for none.
        drop_path: stochastic-depth rate.
        act_layer: activation of the MLP.
        norm_layer: class or partial of the norms.
        mlp_layer: class or partial of the MLP.
        attn_layer: class or partial of the attention.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        qk_norm: bool = False,
        proj_bias: bool = True,
        proj_drop: float = 0.0,
        attn_drop: float = 0.0,
        init_values: float | None = None,
        drop_path: float = 0.0,
        act_layer: LayerFactory,
        norm_layer: LayerFactory,
        mlp_layer: LayerFactory = Mlp,
        attn_layer: LayerFactory = Attention,
    ) -> None:
        super().__init__()
        self.norm1 = norm_layer(dim)
        self.attn = attn_layer(
            dim,
            num_heads,
            qkv_bias=qkv_bias,
            qk_norm=qk_norm,
            proj_bias=proj_bias,
            attn_drop=attn_drop,
            proj_drop=proj_drop,
            norm_layer=norm_layer,
        )
        self.ls1 = LayerScale(dim, init_values) if init_values else nn.Identity()
        self.drop_path1 = DropPath(drop_path) if drop_path else nn.Identity()
        self.norm2 = norm_layer(dim)
        self.mlp = mlp_layer(
            dim, int(dim * mlp_ratio), act_layer=act_layer, bias=proj_bias, drop=proj_drop
        )
        self.ls2 = LayerScale(dim, init_values) if init_values else nn.Identity()
        self.drop_path2 = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, N, D). Returns: the same shape."""
        x = x + self.drop_path1(self.ls1(self.attn(self.norm1(x))))
        return x + self.drop_path2(self.ls2(self.mlp(self.norm2(x))))
