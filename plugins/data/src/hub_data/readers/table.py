"""Images listed in tables: `csv:labels.csv`, `parquet:labels.parquet`; one label or several."""

from __future__ import annotations

import csv
import io
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from hub.suggest import did_you_mean

from hub_data.class_map import ClassMap
from hub_data.readers.folder import SPLITS
from hub_data.readers.indexed import IndexedReader, Names, class_index
from hub_data.targets import TargetField

INPUT_KEYS = ("path", "image", "file", "file_name", "filename", "image_path", "filepath", "img")
TARGET_KEYS = ("label", "target", "class", "labels", "targets", "classes")
SPLIT_KEY = "split"

Columns = Mapping[str, Sequence[Any]]


class CsvReader(IndexedReader):
    """Images whose paths and labels are columns of a table with a header.

    Labels that are whole numbers are class indices; others are names, numbered in natural order or
    by the class map. A row can have several labels: in several columns, or in one, divided by
    `label_sep`.

    Args:
        name: the table: a path, as it stands or below `root`; or a folder, empty for `root`, that
            holds a table per split: train.csv, val.csv, ...
        root: folder that paths in the table start from; None for that of the table.
        split: rows to take, where the table has a column "split"; val finds valid and validation.
        class_map: see `load_class_map`.
        input_key: column of the paths; None for the first that is called path, image, file, ...
        target_key: column of the labels; None for the first that is called label, target, class,
            ...; several with commas, each a number that says whether a label applies; empty for
            none.
        target_format: "multihot" for columns of vectors (parquet).
        label_sep: what stands between the labels in the column: "|", ";", " ".
        additional_features: columns that follow image and target.

    Raises:
        FileNotFoundError: there is no such table.
        ValueError: it lacks a column, has no rows, or none of this split.
    """

    thread_safe = True  # a sample is a path
    suffixes: tuple[str, ...] = (".csv", ".tsv")

    def __init__(
        self,
        name: str = "",
        *,
        root: str | Path | None = None,
        split: str = "",
        class_map: ClassMap | str | Path | None = None,
        input_key: str | None = None,
        target_key: str | None = None,
        target_format: str | None = None,
        label_sep: str | None = None,
        additional_features: Sequence[str] | None = None,
    ) -> None:
        self.table = _find_table(name, root, split, self.suffixes)
        self.root = os.fspath(root) if root is not None else os.path.dirname(self.table)
        available = self.column_names()
        self.input_key = self.find_column(input_key, INPUT_KEYS, available)
        if target_key is None:
            target_key = self.find_column(None, TARGET_KEYS, available)
        keys = [key.strip() for key in target_key.split(",")] if target_key else []
        extra = list(additional_features or ())
        for key in (*keys, *extra):
            self.find_column(key, (), available)
        has_split = [SPLIT_KEY] if SPLIT_KEY in available else []
        columns = self.read_columns([*keys, *extra, *has_split])
        rows = _rows_of(columns.get(SPLIT_KEY), split, self.table, self.num_rows())
        self.rows = np.array(rows, np.int64)
        self._targets = _Targets(
            [[columns[key][row] for row in rows] for key in keys],
            TargetField(
                target_key, target_format=target_format, class_map=class_map, root=self.root
            ),
            label_sep,
        )
        self.class_to_idx = self._targets.class_to_idx
        self._features = {name: [columns[name][row] for row in rows] for name in extra}
        self.load_images(rows)

    def column_names(self) -> list[str]:
        """Return the columns of the table."""
        with self._open() as file:
            return next(csv.reader(file, delimiter=_delimiter(self.table)), [])

    def num_rows(self) -> int:
        """Return the number of rows."""
        with self._open() as file:
            return sum(1 for row in csv.reader(file, delimiter=_delimiter(self.table)) if row) - 1

    def read_columns(self, names: Sequence[str]) -> Columns:
        """Return columns, as text."""
        columns: dict[str, list[Any]] = {name: [] for name in names}
        with self._open() as file:
            for row in csv.DictReader(file, delimiter=_delimiter(self.table)):
                for name, values in columns.items():
                    values.append(row[name])
        return columns

    def load_images(self, rows: Sequence[int]) -> None:
        """Learn where the images of the rows are."""
        paths = self.read_columns([self.input_key])[self.input_key]
        self.names = Names([paths[row] for row in rows])

    def _open(self) -> io.TextIOWrapper:
        return open(self.table, encoding="utf-8-sig", newline="")

    def find_column(self, name: str | None, usual: Sequence[str], available: Sequence[str]) -> str:
        """Return a column by its name, or the first that has a usual one.

        Raises:
            ValueError: there is none.
        """
        if name in available and name is not None:
            return name
        if name is None:
            found = {column.strip().lower(): column for column in reversed(available)}
            for candidate in usual:
                if candidate in found:
                    return found[candidate]
        wanted = repr(name) if name else f"called {', '.join(usual)}"
        near = did_you_mean(name or "", available)
        what = "input_key and target_key name them"
        raise ValueError(
            f"{self.table} has no column {wanted}{near} It has {', '.join(available)}; {what}"
        )

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        """Return (path, target, *additional features)."""
        features = (values[index] for values in self._features.values())
        return (self.image(index), self._targets[index], *features)

    def image(self, index: int) -> Any:
        """Return the path of an image."""
        return self.path(index)

    def path(self, index: int) -> str:
        """Return the path of an image."""
        return os.path.join(self.root, self.names[index])

    def root_of(self, index: int) -> str:
        """Return the folder that the paths start from."""
        return self.root

    def iter_targets(self) -> Iterator[Any]:
        """Yield the targets; no image is opened."""
        yield from self._targets


class ParquetReader(CsvReader):
    """The same from parquet files; the column of images may also hold the files themselves.

    The files are bytes, or records of bytes and path as Hugging Face writes them. They are read
    by row groups: in a shuffled order a large table of them is slow, and `hfds/` is the better way.
    """

    suffixes = (".parquet",)
    thread_safe = False

    def column_names(self) -> list[str]:
        """Return the columns of the table."""
        return list(self._file().schema_arrow.names)

    def num_rows(self) -> int:
        """Return the number of rows."""
        return int(self._file().metadata.num_rows)

    def read_columns(self, names: Sequence[str]) -> Columns:
        """Return columns."""
        table = self._file().read(columns=list(names), use_threads=False)
        return {name: table.column(name).to_pylist() for name in names}

    def load_images(self, rows: Sequence[int]) -> None:
        """Learn where the images of the rows are: in files, or in the table."""
        import pyarrow

        file = self._file()
        kind = file.schema_arrow.field(self.input_key).type
        self.holds_images = not (
            pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind)
        )
        if not self.holds_images:
            super().load_images(rows)
            return
        metadata = file.metadata
        sizes = (metadata.row_group(i).num_rows for i in range(metadata.num_row_groups))
        self._starts = np.array([0, *accumulate(sizes)])

    def image(self, index: int) -> Any:
        """Return the path of an image, or the content of its file."""
        return self._stored(index)[0] if self.holds_images else self.path(index)

    def path(self, index: int) -> str:
        """Return the path of an image, or the name or the row that it is stored under."""
        if not self.holds_images:
            return super().path(index)
        return self._stored(index)[1] or f"{self.table}:{int(self.rows[index])}"

    def root_of(self, index: int) -> str:
        """Return the folder that paths start from; none where images are in the table."""
        return "" if self.holds_images else self.root

    def _stored(self, index: int) -> tuple[bytes, str]:
        row = int(self.rows[index])
        group = int(np.searchsorted(self._starts, row, side="right")) - 1
        with _reading:
            stored = _row_group(self.table, group, self.input_key)
        value = stored[row - int(self._starts[group])].as_py()
        if isinstance(value, Mapping):
            return value.get("bytes") or b"", value.get("path") or ""
        return value, ""

    def _file(self) -> Any:
        return _parquet_file(self.table)


_reading = threading.Lock()


@lru_cache(4)
def _parquet_file(path: str) -> Any:
    from pyarrow import parquet

    return parquet.ParquetFile(path, memory_map=True)


@lru_cache(4)
def _row_group(path: str, group: int, column: str) -> Any:
    file = _parquet_file(path)
    # No threads of arrow: a worker that is forked while they run would wait for them for ever.
    return file.read_row_group(group, columns=[column], use_threads=False).column(column)


class _Targets(Sequence[Any]):
    """Targets of all rows, computed once and held compactly.

    Args:
        columns: values of each target column; none for data without labels.
        field: what makes a target of them.
        separator: what divides the labels in a value.
    """

    def __init__(
        self, columns: Sequence[Sequence[Any]], field: TargetField, separator: str | None
    ) -> None:
        self.class_to_idx = field.class_to_idx
        self.length = len(columns[0]) if columns else 0
        targets: list[Any] = []
        if len(columns) > 1:
            numbers = [[float(value or 0) for value in column] for column in columns]
            rows = zip(*numbers, strict=True)
            targets = [field(dict(zip(field.keys, row, strict=True))) for row in rows]
        elif columns:
            targets = self._of_one(columns[0], field, separator)
        self._ends: Any = None
        if targets and isinstance(targets[0], list):
            self._ends = np.cumsum([len(target) for target in targets])
            targets = [value for target in targets for value in target]
        self._values = np.array(targets)

    def _of_one(
        self, column: Sequence[Any], field: TargetField, separator: str | None
    ) -> list[Any]:
        values = [_labels(value, separator) for value in column]
        flat = [v for value in values for v in (value if isinstance(value, list) else [value])]
        are_names = any(isinstance(value, str) for value in (*flat, *self.class_to_idx))
        if are_names:
            values = [[*map(str, v)] if isinstance(v, list) else str(v) for v in values]
        if are_names and not self.class_to_idx:
            self.class_to_idx = class_index(map(str, flat))
        key, known = field.keys[0], self.class_to_idx
        if field.class_to_idx or not are_names:
            return [field({key: value}) for value in values]
        return [[known[n] for n in v] if isinstance(v, list) else known[v] for v in values]

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: Any) -> Any:
        if not self.length:  # data without labels
            return None
        if self._ends is None:
            return self._values[index].item()
        index = range(self.length)[index]
        start = int(self._ends[index - 1]) if index else 0
        return self._values[start : int(self._ends[index])].tolist()


def _labels(value: Any, separator: str | None) -> Any:
    """Return a label, or the list of labels where a value holds several."""
    if separator and isinstance(value, str):
        value = [part.strip() for part in value.split(separator) if part.strip()]
    return [_number(part) for part in value] if isinstance(value, list) else _number(value)


def _number(value: Any) -> Any:
    """Return text that is a number as that number."""
    if not isinstance(value, str):
        return value
    try:
        return int(value)
    except ValueError:
        pass
    try:
        return float(value)
    except ValueError:
        return value


def _find_table(name: str, root: str | Path | None, split: str, suffixes: Sequence[str]) -> str:
    candidates = [name, os.path.join(root or "", name)]
    for path in candidates:
        if path and os.path.isfile(path):
            return path
    names = next((names for names in SPLITS if split in names), ())
    for folder in candidates:
        for stem in dict.fromkeys((split, *names)):
            for suffix in suffixes:
                if folder and os.path.isfile(path := os.path.join(folder, f"{stem}{suffix}")):
                    return path
    raise FileNotFoundError(
        f"there is no table {name!r}, neither as it stands nor in {os.fspath(root or '.')!r}, and "
        f"no {split}{suffixes[0]} either"
    )


@lru_cache(16)
def _delimiter(path: str) -> str:
    with open(path, encoding="utf-8-sig", newline="") as file:
        header = file.readline()
    return max(",\t;", key=header.count)


def _rows_of(column: Sequence[Any] | None, split: str, table: str, num_rows: int) -> list[int]:
    if num_rows < 1:
        raise ValueError(f"{table} has no rows")
    if column is None or not split:
        return list(range(num_rows))
    wanted = {split, *next((names for names in SPLITS if split in names), ())}
    rows = [row for row, value in enumerate(column) if str(value).strip().lower() in wanted]
    if not rows:
        there = ", ".join(sorted({str(value) for value in column}))
        raise ValueError(f"{table} has no rows of split {split!r}: there are {there}")
    return rows
