"""The image encoder of SAM in small (Kirillov et al., 2023): windows, and a neck; no classifier."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from hub import Backbone, BlockSequence
from hub_layers import Attention, LayerNorm2d, Mlp
from torch import Tensor, nn


class Block(nn.Module):
    """A transformer block on (B, H, W, C); attention sees windows, or with 0 the whole map."""

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.norm1, self.attn = nn.LayerNorm(width), Attention(width, heads, qkv_bias=True)
        self.norm2, self.mlp = nn.LayerNorm(width), Mlp(width, 4 * width)

    def attend(self, x: Tensor) -> Tensor:
        batch, height, width, _ = x.shape
        if not self.window:
            y: Tensor = self.attn(x.flatten(1, 2))
            return y.view_as(x)
        size = self.window
        x = F.pad(x, (0, 0, 0, -width % size, 0, -height % size))
        rows, columns = x.shape[1] // size, x.shape[2] // size
        x = x.unflatten(2, (columns, size)).unflatten(1, (rows, size)).transpose(2, 3)
        x = self.attn(x.reshape(batch * rows * columns, size * size, -1))
        x = x.view(batch, rows, columns, size, size, -1).transpose(2, 3)
        return x.flatten(3, 4).flatten(1, 2)[:, :height, :width]

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attend(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class SamEncoder(Backbone):
    """Levels: the NHWC maps of each block. What comes out is the neck's map, NCHW, or its pool.

    Args:
        img_size: height and width; other sizes by `set_input_size`.
        global_blocks: blocks whose attention sees the whole map.
    """

    classifier_path = ()
    final_modules = ("neck",)
    size_divisibility = 8
    no_decay = ("pos_embed",)

    def __init__(
        self,
        width: int = 384,
        depth: int = 8,
        heads: int = 6,
        neck: int = 256,
        window: int = 7,
        global_blocks: tuple[int, ...] = (3, 7),
        img_size: tuple[int, int] = (256, 256),
        *,
        in_chans: int = 3,
        num_classes: int = 0,
        global_pool: str = "",
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__(num_classes, in_chans, global_pool, drop_rate)
        self.img_size = img_size
        self.patch = nn.Conv2d(in_chans, width, 8, stride=8)
        self.pos_embed = nn.Parameter(torch.empty(1, width, img_size[0] // 8, img_size[1] // 8))
        self.blocks = BlockSequence(
            *(Block(width, heads, 0 if i in global_blocks else window) for i in range(depth))
        )
        self.neck = nn.Sequential(
            nn.Conv2d(width, neck, 1, bias=False), LayerNorm2d(neck),
            nn.Conv2d(neck, neck, 3, padding=1, bias=False), LayerNorm2d(neck),
        )  # fmt: skip
        self.num_features = neck
        self.feature_info = [
            dict(num_chs=width, reduction=8, module=f"blocks.{i}", layout="NHWC")
            for i in range(depth)
        ]
        self.init_weights()

    def init_weights(self, mode: str = "") -> None:
        super().init_weights(mode)
        nn.init.normal_(self.pos_embed, std=0.02)

    def forward_levels(self, x: Tensor) -> Iterator[Tensor]:
        x = self.patch(x) + self.pos_embed
        yield from self.blocks.each(x.permute(0, 2, 3, 1))

    def forward_final(self, x: Tensor) -> Tensor:
        y: Tensor = self.neck(x.permute(0, 3, 1, 2))
        return y

    def set_input_size(
        self,
        img_size: int | tuple[int, int] | None = None,
        patch_size: int | tuple[int, int] | None = None,
    ) -> None:
        size = (img_size, img_size) if isinstance(img_size, int) else img_size or self.img_size
        self.img_size = None
        super().set_input_size(size, patch_size)
        self.img_size = size
        grid = F.interpolate(
            self.pos_embed.detach(), (size[0] // 8, size[1] // 8), mode="bicubic", antialias=True
        )
        self.pos_embed = nn.Parameter(grid, self.pos_embed.requires_grad)
