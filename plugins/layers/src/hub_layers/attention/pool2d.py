"""Maps pooled by the attention of one token to all positions (CLIP, arXiv:2103.00020)."""

from typing import Any

import torch
from torch import nn

from ..position.by_name import create_rope_embed
from ..position.resample import resample_abs_pos_embed
from ..position.rotary import apply_rot_embed_cat
from ..tuples import to_2tuple
from .attention import attend

POOLS = ("", "token")


class _MapPool(nn.Module):
    """What both pools share: a head object whose pool is an attention."""

    cls_token: nn.Parameter | None
    pos_embed: Any  # a parameter or a module

    def __init__(
        self,
        in_features: int,
        out_features: int | None,
        embed_dim: int | None,
        head_dim: int,
        num_heads: int | None,
        qkv_bias: bool,
        qkv_separate: bool,
        pool_type: str,
        class_token: bool,
        drop_rate: float,
    ) -> None:
        super().__init__()
        width = embed_dim or in_features
        heads = num_heads or width // head_dim
        if not heads or width % heads or (num_heads is None and width % head_dim):
            raise ValueError(f"{width} channels do not divide into heads: give num_heads")
        self.in_features = in_features
        self.embed_dim = self.num_features = width
        self.num_heads = heads
        self.head_dim = width // heads
        self.pool_type = _checked(pool_type)
        self.fused_attn = True
        self.stripped = False
        self.cls_token = nn.Parameter(torch.zeros(1, in_features)) if class_token else None

        def linear(copies: int) -> nn.Linear:
            return nn.Linear(in_features, copies * width, bias=qkv_bias)

        self.qkv = None if qkv_separate else linear(3)
        self.q, self.k, self.v = (linear(1) if qkv_separate else None for _ in range(3))
        self.drop = nn.Dropout(drop_rate)
        out = in_features if out_features is None else out_features
        self.proj = nn.Linear(width, out) if out else nn.Identity()
        self.out_features = out or width

    def init_weights(self) -> None:
        """Draw the projections with a deviation of 1 / sqrt(C), without bias."""
        for layer in (self.q, self.k, self.v, self.qkv):
            if layer is not None:
                nn.init.trunc_normal_(layer.weight, std=self.in_features**-0.5)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def reset(self, num_classes: int | None = None, pool_type: str | None = None) -> None:
        """Make the classifier anew, or change the pool; None leaves either as it is.

        Args:
            num_classes: 0 for none.
            pool_type: "token", or "" for a map.

        Raises:
            ValueError: another pool.
        """
        if pool_type is not None:
            self.pool_type = _checked(pool_type)
        if num_classes is not None:
            self.proj = nn.Linear(self.embed_dim, num_classes) if num_classes else nn.Identity()
            self.proj.to(next(self.parameters(), torch.empty(0)).device).train(self.training)
            self.out_features = num_classes or self.embed_dim

    def strip(self, in_features: int) -> None:
        """Drop every layer: what is given, of `in_features` channels, comes out as it is."""
        self.stripped = True
        self.in_features = self.num_features = self.out_features = in_features
        self.embed_dim = in_features
        self.qkv = self.q = self.k = self.v = self.cls_token = None
        self.pos_embed = None
        self.pool_type, self.proj = "", nn.Identity()

    def _tokens(self, x: torch.Tensor) -> torch.Tensor:
        """x: (B, C, H, W). Returns: (B, 1 + H * W, C), the mean or a learned token first."""
        x = x.flatten(2).transpose(1, 2)
        if self.cls_token is None:
            first = x.mean(1, keepdim=True)
        else:
            first = self.cls_token.expand(len(x), 1, -1)
        return torch.cat((first, x), 1)

    def _heads(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """x: (B, N, C). Returns: queries, keys, values, each (B, heads, N, head_dim)."""
        if self.qkv is not None:
            parts = self.qkv(x).chunk(3, -1)
        else:
            assert self.q is not None and self.k is not None and self.v is not None
            parts = self.q(x), self.k(x), self.v(x)
        q, k, v = (t.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for t in parts)
        return q, k, v

    def _mixed(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """x: (B, C, H, W). Returns: queries, keys, values of its tokens, with positions."""
        raise NotImplementedError

    def forward(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """Pool a map.

        Args:
            x: (B, C, H, W).
            pre_logits: leave out the classifier.

        Returns:
            (B, out_features), or (B, out_features, H, W) where nothing is pooled.
        """
        if self.stripped:
            return x
        size = x.shape[-2:]
        q, k, v = self._mixed(x)
        x = attend(q, k, v, nn.Dropout(0.0), fused=self.fused_attn)
        x = self.drop(x.transpose(1, 2).flatten(2))  # (B, 1 + H * W, D)
        x = x[:, 0] if self.pool_type == "token" else x[:, 1:]
        x = x if pre_logits else self.proj(x)
        return x if self.pool_type == "token" else x.transpose(1, 2).unflatten(2, size)


class AttentionPool2d(_MapPool):
    """Attention pooling with a learned position embedding, resampled for other sizes.

    Args:
        in_features: C of the input.
        feat_size: (height, width) of the map that the embedding is made for, or one number.
        out_features: width of the output; `in_features` if not given, 0 for no projection.
        embed_dim: width of the attention; `in_features` if not given.
        head_dim: width of a head.
        num_heads: heads, which then decide.
        qkv_bias: biases of queries, keys and values.
        qkv_separate: three projections instead of one.
        pool_type: "token" returns the answer of the first token, "" the map of all others.
        class_token: the first token is learned, instead of the mean of all.
        drop_rate: dropout rate before the projection.

    Raises:
        ValueError: another pool, or a width that the heads do not divide.
    """

    def __init__(
        self,
        in_features: int,
        feat_size: int | tuple[int, int] = 7,
        out_features: int | None = None,
        embed_dim: int | None = None,
        head_dim: int = 64,
        num_heads: int | None = None,
        qkv_bias: bool = True,
        qkv_separate: bool = False,
        pool_type: str = "token",
        class_token: bool = False,
        drop_rate: float = 0.0,
    ) -> None:
        heads = embed_dim, head_dim, num_heads, qkv_bias, qkv_separate
        super().__init__(in_features, out_features, *heads, pool_type, class_token, drop_rate)
        self.feat_size = to_2tuple(feat_size)
        positions = 1 + self.feat_size[0] * self.feat_size[1]
        self.pos_embed = nn.Parameter(torch.zeros(positions, in_features))
        self.init_weights()

    def init_weights(self) -> None:
        """Draw the projections and positions with a deviation of 1 / sqrt(C), without bias."""
        super().init_weights()
        nn.init.trunc_normal_(self.pos_embed, std=self.in_features**-0.5)

    def _mixed(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        size = [*x.shape[-2:]]
        places = resample_abs_pos_embed(
            self.pos_embed[None], size, old_size=[*self.feat_size], num_prefix_tokens=1
        )
        return self._heads(self._tokens(x) + places)


class RotAttentionPool2d(_MapPool):
    """Attention pooling with rotary position embedding.

    Args:
        in_features: see `AttentionPool2d`, as for the others that it has.
        out_features: likewise.
        ref_feat_size: (height, width) of the map of pretraining, whose positions others take.
        embed_dim: likewise.
        head_dim: likewise.
        num_heads: likewise.
        qkv_bias: likewise.
        qkv_separate: likewise.
        pool_type: likewise.
        class_token: likewise.
        drop_rate: likewise.
        rope_type: kind of the embedding, see `create_rope_embed`: "cat" or "dinov3".

    Raises:
        ValueError: another pool, or a width that the heads do not divide.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int | None = None,
        ref_feat_size: int | tuple[int, int] = 7,
        embed_dim: int | None = None,
        head_dim: int = 64,
        num_heads: int | None = None,
        qkv_bias: bool = True,
        qkv_separate: bool = False,
        pool_type: str = "token",
        class_token: bool = False,
        drop_rate: float = 0.0,
        rope_type: str = "cat",
    ) -> None:
        heads = embed_dim, head_dim, num_heads, qkv_bias, qkv_separate
        super().__init__(in_features, out_features, *heads, pool_type, class_token, drop_rate)
        self.pos_embed = create_rope_embed(
            rope_type,
            self.embed_dim,
            self.num_heads,
            in_pixels=False,
            ref_feat_shape=to_2tuple(ref_feat_size),
            rotate_half=False,
        )

    def _mixed(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        rope = self.pos_embed.get_embed(x.shape[-2:])
        q, k, v = self._heads(self._tokens(x))
        q, k = (
            torch.cat((t[:, :, :1], apply_rot_embed_cat(t[:, :, 1:], rope)), 2).type_as(v)
            for t in (q, k)
        )
        return q, k, v


def _checked(pool_type: str) -> str:
    if pool_type not in POOLS:
        raise ValueError(f"pool_type={pool_type!r}: it can be 'token', or '' for a map")
    return pool_type
