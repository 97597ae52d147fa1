"""What is known of a network's feature levels, and which of them a caller asks for."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import Any, overload

Indices = int | Sequence[int] | None


def take_indices(num_levels: int, indices: Indices = None) -> list[int]:
    """Return the levels that `indices` asks for, ascending and each once.

    Args:
        num_levels: how many levels the network has.
        indices: None for all, an int for that many last ones, or positions from either end.

    Raises:
        ValueError: a position that does not exist, or something that is none.
    """
    if indices is None:
        return list(range(num_levels))
    if not isinstance(indices, int):
        indices = _positions(num_levels, indices)
    else:
        if not 0 < indices <= num_levels:
            raise ValueError(
                f"asked for the last {indices} levels of a network that has {num_levels}"
            )
        return list(range(num_levels - indices, num_levels))
    for index in indices:
        if not -num_levels <= index < num_levels:
            raise ValueError(
                f"there is no feature level {index}: this network has {num_levels}, "
                f"0 to {num_levels - 1}, or -{num_levels} to -1 from the end"
            )
    return sorted({index % num_levels for index in indices})


def _positions(num_levels: int, indices: Sequence[int]) -> list[int]:
    try:
        positions = [i if isinstance(i, int) else operator.index(i) for i in indices]
    except TypeError:
        positions = []
    if not positions:
        raise ValueError(
            f"out_indices={indices!r}: give the numbers of one level or more, such as (1, -1), a "
            f"number n for the last n, or None for all; levels are 0 to {num_levels - 1}"
        )
    return positions


class FeatureInfo(list[dict[str, Any]]):
    """The feature table of a network: one dict per level, and which of them are handed out.

    Each dict has `num_chs` (channels), `reduction` (stride against the image), `module` (path of
    the module that the level ends with; None where there is no one) and `index` (position).
    A network adds `layout`, `num_prefix_tokens` and `norm` (path of what `norm=True` applies);
    `modules` stands where its author stated it. See `hub.Backbone`.

    Args:
        levels: the dicts, in order; `index` is added.
        out_indices: which levels are handed out; see `take_indices`.
    """

    def __init__(self, levels: Iterable[dict[str, Any]], out_indices: Indices = None) -> None:
        super().__init__({**level, "index": i} for i, level in enumerate(levels))
        self.out_indices = tuple(take_indices(len(self), out_indices))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (list(self), self.out_indices)

    @property
    def info(self) -> list[dict[str, Any]]:
        """The dicts of all levels: timm's name for the table itself."""
        return self

    def from_other(self, out_indices: Indices) -> FeatureInfo:
        """Return the same table with other levels handed out."""
        return FeatureInfo(self, out_indices)

    def get(self, key: str, idx: int | Sequence[int] | None = None) -> Any:
        """Return one column of the levels handed out, of level `idx`, or of several levels."""
        if isinstance(idx, int):
            return self[idx][key]
        return [self[i][key] for i in (self.out_indices if idx is None else idx)]

    def get_dicts(
        self, keys: Sequence[str] | None = None, idx: int | Sequence[int] | None = None
    ) -> Any:
        """Return the dicts of the levels handed out (or of `idx`), reduced to `keys`."""
        if isinstance(idx, int):
            return {k: v for k, v in self[idx].items() if keys is None or k in keys}
        return [self.get_dicts(keys, i) for i in (self.out_indices if idx is None else idx)]

    @overload
    def channels(self, idx: Sequence[int] | None = None) -> list[int]: ...
    @overload
    def channels(self, idx: int) -> int: ...
    def channels(self, idx: int | Sequence[int] | None = None) -> Any:
        """Return the channels of the levels handed out, or of `idx`."""
        return self.get("num_chs", idx)

    @overload
    def reduction(self, idx: Sequence[int] | None = None) -> list[int]: ...
    @overload
    def reduction(self, idx: int) -> int: ...
    def reduction(self, idx: int | Sequence[int] | None = None) -> Any:
        """Return the strides of the levels handed out, or of `idx`."""
        return self.get("reduction", idx)

    @overload
    def module_name(self, idx: Sequence[int] | None = None) -> list[str]: ...
    @overload
    def module_name(self, idx: int) -> str: ...
    def module_name(self, idx: int | Sequence[int] | None = None) -> Any:
        """Return the module paths of the levels handed out, or of `idx`."""
        return self.get("module", idx)
