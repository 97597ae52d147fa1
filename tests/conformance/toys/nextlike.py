"""A small ConvNeXt (Liu et al. 2022): pool, norm, hidden layer and classifier in one head."""

from __future__ import annotations

from collections.abc import Iterator

from hub import Backbone, BlockSequence
from torch import Tensor, nn


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.GroupNorm(1, width)
        self.mlp = nn.Sequential(
            nn.Conv2d(width, 4 * width, 1), nn.GELU(), nn.Conv2d(4 * width, width, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.mlp(self.norm(self.depthwise(x)))
        return x + mixed


class MlpHead(nn.Module):
    """Pool, norm, hidden layer, dropout, classifier, all in one."""

    def __init__(self, width: int, num_classes: int, hidden: int, pool: str, drop: float) -> None:
        super().__init__()
        self.pool_type, self.num_features = pool, hidden
        self.norm: nn.Module = nn.LayerNorm(width)
        self.hidden: nn.Module = nn.Sequential(nn.Linear(width, hidden), nn.GELU())
        self.drop = nn.Dropout(drop)
        self.fc: nn.Module = nn.Linear(hidden, num_classes) if num_classes else nn.Identity()

    def reset(self, num_classes: int, pool_type: str | None = None) -> None:
        if pool_type is not None:
            self.pool_type = pool_type
        self.fc = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()

    def strip(self, in_features: int) -> None:
        self.norm, self.hidden, self.fc = nn.Identity(), nn.Identity(), nn.Identity()
        self.pool_type, self.num_features = "", in_features

    def forward(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        if self.pool_type == "avg":
            x = x.mean((2, 3))
        elif self.pool_type == "max":
            x = x.amax((2, 3))
        else:
            x = x.permute(0, 2, 3, 1)
        x = self.drop(self.hidden(self.norm(x)))
        x = x if pre_logits else self.fc(x)
        return x if x.ndim == 2 else x.permute(0, 3, 1, 2)


class NextLike(Backbone):
    classifier_path = "head.fc"
    pools = ("avg", "max", "")

    def __init__(
        self,
        depths: tuple[int, ...] = (2, 2, 6, 2),
        widths: tuple[int, ...] = (48, 96, 192, 384),
        hidden: int = 512,
        *,
        in_chans: int = 3,
        num_classes: int = 1000,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__(num_classes, in_chans, global_pool, drop_rate)
        self.stem = nn.Sequential(
            nn.Conv2d(in_chans, widths[0], 4, stride=4), nn.GroupNorm(1, widths[0])
        )
        self.stages = nn.ModuleList()
        self.feature_info = []
        before = widths[0]
        for i, (depth, width) in enumerate(zip(depths, widths, strict=True)):
            down = [nn.GroupNorm(1, before), nn.Conv2d(before, width, 2, stride=2)] if i else []
            self.stages.append(BlockSequence(*down, *(Block(width) for _ in range(depth))))
            self.feature_info.append(dict(num_chs=width, reduction=4 * 2**i, module=f"stages.{i}"))
            before = width
        self.head = MlpHead(before, num_classes, hidden, global_pool, drop_rate)

    def forward_levels(self, x: Tensor) -> Iterator[Tensor]:
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
            yield x
