"""Random flips and changes of colour on PIL images.

They draw from torch's generator and change values as torchvision's do, and are written here for the
reason that `image_steps` gives: importing torchvision costs seconds in each process. The blur is
two passes of one dimension where torchvision makes one of two: single values may differ by one
level.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageEnhance

from hub_data.draws import torch_generator
from hub_data.to_image import image_of


@dataclass(frozen=True)
class RandomFlip:
    """Mirror an image.

    Args:
        p: probability.
        vertical: swap top and bottom, not left and right.
    """

    p: float = 0.5
    vertical: bool = False

    def __call__(self, image: Image.Image) -> Image.Image:
        """Return the image, mirrored or as it was."""
        if not happens(self.p):
            return image
        flip = Image.Transpose.FLIP_TOP_BOTTOM if self.vertical else Image.Transpose.FLIP_LEFT_RIGHT
        return image.transpose(flip)


@dataclass(frozen=True)
class RandomApply:
    """Do a step, or not.

    Args:
        step: what is done.
        p: probability.
    """

    step: Callable[[Image.Image], Image.Image]
    p: float

    def __call__(self, image: Image.Image) -> Image.Image:
        """Return the image, changed or as it was."""
        return self.step(image) if happens(self.p) else image


@dataclass(frozen=True)
class RandomGrayscale:
    """Take the colour out of an image; the number of channels stays.

    Args:
        p: probability.
    """

    p: float = 0.1

    def __call__(self, image: Image.Image) -> Image.Image:
        """Return the image, grey or as it was."""
        return image.convert("L").convert(image.mode) if happens(self.p) else image


class ColorJitter:
    """Change brightness, contrast, saturation and hue by random amounts, in random order.

    Args:
        brightness: factor is drawn from 1 - brightness (at least 0) to 1 + brightness.
        contrast: the same.
        saturation: the same.
        hue: turn of the colour circle is drawn from -hue to hue, at most 0.5.

    Raises:
        ValueError: an amount is negative, or hue above 0.5.
    """

    def __init__(
        self,
        brightness: float = 0.0,
        contrast: float = 0.0,
        saturation: float = 0.0,
        hue: float = 0.0,
    ) -> None:
        self.amounts = (float(brightness), float(contrast), float(saturation), float(hue))
        if min(self.amounts) < 0 or hue > 0.5:
            raise ValueError(
                f"color_jitter={self.amounts!r}: amounts are 0 or more, that of hue at most 0.5"
            )

    def draw(self) -> tuple[list[int], list[float | None]]:
        """Return the order of the four changes, and the amount of each, None where it is off."""
        order = torch.randperm(4, generator=torch_generator()).tolist()
        *factors, hue = self.amounts
        ranges = [(max(0.0, 1.0 - f), 1.0 + f) if f else None for f in factors]
        ranges.append((-hue, hue) if hue else None)
        return order, [
            r and float(torch.empty(1).uniform_(*r, generator=torch_generator())) for r in ranges
        ]

    def __call__(self, image: Image.Image) -> Image.Image:
        """Return the changed image."""
        order, amounts = self.draw()
        for change in order:
            amount = amounts[change]
            if amount is not None:
                image = _CHANGES[change](image, amount)
        return image

    def __repr__(self) -> str:
        return "ColorJitter(brightness={}, contrast={}, saturation={}, hue={})".format(
            *self.amounts
        )


@dataclass(frozen=True)
class GaussianBlur:
    """Blur an image with a Gaussian of random width.

    Args:
        kernel_size: pixels that the kernel spans, odd; less where the image is smaller.
        sigma: least and largest standard deviation, in pixels.
    """

    kernel_size: int = 23
    sigma: Sequence[float] = (0.1, 2.0)

    def __call__(self, image: Image.Image) -> Image.Image:
        """Return the blurred image."""
        sigma = float(torch.empty(1).uniform_(*self.sigma, generator=torch_generator()))
        pixels = np.asarray(image, dtype=np.float32)
        values = torch.from_numpy(pixels.reshape(*pixels.shape[:2], -1)).permute(2, 0, 1)
        blurred = values[:, None]  # (C, 1, H, W)
        for side in (2, 3):
            reach = min(self.kernel_size // 2, blurred.shape[side] - 1)
            kernel = _gauss(reach, sigma).view([1, 1, -1, 1] if side == 2 else [1, 1, 1, -1])
            pads = [0, 0, reach, reach] if side == 2 else [reach, reach, 0, 0]
            padded = torch.nn.functional.pad(blurred, pads, mode="reflect")
            blurred = torch.nn.functional.conv2d(padded, kernel)
        result = blurred[:, 0].permute(1, 2, 0).round().clamp(0, 255).to(torch.uint8).numpy()
        return image_of(result)


def happens(p: float) -> bool:
    """Return True with probability `p`, by torch's generator."""
    return bool(torch.rand(1, generator=torch_generator()).item() < p)


def _gauss(reach: int, sigma: float) -> torch.Tensor:
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    return weights / weights.sum()


def _turn_hue(image: Image.Image, turn: float) -> Image.Image:
    if image.mode != "RGB":
        return image
    hue, saturation, value = image.convert("HSV").split()
    turned = (np.asarray(hue, dtype=np.int32) + int(turn * 255)) % 256
    parts = (Image.fromarray(turned.astype(np.uint8)), saturation, value)
    return Image.merge("HSV", parts).convert("RGB")


_CHANGES: tuple[Callable[[Image.Image, float], Image.Image], ...] = (
    lambda image, factor: ImageEnhance.Brightness(image).enhance(factor),
    lambda image, factor: ImageEnhance.Contrast(image).enhance(factor),
    lambda image, factor: ImageEnhance.Color(image).enhance(factor),
    _turn_hue,
)
