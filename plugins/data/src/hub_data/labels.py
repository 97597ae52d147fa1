"""Names of classes in words: those that a model's weights carry, else those of ImageNet-1k.

`imagenet_1k.tsv` has a line per class of ILSVRC 2012, in the order of the outputs: WordNet 3.0
synset id, tab, its words. Ids and words are facts of WordNet, taken from the label files that timm
1.0.31 packages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, NamedTuple

from hub import Weights

if TYPE_CHECKING:
    from torch import nn


class Label(NamedTuple):
    """A class of ImageNet.

    Args:
        synset: WordNet id, such as "n01440764".
        words: its synonyms, such as ("tench", "Tinca tinca").
    """

    synset: str
    words: tuple[str, ...]


@cache
def imagenet_labels() -> tuple[Label, ...]:
    """Return the 1000 classes of ImageNet-1k, in the order of the outputs.

    >>> imagenet_labels()[207]
    Label(synset='n02099601', words=('golden retriever',))
    """
    text = files("hub_data").joinpath("imagenet_1k.tsv").read_text(encoding="utf-8")
    rows = (line.split("\t") for line in text.splitlines())
    return tuple(Label(synset, tuple(words.split(", "))) for synset, words in rows)


def label_names(model_or_cfg: nn.Module | Mapping[str, Any] | Weights) -> list[str] | None:
    """Return a name in words for each output of a classifier, or None where they are unknown.

    Names that the weights carry (`label_names`) go first; one that is a bare WordNet id is
    replaced by its text in `label_descriptions` or, for ImageNet-1k, by its words. A classifier of
    1000 classes without names is taken for ImageNet-1k. Names whose number is not the number of
    classes are not used: they belong to another classifier.

    Args:
        model_or_cfg: a network with `pretrained_cfg`, or such a description itself.

    >>> label_names({"num_classes": 1000})[0]
    'tench'
    >>> label_names({"num_classes": 2, "label_names": ["cat", "dog"]})
    ['cat', 'dog']
    """
    cfg = _config(model_or_cfg)
    num_classes = getattr(model_or_cfg, "num_classes", cfg.get("num_classes"))
    names = _in_order(cfg.get("label_names") or ())
    if names and num_classes in (None, len(names)):
        words = dict(cfg.get("label_descriptions") or {})
        return [words.get(n) or _imagenet_words().get(n, n) if _is_synset(n) else n for n in names]
    if num_classes == 1000:
        return list(_imagenet_words().values())
    return None


@cache
def _imagenet_words() -> dict[str, str]:
    """Return synset id to its first word, or to all of them where the first names two classes."""
    labels = imagenet_labels()
    firsts = [label.words[0] for label in labels]
    return {
        label.synset: first if firsts.count(first) == 1 else ", ".join(label.words)
        for label, first in zip(labels, firsts, strict=True)
    }


def _config(model_or_cfg: nn.Module | Mapping[str, Any] | Weights) -> Mapping[str, Any]:
    cfg = model_or_cfg
    if not isinstance(cfg, Mapping | Weights):
        cfg = getattr(cfg, "pretrained_cfg", None) or getattr(cfg, "default_cfg", None) or {}
    return cfg if isinstance(cfg, Mapping) else cfg.to_dict()


def _in_order(names: Sequence[str | None] | Mapping[Any, str | None]) -> list[str]:
    """Return a name for each output from 0 on: "class 3" for one without."""
    if isinstance(names, Mapping):  # index to name; the indices are strings in JSON
        by_index = {int(index): name for index, name in names.items()}
        names = [by_index.get(index) for index in range(max(by_index, default=-1) + 1)]
    return [name or f"class {index}" for index, name in enumerate(names)]


def _is_synset(name: str) -> bool:
    return len(name) == 9 and name[0] == "n" and name[1:].isdigit()
