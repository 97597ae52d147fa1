"""Finding image files and opening them the way a network needs them."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from hub_data.decode import decode_image
from hub_data.extensions import IMAGE_EXTENSIONS
from hub_data.pixel_range import Range
from hub_data.readers.folder import images_of_folder
from hub_data.readers.indexed import natural_key

__all__ = ["IMAGE_EXTENSIONS", "Found", "find_images", "load_image"]

_MODES = {1: "L", 3: "RGB"}


@dataclass(frozen=True)
class Found:
    """A file to read, or a request that led to none.

    Args:
        path: the file, or the request.
        problem: why there is no file; empty where there is one.
    """

    path: str
    problem: str = ""


def find_images(requests: Iterable[str | Path]) -> Iterator[Found]:
    """Yield the files that `requests` stand for, in their order.

    A file is taken whatever its name. A folder stands for the images that training would find in
    it: all files in it and below that have one of `get_img_extensions()`, in natural order (2
    before 10), without what is hidden. What does not exist is tried as a pattern (`*`, `?`,
    `[...]`, `**`).
    """
    for request in map(str, requests):
        paths = [request]
        if not os.path.exists(request):
            paths = sorted(glob.glob(request, recursive=True), key=natural_key)
        if not paths:
            is_pattern = glob.has_magic(request)
            yield Found(request, "nothing matches" if is_pattern else "no such file or folder")
        for path in paths:
            yield from _files(path)


def load_image(
    path: str | Path, in_chans: int = 3, *, input_range: Range | None = None
) -> Image.Image:
    """Read an image file, upright, in the mode of a network with `in_chans` input channels.

    The orientation that a camera noted (EXIF) is applied, so the network sees what viewers show.
    Alpha is dropped, of an animation the first frame is taken.

    Args:
        path: the file.
        in_chans: 1 or 3.
        input_range: the numbers that are black and white, where their type does not say it; see
            `decode_image`.

    Returns:
        An image of mode L for one channel, RGB for three.

    Raises:
        ValueError: `in_chans` is neither 1 nor 3.
        OSError: the file cannot be read or decoded; PIL raises other errors for some damages.
    """
    if in_chans not in _MODES:
        raise ValueError(f"image files are read with 1 or 3 channels, not {in_chans}")
    image = decode_image(path, _MODES[in_chans], upright=True, input_range=input_range)
    assert isinstance(image, Image.Image)
    return image


def _files(path: str) -> Iterator[Found]:
    if not os.path.isdir(path):
        yield Found(path)
        return
    try:
        yield from map(Found, images_of_folder(path))
    except ValueError as error:
        yield Found(path, str(error))
