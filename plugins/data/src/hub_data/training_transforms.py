"""The training half of `create_transform`, in three stages: crop and flip, augment, to tensor."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from hub_data.augmix import augment_and_mix_transform
from hub_data.auto_augment import auto_augment_transform
from hub_data.erasing import RandomErasing
from hub_data.image_steps import (
    CenterCropOrPad,
    Output,
    Resize,
    ResizeKeepRatio,
    str_to_pil_interp,
)
from hub_data.photometric import (
    ColorJitter,
    GaussianBlur,
    RandomApply,
    RandomFlip,
    RandomGrayscale,
)
from hub_data.rand_augment import rand_augment_transform
from hub_data.random_crops import RandomCropOrPad, RandomResizedCropAndInterpolation
from hub_data.to_image import ToImage

_logger = logging.getLogger(__name__)

Step = Callable[[Any], Any]
CROP_MODES = ("rrc", "rkrc", "rkrr")
_COLORS = (1, 3)  # channels that are grey or colours


@dataclass(frozen=True, kw_only=True, slots=True)
class Crop:
    """The first stage; see `create_transform` for the arguments."""

    train_crop_mode: str | None
    scale: tuple[float, float] | None
    ratio: tuple[float, float] | None
    hflip: float
    vflip: float

    def steps(self, size: tuple[int, int], interpolation: str) -> list[Step]:
        """Return the crop, then the flips."""
        if interpolation != "random":
            str_to_pil_interp(interpolation)
        steps: list[Step] = []
        mode = self.train_crop_mode or "rrc"
        if mode not in CROP_MODES:
            raise ValueError(
                f"unknown train_crop_mode {mode!r}: choose from {', '.join(CROP_MODES)}"
            )
        if mode == "rrc":
            scale, ratio = self.scale or (0.08, 1.0), self.ratio or (3 / 4, 4 / 3)
            steps.append(RandomResizedCropAndInterpolation(size, scale, ratio, interpolation))
        else:
            resize = ResizeKeepRatio(
                size,
                interpolation=interpolation,
                random_scale_prob=0.5,
                random_scale_range=self.scale or (0.8, 1.0),
                random_scale_area=True,
                random_aspect_prob=0.5,
                random_aspect_range=self.ratio or (0.9, 1 / 0.9),
            )
            window = CenterCropOrPad if mode == "rkrc" else RandomCropOrPad
            steps += [resize, window(size, padding_mode="reflect")]
        if self.hflip > 0:
            steps.append(RandomFlip(self.hflip))
        if self.vflip > 0:
            steps.append(RandomFlip(self.vflip, vertical=True))
        return steps


@dataclass(frozen=True, kw_only=True, slots=True)
class Augment:
    """The second stage; see `create_transform` for the arguments."""

    auto_augment: str | None
    color_jitter: float | Sequence[float] | None
    color_jitter_prob: float | None
    grayscale_prob: float
    gaussian_blur_prob: float
    force_color_jitter: bool = False

    def steps(
        self,
        size: tuple[int, int],
        interpolation: str,
        mean: Sequence[float],
        channels: int | None,
    ) -> list[Step]:
        """Return the policy, then jitter, grey and blur.

        Raises:
            ValueError: a step on colours was asked for and there are other channels.
        """
        steps: list[Step] = []
        policy = self.auto_augment or ""
        if channels not in (None, *_COLORS):
            return self._without_colors(channels)
        if policy:
            steps.append(augment_policy(policy, size, interpolation, mean))
        # A policy changes colours itself, but for the three operations of DeiT III.
        if not policy or self.force_color_jitter or "3a" in policy:
            steps += self._jitter()
        if self.grayscale_prob:
            steps.append(RandomGrayscale(self.grayscale_prob))
        return steps + self._blur()

    def _without_colors(self, channels: int) -> list[Step]:
        for name in ("auto_augment", "grayscale_prob", "color_jitter_prob"):
            if given := getattr(self, name):
                raise ValueError(
                    f"{name}={given!r} changes colours, of 1 or 3 channels, and input_size or mean "
                    f"is for {channels}: leave it out"
                )
        if self._jitter():
            _logger.warning(
                "color_jitter is left out: it changes colours, not %d channels", channels
            )
        return self._blur()

    def _blur(self) -> list[Step]:
        prob = self.gaussian_blur_prob
        return [RandomApply(GaussianBlur(), prob)] if prob else []

    def _jitter(self) -> list[Step]:
        amounts = self.color_jitter
        if amounts is None:
            return []
        factors = (amounts,) * 3 if isinstance(amounts, int | float) else tuple(amounts)
        if len(factors) not in (3, 4):
            raise ValueError(
                f"color_jitter={amounts!r}: give one amount, or those of brightness, contrast, "
                "saturation and, if wanted, hue"
            )
        jitter = ColorJitter(*factors)
        if not any(jitter.amounts):
            return []
        prob = self.color_jitter_prob
        return [jitter] if prob is None else [RandomApply(jitter, prob)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Erase:
    """What the third stage does to the tensor; see `create_transform` for the arguments."""

    re_prob: float
    re_mode: str
    re_count: int
    re_num_splits: int

    def steps(self) -> list[Step]:
        """Return random erasing, or nothing."""
        if self.re_prob <= 0:
            return []
        erase = RandomErasing(
            self.re_prob, mode=self.re_mode, max_count=self.re_count, num_splits=self.re_num_splits
        )
        return [erase]


def augment_policy(
    policy: str, size: tuple[int, int], interpolation: str, mean: Sequence[float]
) -> Callable[[Image.Image], Image.Image]:
    """Return the augmentation that `auto_augment` names.

    Args:
        policy: rand-..., augmix-..., or a policy of AutoAugment.
        size: (height, width) of the images, for the limits of translations in pixels.
        interpolation: name of the filter; "random" draws bilinear or bicubic.
        mean: of images in [0, 1]: the colour that moves in.

    Raises:
        ValueError: the string has no meaning.
    """
    options: dict[str, Any] = {
        "translate_const": int(min(size) * 0.45),
        "img_mean": tuple(min(255, round(255 * value)) for value in mean),
    }
    if interpolation != "random":
        options["interpolation"] = str_to_pil_interp(interpolation)
    if policy.startswith("rand"):
        return rand_augment_transform(policy, options)
    if policy.startswith("augmix"):
        return augment_and_mix_transform(policy, {**options, "translate_pct": 0.3})
    return auto_augment_transform(policy, options)


def training_stages(
    size: tuple[int, int],
    *,
    entry: ToImage,
    channels: int | None,
    crop: Crop,
    augment: Augment,
    erase: Erase,
    interpolation: str,
    output: Output,
) -> tuple[list[Step], list[Step], list[Step]]:
    """Return the steps of the three stages; see `create_transform`."""
    erasing = [] if output.keep_bytes else erase.steps()
    return (
        [entry, *crop.steps(size, interpolation)],
        augment.steps(size, interpolation, output.mean, channels),
        [*output.steps(), *erasing],
    )


def plain_steps(size: int | tuple[int, int], interpolation: str, output: Output) -> list[Step]:
    """Return training without augmentation: resize to `size` (a pair changes the ratio), crop."""
    filter_name = "bilinear" if interpolation == "random" else interpolation
    str_to_pil_interp(filter_name)
    return [Resize(size, filter_name), CenterCropOrPad(size), *output.steps()]
