"""Images in folders, one folder per class: `root/class/.../image.jpg`.

Differences from timm: hidden files and folders (`._x.jpg`, `.ipynb_checkpoints`) are no samples and
no classes; links that lead back to a folder above are not followed for ever; names that differ in
case only have one order on all machines; a sample's image is its path, not an open file.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from hub import did_you_mean

from hub_data.class_map import ClassMap
from hub_data.extensions import choose_images, is_hidden
from hub_data.readers.indexed import (
    IndexedReader,
    Samples,
    natural_key,
    number_labels,
)

SPLITS = (("train", "training"), ("val", "valid", "validation", "eval", "evaluation"))
ALL_SPLITS = (*SPLITS[0], *SPLITS[1], "test", "testing")


class FolderReader(IndexedReader):
    """Images below a folder; the folder that an image lies in is its class.

    Args:
        name: not used; `create_dataset("", root)` gives an empty one.
        root: the folder.
        split: not used here, see `search_split`.
        class_map: class name to index (see `load_class_map`); images of other classes are left
            out. Without one, classes are numbered in natural order.
        input_key: extensions to look for, such as ".png;.npy"; None for `get_img_extensions()`.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: there is no image in it, or none of the classes of the class map.
    """

    thread_safe = True  # a sample is a path: threads may read any of them at once

    def __init__(
        self,
        name: str = "",
        *,
        root: str | Path,
        split: str = "",
        class_map: ClassMap | str | Path | None = None,
        input_key: str | None = None,
    ) -> None:
        self.root = os.fspath(root)
        if not os.path.isdir(self.root):
            raise FileNotFoundError(f"there is no folder {self.root!r}")
        files, self.left_out = choose_images(_files(self.root), _name, self.root, input_key)
        found = _sorted_by_name(files)
        labels = [os.path.basename(folder) for folder, _ in found]
        self.class_to_idx, indices, self.unlisted = number_labels(labels, class_map, self.root)
        kept = [
            (f"{folder}{os.sep}{name}" if folder else name, indices[label])
            for (folder, name), label in zip(found, labels, strict=True)
            if label in indices
        ]
        self.samples = Samples(self.root, [path for path, _ in kept], (i for _, i in kept))

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[str, int]:
        """Return (path, class index)."""
        return self.samples[index]

    def path(self, index: int) -> str:
        """Return the path of an image."""
        return self.samples[index][0]

    def root_of(self, index: int) -> str:
        """Return the folder of the data set."""
        return self.root

    def iter_targets(self) -> Iterator[Any]:
        """Yield the class indices; no file is opened."""
        yield from self.samples.targets.tolist()


def search_split(root: str | Path, split: str) -> str:
    """Return the folder below `root` that holds a split, or `root` if it has no such folders.

    "train" also finds training; each of val, valid, validation, eval and evaluation finds the
    others.

    Raises:
        ValueError: the split is a slice, which folders do not have.
        FileNotFoundError: the folder holds other splits and nothing else.
    """
    if "[" in split:
        raise ValueError(f"split={split!r}: slices are for hfds/ and tfds/; folders have none")
    names = next((names for names in SPLITS if split in names), ())
    for name in dict.fromkeys((split, *names)):
        if name and os.path.exists(path := os.path.join(root, name)):
            return path
    there = sorted(entry.name for entry in os.scandir(root) if _is_visible_folder(entry))
    if split and there and set(ALL_SPLITS).issuperset(there):
        raise FileNotFoundError(
            f"{os.fspath(root)!r} holds {', '.join(there)} and no split {split!r}"
            f"{did_you_mean(split, there)} search_split=False reads it as one data set"
        )
    return os.fspath(root)


def _is_visible_folder(entry: os.DirEntry[str]) -> bool:
    return not is_hidden(entry.name) and entry.is_dir()


def _sorted_by_name(found: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return (folder, name) pairs in the natural order of their paths."""
    keys: dict[str, str] = {"": ""}

    def key(image: tuple[str, str]) -> tuple[str, str, str]:
        folder, name = image
        if folder not in keys:
            keys[folder] = natural_key(folder) + os.sep
        return keys[folder] + natural_key(name), folder, name

    return sorted(found, key=key)


def images_of_folder(folder: str) -> list[str]:
    """Return the paths of the images in a folder that training would find, in its order.

    Raises:
        ValueError: there is none.
    """
    found, _ = choose_images(_files(folder), _name, folder)
    return [os.path.join(folder, *image) for image in _sorted_by_name(found)]


def _name(file: tuple[str, str]) -> str:
    return file[1]


def _files(root: str) -> Iterator[tuple[str, str]]:
    """Yield (folder below `root`, name) of the files that are not hidden."""
    waiting: list[tuple[str, tuple[str, ...]]] = [("", ())]
    while waiting:
        folder, crossed = waiting.pop()
        with os.scandir(os.path.join(root, folder)) as entries:
            for entry in entries:
                if is_hidden(entry.name):
                    continue
                if not entry.is_dir():
                    if entry.is_file() or entry.is_symlink():  # one that leads nowhere is damage
                        yield folder, entry.name
                    continue
                way = crossed
                if entry.is_symlink():
                    way = (*crossed, os.path.realpath(os.path.join(root, folder)))
                    if _leads_back(os.path.realpath(entry.path), way):
                        continue
                waiting.append((os.path.join(folder, entry.name), way))


def _leads_back(target: str, way: tuple[str, ...]) -> bool:
    """Return whether a link leads to a folder that contains one of those it was reached by."""
    return any(f"{folder}{os.sep}".startswith(f"{target}{os.sep}") for folder in way)
