"""Shearing and moving images: every row, or every column, shifted by an amount of its own.

Four of the 15 operations of RandAugment are such shifts. PIL interpolates them in two dimensions
(1.0 ms bilinear, 2.4 ms bicubic on 224 x 224 pixels); in the one that matters it takes 0.3 ms. The
results are within one of 255 levels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

#: Coefficients of the interpolating polynomials: per tap, of the powers 0 to 3 of the fraction.
_POLYNOMIALS: dict[int | None, tuple[tuple[int, ...], ...]] = {
    Image.Resampling.BILINEAR: ((1, -1, 0, 0), (0, 1, 0, 0)),
    # Keys' cubic convolution with a = -1, as PIL has it where it moves pixels.
    Image.Resampling.BICUBIC: ((0, -1, 2, -1), (1, 0, -2, 1), (0, 1, 1, -1), (0, 0, -1, 1)),
}


def shift(
    image: Image.Image,
    matrix: Sequence[float],
    resample: int | None,
    fill: Sequence[int],
) -> Image.Image | None:
    """Return the image moved by an affine map, or None where that is no shift along one axis.

    Args:
        image: of mode RGB.
        matrix: a, b, c, d, e, f: the pixel (x, y) of the result is that at (a x + b y + c,
            d x + e y + f) of `image`, positions measured at the centres of pixels.
        resample: bilinear or bicubic; None is returned for others.
        fill: colour of what comes from outside.
    """
    a, b, c, d, e, f = matrix
    if a != 1 or e != 1 or resample not in _POLYNOMIALS or image.mode != "RGB":
        return None
    polynomials = np.array(_POLYNOMIALS[resample], np.float64)
    if (d, f) == (0, 0):
        amounts = b * (np.arange(image.height) + 0.5) + c
        return _shift(image, amounts, 1, polynomials, fill)
    if (b, c) == (0, 0):
        amounts = d * (np.arange(image.width) + 0.5) + f
        return _shift(image, amounts, 0, polynomials, fill)
    return None


def _shift(
    image: Image.Image,
    amounts: np.ndarray,
    axis: int,
    polynomials: np.ndarray,
    fill: Sequence[int],
) -> Image.Image:
    """Shift along `axis` (1: rows by `amounts` (H,), 0: columns by `amounts` (W,))."""
    width, height = image.size
    length, taps = (width if axis else height), len(polynomials)
    # Four bytes per pixel are PIL's own form, and can be gathered as one number.
    pixels = np.frombuffer(image.tobytes("raw", "RGBX"), np.uint32)
    whole = np.floor(amounts)
    powers = (amounts - whole) ** np.arange(4)[:, None]  # (4, rows or columns)
    weights = torch.from_numpy((polynomials @ powers).astype(np.float32))
    first = whole.astype(np.int64) - (taps // 2 - 1)
    places = np.arange(length + taps - 1)
    if axis:
        source = (first[:, None] + places).clip(0, length - 1)  # (H, W + taps - 1)
        source += np.arange(height)[:, None] * width
    else:
        source = (first + places[:, None]).clip(0, length - 1)  # (H + taps - 1, W)
        source = source * width + np.arange(width)
    read = torch.from_numpy(np.take(pixels, source).view(np.uint8)).float()
    mixed = _mix(read, weights, axis, taps).numpy().astype(np.uint8)  # cut off as PIL does
    centres = np.arange(length) + 0.5
    positions = amounts[:, None] + centres if axis else amounts + centres[:, None]
    outside = (positions < 0) | (positions >= length)
    mixed.view(np.uint32)[outside] = np.array([*fill, 255], np.uint8).view(np.uint32)
    return Image.frombytes("RGB", image.size, mixed.data, "raw", "RGBX")


def _mix(read: torch.Tensor, weights: torch.Tensor, axis: int, taps: int) -> torch.Tensor:
    """Return the weighted sum over the taps: (H, W * 4), within 0 and 255.

    Args:
        read: what the taps read, (H, (W + taps - 1) * 4) or (H + taps - 1, W * 4).
        weights: (taps, H) or (taps, W).
        axis: 1 for the first form, 0 for the second.
        taps: pixels that a value is made of.
    """
    if axis:
        width = read.shape[1] - 4 * (taps - 1)
        parts = [read[:, 4 * k : 4 * k + width] for k in range(taps)]
        per_tap = weights[:, :, None]  # (taps, H, 1)
    else:
        height = read.shape[0] - (taps - 1)
        parts = [read[k : k + height] for k in range(taps)]
        per_tap = weights.repeat_interleave(4, dim=1)[:, None]  # (taps, 1, W * 4)
    mixed = parts[0] * per_tap[0]
    for part, weight in zip(parts[1:], per_tap[1:], strict=True):
        mixed.addcmul_(part, weight)
    return mixed.clamp_(0, 255)
