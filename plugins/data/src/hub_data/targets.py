"""From a record of a data set to its target: which field, which classes, one label or several."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

import torch
from hub import did_you_mean

from hub_data.class_map import (
    ClassMap,
    UnlistedClassError,
    class_name,
    find_class,
    given_class_map,
    reorder,
)

TARGET_FORMATS = ("indices", "multihot")
#: Text that says that there is no value: what pandas takes and writes for one.
NO_VALUE = frozenset(
    ["", *"#N/A -NaN -nan <NA> N/A NA NAN NULL NaN Nan None Null n/a nan null".split()]
)


class TargetField:
    """Reads the target of a record, in the indices of the classes.

    Args:
        key: name of the field, or a path to it ("objects/category"); several with commas, each
            with a number that says whether a label applies, give the list of those that do; empty
            for data without labels.
        target_format: "indices", or "multihot" for a field that holds a value per class.
        names: class name to index in the source; empty where it has no names.
        class_map: see `load_class_map`; targets go through it.
        root: where the file of a class map is looked for.

    Attributes:
        class_to_idx: class name to index, of the class map or of the source.
        unlisted: label that the class map lacks to how often it was met.

    Raises:
        ValueError: `key` is not a list of different names, or there is no such format.
    """

    def __init__(
        self,
        key: str | None,
        *,
        target_format: str | None = None,
        names: Mapping[str, int] | None = None,
        class_map: ClassMap | str | Path | None = None,
        root: str | Path = "",
    ) -> None:
        self.keys = tuple(part.strip() for part in key.split(",")) if key else ()
        if not all(self.keys) or len(set(self.keys)) < len(self.keys):
            raise ValueError(f"target_key={key!r} has to list different names")
        self.target_format = target_format or "indices"
        if self.target_format not in TARGET_FORMATS:
            raise ValueError(
                f"target_format={target_format!r}: choose from {', '.join(TARGET_FORMATS)}"
            )
        several = len(self.keys) > 1
        if several and self.target_format != "indices":
            raise ValueError("several target keys are a format of their own: leave target_format")
        source = {k: i for i, k in enumerate(self.keys)} if several else dict(names or {})
        source = {class_name(name): index for name, index in source.items()}
        self._source_names = {index: name for name, index in source.items()}
        self._map = given_class_map(class_map, root)
        self.class_to_idx: dict[Any, int] = source if self._map is None else self._map
        self.unlisted: Counter[Any] = Counter()

    def __call__(self, record: Mapping[str, Any]) -> Any:
        """Return the target: an index, a list of indices, a vector, or None without a key.

        Of a list, labels that the class map lacks are left out (and counted in `unlisted`).

        Raises:
            KeyError: the record lacks the field.
            UnlistedClassError: the class map lacks the class.
            ValueError: there is no label where there has to be one: None, NaN, "".
        """
        if not self.keys:
            return None
        values = [_plain(get_field(record, key)) for key in self.keys]
        for key, value in zip(self.keys, values, strict=True):
            if self._lacks_value(value):
                remedy = ""
                if len(self.keys) > 1:
                    remedy = " (write 0 where a label does not apply)"
                elif isinstance(value, str) and value.strip():
                    remedy = " (name it in class_map if it is a class)"
                raise ValueError(f"no label: field {key!r} holds {value!r}{remedy}")
        if len(self.keys) > 1:
            values = [[i for i, value in enumerate(values) if _applies(value, self.keys[i])]]
        if self.target_format == "multihot":
            return reorder(values[0], self._map) if self._map is not None else values[0]
        return self._index(values[0])

    def listed(self, records: Iterable[Mapping[str, Any]]) -> list[int]:
        """Return the positions of the records that are not of a class that the class map lacks."""
        kept = []
        for position, record in enumerate(records):
            try:
                self(record)
            except UnlistedClassError:
                continue
            except ValueError:  # no label: a damaged sample, not one of another class
                pass
            kept.append(position)
        return kept

    def _lacks_value(self, value: Any) -> bool:
        if isinstance(value, list | tuple):
            return any(map(self._lacks_value, value))
        return is_missing(value) and value not in self.class_to_idx

    def _index(self, label: Any) -> Any:
        if isinstance(label, list | tuple):
            return [index for part in label if (index := self._index_of_part(part)) is not None]
        if self._map is None and not (isinstance(label, str) and self.class_to_idx):
            return label
        index = find_class(label, self.class_to_idx, self._source_names)
        if index is None:
            name = self._source_names.get(label, label)
            self.unlisted[name] += 1
            raise UnlistedClassError(f"the class map has no class {name!r}")
        return index

    def _index_of_part(self, label: Any) -> Any:
        try:
            return self._index(label)
        except UnlistedClassError:
            return None


def is_missing(value: Any) -> bool:
    """Return whether a value says that there is none: None, NaN, blank text, "NA" and its kin."""
    if isinstance(value, str):
        return value.strip() in NO_VALUE
    return value is None or (isinstance(value, float) and value != value)


def _applies(value: Any, key: str) -> bool:
    """Return whether the number in a field says that its label applies."""
    try:
        return float(value) > 0
    except (TypeError, ValueError):
        raise ValueError(
            f"{value!r} in {key!r} is no number: write 1 where the label applies, else 0"
        ) from None


def get_field(record: Mapping[str, Any] | None, path: str) -> Any:
    """Return the field of this name, or the one that a path with "/" leads to.

    A list on the way is a list of records: the result is the list of their fields. What a null
    on the way would hold is None.

    Raises:
        KeyError: there is none; the message names those that there are.
    """
    if record is not None and path in record:
        return record[path]
    value: Any = record
    parts = path.split("/")
    for position, part in enumerate(parts):
        if value is None:
            return None
        if isinstance(value, list | tuple):
            rest = "/".join(parts[position:])
            return [get_field(item, rest) for item in value]
        while part not in (value if hasattr(value, "__contains__") else ()):
            if not hasattr(value, "feature"):  # lists of Hugging Face and TensorFlow datasets
                fields = [str(name) for name in value] if isinstance(value, Mapping) else []
                near = did_you_mean(part, fields)
                raise KeyError(f"no field {path!r}{near} There are {', '.join(fields) or 'none'}")
            value = value.feature
        value = value[part]
    return value


def has_field(record: Mapping[str, Any], path: str) -> bool:
    """Return whether `get_field` finds something."""
    try:
        get_field(record, path)
    except (KeyError, TypeError):
        return False
    return True


def class_names(features: Mapping[str, Any] | None, key: str | None) -> dict[str, int]:
    """Return class name to index of a field that declares its classes; else nothing."""
    if not features or not key or not has_field(features, key):
        return {}
    feature = get_field(features, key)
    while hasattr(feature, "feature"):  # a list of labels has the classes of its items
        feature = feature.feature
    return {name: i for i, name in enumerate(getattr(feature, "names", None) or ())}


class MultiLabelTarget:
    """Makes a list of class indices the vector that losses for several labels take.

    Args:
        num_classes: length of the vector.
        dense: targets are such vectors already, of 0 and 1.
    """

    def __init__(self, num_classes: int, dense: bool = False) -> None:
        self.num_classes = num_classes
        self.dense = dense

    def __call__(self, target: Any) -> torch.Tensor:
        """Return (K,), 1 for each class that applies.

        Raises:
            ValueError: an index is out of range, or a vector has another length.
        """
        values = torch.as_tensor(target)
        if self.dense:
            if values.shape != (self.num_classes,):
                raise ValueError(f"a target of {self.num_classes} values is due, not {target!r}")
            return values.float()
        indices = values.reshape(-1).long()
        if indices.numel() and not 0 <= int(indices.min()) <= int(indices.max()) < self.num_classes:
            raise ValueError(f"{target!r} is out of range: classes are 0 to {self.num_classes - 1}")
        return torch.zeros(self.num_classes).index_fill_(0, indices, 1.0)


def _plain(value: Any) -> Any:
    """Return numbers of numpy as Python's, which collate to the same tensors everywhere."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")  # TensorFlow's text
    if isinstance(value, Integral):
        return int(value)
    return value.tolist() if hasattr(value, "tolist") else value


def require_fields(features: Mapping[str, Any] | Sequence[str] | None, *names: str | None) -> None:
    """Raise if a data set that states its fields lacks one.

    Raises:
        ValueError: it does.
    """
    record = features if isinstance(features, Mapping) else dict.fromkeys(features or ())
    for name in names:
        if name and record and not has_field(record, name):
            near = did_you_mean(name, list(record))
            raise ValueError(f"no field {name!r}{near} There are {', '.join(record)}")
