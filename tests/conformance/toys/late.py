"""A small CaiT (Touvron et al. 2021): the class token joins after the levels."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from hub import Backbone, BlockSequence
from torch import Tensor, nn


class Scale(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.empty(width))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.constant_(self.gamma, 0.1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class Attend(nn.Module):
    """Attention of queries to tokens; its heads talk before and after the softmax."""

    def __init__(self, width: int, heads: int, talk: bool) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.kv = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.before: nn.Module = nn.Conv2d(heads, heads, 1) if talk else nn.Identity()
        self.after: nn.Module = nn.Conv2d(heads, heads, 1) if talk else nn.Identity()
        self.proj = nn.Linear(width, width)

    def forward(self, query: Tensor, x: Tensor) -> Tensor:
        q = self.q(query).unflatten(2, (self.heads, -1)).transpose(1, 2)  # (B, heads, M, D)
        k, v = self.kv(x).unflatten(2, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        weights = self.after(self.before(q @ k.mT * q.shape[-1] ** -0.5).softmax(-1))
        y: Tensor = self.proj((weights @ v).transpose(1, 2).flatten(2))
        return y


class Block(nn.Module):
    """Of the patches (late=False), or of the class token, which alone is updated."""

    def __init__(self, width: int, heads: int, late: bool) -> None:
        super().__init__()
        self.late = late
        self.norm1, self.attn = nn.LayerNorm(width), Attend(width, heads, talk=not late)
        self.scale1, self.scale2 = Scale(width), Scale(width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm1(x)
        y, query = (x[:, :1], normed[:, :1]) if self.late else (x, normed)
        y = y + self.scale1(self.attn(query, normed))
        y = y + self.scale2(self.mlp(self.norm2(y)))
        return torch.cat((y, x[:, 1:]), 1) if self.late else y


class Late(Backbone):
    layout, num_prefix_tokens, size_divisibility = "NLC", 1, 8
    final_norm, final_modules = "norm", ("cls_token", "class_blocks")
    classifier_path = "head"
    no_decay = ("cls_token",)

    def __init__(
        self,
        width: int = 192,
        depth: int = 12,
        heads: int = 2,
        *,
        in_chans: int = 3,
        num_classes: int = 1000,
        global_pool: str = "token",
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__(num_classes, in_chans, global_pool, drop_rate)
        self.patch = nn.Conv2d(in_chans, width, 8, stride=8)
        self.positions = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.blocks = BlockSequence(*(Block(width, heads, late=False) for _ in range(depth)))
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.class_blocks = BlockSequence(*(Block(width, heads, late=True) for _ in range(2)))
        self.norm = nn.LayerNorm(width)
        self.feature_info = [
            dict(num_chs=width, reduction=8, module=f"blocks.{i}", num_prefix_tokens=0)
            for i in range(depth)
        ]
        self.init_weights()

    def init_weights(self, mode: str = "") -> None:
        super().init_weights(mode)
        nn.init.normal_(self.cls_token, std=0.02)

    def forward_levels(self, x: Tensor) -> Iterator[Tensor]:
        x = self.patch(x)
        x = x + self.positions(x)
        yield from self.blocks.each(x.flatten(2).mT)

    def forward_final(self, x: Tensor) -> Tensor:
        x = torch.cat((self.cls_token.expand(x.shape[0], -1, -1), x), 1)
        y: Tensor = self.norm(self.class_blocks(x))
        return y
