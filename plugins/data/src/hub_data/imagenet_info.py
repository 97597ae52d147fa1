"""The classes of ImageNet and of its subsets: ids, words and definitions of WordNet.

The tables and their sources are described in `info/README.md`. Reading them takes some tens of
milliseconds, once, on first use; `labels.imagenet_labels` reads ImageNet-1k alone.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, NamedTuple

from hub import Weights

from hub_data.dataset_info import DatasetInfo

if TYPE_CHECKING:
    from torch import nn

#: Subset to the letter that marks its classes in `info/imagenet.tsv.gz`.
SUBSETS: Mapping[str, str] = {
    "imagenet-1k": "k",
    "imagenet-12k": "t",
    "imagenet-21k": "g",
    "imagenet-21k-goog": "g",
    "imagenet-21k-miil": "m",
    "imagenet-21k-miil-w21": "w",
    "imagenet-22k": "f",
    "imagenet-22k-ms": "s",
    "imagenet-a": "a",
    "imagenet-r": "r",
    "mini-imagenet": "i",
}
_BY_NUM_CLASSES = {
    1000: "imagenet-1k",
    11221: "imagenet-21k-miil",
    11821: "imagenet-12k",
    21841: "imagenet-22k",
    21842: "imagenet-22k-ms",
    21843: "imagenet-21k-goog",
}


class Synset(NamedTuple):
    """A class of ImageNet.

    Args:
        lemma: its words, joined by commas.
        definition: one sentence.
        subsets: letters of the subsets it is in.
    """

    lemma: str
    definition: str
    subsets: str


class ImageNetInfo(DatasetInfo):
    """The classes of a subset of ImageNet, in the order of its classifiers.

    Args:
        subset: a key of `SUBSETS`; case, dashes, underscores and blanks do not matter.

    Raises:
        ValueError: there is no such subset.

    >>> ImageNetInfo("imagenet-12k").index_to_description(0)
    'benthos'
    """

    def __init__(self, subset: str = "imagenet-1k") -> None:
        self._names = imagenet_synsets(subset)

    def num_classes(self) -> int:
        """Return the number of classes."""
        return len(self._names)

    def label_names(self) -> list[str]:
        """Return the WordNet ids, such as "n01440764"."""
        return list(self._names)

    def index_to_label_name(self, index: int) -> str:
        """Return the WordNet id of a class."""
        if not self.has_label(index):
            raise IndexError(f"class {index} is out of range: there are {len(self._names)} classes")
        return self._names[int(index)]

    def label_name_to_description(self, label: str, detailed: bool = False) -> str:
        """Return the words of a WordNet id, with its definition where `detailed`."""
        synset = _table()[label]
        return f"{synset.lemma}: {synset.definition}" if detailed else synset.lemma


def imagenet_synsets(subset: str) -> tuple[str, ...]:
    """Return the WordNet ids of a subset, in the order of its classifiers.

    Raises:
        ValueError: there is no such subset.
    """
    wanted = _bare(subset)
    for name in SUBSETS:
        if _bare(name) == wanted:
            return _members(SUBSETS[name])
    raise ValueError(f"unknown subset {subset!r} of ImageNet: choose from {', '.join(SUBSETS)}")


def imagenet_indices(subset: str, within: str = "imagenet-1k") -> list[int]:
    """Return where the classes of `subset` are among those of `within`.

    With them the outputs of a classifier are narrowed to a subset: `output[:, indices]` for
    ImageNet-A with a classifier of ImageNet-1k.

    Raises:
        ValueError: there is no such subset, or a class of it is not in `within`.

    >>> imagenet_indices("imagenet-a")[:3]
    [6, 11, 13]
    """
    position = {synset: index for index, synset in enumerate(imagenet_synsets(within))}
    synsets = imagenet_synsets(subset)
    lacking = [synset for synset in synsets if synset not in position]
    if lacking:
        raise ValueError(f"{len(lacking)} classes of {subset} are not in {within}: {lacking[:3]}")
    return [position[synset] for synset in synsets]


def infer_imagenet_subset(
    model_or_cfg: nn.Module | Mapping[str, Any] | Weights,
) -> str | None:
    """Return the subset that has as many classes as a classifier, or None.

    Args:
        model_or_cfg: a network, or the description of its weights.

    >>> infer_imagenet_subset({"num_classes": 11821})
    'imagenet-12k'
    """
    if isinstance(model_or_cfg, Mapping):
        return _BY_NUM_CLASSES.get(model_or_cfg.get("num_classes") or 0)
    num_classes = getattr(model_or_cfg, "num_classes", None)
    if num_classes:
        return _BY_NUM_CLASSES.get(num_classes)
    cfg = getattr(model_or_cfg, "pretrained_cfg", None) or {}
    return infer_imagenet_subset(cfg) if cfg else None


def read_info(name: str) -> str:
    """Return the text of a compressed file of `info`."""
    packed = files("hub_data").joinpath("info", name).read_bytes()
    return gzip.decompress(packed).decode("utf-8")


@cache
def _table() -> Mapping[str, Synset]:
    rows = (line.split("\t") for line in read_info("imagenet.tsv.gz").splitlines())
    return {name: Synset(lemma, definition, subsets) for name, subsets, lemma, definition in rows}


@cache
def _members(letter: str) -> tuple[str, ...]:
    """Return the classes with this letter; all are sorted but for the one that puts 1k first."""
    names = [name for name, synset in _table().items() if letter in synset.subsets]
    if letter == SUBSETS["imagenet-22k-ms"]:
        first = SUBSETS["imagenet-1k"]
        names.sort(key=lambda name: (first not in _table()[name].subsets, name))
    return tuple(names)


def _bare(subset: str) -> str:
    return re.sub(r"[-_\s]", "", subset.lower())
