"""Crops of random place and size: the first step of training pipelines, on PIL images.

Differences from timm: impossible ranges raise; an image is never scaled to less than one pixel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from hub_data.draws import python_draws as random
from hub_data.image_steps import check_range, crop_or_pad, draw_filter, pair, require_pil

_ATTEMPTS = 10


@dataclass(frozen=True)
class RandomResizedCropAndInterpolation:
    """Cut out a part of random area and aspect ratio and resize it.

    Args:
        size: (height, width) of the result, or one number for both.
        scale: least and largest area of the part, as share of the image.
        ratio: least and largest width / height of the part.
        interpolation: name of the filter; "random" draws bilinear or bicubic for each image.
    """

    size: int | tuple[int, int]
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        check_range("scale", self.scale)
        check_range("ratio", self.ratio)

    @staticmethod
    def get_params(
        img: Image.Image, scale: Sequence[float], ratio: Sequence[float]
    ) -> tuple[int, int, int, int]:
        """Return (top, left, height, width) of a random part of `img`."""
        return draw_part(img.height, img.width, scale, ratio)

    def __call__(self, image: Image.Image) -> Image.Image:
        """Return the part, resized to `size`."""
        require_pil(image)
        top, left, tall, wide = draw_part(image.height, image.width, self.scale, self.ratio)
        resample = draw_filter(self.interpolation)
        height, width = pair(self.size)
        part = image.crop((left, top, left + wide, top + tall))
        return part.resize((width, height), resample)


@dataclass(frozen=True)
class RandomCropOrPad:
    """Cut out a window of random place; where the image is smaller, place it in the window.

    Args:
        size: (height, width), or one number for both.
        fill: value of padded pixels, one number or one per channel, 0 to 255.
        padding_mode: constant, edge, reflect or symmetric.
    """

    size: int | tuple[int, int]
    fill: int | tuple[int, ...] = 0
    padding_mode: str = "constant"

    def __call__(self, image: Image.Image) -> Image.Image:
        """Return the window, of exactly `size`."""
        height, width = pair(self.size)
        top = _draw_offset(image.height - height)
        left = _draw_offset(image.width - width)
        return crop_or_pad(image, top, left, height, width, self.fill, self.padding_mode)


@dataclass(frozen=True)
class RandomPad:
    """Pad an image to at least a size, at a random place.

    Args:
        input_size: (height, width) of the result, larger where the image is.
        fill: value of padded pixels, one number or one per channel, 0 to 255.
    """

    input_size: int | tuple[int, int]
    fill: int | tuple[int, ...] = 0

    def __call__(self, image: Image.Image) -> Image.Image:
        """Return the padded image."""
        height, width = pair(self.input_size)
        left = random.randint(0, max(width - image.width, 0))
        top = random.randint(0, max(height - image.height, 0))
        height, width = max(height, image.height), max(width, image.width)
        return crop_or_pad(image, -top, -left, height, width, self.fill)


def draw_part(
    height: int, width: int, scale: Sequence[float], ratio: Sequence[float]
) -> tuple[int, int, int, int]:
    """Return (top, left, height, width) of a part whose area and ratio are random.

    The area is uniform, the ratio uniform in its logarithm; where ten draws do not fit, it is the
    largest centred part that keeps to `ratio`.
    """
    low, high = math.log(ratio[0]), math.log(ratio[1])
    for _ in range(_ATTEMPTS):
        area = random.uniform(scale[0], scale[1]) * (width * height)
        aspect = math.exp(random.uniform(low, high))
        wide, tall = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < wide <= width and 0 < tall <= height:
            top = random.randint(0, height - tall)
            return top, random.randint(0, width - wide), tall, wide
    wide, tall = width, height
    if width < ratio[0] * height:
        tall = max(1, round(width / ratio[0]))
    elif width > ratio[1] * height:
        wide = max(1, round(height * ratio[1]))
    return (height - tall) // 2, (width - wide) // 2, tall, wide


def _draw_offset(spare: int) -> int:
    """Return where a window begins: inside where there is `spare`, before where it is negative."""
    drawn = random.randint(0, abs(spare))
    return drawn if spare >= 0 else -drawn
