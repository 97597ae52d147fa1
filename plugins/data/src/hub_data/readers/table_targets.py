"""The labels of a table: which are numbers, which are names, and which are not there."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from numbers import Real
from typing import Any

import numpy as np

from hub_data.class_map import UnlistedClassError, whole_number
from hub_data.readers.indexed import class_index, report_unlisted
from hub_data.targets import TargetField, is_missing

_logger = logging.getLogger(__name__)

#: Text that only a number is written as; "007" is a name.
_NUMBER = re.compile(r"-?(0|[1-9]\d{0,17})(\.\d+)?([eE][+-]\d+)?", re.ASCII)


class TableTargets(Sequence[Any]):
    """Targets of the rows of a table, computed once and held compactly.

    Args:
        columns: values of each target column; none for data without labels.
        field: what makes a target of them.
        separator: what divides the labels in a value.
        table: its name, for messages.
        rows: numbers of the rows that the values are of.
        where: number of a row to its place in the table, for messages.

    Attributes:
        rows: numbers of the rows that are samples: not those of classes that the class map lacks.
        problems: index of a sample to why it has no target.
        unlisted: label that the class map lacks to how often it was met.

    Raises:
        ValueError: no row has a label, or none is of the class map.
    """

    def __init__(
        self,
        columns: Sequence[Sequence[Any]],
        field: TargetField,
        separator: str | None,
        table: str,
        rows: Sequence[int],
        where: Callable[[int], str],
    ) -> None:
        self.problems: dict[int, str] = {}
        self.unlisted = field.unlisted
        self.rows = np.array(rows, np.int64)
        self._has_labels = bool(columns)
        if self._has_labels:
            if field.target_format == "indices" and len(columns) == 1:
                columns = [_labels(columns[0], separator, field, lambda n: where(rows[n]))]
            self._hold(list(self._read(columns, field, rows, where)))
            self._check(field, table)
        self.class_to_idx = field.class_to_idx

    def _read(
        self,
        columns: Sequence[Sequence[Any]],
        field: TargetField,
        rows: Sequence[int],
        where: Callable[[int], str],
    ) -> Iterator[Any]:
        """Yield the target of each row that is a sample."""
        kept: list[int] = []
        for row, *values in zip(rows, *columns, strict=True):
            target = None
            try:
                target = field(dict(zip(field.keys, values, strict=True)))
            except UnlistedClassError:
                continue
            except ValueError as error:
                self.problems[len(kept)] = f"{where(row)}: {error}"
            kept.append(row)
            yield target
        self.rows = np.array(kept, np.int64)

    def _hold(self, targets: Sequence[Any]) -> None:
        self._ends: Any = None
        if any(isinstance(target, list) for target in targets):
            self._ends = np.cumsum([len(target or ()) for target in targets])
            targets = [value for target in targets for value in target or ()]
        self._values = np.array([0 if target is None else target for target in targets])

    def _check(self, field: TargetField, table: str) -> None:
        """Raise where no row is left; say which are left out."""
        if not len(self.rows):
            found = ", ".join(map(repr, [*field.unlisted][:5]))
            known = ", ".join(map(repr, [*field.class_to_idx][:5]))
            raise ValueError(
                f"no row of {table} is of a class of the class map: it has {known}; the labels are "
                f"{found}"
            )
        if len(self.problems) == len(self.rows):
            raise ValueError(
                f"no row of {table} has a label; the first is {self.problems[0]} (target_key='' "
                "reads the images without labels)"
            )
        report_unlisted(table, field.unlisted)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        """Return the target of a sample; None where there is none."""
        index = range(len(self))[index]
        if not self._has_labels or index in self.problems:
            return None
        if self._ends is None:
            return self._values[index : index + 1].tolist()[0]
        start = int(self._ends[index - 1]) if index else 0
        return self._values[start : int(self._ends[index])].tolist()


def _labels(
    column: Sequence[Any],
    separator: str | None,
    field: TargetField,
    where: Callable[[int], str],
) -> list[Any]:
    """Return the labels of a column: numbers if all are, else names, which `field` is told."""
    cells = [_split(value, separator) for value in column]
    if field.class_to_idx:  # a class map says what they are
        return cells
    labels = {label for label in _flat(cells) if not is_missing(label)}
    if numbers := _numbers(labels):
        return [_replaced(cell, numbers) for cell in cells]
    field.class_to_idx = class_index(map(str, labels))
    names = {label: str(label) for label in labels}
    odd = [label for label in labels if whole_number(label) is None]
    if len(odd) < len(labels):
        place = next(n for n, cell in enumerate(cells) if not {*odd}.isdisjoint(_flat([cell])))
        _logger.warning(
            "labels are names because of %r (%s), so the numbers among them are names too, not "
            "indices; a class_map numbers them otherwise",
            column[place],
            where(place),
        )
    return [_replaced(cell, names) for cell in cells]


def _split(value: Any, separator: str | None) -> Any:
    """Return a label, or the list of labels where a value holds several."""
    if isinstance(value, list | tuple):
        return [_split(part, None) for part in value]
    if isinstance(value, str):
        if separator and (not value.strip() or not is_missing(value)):
            return [part.strip() for part in value.split(separator) if part.strip()]
        return value.strip()
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if value is None or isinstance(value, Real) else str(value)


def _flat(cells: Iterable[Any]) -> Iterator[Any]:
    for cell in cells:
        if isinstance(cell, list):
            yield from _flat(cell)
        else:
            yield cell


def _numbers(labels: Iterable[Any]) -> dict[Any, float]:
    """Return label to number, to a whole one where all are; nothing where one is a name."""
    found: dict[Any, float] = {}
    for label in labels:
        if isinstance(label, str) and not _NUMBER.fullmatch(label):
            return {}
        found[label] = float(label)
    whole = {label: whole_number(label) for label in found}
    return found if None in whole.values() else whole  # type: ignore[return-value]


def _replaced(cell: Any, meant: dict[Any, Any]) -> Any:
    if isinstance(cell, list):
        return [_replaced(part, meant) for part in cell]
    return meant.get(cell, cell)
