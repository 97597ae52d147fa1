"""Images listed in tables: `csv:labels.csv`, `parquet:labels.parquet`; one label or several."""

from __future__ import annotations

import csv
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from hub import did_you_mean

from hub_data.class_map import ClassMap
from hub_data.readers.folder import SPLITS
from hub_data.readers.indexed import IndexedReader, Names
from hub_data.readers.parquet_files import ParquetFiles
from hub_data.readers.table_targets import TableTargets
from hub_data.targets import TargetField, is_missing
from hub_data.text_files import open_text

_logger = logging.getLogger(__name__)

INPUT_KEYS = ("path", "image", "file", "file_name", "filename", "image_path", "filepath", "img")
TARGET_KEYS = ("label", "target", "class", "labels", "targets", "classes")
SPLIT_KEY = "split"
_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<total>\d{5})")

Columns = Mapping[str, Sequence[Any]]


class CsvReader(IndexedReader):
    """Images whose paths and labels are columns of a table with a header.

    Labels that are whole numbers are class indices; others are names, numbered in natural order or
    by the class map: "007" is a name. Rows of classes that the class map lacks are left out. A row
    without an image or a label is a damaged sample, see `create_dataset(on_error=)`. A row can
    have several labels: in several columns, or in one, divided by `label_sep`.

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
        label_sep: what stands between the labels in the column: "|", ";", " ". A blank cell then
            says that no label applies.
        additional_features: columns that follow image and target.

    Raises:
        FileNotFoundError: there is no such table.
        ValueError: it is no text in UTF-8 or UTF-16, lacks a column or has it twice, has no rows,
            none of this split, none with a label, or none of a class of the class map.
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
        tables = _find_tables(name, root, split, self.suffixes)
        self.table = tables[0]
        self.root = os.fspath(root) if root is not None else os.path.dirname(self.table)
        available = self.open(tables)
        self.input_key = self.find_column(input_key, INPUT_KEYS, available)
        if target_key is None:
            target_key = self.find_column(None, TARGET_KEYS, available)
        keys = [key.strip() for key in target_key.split(",")] if target_key else []
        extra = list(additional_features or ())
        has_split = [SPLIT_KEY] if SPLIT_KEY in available else []
        for key in (*keys, *extra, *has_split):
            self.find_column(key, (), available)
        columns = self.read_columns([*self.path_columns(), *keys, *extra, *has_split])
        rows = self._rows_of(columns.get(SPLIT_KEY), split)
        self._targets = TableTargets(
            [[columns[key][row] for row in rows] for key in keys],
            TargetField(
                target_key, target_format=target_format, class_map=class_map, root=self.root
            ),
            label_sep,
            self.table,
            rows,
            self.where,
        )
        self.class_to_idx = self._targets.class_to_idx
        self.unlisted = self._targets.unlisted
        self.rows = self._targets.rows
        self._features = {name: [columns[name][row] for row in self.rows] for name in extra}
        self._problems = self._targets.problems
        self.names = self._names(columns) if self.path_columns() else None
        if self._problems:
            _logger.warning(
                "%d of %d rows of %s lack an image or a label, and count as damaged: %s",
                len(self._problems),
                len(self),
                self.table,
                "; ".join([*self._problems.values()][:5]),
            )

    def open(self, tables: Sequence[str]) -> list[str]:
        """Open the table and return its columns."""
        return next(self._records(), (0, []))[1]

    def path_columns(self) -> list[str]:
        """Return the column of the paths, in a list; an empty one if images are in the table."""
        return [self.input_key]

    def read_columns(self, names: Sequence[str]) -> Columns:
        """Return columns, as text; None where a row is too short, or too long to know."""
        columns: dict[str, list[Any]] = {name: [] for name in names}
        lines: list[int] = []
        self._too_long: dict[int, int] = {}
        records = self._records()
        _, header = next(records)
        places = {name: header.index(name) for name in names}
        for line, cells in records:
            if any(cell.strip() for cell in cells[len(header) :]):
                self._too_long[line] = len(cells) - len(header)
                cells = []
            lines.append(line)
            for name, values in columns.items():
                values.append(cells[places[name]] if places[name] < len(cells) else None)
        self._lines = np.array(lines)
        return columns

    def num_rows(self) -> int:
        """Return the number of rows that `read_columns` read."""
        return len(self._lines)

    def where(self, row: int) -> str:
        """Return the place of a row, for messages."""
        line = int(self._lines[row])
        more = self._too_long.get(line)
        wide = f" ({more} cells more than the header: quote what holds a delimiter)" if more else ""
        return f"{self.table}:{line}{wide}"

    def _records(self) -> Iterator[tuple[int, list[str]]]:
        """Yield line and cells of the header and of each row that holds anything."""
        with open_text(self.table) as file:
            first = file.readline()
            delimiter = max(
                ",\t;", key=lambda sign: len(next(csv.reader([first], delimiter=sign), ()))
            )
            file.seek(0)
            # Strict, because a quote that is never closed would swallow the rows below it.
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            try:
                for cells in reader:
                    if any(cell.strip() for cell in cells):
                        yield reader.line_num, cells
            except csv.Error as error:
                raise ValueError(
                    f"{self.table}:{reader.line_num}: {error}; a quote is not closed, or text "
                    'follows one: inside quotes, a quote is written ""'
                ) from error

    def _rows_of(self, column: Sequence[Any] | None, split: str) -> list[int]:
        if not self.num_rows():
            raise ValueError(f"{self.table} has no rows")
        if column is None or not split:
            return list(range(self.num_rows()))
        wanted = {split, *next((names for names in SPLITS if split in names), ())}
        found = ["" if is_missing(value) else str(value).strip() for value in column]
        rows = [row for row, value in enumerate(found) if value.lower() in wanted]
        if not rows:
            there = ", ".join(sorted({*found} - {""}))
            raise ValueError(f"{self.table} has no rows of split {split!r}: there are {there}")
        if without := [self.where(row) for row, value in enumerate(found) if not value]:
            _logger.warning(
                "%d rows name no split and are left out: %s", len(without), "; ".join(without[:5])
            )
        return rows

    def _names(self, columns: Columns) -> Names:
        paths = columns[self.input_key]
        for index, row in enumerate(self.rows.tolist()):
            if is_missing(paths[row]):
                reason = f"{self.where(row)}: no image: {self.input_key!r} holds {paths[row]!r}"
                self._problems.setdefault(index, reason)
        return Names("" if is_missing(paths[row]) else paths[row] for row in self.rows)

    def find_column(self, name: str | None, usual: Sequence[str], available: Sequence[str]) -> str:
        """Return a column by its name, or the first that has a usual one.

        Raises:
            ValueError: there is none, or there are two.
        """
        if name is None:
            found = {column.strip().lower(): column for column in reversed(available)}
            name = next((found[key] for key in usual if key in found), None)
        count = [*available].count(name) if name is not None else 0
        if name is not None and count == 1:
            return name
        if count:
            raise ValueError(f"{self.table} has {count} columns {name!r}: rename all but one")
        wanted = repr(name) if name else f"called {', '.join(usual)}"
        near = did_you_mean(name or "", available)
        there = f"It has {', '.join(available)}" if available else "It is empty"
        raise ValueError(
            f"{self.table} has no column {wanted}{near} {there}; input_key and target_key name them"
        )

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        """Return (path, target, *additional features).

        Raises:
            ValueError: the row has no image or no label.
        """
        if index in self._problems:
            raise ValueError(self._problems[index])
        features = (values[index] for values in self._features.values())
        return (self.image(index), self._targets[index], *features)

    def image(self, index: int) -> Any:
        """Return the path of an image."""
        return self.path(index)

    def path(self, index: int) -> str:
        """Return the path of an image, or the row where it has none."""
        name = self.names[index] if self.names is not None else ""
        return os.path.join(self.root, name) if name else self.where(int(self.rows[index]))

    def root_of(self, index: int) -> str:
        """Return the folder that the paths start from."""
        return self.root if self.names is not None and self.names[index] else ""

    def iter_targets(self) -> Iterator[Any]:
        """Yield the targets, None where there is none; no image is opened."""
        yield from self._targets


class ParquetReader(CsvReader):
    """The same from parquet files; the column of images may also hold the files themselves.

    The files are bytes, or records of bytes and path as Hugging Face writes them. Shards of a split
    (train-00000-of-00002.parquet, ...) are one table. They are read by row groups: in a shuffled
    order a large table of them is slow, and `hfds/` is the better way.
    """

    suffixes = (".parquet",)
    thread_safe = False

    def open(self, tables: Sequence[str]) -> list[str]:
        """Open the table and return its columns."""
        self.files = ParquetFiles(tables)
        return list(self.files.schema.names)

    def path_columns(self) -> list[str]:
        """Return the column of the paths, in a list; an empty one if images are in the table.

        Raises:
            ValueError: it holds neither.
        """
        import pyarrow

        kind = self.files.schema.field(self.input_key).type
        if pyarrow.types.is_dictionary(kind):  # how pandas writes categories
            kind = kind.value_type
        text = (pyarrow.string(), pyarrow.large_string(), pyarrow.string_view(), pyarrow.null())
        if kind in text:
            return [self.input_key]
        if pyarrow.types.is_struct(kind) or "binary" in str(kind):
            return []
        raise ValueError(
            f"{self.table}: the column {self.input_key!r} holds {kind}, neither paths nor files: "
            "input_key names that of the images"
        )

    def num_rows(self) -> int:
        """Return the number of rows."""
        return len(self.files)

    def read_columns(self, names: Sequence[str]) -> Columns:
        """Return columns."""
        return self.files.columns(names)

    def where(self, row: int) -> str:
        """Return the place of a row, for messages."""
        return self.files.where(row)

    def image(self, index: int) -> Any:
        """Return the path of an image, or the content of its file."""
        if self.names is not None:
            return self.path(index)
        content, path = self._stored(index)
        if not content and not path:
            raise ValueError(f"{self.path(index)}: no image: {self.input_key!r} is empty")
        return content or os.path.join(self.root, path)

    def path(self, index: int) -> str:
        """Return the path of an image, or the name or the row that it is stored under."""
        return (self.names is None and self._stored(index)[1]) or super().path(index)

    def _stored(self, index: int) -> tuple[bytes | None, str]:
        value = self.files.cell(int(self.rows[index]), self.input_key)
        if isinstance(value, Mapping):
            return value.get("bytes"), value.get("path") or ""
        return value, ""


def _find_tables(
    name: str, root: str | Path | None, split: str, suffixes: Sequence[str]
) -> list[str]:
    """Return the table that a name stands for, or its shards."""
    candidates = [name, os.path.join(root or "", name)]
    for path in candidates:
        if path and os.path.isfile(path):
            return [path]
    names = next((names for names in SPLITS if split in names), ())
    folders = [folder for folder in dict.fromkeys(candidates) if folder and os.path.isdir(folder)]
    for folder in folders:
        for stem in dict.fromkeys((split, *names)):
            for suffix in suffixes:
                if os.path.isfile(path := os.path.join(folder, f"{stem}{suffix}")):
                    return [path]
            if ".parquet" in suffixes and (shards := _find_shards(folder, stem)):
                return shards
    place = f"there is no table {name!r}, neither as it stands nor in {os.fspath(root or '.')!r}"
    also = f"no {split}{suffixes[0]} either"
    if ".parquet" in suffixes:
        also = f"no {split}.parquet or {split}-00000-of-00001.parquet either"
        for folder in folders:
            if any(file.endswith(".parquet") for file in os.listdir(folder)):
                also += f"; hfds/{os.path.normpath(folder)} reads all parquet files of a folder"
    raise FileNotFoundError(f"{place}, and {also}")


def _find_shards(folder: str, split: str) -> list[str]:
    """Return the shards of a split in a folder, or in its folder "data", in order.

    Raises:
        FileNotFoundError: one is missing.
    """
    for place in (folder, os.path.join(folder, "data")):
        files = sorted(os.listdir(place)) if os.path.isdir(place) else []
        matches = [m for f in files if (m := _SHARD.fullmatch(f.removesuffix(".parquet")))]
        shards = [m for m in matches if m["stem"] == split]
        if not shards:
            continue
        numbers = [(int(m["number"]), int(m["total"])) for m in shards]
        wanted = [(number, numbers[0][1]) for number in range(numbers[0][1])]
        if numbers != wanted:
            raise FileNotFoundError(
                f"the shards of {split!r} in {place!r} are not complete, or of two tables: there "
                f"are {', '.join(m[0] for m in shards[:5])}"
            )
        return [os.path.join(place, f"{m[0]}.parquet") for m in shards]
    return []
