"""How timm modules declare their weights, for code that moves over: see `hub.register_model`."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hub.family import Weights


@dataclass
class DefaultCfg:
    """Tags and weights of one architecture, the default tag first.

    Args:
        tags: the tags in order.
        cfgs: tag to weights, in the same order.
        is_pretrained: whether any has weights.
    """

    tags: deque[str] = field(default_factory=deque)
    cfgs: dict[str, Weights] = field(default_factory=dict)
    is_pretrained: bool = False

    @property
    def default(self) -> Weights:
        """The weights of the default tag."""
        return self.cfgs[self.tags[0]]

    @property
    def default_with_tag(self) -> tuple[str, Weights]:
        """The default tag and its weights."""
        return self.tags[0], self.default


def generate_default_cfgs(cfgs: Mapping[str, Weights | Mapping[str, Any]]) -> dict[str, DefaultCfg]:
    """Group "arch.tag" to weights by architecture and put the default tag first.

    The default is the untagged entry if it has weights, a tag that ends in "*", or else the first
    with weights.

    Args:
        cfgs: "arch.tag" to `Weights`, or to a dict of its fields.
    """
    grouped: dict[str, dict[str, Weights]] = {}
    chosen: dict[str, str] = {}
    for key, value in cfgs.items():
        weights = Weights(**value) if isinstance(value, Mapping) else value
        architecture, _, tag = key.partition(".")
        marked = tag.endswith("*") or (not tag and weights.has_weights)
        tag = tag.removesuffix("*")
        grouped.setdefault(architecture, {})[tag] = weights
        if marked:
            chosen[architecture] = tag
    result = {}
    for architecture, entries in grouped.items():
        with_weights = [t for t, w in entries.items() if w.has_weights]
        first = chosen.get(architecture, next(iter([*with_weights, *entries])))
        tags = sorted(entries, key=lambda tag: tag != first)  # stable: the rest keep their order
        result[architecture] = DefaultCfg(
            deque(tags), {t: entries[t] for t in tags}, bool(with_weights)
        )
    return result
