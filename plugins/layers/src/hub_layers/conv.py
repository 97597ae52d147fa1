"""Convolutions: a factory, TensorFlow's SAME, conv + norm + act, separable convolutions."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from .anti_alias import create_aa
from .names import LayerFactory, LayerType
from .norm_act import create_norm_act_layer
from .padding import PadType, Size, pad_same, resolve_padding
from .tuples import to_2tuple


def conv2d_same(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: tuple[int, ...] = (1, 1),
    padding: Any = (0, 0),
    dilation: tuple[int, ...] = (1, 1),
    groups: int = 1,
) -> torch.Tensor:
    """`F.conv2d` with SAME padding; `padding` stands here only to keep the order of arguments."""
    x = pad_same(x, weight.shape[-2:], stride, dilation)
    return F.conv2d(x, weight, bias, stride, (0, 0), dilation, groups)


class Conv2dSame(nn.Conv2d):
    """`nn.Conv2d` with TensorFlow's SAME padding: ceil(size / stride) outputs for any size.

    Args: those of `nn.Conv2d`, whose `padding` is ignored.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: PadType = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            to_2tuple(kernel_size),
            to_2tuple(stride),
            dilation=to_2tuple(dilation),
            groups=groups,
            bias=bias,
            device=device,
            dtype=dtype,
        )

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """input: (B, C, H, W). Returns: (B, out_channels, ceil(H / stride), ceil(W / stride))."""
        geometry = self.stride, self.padding, self.dilation, self.groups
        return conv2d_same(input, self.weight, self.bias, *geometry)


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
) -> nn.Conv2d:
    """Build a 2D convolution.

    Args:
        in_channels: C of the input.
        out_channels: C of the output.
        kernel_size: a number or a pair.
        stride: likewise.
        padding: `""` symmetric for the kernel, `"same"` as in TensorFlow, `"valid"` none, or
            numbers.
        dilation: a number or a pair.
        groups: of channels.
        bias: learn a bias.
        depthwise: one group per input channel.
        num_experts: must be 0; see Raises.
        device: where the parameters live.
        dtype: type of the parameters.

    Raises:
        ValueError: unknown padding; a list of kernel sizes (mixed convolution) or `num_experts`
            (conditional convolution), which no installed family needs yet.
    """
    if isinstance(kernel_size, list):
        raise ValueError(
            f"kernel_size={kernel_size!r}: a list means a mixed convolution, which "
            "hub_layers does not have yet; "
            "give a number or a tuple (height, width)"
        )
    if num_experts > 0:
        raise ValueError(
            f"num_experts={num_experts}: hub_layers has no conditional convolution yet; give 0"
        )
    static = resolve_padding(padding, kernel_size, stride, dilation)
    layer = Conv2dSame if static is None else nn.Conv2d
    return layer(
        in_channels,
        out_channels,
        to_2tuple(kernel_size),
        to_2tuple(stride),
        to_2tuple(static or 0),
        to_2tuple(dilation),
        in_channels if depthwise else groups,
        bias,
        device=device,
        dtype=dtype,
    )


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
