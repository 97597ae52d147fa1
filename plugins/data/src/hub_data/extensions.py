"""Which file names are taken for images when folders and archives are searched.

Differences from timm: more formats are known from the start than .png, .jpg and .jpeg; an
extension is compared in small letters, however it is written here or on disk.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from importlib.util import find_spec
from typing import TypeVar

_logger = logging.getLogger(__name__)

File = TypeVar("File")
_HEIF = (".heic", ".heif", ".hif")
IMAGE_EXTENSIONS = (
    ".avif", ".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pgm", ".png", ".pnm", ".ppm",
    ".tif", ".tiff", ".webp", *(_HEIF if find_spec("pillow_heif") else ()),
)  # fmt: skip
_current: tuple[str, ...] = IMAGE_EXTENSIONS
#: Those of files that are pictures too, but are read only where they are asked for.
_OTHER_IMAGES = frozenset(
    """.apng .arw .avifs .cr2 .cr3 .dcm .dds .dib .dng .emf .exr .hdr .icns .ico .j2c .j2k .jp2 .jpc
    .jpf .jpx .jxl .jxr .mpo .nef .npy .orf .pam .pbm .pcx .pef .pfm .psd .qoi .raf .ras .raw .rw2
    .sgi .srw .svg .tga .wmf .xbm .xpm""".split()
).union(_HEIF)


def extension_of(path: str) -> str:
    """Return the extension of a file in small letters; its name where it has none."""
    name = os.path.basename(path)
    return os.path.splitext(name)[1].lower() or name


def is_hidden(path: str) -> bool:
    """Return whether a file below a data set is no sample: it, or a folder of it, is hidden."""
    return any(part.startswith(".") and part != "." for part in path.split("/"))


def choose_images(
    files: Iterable[File], name: Callable[[File], str], place: str, input_key: str | None = None
) -> tuple[list[File], dict[str, int]]:
    """Return the files that are taken for images, and how many are not, by extension.

    Files that are left out and look like images cost a line in the log, unless `input_key` chose.

    Args:
        files: those that are not hidden.
        name: file to its name.
        place: what they are in, for messages.
        input_key: extensions to take, such as ".png;.npy"; None for `get_img_extensions()`.

    Raises:
        ValueError: none is taken.
    """
    extensions = set(input_key.lower().split(";")) if input_key else set(_current)
    found, left_out = [], Counter[str]()
    for file in files:
        extension = extension_of(name(file))
        if extension in extensions:
            found.append(file)
        else:
            left_out[extension] += 1
    others = _other_images(left_out)
    if not found:
        remedy = others or "add_img_extensions or input_key='.ext' name others"
        sought = " ".join(sorted(extensions))
        raise ValueError(f"no image in {place!r} or below: looked for {sought}; {remedy}")
    if others and not input_key:
        _logger.warning("%s: %s", place, others)
    return found, dict(left_out.most_common())


def _other_images(left_out: Mapping[str, int]) -> str:
    """Return which files that are left out look like images, and what to do; or nothing."""
    counts = {ext: n for ext, n in sorted(left_out.items()) if ext in _OTHER_IMAGES}
    remedy = "add_img_extensions or input_key='.ext' reads them, where PIL can"
    if not find_spec("pillow_heif") and not counts.keys().isdisjoint(_HEIF):
        remedy = f"pip install pillow-heif for .heic; {remedy}"
    found = ", ".join(f"{ext} {n}" for ext, n in counts.items())
    return f"files that look like images are left out: {found} ({remedy})" if counts else ""


def is_img_extension(ext: str) -> bool:
    """Return whether files with this extension (".png") are taken for images."""
    return ext.lower() in _current


def get_img_extensions(as_set: bool = False) -> tuple[str, ...] | set[str]:
    """Return the extensions that are taken for images."""
    return set(_current) if as_set else _current


def set_img_extensions(extensions: Iterable[str]) -> None:
    """Take files with these extensions for images, and no others.

    Raises:
        ValueError: there is none, or one is not of the form ".png".
    """
    global _current
    _current = _checked(extensions)


def add_img_extensions(ext: str | Iterable[str]) -> None:
    """Take files with these extensions, too, for images: `add_img_extensions(".npy")`."""
    set_img_extensions((*_current, *_checked(ext)))


def del_img_extensions(ext: str | Iterable[str]) -> None:
    """Take files with these extensions for images no longer."""
    dropped = _checked(ext)
    set_img_extensions(known for known in _current if known not in dropped)


def _checked(extensions: str | Iterable[str]) -> tuple[str, ...]:
    given = (extensions,) if isinstance(extensions, str) else tuple(extensions)
    for ext in given:
        if not isinstance(ext, str) or len(ext) < 2 or not ext.startswith("."):
            raise ValueError(f"{ext!r} is no extension: write a point and a name, such as '.png'")
    if not given:
        raise ValueError("at least one extension has to remain, such as '.png'")
    return tuple(dict.fromkeys(ext.lower() for ext in given))
