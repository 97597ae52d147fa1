"""Blocks of MobileNetV4 (arXiv:2404.10518): the universal inverted bottleneck, mobile attention.

Parameter names are those of timm, whose checkpoints are published.
"""

from typing import Any

import torch
from torch import nn

from hub_layers import (
    Attention2d,
    ConvNormAct,
    LayerFactory,
    LayerScale2d,
    LayerType,
    MultiQueryAttention2d,
    PadType,
    create_conv2d,
    create_drop_path,
    create_norm_act_layer,
    make_divisible,
)

from .residual import KernelSize, ResidualBlock, Tap, num_groups


def layer_scale_of(channels: int, init: float | None, factory: dict[str, Any]) -> nn.Module:
    """`LayerScale2d` that starts at `init`, or nothing for None."""
    return nn.Identity() if init is None else LayerScale2d(channels, init, **factory)


class UniversalInvertedResidual(ResidualBlock):
    """Expansion and projection with up to three depthwise convolutions: before, between, after.

    The kernel size 0 leaves one out. The middle one strides; without it the first, without that
    the last.

    Args:
        in_chs: C of the input.
        out_chs: C of the output.
        dw_kernel_size_start: of the depthwise convolution before the expansion.
        dw_kernel_size_mid: of the one between.
        dw_kernel_size_end: of the one after the projection.
        stride: of the block.
        dilation: of the depthwise convolutions.
        group_size: channels per group of the depthwise convolutions.
        pad_type: see `create_conv2d`.
        noskip: do not add the input.
        exp_ratio: hidden channels per input channel, rounded to a multiple of 8.
        act_layer: activation by name, class or partial.
        norm_layer: norm or norm+act by name, class or partial.
        aa_layer: anti-aliasing by name, class or partial; of the first two.
        se_layer: called as `se_layer(channels, act_layer=act_layer)`; None for none.
        conv_kwargs: more options of all convolutions.
        drop_path_rate: of stochastic depth.
        layer_scale_init_value: start of the factors on the branch; None for no factors.
        device: where the parameters live.
        dtype: type of the parameters.

    Raises:
        ValueError: a stride, and nothing that could stride; anti-aliasing of the last convolution.
    """

    def __init__(
        self,
        in_chs: int,
        out_chs: int,
        dw_kernel_size_start: KernelSize = 0,
        dw_kernel_size_mid: KernelSize = 3,
        dw_kernel_size_end: KernelSize = 0,
        stride: int = 1,
        dilation: int = 1,
        group_size: int | None = 1,
        pad_type: PadType = "",
        noskip: bool = False,
        exp_ratio: float = 1.0,
        act_layer: LayerType = nn.ReLU,
        norm_layer: LayerType = nn.BatchNorm2d,
        aa_layer: LayerType | None = None,
        se_layer: LayerFactory | None = None,
        conv_kwargs: dict[str, Any] | None = None,
        drop_path_rate: float = 0.0,
        layer_scale_init_value: float | None = 1e-5,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(in_chs, out_chs, stride, not noskip)
        factory: dict[str, Any] = dict(device=device, dtype=dtype)
        strides = _share_stride(
            stride, dw_kernel_size_start, dw_kernel_size_mid, dw_kernel_size_end
        )
        if strides[2] > 1 and aa_layer:
            raise ValueError(
                f"aa_layer={aa_layer!r}: only the depthwise convolution after the projection "
                "strides, which is not anti-aliased; give the block another depthwise convolution"
            )
        common: dict[str, Any] = dict(padding=pad_type, act_layer=act_layer, norm_layer=norm_layer)
        common |= dict(conv_kwargs=conv_kwargs) | factory

        def depthwise(
            channels: int, kernel_size: KernelSize, stride: int, **options: Any
        ) -> nn.Module:
            if not kernel_size:
                return nn.Identity()
            options |= dict(dilation=dilation, groups=num_groups(group_size, channels))
            return ConvNormAct(channels, channels, kernel_size, stride, **options, **common)

        hidden = make_divisible(in_chs * exp_ratio)
        linear: dict[str, Any] = dict(apply_act=False)
        filtered: dict[str, Any] = dict(aa_layer=aa_layer)
        self.dw_start = depthwise(in_chs, dw_kernel_size_start, strides[0], **linear, **filtered)
        self.pw_exp = ConvNormAct(in_chs, hidden, 1, **common)
        self.dw_mid = depthwise(hidden, dw_kernel_size_mid, strides[1], **filtered)
        self.se = se_layer(hidden, act_layer=act_layer, **factory) if se_layer else nn.Identity()
        self.pw_proj = ConvNormAct(hidden, out_chs, 1, **linear, **common)
        self.dw_end = depthwise(out_chs, dw_kernel_size_end, strides[2], **linear)
        self.layer_scale = layer_scale_of(out_chs, layer_scale_init_value, factory)
        self.drop_path = create_drop_path(drop_path_rate)

    @property
    def expansion(self) -> Tap:
        """The input of the projection."""
        return Tap(self.pw_proj.in_channels, "pw_proj.conv", at_input=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (B, in_chs, H, W). Returns: (B, out_chs, H', W')."""
        y = self.dw_mid(self.pw_exp(self.dw_start(x)))  # (B, hidden, H', W')
        y = self.dw_end(self.pw_proj(self.se(y)))
        return self.add(self.layer_scale(y), x)


def _share_stride(stride: int, *kernels: KernelSize) -> list[int]:
    """The stride of the convolutions before, between and after: one of them has it."""
    start, mid, end = kernels
    chosen = 1 if mid else 0 if start else 2
    if stride > 1 and not (start or mid or end):
        raise ValueError(
            f"stride={stride} without a depthwise convolution; give one of its kernels a size"
        )
    return [stride if place == chosen else 1 for place in range(3)]


class MobileAttention(ResidualBlock):
    """Norm and attention between the positions of a map.

    Args:
        in_chs: C of the input.
        out_chs: C of the output.
        stride: must be 1; the builder gives it to every block.
        dw_kernel_size: of the convolution that downsamples keys and values.
        dilation: its dilation.
        group_size: not used; the builder gives it to every block.
        pad_type: see `create_conv2d`.
        num_heads: of the attention; None for as many as `key_dim` fits into `in_chs`.
        key_dim: width per head of queries and keys of multi-query attention.
        value_dim: likewise of values.
        use_multi_query: heads share keys and values.
        query_strides: see `MultiQueryAttention2d`.
        kv_stride: likewise.
        cpe_dw_kernel_size: of the position encoding.
        noskip: do not add the input.
        act_layer: not used; the builder gives it to every block.
        norm_layer: norm by name, class or partial.
        aa_layer: not used; likewise.
        drop_path_rate: of stochastic depth.
        attn_drop: dropout rate of the attention weights.
        proj_drop: dropout rate of the output.
        layer_scale_init_value: start of the factors on the branch; None for no factors.
        use_bias: of the projections of multi-head attention.
        use_cpe: add a depthwise convolution of the input to it first (arXiv:2102.10882).
        device: where the parameters live.
        dtype: type of the parameters.

    Raises:
        ValueError: a stride; no number of heads, and a width that does not divide.
    """

    def __init__(
        self,
        in_chs: int,
        out_chs: int,
        stride: int = 1,
        dw_kernel_size: KernelSize = 3,
        dilation: int = 1,
        group_size: int | None = 1,
        pad_type: PadType = "",
        num_heads: int | None = 8,
        key_dim: int = 64,
        value_dim: int = 64,
        use_multi_query: bool = False,
        query_strides: int | tuple[int, int] = 1,
        kv_stride: int = 1,
        cpe_dw_kernel_size: int = 3,
        noskip: bool = False,
        act_layer: LayerType = nn.ReLU,
        norm_layer: LayerType = nn.BatchNorm2d,
        aa_layer: LayerType | None = None,
        drop_path_rate: float = 0.0,
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
        layer_scale_init_value: float | None = 1e-5,
        use_bias: bool = False,
        use_cpe: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if stride != 1:
            raise ValueError(f"stride={stride}: attention keeps the size of the map; give 1")
        super().__init__(in_chs, out_chs, stride, not noskip)
        factory: dict[str, Any] = dict(device=device, dtype=dtype)
        self.conv_cpe_dw: nn.Module | None = None
        if use_cpe:
            options: dict[str, Any] = dict(dilation=dilation, depthwise=True, bias=True)
            self.conv_cpe_dw = create_conv2d(
                in_chs, in_chs, cpe_dw_kernel_size, **options, **factory
            )
        self.norm = create_norm_act_layer(norm_layer, in_chs, None, apply_act=False, **factory)
        heads = num_heads or num_groups(key_dim, in_chs)
        drops: dict[str, Any] = dict(attn_drop=attn_drop, proj_drop=proj_drop)
        self.attn: nn.Module
        if use_multi_query:
            self.attn = MultiQueryAttention2d(
                in_chs,
                out_chs,
                heads,
                key_dim,
                value_dim,
                query_strides,
                kv_stride,
                dw_kernel_size,  # type: ignore[arg-type]
                dilation,
                pad_type,
                norm_layer=norm_layer,
                **drops,
                **factory,
            )
        else:
            self.attn = Attention2d(in_chs, out_chs, heads, use_bias, **drops, **factory)
        self.layer_scale = layer_scale_of(out_chs, layer_scale_init_value, factory)
        self.drop_path = create_drop_path(drop_path_rate)

    @property
    def expansion(self) -> Tap:
        """Attention expands nothing: its output."""
        return Tap(self.out_chs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (B, in_chs, H, W). Returns: (B, out_chs, H, W)."""
        if self.conv_cpe_dw is not None:
            x = x + self.conv_cpe_dw(x)
        return self.add(self.layer_scale(self.attn(self.norm(x))), x)
