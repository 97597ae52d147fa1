"""The block of EVA (arXiv:2211.07636, arXiv:2303.11331) and of DINOv3 (arXiv:2508.10104)."""

from typing import Any

import torch
from torch import Tensor, nn

from ..attention.rope import AttentionRope, EvaAttention
from ..drop import create_drop_path
from ..mlp.gated import SwiGLU, SwiGLUPacked
from ..mlp.mlp import Mlp
from ..names import LayerFactory, LayerType


class EvaBlock(nn.Module):
    """Attention with rotary positions, then an MLP, each with a norm before it and a shortcut.

    Args:
        dim: D of the tokens.
        num_heads: heads of the attention.
        qkv_bias: biases of queries, keys (not in EVA's attention) and values.
        qkv_fused: one projection to queries, keys and values, else three.
        mlp_ratio: width inside the MLP, as a multiple of D.
        swiglu_mlp: a gated MLP, see `SwiGLU`; packed where nothing asks for two layers.
        swiglu_align_to: round its width up to a multiple of it; 0 leaves it.
        scale_mlp: a norm inside the MLP.
        scale_attn_inner: a norm inside the attention.
        num_prefix_tokens: tokens at the start that have no position.
        attn_type: "eva" or "rope", see `EvaAttention` and `AttentionRope`.
        rotate_half: see `apply_rot_embed`.
        gated_attn: see `AttentionRope`, as for the next two.
        qk_norm: likewise.
        num_kv_heads: likewise; for "rope" only.
        proj_drop: dropout after the attention and in the MLP.
        attn_drop: dropout of the attention weights.
        drop_path: stochastic-depth rate.
        init_values: layer scale at the start; None for none.
        attn_only_layer_scale: no layer scale after the MLP.
        act_layer: activation of a plain MLP.
        norm_layer: class or partial of the norms.
        attn_head_dim: width of a head; D / heads if not given.

    Raises:
        ValueError: another attention, or fewer heads of keys for "eva".
    """

    gamma_1: nn.Parameter | None
    gamma_2: nn.Parameter | None

    def __init__(
        self,
        dim: int,
        num_heads: int,
        qkv_bias: bool = True,
        qkv_fused: bool = True,
        mlp_ratio: float = 4.0,
        swiglu_mlp: bool = False,
        swiglu_align_to: int = 0,
        scale_mlp: bool = False,
        scale_attn_inner: bool = False,
        num_prefix_tokens: int = 1,
        attn_type: str = "eva",
        rotate_half: bool = False,
        gated_attn: bool = False,
        qk_norm: bool = False,
        num_kv_heads: int | None = None,
        proj_drop: float = 0.0,
        attn_drop: float = 0.0,
        drop_path: float = 0.0,
        init_values: float | None = None,
        attn_only_layer_scale: bool = False,
        act_layer: LayerType = nn.GELU,
        norm_layer: LayerFactory = nn.LayerNorm,
        attn_head_dim: int | None = None,
    ) -> None:
        super().__init__()
        norms: dict[str, Any] = dict(norm_layer=norm_layer, scale_norm=scale_attn_inner)
        drops: dict[str, Any] = dict(proj_drop=proj_drop, attn_drop=attn_drop)
        turns: dict[str, Any] = dict(rotate_half=rotate_half, num_prefix_tokens=num_prefix_tokens)
        shape: dict[str, Any] = dict(attn_head_dim=attn_head_dim, gated=gated_attn)
        options = norms | drops | turns | shape
        options |= dict(qk_norm=qk_norm, qkv_fused=qkv_fused, qkv_bias=qkv_bias)
        self.init_values = init_values
        scaled = init_values is not None
        self.gamma_1 = nn.Parameter(torch.empty(dim)) if scaled else None
        mlp_scaled = scaled and not attn_only_layer_scale
        self.gamma_2 = nn.Parameter(torch.empty(dim)) if mlp_scaled else None
        self.norm1 = norm_layer(dim)
        self.attn = _attention(attn_type, dim, num_heads, num_kv_heads, options)
        self.drop_path1 = create_drop_path(drop_path)
        self.norm2 = norm_layer(dim)
        self.mlp = _mlp(
            dim,
            int(dim * mlp_ratio),
            swiglu=swiglu_mlp,
            align_to=swiglu_align_to,
            act_layer=act_layer,
            norm_layer=norm_layer if scale_mlp else None,
            drop=proj_drop,
        )
        self.drop_path2 = create_drop_path(drop_path)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the layer scales to `init_values`."""
        for gamma in (self.gamma_1, self.gamma_2):
            if gamma is not None:
                nn.init.constant_(gamma, self.init_values or 0.0)

    def forward(
        self,
        x: Tensor,
        rope: Tensor | None = None,
        attn_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        """x: (B, N, D); the others: see `AttentionRope`. Returns: the shape of x."""
        y = self.attn(self.norm1(x), rope=rope, attn_mask=attn_mask, is_causal=is_causal)
        x = x + self.drop_path1(y if self.gamma_1 is None else self.gamma_1 * y)
        y = self.mlp(self.norm2(x))
        return x + self.drop_path2(y if self.gamma_2 is None else self.gamma_2 * y)


def _attention(
    kind: str, dim: int, num_heads: int, num_kv_heads: int | None, options: dict[str, Any]
) -> nn.Module:
    match kind:
        case "rope":
            return AttentionRope(dim, num_heads, num_kv_heads=num_kv_heads, **options)
        case "eva" if num_kv_heads in (None, num_heads):
            return EvaAttention(dim, num_heads, **options)
        case "eva":
            raise ValueError(f"num_kv_heads={num_kv_heads} needs attn_type='rope'")
    raise ValueError(f"attn_type={kind!r}: it can be 'eva' or 'rope'")


def _mlp(
    dim: int,
    hidden: int,
    *,
    swiglu: bool,
    align_to: int,
    act_layer: LayerType,
    norm_layer: LayerFactory | None,
    drop: float,
) -> nn.Module:
    if not swiglu:
        return Mlp(dim, hidden, act_layer=act_layer, norm_layer=norm_layer, drop=drop)
    if norm_layer is not None or align_to:
        return SwiGLU(dim, hidden, norm_layer=norm_layer, drop=drop, align_to=align_to)
    return SwiGLUPacked(dim, 2 * hidden, drop=drop)
