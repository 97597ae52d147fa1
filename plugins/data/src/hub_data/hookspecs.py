"""The hooks of hub-data: how other plugins add readers, the places that samples come from.

Implement them with `@hub.hookimpl(optionalhook=True)`: a plugin that has more to offer than a
reader then works without hub-data too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from hub import hookspec


@runtime_checkable
class Reader(Protocol):
    """A data set with random access. `ImageDataset` is built on one.

    The constructor is called as `Reader(name, root=..., split=..., **options)`; `options` holds
    those keywords of `create_dataset` that the constructor takes.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        """Return (image, target) of a sample, and after them the additional features asked for.

        Raise any error for one that cannot be read, has no image or no label: `on_error` decides.

        image: a path, a binary file, bytes, a `PIL.Image` or an array (H, W, C).
        target: class index, list of class indices, vector, or None where there is no label.
        """

    def filename(self, index: int, basename: bool = False, absolute: bool = False) -> str:
        """Return the name of a sample: its path below the root, its last part, or in full."""


@runtime_checkable
class Stream(Protocol):
    """A data set that is read from its beginning. `IterableImageDataset` is built on one.

    Constructed as a `Reader` is. Iterating yields what this process and loader worker is to see
    of one epoch. A sample that cannot be read has its error in place of the image.
    """

    def __iter__(self) -> Iterator[tuple[Any, ...]]: ...

    def __len__(self) -> int:
        """Return the number of samples in an epoch of this process, all workers together."""

    def set_epoch(self, count: int) -> None:
        """Say which epoch comes next; the order of samples depends on it."""

    def set_loader_cfg(self, num_workers: int | None = None) -> None:
        """Say how many workers the loader will have, before they start."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReaderInfo:
    """One kind of reader, by the scheme that names it; nothing is imported until it is used.

    Args:
        scheme: what stands before "/" or ":" in `create_dataset("scheme/name")`, in small letters.
        reader: "package.module:Class", a `Reader` or, with `streams`, a `Stream`.
        description: one line.
        streams: samples are read in order; there is no access by index.
        requires: what it needs beyond the dependencies of its plugin: (module, distribution that
            brings it) pairs, such as (("datasets", "datasets"),).
    """

    scheme: str
    reader: str
    description: str = ""
    streams: bool = False
    requires: tuple[tuple[str, str], ...] = ()


@hookspec
def hub_readers() -> Iterable[ReaderInfo]:  # type: ignore[empty-body]
    """Return the readers that this plugin adds."""
