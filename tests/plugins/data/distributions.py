"""What training transforms do to an image, as numbers, over many draws.

Shared by the script that records them of timm and by the slow test that compares. A step is seen
from outside only, so anything that augments can be measured: it takes an image or a tensor and
returns one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image
from training_cases import picture, seed

DRAWS = 10_000
SIDE = 24
BINS = 16
OPERATIONS = (
    "Rotate Posterize PosterizeIncreasing PosterizeOriginal Solarize SolarizeIncreasing "
    "SolarizeAdd Color ColorIncreasing Contrast ContrastIncreasing Brightness BrightnessIncreasing "
    "Sharpness SharpnessIncreasing ShearX ShearY TranslateX TranslateY TranslateXRel TranslateYRel "
    "Desaturate GaussianBlur GaussianBlurRand AutoContrast Equalize Invert"
).split()
PIPELINES: Mapping[str, dict[str, Any]] = {
    "rrc": dict(color_jitter=None, hflip=0.0),
    "rkrr": dict(color_jitter=None, hflip=0.0, train_crop_mode="rkrr"),
    "flips": dict(color_jitter=None, scale=(1, 1), ratio=(1, 1), hflip=0.4, vflip=0.2),
    "jitter": dict(scale=(1, 1), ratio=(1, 1), hflip=0.0, color_jitter=(0.4, 0.3, 0.2, 0.1)),
    "grey and blur": dict(
        scale=(1, 1),
        ratio=(1, 1),
        hflip=0.0,
        color_jitter=None,
        grayscale_prob=0.3,
        gaussian_blur_prob=0.4,
    ),
    "rand": dict(scale=(1, 1), ratio=(1, 1), hflip=0.0, auto_augment="rand-m9-mstd0.5-inc1"),
    "rand weighted": dict(scale=(1, 1), ratio=(1, 1), hflip=0.0, auto_augment="rand-m7-n3-t3aw"),
    "original": dict(scale=(1, 1), ratio=(1, 1), hflip=0.0, auto_augment="original-mstd0.5"),
    "augmix": dict(scale=(1, 1), ratio=(1, 1), hflip=0.0, auto_augment="augmix-m5"),
    "erase const": dict(scale=(1, 1), ratio=(1, 1), hflip=0.0, color_jitter=None, re_prob=0.4),
    "erase pixel": dict(
        scale=(1, 1),
        ratio=(1, 1),
        hflip=0.0,
        color_jitter=None,
        re_prob=0.4,
        re_mode="pixel",
        re_count=3,
    ),
}
MIXES: Mapping[str, dict[str, Any]] = {
    "mixup": dict(mixup_alpha=0.8),
    "cutmix": dict(mixup_alpha=0.0, cutmix_alpha=1.0),
    "both elem": dict(mixup_alpha=0.2, cutmix_alpha=1.0, prob=0.7, mode="elem"),
}


def steps(
    library: Any, wrap: Callable[[np.ndarray], Image.Image] = Image.fromarray
) -> dict[str, Callable[[], np.ndarray]]:
    """Return name to what makes one draw: (C, H, W) values.

    Args:
        library: has AugmentOp, create_transform, Mixup.
        wrap: makes the image of (H, W, 3) pixels.
    """
    image = wrap(np.array(picture(SIDE, SIDE)))
    options = {"magnitude_std": 0.5, "translate_const": 10, "img_mean": (124, 116, 104)}
    draws: dict[str, Callable[[], np.ndarray]] = {}
    for name in OPERATIONS:
        op = library.AugmentOp(name, prob=0.7, magnitude=9, hparams=dict(options))
        draws[name] = lambda op=op: np.asarray(op(image), np.float32).transpose(2, 0, 1)
    for name, given in PIPELINES.items():
        transform = library.create_transform(SIDE, is_training=True, **given)
        draws[name] = lambda transform=transform: transform(image).numpy()
    first = torch.linspace(0, 1, SIDE * SIDE).view(1, 1, SIDE, SIDE)
    for name, given in MIXES.items():
        mix = library.Mixup(num_classes=2, **given)
        draws[name] = lambda mix=mix: mix(torch.cat([first, first + 1]), torch.arange(2))[0][
            0
        ].numpy()
    return draws


def measure(draw: Callable[[], np.ndarray], start: int, count: int = DRAWS) -> np.ndarray:
    """Return (count, 3): mean of the values, and how far they lie to the right and below."""
    seed(start)
    ramp = np.linspace(-1, 1, SIDE, dtype=np.float32)
    rows = np.empty((count, 3))
    for row in rows:
        values = draw()
        row[:] = values.mean(), (values * ramp).mean(), (values * ramp[:, None]).mean()
    return rows.round(5)


def edges_of(values: np.ndarray) -> list[float]:
    """Return the limits of bins that hold about as many of `values` each.

    They lie a little beside the quantiles, for many draws may give one and the same value.
    """
    quantiles = np.unique(np.quantile(values, np.linspace(0, 1, BINS + 1)[1:-1]))
    return (quantiles - 1.7e-5).round(6).tolist()


def counts_of(values: np.ndarray, edges: list[float]) -> list[int]:
    """Return how many of `values` lie between the limits, and beyond them."""
    return np.bincount(np.searchsorted(edges, values), minlength=len(edges) + 1).tolist()


def distance(first: list[int], second: list[int]) -> tuple[float, float]:
    """Return chi squared of two histograms of as many draws, and its limit.

    The limit is six standard deviations over the mean that it has for equal distributions.
    """
    a, b = np.array(first, float), np.array(second, float)
    filled = a + b > 0
    free = filled.sum() - 1
    chi = ((a - b)[filled] ** 2 / (a + b)[filled]).sum()
    return float(chi), float(free + 6 * np.sqrt(2 * max(free, 1)))


def _mixed(mix: Callable[..., Any], first: torch.Tensor) -> np.ndarray:
    images, _ = mix(torch.cat([first, first + 1]), torch.arange(2))
    return images[0].numpy()
