"""A small MobileNetV2 (Sandler et al. 2018): a 1x1 layer widens the last map."""

from __future__ import annotations

from collections.abc import Iterator

from hub import Backbone, BlockSequence
from torch import Tensor, nn


def conv(width: int, out: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width, out, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(out),
        nn.ReLU6(),
    )


class Inverted(nn.Module):
    """Widen, mix, project without an activation."""

    def __init__(self, width: int, out: int, stride: int) -> None:
        super().__init__()
        inner = 6 * width
        self.residual = stride == 1 and width == out
        self.expand = conv(width, inner)
        self.mix = conv(inner, inner, 3, stride, inner)
        self.project = nn.Sequential(nn.Conv2d(inner, out, 1, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.project(self.mix(self.expand(x)))
        return x + y if self.residual else y


class Wide(Backbone):
    final_modules = ("last",)
    classifier_path = "classifier"

    def __init__(
        self,
        depths: tuple[int, ...] = (2, 3, 4),
        widths: tuple[int, ...] = (24, 32, 96),
        last: int = 1280,
        *,
        in_chans: int = 3,
        num_classes: int = 1000,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__(num_classes, in_chans, global_pool, drop_rate)
        self.stem = conv(in_chans, widths[0], 3, stride=2)
        self.stages = nn.ModuleList()
        self.feature_info, before = [], widths[0]
        for i, (depth, width) in enumerate(zip(depths, widths, strict=True)):
            first = Inverted(before, width, 2)
            rest = (Inverted(width, width, 1) for _ in range(depth - 1))
            self.stages.append(BlockSequence(first, *rest))
            self.feature_info.append(dict(num_chs=width, reduction=4 * 2**i, module=f"stages.{i}"))
            before = width
        self.last = conv(before, last)
        self.num_features = last

    def forward_levels(self, x: Tensor) -> Iterator[Tensor]:
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
            yield x
