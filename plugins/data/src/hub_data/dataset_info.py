"""What the classes of a data set are called.

Differences from timm: `CustomDatasetInfo.label_descriptions` heeds `as_dict`, and gives the names
where there are no descriptions; an index out of range is an IndexError that says the range.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import NamedTuple

LabelNames = Sequence[str] | Mapping[int, str] | Mapping[str, str]
LABEL_TYPES = ("name", "description", "detail", "detailed")


class DatasetInfo(ABC):
    """Names and descriptions of the classes of a data set, by index of the classifier."""

    @abstractmethod
    def num_classes(self) -> int:
        """Return how many classes have a name."""

    @abstractmethod
    def label_names(self) -> LabelNames:
        """Return the names in the order of the classes, or index to name."""

    @abstractmethod
    def label_name_to_description(self, label: str, detailed: bool = False) -> str:
        """Return a name in words.

        Args:
            label: one of `label_names`.
            detailed: with the definition, where there is one.
        """

    @abstractmethod
    def index_to_label_name(self, index: int) -> str:
        """Return the name of a class.

        Raises:
            IndexError: it has none.
        """

    def label_indices(self) -> tuple[int, ...]:
        """Return the classes that have a name."""
        return tuple(range(self.num_classes()))

    def has_label(self, index: int) -> bool:
        """Return whether a class has a name."""
        return 0 <= int(index) < self.num_classes()

    def index_to_description(self, index: int, detailed: bool = False) -> str:
        """Return a class in words; see `label_name_to_description`."""
        return self.label_name_to_description(self.index_to_label_name(index), detailed)

    def label_descriptions(
        self, detailed: bool = False, as_dict: bool = False
    ) -> list[str] | dict[str, str]:
        """Return all classes in words, in order, or name to words where `as_dict`."""
        names = [self.index_to_label_name(index) for index in self.label_indices()]
        words = [self.label_name_to_description(name, detailed) for name in names]
        return dict(zip(names, words, strict=True)) if as_dict else words


class CustomDatasetInfo(DatasetInfo):
    """Names that were given.

    Args:
        label_names: in the order of the classes, or index to name; indices may be strings, as
            in JSON, and may have gaps.
        label_descriptions: name to description, complete where it is given.

    Raises:
        TypeError: a name or an index is of another type.
        ValueError: there are no names, an index is negative or given twice, or a description is
            missing.
    """

    def __init__(
        self, label_names: LabelNames, label_descriptions: Mapping[str, str] | None = None
    ) -> None:
        if not isinstance(label_names, list | tuple | dict) or not label_names:
            raise ValueError(
                f"label_names={label_names!r}: give a list or tuple of names, or a dict of index "
                "to name, with at least one"
            )
        self._given = label_names
        if isinstance(label_names, dict):
            self._names = _by_index(label_names)
        else:
            self._names = dict(enumerate(label_names))
        for name in self._names.values():
            if not isinstance(name, str):
                raise TypeError(f"label name {name!r} is no string")
        if label_descriptions is not None:
            _check_descriptions(self._names.values(), label_descriptions)
        self._descriptions = label_descriptions or {}

    def num_classes(self) -> int:
        """Return how many classes have a name."""
        return len(self._names)

    def label_names(self) -> LabelNames:
        """Return the names as they were given."""
        return self._given

    def label_indices(self) -> tuple[int, ...]:
        """Return the classes that have a name."""
        return tuple(self._names)

    def has_label(self, index: int) -> bool:
        """Return whether a class has a name."""
        return int(index) in self._names

    def index_to_label_name(self, index: int) -> str:
        """Return the name of a class."""
        if not self.has_label(index):
            raise IndexError(
                f"class {index} has no name; {len(self._names)} classes from {min(self._names)} to "
                f"{max(self._names)} have one"
            )
        return self._names[int(index)]

    def label_name_to_description(self, label: str, detailed: bool = False) -> str:
        """Return the description of a name, or the name where none were given."""
        return self._descriptions[label] if self._descriptions else label


class LabelMappingCoverage(NamedTuple):
    """How the names of a data set and the classes of a classifier fit.

    Args:
        mapped: classes with a name.
        missing: classes without.
        extra: names of classes that the classifier does not have.
    """

    mapped: int
    missing: int
    extra: int


class DatasetInfoLabelMapper:
    """From the index of a class to its name, or to a stand-in where it has none.

    Args:
        dataset_info: the names.
        label_type: "name", "description", or "detail" (or "detailed"): description and definition.
        fallback_format: the stand-in, with `{index}`; None raises an error instead.

    Raises:
        ValueError: there is no such type.
    """

    def __init__(
        self,
        dataset_info: DatasetInfo,
        label_type: str = "description",
        fallback_format: str | None = "<unmapped:{index}>",
    ) -> None:
        if label_type not in LABEL_TYPES:
            raise ValueError(
                f"unknown label_type {label_type!r}: choose from {', '.join(LABEL_TYPES)}"
            )
        self.dataset_info = dataset_info
        self.label_type = label_type
        self.fallback_format = fallback_format

    def __call__(self, index: int) -> str:
        """Return the name of a class."""
        index = int(index)
        if self.fallback_format is not None and not self.dataset_info.has_label(index):
            return self.fallback_format.format(index=index)
        if self.label_type == "name":
            return self.dataset_info.index_to_label_name(index)
        detailed = self.label_type.startswith("detail")
        return self.dataset_info.index_to_description(index, detailed)

    def coverage(self, num_classes: int) -> LabelMappingCoverage:
        """Return how the names fit a classifier of `num_classes`.

        Raises:
            ValueError: `num_classes` is negative.
        """
        if num_classes < 0:
            raise ValueError(f"num_classes={num_classes}: give 0 or more")
        indices = self.dataset_info.label_indices()
        mapped = len([index for index in indices if index < num_classes])
        return LabelMappingCoverage(mapped, num_classes - mapped, len(indices) - mapped)


def _by_index(label_names: Mapping[int, str] | Mapping[str, str]) -> dict[int, str]:
    names: dict[int, str] = {}
    for given, name in label_names.items():
        if not isinstance(given, int | str):
            raise TypeError(f"label index {given!r} is neither a number nor a string")
        try:
            index = int(given)
        except ValueError:
            raise ValueError(f"label index {given!r} is no whole number") from None
        if index < 0 or index in names:
            problem = "given twice" if index in names else "negative"
            raise ValueError(f"label index {given!r} is {problem}")
        names[index] = name
    return names


def _check_descriptions(names: object, descriptions: object) -> None:
    if not isinstance(descriptions, Mapping):
        raise TypeError(
            f"label_descriptions is a {type(descriptions).__name__}: give a dict of name to text"
        )
    missing = [name for name in names if name not in descriptions]  # type: ignore[attr-defined]
    if missing:
        raise ValueError(f"label_descriptions lacks {missing[:5]} of {len(missing)} missing names")
