"""Class names to indices: from a dict, a text file or a JSON file, and looked up for labels.

Differences from timm: JSON is read, and the other forms in which class names are published;
pickles are not, because reading one can run code. Names are compared in Unicode's composed form
(NFC), so that "é" is one character, however a file system or an editor wrote it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from numbers import Integral
from pathlib import Path
from typing import Any
from unicodedata import normalize

from hub_data.text_files import read_text

ClassMap = Mapping[Any, int]

_FORMS = (
    "give a .txt file with a class name per line, or a .json file with a list of names, or an "
    "object of name to index or of index to name"
)
_COMMENT = re.compile(r"^\s*#.*|\s#(\s.*)?$")
_SYNSET = re.compile(r"n\d{8}(?![^\s,:])")
_NUMBER_FIRST = re.compile(r"(?P<index>\d+)\s*[\s:,]\s*(?P<name>.+)")
_NUMBER_LAST = re.compile(r"(?P<name>.+?)\s*[\s:,]\s*(?P<index>\d+)")
#: Text that is a whole number and nothing else: not "007", which is a name.
_WHOLE = re.compile(r"-?(0|[1-9]\d{0,17})(\.0+)?", re.ASCII)


class UnlistedClassError(KeyError):
    """The class map lacks the class of a label."""


def load_class_map(map_or_filename: ClassMap | str | Path, root: str | Path = "") -> dict[Any, int]:
    """Return class name to index.

    Args:
        map_or_filename: a dict of name to index, or of index to name; or a `.txt` file with a class
            name per line, in the order of the indices, or with the index before or after the name;
            or a `.json` file with a list of names or such an object, also a `config.json` that
            holds one (id2label, label2id, label_names). In text, lines that begin with "#" are
            comments. Where a WordNet id precedes its words (n01440764 tench), it is the name.
        root: where the file is looked for if it is not found as it stands.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is empty, of another kind, can be read in two ways, names a class twice, or
            an index is negative.
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
        return _checked(_from_lines(read_text(path), path), path)
    if suffix == ".json":
        return _checked(_from_json(read_text(path), path), path)
    raise ValueError(f"{path} is no class map: {_FORMS}")


def given_class_map(
    class_map: ClassMap | str | Path | None, root: str | Path = ""
) -> dict[Any, int] | None:
    """Return a class map that was given; None for None and "", which timm's scripts give."""
    return None if class_map is None or class_map == "" else load_class_map(class_map, root)


def class_name(name: Any) -> Any:
    """Return a class name in the form in which names are compared."""
    return normalize("NFC", name) if isinstance(name, str) and not name.isascii() else name


def whole_number(value: Any) -> int | None:
    """Return the whole number that a label is, also as text ("7", "7.0"); None for all others."""
    if isinstance(value, str):
        return int(value.partition(".")[0]) if _WHOLE.fullmatch(value) else None
    is_whole = isinstance(value, Integral) or (isinstance(value, float) and value.is_integer())
    return int(value) if is_whole else None


def find_class(
    label: Any, class_to_idx: ClassMap, source_names: Mapping[int, str] | None = None
) -> int | None:
    """Return the index of a label, by its name or its number; None where the map lacks it.

    Args:
        label: a name or a number.
        class_to_idx: label to index.
        source_names: index in the source to name, for maps by name over sources with indices.
    """
    spellings = _spellings(label, source_names or {})
    return next((class_to_idx[name] for name in spellings if name in class_to_idx), None)


def _spellings(label: Any, source_names: Mapping[int, str]) -> Iterator[Any]:
    yield class_name(label)
    number = whole_number(label)
    if number is not None:
        yield number
        if number in source_names:
            yield class_name(source_names[number])
        yield str(number)


def reorder(values: Sequence[float], class_to_idx: ClassMap) -> list[float]:
    """Return a vector with a value per class in the order of `class_to_idx`, of index to index.

    Raises:
        ValueError: the map is of names, or the vector too short for it.
    """
    if not all(isinstance(source, Integral) for source in class_to_idx):
        raise ValueError("a multihot target has no names: give a class map of index to index")
    highest = max(class_to_idx)
    if highest >= len(values):
        raise ValueError(f"the class map has class {highest}; the target has {len(values)} values")
    result = [0.0] * (max(class_to_idx.values()) + 1)
    for source, index in class_to_idx.items():
        result[index] = float(values[source])
    return result


def _from_json(text: str, path: Path) -> Any:
    try:
        found = json.loads(text, object_pairs_hook=partial(_without_repeats, path))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is no JSON ({error}): {_FORMS}") from error
    for config in (found, found.get("pretrained_cfg")) if isinstance(found, dict) else ():
        for key in ("id2label", "label2id", "label_names"):
            if isinstance(config, dict) and isinstance(config.get(key), dict | list):
                return config[key]
    return found


def _without_repeats(path: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if found.setdefault(key, value) != value:
            raise ValueError(f"{path} has {key!r} twice, with {found[key]!r} and {value!r}")
    return found


def _from_lines(text: str, path: Path) -> list[str] | dict[str, int]:
    """Return what the lines of a text file name: names in order, or name to index."""
    lines = [
        line for line in (_COMMENT.sub("", line).strip() for line in text.splitlines()) if line
    ]
    if lines and lines[0][0] in "{[":
        raise ValueError(f"{path} holds no lines of names, but JSON or Python: save it as .json")
    for form in (_NUMBER_FIRST, _NUMBER_LAST):
        matches = [match for match in map(form.fullmatch, lines) if match]
        names = [match["name"].strip("'\"") for match in matches]
        if len(matches) < len(lines) or len(set(names)) < len(names):
            continue
        indices = [int(match["index"]) for match in matches]
        if sorted(indices) == list(range(len(lines))):
            return dict(zip(_ids(names, path), indices, strict=True))
        if lines and indices == list(range(1, len(lines) + 1)):
            raise ValueError(
                f"{path} numbers its lines from 1, and indices start at 0: leave the numbers out, "
                "or write a .json file with a list of the names"
            )
    return _ids(lines, path)


def _ids(names: Sequence[str], path: Path) -> list[str]:
    """Return the WordNet ids of lines that begin with one, other lines as they are."""
    ids = [match[0] if (match := _SYNSET.match(name)) else "" for name in names]
    if not any(ids):
        return list(names)
    for name, synset in zip(names, ids, strict=True):
        rest = name.removeprefix(synset).lstrip(" \t,:")
        if not synset or re.match(r"\d+\b", rest):
            what = "numbers that may be indices" if synset else "names without one"
            raise ValueError(
                f"{path} mixes WordNet ids and {what} ({name!r}): write a .json file of name to "
                "index"
            )
    return ids


def _checked(found: Any, origin: object) -> dict[Any, int]:
    if not found or not isinstance(found, list | Mapping):
        raise ValueError(f"{origin} holds no classes: {_FORMS}")
    if isinstance(found, list):
        readings = [_by_index(enumerate(found), origin, numbers=True)]
    else:
        readings = [_by_name(found, origin), _by_index(found.items(), origin)]
    maps = [reading for reading in readings if reading]
    if not maps:
        raise ValueError(f"{origin} {_first_misfit(found)}: {_FORMS}")
    if len({tuple(sorted((str(name), i) for name, i in found.items())) for found in maps}) > 1:
        raise ValueError(
            f"{origin} can be read as name to index and as index to name, which differ: make the "
            'indices numbers, {"name": 0}'
        )
    return maps[0]


def _by_name(found: Mapping[Any, Any], origin: object) -> dict[Any, int]:
    """Return a map of name to index; empty where it is none."""
    result: dict[Any, int] = {}
    for given, value in found.items():
        name, index = class_name(given), _index(value)
        if index is None or not _is_name(given, numbers=True):
            return {}
        if result.setdefault(name, index) != index:
            codes = " and ".join(ascii(other) for other in found if class_name(other) == name)
            raise ValueError(f"{origin} has two indices for {name!r}, written as {codes}")
    return result


def _by_index(
    pairs: Iterable[tuple[Any, Any]], origin: object, numbers: bool = False
) -> dict[Any, int]:
    """Return pairs of index and name as name to index; empty where they are something else."""
    result: dict[Any, int] = {}
    for given_index, given in pairs:
        # Keras writes [id, words]: the id is what folders are called.
        name = given[0] if isinstance(given, list | tuple) and given else given
        index = _index(given_index)
        if index is None or not _is_name(name, numbers):
            return {}
        name = class_name(name)
        if result.setdefault(name, index) != index:
            raise ValueError(
                f"{origin} names {name!r} more than once, as {result[name]} and {index}: each "
                "class needs a name of its own, such as its WordNet id"
            )
    return result


def _index(value: Any) -> int | None:
    """Return the index from 0 up that a value is, or None."""
    if isinstance(value, bool) or not isinstance(value, Integral | str):
        return None
    number = whole_number(value)
    return number if number is not None and number >= 0 else None


def _is_name(value: Any, numbers: bool) -> bool:
    if isinstance(value, str):
        return bool(value.strip())
    return numbers and isinstance(value, Integral) and not isinstance(value, bool)


def _first_misfit(found: Any) -> str:
    if isinstance(found, list):
        place, name = next(p for p in enumerate(found) if not _by_index([p], "", numbers=True))
        return f"has {name!r} as item {place}, which is no name"
    for key, value in found.items():
        if not _is_name(key, numbers=True):
            return f"names a class {key!r}, which is no name"
        if _index(value) is None and (_index(key) is None or not _by_index([(0, value)], "")):
            return f"maps {key!r} to {value!r}, which is no index from 0 up"
    return "maps some names to indices and some indices to names"
