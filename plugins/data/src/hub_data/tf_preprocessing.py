"""The preprocessing of TensorFlow's MnasNet and EfficientNet code, without TensorFlow.

Weights ported from there (names that begin with `tf_`) were measured with it. It differs from
`create_transform` in three ways: the evaluation crop is size / (size + 32) of the shorter side,
cut out before resizing; resizing does not smooth what it shrinks; and TensorFlow 1 maps the pixel
i of the result to i * scale of the source, where others map centres of pixels.

Training draws the part as `tf.image.sample_distorted_bounding_box` does with one box that covers
the image, of which 0.1 must be seen: ratio 3/4 to 4/3, the height even among those of an area of
0.08 to 1; ten attempts, then the evaluation crop.
"""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image

from hub_data.draws import python_draws as random
from hub_data.to_image import ToImage

_CROP_PADDING = 32
_AREA = (0.08, 1.0)
_RATIO = (3 / 4, 4 / 3)
_COVERED = 0.1
_ATTEMPTS = 10
_CUBIC = -0.75  # the coefficient A of Keys' kernel in TensorFlow 1; PIL has -0.5
_TABLE = 1024  # TensorFlow 1 rounds positions between pixels to this many steps
FILTERS = ("bicubic", "bilinear")


class TfPreprocessTransform:
    """Crop and resize as TensorFlow does.

    Args:
        is_training: draw the part and mirror half of the images; else crop the centre.
        size: side of the square result, in pixels, or (height, width) of which the height counts.
        interpolation: bicubic or bilinear.

    Raises:
        ValueError: TensorFlow's code has no such filter.
    """

    def __init__(
        self,
        is_training: bool = False,
        size: int | tuple[int, int] = 224,
        interpolation: str = "bicubic",
    ) -> None:
        if interpolation not in FILTERS:
            raise ValueError(
                f"tf_preprocessing resizes with {' or '.join(FILTERS)}, not {interpolation!r}"
            )
        self.is_training = is_training
        self.size = size if isinstance(size, int) else size[0]
        self.interpolation = interpolation

    def __call__(self, image: bytes | Image.Image) -> torch.Tensor:
        """Return (3, size, size) uint8 of an image, or of the bytes of an image file."""
        if isinstance(image, bytes):
            with Image.open(io.BytesIO(image)) as file:
                image = file.convert("RGB")
        elif not isinstance(image, Image.Image):
            image = ToImage(channels=3)(image)
        top, left, height, width = self._part(image.height, image.width)
        part = np.asarray(image.crop((left, top, left + width, top + height)).convert("RGB"))
        pixels = resize(part, self.size, self.size, self.interpolation)
        if self.is_training and random.random() < 0.5:
            pixels = pixels[:, ::-1]
        values = pixels.round().clip(0, 255).astype(np.uint8)
        return torch.from_numpy(values.transpose(2, 0, 1).copy())  # (H, W, C) -> (C, H, W)

    def __repr__(self) -> str:
        return (
            f"TfPreprocessTransform(is_training={self.is_training}, size={self.size}, "
            f"interpolation={self.interpolation!r})"
        )

    def _part(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Return (top, left, height, width) of what is shown."""
        if self.is_training and (drawn := _draw_part(height, width)):
            return drawn
        side = int(np.float32(self.size / (self.size + _CROP_PADDING)) * min(height, width))
        side = max(1, side)
        return (height - side + 1) // 2, (width - side + 1) // 2, side, side


def resize(pixels: np.ndarray, height: int, width: int, interpolation: str) -> np.ndarray:
    """Return (height, width, C) float32 of (H, W, C), resized as TensorFlow 1 does."""
    weights = _cubic_weights if interpolation == "bicubic" else _linear_weights
    result = pixels.astype(np.float32)
    for axis, length in ((1, width), (0, height)):
        if result.shape[axis] == length:
            continue  # every position falls on a pixel
        indices, factors = weights(result.shape[axis], length)
        spread = [1] * result.ndim
        spread[axis] = length
        result = sum(
            np.take(result, index, axis) * factor.reshape(spread)
            for index, factor in zip(indices, factors, strict=True)
        )
    return result


def _draw_part(height: int, width: int) -> tuple[int, int, int, int] | None:
    """Return (top, left, height, width) of a part, or None where no draw fits."""
    area = height * width
    for _ in range(_ATTEMPTS):
        ratio = random.uniform(*_RATIO)
        least = round((_AREA[0] * area / ratio) ** 0.5)
        most = min(round((_AREA[1] * area / ratio) ** 0.5), height)
        if round(most * ratio) > width:
            most = int((width + 0.5 - 1e-7) / ratio)
        tall = random.randint(min(least, most), most)
        wide = round(tall * ratio)
        if 0 < wide <= width and _COVERED * area <= tall * wide < area:
            top = random.randint(0, height - tall)
            return top, random.randint(0, width - wide), tall, wide
    return None


def _positions(length: int, wanted: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixel before each position and how far, 0 to 1, the position is behind it."""
    positions = np.arange(wanted, dtype=np.float32) * np.float32(length / wanted)
    before = np.floor(positions).astype(np.int64)
    return before, positions - before.astype(np.float32)


def _linear_weights(length: int, wanted: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    before, share = _positions(length, wanted)
    return [before, np.minimum(before + 1, length - 1)], [1 - share, share]


def _cubic_weights(length: int, wanted: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    before, share = _positions(length, wanted)
    share = (np.rint(share * _TABLE) / _TABLE).astype(np.float32)
    indices = [(before + step).clip(0, length - 1) for step in (-1, 0, 1, 2)]
    near = [_cubic_near(share), _cubic_near(1 - share)]
    return indices, [_cubic_far(1 + share), *near, _cubic_far(2 - share)]


def _cubic_near(x: np.ndarray) -> np.ndarray:
    """Return Keys' kernel for distances up to 1."""
    return ((_CUBIC + 2) * x - (_CUBIC + 3)) * x * x + 1


def _cubic_far(x: np.ndarray) -> np.ndarray:
    """Return Keys' kernel for distances from 1 to 2."""
    return ((x - 5) * x + 8) * x * _CUBIC - 4 * _CUBIC
