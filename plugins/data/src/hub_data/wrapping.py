"""Data sets around data sets, and a data set with the transform of a loader.

A loader changes no data set that it was given: loaders of training and of validation may stand on
parts of one. Each works on a shallow copy, `loader.dataset`, which shares files, readers and the
account of damaged samples with the original.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from inspect import getattr_static, isroutine
from typing import Any

from torch.utils.data import ChainDataset, ConcatDataset, Dataset, IterableDataset, Subset

from hub_data.dataset import Decode, ImageDataset, IterableImageDataset, Transform
from hub_data.scheduled import ScheduledTransformDataset


class AugMixDataset(Dataset[Any]):
    """Each image several times: once as it is, then augmented; ((image, ...), target).

    Args:
        dataset: what `create_loader` takes; its `transform`, or the one that is set here, is a
            tuple of three: what all images of a sample share, the augmentation, and what ends both
            (to tensor, normalise).
        num_splits: images per sample, the first not augmented.

    Raises:
        ValueError: the transform is not a tuple of three.
    """

    def __init__(self, dataset: Any, num_splits: int = 2) -> None:
        self.augmentation: Transform | None = None
        self.normalize: Transform | None = None
        self.dataset = dataset
        self.num_splits = num_splits
        self._base: Transform | None = None
        if getattr(dataset, "transform", None) is not None:
            self.transform = dataset.transform

    @property
    def transform(self) -> Any:
        """What all images of a sample share; set it to (base, augmentation, normalise)."""
        return self._base

    @transform.setter
    def transform(self, transforms: Sequence[Transform | None]) -> None:
        if not isinstance(transforms, list | tuple) or len(transforms) != 3:
            raise ValueError(
                "AugMixDataset takes three transforms, (base, augmentation, normalise): "
                "create_transform(..., separate=True) makes them"
            )
        self._base, self.augmentation, self.normalize = transforms
        self.dataset = fitted(self.dataset, self._base)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        """Return ((image, ...), target)."""
        return self._split(self.dataset[index])

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Any, ...]]:
        """Return the samples of a batch, but for those that are skipped."""
        if hasattr(self.dataset, "__getitems__"):
            return [self._split(sample) for sample in self.dataset.__getitems__(indices)]
        return [self[index] for index in indices]

    def _split(self, sample: tuple[Any, ...]) -> tuple[Any, ...]:
        image, *rest = sample
        augment, finish = self.augmentation or _unchanged, self.normalize or _unchanged
        augmented = (finish(augment(image)) for _ in range(self.num_splits - 1))
        return ((finish(image), *augmented), *rest)


class TransformedDataset(Dataset[Any]):
    """Samples of a data set that has no transform of its own: (transformed image, target, ...).

    Args:
        dataset: gives (image, target, ...).
        transform: applied to the image; None for none.
    """

    def __init__(self, dataset: Any, transform: Transform | None) -> None:
        self.dataset, self.transform = dataset, transform

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        """Return (transformed image, target, ...).

        Raises:
            TypeError: the sample is of another form.
        """
        return _transformed(self.dataset[index], self.transform)


class TransformedStream(IterableDataset[Any]):
    """The same of a stream.

    Args:
        dataset: yields (image, target, ...).
        transform: applied to the image; None for none.
    """

    def __init__(self, dataset: Any, transform: Transform | None) -> None:
        self.dataset, self.transform = dataset, transform

    def __len__(self) -> int:
        return len(self.dataset)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        """Yield (transformed image, target, ...)."""
        return (_transformed(sample, self.transform) for sample in self.dataset)


def fitted(dataset: Any, transform: Any, decode: Decode | None = None) -> Any:
    """Return a data set whose images go through `transform`; the given one stays as it is.

    Args:
        dataset: of this package; a `Subset`, `ConcatDataset` or `ChainDataset`; one with a
            `transform` of its own, which this one replaces; or any that gives (image, target, ...).
        transform: applied to images; for an `AugMixDataset`, three.
        decode: opens the images of data sets of this package; None for what they have.
    """
    attributes = getattr(dataset, "__dict__", {})
    parts: dict[str, Any]
    if isinstance(dataset, AugMixDataset):
        parts = dict(dataset=fitted(dataset.dataset, None, decode), transform=transform)
    elif _takes_transform(dataset):
        parts = dict(transform=transform)
        if decode is not None and isinstance(dataset, ImageDataset | IterableImageDataset):
            parts["decode"] = decode
        if "transforms" in attributes:  # some of torchvision's data sets read this one
            parts["transforms"] = _ImageAlone(transform, attributes.get("target_transform"))
    elif isinstance(dataset, Subset):
        parts = dict(dataset=fitted(dataset.dataset, transform, decode))
    elif isinstance(dataset, ConcatDataset | ChainDataset):
        parts = dict(datasets=[fitted(part, transform, decode) for part in dataset.datasets])
    else:
        is_stream = isinstance(dataset, IterableDataset)
        return (TransformedStream if is_stream else TransformedDataset)(dataset, transform)
    own = copy(dataset)
    for name, value in parts.items():
        setattr(own, name, value)
    return own


def _takes_transform(dataset: Any) -> bool:
    """Return whether `dataset.transform` is a place for a transform, not a method of its own."""
    if "transform" in getattr(dataset, "__dict__", {}):
        return True
    if not hasattr(type(dataset), "transform"):
        return False
    found = getattr_static(type(dataset), "transform")
    return found.fset is not None if isinstance(found, property) else not isroutine(found)


def leaves(dataset: Any) -> Iterator[Any]:
    """Yield what a data set reads from, below the wrappers that are known to add nothing."""
    if type(dataset) in (Subset, AugMixDataset, ScheduledTransformDataset):
        yield from leaves(dataset.dataset)
    elif type(dataset) is ConcatDataset:
        for part in dataset.datasets:
            yield from leaves(part)
    else:
        yield dataset


@dataclass(frozen=True)
class _ImageAlone:
    """The `transforms` of torchvision's data sets: of image and target together."""

    transform: Transform | None
    target_transform: Transform | None

    def __call__(self, image: Any, target: Any) -> tuple[Any, Any]:
        change, change_target = self.transform or _unchanged, self.target_transform or _unchanged
        return change(image), change_target(target)


def _transformed(sample: Any, transform: Transform | None) -> tuple[Any, ...]:
    if not isinstance(sample, tuple | list) or len(sample) < 2:
        keys = f" with the keys {', '.join(map(str, sample))}" if isinstance(sample, dict) else ""
        raise TypeError(
            f"a sample of the data set is a {type(sample).__name__}{keys}; loaders take (image, "
            "target) pairs: wrap the data set in one whose samples are such"
        )
    image, *rest = sample
    return (image if transform is None else transform(image), *rest)


def _unchanged(value: Any) -> Any:
    return value
