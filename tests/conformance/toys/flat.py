"""A small MobileNetV3 (Howard et al. 2019): a hidden layer behind the pool."""

from __future__ import annotations

from collections.abc import Iterator

from hub import Backbone, BlockSequence
from torch import Tensor, nn


def conv(width: int, out: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width, out, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(out),
        nn.Hardswish(),
    )


class Excite(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(width, width // 4, 1)
        self.fc2 = nn.Conv2d(width // 4, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        scale: Tensor = self.fc2(self.fc1(x.mean((2, 3), keepdim=True)).relu())
        return x * nn.functional.hardsigmoid(scale)


class Inverted(nn.Module):
    def __init__(self, width: int, out: int, stride: int) -> None:
        super().__init__()
        inner = 4 * width
        self.residual = stride == 1 and width == out
        self.layers = nn.Sequential(
            conv(width, inner),
            conv(inner, inner, 5, stride, inner),
            Excite(inner),
            nn.Conv2d(inner, out, 1, bias=False),
            nn.BatchNorm2d(out),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return x + y if self.residual else y


class Flat(Backbone):
    head_modules = ("global_pool", "hidden", "act", "classifier")
    classifier_path = "classifier"
    pools = ("avg", "max")

    def __init__(
        self,
        widths: tuple[int, ...] = (16, 24, 40, 96),
        hidden: int = 1024,
        *,
        in_chans: int = 3,
        num_classes: int = 1000,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__(num_classes, in_chans, global_pool, drop_rate)
        layers: list[nn.Module] = [conv(in_chans, widths[0], 3, stride=2)]
        rows, before = [], widths[0]
        for i, width in enumerate(widths):
            layers += [Inverted(before, width, 2), Inverted(width, width, 1)]
            rows.append(
                dict(num_chs=width, reduction=4 * 2**i, module=f"features.{len(layers) - 1}")
            )
            before = width
        self.features = BlockSequence(*layers)
        self.hidden, self.act = nn.Linear(before, hidden), nn.Hardswish()
        self.head_hidden_size = hidden
        self.feature_info = rows

    def forward_levels(self, x: Tensor) -> Iterator[Tensor]:
        for i, y in enumerate(self.features.each(x)):
            if i and i % 2 == 0:  # after the second block of a width
                yield y
