"""What the blocks of mobile networks share: the shortcut, strides, squeeze-and-excitation."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import nn

from hub_layers import (
    LayerType,
    PadType,
    create_aa,
    create_act_layer,
    create_conv2d,
)

KernelSize = int | list[int]


class Tap(NamedTuple):
    """A map inside a block.

    Args:
        channels: C of the map.
        module: name in the block of the module where it is; "" for the block itself.
        at_input: the map is what the module takes, not what it gives.
    """

    channels: int
    module: str = ""
    at_input: bool = False


def num_groups(group_size: int | None, channels: int) -> int:
    """Groups of a convolution over `channels`; no group size means one group, 1 depthwise.

    Raises:
        ValueError: the channels do not divide into such groups.
    """
    if not group_size:
        return 1
    groups, rest = divmod(channels, group_size)
    if rest:
        raise ValueError(
            f"{channels} channels do not divide into groups of group_size={group_size}"
        )
    return groups


class SqueezeExcite(nn.Module):
    """Squeeze-and-excitation whose bottleneck is counted from the block, not rounded by default.

    Args:
        in_chs: C of the input.
        rd_ratio: width of the bottleneck as a share of C.
        rd_channels: width of the bottleneck, which then decides instead of `rd_ratio`.
        act_layer: activation of the block.
        gate_layer: activation that gates.
        force_act_layer: activation in the bottleneck, whatever the block's is.
        rd_round_fn: width of the bottleneck from a fraction of channels; `round` if not given.
        device: where the parameters live.
        dtype: type of the parameters.
    """

    def __init__(
        self,
        in_chs: int,
        rd_ratio: float = 0.25,
        rd_channels: int | None = None,
        act_layer: LayerType = nn.ReLU,
        gate_layer: LayerType = nn.Sigmoid,
        force_act_layer: LayerType | None = None,
        rd_round_fn: Callable[[float], int] | None = None,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        factory: dict[str, Any] = dict(device=device, dtype=dtype)
        width = rd_channels or (rd_round_fn or round)(in_chs * rd_ratio)
        self.conv_reduce = nn.Conv2d(in_chs, width, 1, **factory)
        self.act1 = create_act_layer(force_act_layer or act_layer, inplace=True) or nn.Identity()
        self.conv_expand = nn.Conv2d(width, in_chs, 1, **factory)
        self.gate = create_act_layer(gate_layer) or nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (B, C, H, W). Returns: the same shape."""
        squeezed = x.mean((2, 3), keepdim=True)  # (B, C, 1, 1)
        return x * self.gate(self.conv_expand(self.act1(self.conv_reduce(squeezed))))


class ResidualBlock(nn.Module):
    """What all blocks are: a branch, and perhaps the input added to it.

    A subclass sets `drop_path`, last, so that modules are registered in the order they run.

    Args:
        in_chs: C of the input.
        out_chs: C of the output.
        stride: of the block.
        skip: add the input where the shapes allow it.
    """

    drop_path: nn.Module

    def __init__(self, in_chs: int, out_chs: int, stride: int, skip: bool) -> None:
        super().__init__()
        self.out_chs = out_chs
        self.has_skip = skip and stride == 1 and in_chs == out_chs

    def add(self, branch: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """The output of the block from that of its branch and its input x: (B, in_chs, H, W)."""
        return self.drop_path(branch) + x if self.has_skip else branch

    @property
    def expansion(self) -> Tap:
        """The widest map of the block."""
        raise NotImplementedError


class Downsampling:
    """Who strides in a block: the convolution, or the anti-aliasing layer after it.

    Args:
        stride: of the block.
        aa_layer: anti-aliasing by name, class or partial.
        factory: device and dtype.
    """

    def __init__(self, stride: int, aa_layer: LayerType | None, factory: dict[str, Any]) -> None:
        self.filtered = bool(aa_layer) and stride > 1
        self.conv_stride = 1 if self.filtered else stride
        self.stride, self.aa_layer, self.factory = stride, aa_layer, factory

    def create_aa(self, channels: int) -> nn.Module:
        """The anti-aliasing layer, or an identity."""
        return create_aa(self.aa_layer, channels, self.stride, self.filtered, **self.factory)


class SpaceToDepthBlock(ResidualBlock):
    """A block that may start by moving 2x2 positions into channels (EfficientNet-X).

    Args:
        in_chs: C of the input.
        out_chs: C of the output.
        stride: of the block.
        skip: add the input where the shapes allow it.
        s2d: start so.
    """

    conv_s2d: nn.Module | None
    bn_s2d: nn.Module | None

    def __init__(self, in_chs: int, out_chs: int, stride: int, skip: bool, s2d: bool) -> None:
        super().__init__(in_chs, out_chs, stride, skip and not s2d)
        self.conv_s2d = self.bn_s2d = None
        self.s2d = s2d

    def add_space_to_depth(
        self, in_chs: int, norm: Callable[..., nn.Module], factory: dict[str, Any]
    ) -> int:
        """Create the layers where they are wanted; return the channels that follow."""
        if not self.s2d:
            return in_chs
        wide = 4 * in_chs
        self.conv_s2d = create_conv2d(in_chs, wide, 2, stride=2, padding="same", **factory)
        self.bn_s2d = norm(wide)
        return wide

    def depthwise_window(
        self, kernel_size: KernelSize, pad_type: PadType
    ) -> tuple[KernelSize, PadType]:
        """Kernel and padding of the depthwise convolution, on the map it will see.

        Raises:
            ValueError: several kernel sizes, which are not halved.
        """
        if not self.s2d:
            return kernel_size, pad_type
        if not isinstance(kernel_size, int):
            raise ValueError(f"kernel_size={kernel_size}: space-to-depth takes one kernel size")
        half = (kernel_size + 1) // 2  # reaches as far on a map of half the size
        return half, "same" if half == 2 else pad_type

    def space_to_depth(self, x: torch.Tensor) -> torch.Tensor:
        """x: (B, C, H, W). Returns: (B, 4 C, H/2, W/2), or x where the block does not start so."""
        if self.conv_s2d is None or self.bn_s2d is None:
            return x
        return self.bn_s2d(self.conv_s2d(x))
