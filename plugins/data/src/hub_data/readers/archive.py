"""Where the files in a tar archive lie, and reading them without the archive's directory.

Members of an uncompressed archive are plain ranges of bytes. They are read with `os.pread`, which
has no position that processes could take from each other, so workers share an open file.
"""

from __future__ import annotations

import logging
import os
import tarfile
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

_logger = logging.getLogger(__name__)


class Member(NamedTuple):
    """A file in an archive: its name, where its bytes begin in the outermost file, how many."""

    name: str
    start: int
    size: int


def list_members(path: str) -> Iterator[Member]:
    """Yield the files in a tar archive; of the contents only archives in it are looked at.

    The files of an archive inside are yielded with its name, less ".tar", before theirs. A link to
    an earlier file is that file by another name; other links cost a line in the log.

    Raises:
        ValueError: it is no tar archive, or compressed. One that breaks off is read up to there,
            with a line in the log.
    """
    with open(path, "rb") as file:
        yield from _members(file, path, "", 0)


def _members(file: BinaryIO, path: str, prefix: str, start: int) -> Iterator[Member]:
    file.seek(start)
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            seen: dict[str, tuple[int, int]] = {}  # what links may lead to
            left_out = []
            for info in archive:
                archive.members = []  # type: ignore[attr-defined]  # else it keeps every one
                if info.isdir():
                    continue
                own = (info.offset_data, info.size) if info.isfile() else None
                place = own or seen.get(_link_target(info))
                if place is None:
                    left_out.append(info.name)
                    continue
                seen[os.path.normpath(info.name)] = place
                stem, suffix = os.path.splitext(info.name)
                if suffix.lower() == ".tar":
                    yield from _inner(path, f"{prefix}{stem}/", place[0])
                else:
                    yield Member(prefix + info.name, *place)
            end = archive.offset
    except tarfile.TarError as error:
        raise ValueError(
            f"{path} cannot be read as an uncompressed tar archive: {error} (of a compressed one "
            "single files cannot be read: unpack it, or tar it anew without compression)"
        ) from error
    if left_out:
        _logger.warning(
            "%s: %d entries are neither files nor links to earlier ones, and left out: %s",
            path,
            len(left_out),
            ", ".join(left_out[:5]),
        )
    file.seek(end)
    if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):  # how every archive ends
        _logger.warning("%s breaks off at byte %d: what followed is missing", path, end)


def _link_target(info: Any) -> str:
    """Return the name that a link in an archive leads to; "" where it is none."""
    if info.issym():
        return os.path.normpath(os.path.join(os.path.dirname(info.name), info.linkname))
    return os.path.normpath(info.linkname) if info.islnk() else ""


def _inner(path: str, prefix: str, start: int) -> Iterator[Member]:
    with open(path, "rb") as file:
        yield from _members(file, path, prefix, start)


class ArchiveFile:
    """An archive to read ranges from; opened on first use, and in each process that unpickles it.

    Args:
        path: the archive.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._fd = -1

    def read(self, start: int, size: int) -> bytes:
        """Return `size` bytes from `start` on.

        Raises:
            OSError: the file is not there, or is shorter.
        """
        if self._fd < 0:
            opened = os.open(self.path, os.O_RDONLY)
            if self._fd < 0:
                self._fd = opened
            else:  # another thread was faster
                os.close(opened)
        data = os.pread(self._fd, size, start)
        while len(data) < size:  # one call may return less than asked for
            more = os.pread(self._fd, size - len(data), start + len(data))
            if not more:
                raise OSError(f"{self.path} ends before byte {start + size}")
            data += more
        return data

    def close(self) -> None:
        """Close the file; reading opens it anew."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __del__(self) -> None:
        self.close()

    def __getstate__(self) -> str:
        return self.path

    def __setstate__(self, path: str) -> None:
        self.path, self._fd = path, -1
