"""Carries out a preprocessing specification with numpy and Pillow alone: copy this file.

It is the reference for other runtimes: what a step means is what its function here does. For an
image of 8-bit values the result equals that of hub's own transform, bit for bit.

    python preprocessing_reference.py specification.json image.jpg   # writes image.npy
"""

import json
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

VERSION = 1


def run(specification: dict[str, Any], image: Image.Image) -> np.ndarray:
    """Return the input of a network, of the shape and type that the specification's output says.

    Args:
        specification: of `hub.preprocessing(model)`, perhaps read from JSON.
        image: any image of Pillow; it is converted to the colour mode of the specification.

    Raises:
        ValueError: the specification is newer than this file, or has an unknown step.
    """
    if specification["version"] != VERSION:
        raise ValueError(
            f"specification of version {specification['version']}, this file follows version "
            f"{VERSION}: take preprocessing_reference.py of the hub-data that wrote it"
        )
    value: Any = image.convert(specification["input"].get("color", image.mode))
    for step in specification["steps"]:
        arguments = {name: given for name, given in step.items() if name != "op"}
        if step["op"] not in STEPS:
            raise ValueError(f"unknown step {step['op']!r}: this file has {', '.join(STEPS)}")
        value = STEPS[step["op"]](value, **arguments)
    return np.asarray(value)


def trim_border(image: Image.Image, pixels: int) -> Image.Image:
    """Cut off `pixels` on each side."""
    return image.crop((pixels, pixels, image.width - pixels, image.height - pixels))


def resize(
    image: Image.Image,
    mode: str,
    filter: str,
    antialias: bool,
    size: Sequence[int] = (),
    length: int = 0,
    rounding: str = "down",
) -> Image.Image:
    """Resize.

    Args:
        image: what is resized.
        mode: "exact" gives `size`. "shorter_side" gives the shorter side `length`. "cover" is the
            smallest image of the same ratio that covers `size`, "fit" the largest inside it.
        filter: nearest, bilinear, bicubic (a = -0.5), box, hamming, lanczos (a = 3).
        antialias: the filter widens where it shrinks, as Pillow's always does.
        size: (height, width).
        length: in pixels.
        rounding: of the sides: "down", or "half_even" to the nearest, halves to even.
    """
    height, width = size or (length, length)
    if mode == "shorter_side":
        shorter = min(image.size)
        width, height = (length * side // shorter for side in image.size)
    elif mode != "exact":
        choose = {"cover": min, "fit": max}[mode]
        shrink = choose(image.width / width, image.height / height)
        width, height = (max(1, round(side / shrink)) for side in image.size)
    return image.resize((width, height), Image.Resampling[filter.upper()])


def center_crop_or_pad(
    image: Image.Image, size: Sequence[int], fill: int | Sequence[int], padding: Any
) -> np.ndarray:
    """Return the centre of (height, width) pixels, as an array; pad where the image is smaller.

    Where it is larger by an odd number of pixels, halves are rounded to even; where it is smaller,
    the odd row goes below and the odd column to the right.
    """
    pixels = np.asarray(image)
    pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
    pads, window = [], []
    for has, wants in zip(pixels.shape[:2], size, strict=True):
        lacks = max(0, wants - has)
        pads.append((lacks // 2, lacks - lacks // 2))
        first = round(max(0, has - wants) / 2)
        window.append(slice(first, first + wants))
    if padding != "constant":
        return np.pad(pixels, [*pads, (0, 0)], mode=padding)[tuple(window)]
    values = np.full((*size, pixels.shape[2]), fill, dtype=pixels.dtype)
    part = pixels[tuple(window)]
    (top, _), (left, _) = pads
    values[top : top + part.shape[0], left : left + part.shape[1]] = part
    return values


def divide(values: np.ndarray, by: float) -> np.ndarray:
    """Divide, in float32."""
    return values.astype(np.float32) / np.float32(by)


def normalize(values: np.ndarray, mean: Sequence[float], std: Sequence[float]) -> np.ndarray:
    """Subtract the mean and divide by the standard deviation, channel by channel, in float32."""
    return (values - np.array(mean, np.float32)) / np.array(std, np.float32)


def to_chw(values: np.ndarray) -> np.ndarray:
    """Turn (height, width, channels) into (channels, height, width)."""
    return np.ascontiguousarray(values.transpose(2, 0, 1))


STEPS = {
    function.__name__: function
    for function in (trim_border, resize, center_crop_or_pad, divide, normalize, to_chw)
}

if __name__ == "__main__":
    with open(sys.argv[1]) as file:
        result = run(json.load(file), Image.open(sys.argv[2]))
    np.save(sys.argv[2].rsplit(".", 1)[0] + ".npy", result)
