"""Networks whose heads, pools or classifiers are not what they state."""

import torch
import torch.nn.functional as F
from hub_acme.kinds import TinyHead, TinyPair, TinyWide
from hub_acme.model import TinyConv, TinyTokens
from torch import nn


class KeepsItsWidth(TinyConv):
    """It makes a classifier once, and no reset changes it."""

    def build_head(self, num_classes, global_pool):
        old = self._modules.get("fc")
        super().build_head(num_classes, global_pool)
        if old is not None and num_classes:
            self.fc = nn.Linear(16, 10)


class ResetsTooMuch(TinyWide):
    def build_head(self, num_classes, global_pool):
        super().build_head(num_classes, global_pool)
        self.hidden = nn.Conv2d(24, 20, 1)


class ResetsInTraining(TinyConv):
    """Its head comes back with a dropout that is always on."""

    def build_head(self, num_classes, global_pool):
        super().build_head(num_classes, global_pool)
        fc = self.fc

        class Awake(nn.Dropout):
            def train(self, mode=True):
                self.training = True
                return self

        self.fc = nn.Sequential(Awake(0.0), fc)


class EncoderWithAClassifier(TinyConv):
    """It says that it has no classifier, and takes classes without a word."""

    classifier_path = ()

    def __init__(self, *, num_classes=0, in_chans=3, global_pool="avg"):
        super().__init__(num_classes=0, in_chans=in_chans, global_pool=global_pool)

    def _check_head(self, num_classes, pool):
        pass

    def build_head(self, num_classes, global_pool):
        self.global_pool = global_pool


class StalePool(TinyConv):
    def build_head(self, num_classes, global_pool):
        old = getattr(self, "global_pool", None)
        super().build_head(num_classes, global_pool)
        self.global_pool = old if isinstance(old, nn.Module) else self.global_pool


class TakesAnyPool(TinyTokens):
    pools = None

    def forward_pool(self, x):
        return x[:, 0] if self.global_pool == "token" else x[:, 2:].mean(1)


class PoolThatFails(TinyWide):
    pools = ("avg", "max", "median", "")

    def forward_pool(self, x):
        pool = {"avg": x.mean, "max": x.amax}[self.global_pool]
        return pool((2, 3), keepdim=True)


class PoolInNameOnly(TinyTokens):
    def forward_pool(self, x):
        return x[:, 0]


class PooledAlthoughNone(TinyConv):
    """Its own pool stands in `head_modules`, and runs when none is asked for."""

    head_modules = ("global_pool", "flat", "fc")

    def __init__(self, *, num_classes=10, in_chans=3, global_pool="avg"):
        super().__init__(num_classes=num_classes, in_chans=in_chans, global_pool=global_pool)
        self.flat = nn.Flatten()


class SaysNoToNone(TinyTokens):
    """It refuses features that stay unpooled, which its table of pools allows."""

    def build_head(self, num_classes, global_pool):
        if not global_pool:
            raise ValueError("a pool is needed")
        super().build_head(num_classes, global_pool)


class BypassesItsClassifier(TinyConv):
    def forward_classifier(self, each):
        return F.linear(each[0], self.fc.weight, self.fc.bias) if self.num_classes else each[0]


class StripsNothing(TinyHead):
    def __init__(self, *, num_classes=10, in_chans=3, global_pool="avg"):
        super().__init__(num_classes=num_classes, in_chans=in_chans, global_pool=global_pool)
        self.head = Unstripped(self.head)


class Unstripped(nn.Module):
    """A head that keeps its layers, whatever it is told."""

    def __init__(self, head):
        super().__init__()
        self.fc, self.norm, self.pre_logits = head.fc, head.norm, head.pre_logits
        self.pool_type, self.num_features = "avg", head.num_features

    def reset(self, num_classes, pool_type=None):
        self.pool_type = self.pool_type if pool_type is None else pool_type
        self.fc = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()

    def strip(self, in_features):
        self.fc, self.num_features, self.pool_type = nn.Identity(), in_features, ""

    def forward(self, x, pre_logits=False):
        x = self.norm(x)
        x = x.mean((2, 3)) if self.pool_type else x.movedim(1, -1)
        x = self.pre_logits(x)
        return x if pre_logits else self.fc(x)


class NotItsFeatures(TinyConv):
    """What comes before the classifier is not what the classifier sees."""

    def join_pooled(self, each):
        return 2 * each[0]


class NotFinite(TinyConv):
    def forward_final(self, x):
        return x / 0.0


class TupleInTraining(TinyPair):
    def forward_classifier(self, each):
        logits = [self.head(each[0]), self.head_dist(each[-1])]
        return tuple(logits) if self.training else torch.stack(logits).mean(0)


class NeverATuple(TinyPair):
    def forward_classifier(self, each):
        return (self.head(each[0]) + self.head_dist(each[-1])) / 2


class WrongOneFirst(TinyPair):
    def forward_classifier(self, each):
        logits = [self.head_dist(each[-1]), self.head(each[0])]
        if self.distilled_training and self.training:
            return tuple(logits)
        return torch.stack(logits).mean(0)


class DropsTwice(TinyConv):
    def __init__(self, *, num_classes=10, in_chans=3, global_pool="avg", drop_rate=0.0):
        super().__init__(
            num_classes=num_classes, in_chans=in_chans, global_pool=global_pool, drop_rate=drop_rate
        )

    def forward_classifier(self, each):
        dropped = F.dropout(each[0], self.drop_rate, self.training)
        return super().forward_classifier([dropped])


class NeverDrops(TinyConv):
    def __init__(self, *, num_classes=10, in_chans=3, global_pool="avg", drop_rate=0.0):
        super().__init__(num_classes=num_classes, in_chans=in_chans, global_pool=global_pool)


class DropsInEvaluation(TinyConv):
    def forward_classifier(self, each):
        return super().forward_classifier([F.dropout(each[0], self.drop_rate)])
