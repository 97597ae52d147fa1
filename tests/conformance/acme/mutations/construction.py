"""Networks that are built, started anew, loaded or saved wrongly."""

import torch
from hub_acme.kinds import TinyHead, TinyTwofold, Twofold
from hub_acme.model import TinyConv, TinyTokens
from torch import nn


class NoSuchModule(TinyConv):
    def __init__(self, *, num_classes=10, in_chans=3, global_pool="avg", drop_rate=0.0):
        super().__init__(num_classes=num_classes, in_chans=in_chans, global_pool=global_pool)
        self.feature_info[0]["module"] = "stages.0"


class FailsToBuild(TinyConv):
    def __init__(self, *, num_classes=10, in_chans=3, global_pool="avg", drop_rate=0.0):
        super().__init__(num_classes=num_classes, in_chans=in_chans, global_pool=global_pool)
        self.scale = {}["no such scale"]


class OverridesWhatIsDerived(TinyConv):
    def group_matcher(self, coarse=False):
        return super().group_matcher(coarse)


class SwallowsKeywords(TinyConv):
    def __init__(self, num_classes=10, in_chans=3, global_pool="avg", drop_rate=0.0, **kwargs):
        super().__init__(num_classes=num_classes, in_chans=in_chans, global_pool=global_pool)


class HasNoPoolKeyword(TinyConv):
    def __init__(self, *, num_classes=10, in_chans=3):
        super().__init__(num_classes=num_classes, in_chans=in_chans)


class AlwaysThreeChannels(TinyConv):
    def __init__(self, *, num_classes=10, in_chans=3, global_pool="avg"):
        super().__init__(num_classes=num_classes, global_pool=global_pool)
        self.in_chans = in_chans


class KeepsItsClassifier(TinyConv):
    def build_head(self, num_classes, global_pool):
        super().build_head(num_classes, global_pool)
        self.fc = nn.Linear(16, num_classes or 10)


class ForgetsThePool(TinyConv):
    def __init__(self, *, num_classes=10, in_chans=3, global_pool="avg"):
        super().__init__(num_classes=num_classes, in_chans=in_chans)


class SwallowsForwardKeywords(TinyConv):
    def forward_levels(self, x, **kwargs):
        yield from super().forward_levels(x)


class StaysInTraining(TinyConv):
    def train(self, mode=True):
        super().train(mode)
        self.stem.train()
        return self


class FrozenFromTheStart(TinyConv):
    def __init__(self, *, num_classes=10, in_chans=3, global_pool="avg"):
        super().__init__(num_classes=num_classes, in_chans=in_chans, global_pool=global_pool)
        self.stem.requires_grad_(False)


class FirstConvIsAnother(TinyConv):
    first_conv = ("stage1.0.conv",)


class ClassifierWithoutRows(TinyConv):
    def build_head(self, num_classes, global_pool):
        super().build_head(num_classes, global_pool)
        if num_classes:
            self.fc = nn.Sequential(nn.Linear(16, 3 * num_classes), nn.MaxPool1d(3))


class BufferBeforeInit(TinyTokens):
    def __init__(self, img_size=32, *, num_classes=10, in_chans=3, global_pool="token"):
        super().__init__(
            img_size, num_classes=num_classes, in_chans=in_chans, global_pool=global_pool
        )
        raw = self.pos_embed.data  # taken before, read after an initialisation that is put off
        nn.init.ones_(self.pos_embed)
        self.register_buffer("scale", 0.1 * raw.mean())


class StartsOnlyOnce(TinyTokens):
    """Its bare parameters get their values in the constructor, and never again."""

    def init_weights(self, mode=""):
        if mode or not self.training or self.pos_embed.is_meta:
            super(TinyTokens, self).init_weights(mode)
        else:
            super().init_weights(mode)


class TakesAnyScheme(TinyConv):
    def init_weights(self, mode=""):
        super().init_weights()


class SharesMemory(TinyTokens):
    """A buffer lies in the memory of a parameter, which loading replaces."""

    def __init__(self, img_size=32, *, num_classes=10, in_chans=3, global_pool="token"):
        super().__init__(
            img_size, num_classes=num_classes, in_chans=in_chans, global_pool=global_pool
        )
        self.register_buffer("position", self.pos_embed.detach(), persistent=False)


class NotInState(TinyTokens):
    def __init__(self, img_size=32, *, num_classes=10, in_chans=3, global_pool="token"):
        super().__init__(
            img_size, num_classes=num_classes, in_chans=in_chans, global_pool=global_pool
        )
        self.offset = [float(torch.randn(()).item()) if not self.pos_embed.is_meta else 0.0]

    def forward_final(self, x):
        return super().forward_final(x) + self.offset[0]


class NoPickle(TinyConv):
    def __init__(self, *, num_classes=10, in_chans=3, global_pool="avg"):
        super().__init__(num_classes=num_classes, in_chans=in_chans, global_pool=global_pool)
        self.scale = lambda x: x


class ForgetsItsPool(TinyTokens):
    def present_arguments(self):
        arguments = super().present_arguments()
        return {key: value for key, value in arguments.items() if key != "global_pool"}


class OnlyFloat(TinyTokens):
    def forward_final(self, x):
        return super().forward_final(x).float()


class ReadsMapsByView(TinyConv):
    def forward_final(self, x):
        return x.view(x.shape[0], -1).view(x.shape)


class BecomesAnother(TinyTwofold):
    class block(Twofold):
        def reparameterize(self):
            return self.one


class FixedBatch(TinyTokens):
    def forward_final(self, x):
        return super().forward_final(x) + x.new_zeros(int(x.shape[0] * 1.0), 1, 1)


class LooksAtValues(TinyConv):
    def forward_final(self, x):
        return x + 1 if not x.is_meta and bool(x.sum() > 0) else x


class NoisyEval(TinyConv):
    def forward_final(self, x):
        return x if x.is_meta else nn.functional.dropout(x, 0.5)


class LooksAtTheBatch(TinyConv):
    def forward_final(self, x):
        return x - x.mean(0)


class CountsItsImages(TinyHead):
    def forward_final(self, x):
        if not x.is_meta:
            self.norm.num_batches_tracked.add_(1)
        return super().forward_final(x)
