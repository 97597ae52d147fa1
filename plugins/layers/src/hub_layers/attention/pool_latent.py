"""Tokens pooled by learned queries (SigLIP's head, arXiv:2303.15343)."""

import torch
from torch import nn

from ..init import trunc_normal_tf_
from ..mlp.mlp import Mlp
from ..names import LayerFactory, LayerType
from .attention import attend


class AttentionPoolLatent(nn.Module):
    """Learned queries attend to all tokens, an MLP follows.

    With the attribute `fused_attn` set to False the attention is computed step by step.

    Args:
        in_features: D of the input.
        out_features: D of the output; `in_features` if not given; 0 leaves out all that follows
            the attention.
        embed_dim: width of the attention; that of the input.
        num_heads: heads of the attention.
        feat_size: tokens of the input; needed for `pos_embed`.
        mlp_ratio: width inside the MLP, as a multiple of D of the output.
        qkv_bias: biases of queries, keys and values.
        q_proj: project the queries; else they are used as they are learned.
        qk_norm: normalize queries and keys per head.
        latent_len: queries.
        latent_dim: width of the queries before their projection; `embed_dim` if not given.
        pos_embed: "abs" adds a learned position embedding, "" none.
        pool_type: "token" returns the first query's answer, "avg" their mean, "" all.
        norm_layer: class or partial of the norm before the MLP (none if not given), and of
            queries and keys (LayerNorm if not given).
        act_layer: activation of the MLP by name, class or partial.
        drop: dropout rate after the projection.

    Raises:
        ValueError: widths that do not fit each other, or `pos_embed` without `feat_size`.
    """

    pos_embed: nn.Parameter | None

    def __init__(
        self,
        in_features: int,
        out_features: int | None = None,
        embed_dim: int | None = None,
        num_heads: int = 8,
        feat_size: int | None = None,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        q_proj: bool = True,
        qk_norm: bool = False,
        latent_len: int = 1,
        latent_dim: int | None = None,
        pos_embed: str = "",
        pool_type: str = "token",
        norm_layer: LayerFactory | None = None,
        act_layer: LayerType = nn.GELU,
        drop: float = 0.0,
    ) -> None:
        super().__init__()
        width = embed_dim or in_features
        out = in_features if out_features is None else out_features
        self.latent_dim = latent_dim or width
        if width % num_heads:
            raise ValueError(f"num_heads={num_heads} does not divide the width {width}")
        if not q_proj and self.latent_dim != width:
            raise ValueError(
                f"latent_dim={latent_dim} needs q_proj=True: the attention is {width} wide"
            )
        if pos_embed == "abs" and feat_size is None:
            raise ValueError("pos_embed='abs' needs feat_size, the number of tokens")
        self.num_heads = num_heads
        self.pool = pool_type
        self.fused_attn = True
        shape = (feat_size or 0, in_features)
        self.pos_embed = nn.Parameter(torch.zeros(shape)) if pos_embed == "abs" else None
        self.latent = nn.Parameter(torch.zeros(1, latent_len, self.latent_dim))
        self.q = nn.Linear(self.latent_dim, width, bias=qkv_bias) if q_proj else nn.Identity()
        self.kv = nn.Linear(width, 2 * width, bias=qkv_bias)
        norm: LayerFactory = norm_layer or nn.LayerNorm
        self.q_norm = norm(width // num_heads) if qk_norm else nn.Identity()
        self.k_norm = norm(width // num_heads) if qk_norm else nn.Identity()
        self.proj = nn.Linear(width, out) if out else nn.Identity()
        self.proj_drop = nn.Dropout(drop)
        self.norm = norm_layer(out) if norm_layer is not None and out else nn.Identity()
        self.mlp = Mlp(out, int(out * mlp_ratio), act_layer=act_layer) if out else None
        self.out_features = out or width
        self.init_weights()

    def init_weights(self) -> None:
        """Draw queries and positions with a deviation of 1 / sqrt(width)."""
        for tensor in (self.pos_embed, self.latent):
            if tensor is not None:
                trunc_normal_tf_(tensor, std=tensor.shape[-1] ** -0.5)

    def forward(self, x: torch.Tensor, attn_mask: torch.Tensor | None = None) -> torch.Tensor:
        """Pool the tokens.

        Args:
            x: (B, N, D).
            attn_mask: broadcasts to (B, heads, latent_len, N), see `Attention`.

        Returns:
            (B, out_features), or (B, latent_len, out_features) where nothing is pooled.
        """
        if self.pos_embed is not None:
            x = x + self.pos_embed.to(x.dtype)
        parts = self.q(self.latent.expand(len(x), -1, -1)), *self.kv(x).chunk(2, -1)
        q, k, v = (t.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for t in parts)
        no_drop = nn.Dropout(0.0)  # timm drops no weights here
        x = attend(self.q_norm(q), self.k_norm(k), v, no_drop, attn_mask, fused=self.fused_attn)
        x = self.proj_drop(self.proj(x.transpose(1, 2).flatten(2)))  # (B, latent_len, D)
        if self.mlp is not None:
            x = x + self.mlp(self.norm(x))
        match self.pool:
            case "token":
                return x[:, 0]
            case "avg":
                return x.mean(1)
        return x
