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

from hub_data.pixel_range import PixelRangeError, Range, as_range, assumed, to_eight_bits
from hub_data.to_image import as_pixels, stated_by_file

Source = str | Path | bytes | BinaryIO | Image.Image | NDArray[np.generic]
_NPY, _ZIP = b"\x93NUMPY", b"PK\3\4"
_GIT_LFS = b"version https://git-lfs.github.com/spec/"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_SAMPLES_PER_PIXEL = 277  # tag of TIFF
if find_spec("pillow_heif"):
    import_module("pillow_heif").register_heif_opener()  # PIL then opens .heic
_ARRAY_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


def decode_image(
    source: Source,
    mode: str | None = "RGB",
    *,
    upright: bool = False,
    input_range: Range | None = None,
) -> Image.Image | NDArray[np.generic]:
    """Return an image as a network is to see it.

    * Alpha is dropped, palettes are resolved; CMYK goes to RGB by PIL's formula, without profile.
    * Numbers of other types become 8 bits: uint16 from 0 (black) to 65535 (white), floats from 0
      to 1; a file that states less bits is taken at its word. Other types need `input_range`.
    * Arrays are (H, W) or (H, W, C); 1 to 4 channels are grey, grey with alpha, RGB, RGBA.
    * Of an animation or a file of several pages, the first is taken.

    Args:
        source: a path, the content of a file, a binary file, an image, or an array.
        mode: PIL's name for the channels of the result: "RGB", "L", ...; "" or None for those of
            the file, then an image of more than 4 channels is returned as an array (H, W, C).
        upright: turn the image as the EXIF entry of a camera says. Off for data sets, because
            published accuracies were measured so.
        input_range: the numbers that are black and white; what lies outside is cut off.

    Raises:
        OSError: the file cannot be read; PIL raises other errors for some damages.
        PixelRangeError: the numbers do not say, or contradict, which is black and which is white.
        ValueError: the image has a number of channels that cannot become `mode`.
    """
    input_range = as_range(input_range)
    if isinstance(source, np.ndarray | Image.Image):
        image = source
    else:
        image = _read(source, whole=not mode, deep=input_range is not None)
    if isinstance(image, np.ndarray):
        return _from_array(as_pixels(image), mode, input_range)
    return _from_image(image, mode, upright, input_range)


def _read(
    source: str | Path | bytes | BinaryIO, *, whole: bool, deep: bool
) -> Image.Image | NDArray[np.generic]:
    """Return the image in a file.

    Args:
        source: the file.
        whole: with all channels, where PIL would leave some out.
        deep: with all bits, where PIL would leave some out.
    """
    if isinstance(source, str | os.PathLike):
        with open(source, "rb") as file:
            return _read(file, whole=whole, deep=deep)
    if isinstance(source, bytes):
        source = io.BytesIO(source)
    try:
        image = Image.open(source)
    except UnidentifiedImageError as error:
        return _read_without_pil(source, error)
    bands = len(image.getbands())
    shallow = bands > 1 and ";16" in str(image.tile)  # PIL keeps the upper 8 of 16 bits
    if image.format == "TIFF":
        tags = getattr(image, "tag_v2", {})
        if (deep and shallow) or (whole and tags.get(_SAMPLES_PER_PIXEL, 1) > bands):
            return _read_without_pil(source, OSError("a TIFF file of unusual channels"))
    if shallow and deep:
        raise PixelRangeError(
            f"a {image.format} file of 16-bit colours, of which PIL keeps the upper 8 bits: "
            "input_range needs all; save the image as TIFF (pip install tifffile) or .npy"
        )
    if shallow:
        assumed("uint16", 65535.0)
    image.load()
    return image


def _from_image(
    image: Image.Image, mode: str | None, upright: bool, input_range: Range | None
) -> Image.Image | NDArray[np.generic]:
    dtype, known = stated_by_file(image)
    if upright:
        image = ImageOps.exif_transpose(image)
    if not mode and input_range is None:
        return image if dtype is None else np.asarray(image).view(dtype)[:, :, None]
    if dtype is not None or image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image) if dtype is None else np.asarray(image).view(dtype)
        image = Image.fromarray(to_eight_bits(values, input_range, known=known))
        input_range = None
    elif image.mode == "P" and isinstance(image.info.get("transparency"), bytes):
        image = image.convert("RGBA")  # to RGB directly, PIL warns of the alpha that it drops
    if mode and image.mode != mode:
        image = image.convert(mode)
    if input_range is None:
        return image
    if image.mode not in _ARRAY_MODES.values():
        image = image.convert("RGB")
    return Image.fromarray(to_eight_bits(np.asarray(image), input_range))


def _from_array(
    pixels: NDArray[np.generic], mode: str | None, input_range: Range | None
) -> Image.Image | NDArray[np.generic]:
    channels = pixels.shape[-1]
    if not mode and input_range is None and pixels.dtype != np.uint8:
        return pixels
    if channels not in _ARRAY_MODES:
        if mode:
            raise ValueError(
                f"an image of {channels} channels cannot become {mode}: "
                "input_img_mode='' keeps all channels"
            )
        return to_eight_bits(pixels, input_range)
    eight = np.ascontiguousarray(to_eight_bits(pixels, input_range))
    image = Image.fromarray(eight[..., 0] if channels == 1 else eight)
    return image.convert(mode) if mode and image.mode != mode else image


def _read_without_pil(source: BinaryIO, error: OSError) -> Image.Image | NDArray[np.generic]:
    """Read what PIL does not know: arrays of numpy, and TIFF files of unusual channels."""
    source.seek(0)
    start = source.read(len(_GIT_LFS))
    source.seek(0)
    if start.startswith(_NPY):
        array: NDArray[np.generic] = np.load(source, allow_pickle=False)
        return array
    if start.startswith(_ZIP):
        with np.load(source, allow_pickle=False) as arrays:
            if len(arrays.files) != 1:
                raise ValueError(
                    f"the file holds the arrays {', '.join(arrays.files) or 'none'}: an image is a "
                    ".npz file of one array"
                )
            (array,) = arrays.values()
            return array
    if start.startswith(_TIFF):
        return _read_tiff(source)
    what = "of a format that PIL does not know, or no image" if start else "empty"
    if start == _GIT_LFS:
        what = "a pointer of Git LFS, not the image: git lfs pull fetches it"
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
