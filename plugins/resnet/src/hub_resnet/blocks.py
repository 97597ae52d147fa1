"""Residual blocks and the shortcuts around them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from hub_layers import AvgPool2dSame, LayerFactory, NameTable, create_aa, create_attn
from torch import Tensor, nn


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut (arXiv:1512.03385, figure 5 left).

    Args:
        in_chans: channels of the input.
        planes: width of the block; it returns planes * expansion channels.
        stride: of the first convolution.
        downsample: makes the shortcut fit; None where it fits already.
        cardinality: groups; must be 1.
        base_width: width per group at 64 planes; must be 64.
        reduce_first: divides the channels between the convolutions.
        dilation: of the second convolution.
        first_dilation: of the first, where the previous stage has another; default: `dilation`.
        act_layer: makes an activation.
        norm_layer: makes a norm from a number of channels.
        attn_layer: channel attention on the residual, by name.
        attn_args: its options.
        aa_layer: anti-aliasing in place of the stride, by name.
        drop_block: makes the DropBlock of this block.
        drop_path: stochastic depth of this block.
        widths: output channels of each convolution, where pruning left others than `planes` says.
    """

    expansion: ClassVar[int] = 1

    def __init__(
        self,
        in_chans: int,
        planes: int,
        *,
        stride: int = 1,
        downsample: nn.Module | None = None,
        cardinality: int = 1,
        base_width: int = 64,
        reduce_first: int = 1,
        dilation: int = 1,
        first_dilation: int | None = None,
        act_layer: LayerFactory = nn.ReLU,
        norm_layer: LayerFactory = nn.BatchNorm2d,
        attn_layer: Any = None,
        attn_args: Mapping[str, Any] | None = None,
        aa_layer: Any = None,
        drop_block: Callable[[], nn.Module] = nn.Identity,
        drop_path: nn.Module | None = None,
        widths: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        if cardinality != 1 or base_width != 64:
            raise ValueError(
                f"a basic block has neither groups nor another base width (cardinality="
                f"{cardinality}, base_width={base_width}); use block='bottleneck'"
            )
        width, out_chans = widths or (planes // reduce_first, planes)
        first_dilation = first_dilation or dilation
        blur = aa_layer is not None and (stride > 1 or first_dilation != dilation)

        self.conv1 = conv3x3(in_chans, width, 1 if blur else stride, first_dilation)
        self.bn1 = norm_layer(width)
        self.drop_block = drop_block()
        self.act1 = act_layer(inplace=True)
        self.aa = create_aa(aa_layer, channels=width, stride=stride, enable=blur)
        self.conv2 = conv3x3(width, out_chans, 1, dilation)
        self.bn2 = norm_layer(out_chans)
        self.se = create_attn(attn_layer, planes, **(attn_args or {}))
        self.act2 = act_layer(inplace=True)
        self.downsample = downsample
        self.drop_path = drop_path or nn.Identity()

    def zero_init_last(self) -> None:
        """Start as the identity: scale the residual by zero."""
        _zero_scale(self.bn2)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, in_chans, H, W). Returns: (B, planes, H / stride, W / stride)."""
        # Each step takes the name of the one before, which frees its memory for the next.
        y = self.conv1(x)
        y = self.act1(self.drop_block(self.bn1(y)))
        y = self.conv2(self.aa(y))
        y = self.bn2(y)
        if self.se is not None:
            y = self.se(y)
        y = self.drop_path(y)
        y += x if self.downsample is None else self.downsample(x)
        return self.act2(y)


class Bottleneck(nn.Module):
    """A 3x3 convolution between two 1x1 ones (arXiv:1512.03385, figure 5 right).

    The stride is in the 3x3 convolution, as in torchvision ("v1.5"). With `cardinality` groups of
    `base_width` it is the block of ResNeXt (arXiv:1611.05431).

    Args: those of `BasicBlock`.
    """

    expansion: ClassVar[int] = 4

    def __init__(
        self,
        in_chans: int,
        planes: int,
        *,
        stride: int = 1,
        downsample: nn.Module | None = None,
        cardinality: int = 1,
        base_width: int = 64,
        reduce_first: int = 1,
        dilation: int = 1,
        first_dilation: int | None = None,
        act_layer: LayerFactory = nn.ReLU,
        norm_layer: LayerFactory = nn.BatchNorm2d,
        attn_layer: Any = None,
        attn_args: Mapping[str, Any] | None = None,
        aa_layer: Any = None,
        drop_block: Callable[[], nn.Module] = nn.Identity,
        drop_path: nn.Module | None = None,
        widths: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        width = planes * base_width // 64 * cardinality
        width1, width2, out_chans = widths or (width // reduce_first, width, planes * 4)
        first_dilation = first_dilation or dilation
        blur = aa_layer is not None and (stride > 1 or first_dilation != dilation)

        self.conv1 = nn.Conv2d(in_chans, width1, 1, bias=False)
        self.bn1 = norm_layer(width1)
        self.act1 = act_layer(inplace=True)
        self.conv2 = conv3x3(width1, width2, 1 if blur else stride, first_dilation, cardinality)
        self.bn2 = norm_layer(width2)
        self.drop_block = drop_block()
        self.act2 = act_layer(inplace=True)
        self.aa = create_aa(aa_layer, channels=width2, stride=stride, enable=blur)
        self.conv3 = nn.Conv2d(width2, out_chans, 1, bias=False)
        self.bn3 = norm_layer(out_chans)
        self.se = create_attn(attn_layer, planes * 4, **(attn_args or {}))
        self.act3 = act_layer(inplace=True)
        self.downsample = downsample
        self.drop_path = drop_path or nn.Identity()

    def zero_init_last(self) -> None:
        """Start as the identity: scale the residual by zero."""
        _zero_scale(self.bn3)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, in_chans, H, W). Returns: (B, 4 * planes, H / stride, W / stride)."""
        # Each step takes the name of the one before, which frees its memory for the next.
        y = self.conv1(x)
        y = self.act1(self.bn1(y))
        y = self.conv2(y)
        y = self.act2(self.drop_block(self.bn2(y)))
        y = self.conv3(self.aa(y))
        y = self.bn3(y)
        if self.se is not None:
            y = self.se(y)
        y = self.drop_path(y)
        y += x if self.downsample is None else self.downsample(x)
        return self.act3(y)


def conv3x3(
    in_chans: int, out_chans: int, stride: int = 1, dilation: int = 1, groups: int = 1
) -> nn.Conv2d:
    """Return a 3x3 convolution that keeps the size but for its stride."""
    return nn.Conv2d(
        *(in_chans, out_chans, 3, stride),
        padding=dilation,
        dilation=dilation,
        groups=groups,
        bias=False,
    )


def conv_shortcut(
    in_chans: int,
    out_chans: int,
    *,
    stride: int,
    dilation: int,
    first_dilation: int,
    norm_layer: LayerFactory,
    kernel_size: int = 1,
) -> nn.Sequential:
    """Return the projection of the paper: a strided convolution and a norm."""
    if stride == 1 and dilation == 1:
        kernel_size = 1
    spread = first_dilation if kernel_size > 1 else 1
    conv = nn.Conv2d(
        *(in_chans, out_chans, kernel_size, stride),
        padding=((stride - 1) + spread * (kernel_size - 1)) // 2,
        dilation=spread,
        bias=False,
    )
    return nn.Sequential(conv, norm_layer(out_chans))


def avg_shortcut(
    in_chans: int,
    out_chans: int,
    *,
    stride: int,
    dilation: int,
    first_dilation: int,
    norm_layer: LayerFactory,
) -> nn.Sequential:
    """Return the shortcut of ResNet-D (arXiv:1812.01187, figure 2c): pool, then project."""
    pool: nn.Module = nn.Identity()
    if dilation > 1:  # the stride has become dilation: smooth without it
        pool = AvgPool2dSame(2, 1, ceil_mode=True, count_include_pad=False)
    elif stride > 1:
        pool = nn.AvgPool2d(2, stride, ceil_mode=True, count_include_pad=False)
    conv = nn.Conv2d(in_chans, out_chans, 1, bias=False)
    return nn.Sequential(pool, conv, norm_layer(out_chans))


def _zero_scale(norm: nn.Module) -> None:
    if getattr(norm, "weight", None) is not None:
        nn.init.zeros_(norm.weight)  # type: ignore[arg-type]


Block = type[BasicBlock] | type[Bottleneck]

BLOCKS: NameTable[Block] = NameTable("block", {"basic": BasicBlock, "bottleneck": Bottleneck})
