"""Which file names are taken for images when folders and archives are searched.

Differences from timm: more formats are known from the start than .png, .jpg and .jpeg; an
extension is compared in small letters, however it is written here or on disk.
"""

from __future__ import annotations

from collections.abc import Iterable

IMAGE_EXTENSIONS = (
    ".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"
)  # fmt: skip
_current: tuple[str, ...] = IMAGE_EXTENSIONS


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
