"""What readers with random access share: names of samples, natural order, compact tables."""

from __future__ import annotations

import logging
import os
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np

from hub_data.class_map import ClassMap, class_name, find_class, given_class_map

_logger = logging.getLogger(__name__)

_DIGITS = re.compile(r"0*(\d+)", re.ASCII)


def natural_key(name: str) -> str:
    """Return a key that sorts numbers by value (2 before 10) and ignores case.

    A number becomes a character that sorts before all text, its number of digits, the digits: one
    string, which sorts several times faster than a list of parts, in the same order.
    """
    return _DIGITS.sub(_number_key, name.lower())


def _number_key(match: re.Match[str]) -> str:
    digits = match[1]
    return f"\0{chr(len(digits))}{digits}"


def class_index(labels: Iterable[str]) -> dict[str, int]:
    """Return class name to index, in natural order."""
    return {name: i for i, name in enumerate(sorted(set(map(class_name, labels)), key=_class_key))}


class NumberedLabels(NamedTuple):
    """Classes, the index of each label, and how many samples have which label without one."""

    class_to_idx: dict[Any, int]
    indices: dict[str, int]
    unlisted: dict[str, int]


def number_labels(
    labels: Iterable[str], class_map: ClassMap | str | Path | None, place: str
) -> NumberedLabels:
    """Return the indices of the labels of samples, by the class map or in natural order.

    Args:
        labels: of each sample.
        class_map: see `load_class_map`.
        place: what the samples are in: where the file of a class map is looked for too.

    Raises:
        ValueError: no label is of the class map.
    """
    counts = Counter(labels)
    known = given_class_map(class_map, place)
    classes = class_index(counts) if known is None else known
    found = {label: find_class(label, classes) for label in counts}
    indices = {label: index for label, index in found.items() if index is not None}
    if not indices:
        raise ValueError(
            f"no image in {place!r} is of a class of the class map: it has {_some(classes)}; the "
            f"folders are {_some(counts)}"
        )
    unlisted = {label: counts[label] for label in counts if label not in indices}
    report_unlisted(place, unlisted)
    return NumberedLabels(classes, indices, unlisted)


def report_unlisted(place: str, unlisted: Mapping[Any, int]) -> None:
    """Log how many samples of which classes a class map leaves out, if it does."""
    if unlisted:
        counts = sorted(unlisted.items(), key=lambda item: -item[1])
        names = ", ".join(f"{name!r} {count}" for name, count in counts[:5])
        more = f" and {len(counts) - 5} more classes" if len(counts) > 5 else ""
        _logger.warning(
            "%s: %d images of classes that the class map lacks are left out: %s%s",
            place,
            sum(unlisted.values()),
            names,
            more,
        )


def _some(names: Iterable[object]) -> str:
    return ", ".join(map(repr, sorted(set(map(str, names)))[:5]))


def _class_key(name: str) -> tuple[str, str]:
    return natural_key(name), name  # names that differ in case only: the same order everywhere


class Names(Sequence[str]):
    """Many strings in one block of memory.

    A list of a million strings is a million objects: a worker process that only reads them writes
    their reference counts, and so copies, page by page, what it should share.
    """

    def __init__(self, names: Iterable[str]) -> None:
        encoded = [os.fsencode(name) for name in names]
        self._text = b"".join(encoded)
        self._ends = np.fromiter(accumulate(map(len, encoded)), np.int64, len(encoded))

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        """Return the string at `index`, counted from the end where negative."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        end = int(self._ends[index])
        index = index % len(self)
        start = int(self._ends[index - 1]) if index else 0
        return os.fsdecode(self._text[start:end])


class Samples(Sequence[tuple[str, int]]):
    """(path, class index) of every file below a folder, held compactly.

    Args:
        root: the folder.
        names: paths below it.
        targets: class index of each.
    """

    def __init__(self, root: str, names: Sequence[str], targets: Iterable[int]) -> None:
        self.root = root
        self.names = Names(names)
        self.targets = np.fromiter(targets, np.int64, len(names))

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, index: int) -> tuple[str, int]: ...
    @overload
    def __getitem__(self, index: slice) -> list[tuple[str, int]]: ...
    def __getitem__(self, index: int | slice) -> tuple[str, int] | list[tuple[str, int]]:
        """Return (path, class index)."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return os.path.join(self.root, self.names[index]), int(self.targets[index])


class IndexedReader(ABC):
    """Base of readers with random access: a subclass states length, samples and names.

    Attributes:
        class_to_idx: class name to index; empty where the source has no names.
    """

    class_to_idx: dict[Any, int]

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of samples."""

    @abstractmethod
    def __getitem__(self, index: int) -> tuple[Any, ...]:
        """Return (image, target), see `hub_data.hookspecs.Reader`."""

    @abstractmethod
    def path(self, index: int) -> str:
        """Return the name of a sample in full."""

    def root_of(self, index: int) -> str:
        """Return what `filename` leaves out of the name of a sample; empty for nothing."""
        return ""

    def filename(self, index: int, basename: bool = False, absolute: bool = False) -> str:
        """Return the name of a sample: below the root, its last part, or in full."""
        path = self.path(index)
        if basename:
            return os.path.basename(path)
        root = self.root_of(index)
        return os.path.relpath(path, root) if root and not absolute else path

    def filenames(self, basename: bool = False, absolute: bool = False) -> list[str]:
        """Return the names of all samples, in their order."""
        return [self.filename(i, basename, absolute) for i in range(len(self))]

    def iter_targets(self) -> Iterator[Any]:
        """Yield the targets in order; cheaper than the samples where the reader can."""
        for index in range(len(self)):
            yield self[index][1]
