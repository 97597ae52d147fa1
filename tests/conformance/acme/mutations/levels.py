"""Networks whose levels, table, cuts or sizes are not what they state."""

import torch
from hub import FeatureInfo
from hub_acme.kinds import TinyAnySize, TinyFused, TinyHead, TinyMixed, TinyWide
from hub_acme.model import TinyConv, TinyTokens
from torch import nn


class LevelSkipped(TinyTokens):
    def forward_levels(self, x):
        for i, level in enumerate(super().forward_levels(x)):
            if i != 1:
                yield level


class OneLevelMore(TinyConv):
    def forward_levels(self, x):
        for level in super().forward_levels(x):
            yield level
        yield level


class LevelsSwapped(TinyTokens):
    def __init__(self, img_size=32, *, num_classes=10, in_chans=3, global_pool="token"):
        super().__init__(
            img_size, num_classes=num_classes, in_chans=in_chans, global_pool=global_pool
        )
        self.feature_info = FeatureInfo(reversed([dict(row) for row in self.feature_info]))


class ComputesAhead(TinyConv):
    def forward_levels(self, x):
        levels = []
        x = self.stem(x)
        for name in ("stage1", "stage2", "stage3"):
            x = getattr(self, name)(x)
            levels.append(x)
        yield from levels


class WorksOnAfterTheLastYield(TinyHead):
    final_norm, final_modules = None, ("norm",)

    def forward_levels(self, x):
        for level in super().forward_levels(x):
            yield level
        return self.norm(level)


class FailsOnTheWay(TinyConv):
    def forward_levels(self, x):
        yield self.stage1(x)
        yield self.stage2(x)
        yield self.stage3(x)


class NeedsAKeyword(TinyConv):
    def forward_levels(self, x, mask):
        yield from super().forward_levels(x * mask)


class WrongChannels(TinyConv):
    def __init__(self, *, num_classes=10, in_chans=3, global_pool="avg"):
        super().__init__(num_classes=num_classes, in_chans=in_chans, global_pool=global_pool)
        self.feature_info[1]["num_chs"] = 13


class WrongReduction(TinyConv):
    def __init__(self, *, num_classes=10, in_chans=3, global_pool="avg"):
        super().__init__(num_classes=num_classes, in_chans=in_chans, global_pool=global_pool)
        self.feature_info[2]["reduction"] = 8


class WrongLayout(TinyConv):
    layout = "NHWC"

    def forward_pool(self, x):
        return x.mean((2, 3))


class ForgetsPrefix(TinyTokens):
    num_prefix_tokens = 0


class LevelOfNobody(TinyFused):
    """No row says that its gain belongs to a level."""

    def __init__(self, *, num_classes=10, in_chans=3, global_pool="avg"):
        super().__init__(num_classes=num_classes, in_chans=in_chans, global_pool=global_pool)
        self.bridge = nn.Conv2d(12, 12, 1)
        self.feature_info[1]["module"] = "bridge"

    def forward_levels(self, x):
        found = []
        x = self.stem(x)
        for name in ("stage1", "stage2", "stage3"):
            x = getattr(self, name)(x)
            x = self.bridge(x) * self.gain if name == "stage2" else x
            found.append(x)
            yield x
        return found


class StageWithinAStage(TinyFused):
    def __init__(self, *, num_classes=10, in_chans=3, global_pool="avg"):
        super().__init__(num_classes=num_classes, in_chans=in_chans, global_pool=global_pool)
        self.feature_info[2]["modules"] = ["stage3", "stage3.1"]


class FinalNormForgotten(TinyTokens):
    def forward_final(self, x):
        return x


class NormInTheHead(TinyTokens):
    """The norm is applied by the pool: maps with `norm=True` are right, features are not."""

    def forward_final(self, x):
        return x

    def forward_pool(self, x):
        return super().forward_pool(self.norm(x))


class ReadsWhatFollows(TinyWide):
    """Its last level is made with a layer that falls with the head."""

    def forward_levels(self, x):
        for level in super().forward_levels(x):
            last = level.shape[1] == 16
            yield level + self.widen(level)[:, :16] if last else level


class StatesNoFinalModule(TinyWide):
    final_modules = ()

    def forward_final(self, x):
        return self.widen(x)


class WrongWidth(TinyConv):
    def __init__(self, *, num_classes=10, in_chans=3, global_pool="avg"):
        super().__init__(num_classes=num_classes, in_chans=in_chans, global_pool=global_pool)
        self.num_features = 32
        self.fc = nn.Linear(16, num_classes) if num_classes else nn.Identity()


class WrongHiddenWidth(TinyWide):
    def __init__(self, *, num_classes=10, in_chans=3, global_pool="avg"):
        super().__init__(num_classes=num_classes, in_chans=in_chans, global_pool=global_pool)
        self.head_hidden_size = 24
        self.fc = nn.Linear(20, num_classes) if num_classes else nn.Identity()


class NormOfOneLevelOnly(TinyTokens):
    """Its norm squeezes what it is given, which `final_norm` may not."""

    def forward_norm(self, x, index):
        return self.norm(x)[:, 1:] if index == 0 else self.norm(x)


class LooksFromTheEnd(TinyConv):
    def forward_levels(self, x):
        x = self.stem(x)
        last = self.stage3
        for stage in (self.stage1, self.stage2):
            x = stage(x)
            yield x
        yield last(x)


class SlicesItsBlocks(TinyTokens):
    def forward_levels(self, x):
        x = self.patch_embed(x).flatten(2).transpose(1, 2) + self.pos_embed
        x = torch.cat((self.cls_token.expand(x.shape[0], -1, -1), x), dim=1)
        for block in self.blocks[:-1]:
            x = block(x)
            yield x
        yield x + self.blocks[-1](x)


class UnknownDefault(TinyConv):
    default_indices = (5,)


class IgnoresOutputStride(TinyConv):
    def __init__(self, *, num_classes=10, in_chans=3, global_pool="avg", output_stride=32):
        super().__init__(num_classes=num_classes, in_chans=in_chans, global_pool=global_pool)


class IgnoresImageSize(TinyTokens):
    def __init__(self, img_size=32, *, num_classes=10, in_chans=3, global_pool="token"):
        super().__init__(num_classes=num_classes, in_chans=in_chans, global_pool=global_pool)


class TurnsItsGrid(TinyTokens):
    def feature_size(self, height, width, index):
        return width // 8, height // 8


class KeepsItsPositions(TinyAnySize):
    def set_input_size(self, img_size=None, patch_size=None):
        self.img_size = (img_size, img_size) if isinstance(img_size, int) else tuple(img_size)


class RefusesWithoutAWord(TinyTokens):
    def set_input_size(self, img_size=None, patch_size=None):
        if img_size is not None and tuple(img_size) != self.img_size:
            raise ValueError("no")


class RoundsItsGridDown(TinyMixed):
    """It pads its images, and tells its grid as if it did not."""

    def forward_levels(self, x):
        missing = (0, -x.shape[3] % 8, 0, -x.shape[2] % 8)
        yield from super().forward_levels(nn.functional.pad(x, missing))


class TakesEvenSizesOnly(TinyConv):
    def forward_levels(self, x):
        if x.shape[-1] % 2:
            raise RuntimeError("odd")
        yield from super().forward_levels(x)


class CorruptsALevel(TinyConv):
    def forward_levels(self, x):
        x = self.stem(x)
        for name in ("stage1", "stage2", "stage3"):
            x = getattr(self, name)(x)
            yield x
            x = x.mul_(0.5)


class YieldsAnother(TinyConv):
    """Its map is what the stage gave, with an activation that the row does not name."""

    def forward_levels(self, x):
        for level in super().forward_levels(x):
            yield level.relu()


class NormThatIsNone(TinyTokens):
    def forward_norm(self, x, index):
        return x if index < 2 else self.norm(x)


class NeedsWhatIsLeft(TinyConv):
    """A bare parameter that only the last level needs, and no row names."""

    def __init__(self, *, num_classes=10, in_chans=3, global_pool="avg"):
        super().__init__(num_classes=num_classes, in_chans=in_chans, global_pool=global_pool)
        self.gain = nn.Parameter(torch.ones(16, 1, 1))

    def init_weights(self, mode=""):
        super().init_weights(mode)
        nn.init.ones_(self.gain)

    def forward_final(self, x):
        return x * self.gain


class StemRegisteredLate(TinyConv):
    def __init__(self, *, num_classes=10, in_chans=3, global_pool="avg"):
        super().__init__(num_classes=num_classes, in_chans=in_chans, global_pool=global_pool)
        self.bridge = nn.Conv2d(8, 8, 1)

    def forward_levels(self, x):
        x = self.bridge(self.stem(x))
        for name in ("stage1", "stage2", "stage3"):
            x = getattr(self, name)(x)
            yield x


class FeaturesOfAnother(TinyConv):
    """Stopped early, its first level is another: it looks at what was asked of it."""

    def forward_levels(self, x):
        x = self.stem(x)
        for i, name in enumerate(("stage1", "stage2", "stage3")):
            x = getattr(self, name)(x)
            yield x.clone() if i else x
            x = x.mul_(0.5) if i == 0 else x
