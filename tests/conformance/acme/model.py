"""Two small good networks: convolutional stages, and token blocks."""

import torch
from hub import Backbone, BlockSequence
from hub_layers import create_classifier
from torch import nn


class ConvBlock(nn.Module):
    def __init__(self, in_chans, out_chans, stride):
        super().__init__()
        self.conv = nn.Conv2d(in_chans, out_chans, 3, stride, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(out_chans)
        self.act = nn.ReLU()
        self.conv2 = nn.Conv2d(out_chans, out_chans, 3, padding=1)

    def forward(self, x):
        x = self.act(self.bn(self.conv(x)))
        return x + self.conv2(x)


class TinyConv(Backbone):
    """Stem and three stages; strides 4, 8, 16."""

    def __init__(self, *, num_classes=10, in_chans=3, global_pool="avg", drop_rate=0.0):
        super().__init__(num_classes, in_chans, global_pool, drop_rate)
        self.stem = nn.Sequential(
            nn.Conv2d(in_chans, 8, 3, 2, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU()
        )
        rows, width = [], 8
        for i, out_chans in enumerate((8, 12, 16)):
            blocks = [ConvBlock(width, out_chans, 2), ConvBlock(out_chans, out_chans, 1)]
            self.add_module(f"stage{i + 1}", BlockSequence(*blocks))
            width = out_chans
            rows.append(dict(num_chs=width, reduction=4 * 2**i, module=f"stage{i + 1}"))
        self.feature_info = rows
        self.num_features = width

    def build_head(self, num_classes, global_pool):
        self.global_pool, self.fc = create_classifier(
            self.num_features, num_classes, pool_type=global_pool
        )

    def forward_levels(self, x):
        x = self.stem(x)
        for name in ("stage1", "stage2", "stage3"):
            x = getattr(self, name)(x)
            yield x


class TokenBlock(nn.Module):
    def __init__(self, width, heads=2):
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, x):
        b, n, d = x.shape
        qkv = self.qkv(self.norm(x)).reshape(b, n, 3, self.heads, d // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        x = x + mixed.transpose(1, 2).reshape(b, n, d)
        return x + self.mlp(x)


class TinyTokens(Backbone):
    """Patches of 8 pixels, a class token and a register, three blocks, a final norm."""

    layout = "NLC"
    final_norm = "norm"
    pools = ("token", "avg", "max", "")
    no_decay = ("pos_embed", "cls_token")
    num_prefix_tokens = 2

    def __init__(
        self, img_size=32, *, num_classes=10, in_chans=3, global_pool="token", drop_rate=0.0
    ):
        super().__init__(num_classes, in_chans, global_pool, drop_rate)
        self.img_size = (img_size, img_size) if isinstance(img_size, int) else tuple(img_size)
        width = 16
        tokens = self.img_size[0] // 8 * (self.img_size[1] // 8)
        self.cls_token = nn.Parameter(torch.zeros(1, 2, width))
        self.pos_embed = nn.Parameter(torch.empty(1, tokens, width))
        self.patch_embed = nn.Conv2d(in_chans, width, 8, 8)
        self.blocks = BlockSequence(*(TokenBlock(width) for _ in range(3)))
        self.norm = nn.LayerNorm(width)
        self.feature_info = [
            dict(num_chs=width, reduction=8, module=f"blocks.{i}") for i in range(3)
        ]
        self.init_weights()

    def init_weights(self, mode=""):
        super().init_weights(mode)
        nn.init.zeros_(self.cls_token)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)

    def forward_levels(self, x):
        x = self.patch_embed(x).flatten(2).transpose(1, 2) + self.pos_embed
        x = torch.cat((self.cls_token.expand(x.shape[0], -1, -1), x), dim=1)
        yield from self.blocks.each(x)
