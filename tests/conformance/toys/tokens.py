"""A small ViT (Dosovitskiy et al. 2021): patches, a class token, learned positions."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from hub import Backbone, BlockSequence
from hub_layers import Attention
from torch import Tensor, nn


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(width), Attention(width, num_heads=heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        x = x + self.mlp(self.norm2(x))
        return x


class Tokens(Backbone):
    layout, num_prefix_tokens, size_divisibility = "NLC", 1, 8
    final_norm, classifier_path = "norm", "head"
    no_decay: tuple[str, ...] = ("prefix", "pos_embed")

    def __init__(
        self,
        img_size: tuple[int, int] = (64, 64),
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
        self.img_size = img_size
        self.patch = nn.Conv2d(in_chans, width, 8, stride=8)
        self.prefix = nn.Parameter(torch.empty(1, self.num_prefix_tokens, width))
        self.pos_embed = nn.Parameter(torch.empty(1, width, img_size[0] // 8, img_size[1] // 8))
        self.blocks = BlockSequence(*(Block(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.feature_info = [
            dict(num_chs=width, reduction=8, module=f"blocks.{i}") for i in range(depth)
        ]
        self.init_weights()

    def init_weights(self, mode: str = "") -> None:
        super().init_weights(mode)
        nn.init.normal_(self.prefix, std=0.02)
        nn.init.normal_(self.pos_embed, std=0.02)

    def forward_levels(self, x: Tensor) -> Iterator[Tensor]:
        x = (self.patch(x) + self.pos_embed).flatten(2).mT  # (B, N, C)
        x = torch.cat((self.prefix.expand(x.shape[0], -1, -1), x), 1)
        yield from self.blocks.each(x)

    def set_input_size(
        self,
        img_size: int | tuple[int, int] | None = None,
        patch_size: int | tuple[int, int] | None = None,
    ) -> None:
        old, self.img_size = self.img_size, None
        super().set_input_size(img_size, patch_size)
        size = (img_size, img_size) if isinstance(img_size, int) else img_size or old
        self.img_size = size
        grid = (size[0] // 8, size[1] // 8)
        resampled = F.interpolate(self.pos_embed.detach(), grid, mode="bilinear")
        self.pos_embed = nn.Parameter(resampled, self.pos_embed.requires_grad)
