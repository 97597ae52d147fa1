"""The block of a vision transformer (arXiv:2010.11929, figure 1)."""

from __future__ import annotations

from torch import Tensor, nn

from ..attention.attention import Attention
from ..attention.by_name import get_attention_layer
from ..drop import create_drop_path
from ..mlp.by_name import get_mlp_layer
from ..mlp.mlp import LayerScale, Mlp
from ..names import LayerFactory, LayerType


class TransformerBlock(nn.Module):
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
        mlp_layer: name, class or partial of the MLP, see `get_mlp_layer`.
        attn_layer: name, class or partial of the attention, see `get_attention_layer`.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = False,
        qk_norm: bool = False,
        proj_bias: bool = True,
        proj_drop: float = 0.0,
        attn_drop: float = 0.0,
        init_values: float | None = None,
        drop_path: float = 0.0,
        act_layer: LayerType = nn.GELU,
        norm_layer: LayerFactory = nn.LayerNorm,
        mlp_layer: LayerType = Mlp,
        attn_layer: LayerType = Attention,
    ) -> None:
        super().__init__()
        self.norm1 = norm_layer(dim)
        self.attn = get_attention_layer(attn_layer)(
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
        self.drop_path1 = create_drop_path(drop_path)
        self.norm2 = norm_layer(dim)
        self.mlp = get_mlp_layer(mlp_layer)(
            dim, int(dim * mlp_ratio), act_layer=act_layer, bias=proj_bias, drop=proj_drop
        )
        self.ls2 = LayerScale(dim, init_values) if init_values else nn.Identity()
        self.drop_path2 = create_drop_path(drop_path)

    def forward(self, x: Tensor, attn_mask: Tensor | None = None) -> Tensor:
        """x: (B, N, D); attn_mask: see `Attention`. Returns: the shape of x."""
        y = self.norm1(x)
        y = self.attn(y) if attn_mask is None else self.attn(y, attn_mask=attn_mask)
        x = x + self.drop_path1(self.ls1(y))
        return x + self.drop_path2(self.ls2(self.mlp(self.norm2(x))))
