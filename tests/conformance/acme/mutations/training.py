"""Networks with which training, freezing or layer-wise decay goes wrong."""

import torch
from hub import BlockSequence
from hub_acme.model import ConvBlock, TinyConv, TinyTokens
from torch import nn
from torch.utils.checkpoint import checkpoint


class DecayOfNothing(TinyTokens):
    no_decay = ("pos_embed", "dist_token")


class RegisteredBackwards(TinyConv):
    """Its stages are registered from the last to the first."""

    def __init__(self, *, num_classes=10, in_chans=3, global_pool="avg"):
        super().__init__(num_classes=num_classes, in_chans=in_chans, global_pool=global_pool)
        for name in ("stage2", "stage1"):
            self._modules[name] = self._modules.pop(name)


class DetachedStem(TinyConv):
    def forward_levels(self, x):
        x = self.stem(x).detach()
        for name in ("stage1", "stage2", "stage3"):
            x = getattr(self, name)(x)
            yield x


class LayerWithoutUse(TinyConv):
    def __init__(self, *, num_classes=10, in_chans=3, global_pool="avg"):
        super().__init__(num_classes=num_classes, in_chans=in_chans, global_pool=global_pool)
        self.stage3[1].spare = nn.Conv2d(16, 16, 1)


class NeverRecomputes(TinyConv):
    """Its stages are plain sequences, whose blocks nothing recomputes."""

    def __init__(self, *, num_classes=10, in_chans=3, global_pool="avg"):
        super().__init__(num_classes=num_classes, in_chans=in_chans, global_pool=global_pool)
        for name in ("stage1", "stage2", "stage3"):
            self._modules[name] = nn.Sequential(*self._modules[name])


class SaysItCannotRecompute(TinyConv):
    can_checkpoint = False


class Twice(ConvBlock):
    """A block that checkpoints itself, so that its norm sees each batch twice."""

    grad_checkpointing = False

    def forward(self, x):
        if self.grad_checkpointing and self.training:
            return checkpoint(super().forward, x, use_reentrant=False)
        return super().forward(x)


class CountsTwice(TinyConv):
    def __init__(self, *, num_classes=10, in_chans=3, global_pool="avg"):
        super().__init__(num_classes=num_classes, in_chans=in_chans, global_pool=global_pool)
        self.stage2 = nn.Sequential(Twice(8, 12, 2), Twice(12, 12, 1))


class NeverCallsItsStack(TinyTokens):
    def forward_levels(self, x):
        x = self.patch_embed(x).flatten(2).transpose(1, 2) + self.pos_embed
        x = torch.cat((self.cls_token.expand(x.shape[0], -1, -1), x), dim=1)
        for block in self.blocks:
            x = self.apply_block(block, x)
            yield x


class KeepsWhatNeverRuns(TinyConv):
    """An activation that its head should run, and nobody names."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.act = nn.GELU()


class RunsALevelTwice(TinyConv):
    """Its last stage runs for the level, and once more for what the head sees."""

    def __init__(self, *, num_classes=10, in_chans=3, global_pool="avg"):
        super().__init__(num_classes=num_classes, in_chans=in_chans, global_pool=global_pool)
        self.stage1 = BlockSequence(*(ConvBlock(8, 8, s) for s in (2, 1)))

    def forward_levels(self, x):
        x = self.stem(x)
        for name in ("stage1", "stage2", "stage3"):
            stage = getattr(self, name)
            if name == "stage1":
                stage(x)
            x = stage(x)
            yield x


class ThawsItself(TinyConv):
    def train(self, mode=True):
        for module in self.modules():
            module.training = mode
        return self
