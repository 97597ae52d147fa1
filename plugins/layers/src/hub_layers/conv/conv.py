"""Convolutions: a factory, conv + norm + act, separable convolutions."""

from typing import Any

import torch
from torch import nn

from ..names import LayerFactory, LayerType
from ..norm.norm_act import create_norm_act_layer
from ..padding import PadType, Size
from ..pool.anti_alias import create_aa
from .cond_conv import CondConv2d
from .conv2d_same import create_plain_conv2d
from .mixed_conv import MixedConv2d

AnyConv2d = nn.Conv2d | MixedConv2d | CondConv2d


def create_conv2d(
    in_channels: int,
    out_channels: int,
    kernel_size: Size,
    stride: Size = 1,
    padding: PadType | None = "",
    dilation: Size = 1,
    groups: int = 1,
    bias: bool = False,
    depthwise: bool = False,
    num_experts: int = 0,
    device: Any = None,
    dtype: Any = None,
) -> AnyConv2d:
    """Build a 2D convolution.

    Args:
        in_channels: C of the input.
        out_channels: C of the output.
        kernel_size: a number or a tuple; a list, as in `[3, 5, 7]`, makes a `MixedConv2d`, which
            gives each share of the channels its own kernel.
        stride: a number or a pair.
        padding: `""` symmetric for the kernel, `"same"` as in TensorFlow, `"valid"` none, or
            numbers.
        dilation: a number or a pair.
        groups: of channels.
        bias: learn a bias.
        depthwise: one group per input channel.
        num_experts: kernels of a `CondConv2d`, which is called with the weight of each; 0 makes
            none.
        device: where the parameters live.
        dtype: type of the parameters.

    Raises:
        ValueError: unknown padding; a list of kernels with experts, or with groups that are
            neither one nor one per channel.
    """
    groups = in_channels if depthwise else groups
    options: dict[str, Any] = dict(stride=stride, padding=padding, dilation=dilation, bias=bias)
    options |= dict(device=device, dtype=dtype)
    if isinstance(kernel_size, list):
        if num_experts > 0:
            raise ValueError(
                f"kernel_size={kernel_size!r} with num_experts={num_experts}: a convolution is "
                "mixed or conditional, not both; give one kernel size or num_experts=0"
            )
        if groups not in (1, in_channels):
            raise ValueError(
                f"kernel_size={kernel_size!r} with groups={groups}: a mixed convolution is dense "
                f"(groups=1) or depthwise (groups={in_channels})"
            )
        options["depthwise"] = groups == in_channels
        return MixedConv2d(in_channels, out_channels, kernel_size, **options)
    options["groups"] = groups
    if num_experts > 0:
        options["num_experts"] = num_experts
        return CondConv2d(in_channels, out_channels, kernel_size, **options)
    return create_plain_conv2d(in_channels, out_channels, kernel_size, **options)


class ConvNormAct(nn.Module):
    """Convolution, norm, activation, and anti-aliased downsampling where asked for.

    Args:
        in_channels: C of the input.
        out_channels: C of the output.
        kernel_size: see `create_conv2d`.
        stride: done by the anti-aliasing layer instead where there is one.
        padding: see `create_conv2d`.
        dilation: see `create_conv2d`.
        groups: see `create_conv2d`.
        bias: bias of the convolution.
        apply_norm: False leaves out the norm and, as in timm, the activation with it.
        apply_act: False leaves out the activation.
        norm_layer: norm or norm+act by name, class or partial.
        act_layer: activation by name, class or partial.
        aa_layer: anti-aliasing by name, class or partial; used where `stride` is above 1.
        drop_layer: class or partial of a module between norm and activation.
        conv_kwargs: more options of the convolution.
        norm_kwargs: more options of the norm.
        act_kwargs: options of the activation.
        device: where the parameters live.
        dtype: type of the parameters.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size = 1,
        stride: int = 1,
        padding: PadType = "",
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = False,
        apply_norm: bool = True,
        apply_act: bool = True,
        norm_layer: LayerType = nn.BatchNorm2d,
        act_layer: LayerType | None = nn.ReLU,
        aa_layer: LayerType | None = None,
        drop_layer: LayerFactory | None = None,
        conv_kwargs: dict[str, Any] | None = None,
        norm_kwargs: dict[str, Any] | None = None,
        act_kwargs: dict[str, Any] | None = None,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        factory = dict(device=device, dtype=dtype)
        antialiased = bool(aa_layer) and stride > 1
        options: dict[str, Any] = dict(padding=padding, dilation=dilation, groups=groups, bias=bias)
        options |= dict(stride=1 if antialiased else stride) | factory | (conv_kwargs or {})
        self.conv = create_conv2d(in_channels, out_channels, kernel_size, **options)
        # Checkpoints call it bn, whatever the norm is.
        self.bn: nn.Module = nn.Sequential()
        if apply_norm:
            norm: dict[str, Any] = factory | (norm_kwargs or {})
            norm |= dict(act_kwargs=act_kwargs) if act_kwargs else {}
            norm |= dict(drop_layer=drop_layer) if drop_layer else {}
            self.bn = create_norm_act_layer(norm_layer, out_channels, act_layer, apply_act, **norm)
        elif drop_layer:
            self.bn.add_module("drop", drop_layer())
        self.aa = create_aa(aa_layer, out_channels, stride, antialiased, noop=None, **factory)

    @property
    def in_channels(self) -> int:
        """C of the input."""
        return self.conv.in_channels

    @property
    def out_channels(self) -> int:
        """C of the output."""
        return self.conv.out_channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (B, C, H, W). Returns: (B, out_channels, H', W')."""
        x = self.bn(self.conv(x))
        return x if self.aa is None else self.aa(x)


ConvBnAct = ConvNormAct


class SeparableConv2d(nn.Module):
    """Depthwise convolution followed by a pointwise one (arXiv:1610.02357).

    Args:
        in_channels: C of the input.
        out_channels: C of the output.
        kernel_size: of the depthwise convolution.
        stride: likewise.
        dilation: likewise.
        padding: see `create_conv2d`; of both convolutions.
        bias: of the pointwise convolution.
        channel_multiplier: depthwise outputs per input channel.
        pw_kernel_size: kernel of the pointwise convolution.
        device: where the parameters live.
        dtype: type of the parameters.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size = 3,
        stride: int = 1,
        dilation: Size = 1,
        padding: PadType = "",
        bias: bool = False,
        channel_multiplier: float = 1.0,
        pw_kernel_size: Size = 1,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        width = int(in_channels * channel_multiplier)
        common: dict[str, Any] = dict(padding=padding, device=device, dtype=dtype)
        window: dict[str, Any] = dict(stride=stride, dilation=dilation, depthwise=True)
        self.conv_dw = create_conv2d(in_channels, width, kernel_size, **window, **common)
        self.conv_pw = create_conv2d(width, out_channels, pw_kernel_size, bias=bias, **common)

    @property
    def in_channels(self) -> int:
        """C of the input."""
        return self.conv_dw.in_channels

    @property
    def out_channels(self) -> int:
        """C of the output."""
        return self.conv_pw.out_channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (B, C, H, W). Returns: (B, out_channels, H', W')."""
        return self.conv_pw(self.conv_dw(x))


class SeparableConvNormAct(SeparableConv2d):
    """`SeparableConv2d`, norm and activation; see it and `ConvNormAct` for the arguments."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size = 3,
        stride: int = 1,
        dilation: Size = 1,
        padding: PadType = "",
        bias: bool = False,
        channel_multiplier: float = 1.0,
        pw_kernel_size: Size = 1,
        norm_layer: LayerType = nn.BatchNorm2d,
        act_layer: LayerType | None = nn.ReLU,
        apply_act: bool = True,
        drop_layer: LayerFactory | None = None,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        factory = dict(device=device, dtype=dtype)
        pointwise = bias, channel_multiplier, pw_kernel_size
        super().__init__(
            in_channels, out_channels, kernel_size, stride, dilation, padding, *pointwise, **factory
        )
        norm = dict(drop_layer=drop_layer, **factory) if drop_layer else factory
        self.bn = create_norm_act_layer(norm_layer, out_channels, act_layer, apply_act, **norm)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (B, C, H, W). Returns: (B, out_channels, H', W')."""
        return self.bn(super().forward(x))


SeparableConvBnAct = SeparableConvNormAct
