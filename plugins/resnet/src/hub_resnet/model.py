"""ResNet and its descendants that keep its skeleton.

Papers: ResNet arXiv:1512.03385; ResNeXt arXiv:1611.05431; wide arXiv:1605.07146; squeeze and
excitation arXiv:1709.01507; ECA arXiv:1910.03151; bag of tricks (C, D) arXiv:1812.01187;
anti-aliasing arXiv:1904.11486; ResNet-RS arXiv:2103.07579.
Original code: https://github.com/KaimingHe/deep-residual-networks (MIT); parameter names are those
of torchvision and timm.

Differences from the original:
* the stride of a bottleneck is in its 3x3 convolution (ResNet v1.5);
* the last norm of each residual starts at zero (arXiv:1706.02677), unless `zero_init_last=False`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from hub import Backbone, BlockSequence, FeatureInfo
from hub_layers import (
    DropBlock2d,
    DropPath,
    LayerFactory,
    LayerType,
    calculate_drop_path_rates,
    create_aa,
    create_classifier,
    get_act_layer,
    get_norm_layer,
    get_norm_name,
    stage_strides,
)
from torch import Tensor, nn

from hub_resnet.blocks import (
    BLOCKS,
    BasicBlock,
    Block,
    Bottleneck,
    avg_shortcut,
    conv3x3,
    conv_shortcut,
)

#: Channels of the stem's convolutions; per stage its output and those inside each block.
PrunedWidths = tuple[Sequence[int], Sequence[tuple[int, Sequence[Sequence[int]]]]]


class ResNet(Backbone):
    """Residual network: a stem, four stages of blocks, pool and classifier.

    Levels: the stem before its pool (stride 2), then the stages (4, 8, 16, 32).

    Args:
        block: "basic" or "bottleneck", one for all stages or one for each.
        layers: blocks per stage.
        num_classes: outputs of the classifier; 0 for none.
        in_chans: channels of the image.
        output_stride: 32, 16 or 8: strides beyond it become dilation.
        global_pool: name of the pool before the classifier.
        cardinality: groups in the 3x3 convolution of a bottleneck.
        base_width: channels per group at 64 planes.
        stem_width: channels of the first convolutions of a deep stem.
        stem_type: "" one 7x7 convolution; "deep" three 3x3; "deep_tiered" the same, growing.
        replace_stem_pool: a strided 3x3 convolution in place of the max pool.
        block_reduce_first: divides the channels of a block's first convolution.
        down_kernel_size: kernel of the shortcut's projection.
        avg_down: average-pooled shortcuts (D).
        channels: planes of each stage.
        act_layer: activation, by name or class.
        norm_layer: norm, by name or class.
        aa_layer: anti-aliasing, by name.
        drop_rate: dropout before the classifier.
        drop_path_rate: highest stochastic-depth rate, linear over depth.
        drop_block_rate: DropBlock rate in the last two stages.
        zero_init_last: start every residual at zero.
        block_args: further keywords of the block (`attn_layer`, `attn_args`).
        pruned_widths: channels that pruning left.
    """

    classifier_path = "fc"

    def __init__(
        self,
        block: str | Block | Sequence[str | Block],
        layers: Sequence[int],
        *,
        num_classes: int = 1000,
        in_chans: int = 3,
        output_stride: int = 32,
        global_pool: str = "avg",
        cardinality: int = 1,
        base_width: int = 64,
        stem_width: int = 64,
        stem_type: str = "",
        replace_stem_pool: bool = False,
        block_reduce_first: int = 1,
        down_kernel_size: int = 1,
        avg_down: bool = False,
        channels: Sequence[int] = (64, 128, 256, 512),
        act_layer: LayerType = "relu",
        norm_layer: LayerType = "batchnorm2d",
        aa_layer: Any = None,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        drop_block_rate: float = 0.0,
        zero_init_last: bool = True,
        block_args: Mapping[str, Any] | None = None,
        pruned_widths: PrunedWidths | None = None,
    ) -> None:
        super().__init__(num_classes, in_chans, global_pool, drop_rate)
        if output_stride not in (8, 16, 32):
            raise ValueError(f"output_stride={output_stride!r}: it can be 8, 16 or 32")
        act, norm = get_act_layer(act_layer), get_norm_layer(norm_layer)
        stem_widths, stage_widths = pruned_widths or (None, (None, None, None, None))

        width = self._build_stem(stem_type, stem_width, stem_widths, act, norm)
        self.maxpool = _stem_pool(width, replace_stem_pool, aa_layer, act, norm)
        levels = [dict(num_chs=width, reduction=2, module="act1")]

        kinds = (block,) * 4 if isinstance(block, str | type) else block
        rates = calculate_drop_path_rates(drop_path_rate, layers, stagewise=True)
        drop_blocks = _drop_blocks(drop_block_rate)
        shortcut = (
            avg_shortcut if avg_down else partial(conv_shortcut, kernel_size=down_kernel_size)
        )
        for i, step in enumerate(stage_strides(output_stride)):
            name = f"layer{i + 1}"
            stage, width = _make_stage(
                kinds[i],
                width,
                channels[i],
                widths=stage_widths[i],
                shortcut=shortcut,
                stride=step.stride,
                dilations=(step.first_dilation, step.dilation),
                drop_path_rates=rates[i],
                drop_block=drop_blocks[i],
                act_layer=act,
                norm_layer=norm,
                aa_layer=aa_layer,
                cardinality=cardinality,
                base_width=base_width,
                reduce_first=block_reduce_first,
                **(block_args or {}),
            )
            self.add_module(name, stage)
            levels.append(dict(num_chs=width, reduction=step.reduction, module=name))

        self.feature_info = FeatureInfo(levels)
        self.num_features = width
        self.build_head(num_classes, global_pool)
        self.zero_init_last = zero_init_last
        self._init(zero_init_last)

    def _build_stem(
        self,
        kind: str,
        width: int,
        widths: Sequence[int] | None,
        act: LayerFactory,
        norm: LayerFactory,
    ) -> int:
        """Set conv1, bn1 and act1; return how many channels they give."""
        if kind not in _STEMS:
            raise ValueError(f"stem_type={kind!r}: it can be {', '.join(map(repr, _STEMS))}")
        if kind == "":
            out = 64
            self.conv1: nn.Module = nn.Conv2d(self.in_chans, out, 7, 2, padding=3, bias=False)
        else:
            first, second, out = widths or _STEMS[kind](width)
            self.conv1 = nn.Sequential(
                *(conv3x3(self.in_chans, first, 2), norm(first), act(inplace=True)),
                *(conv3x3(first, second), norm(second), act(inplace=True)),
                conv3x3(second, out),
            )
        self.bn1 = norm(out)
        self.act1 = act(inplace=True)
        return out

    def build_head(self, num_classes: int, global_pool: str) -> None:
        """Set pool and classifier."""
        self.global_pool, self.fc = create_classifier(
            self.num_features, num_classes, pool_type=global_pool
        )

    def present_arguments(self) -> dict[str, Any]:
        """Add the norm, where it has a name: norms can be frozen in place."""
        name = get_norm_name(self.bn1)
        return {**super().present_arguments(), **({"norm_layer": name} if name else {})}

    def init_weights(self, mode: str = "", zero_init_last: bool | None = None) -> None:
        """Initialise convolutions after He et al. (arXiv:1502.01852), residuals at zero.

        Args:
            mode: there is this scheme alone.
            zero_init_last: start every residual at zero; None: as the network was built.
        """
        super().init_weights(mode)
        self._init(self.zero_init_last if zero_init_last is None else zero_init_last)

    def _init(self, zero_init_last: bool) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif zero_init_last and isinstance(module, BasicBlock | Bottleneck):
                module.zero_init_last()

    def forward_levels(self, x: Tensor) -> Iterator[Tensor]:
        """x: (B, in_chans, H, W). Yields (B, C, H / 2, W / 2), then the four stages."""
        x = self.act1(self.bn1(self.conv1(x)))
        yield x
        x = self.maxpool(x)
        for name in ("layer1", "layer2", "layer3", "layer4"):
            x = getattr(self, name)(x)
            yield x


#: Channels of the three convolutions of a deep stem, from its width.
_STEMS: dict[str, Callable[[int], tuple[int, int, int]]] = {
    "": lambda width: (64, 64, 64),
    "deep": lambda width: (width, width, 2 * width),
    "deep_tiered": lambda width: (3 * (width // 4), width, 2 * width),
}


def _stem_pool(
    width: int, replace: bool, aa_layer: Any, act: LayerFactory, norm: LayerFactory
) -> nn.Module:
    """Return what halves the map after the stem; named maxpool whatever it is."""
    if replace:
        conv = conv3x3(width, width, 1 if aa_layer else 2)
        blurs = [create_aa(aa_layer, channels=width, stride=2)] if aa_layer else []
        return nn.Sequential(conv, *blurs, norm(width), act(inplace=True))
    if aa_layer is None:
        return nn.MaxPool2d(3, 2, padding=1)
    blur = create_aa(aa_layer, channels=width, stride=2)
    if isinstance(blur, nn.AvgPool2d):
        return blur
    return nn.Sequential(nn.MaxPool2d(3, 1, padding=1), blur)


def _drop_blocks(rate: float) -> list[Callable[[], nn.Module]]:
    """Return what makes the DropBlock of each stage: only in the last two (arXiv:1810.12890)."""
    if not rate:
        return [nn.Identity] * 4
    third = partial(DropBlock2d, rate, block_size=5, gamma_scale=0.25)
    fourth = partial(DropBlock2d, rate, block_size=3, gamma_scale=1.0)
    return [nn.Identity, nn.Identity, third, fourth]


def _make_stage(
    kind: str | Block,
    in_chans: int,
    planes: int,
    *,
    widths: tuple[int, Sequence[Sequence[int]]] | None,
    shortcut: Callable[..., nn.Module],
    stride: int,
    dilations: tuple[int, int],
    drop_path_rates: Sequence[float],
    norm_layer: LayerFactory,
    **kwargs: Any,
) -> tuple[BlockSequence, int]:
    """Return one block per drop-path rate, and how many channels they give."""
    block = BLOCKS[kind] if isinstance(kind, str) else kind
    out, inner = widths or (planes * block.expansion, None)
    first_dilation, dilation = dilations
    blocks: list[nn.Module] = []
    for i, rate in enumerate(drop_path_rates):
        downsample = None
        if i == 0 and (stride > 1 or in_chans != out):
            downsample = shortcut(
                in_chans,
                out,
                stride=stride,
                dilation=dilation,
                first_dilation=first_dilation,
                norm_layer=norm_layer,
            )
        blocks.append(
            block(
                in_chans,
                planes,
                stride=1 if i else stride,
                downsample=downsample,
                dilation=dilation,
                first_dilation=dilation if i else first_dilation,
                norm_layer=norm_layer,
                drop_path=DropPath(rate) if rate else None,
                widths=(*inner[i], out) if inner else None,
                **kwargs,
            )
        )
        in_chans = out
    return BlockSequence(*blocks), out
