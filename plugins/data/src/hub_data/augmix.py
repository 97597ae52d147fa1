"""AugMix (https://arxiv.org/abs/1912.02781): chains of operations, mixed with the image.

`augmix` and settings: `mN` magnitude (default 3), `wN` number of chains (3), `dN` operations per
chain (0 draws 1 to 3), `aN` of the Dirichlet and Beta distributions (1), `b1` blends chain by
chain in 8 bits, which is cheaper and rounds more, `mstdN` standard deviation of the magnitude
(uniform from 0 to it when not given).

Differences from timm: an unknown setting raises; `mstd` above 100 is uniform here too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from hub_data.augment import AugmentOp, number, parse_settings, spread, switch
from hub_data.draws import numpy_draws
from hub_data.image_ops import Options

#: The paper's operations, in their increasing form, and the four on colour and sharpness.
OPERATION_NAMES = (
    "AutoContrast ColorIncreasing ContrastIncreasing BrightnessIncreasing SharpnessIncreasing "
    "Equalize Rotate PosterizeIncreasing SolarizeIncreasing ShearX ShearY TranslateXRel "
    "TranslateYRel"
).split()


class AugMixAugment:
    """Mix an image with versions of it that chains of operations made.

    Args:
        ops: what chains are drawn from.
        alpha: of the Dirichlet distribution of the chains' weights and of the Beta distribution
            of their share in the result.
        width: number of chains.
        depth: operations per chain; 0 or less draws 1 to 3 for each chain.
        blended: mix chain by chain in 8 bits.
    """

    def __init__(
        self,
        ops: Sequence[AugmentOp],
        alpha: float = 1.0,
        width: int = 3,
        depth: int = -1,
        blended: bool = False,
    ) -> None:
        self.ops = list(ops)
        self.alpha = alpha
        self.width = width
        self.depth = depth
        self.blended = blended

    def __call__(self, image: Image.Image) -> Image.Image:
        """Return the mixed image."""
        weights = numpy_draws.dirichlet([self.alpha] * self.width).astype(np.float32)
        share = np.float32(numpy_draws.beta(self.alpha, self.alpha))
        if self.blended:
            mixed = image
            for weight in sequential_weights(weights * float(share)):
                mixed = Image.blend(mixed, self._chain(image), float(weight))
            return mixed
        total = np.zeros_like(image, dtype=np.float32)
        for weight in weights:
            total += weight * np.asarray(self._chain(image), dtype=np.float32)
        return Image.blend(
            image, Image.fromarray(total.clip(0, 255).astype(np.uint8)), float(share)
        )

    def __repr__(self) -> str:
        lines = "".join(f"\n\t{op}" for op in self.ops)
        shape = f"alpha={self.alpha}, width={self.width}, depth={self.depth}"
        return f"AugMixAugment({shape}, ops={lines})"

    def _chain(self, image: Image.Image) -> Image.Image:
        depth = self.depth if self.depth > 0 else numpy_draws.randint(1, 4)
        for index in numpy_draws.choice(len(self.ops), depth):
            image = self.ops[index](image)
        return image


def sequential_weights(shares: np.ndarray) -> np.ndarray:
    """Return the weights of blends, one after another, that leave each image its share.

    What a blend adds is thinned by those after it, so its weight is its share over what the later
    ones leave: the first image ends with the rest, 1 - shares.sum().

    Args:
        shares: (N,), their sum at most 1.
    """
    left = 1.0 - (np.cumsum(shares[::-1])[::-1] - shares)
    return np.divide(shares, left, out=np.zeros_like(shares), where=left > 0).clip(0, 1)


def augmix_ops(
    magnitude: float = 10,
    hparams: Options | None = None,
    transforms: Sequence[str] | None = None,
) -> list[AugmentOp]:
    """Return the operations of AugMix: always done, all with one magnitude."""
    return [AugmentOp(name, 1.0, magnitude, hparams) for name in transforms or OPERATION_NAMES]


def augment_and_mix_transform(config_str: str, hparams: Options | None = None) -> AugMixAugment:
    """Return the AugMix that a string describes, such as "augmix-m5-w4-d2".

    Args:
        config_str: the settings are in the module's docstring.
        hparams: options of the operations, see `AugmentOp`; they go before the string.

    Raises:
        ValueError: the string has no meaning.
    """
    kinds: dict[str, Callable[[str], Any]] = {
        "m": number,
        "w": int,
        "d": int,
        "a": float,
        "b": switch,
        "mstd": spread,
    }
    name, settings = parse_settings(config_str, kinds)
    if name != "augmix":
        raise ValueError(f"{config_str!r} is no AugMix: begin with 'augmix', as in 'augmix-m3'")
    options = dict(hparams or {})
    options.setdefault("magnitude_std", settings.get("mstd", float("inf")))
    return AugMixAugment(
        augmix_ops(settings.get("m", 3), options),
        alpha=settings.get("a", 1.0),
        width=settings.get("w", 3),
        depth=settings.get("d", -1),
        blended=settings.get("b", False),
    )
