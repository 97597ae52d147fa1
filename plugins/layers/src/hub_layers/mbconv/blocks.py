"""Convolutional blocks of mobile networks: plain, separable, inverted, conditional, fused.

MobileNet V1 and V2 (arXiv:1704.04861, arXiv:1801.04381), MNASNet (arXiv:1807.11626), EfficientNet
(arXiv:1905.11946), CondConv (arXiv:1904.04971), MobileDet (arXiv:2004.14525), EfficientNet V2
(arXiv:2104.00298). Parameter names are those of timm, whose checkpoints are published.

All blocks take (B, in_chs, H, W) and return (B, out_chs, ceil(H / stride), ceil(W / stride)).
Differences from timm: anti-aliasing also follows a conditional convolution, and a separable block
filters the channels that it has; timm leaves the first out and counts those of the output.
"""

from typing import Any

import torch
from torch import nn

from hub_layers import (
    LayerFactory,
    LayerType,
    PadType,
    create_conv2d,
    create_drop_path,
    create_norm_act_layer,
    make_divisible,
)

from .residual import (
    Downsampling,
    KernelSize,
    ResidualBlock,
    SpaceToDepthBlock,
    Tap,
    num_groups,
)


class ConvBnAct(ResidualBlock):
    """Convolution, norm, activation.

    Args:
        in_chs: C of the input.
        out_chs: C of the output.
        kernel_size: of the convolution.
        stride: of the convolution, or of the anti-aliasing layer where there is one.
        dilation: of the convolution.
        group_size: channels per group; 0 for one group.
        pad_type: see `create_conv2d`.
        skip: add the input where the shapes allow it.
        act_layer: activation by name, class or partial.
        norm_layer: norm or norm+act by name, class or partial.
        aa_layer: anti-aliasing by name, class or partial.
        drop_path_rate: of stochastic depth.
        device: where the parameters live.
        dtype: type of the parameters.
    """

    def __init__(
        self,
        in_chs: int,
        out_chs: int,
        kernel_size: KernelSize,
        stride: int = 1,
        dilation: int = 1,
        group_size: int | None = 0,
        pad_type: PadType = "",
        skip: bool = False,
        act_layer: LayerType | None = nn.ReLU,
        norm_layer: LayerType = nn.BatchNorm2d,
        aa_layer: LayerType | None = None,
        drop_path_rate: float = 0.0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(in_chs, out_chs, stride, skip)
        factory: dict[str, Any] = dict(device=device, dtype=dtype)
        down = Downsampling(stride, aa_layer, factory)
        window: dict[str, Any] = dict(stride=down.conv_stride, dilation=dilation, padding=pad_type)
        groups = num_groups(group_size, in_chs)
        self.conv = create_conv2d(in_chs, out_chs, kernel_size, groups=groups, **window, **factory)
        self.bn1 = create_norm_act_layer(norm_layer, out_chs, act_layer, **factory)
        self.aa = down.create_aa(out_chs)
        self.drop_path = create_drop_path(drop_path_rate)

    @property
    def expansion(self) -> Tap:
        """The block expands nothing: what its convolution gives."""
        return Tap(self.out_chs, "bn1")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (B, in_chs, H, W). Returns: (B, out_chs, H', W')."""
        return self.add(self.aa(self.bn1(self.conv(x))), x)


class DepthwiseSeparableConv(SpaceToDepthBlock):
    """Depthwise convolution, squeeze-and-excitation, pointwise convolution (MobileNet V1).

    Args:
        in_chs: C of the input.
        out_chs: C of the output.
        dw_kernel_size: of the depthwise convolution; a list for a mixed one.
        stride: of the depthwise convolution, or of the anti-aliasing layer where there is one.
        dilation: of the depthwise convolution.
        group_size: channels per group of the depthwise convolution.
        pad_type: see `create_conv2d`.
        noskip: do not add the input.
        pw_kernel_size: of the pointwise convolution.
        pw_act: activate the output.
        s2d: start in space-to-depth form.
        act_layer: activation by name, class or partial.
        norm_layer: norm or norm+act by name, class or partial.
        aa_layer: anti-aliasing by name, class or partial.
        se_layer: called as `se_layer(channels, act_layer=act_layer)`; None for none.
        drop_path_rate: of stochastic depth.
        device: where the parameters live.
        dtype: type of the parameters.
    """

    def __init__(
        self,
        in_chs: int,
        out_chs: int,
        dw_kernel_size: KernelSize = 3,
        stride: int = 1,
        dilation: int = 1,
        group_size: int | None = 1,
        pad_type: PadType = "",
        noskip: bool = False,
        pw_kernel_size: KernelSize = 1,
        pw_act: bool = False,
        s2d: bool = False,
        act_layer: LayerType = nn.ReLU,
        norm_layer: LayerType = nn.BatchNorm2d,
        aa_layer: LayerType | None = None,
        se_layer: LayerFactory | None = None,
        drop_path_rate: float = 0.0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(in_chs, out_chs, stride, not noskip, s2d)
        factory: dict[str, Any] = dict(device=device, dtype=dtype)

        def norm(channels: int, apply_act: bool = True) -> nn.Module:
            return create_norm_act_layer(norm_layer, channels, act_layer, apply_act, **factory)

        down = Downsampling(stride, None if s2d else aa_layer, factory)
        chs = self.add_space_to_depth(in_chs, norm, factory)
        kernel, padding = self.depthwise_window(dw_kernel_size, pad_type)
        window: dict[str, Any] = dict(stride=down.conv_stride, dilation=dilation, padding=padding)
        groups = num_groups(group_size, chs)
        self.conv_dw = create_conv2d(chs, chs, kernel, groups=groups, **window, **factory)
        self.bn1 = norm(chs)
        self.aa = down.create_aa(chs)
        self.se = se_layer(chs, act_layer=act_layer, **factory) if se_layer else nn.Identity()
        self.conv_pw = create_conv2d(chs, out_chs, pw_kernel_size, padding=pad_type, **factory)
        self.bn2 = norm(out_chs, apply_act=pw_act)
        self.drop_path = create_drop_path(drop_path_rate)

    @property
    def expansion(self) -> Tap:
        """The input of the pointwise convolution."""
        return Tap(self.conv_pw.in_channels, "conv_pw", at_input=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (B, in_chs, H, W). Returns: (B, out_chs, H', W')."""
        y = self.space_to_depth(x)
        y = self.se(self.aa(self.bn1(self.conv_dw(y))))
        return self.add(self.bn2(self.conv_pw(y)), x)


class InvertedResidual(SpaceToDepthBlock):
    """MBConv: expansion, depthwise convolution, squeeze-and-excitation, linear projection.

    Args:
        in_chs: C of the input.
        out_chs: C of the output.
        dw_kernel_size: of the depthwise convolution; a list for a mixed one.
        stride: of the depthwise convolution, or of the anti-aliasing layer where there is one.
        dilation: of the depthwise convolution.
        group_size: channels per group of the depthwise convolution.
        pad_type: see `create_conv2d`.
        noskip: do not add the input.
        exp_ratio: hidden channels per input channel, rounded to a multiple of 8.
        exp_kernel_size: of the expansion; a list for a mixed one.
        pw_kernel_size: of the projection; likewise.
        s2d: start in space-to-depth form.
        act_layer: activation by name, class or partial.
        norm_layer: norm or norm+act by name, class or partial.
        aa_layer: anti-aliasing by name, class or partial.
        se_layer: called as `se_layer(channels, act_layer=act_layer)`; None for none.
        conv_kwargs: more options of the three convolutions.
        drop_path_rate: of stochastic depth.
        device: where the parameters live.
        dtype: type of the parameters.
    """

    def __init__(
        self,
        in_chs: int,
        out_chs: int,
        dw_kernel_size: KernelSize = 3,
        stride: int = 1,
        dilation: int = 1,
        group_size: int | None = 1,
        pad_type: PadType = "",
        noskip: bool = False,
        exp_ratio: float = 1.0,
        exp_kernel_size: KernelSize = 1,
        pw_kernel_size: KernelSize = 1,
        s2d: bool = False,
        act_layer: LayerType = nn.ReLU,
        norm_layer: LayerType = nn.BatchNorm2d,
        aa_layer: LayerType | None = None,
        se_layer: LayerFactory | None = None,
        conv_kwargs: dict[str, Any] | None = None,
        drop_path_rate: float = 0.0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(in_chs, out_chs, stride, not noskip, s2d)
        factory: dict[str, Any] = dict(device=device, dtype=dtype)
        conv: dict[str, Any] = factory | (conv_kwargs or {})

        def norm(channels: int, apply_act: bool = True) -> nn.Module:
            return create_norm_act_layer(norm_layer, channels, act_layer, apply_act, **factory)

        down = Downsampling(stride, None if s2d else aa_layer, factory)
        chs = self.add_space_to_depth(in_chs, norm, factory)
        hidden = make_divisible(chs * exp_ratio)
        kernel, padding = self.depthwise_window(dw_kernel_size, pad_type)
        window: dict[str, Any] = dict(stride=down.conv_stride, dilation=dilation, padding=padding)
        window["groups"] = num_groups(group_size, hidden)
        self.conv_pw = create_conv2d(chs, hidden, exp_kernel_size, padding=pad_type, **conv)
        self.bn1 = norm(hidden)
        self.conv_dw = create_conv2d(hidden, hidden, kernel, **window, **conv)
        self.bn2 = norm(hidden)
        self.aa = down.create_aa(hidden)
        self.se = se_layer(hidden, act_layer=act_layer, **factory) if se_layer else nn.Identity()
        self.conv_pwl = create_conv2d(hidden, out_chs, pw_kernel_size, padding=pad_type, **conv)
        self.bn3 = norm(out_chs, apply_act=False)
        self.drop_path = create_drop_path(drop_path_rate)

    @property
    def expansion(self) -> Tap:
        """The input of the projection."""
        return Tap(self.conv_pwl.in_channels, "conv_pwl", at_input=True)

    def run(self, x: torch.Tensor, *routing: torch.Tensor) -> torch.Tensor:
        """The block; `routing` is what its convolutions take besides the map."""
        y = self.bn1(self.conv_pw(self.space_to_depth(x), *routing))  # (B, hidden, H, W)
        y = self.se(self.aa(self.bn2(self.conv_dw(y, *routing))))  # (B, hidden, H', W')
        return self.add(self.bn3(self.conv_pwl(y, *routing)), x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (B, in_chs, H, W). Returns: (B, out_chs, H', W')."""
        return self.run(x)


class CondConvResidual(InvertedResidual):
    """`InvertedResidual` of conditional convolutions, mixed by what the mean of the map says.

    Args:
        num_experts: kernels per convolution.
        others: those of `InvertedResidual`.
    """

    def __init__(
        self,
        in_chs: int,
        out_chs: int,
        dw_kernel_size: KernelSize = 3,
        stride: int = 1,
        dilation: int = 1,
        group_size: int | None = 1,
        pad_type: PadType = "",
        noskip: bool = False,
        exp_ratio: float = 1.0,
        exp_kernel_size: KernelSize = 1,
        pw_kernel_size: KernelSize = 1,
        act_layer: LayerType = nn.ReLU,
        norm_layer: LayerType = nn.BatchNorm2d,
        aa_layer: LayerType | None = None,
        se_layer: LayerFactory | None = None,
        num_experts: int = 4,
        drop_path_rate: float = 0.0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            in_chs,
            out_chs,
            dw_kernel_size,
            stride,
            dilation,
            group_size,
            pad_type,
            noskip,
            exp_ratio,
            exp_kernel_size,
            pw_kernel_size,
            act_layer=act_layer,
            norm_layer=norm_layer,
            aa_layer=aa_layer,
            se_layer=se_layer,
            conv_kwargs=dict(num_experts=num_experts),
            drop_path_rate=drop_path_rate,
            device=device,
            dtype=dtype,
        )
        self.num_experts = num_experts
        self.routing_fn = nn.Linear(in_chs, num_experts, device=device, dtype=dtype)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (B, in_chs, H, W). Returns: (B, out_chs, H', W')."""
        return self.run(x, self.routing_fn(x.mean((2, 3))).sigmoid())  # routing: (B, experts)


class EdgeResidual(ResidualBlock):
    """Fused MBConv: a dense expanding convolution, squeeze-and-excitation, linear projection.

    Args:
        in_chs: C of the input.
        out_chs: C of the output.
        exp_kernel_size: of the expanding convolution.
        stride: of the expanding convolution, or of the anti-aliasing layer where there is one.
        dilation: of the expanding convolution.
        group_size: channels per group of the expanding convolution; 0 for one group.
        pad_type: see `create_conv2d`.
        force_in_chs: count the hidden channels from this width instead; 0 for the input's.
        noskip: do not add the input.
        exp_ratio: hidden channels per input channel, rounded to a multiple of 8.
        pw_kernel_size: of the projection.
        act_layer: activation by name, class or partial.
        norm_layer: norm or norm+act by name, class or partial.
        aa_layer: anti-aliasing by name, class or partial.
        se_layer: called as `se_layer(channels, act_layer=act_layer)`; None for none.
        drop_path_rate: of stochastic depth.
        device: where the parameters live.
        dtype: type of the parameters.
    """

    def __init__(
        self,
        in_chs: int,
        out_chs: int,
        exp_kernel_size: KernelSize = 3,
        stride: int = 1,
        dilation: int = 1,
        group_size: int | None = 0,
        pad_type: PadType = "",
        force_in_chs: int = 0,
        noskip: bool = False,
        exp_ratio: float = 1.0,
        pw_kernel_size: KernelSize = 1,
        act_layer: LayerType = nn.ReLU,
        norm_layer: LayerType = nn.BatchNorm2d,
        aa_layer: LayerType | None = None,
        se_layer: LayerFactory | None = None,
        drop_path_rate: float = 0.0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(in_chs, out_chs, stride, not noskip)
        factory: dict[str, Any] = dict(device=device, dtype=dtype)

        def norm(channels: int, apply_act: bool = True) -> nn.Module:
            return create_norm_act_layer(norm_layer, channels, act_layer, apply_act, **factory)

        hidden = make_divisible((force_in_chs or in_chs) * exp_ratio)
        down = Downsampling(stride, aa_layer, factory)
        window: dict[str, Any] = dict(stride=down.conv_stride, dilation=dilation, padding=pad_type)
        groups = num_groups(group_size, hidden)
        self.conv_exp = create_conv2d(
            in_chs, hidden, exp_kernel_size, groups=groups, **window, **factory
        )
        self.bn1 = norm(hidden)
        self.aa = down.create_aa(hidden)
        self.se = se_layer(hidden, act_layer=act_layer, **factory) if se_layer else nn.Identity()
        self.conv_pwl = create_conv2d(hidden, out_chs, pw_kernel_size, padding=pad_type, **factory)
        self.bn2 = norm(out_chs, apply_act=False)
        self.drop_path = create_drop_path(drop_path_rate)

    @property
    def expansion(self) -> Tap:
        """The input of the projection."""
        return Tap(self.conv_pwl.in_channels, "conv_pwl", at_input=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (B, in_chs, H, W). Returns: (B, out_chs, H', W')."""
        y = self.se(self.aa(self.bn1(self.conv_exp(x))))  # (B, hidden, H', W')
        return self.add(self.bn2(self.conv_pwl(y)), x)
