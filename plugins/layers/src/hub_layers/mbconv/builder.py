"""From decoded blocks to stages of modules, with the table of their levels."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from hub_layers import LayerFactory, LayerType, PadType, accepts, get_attn

from .blocks import (
    CondConvResidual,
    ConvBnAct,
    DepthwiseSeparableConv,
    EdgeResidual,
    InvertedResidual,
)
from .notation import BlockArgs, Kernel, round_channels
from .residual import ResidualBlock, SqueezeExcite
from .universal import MobileAttention, UniversalInvertedResidual

LOCATIONS = ("bottleneck", "expansion")


@dataclass(frozen=True, kw_only=True)
class TrunkFeature:
    """One level of a trunk: the last map of a size.

    Args:
        channels: C of the map.
        reduction: input size per map size.
        module: path in the network, as `blocks.2` or `blocks.2.1.conv_pwl`.
        stage: stages that have run; 0 for the stem.
        at_input: the map is what the module takes, not what it gives.
    """

    channels: int
    reduction: int
    module: str
    stage: int
    at_input: bool = False


@dataclass(frozen=True)
class Trunk:
    """What `build_blocks` makes.

    Args:
        stages: modules, in order; a network registers them as `blocks`.
        features: levels, from the largest map to the smallest.
        out_chs: C of the last stage's output.
    """

    stages: list[nn.Module]
    features: list[TrunkFeature]
    out_chs: int


@dataclass(frozen=True)
class PlacedBlock:
    """A block at its place in a network.

    Args:
        args: the block; its stride is 1 where dilation stands for it.
        dilation: of its convolutions.
        reduction: input size per size of its output.
        starts_s2d: moves positions to channels first.
        within_s2d: its output is in space-to-depth form.
        level_ends: its output is the last map of its size.
    """

    args: BlockArgs
    dilation: int
    reduction: int
    starts_s2d: bool = False
    within_s2d: bool = False
    level_ends: bool = False


def place_blocks(
    arch: Sequence[Sequence[BlockArgs]], output_stride: int = 32, stem_stride: int = 2
) -> list[list[PlacedBlock]]:
    """Follow the strides through a network.

    A stride that would pass `output_stride` becomes a dilation of all later blocks; the block
    itself keeps the dilation before, as in timm. The block that ends a space-to-depth region
    gives up its stride for it, and expands a quarter, because its input is four times as wide.

    Args:
        arch: blocks by stage, as `decode_arch_def` gives them.
        output_stride: the largest reduction: 8, 16 or 32.
        stem_stride: reduction before the first block.

    Raises:
        ValueError: a stage without blocks; a block that cannot stride but has one; an output
            stride that is none.
    """
    if output_stride not in (8, 16, 32):
        raise ValueError(f"output_stride={output_stride}: give 8, 16 or 32")
    walk = _Walk(output_stride, stem_stride)
    placed = []
    for index, stage in enumerate(arch):
        if not stage:
            raise ValueError(f"stage {index} has no blocks; leave it out or give it one")
        blocks = [walk.step(args) for args in stage]
        last = index + 1 == len(arch)
        if last or (_downsamples(arch[index + 1][0]) and not walk.within_s2d):
            blocks[-1] = dataclasses.replace(blocks[-1], level_ends=True)
        placed.append(blocks)
    return placed


def _downsamples(args: BlockArgs) -> bool:
    return args.stride > 1 or args.s2d


class _Walk:
    """Reduction, dilation and form of the map while blocks are passed."""

    def __init__(self, output_stride: int, reduction: int) -> None:
        self.output_stride = output_stride
        self.reduction = reduction
        self.dilation = 1
        self.within_s2d = False

    def step(self, args: BlockArgs) -> PlacedBlock:
        starts = args.s2d and not self.within_s2d
        if starts:
            if args.stride > 1:
                raise ValueError(f"d1 with s{args.stride}: space-to-depth strides already, give s1")
            self.within_s2d = True
            self.reduction *= 2
        elif self.within_s2d and args.stride > 1:
            args = dataclasses.replace(args, stride=1, exp_ratio=args.exp_ratio / 4)
            self.within_s2d = False
        before = self.dilation
        if args.stride * self.reduction > self.output_stride:
            self.dilation *= args.stride
            args = dataclasses.replace(args, stride=1)
        self.reduction *= args.stride
        return PlacedBlock(args, before, self.reduction, starts, self.within_s2d)


def _sizes(kernel: Kernel) -> int | list[int]:
    return list(kernel) if isinstance(kernel, tuple) else kernel


def block_options(args: BlockArgs) -> dict[str, Any]:
    """What the string says, as keywords of the block's class; widths and strides left out."""
    kernel, exp, pw = map(_sizes, (args.kernel_size, args.exp_kernel_size, args.pw_kernel_size))
    options: dict[str, Any] = {}
    match args.kind:
        case "cn":
            options = dict(kernel_size=kernel, skip=args.skip)
        case "ds" | "dsa":
            options = dict(dw_kernel_size=kernel, pw_kernel_size=pw, pw_act=args.kind == "dsa")
        case "ir":
            options = dict(dw_kernel_size=kernel, exp_kernel_size=exp, pw_kernel_size=pw)
            options |= dict(num_experts=args.num_experts) if args.num_experts else {}
        case "er":
            options = dict(exp_kernel_size=kernel, pw_kernel_size=pw)
        case "uir":
            names = "dw_kernel_size_start", "dw_kernel_size_mid", "dw_kernel_size_end"
            options = dict(zip(names, (exp, kernel, pw), strict=True))
        case "mqa" | "mha":
            options = dict(dw_kernel_size=kernel, num_heads=args.num_heads)
            options |= dict(key_dim=args.key_dim, value_dim=args.key_dim, kv_stride=args.kv_stride)
    if args.kind != "cn":
        options["noskip"] = not args.skip
    if args.kind in ("ir", "er", "uir"):
        options["exp_ratio"] = args.exp_ratio
    if args.group_size is not None:
        options["group_size"] = args.group_size
    return options


def block_class(args: BlockArgs) -> Callable[..., ResidualBlock]:
    """The class of the block that a string describes."""
    match args.kind:
        case "ir":
            return CondConvResidual if args.num_experts else InvertedResidual
        case "mqa":
            return partial(MobileAttention, use_multi_query=True)
    return {
        "ds": DepthwiseSeparableConv,
        "dsa": DepthwiseSeparableConv,
        "er": EdgeResidual,
        "cn": ConvBnAct,
        "uir": UniversalInvertedResidual,
        "mha": MobileAttention,
    }[args.kind]


@dataclass(frozen=True, kw_only=True)
class BlockDefaults:
    """What all blocks of a network have in common; see `build_blocks`."""

    act_layer: LayerType
    norm_layer: LayerType
    aa_layer: LayerType | None
    se_layer: LayerFactory | None
    pad_type: PadType
    round_chs_fn: Callable[[float], int]
    se_from_exp: bool
    layer_scale_init_value: float | None
    factory: dict[str, Any]

    def create(self, placed: PlacedBlock, in_chs: int, drop_path_rate: float) -> ResidualBlock:
        """Build one block for an input of `in_chs` channels."""
        args = placed.args
        options = block_options(args) | self.factory | dict(stride=args.stride)
        options |= dict(dilation=placed.dilation, pad_type=self.pad_type)
        options |= dict(act_layer=args.act_layer or self.act_layer, norm_layer=self.norm_layer)
        options |= dict(aa_layer=self.aa_layer, drop_path_rate=drop_path_rate)
        if args.force_in_chs:
            options["force_in_chs"] = self.round_chs_fn(args.force_in_chs)
        if args.kind in ("uir", "mqa", "mha"):
            options["layer_scale_init_value"] = self.layer_scale_init_value
        if args.se_ratio and self.se_layer is not None:
            options["se_layer"] = self.squeeze(placed)
        out_chs = self.round_chs_fn(args.out_chs)
        if placed.within_s2d:
            if args.kind not in ("ds", "dsa", "ir") or args.num_experts:
                raise ValueError(f"{args.kind} blocks have no space-to-depth form; take ds or ir")
            out_chs *= 4
            options["s2d"] = placed.starts_s2d
        return block_class(args)(in_chs, out_chs, **options)

    def squeeze(self, placed: PlacedBlock) -> LayerFactory:
        """Squeeze-and-excitation for the hidden channels of a block, its width as the string says.

        The string counts from the input of the block, or with `se_from_exp` from the hidden
        channels; the layer always counts from the hidden ones.
        """
        assert self.se_layer is not None
        if not accepts(self.se_layer, "rd_ratio"):
            return self.se_layer
        args = placed.args
        ratio = args.se_ratio
        if not self.se_from_exp and args.kind in ("ir", "er", "uir"):
            ratio /= args.exp_ratio
        return partial(self.se_layer, rd_ratio=ratio / 4 if placed.starts_s2d else ratio)


def build_blocks(
    in_chs: int,
    arch: Sequence[Sequence[BlockArgs]],
    *,
    act_layer: LayerType = nn.ReLU,
    norm_layer: LayerType = nn.BatchNorm2d,
    aa_layer: LayerType | None = None,
    se_layer: LayerType | None = SqueezeExcite,
    pad_type: PadType = "",
    round_chs_fn: Callable[[float], int] = round_channels,
    se_from_exp: bool = False,
    layer_scale_init_value: float | None = None,
    drop_path_rate: float = 0.0,
    output_stride: int = 32,
    feature_location: str = "bottleneck",
    stage_layer: Callable[..., nn.Module] = nn.Sequential,
    stem_stride: int = 2,
    stem_module: str = "bn1",
    path: str = "blocks",
    device: Any = None,
    dtype: Any = None,
) -> Trunk:
    """Build the stages of a network.

    Args:
        in_chs: C of the first block's input.
        arch: blocks by stage, as `decode_arch_def` gives them.
        act_layer: activation of the blocks whose string says none.
        norm_layer: norm or norm+act by name, class or partial.
        aa_layer: anti-aliasing by name, class or partial, in blocks that stride.
        se_layer: attention by name, class or partial, in blocks whose string has `se`; None for
            none anywhere.
        pad_type: see `create_conv2d`.
        round_chs_fn: width in the string -> width in the network.
        se_from_exp: squeeze a share of the hidden channels, not of the block's input.
        layer_scale_init_value: start of the factors on branches of `uir`, `mqa` and `mha`; None
            for no factors.
        drop_path_rate: stochastic depth; block i of n has the rate i / n of it.
        output_stride: largest reduction; later strides become dilations.
        feature_location: `"bottleneck"`, levels are outputs of stages, or `"expansion"`, they are
            what the last projection of a stage takes.
        stage_layer: called with the blocks of a stage; `hub.BlockSequence` makes stages that
            support checkpointing.
        stem_stride: reduction before the first block.
        stem_module: where the stem's map comes out; it is a level where the first block strides.
        path: name of the stages in the network.
        device: where the parameters live.
        dtype: type of the parameters.

    Raises:
        ValueError: no blocks, another location or output stride, a block that does not fit its
            place.
        UnknownLayerError: no layer has this name.
    """
    if feature_location not in LOCATIONS:
        raise ValueError(f"feature_location={feature_location!r}: give one of {LOCATIONS}")
    if not arch:
        raise ValueError("no stages to build; give one list of blocks per stage")
    defaults = BlockDefaults(
        act_layer=act_layer,
        norm_layer=norm_layer,
        aa_layer=aa_layer,
        se_layer=get_attn(se_layer),
        pad_type=pad_type,
        round_chs_fn=round_chs_fn,
        se_from_exp=se_from_exp,
        layer_scale_init_value=layer_scale_init_value,
        factory=dict(device=device, dtype=dtype),
    )
    placed = place_blocks(arch, output_stride, stem_stride)
    total = sum(map(len, placed))
    rates = (drop_path_rate * index / total for index in range(total))
    stages, features, chs = [], [], in_chs
    if _downsamples(arch[0][0]):
        level = TrunkFeature(channels=in_chs, reduction=stem_stride, module=stem_module, stage=0)
        features.append(level)
    for index, stage in enumerate(placed):
        blocks = []
        for place in stage:
            blocks.append(defaults.create(place, chs, next(rates)))
            chs = blocks[-1].out_chs
        if stage[-1].level_ends:
            level = TrunkFeature(
                channels=chs,
                reduction=stage[-1].reduction,
                module=f"{path}.{index}",
                stage=index + 1,
            )
            if feature_location == "expansion" and (tap := blocks[-1].expansion).module:
                where = f"{level.module}.{len(blocks) - 1}.{tap.module}"
                level = dataclasses.replace(level, **tap._asdict() | dict(module=where))
            features.append(level)
        stages.append(stage_layer(*blocks))
    return Trunk(stages, features, chs)
