"""Good networks of other kinds: a head object, layers after the last level, branches, an encoder.

They are those of `model` with one statement more.
"""

import torch
from hub import BlockSequence
from hub_acme.model import TinyConv, TinyTokens, TokenBlock
from hub_layers import NormMlpClassifierHead
from torch import nn


class TinyHead(TinyConv):
    """The head is an object, and stands after a norm."""

    classifier_path, final_norm = "head.fc", "norm"

    def __init__(self, *, num_classes=10, in_chans=3, global_pool="avg", drop_rate=0.0):
        super().__init__(
            num_classes=num_classes, in_chans=in_chans, global_pool=global_pool, drop_rate=drop_rate
        )
        self.norm = nn.BatchNorm2d(16)
        self.head = NormMlpClassifierHead(16, num_classes, 20, global_pool, drop_rate)


class TinyWide(TinyConv):
    """A convolution widens the last level, and another stands behind the pool."""

    final_modules, head_modules = ("widen",), ("global_pool", "hidden", "act", "fc")
    pools = ("avg", "max", "")

    def __init__(self, *, num_classes=10, in_chans=3, global_pool="avg", drop_rate=0.0):
        super().__init__(
            num_classes=num_classes, in_chans=in_chans, global_pool=global_pool, drop_rate=drop_rate
        )
        self.num_features, self.head_hidden_size = 24, 20
        self.widen = nn.Conv2d(16, 24, 1)
        self.hidden, self.act = nn.Conv2d(24, 20, 1), nn.Hardswish()

    def build_head(self, num_classes, global_pool):
        super(TinyConv, self).build_head(num_classes, global_pool)

    def forward_pool(self, x):
        pool = x.mean if self.global_pool == "avg" else x.amax
        return pool((2, 3), keepdim=True)


class TinyPair(TinyTokens):
    """Two classifiers, each of which sees a token of its own; a mask for the blocks."""

    classifier_path, pools = ("head", "head_dist"), ("token", "avg", "")

    def forward_pool(self, x):
        return (x[:, 0], x[:, 1]) if self.global_pool == "token" else x[:, 2:].mean(1)

    def forward_levels(self, x, scale=1.0):
        yield from super().forward_levels(x * scale)


class TinyFused(TinyConv):
    """The head sees all levels, brought to one size; rows say what their levels need."""

    final_modules = ("fuse",)

    def __init__(self, *, num_classes=10, in_chans=3, global_pool="avg", drop_rate=0.0):
        super().__init__(
            num_classes=num_classes, in_chans=in_chans, global_pool=global_pool, drop_rate=drop_rate
        )
        self.gain = nn.Parameter(torch.ones(12, 1, 1))
        self.fuse = nn.ModuleList(nn.Conv2d(width, 16, 1) for width in (8, 12, 16))
        needs = (["stem", "stage1"], ["stage2", "gain"], ["stage3"])
        for row, modules in zip(self.feature_info, needs, strict=True):
            row["modules"] = modules
        self.feature_info[1]["module"] = None  # the gain comes after stage2

    def init_weights(self, mode=""):
        super().init_weights(mode)
        nn.init.ones_(self.gain)

    def forward_levels(self, x):
        found = []
        x = self.stem(x)
        for name in ("stage1", "stage2", "stage3"):
            x = getattr(self, name)(x)
            x = x * self.gain if name == "stage2" else x
            found.append(x)
            yield x
        return found

    def forward_final(self, x):
        size = x[-1].shape[-2:]
        small = [nn.functional.adaptive_avg_pool2d(level, size) for level in x]
        return sum(conv(level) for conv, level in zip(self.fuse, small, strict=True))


class TinyEncoder(TinyConv):
    """It has no classifier."""

    classifier_path = ()

    def __init__(self, *, num_classes=0, in_chans=3, global_pool="avg"):
        super().__init__(num_classes=num_classes, in_chans=in_chans, global_pool=global_pool)

    def build_head(self, num_classes, global_pool):
        super(TinyConv, self).build_head(num_classes, global_pool)


class Twofold(nn.Module):
    """Two convolutions side by side, which become one."""

    def __init__(self, width):
        super().__init__()
        self.one, self.two = nn.Conv2d(width, width, 1), nn.Conv2d(width, width, 1)

    def forward(self, x):
        return self.one(x) + self.two(x)

    def reparameterize(self):
        whole = nn.Conv2d(self.one.in_channels, self.one.out_channels, 1)
        with torch.no_grad():
            whole.weight.copy_(self.one.weight + self.two.weight)
            whole.bias.copy_(self.one.bias + self.two.bias)
        return whole


class TinyTwofold(TinyConv):
    """Its stem ends with a block that becomes one convolution."""

    block = Twofold

    def __init__(self, *, num_classes=10, in_chans=3, global_pool="avg", drop_rate=0.0):
        super().__init__(
            num_classes=num_classes, in_chans=in_chans, global_pool=global_pool, drop_rate=drop_rate
        )
        self.stem.append(self.block(8))


class TinyAnySize(TinyTokens):
    """Takes images of another size after `set_input_size`, which makes its positions anew."""

    def set_input_size(self, img_size=None, patch_size=None):
        if patch_size is not None or img_size is None:
            super().set_input_size(None, patch_size)
            return
        self.img_size = (img_size, img_size) if isinstance(img_size, int) else tuple(img_size)
        grid = self.feature_size(*self.img_size, 0)
        table = self.pos_embed.detach().mT
        table = nn.functional.interpolate(table, size=grid[0] * grid[1], mode="linear")
        self.pos_embed = nn.Parameter(table.mT.contiguous())


class TinyMixed(TinyTokens):
    """A map, then tokens; the class token joins after the last level."""

    num_prefix_tokens, pools = 1, ("token", "")
    final_modules = ("cls_token", "mix")
    no_decay = ("cls_token",)

    def __init__(self, *, num_classes=10, in_chans=3, global_pool="token", drop_rate=0.0):
        super().__init__(
            num_classes=num_classes, in_chans=in_chans, global_pool=global_pool, drop_rate=drop_rate
        )
        self.img_size = None
        del self.pos_embed
        self.blocks = BlockSequence(TokenBlock(16))
        self.mix, self.norm = TokenBlock(16), nn.LayerNorm(16)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 16))
        self.feature_info = [
            dict(num_chs=16, reduction=8, module="patch_embed", layout="NCHW"),
            dict(num_chs=16, reduction=8, module="blocks", num_prefix_tokens=0),
        ]

    def init_weights(self, mode=""):
        super(TinyTokens, self).init_weights(mode)
        nn.init.zeros_(self.cls_token)

    def forward_levels(self, x):
        x = self.patch_embed(x)
        yield x
        yield self.blocks(x.flatten(2).mT)

    def feature_size(self, height, width, index):
        return height // 8, width // 8  # what is less than a patch is left out

    def forward_final(self, x):
        x = torch.cat((self.cls_token.expand(x.shape[0], -1, -1), x), dim=1)
        return self.norm(self.mix(x))
