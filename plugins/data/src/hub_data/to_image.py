"""Whatever a data set gives, as the image that the steps of a pipeline work on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from hub_data.pixel_range import Range, to_eight_bits

#: Modes of PIL that steps work on as they are; others become one of them or a `BandedImage`.
_PLAIN = ("L", "RGB")
_WORD: Range = (0.0, 65535.0)


class BandedImage(Image.Image):
    """An image of any number of channels, each a grey image of PIL.

    PIL has no such images but for a few numbers, and takes the last of two or four channels for
    alpha, by which it multiplies the others. What moves pixels is done to each channel.

    Args:
        bands: the channels, of one size.
    """

    def __init__(self, bands: Sequence[Image.Image]) -> None:
        super().__init__()
        self.bands = tuple(bands)
        self._mode, self._size = f"{len(self.bands)} channels", self.bands[0].size
        self._pixels: NDArray[np.uint8] | None = None

    def each(self, change: Callable[[Image.Image], Image.Image]) -> BandedImage:
        """Return the image with each channel changed."""
        return BandedImage([change(band) for band in self.bands])

    def getbands(self) -> tuple[str, ...]:
        """Return a name per channel."""
        return tuple(map(str, range(len(self.bands))))

    def crop(self, box: Any = None) -> Image.Image:
        """Return a part of the image, as PIL does."""
        return self.each(lambda band: band.crop(box))

    def resize(self, *args: Any, **kwargs: Any) -> Image.Image:
        """Return the resized image, as PIL does."""
        return self.each(lambda band: band.resize(*args, **kwargs))

    def transpose(self, method: Image.Transpose) -> Image.Image:
        """Return the image mirrored or turned, as PIL does."""
        return self.each(lambda band: band.transpose(method))

    @property
    def __array_interface__(self) -> dict[str, Any]:
        if self._pixels is None:  # kept, because the interface is an address
            self._pixels = np.stack([np.asarray(band) for band in self.bands], axis=-1)
        return dict(self._pixels.__array_interface__)

    def load(self) -> Any:
        """Refuse; what all other methods of PIL begin with."""
        raise TypeError(
            f"an image of {self.mode} can be cropped, resized, flipped, blurred and erased in; a "
            "step on colours takes 1 or 3 channels: leave it out"
        )


@dataclass(frozen=True)
class ToImage:
    """Take an image, an array or a tensor, of any type: the first step of pipelines.

    Palettes are resolved; values become 8 bits by the rule of `hub_data.pixel_range`.

    Args:
        channels: that the image has to have; None for any number.
        input_range: the values that are black and white; None for what the type says.
    """

    channels: int | None = None
    input_range: Range | None = None

    def __call__(self, image: Any) -> Image.Image:
        """Return the image, of mode L or RGB or a `BandedImage`.

        Args:
            image: of PIL; or an array (H, W) or (H, W, C); or a tensor (H, W) or (C, H, W).

        Raises:
            TypeError: it is something else.
            ValueError: it has another shape or number of channels, or its range is not known.
        """
        if isinstance(image, Image.Image):
            made = self._from_pil(image)
        else:
            made = image_of(to_eight_bits(as_pixels(image), self.input_range))
        found = len(made.getbands())
        if self.channels not in (None, found):
            raise ValueError(
                f"the image has {found} channels, input_size or mean is for {self.channels}: read "
                "it with input_img_mode='RGB' (3 channels) or 'L' (1), convert it, "
                f"image.convert('RGB'), or give input_size=({found}, height, width), mean and std "
                f"for {found}; arrays are (H, W, C), tensors (C, H, W)"
            )
        return made

    def _from_pil(self, image: Image.Image) -> Image.Image:
        if image.mode in ("P", "PA"):
            image = image.convert("RGBA").convert("RGB")  # to RGB directly, PIL warns of the alpha
        dtype, known = stated_by_file(image)
        if image.mode in _PLAIN and dtype is None and self.input_range is None:
            return image
        values = np.asarray(image) if dtype is None else np.asarray(image).view(dtype)
        return image_of(to_eight_bits(as_pixels(values), self.input_range, known=known))


def stated_by_file(image: Image.Image) -> tuple[type[np.generic] | None, Range | None]:
    """Return what the file of an image says of its numbers and PIL does not hand on.

    Args:
        image: as `PIL.Image.open` gives it.

    Returns:
        The type where it is not that of PIL's array, and the numbers that are black and white.
    """
    if image.mode == "I" and image.format in ("PNG", "PPM"):
        return None, _WORD  # old versions of PIL open 16-bit PNG so; PPM is scaled to 16 bits
    tags = getattr(image, "tag_v2", None) or {}
    bits, form = (tags.get(tag, (default,))[0] for tag, default in ((258, 16), (339, 1)))
    if image.mode == "I" and tags and form == 1 and bits == 32:
        return np.uint32, None
    if image.mode == "L" and form == 2:
        return np.int8, None
    if image.mode.startswith("I;16") and (bits < 16 or tags.get(262) == 0):
        most = float(2**bits - 1)
        return None, (most, 0.0) if tags.get(262) == 0 else (0.0, most)
    return None, None


def image_of(pixels: NDArray[np.uint8]) -> Image.Image:
    """Return the image of (H, W, C) pixels: of PIL for 1 or 3 channels."""
    channels = pixels.shape[-1]
    if channels == 3:
        return Image.fromarray(np.ascontiguousarray(pixels))
    bands = [Image.fromarray(np.ascontiguousarray(pixels[..., c])) for c in range(channels)]
    return bands[0] if channels == 1 else BandedImage(bands)


def as_pixels(image: Any) -> NDArray[Any]:
    """Return an array or tensor as (H, W, C).

    Args:
        image: an array (H, W) or (H, W, C), or a tensor (H, W) or (C, H, W).

    Raises:
        TypeError: it is something else, or a tensor without values in dense memory.
        ValueError: it has another shape.
    """
    if isinstance(image, torch.Tensor):
        image = _array_of(image)
    if not isinstance(image, np.ndarray):
        raise TypeError(
            f"the transform takes images of PIL, arrays (H, W, C) and tensors (C, H, W), and got "
            f"{type(image).__name__}: convert it first, PIL.Image.open(io.BytesIO(data)) for the "
            "bytes of a file"
        )
    if image.ndim not in (2, 3) or 0 in image.shape:
        raise ValueError(
            f"an array of shape {image.shape} is no image: give (H, W) or (H, W, C), or a tensor "
            "(H, W) or (C, H, W)"
        )
    return image if image.ndim == 3 else image[:, :, None]


def require_values(tensor: torch.Tensor) -> None:
    """Check that a tensor has its values in dense memory.

    Raises:
        TypeError: it is sparse, or on the meta device.
    """
    if tensor.is_meta or tensor.layout != torch.strided:
        raise TypeError(
            f"a tensor of layout {tensor.layout} on the device {tensor.device} is no image: give a "
            "dense tensor with values, tensor.to_dense()"
        )


def _array_of(tensor: torch.Tensor) -> NDArray[Any]:
    require_values(tensor)
    tensor = tensor.detach().cpu()
    if tensor.dtype == torch.bfloat16:  # numpy has none
        tensor = tensor.float()
    return (tensor.movedim(0, -1) if tensor.ndim == 3 else tensor).numpy()
