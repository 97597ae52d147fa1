"""An image of PIL whose pixels are a numpy array: the fast backend without a pipeline of its own.

Steps of preprocessing are written for PIL images. Given an `ArrayImage`, their `crop`, `resize` and
`transpose` work on the array, without copies and by the SIMD kernels of `resize`; whatever else
they do to the image happens on PIL's own memory, which is made when it is first needed. So one
pipeline serves both backends, and what it draws at random is the same in both.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from hub_data.fast.decode import as_array
from hub_data.fast.resize import SIMD_FILTERS, resize
from hub_data.fast.shift import shift

_MODES = {1: "L", 3: "RGB"}


class FastImage(Image.Image):
    """A PIL image that is sheared and moved faster; so is what PIL makes of it."""

    def _new(self, im: Any) -> Image.Image:
        new: Any = super()._new(im)
        new.__class__ = FastImage
        return new

    def transform(
        self,
        size: tuple[int, int],
        method: Any,
        data: Any = None,
        resample: int = Image.Resampling.NEAREST,
        fill: int = 1,
        fillcolor: Any = None,
    ) -> Image.Image:
        """Return the image transformed, as PIL does but for the last one of 255 levels."""
        moved = None
        if method == Image.Transform.AFFINE and tuple(size) == self.size and fill == 1:
            moved = shift(self, data, resample, fillcolor or (0, 0, 0))
        if moved is None:
            return super().transform(size, method, data, resample, fill, fillcolor)
        return self._new(moved.im)


class ArrayImage(FastImage):
    """A PIL image of mode L or RGB over an array.

    Args:
        pixels: (H, W, 1) or (H, W, 3) uint8, any strides.
    """

    def __init__(self, pixels: np.ndarray) -> None:
        super().__init__()
        self._pixels = pixels
        self._core: Any = None
        self._mode = _MODES[pixels.shape[2]]
        self._size = (pixels.shape[1], pixels.shape[0])

    @property
    def pixels(self) -> np.ndarray:
        """The array (H, W, C)."""
        return self._pixels

    @property
    def im(self) -> Any:
        """PIL's own memory, made on first use."""
        if self._core is None and "_pixels" in vars(self):
            flat = self._pixels[:, :, 0] if self._mode == "L" else self._pixels
            self._core = Image.fromarray(flat).im
        return self._core

    @im.setter
    def im(self, core: Any) -> None:
        self._core = core

    @property
    def __array_interface__(self) -> dict[str, Any]:
        pixels = self._pixels[:, :, 0] if self._mode == "L" else self._pixels
        return dict(pixels.__array_interface__)

    def load(self) -> Any:
        """Make PIL's memory; what its own methods begin with."""
        return self.im.pixel_access(0)

    def crop(self, box: tuple[float, float, float, float] | None = None) -> Image.Image:
        """Return a part of the image, as PIL does; inside the image it is a view."""
        left, top, right, bottom = map(round, box or (0, 0, *self.size))
        if 0 <= left < right <= self.width and 0 <= top < bottom <= self.height:
            return ArrayImage(self._pixels[top:bottom, left:right])
        return super().crop(box)

    def resize(
        self,
        size: tuple[int, int] | list[int] | NDArray[Any],
        resample: int | None = None,
        box: tuple[float, float, float, float] | None = None,
        reducing_gap: float | None = None,
    ) -> Image.Image:
        """Return the resized image, as PIL does but for the last one or two of 255 levels."""
        if resample not in SIMD_FILTERS or box is not None or min(size) < 1:
            return super().resize(size, resample, box, reducing_gap)
        width, height = map(int, size)
        return ArrayImage(resize(self._pixels, height, width, Image.Resampling(resample)))

    def transpose(self, method: Image.Transpose) -> Image.Image:
        """Return the image mirrored or turned, as PIL does."""
        sides = {Image.Transpose.FLIP_LEFT_RIGHT: 1, Image.Transpose.FLIP_TOP_BOTTOM: 0}
        if method not in sides:
            return super().transpose(method)
        # Not a view of negative strides: copying one costs 20 times as much as torch's flip.
        return ArrayImage(torch.from_numpy(self._pixels).flip(sides[method]).numpy())


def to_array_image(picture: np.ndarray | Image.Image) -> Image.Image:
    """Return an `ArrayImage` where the mode allows it, else the image as it is."""
    if isinstance(picture, Image.Image) and picture.mode not in _MODES.values():
        return picture
    return ArrayImage(as_array(picture))
