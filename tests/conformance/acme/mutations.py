"""Networks that are good but for one fault each."""

import torch
from hub import FeatureInfo
from hub_acme.model import TinyConv, TinyTokens
from torch import nn


def rows_of(model):
    return [dict(row) for row in model.feature_info]


class WrongChannels(TinyConv):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.feature_info[1]["num_chs"] = 13


class WrongReduction(TinyConv):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.feature_info[2]["reduction"] = 8


class LevelSkipped(TinyTokens):
    def forward_levels(self, x):
        for i, level in enumerate(super().forward_levels(x)):
            if i != 1:
                yield level


class LevelsSwapped(TinyTokens):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.feature_info = FeatureInfo(reversed(rows_of(self)))


class NoSuchModule(TinyConv):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.feature_info[0]["module"] = "stages.0"


class ComputesAhead(TinyConv):
    def forward_levels(self, x):
        return iter(list(super().forward_levels(x)))


class StageRegisteredLate(TinyConv):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.bridge = nn.Conv2d(8, 8, 1)

    def forward_levels(self, x):
        x = self.bridge(self.stem(x))
        for name in ("stage1", "stage2", "stage3"):
            x = self.run(getattr(self, name), x)
            yield x


class FinalNormForgotten(TinyTokens):
    def forward_final(self, x):
        return x


class NormInTheHead(TinyTokens):
    """The final norm is applied by forward alone: intermediates never see it."""

    final_modules = ()

    def forward_head(self, x, pre_logits=False):
        return super().forward_head(self.norm(x), pre_logits)


class StalePool(TinyConv):
    def build_head(self, num_classes, global_pool):
        old = getattr(self, "global_pool", None)
        super().build_head(num_classes, global_pool)
        self.global_pool = old or self.global_pool


class PoolInNameOnly(TinyTokens):
    def forward_pool(self, x):
        return x[:, 0] if self.global_pool else x


class UngroupedParameter(TinyTokens):
    def group_matcher(self, coarse=False):
        stems = {"patch_embed": 0, "blocks": 1, "norm": 2, "fc": 3}
        return lambda name: stems[name.partition(".")[0]]


class HeadAmongBlocks(TinyConv):
    head_modules = ("global_pool",)
    classifier_path = "fc"

    def group_matcher(self, coarse=False):
        return lambda name: 1 if name.startswith(("stage3", "fc")) else 0


class HeadInFloat(TinyConv):
    def reset_classifier(self, num_classes, global_pool=None):
        super().reset_classifier(num_classes, global_pool)
        self.fc.float()


class HeadInTraining(TinyConv):
    def reset_classifier(self, num_classes, global_pool=None):
        super().reset_classifier(num_classes, global_pool)
        self.fc.train()


class SwallowsKeywords(TinyConv):
    def __init__(self, num_classes=10, in_chans=3, global_pool="avg", drop_rate=0.0, **kwargs):
        super().__init__(
            num_classes=num_classes, in_chans=in_chans, global_pool=global_pool, drop_rate=drop_rate
        )


class AlwaysThreeChannels(TinyConv):
    def __init__(self, *, in_chans=3, **kwargs):
        super().__init__(**kwargs)
        self.in_chans = in_chans


class WrongWidth(TinyTokens):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.num_features = 32


class DecayOfNothing(TinyTokens):
    def no_weight_decay(self):
        return {"pos_embed", "dist_token"}


class ForgetsPrefix(TinyTokens):
    num_prefix_tokens = 0


class PrunesNothing(TinyConv):
    def prune_intermediate_layers(self, indices=1, prune_norm=False, prune_head=True):
        from hub.features import take_indices

        return take_indices(3, indices)


class BufferBeforeInit(TinyTokens):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        raw = self.pos_embed.data  # taken before, read after an initialisation that is put off
        nn.init.ones_(self.pos_embed)
        self.register_buffer("scale", 0.1 * raw.mean())


class SharesMemory(TinyTokens):
    """A buffer lies in the memory of a parameter, which loading replaces."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.register_buffer("position", self.pos_embed.detach(), persistent=False)


class NotInState(TinyTokens):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.offset = [float(torch.randn(()).item()) if not self.pos_embed.is_meta else 0.0]

    def forward_head(self, x, pre_logits=False):
        return super().forward_head(x, pre_logits) + self.offset[0]


class NoisyEval(TinyConv):
    def forward_pool(self, x):
        return nn.functional.dropout(super().pool(x), 0.5)


class LooksAtTheBatch(TinyConv):
    def forward_pool(self, x):
        return super().pool(x) - super().pool(x).mean(0)


class CorruptsALevel(TinyConv):
    def forward_levels(self, x):
        x = self.stem(x)
        for name in ("stage1", "stage2", "stage3"):
            x = self.run(getattr(self, name), x)
            yield x
            x = x.mul_(0.5)


class DetachedStem(TinyConv):
    def forward_levels(self, x):
        x = self.stem(x).detach()
        for name in ("stage1", "stage2", "stage3"):
            x = self.run(getattr(self, name), x)
            yield x


class NeverRecomputes(TinyConv):
    def forward_levels(self, x):
        x = self.stem(x)
        for name in ("stage1", "stage2", "stage3"):
            x = getattr(self, name)(x)
            yield x


class CountsTwice(TinyConv):
    """Its norms see each batch in the forward pass, and once more in the backward pass."""

    def apply_block(self, block, x, *args):
        if not (self.grad_checkpointing and self.training):
            return block(x, *args)
        return torch.utils.checkpoint.checkpoint(block, x, *args, use_reentrant=False)


class NeverCallsItsStack(TinyTokens):
    def run_each(self, stage, x):
        for block in stage:
            x = self.apply_block(block, x)
            yield x


class ForgetsItsPool(TinyTokens):
    def present_arguments(self):
        return {}


class ThawsItself(TinyConv):
    def train(self, mode=True):
        for module in self.modules():
            module.training = mode
        return self


class NoPickle(TinyConv):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.scale = lambda x: x


class OnlyFloat(TinyTokens):
    def forward_pool(self, x):
        return super().pool(x).float()


class FixedBatch(TinyTokens):
    def forward_pool(self, x):
        return super().pool(x) + torch.zeros(int(x.shape[0] * 1.0), 1)


class LooksAtValues(TinyConv):
    def forward_pool(self, x):
        x = super().pool(x)
        return x + 1 if x.ndim == 2 and not x.is_meta and bool(x.sum() > 0) else x


class ReadsMapsByView(TinyConv):
    def forward_pool(self, x):
        return super().pool(x.view(x.shape[0], -1).view(x.shape))
