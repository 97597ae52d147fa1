"""Attention on maps (B, C, H, W), with 1x1 convolutions as projections."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ..conv.conv import create_conv2d
from ..names import LayerType
from ..norm.norms import create_norm_layer
from ..padding import PadType
from ..pool.pooling import create_pool2d
from ..tuples import to_2tuple


class Attention2d(nn.Module):
    """Multi-head self-attention between the positions of a map.

    Args:
        dim: C of the input.
        dim_out: C of the output; `dim` if not given.
        num_heads: heads that share the width.
        bias: of both projections.
        expand_first: attend with `dim_out` channels instead of `dim`.
        head_first: channels of `qkv` are ordered heads, (q, k, v), instead of (q, k, v), heads.
        attn_drop: dropout rate of the attention weights.
        proj_drop: dropout rate of the output.
        device: where the parameters live.
        dtype: type of the parameters.

    Raises:
        ValueError: the width does not divide into the heads.
    """

    def __init__(
        self,
        dim: int,
        dim_out: int | None = None,
        num_heads: int = 32,
        bias: bool = True,
        expand_first: bool = False,
        head_first: bool = False,
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        factory: dict[str, Any] = dict(device=device, dtype=dtype)
        dim_out = dim_out or dim
        width = dim_out if expand_first else dim
        if width % num_heads:
            raise ValueError(f"{width} channels do not divide into num_heads={num_heads}")
        self.num_heads = num_heads
        self.dim_head = width // num_heads
        self.head_first = head_first
        self.qkv = nn.Conv2d(dim, 3 * width, 1, bias=bias, **factory)
        self.attn_drop = nn.Dropout(attn_drop)
        self.proj = nn.Conv2d(width, dim_out, 1, bias=bias, **factory)
        self.proj_drop = nn.Dropout(proj_drop)

    def forward(self, x: torch.Tensor, attn_mask: torch.Tensor | None = None) -> torch.Tensor:
        """Mix the positions.

        Args:
            x: (B, C, H, W).
            attn_mask: broadcasts to (B, heads, H*W, H*W); True where a position may look, or a
                number that is added to the logits.

        Returns:
            (B, dim_out, H, W).
        """
        batch, _, height, width = x.shape
        axes = (self.num_heads, 3) if self.head_first else (3, self.num_heads)
        qkv = self.qkv(x).flatten(2).unflatten(1, (*axes, self.dim_head)).transpose(-1, -2)
        q, k, v = qkv.unbind(axes.index(3) + 1)  # each (B, heads, H*W, dim_head)
        drop = self.attn_drop.p if self.training else 0.0
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=attn_mask, dropout_p=drop)
        x = x.transpose(-1, -2).reshape(batch, -1, height, width)
        return self.proj_drop(self.proj(x))


class MultiQueryAttention2d(nn.Module):
    """Multi-query attention of MobileNetV4 (arXiv:2404.10518): the heads share keys and values.

    Args:
        dim: C of the input.
        dim_out: C of the output; `dim` if not given.
        num_heads: of the queries.
        key_dim: width of queries and keys; `dim // num_heads` if not given.
        value_dim: width of values; likewise.
        query_strides: pool the queries by this much, a number or (height, width), and scale the
            output up again.
        kv_stride: downsample keys and values with a strided depthwise convolution.
        dw_kernel_size: its kernel.
        dilation: its dilation.
        padding: its padding, see `create_conv2d`.
        attn_drop: dropout rate of the attention weights.
        proj_drop: dropout rate of the output.
        norm_layer: norm by name, class or partial, after a downsampling.
        use_bias: of the projections.
        device: where the parameters live.
        dtype: type of the parameters.
    """

    def __init__(
        self,
        dim: int,
        dim_out: int | None = None,
        num_heads: int = 8,
        key_dim: int | None = None,
        value_dim: int | None = None,
        query_strides: int | tuple[int, int] = 1,
        kv_stride: int = 1,
        dw_kernel_size: int = 3,
        dilation: int = 1,
        padding: PadType = "",
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
        norm_layer: LayerType = nn.BatchNorm2d,
        use_bias: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        factory: dict[str, Any] = dict(device=device, dtype=dtype)
        window: dict[str, Any] = dict(stride=kv_stride, dilation=dilation, padding=padding)
        strides = to_2tuple(query_strides)
        pooled = max(strides) > 1
        self.num_heads = num_heads
        self.key_dim = key_dim or dim // num_heads
        self.value_dim = value_dim or dim // num_heads

        def projection(width: int, out: int) -> nn.Module:
            return create_conv2d(width, out, 1, bias=use_bias, **factory)

        def keys_or_values(width: int) -> nn.Sequential:
            path = nn.Sequential()
            if kv_stride > 1:
                down = create_conv2d(dim, dim, dw_kernel_size, depthwise=True, **window, **factory)
                path.add_module("down_conv", down)
                path.add_module("norm", create_norm_layer(norm_layer, dim, **factory))
            path.add_module("proj", projection(dim, width))
            return path

        self.query = nn.Sequential()
        if pooled:
            pad = "same" if padding == "same" else 0
            pool = create_pool2d("avg", kernel_size=strides, stride=strides, padding=pad)
            self.query.add_module("down_pool", pool)
            self.query.add_module("norm", create_norm_layer(norm_layer, dim, **factory))
        self.query.add_module("proj", projection(dim, num_heads * self.key_dim))
        self.key = keys_or_values(self.key_dim)
        self.value = keys_or_values(self.value_dim)
        self.attn_drop = nn.Dropout(attn_drop)
        self.output = nn.Sequential()
        if pooled:
            self.output.add_module("upsample", nn.Upsample(scale_factor=strides, mode="bilinear"))
        self.output.add_module("proj", projection(num_heads * self.value_dim, dim_out or dim))
        self.output.add_module("drop", nn.Dropout(proj_drop))
        self.init_weights()

    def init_weights(self) -> None:
        """Draw all convolutions uniformly by Xavier's rule; as the reference, for stability."""
        inputs = self.query, self.key, self.value
        # In timm's order, so that a seed gives the same weights.
        convs = [path.proj for path in inputs]
        convs += [path.down_conv for path in inputs if hasattr(path, "down_conv")]
        for conv in (*convs, self.output.proj):
            nn.init.xavier_uniform_(conv.weight)  # type: ignore[union-attr, arg-type]

    def forward(self, x: torch.Tensor, attn_mask: torch.Tensor | None = None) -> torch.Tensor:
        """Mix the positions.

        Args:
            x: (B, C, H, W).
            attn_mask: broadcasts to (B, heads, queries, keys); True where a query may look, or a
                number that is added to the logits.

        Returns:
            (B, dim_out, H, W), with `query_strides` that divide H and W.
        """
        q = self.query(x)  # (B, heads * key_dim, Hq, Wq)
        batch, _, height, width = q.shape
        heads, queries = self.num_heads, height * width
        q = q.reshape(batch, heads, self.key_dim, queries).transpose(-1, -2)
        k = self.key(x).flatten(2).transpose(1, 2)  # (B, keys, key_dim)
        v = self.value(x).flatten(2).transpose(1, 2)  # (B, keys, value_dim)
        if attn_mask is not None:
            full = batch, heads, queries, k.shape[1]
            attn_mask = attn_mask.expand(full).flatten(1, 2)
        # Heads that share keys are more queries of one head: (B, heads * queries, key_dim).
        drop = self.attn_drop.p if self.training else 0.0
        mixed = F.scaled_dot_product_attention(
            q.flatten(1, 2), k, v, attn_mask=attn_mask, dropout_p=drop
        )
        mixed = mixed.reshape(batch, heads, queries, self.value_dim).transpose(-1, -2)
        return self.output(mixed.reshape(batch, -1, height, width))
