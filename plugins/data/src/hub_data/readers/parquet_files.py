"""Rows of parquet files: of one, or of shards that are one table together."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Any

import numpy as np

_reading = threading.Lock()


class ParquetFiles:
    """The rows of parquet files with the same columns, one file after another.

    Args:
        paths: the files.

    Raises:
        ValueError: one is no parquet file, or has other columns than the first.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self.paths = tuple(paths)
        # A file that was written anew is opened anew.
        self._stamps = [(os.stat(path).st_mtime_ns, os.stat(path).st_size) for path in paths]
        self.schema = self._file(0).schema_arrow
        sizes: list[int] = []
        self._groups: list[tuple[int, int]] = []  # (file, row group in it)
        for number, path in enumerate(paths):
            schema, metadata = self._file(number).schema_arrow, self._file(number).metadata
            if schema.names != self.schema.names:
                raise ValueError(
                    f"{path} has the columns {', '.join(schema.names)}, and {paths[0]} has "
                    f"{', '.join(self.schema.names)}: shards of one table have the same"
                )
            groups = range(metadata.num_row_groups)
            self._groups += [(number, group) for group in groups]
            sizes += [metadata.row_group(group).num_rows for group in groups]
        self._starts = np.array([0, *accumulate(sizes)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def columns(self, names: Sequence[str]) -> dict[str, list[Any]]:
        """Return columns, of all files."""
        found: dict[str, list[Any]] = {name: [] for name in names}
        for number in range(len(self.paths)):
            table = self._file(number).read(columns=list(names), use_threads=False)
            for name, values in found.items():
                values += table.column(name).to_pylist()
        return found

    def cell(self, row: int, column: str) -> Any:
        """Return a value; the row group that it lies in is read and kept for the next."""
        place = int(np.searchsorted(self._starts, row, side="right")) - 1
        number, group = self._groups[place]
        with _reading:
            stored = _row_group(self.paths[number], self._stamps[number], group, column)
        return stored[row - int(self._starts[place])].as_py()

    def where(self, row: int) -> str:
        """Return the file that a row lies in, and its number there, from 0."""
        place = int(np.searchsorted(self._starts, row, side="right")) - 1
        number = self._groups[place][0]
        first = next(i for i, (file, _) in enumerate(self._groups) if file == number)
        return f"{self.paths[number]}:{row - int(self._starts[first])}"

    def _file(self, number: int) -> Any:
        return _parquet_file(self.paths[number], self._stamps[number])


@lru_cache(4)
def _parquet_file(path: str, stamp: tuple[int, int]) -> Any:
    from pyarrow import ArrowInvalid, parquet

    try:
        return parquet.ParquetFile(path, memory_map=True)
    except ArrowInvalid as error:
        raise ValueError(f"{path} is no parquet file, or damaged: {error}") from error


@lru_cache(4)
def _row_group(path: str, stamp: tuple[int, int], group: int, column: str) -> Any:
    file = _parquet_file(path, stamp)
    # No threads of arrow: a worker that is forked while they run would wait for them for ever.
    return file.read_row_group(group, columns=[column], use_threads=False).column(column)
