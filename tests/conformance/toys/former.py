"""EfficientFormer in small (Li et al., 2022): pooling on maps first, attention on tokens last."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from hub import Backbone, BlockSequence
from hub_layers import Attention, Mlp
from torch import Tensor, nn


class Scale(nn.Module):
    """Layer scale: a factor per channel, along `dim`."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.empty(shape))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.constant_(self.gamma, 0.1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class MapBlock(nn.Module):
    """Mix by a pool of 3 by 3 (less the map itself), then by two pointwise convolutions."""

    def __init__(self, width: int, expand: int) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(3, 1, 1, count_include_pad=False)
        self.scale1 = Scale(width, 1, 1)
        hidden = expand * width
        self.mlp = nn.Sequential(
            nn.Conv2d(width, hidden, 1), nn.BatchNorm2d(hidden), nn.GELU(),
            nn.Conv2d(hidden, width, 1), nn.BatchNorm2d(width),
        )  # fmt: skip
        self.scale2 = Scale(width, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, H, W)."""
        x = x + self.scale1(self.pool(x) - x)
        return x + self.scale2(self.mlp(x))


class TokenBlock(nn.Module):
    """A transformer block with layer scale."""

    def __init__(self, width: int, heads: int, expand: int) -> None:
        super().__init__()
        self.norm1, self.attn, self.scale1 = (
            nn.LayerNorm(width),
            Attention(width, heads),
            Scale(width),
        )
        self.norm2, self.mlp, self.scale2 = (
            nn.LayerNorm(width),
            Mlp(width, expand * width),
            Scale(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, N, C)."""
        x = x + self.scale1(self.attn(self.norm1(x)))
        return x + self.scale2(self.mlp(self.norm2(x)))


class Former(Backbone):
    """Stages of maps, the last of which goes on as tokens.

    Levels: the maps after each stage, then the tokens at the end (`layout`).
    """

    layout, final_norm, classifier_path = "NLC", "norm", "head"

    def __init__(
        self,
        widths: tuple[int, ...] = (48, 96, 224, 448),
        depths: tuple[int, ...] = (3, 2, 6, 3),
        token_depth: int = 1,
        heads: int = 8,
        expand: int = 4,
        *,
        in_chans: int = 3,
        num_classes: int = 1000,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__(num_classes, in_chans, global_pool, drop_rate)
        self.stem = nn.Sequential(
            nn.Conv2d(in_chans, widths[0] // 2, 3, 2, 1), nn.BatchNorm2d(widths[0] // 2), nn.ReLU(),
            nn.Conv2d(widths[0] // 2, widths[0], 3, 2, 1), nn.BatchNorm2d(widths[0]), nn.ReLU(),
        )  # fmt: skip
        self.stages, rows = nn.ModuleList(), []
        for i, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            halve = [nn.Conv2d(widths[i - 1], width, 3, 2, 1), nn.BatchNorm2d(width)] if i else []
            self.stages.append(
                BlockSequence(*halve, *(MapBlock(width, expand) for _ in range(depth)))
            )
            rows.append(
                dict(num_chs=width, reduction=4 * 2**i, module=f"stages.{i}", layout="NCHW")
            )
        self.tokens = BlockSequence(
            *(TokenBlock(widths[-1], heads, expand) for _ in range(token_depth))
        )
        rows.append(dict(num_chs=widths[-1], reduction=rows[-1]["reduction"], module="tokens"))
        self.norm = nn.LayerNorm(widths[-1])
        self.feature_info = rows

    def forward_levels(self, x: Tensor) -> Iterator[Tensor]:
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
            yield x
        yield self.tokens(x.flatten(2).mT)
