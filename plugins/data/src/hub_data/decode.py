"""Image files into images: the usual ones exactly as PIL reads them, the unusual ones right.

For 8-bit JPEG, PNG and WebP files `decode_image(file)` is `Image.open(file).convert("RGB")`, bit
for bit: what published accuracies were measured with. PIL alone makes 16-bit and float images
white (values above 255 are cut off), and knows neither `.npy` nor images of many channels.
"""

from __future__ import annotations

import io
import os
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

Source = str | Path | bytes | BinaryIO | Image.Image | NDArray[np.generic]
_NPY = b"\x93NUMPY"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_SAMPLES_PER_PIXEL = 277  # tag of TIFF
if find_spec("pillow_heif"):
    import_module("pillow_heif").register_heif_opener()  # PIL then opens .heic
_ARRAY_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


def decode_image(
    source: Source, mode: str | None = "RGB", *, upright: bool = False
) -> Image.Image | NDArray[np.generic]:
    """Return an image as a network is to see it.

    * Alpha is dropped, palettes are resolved; CMYK goes to RGB by PIL's formula, without profile.
    * Values of 16 and 32 bits are scaled, 65535 to 255. Of float images those within 0 to 1 are
      scaled by 255; others are taken to have values up to 255.
    * Arrays are (H, W) or (H, W, C); 1 to 4 channels are grey, grey with alpha, RGB, RGBA.
    * Of an animation or a file of several pages, the first is taken.

    Args:
        source: a path, the content of a file, a binary file, an image, or an array.
        mode: PIL's name for the channels of the result: "RGB", "L", ...; "" or None for those of
            the file, then an image of more than 4 channels is returned as an array (H, W, C).
        upright: turn the image as the EXIF entry of a camera says. Off for data sets, because
            published accuracies were measured so.

    Raises:
        OSError: the file cannot be read; PIL raises other errors for some damages.
        ValueError: the image has a number of channels that cannot become `mode`.
    """
    if isinstance(source, np.ndarray):
        image = _from_array(source)
    elif isinstance(source, Image.Image):
        image = source
    else:
        image = _read(source, whole=not mode)
    if isinstance(image, np.ndarray):
        if mode:
            raise ValueError(
                f"an image of {image.shape[-1]} channels cannot become {mode}: "
                "input_img_mode='' keeps all channels"
            )
        return image
    return _convert(image, mode, upright)


def _read(source: str | Path | bytes | BinaryIO, whole: bool) -> Image.Image | NDArray[np.generic]:
    """Return the image in a file; `whole`: with all channels, where PIL would leave some out."""
    if isinstance(source, str | os.PathLike):
        with open(source, "rb") as file:
            return _read(file, whole)
    if isinstance(source, bytes):
        source = io.BytesIO(source)
    try:
        image = Image.open(source)
    except UnidentifiedImageError as error:
        return _read_without_pil(source, error)
    if whole and image.format == "TIFF":
        tags = getattr(image, "tag_v2", {})
        if tags.get(_SAMPLES_PER_PIXEL, 1) > len(image.getbands()):
            return _read_without_pil(source, OSError("a TIFF file of unusual channels"))
    image.load()
    return image


def _convert(image: Image.Image, mode: str | None, upright: bool) -> Image.Image:
    if upright:
        image = ImageOps.exif_transpose(image)
    if not mode or image.mode == mode:
        return image
    if image.mode.startswith("I") or image.mode == "F":
        image = _to_eight_bits(np.asarray(image))
    elif image.mode == "P" and isinstance(image.info.get("transparency"), bytes):
        image = image.convert("RGBA")  # to RGB directly, PIL warns of the alpha that it drops
    return image.convert(mode)


def _to_eight_bits(values: NDArray[np.generic]) -> Image.Image:
    wide = values.astype(np.float64)
    if values.dtype.kind == "f":
        scale = 255.0 if np.nanmax(wide, initial=0.0) <= 1.0 else 1.0
    else:
        scale = 1 / 257
    scaled = np.nan_to_num(wide) * scale
    return Image.fromarray(scaled.round().clip(0, 255).astype(np.uint8))


def _from_array(array: NDArray[np.generic]) -> Image.Image | NDArray[np.generic]:
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or 0 in array.shape:
        raise ValueError(f"an array of shape {array.shape} is no image: give (H, W) or (H, W, C)")
    if array.shape[-1] not in _ARRAY_MODES:
        return array
    if array.dtype == bool:
        array = array.astype(np.uint8) * 255
    if array.dtype != np.uint8:
        planes = [np.asarray(_to_eight_bits(array[..., c])) for c in range(array.shape[-1])]
        array = np.stack(planes, -1)
    pixels = np.ascontiguousarray(array)
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def _read_without_pil(source: BinaryIO, error: OSError) -> Image.Image | NDArray[np.generic]:
    """Read what PIL does not know: arrays of numpy, and TIFF files of unusual channels."""
    source.seek(0)
    start = source.read(6)
    source.seek(0)
    if start == _NPY:
        return _from_array(np.load(source, allow_pickle=False))
    if start.startswith(_TIFF):
        return _from_array(_read_tiff(source))
    what = "of a format that PIL does not know, or no image" if start else "empty"
    raise UnidentifiedImageError(f"the file is {what}") from error


def _read_tiff(source: BinaryIO) -> NDArray[np.generic]:
    try:
        import tifffile
    except ImportError as error:
        raise ImportError(
            "a TIFF file of unusual channels needs tifffile: pip install tifffile"
        ) from error
    with tifffile.TiffFile(source) as file:
        series = file.series[0]
        array: NDArray[np.generic] = series.asarray()
        planes_first = array.ndim == 3 and series.axes.endswith("YX")
    return np.moveaxis(array, 0, -1) if planes_first else array
