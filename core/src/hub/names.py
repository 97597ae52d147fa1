"""How models are named: `[plugin/]architecture[.tag]` or `scheme:reference`."""

from __future__ import annotations

import re
from typing import NamedTuple

_SOURCE = re.compile(r"([A-Za-z][A-Za-z0-9_\-]+):(.+)", re.DOTALL)


class ModelName(NamedTuple):
    """The parts of a model name; empty where a part is absent."""

    plugin: str
    architecture: str
    tag: str

    @classmethod
    def parse(cls, name: str) -> ModelName:
        """Split `[plugin/]architecture[.tag]`."""
        plugin, _, rest = name.rpartition("/")
        architecture, _, tag = rest.partition(".")
        return cls(plugin, architecture, tag)


def parse_model_name(model_name: str) -> tuple[str | None, str]:
    """Split the scheme of a source from a name: ("hf-hub", "org/name") or (None, "resnet50").

    `hf_hub:` and `hf-hub:` are the same scheme, as are `local_dir:` and `local-dir:`.
    """
    match = _SOURCE.fullmatch(model_name)
    if not match:
        return None, model_name
    return match[1].replace("_", "-").lower(), match[2]


def split_model_name_tag(model_name: str, no_tag: str = "") -> tuple[str, str]:
    """Split "arch.tag" into architecture and tag; `no_tag` stands in for a missing tag."""
    architecture, _, tag = model_name.partition(".")
    return architecture, tag or no_tag


def get_arch_name(model_name: str) -> str:
    """Return a model name without its weight tag."""
    return split_model_name_tag(model_name)[0]


def safe_model_name(model_name: str, remove_source: bool = True) -> str:
    """Return a model name in letters, digits and "_", fit for a file name."""
    if remove_source:
        model_name = parse_model_name(model_name)[1]
    return "".join(c if c.isalnum() else "_" for c in model_name).rstrip("_")


def natural_key(name: str) -> list[tuple[int, str]]:
    """Return a sort key that puts resnet18 before resnet101."""
    parts = re.split(r"(\d+)", name.lower())
    return [(int(part), "") if part.isdigit() else (0, part) for part in parts]
