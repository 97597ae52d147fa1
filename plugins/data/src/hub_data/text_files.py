"""Opening text that others wrote: in the encoding that its first bytes say, UTF-8 where none."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

_MARKS = (  # UTF-32 before UTF-16, whose mark begins with the same bytes
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SEEN = 20  # bytes before a wrong one that a message shows, to find it by


@contextmanager
def open_text(path: str | Path) -> Iterator[TextIO]:
    """Open a text file for reading; line ends stay as they are.

    Raises:
        OSError: it cannot be read.
        ValueError: while it is read: it is no text, or in an encoding that it does not say.
    """
    with open(path, "rb") as raw:
        start = raw.read(64)
    encoding = next((name for mark, name in _MARKS if start.startswith(mark)), "utf-8-sig")
    if encoding == "utf-8-sig" and b"\0" in start:
        raise ValueError(
            f"{path} is no text file, or UTF-16 without the mark that says so: save it as UTF-8"
        )
    try:
        with open(path, encoding=encoding, newline="") as file:
            yield file
    except UnicodeError as error:
        near = ""
        if isinstance(error, UnicodeDecodeError):
            seen = error.object[max(0, error.start - _SEEN) : error.start + 1]
            near = f" (after {seen.decode('latin-1')!r})"
        raise ValueError(
            f"{path} is not {encoding.removesuffix('-sig').upper()}{near}: save it as UTF-8, or "
            f"convert it, if it is Latin-1: iconv -f latin1 -t utf-8 {path}"
        ) from error


def read_text(path: str | Path) -> str:
    """Return the content of a text file, see `open_text`."""
    with open_text(path) as file:
        return file.read()
