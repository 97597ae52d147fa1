"""Resizing as PIL does, to the bit, but only what is then cut out: the exact backend's economy.

PIL resizes in two passes and rounds to 8 bits between them: along rows and then along columns or,
as Pillow 13 does where it pays, the other way round. Evaluation cuts out the centre of what was
resized, so what lies outside of it is cut off between the two passes. Which order this PIL takes is
tried out once; where it is neither of the known ones, whole images are resized.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image


class DeferringImage(Image.Image):
    """A PIL image that waits, when it is resized, for what will be cut out of the result.

    Args:
        source: the image; it is used as it is.
    """

    def __init__(self, source: Image.Image) -> None:
        super().__init__()
        self._source = source
        self._mode, self._size = source.mode, source.size
        self.info = source.info

    @property
    def im(self) -> Any:
        """PIL's own memory."""
        return self._source.im if "_source" in vars(self) else None

    @im.setter
    def im(self, core: Any) -> None:
        pass  # the memory is that of the source

    @property
    def __array_interface__(self) -> dict[str, Any]:
        return self._source.__array_interface__

    def load(self) -> Any:
        """Load the source; what PIL's own methods begin with."""
        return self._source.load()

    def resize(
        self,
        size: tuple[int, int] | list[int] | NDArray[Any],
        resample: int | None = None,
        box: tuple[float, float, float, float] | None = None,
        reducing_gap: float | None = None,
    ) -> Image.Image:
        """Return the resized image, computed when it is used."""
        if box is not None or reducing_gap is not None or min(size) < 1:
            return self._source.resize(size, resample, box, reducing_gap)
        width, height = size
        return ResizedImage(self._source, (int(width), int(height)), resample)


class ResizedImage(Image.Image):
    """What resizing will give; a crop computes its own part of it only.

    Args:
        source: the image before resizing.
        size: (width, height) of the result.
        resample: PIL's filter; None for PIL's default.
    """

    def __init__(
        self, source: Image.Image, size: tuple[int, int], resample: int | None = None
    ) -> None:
        super().__init__()
        self._source, self._resample = source, resample
        self._result: Image.Image | None = None
        self._mode, self._size = source.mode, size
        self.info = source.info

    @property
    def im(self) -> Any:
        """PIL's own memory; resizes on first use."""
        return self._whole().im if "_size" in vars(self) and "_source" in vars(self) else None

    @im.setter
    def im(self, core: Any) -> None:
        pass  # the memory is that of the result

    @property
    def __array_interface__(self) -> dict[str, Any]:
        return self._whole().__array_interface__

    def load(self) -> Any:
        """Resize, if that was not done; what PIL's own methods begin with."""
        return self._whole().load()

    def crop(self, box: tuple[float, float, float, float] | None = None) -> Image.Image:
        """Return a part of the result, as PIL does."""
        left, top, right, bottom = map(round, box or (0, 0, *self.size))
        inside = 0 <= left < right <= self.width and 0 <= top < bottom <= self.height
        columns_first = columns_first_rule()
        if self._result is not None or not inside or columns_first is None:
            return self._whole().crop(box)
        if columns_first(*self._source.size, *self.size):
            return self._columns_then_rows(left, top, right, bottom)
        return self._rows_then_columns(left, top, right, bottom)

    # A pass alone is a resize that keeps the other side.

    def _rows_then_columns(self, left: int, top: int, right: int, bottom: int) -> Image.Image:
        between = self._source.resize((self.width, self._source.height), self._resample)
        between = between.crop((left, 0, right, between.height))
        result = between.resize((right - left, self.height), self._resample)
        return result.crop((0, top, right - left, bottom))

    def _columns_then_rows(self, left: int, top: int, right: int, bottom: int) -> Image.Image:
        between = self._source.resize((self._source.width, self.height), self._resample)
        between = between.crop((0, top, between.width, bottom))
        result = between.resize((self.width, bottom - top), self._resample)
        return result.crop((left, 0, right, bottom - top))

    def _whole(self) -> Image.Image:
        if self._result is None:
            self._result = self._source.resize(self._size, self._resample)
        return self._result


def to_deferring_image(picture: np.ndarray | Image.Image) -> Image.Image:
    """Return an image of which only what is cut out will be resized."""
    return DeferringImage(picture if isinstance(picture, Image.Image) else Image.fromarray(picture))


Rule = Callable[[int, int, int, int], bool]


@cache
def columns_first_rule() -> Rule | None:
    """Return what tells (width, height, new width, new height) that PIL resizes columns first.

    None where neither known rule gives what this PIL gives.
    """
    rules: tuple[Rule, ...] = (
        lambda width, height, new_width, new_height: (
            height - new_height > 2 * (width - new_width) and height > new_height
        ),
        lambda *_: False,
    )
    noise = np.random.RandomState(0).randint(0, 2, (60, 60, 3)).astype(np.uint8) * 255
    cases = [
        (40, 60, 28, 42),
        (60, 40, 42, 28),
        (40, 50, 31, 30),
        (40, 50, 31, 33),
        (30, 40, 50, 30),
    ]
    for rule in rules:
        if all(_gives_what_pil_gives(rule, noise[: case[1], : case[0]], case) for case in cases):
            return rule
    return None


def _gives_what_pil_gives(rule: Rule, pixels: np.ndarray, case: tuple[int, int, int, int]) -> bool:
    width, height, new_width, new_height = case
    image, resample = Image.fromarray(pixels), Image.Resampling.BICUBIC
    side = (width, new_height) if rule(*case) else (new_width, height)
    in_two = image.resize(side, resample).resize((new_width, new_height), resample)
    in_one = image.resize((new_width, new_height), resample)
    return np.array_equal(np.asarray(in_two), np.asarray(in_one))
