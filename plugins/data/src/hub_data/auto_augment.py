"""AutoAugment (https://arxiv.org/abs/1805.09501): one of the pairs of operations a search found.

Policies: `original` (the paper's, for ImageNet), `v0` (of the published TPU code of EfficientNet),
`originalr` and `v0r` (the same, Posterize keeping fewer bits at higher magnitudes), `3a` or
`3aug-deit` (DeiT III, https://arxiv.org/abs/2204.07118: solarise, grey or blur, evenly).
One setting: `mstdN`, standard deviation of the magnitudes: `original-mstd0.5`.

Differences from timm: an unknown setting raises; `3aug-deit` is understood.
"""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from hub_data.augment import AugmentOp, parse_settings, spread
from hub_data.draws import python_draws as random
from hub_data.image_ops import Drawn, Options, apply

# A line is a sub-policy: operation, probability, magnitude; "Posterize*" differs between variants.
_ORIGINAL = """
    Posterize* 0.4 8, Rotate 0.6 9
    Solarize 0.6 5, AutoContrast 0.6 5
    Equalize 0.8 8, Equalize 0.6 3
    Posterize* 0.6 7, Posterize* 0.6 6
    Equalize 0.4 7, Solarize 0.2 4
    Equalize 0.4 4, Rotate 0.8 8
    Solarize 0.6 3, Equalize 0.6 7
    Posterize* 0.8 5, Equalize 1.0 2
    Rotate 0.2 3, Solarize 0.6 8
    Equalize 0.6 8, Posterize* 0.4 6
    Rotate 0.8 8, Color 0.4 0
    Rotate 0.4 9, Equalize 0.6 2
    Equalize 0.0 7, Equalize 0.8 8
    Invert 0.6 4, Equalize 1.0 8
    Color 0.6 4, Contrast 1.0 8
    Rotate 0.8 8, Color 1.0 2
    Color 0.8 8, Solarize 0.8 7
    Sharpness 0.4 7, Invert 0.6 8
    ShearX 0.6 5, Equalize 1.0 9
    Color 0.4 0, Equalize 0.6 3
    Equalize 0.4 7, Solarize 0.2 4
    Solarize 0.6 5, AutoContrast 0.6 5
    Invert 0.6 4, Equalize 1.0 8
    Color 0.6 4, Contrast 1.0 8
    Equalize 0.8 8, Equalize 0.6 3
"""
_V0 = """
    Equalize 0.8 1, ShearY 0.8 4
    Color 0.4 9, Equalize 0.6 3
    Color 0.4 1, Rotate 0.6 8
    Solarize 0.8 3, Equalize 0.4 7
    Solarize 0.4 2, Solarize 0.6 2
    Color 0.2 0, Equalize 0.8 8
    Equalize 0.4 8, SolarizeAdd 0.8 3
    ShearX 0.2 9, Rotate 0.6 8
    Color 0.6 1, Equalize 1.0 2
    Invert 0.4 9, Rotate 0.6 0
    Equalize 1.0 9, ShearY 0.6 3
    Color 0.4 7, Equalize 0.6 0
    Posterize* 0.4 6, AutoContrast 0.4 7
    Solarize 0.6 8, Color 0.6 9
    Solarize 0.2 4, Rotate 0.8 9
    Rotate 1.0 7, TranslateYRel 0.8 9
    ShearX 0.0 0, Solarize 0.8 4
    ShearY 0.8 0, Color 0.6 4
    Color 1.0 0, Rotate 0.6 2
    Equalize 0.8 4, Equalize 0.0 8
    Equalize 1.0 4, AutoContrast 0.6 2
    ShearY 0.4 7, SolarizeAdd 0.6 7
    Posterize* 0.8 2, Solarize 0.6 10
    Solarize 0.6 8, Equalize 0.6 1
    Color 0.8 6, Rotate 0.4 5
"""
# Solarize at 5 is a threshold of 128, Desaturate at 10 is grey.
_THREE = "Solarize 1.0 5\nDesaturate 1.0 10\nGaussianBlurRand 1.0 10"

#: Name to its table.
POLICIES = {
    "original": _ORIGINAL.replace("*", "Original"),
    "originalr": _ORIGINAL.replace("*", "Increasing"),
    "v0": _V0.replace("*", ""),
    "v0r": _V0.replace("*", "Increasing"),
    "3a": _THREE,
}


class AutoAugment:
    """Apply one sub-policy, drawn for each image.

    Args:
        policy: sub-policies: lists of operations, done in order.
    """

    def __init__(self, policy: Sequence[Sequence[AugmentOp]]) -> None:
        self.policy = policy

    def draw(self) -> list[Drawn]:
        """Return what to do to the next image, in order."""
        drawn = (op.draw() for op in random.choice(self.policy))
        return [step for step in drawn if step is not None]

    def __call__(self, image: Image.Image) -> Image.Image:
        """Return the augmented image."""
        fill = self.policy[0][0].fill
        for step in self.draw():
            image = apply(image, step, fill)
        return image

    def __repr__(self) -> str:
        rows = "".join("\n\t[" + ", ".join(map(str, pair)) + "]" for pair in self.policy)
        return f"AutoAugment(policy={rows})"


def auto_augment_policy(name: str = "v0", hparams: Options | None = None) -> list[list[AugmentOp]]:
    """Return the sub-policies of a policy.

    Raises:
        ValueError: there is no such policy.
    """
    if name not in POLICIES:
        raise ValueError(
            f"unknown auto_augment policy {name!r}: choose from {', '.join(POLICIES)}, 3aug-deit, "
            "or write rand-... or augmix-..."
        )
    rows = [line.split(",") for line in POLICIES[name].strip().splitlines()]
    return [[_operation(entry, hparams) for entry in row] for row in rows]


def auto_augment_transform(config_str: str, hparams: Options | None = None) -> AutoAugment:
    """Return the AutoAugment that a string describes, such as "original-mstd0.5".

    Args:
        config_str: policy and settings, see the module's docstring.
        hparams: options of the operations, see `AugmentOp`; they go before the string.

    Raises:
        ValueError: the string has no meaning.
    """
    text = config_str.replace("3aug-deit", "3a", 1)
    name, settings = parse_settings(text, {"mstd": spread})
    options = dict(hparams or {})
    if "mstd" in settings:
        options.setdefault("magnitude_std", settings["mstd"])
    return AutoAugment(auto_augment_policy(name, options))


def _operation(entry: str, hparams: Options | None) -> AugmentOp:
    name, prob, magnitude = entry.split()
    return AugmentOp(name, float(prob), int(magnitude), hparams)
