"""Images in tar archives: one, a folder of them, one per class, archives in an archive.

Differences from timm: a folder of archives is found by name too (`tar/`); images are read by their
place in the file, without the archive's directory, safe for workers that share it; the index that
is kept next to large archives is no pickle, and is renewed when an archive has changed.
"""

from __future__ import annotations

import io
import json
import logging
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hub_data.class_map import ClassMap
from hub_data.extensions import choose_images, is_hidden
from hub_data.readers.archive import ArchiveFile, Member, list_members
from hub_data.readers.indexed import IndexedReader, Names, natural_key, number_labels

_logger = logging.getLogger(__name__)

INDEX_FROM = 10 * 1024**3  # bytes of archives from which an index is kept, as in timm


class TarReader(IndexedReader):
    """Images in uncompressed tar archives.

    The class of an image is the last part of the folder that it lies in, where the archives of a
    folder, and archives in an archive, count as folders: `cat.tar` holds the class "cat".

    Args:
        name: archive or folder below `root`; usually empty.
        root: an archive, or a folder of archives.
        split: not used; folders are searched for it by `create_dataset`.
        class_map: class name to index (see `load_class_map`); images of other classes are left
            out. Without one, classes are numbered in natural order.
        input_key: extensions to look for, such as ".png;.npy".
        cache_tarinfo: keep an index in the folder of the archives; None: from 10 GiB on.

    Raises:
        FileNotFoundError: there is no archive.
        ValueError: there is no image in it, or an archive cannot be read.
    """

    thread_safe = True  # reads by position; see `archive`

    def __init__(
        self,
        name: str = "",
        *,
        root: str | Path,
        split: str = "",
        class_map: ClassMap | str | Path | None = None,
        input_key: str | None = None,
        cache_tarinfo: bool | None = None,
    ) -> None:
        self.root = os.path.join(root, name) if name else os.fspath(root)
        paths = _archives(self.root)
        stems = [os.path.splitext(os.path.basename(path))[0] for path in paths]
        is_single = os.path.isfile(self.root)

        def label(archive: int, member: Member) -> str:
            folder = os.path.dirname(member.name)
            return os.path.basename(folder) or ("" if is_single else stems[archive])

        index = _index(self.root, paths, cache_tarinfo)
        visible = (sample for sample in index if not is_hidden(sample[1].name))
        found, self.left_out = choose_images(visible, _name, self.root, input_key)
        labels = (label(*sample) for sample in found)
        self.class_to_idx, indices, self.unlisted = number_labels(labels, class_map, self.root)
        found = [sample for sample in found if label(*sample) in indices]
        found.sort(key=lambda s: (natural_key(s[1].name), s[1].name, s[0]))
        self.files = [ArchiveFile(path) for path in paths]
        self.targets = np.array([indices[label(*sample)] for sample in found])
        self.names = Names([member.name for _, member in found])
        self._places = np.array([(a, m.start, m.size) for a, m in found], np.int64)  # (N, 3)

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[io.BytesIO, int]:
        """Return (file, class index)."""
        archive, start, size = self._places[index].tolist()
        return io.BytesIO(self.files[archive].read(start, size)), int(self.targets[index])

    def path(self, index: int) -> str:
        """Return the archive and the name of an image in it."""
        return os.path.join(self.files[int(self._places[index][0])].path, self.names[index])

    def root_of(self, index: int) -> str:
        """Return the archive of an image."""
        return self.files[int(self._places[index][0])].path

    def iter_targets(self) -> Iterator[Any]:
        """Yield the class indices; no archive is read."""
        yield from self.targets.tolist()


def _name(sample: tuple[int, Member]) -> str:
    return sample[1].name


def _archives(root: str) -> list[str]:
    if os.path.isfile(root):
        return [root]
    if not os.path.isdir(root):
        raise FileNotFoundError(f"there is no archive {root!r}")
    names = [n for n in os.listdir(root) if n.lower().endswith(".tar") and not n.startswith(".")]
    if not names:
        raise FileNotFoundError(f"there is no .tar archive in {root!r}")
    return [os.path.join(root, name) for name in sorted(names, key=lambda n: (natural_key(n), n))]


def _index(root: str, paths: list[str], keep: bool | None) -> Iterator[tuple[int, Member]]:
    """Yield (number of the archive, member), from a kept index if there is one that fits."""
    stats = [(os.path.basename(p), os.stat(p).st_size, os.stat(p).st_mtime_ns) for p in paths]
    stamp = json.dumps(stats)
    if keep is None:
        keep = sum(size for _, size, _ in stats) > INDEX_FROM
    folder, name = os.path.split(root.rstrip(os.sep))
    path = os.path.join(folder if os.path.isfile(root) else root, f".{name}.hub-index.npz")
    if keep and (kept := _kept_index(path, stamp)):
        return iter(kept)
    found = [(i, member) for i, path in enumerate(paths) for member in list_members(path)]
    if keep:
        _keep_index(path, stamp, found)
    return iter(found)


def _kept_index(path: str, stamp: str) -> list[tuple[int, Member]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            if str(file["stamp"]) != stamp:
                return []
            names = bytes(file["names"]).decode("utf-8", "surrogateescape").split("\0")
            places = file["places"].tolist()
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return []
    return [(a, Member(n, s, z)) for n, (a, s, z) in zip(names, places, strict=True)]


def _keep_index(path: str, stamp: str, found: list[tuple[int, Member]]) -> None:
    names = "\0".join(member.name for _, member in found).encode("utf-8", "surrogateescape")
    places = np.array([(a, m.start, m.size) for a, m in found], np.int64).reshape(-1, 3)
    partial = f"{path}.{os.getpid()}"  # ranks may write at once: each its own, then put in place
    try:
        with open(partial, "wb") as file:
            np.savez(file, stamp=stamp, names=np.frombuffer(names, np.uint8), places=places)
        os.replace(partial, path)
    except OSError as error:
        _logger.warning("the index of the archives cannot be kept: %s", error)
