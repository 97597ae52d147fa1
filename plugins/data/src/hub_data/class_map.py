"""Class names to indices: from a dict, a text file or a JSON file, and applied to targets.

Differences from timm: JSON is read; pickles are not, because reading one can run code.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

ClassMap = Mapping[Any, int]


def load_class_map(map_or_filename: ClassMap | str | Path, root: str | Path = "") -> dict[Any, int]:
    """Return class name to index.

    Args:
        map_or_filename: such a dict; or a `.txt` file with a class name per line, in the order of
            the indices; or a `.json` file with a list of names or an object of name to index.
        root: where the file is looked for if it is not found as it stands.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is empty, of another kind, names a class twice, or an index is negative.
    """
    if isinstance(map_or_filename, Mapping):
        return _checked(map_or_filename, "class_map")
    path = Path(map_or_filename)
    if not path.exists():
        path = Path(root, path)
    if not path.exists():
        raise FileNotFoundError(
            f"there is no class map {str(map_or_filename)!r}, neither as it stands nor in "
            f"{str(root)!r}"
        )
    suffix = path.suffix.lower()
    if suffix == ".txt":
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        return _checked([line.strip() for line in lines if line.strip()], path)
    if suffix == ".json":
        return _checked(json.loads(path.read_text(encoding="utf-8-sig")), path)
    raise ValueError(
        f"{path} is no class map: give a .txt file with a class name per line, or a .json file "
        "with a list of names or an object of name to index"
    )


def _checked(found: Any, origin: object) -> dict[Any, int]:
    if isinstance(found, list):
        twice = [name for name, count in Counter(found).items() if count > 1]
        if twice:
            raise ValueError(f"{origin} names {', '.join(map(repr, twice[:5]))} more than once")
        found = {name: index for index, name in enumerate(found)}
    if not isinstance(found, Mapping) or not found:
        raise ValueError(f"{origin} holds no classes: it must map at least one name to an index")
    for name, index in found.items():
        if not isinstance(index, Integral) or isinstance(index, bool) or index < 0:
            raise ValueError(f"{origin} maps {name!r} to {index!r}, which is no index from 0 up")
    return {name: int(index) for name, index in found.items()}


def remap_target(
    target: Any,
    class_to_idx: ClassMap,
    source_names: Mapping[int, str] | None = None,
    dense: bool = False,
) -> Any:
    """Return a target in the indices of `class_to_idx`.

    Args:
        target: a label, a sequence of labels, or with `dense` a vector with a value per class.
        class_to_idx: label to index; `dense` needs labels that are indices.
        source_names: index in the source to name, for maps by name over sources with indices.
        dense: reorder a vector instead; classes that the map lacks are dropped.

    Raises:
        KeyError: the map lacks a label.
        ValueError: a dense target does not fit the map.
    """
    if dense:
        return _remap_dense(target, class_to_idx)
    if _is_sequence(target):
        return [remap_target(value, class_to_idx, source_names) for value in target]
    if source_names and isinstance(target, Integral) and target not in class_to_idx:
        target = source_names[int(target)]
    if target not in class_to_idx:
        raise KeyError(f"the class map has no class {target!r}")
    return class_to_idx[target]


def _remap_dense(values: Sequence[float], class_to_idx: ClassMap) -> list[float]:
    if not all(isinstance(source, Integral) for source in class_to_idx):
        raise ValueError("a multihot target has no names: give a class map of index to index")
    highest = max(class_to_idx)
    if highest >= len(values):
        raise ValueError(f"the class map has class {highest}; the target has {len(values)} values")
    result = [0.0] * (max(class_to_idx.values()) + 1)
    for source, index in class_to_idx.items():
        result[index] = float(values[source])
    return result


def _is_sequence(value: Any) -> bool:
    if isinstance(value, str | bytes):
        return False
    return isinstance(value, Sequence) or getattr(value, "ndim", 0) > 0
