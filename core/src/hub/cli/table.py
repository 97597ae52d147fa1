"""Rows as aligned columns, for people; as tab-separated lines, for programs."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Sequence


def table(rows: Iterable[Sequence[object]], header: Sequence[str]) -> str:
    """Return rows under a header, cut to the width of the terminal.

    Where the output is no terminal: no header, cells separated by tabs, nothing cut.
    """
    lines = [[str(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        return "\n".join("\t".join(line) for line in lines)
    lines.insert(0, list(header))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    # The widest column gives way where a row would not fit.
    excess = sum(widths) + 2 * (len(widths) - 1) - shutil.get_terminal_size().columns
    widest = widths.index(max(widths))
    widths[widest] = max(10, widths[widest] - max(0, excess))
    return "\n".join(
        "  ".join(_fit(cell, w) for cell, w in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _fit(cell: str, width: int) -> str:
    return cell.ljust(width) if len(cell) <= width else cell[: width - 3] + "..."
