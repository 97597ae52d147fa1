"""FocalNet in small (Yang et al., 2022), NHWC, with a norm for each level; the head sees all."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from hub import Backbone, BlockSequence
from hub_layers import Mlp
from torch import Tensor, nn


class Modulation(nn.Module):
    """Modulate each position by its context: gated depthwise convolutions and the map's mean."""

    def __init__(self, width: int, focals: int, kernel: int = 3) -> None:
        super().__init__()
        self.split = (width, width, focals + 1)
        self.fc_in = nn.Linear(width, sum(self.split))
        self.context = nn.ModuleList()
        for size in range(kernel, kernel + 2 * focals, 2):
            self.context.append(
                nn.Conv2d(width, width, size, padding=size // 2, groups=width, bias=False)
            )
        self.mix, self.proj = nn.Conv2d(width, width, 1), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, H, W, C)."""
        query, context, gates = self.fc_in(x).split(self.split, -1)
        context, gates = context.permute(0, 3, 1, 2), gates.permute(0, 3, 1, 2)
        total = torch.zeros_like(context)
        for i, layer in enumerate(self.context):
            context = F.gelu(layer(context))
            total = total + context * gates[:, i : i + 1]
        total = total + F.gelu(context.mean((2, 3), keepdim=True)) * gates[:, -1:]
        y: Tensor = self.proj(query * self.mix(total).permute(0, 2, 3, 1))
        return y


class Block(nn.Module):
    """Modulation and an MLP, each with norm and shortcut."""

    def __init__(self, width: int, focals: int) -> None:
        super().__init__()
        self.norm1, self.modulation = nn.LayerNorm(width), Modulation(width, focals)
        self.norm2, self.mlp = nn.LayerNorm(width), Mlp(width, 4 * width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.modulation(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Merge(nn.Module):
    """Halve an NHWC map."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, out, 2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x.permute(0, 3, 1, 2))
        return y.permute(0, 2, 3, 1)


class FocalPyramid(Backbone):
    """Levels: the maps after each stage, before their norms. The head sees all of them, normed."""

    layout = "NHWC"

    def __init__(
        self,
        widths: tuple[int, ...] = (96, 192, 384, 768),
        depths: tuple[int, ...] = (2, 2, 6, 2),
        focals: int = 2,
        *,
        in_chans: int = 3,
        num_classes: int = 1000,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__(num_classes, in_chans, global_pool, drop_rate)
        self.stem = nn.Conv2d(in_chans, widths[0], 4, stride=4)
        self.stages, rows = nn.ModuleList(), []
        for i, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            merge = [Merge(widths[i - 1], width)] if i else []
            self.stages.append(BlockSequence(*merge, *(Block(width, focals) for _ in range(depth))))
            rows.append(
                dict(num_chs=width, reduction=4 * 2**i, module=f"stages.{i}", norm=f"norms.{i}")
            )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for width in widths)
        self.num_features = sum(widths)
        self.feature_info = rows

    def forward_levels(self, x: Tensor) -> Iterator[Tensor]:
        x, levels = self.stem(x).permute(0, 2, 3, 1), []
        for stage in self.stages:
            x = stage(x)
            levels.append(x)
            yield x
        return levels

    def forward_final(self, x: list[Tensor]) -> Tensor:
        maps = [self.forward_norm(level, i).permute(0, 3, 1, 2) for i, level in enumerate(x)]
        size = maps[-1].shape[-2:]
        return torch.cat([F.adaptive_avg_pool2d(each, size) for each in maps], 1).permute(
            0, 2, 3, 1
        )
