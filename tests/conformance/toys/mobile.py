"""MobileNetV3 in small (Howard et al., 2019), tapped where a block that halves has expanded."""

from __future__ import annotations

from collections.abc import Iterator

from hub import Backbone
from hub_layers import SqueezeExcite
from torch import Tensor, nn


def conv(
    width: int, out: int, kernel: int = 1, stride: int = 1, groups: int = 1, act: bool = True
) -> nn.Sequential:
    """Convolution, norm, Hardswish."""
    layers = [
        nn.Conv2d(width, out, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(out),
    ]
    return nn.Sequential(*layers, *([nn.Hardswish()] if act else []))


class Contract(nn.Module):
    """What follows the expansion of a block: depthwise, squeeze and excite, projection."""

    def __init__(self, hidden: int, out: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.depthwise = conv(hidden, hidden, kernel, stride, hidden)
        self.se, self.project = SqueezeExcite(hidden), conv(hidden, out, act=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.project(self.se(self.depthwise(x)))
        return y


class Inverted(nn.Module):
    """The inverted residual block; a shortcut where it keeps stride and width."""

    def __init__(self, width: int, out: int, expand: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.expand = conv(width, expand * width)
        self.contract = Contract(expand * width, out, kernel, stride)
        self.shortcut = stride == 1 and width == out

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.contract(self.expand(x))
        return x + y if self.shortcut else y


class Mobile(Backbone):
    """Stages of inverted blocks, the first of which halves.

    Levels: the expanded maps in the first block of each stage but the first, at the stride of the
    stage before; then the widened map at the end.
    """

    head_modules = ("global_pool", "hidden", "act", "classifier")
    classifier_path = "classifier"
    pools = ("avg", "max")

    def __init__(
        self,
        widths: tuple[int, ...] = (16, 24, 40, 96),
        depths: tuple[int, ...] = (1, 2, 3, 3),
        kernels: tuple[int, ...] = (3, 3, 5, 5),
        expand: int = 4,
        hidden: int = 1024,
        *,
        in_chans: int = 3,
        num_classes: int = 1000,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__(num_classes, in_chans, global_pool, drop_rate)
        self.stem = conv(in_chans, widths[0], 3, 2)
        self.stages, rows, width = nn.ModuleList(), [], widths[0]
        for i, (out, depth, kernel) in enumerate(zip(widths, depths, kernels, strict=True)):
            if i:
                rows.append(
                    dict(num_chs=expand * width, reduction=2 * 2**i, module=f"stages.{i}.0.expand")
                )
            blocks = nn.ModuleList()
            for j in range(depth):
                blocks.append(Inverted(out if j else width, out, expand, kernel, 1 if j else 2))
            self.stages.append(blocks)
            width = out
        self.widen = conv(width, expand * width)
        rows.append(dict(num_chs=expand * width, reduction=2 * 2 ** len(widths), module="widen"))
        self.hidden, self.act = nn.Linear(expand * width, hidden), nn.Hardswish()
        self.head_hidden_size = hidden
        self.feature_info = rows

    def forward_levels(self, x: Tensor) -> Iterator[Tensor]:
        x = self.stem(x)
        for i, stage in enumerate(self.stages):
            for j, block in enumerate(stage):
                if i and not j:
                    x = self.apply_block(block.expand, x)
                    yield x
                    x = self.apply_block(block.contract, x)
                else:
                    x = self.apply_block(block, x)
        yield self.widen(x)
