"""RandAugment (https://arxiv.org/abs/1909.13719): some operations, drawn anew for each image.

`rand` and settings: `mN` magnitude (default 10), `nN` operations per image (2), `pN` probability of
each (0.5), `mstdN` standard deviation of the magnitude (above 100: uniform from 0 to it), `mmaxN`
limit of drawn magnitudes (10), `inc1` operations whose severity grows with the magnitude, `tNAME`
another set of operations: 3a, 3aw (weighted), weights.

Differences from timm: an unknown setting or set raises; magnitudes need not be whole numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from hub_data.augment import AugmentOp, number, parse_settings, spread, switch
from hub_data.draws import numpy_draws
from hub_data.image_ops import Drawn, Options, apply

_PLAIN = ("AutoContrast", "Equalize", "Invert")
_MOVES = ("ShearX", "ShearY", "TranslateXRel", "TranslateYRel")
_FACTORS = ("Color", "Contrast", "Brightness", "Sharpness")

#: The operations of the paper, but for Cutout, which is random erasing here.
OPERATION_NAMES = (*_PLAIN, "Rotate", "Posterize", "Solarize", "SolarizeAdd", *_FACTORS, *_MOVES)
_GROWING = {"Posterize", "Solarize", *_FACTORS}
#: The same, each in the form whose severity grows with the magnitude.
INCREASING_NAMES = tuple(f"{n}Increasing" if n in _GROWING else n for n in OPERATION_NAMES)

#: Name to weights; one set without weights draws evenly, and may draw an operation twice.
OPERATION_SETS: Mapping[str, Sequence[str] | Mapping[str, float]] = {
    "3a": ("SolarizeIncreasing", "Desaturate", "GaussianBlur"),
    "3aw": dict.fromkeys(("SolarizeIncreasing", "Desaturate", "GaussianBlur"), 6)
    | {"Rotate": 3, "ShearX": 2, "ShearY": 2, "PosterizeIncreasing": 1, "AutoContrast": 1}
    | {"ColorIncreasing": 1, "SharpnessIncreasing": 1, "ContrastIncreasing": 1}
    | {"BrightnessIncreasing": 1, "Equalize": 1, "Invert": 1},
    "weights": {"Rotate": 3, "ShearX": 2, "ShearY": 2, "TranslateXRel": 1, "TranslateYRel": 1}
    | {"ColorIncreasing": 0.25, "SharpnessIncreasing": 0.25, "AutoContrast": 0.25}
    | {"SolarizeIncreasing": 0.05, "SolarizeAdd": 0.05, "ContrastIncreasing": 0.05}
    | {"BrightnessIncreasing": 0.05, "Equalize": 0.05, "PosterizeIncreasing": 0.05}
    | {"Invert": 0.05},
}


class RandAugment:
    """Apply operations drawn from a list.

    Args:
        ops: what is drawn from.
        num_layers: how many are drawn for an image.
        choice_weights: probability of each; with weights none is drawn twice for one image.
    """

    def __init__(
        self,
        ops: Sequence[AugmentOp],
        num_layers: int = 2,
        choice_weights: Sequence[float] | np.ndarray | None = None,
    ) -> None:
        self.ops = list(ops)
        self.num_layers = num_layers
        self.choice_weights = choice_weights

    def draw(self) -> list[Drawn]:
        """Return what to do to the next image, in order."""
        drawn = (op.draw() for op in self._chosen())
        return [step for step in drawn if step is not None]

    def __call__(self, image: Image.Image) -> Image.Image:
        """Return the augmented image."""
        fill = self.ops[0].fill
        for step in self.draw():
            image = apply(image, step, fill)
        return image

    def __repr__(self) -> str:
        lines = "".join(f"\n\t{op}" for op in self.ops)
        return f"RandAugment(n={self.num_layers}, ops={lines})"

    def _chosen(self) -> list[AugmentOp]:
        weights = self.choice_weights
        drawn = numpy_draws.choice(
            len(self.ops), self.num_layers, replace=weights is None, p=weights
        )
        return [self.ops[index] for index in drawn]


def rand_augment_ops(
    magnitude: float = 10,
    prob: float = 0.5,
    hparams: Options | None = None,
    transforms: Sequence[str] | Mapping[str, float] | None = None,
) -> list[AugmentOp]:
    """Return the operations of RandAugment, all with one magnitude and probability."""
    return [AugmentOp(name, prob, magnitude, hparams) for name in transforms or OPERATION_NAMES]


def rand_augment_transform(
    config_str: str,
    hparams: Options | None = None,
    transforms: str | Sequence[str] | Mapping[str, float] | None = None,
) -> RandAugment:
    """Return the RandAugment that a string describes; the settings are in the module's docstring.

    Args:
        config_str: such as "rand-m9-mstd0.5-inc1".
        hparams: options of the operations, see `AugmentOp`; they go before the string.
        transforms: names of operations, or name to weight, or the name of a set; goes before the
            string too.

    Raises:
        ValueError: the string has no meaning.

    >>> rand_augment_transform("rand-m9-n3-mstd0.5").num_layers
    3
    """
    kinds: dict[str, Callable[[str], Any]] = {"m": number, "mstd": spread, "mmax": number}
    kinds |= {"n": int, "p": float, "inc": switch, "t": str}
    name, settings = parse_settings(config_str, kinds)
    if name != "rand":
        raise ValueError(f"{config_str!r} is no RandAugment: begin with 'rand', as in 'rand-m9'")
    options = dict(hparams or {})
    for setting, option in {"mstd": "magnitude_std", "mmax": "magnitude_max"}.items():
        if setting in settings:
            options.setdefault(option, settings[setting])
    names = transforms if transforms is not None else settings.get("t")
    if names is None:
        names = INCREASING_NAMES if settings.get("inc") else OPERATION_NAMES
    if isinstance(names, str):
        if names not in OPERATION_SETS:
            known = ", ".join(OPERATION_SETS)
            raise ValueError(f"{config_str!r}: unknown set {names!r}: choose from {known}")
        names = OPERATION_SETS[names]
    weights = None
    if isinstance(names, Mapping):
        weights = np.array(list(names.values())) / sum(names.values())
    ops = rand_augment_ops(settings.get("m", 10), settings.get("p", 0.5), options, tuple(names))
    return RandAugment(ops, settings.get("n", 2), weights)
