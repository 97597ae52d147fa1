"""From numbers to the 8 bits of an image: which number is black and which is white, by one rule.

The type of the numbers decides, never the numbers of one image: two images of a data set have to
stay comparable. Where a type does not say it, `input_range` does.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from hub import HubError
from numpy.typing import NDArray

_logger = logging.getLogger(__name__)

#: The numbers that are black and white; (65535, 0) where high numbers are dark.
Range = tuple[float, float]
_BYTE: Range = (0.0, 255.0)
_HALF_A_LEVEL = 0.5


class PixelRangeError(HubError, ValueError):
    """The numbers of an image do not say, or contradict, which is black and which is white."""


def as_range(input_range: Sequence[float] | None) -> Range | None:
    """Return a range as two numbers; None stays None.

    Raises:
        ValueError: it is no pair of different finite numbers.
    """
    if input_range is None:
        return None
    try:
        black, white = map(float, input_range)
    except (TypeError, ValueError):
        black = white = math.nan
    if not math.isfinite(black) or not math.isfinite(white) or black == white:
        raise ValueError(
            f"input_range={input_range!r}: give the numbers that are black and white, such as "
            "(0, 4095)"
        )
    return black, white


def to_eight_bits(
    values: NDArray[Any], input_range: Range | None = None, *, known: Range | None = None
) -> NDArray[np.uint8]:
    """Return numbers as 8-bit values: black 0, white 255.

    Without `input_range`, bytes stay as they are, bits are black and white, uint16 reaches from 0
    to 65535 and floats from 0 to 1; numbers outside are refused, as are other types. With it,
    numbers outside are cut off. NaN is black. What is assumed is logged once.

    Args:
        values: any shape.
        input_range: the numbers that are black and white.
        known: what the file of these numbers says; `input_range` goes before.

    Raises:
        PixelRangeError: the range is not known, or is not that of the values.
    """
    if values.dtype == np.bool_:
        values = values.astype(np.uint8) * 255  # as PIL does with the bits of a file
    if values.dtype == np.uint8 and input_range in (None, _BYTE):
        return values
    if values.dtype.kind not in "iuf":
        raise PixelRangeError(f"an array of {values.dtype} values is no image: give real numbers")
    black, white = input_range or known or _range_of_type(values)
    if values.dtype == np.uint8 and not 0 <= min(black, white) < max(black, white) <= 255:
        raise PixelRangeError(
            f"an image of 8 bits has no values from {black:g} to {white:g}, as input_range says: "
            "leave out input_range for 8-bit images, or give one within (0, 255)"
        )
    with np.errstate(over="ignore", invalid="ignore"):  # of infinite values
        scaled = values.astype(np.result_type(values.dtype, np.float32))
        scaled -= black
        scaled *= 255 / (white - black)
    if values.dtype.kind == "f":
        if (nan := np.isnan(scaled)).any():
            _say_nan()
            scaled[nan] = 0
        outside = scaled.min() < -_HALF_A_LEVEL or scaled.max() > 255 + _HALF_A_LEVEL
        if input_range is None and outside:
            raise PixelRangeError(
                f"{_described(values)}, and floats are taken to be within 0 (black) and 1 (white): "
                "state the range of the data set, input_range=(black, white)"
            )
    return scaled.round(out=scaled).clip(0, 255, out=scaled).astype(np.uint8)


def _range_of_type(values: NDArray[Any]) -> Range:
    """Return the range that the type says; of uint16 and floats it is an assumption."""
    kind = values.dtype.kind
    if kind != "f" and values.dtype.newbyteorder("=") != np.uint16:
        raise PixelRangeError(
            f"{_described(values)}; this type does not say which value is black and which is "
            "white: state the range of the data set, input_range=(black, white)"
        )
    return assumed(values.dtype.name, 1.0 if kind == "f" else 65535.0)


@cache
def assumed(dtype: str, white: float) -> Range:
    """Return the range from 0 to `white`, and log once that it is assumed."""
    _logger.warning(
        "%s images: 0 is taken for black and %g for white; input_range=(black, white) states "
        "another range, such as (0, 4095) of a 12-bit camera",
        dtype,
        white,
    )
    return 0.0, white


def _described(values: NDArray[Any]) -> str:
    return f"an image of {values.dtype} values from {np.nanmin(values):g} to {np.nanmax(values):g}"


@cache
def _say_nan() -> None:
    _logger.warning("values of images that are no number (NaN) become black")
