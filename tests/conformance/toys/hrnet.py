"""HRNet in small (Wang et al., 2019): branches side by side, which exchange after each stage.

The classifier sees all branches of the last stage: each is widened, and the larger ones are led
down, one to the next.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch.nn.functional as F
from hub import Backbone, BlockSequence
from torch import Tensor, nn


def conv(width: int, out: int, stride: int = 1, kernel: int = 3, act: bool = True) -> nn.Sequential:
    """Convolution, norm, ReLU."""
    layers = [nn.Conv2d(width, out, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(out)]
    return nn.Sequential(*layers, *([nn.ReLU()] if act else []))


class Block(nn.Module):
    """The basic block of ResNet."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = conv(width, width), conv(width, width, act=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.conv2(self.conv1(x)))


class Fuse(nn.Module):
    """What one branch gets of all: larger ones strided down, smaller ones enlarged.

    Args:
        widths: channels of all branches.
        to: the branch that is made.
    """

    def __init__(self, widths: tuple[int, ...], to: int) -> None:
        super().__init__()
        self.paths = nn.ModuleList()
        for i, width in enumerate(widths):
            if i > to:
                self.paths.append(conv(width, widths[to], kernel=1, act=False))
            else:
                halve = [
                    conv(width, width if j < to else widths[to], 2, act=j < to)
                    for j in range(i + 1, to + 1)
                ]
                self.paths.append(nn.Sequential(*halve))

    def forward(self, branches: list[Tensor], size: tuple[int, int]) -> Tensor:
        parts = [path(x) for path, x in zip(self.paths, branches, strict=True)]
        parts = [
            y if y.shape[-2:] == size else F.interpolate(y, size, mode="nearest") for y in parts
        ]
        return F.relu(sum(parts[1:], parts[0]))


class Stage(nn.Module):
    """A new branch at half the resolution, blocks on each branch, and the exchange."""

    def __init__(self, widths: tuple[int, ...], depth: int) -> None:
        super().__init__()
        self.transition = conv(widths[-2], widths[-1], 2)
        self.branches = nn.ModuleList(
            BlockSequence(*(Block(width) for _ in range(depth))) for width in widths
        )
        self.newest = Fuse(widths, len(widths) - 1)
        self.others = nn.ModuleList(Fuse(widths, i) for i in range(len(widths) - 1))

    def forward(self, branches: list[Tensor]) -> list[Tensor]:
        """The branches before the exchange."""
        branches = [*branches, self.transition(branches[-1])]
        return [branch(x) for branch, x in zip(self.branches, branches, strict=True)]

    def exchange(self, branches: list[Tensor]) -> list[Tensor]:
        """What the other branches get of all."""
        return [
            fuse(branches, x.shape[-2:]) for fuse, x in zip(self.others, branches, strict=False)
        ]


class HRNet(Backbone):
    """Levels: the stem, then the branch that each stage adds, at 1/4, 1/8, ... of the image."""

    def __init__(
        self,
        widths: tuple[int, ...] = (18, 36, 72),
        depth: int = 2,
        head_widths: tuple[int, ...] = (64, 128, 256),
        *,
        in_chans: int = 3,
        num_classes: int = 1000,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__(num_classes, in_chans, global_pool, drop_rate)
        self.stem = nn.Sequential(conv(in_chans, widths[0], 2), conv(widths[0], widths[0], 2))
        self.stages = nn.ModuleList(Stage(widths[:i], depth) for i in range(2, len(widths) + 1))
        self.widen = nn.ModuleList(
            conv(a, b, kernel=1) for a, b in zip(widths, head_widths, strict=True)
        )
        self.lead_down = nn.ModuleList(conv(a, b, 2) for a, b in itertools.pairwise(head_widths))
        self.num_features = head_widths[-1]
        self.final_modules = (f"stages.{len(widths) - 2}.others", "widen", "lead_down")
        self.feature_info = [dict(num_chs=widths[0], reduction=4, module="stem")] + [
            dict(num_chs=width, reduction=8 * 2**i, module=f"stages.{i}.newest")
            for i, width in enumerate(widths[1:])
        ]

    def forward_levels(self, x: Tensor) -> Iterator[Tensor]:
        branches, newest = [], self.stem(x)
        yield newest
        for i, stage in enumerate(self.stages):
            if i:  # the exchange of the stage before, the rest of it
                branches = self.stages[i - 1].exchange(branches)
            branches = stage([*branches, newest])
            newest = stage.newest(branches, branches[-1].shape[-2:])
            yield newest
        return [*branches, newest]

    def forward_final(self, x: list[Tensor]) -> Tensor:
        *branches, newest = x
        branches = [*self.stages[-1].exchange(branches), newest]
        y, *rest = (widen(branch) for widen, branch in zip(self.widen, branches, strict=True))
        for down, branch in zip(self.lead_down, rest, strict=True):
            y = branch + down(y)
        return y
