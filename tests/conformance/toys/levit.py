"""LeViT in small (Graham et al., 2021): attention that shrinks; BatchNorm and linear classify."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from hub import Backbone, BlockSequence
from torch import Tensor, nn


class LinearNorm(nn.Module):
    """A linear map of tokens and BatchNorm over batch and tokens."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.linear, self.bn = nn.Linear(width, out, bias=False), nn.BatchNorm1d(out)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, N, C)."""
        y: Tensor = self.bn(self.linear(x).mT).mT
        return y


class NormLinear(nn.Module):
    """The classifier: BatchNorm, then linear."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.bn, self.linear = nn.BatchNorm1d(width), nn.Linear(width, out)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.linear(self.bn(x))
        return y


class Attention(nn.Module):
    """Attention with small keys, large values and a Hardswish; `stride` skips queries."""

    def __init__(self, width: int, out: int, heads: int, stride: int = 1) -> None:
        super().__init__()
        self.heads, self.stride, self.key_width = heads, stride, 8
        self.q = LinearNorm(width, heads * self.key_width)
        self.kv = LinearNorm(width, heads * self.key_width * 3)
        self.act, self.proj = nn.Hardswish(), LinearNorm(2 * heads * self.key_width, out)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, H, W, C). Returns (B, ceil(H / stride), ceil(W / stride), out)."""
        queries = x[:, :: self.stride, :: self.stride]
        _batch, height, width, _ = queries.shape
        q = self.q(queries.flatten(1, 2)).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        kv = self.kv(x.flatten(1, 2)).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        k, v = kv.split((self.key_width, 2 * self.key_width), -1)
        y = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        z: Tensor = self.proj(self.act(y))
        return z.unflatten(1, (height, width))


class Block(nn.Module):
    """Attention and an MLP of twice the width, each with its shortcut."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attn = Attention(width, width, heads)
        self.mlp = nn.Sequential(
            LinearNorm(width, 2 * width), nn.Hardswish(), LinearNorm(2 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(x)
        y: Tensor = self.mlp(x.flatten(1, 2))
        return x + y.view_as(x)


class Levit(Backbone):
    """Convolutions to 1/8, then stages of attention on NHWC, halved by attention between them."""

    layout, classifier_path = "NHWC", "head"
    pools = ("avg", "max", "")

    def __init__(
        self,
        widths: tuple[int, ...] = (128, 256, 384),
        depths: tuple[int, ...] = (4, 4, 4),
        heads: tuple[int, ...] = (4, 8, 12),
        *,
        in_chans: int = 3,
        num_classes: int = 1000,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__(num_classes, in_chans, global_pool, drop_rate)
        chans = (in_chans, widths[0] // 4, widths[0] // 2, widths[0])
        stem: list[nn.Module] = []
        for a, b in itertools.pairwise(chans):
            stem += [nn.Conv2d(a, b, 3, 2, 1, bias=False), nn.BatchNorm2d(b), nn.Hardswish()]
        self.stem = nn.Sequential(*stem[:-1])
        self.stages, rows = nn.ModuleList(), []
        for i, (width, depth, head) in enumerate(zip(widths, depths, heads, strict=True)):
            halve = [Attention(widths[i - 1], width, head, 2)] if i else []
            self.stages.append(BlockSequence(*halve, *(Block(width, head) for _ in range(depth))))
            rows.append(dict(num_chs=width, reduction=8 * 2**i, module=f"stages.{i}"))
        self.feature_info = rows

    def build_head(self, num_classes: int, global_pool: str) -> None:
        super().build_head(0, global_pool)
        if num_classes:
            self.head = NormLinear(self.head_hidden_size, num_classes)

    def forward_levels(self, x: Tensor) -> Iterator[Tensor]:
        x = self.stem(x).permute(0, 2, 3, 1)
        for stage in self.stages:
            x = stage(x)
            yield x
