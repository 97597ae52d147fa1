"""How models are named: `[plugin/]architecture[.tag]` or `scheme:reference`."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

_SOURCE = re.compile(r"([A-Za-z][A-Za-z0-9_\-]+):(.*)", re.DOTALL)  # "C:" is a drive
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.\-]*/[\w.\-]+(@.+)?")
_PATH = re.compile(r"[./~].*|[A-Za-z]:.*|.*\\.*|.*/|.*/.*/.*", re.DOTALL)
_WEIGHTS = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".npz", ".tar", ".pkl", ".h5")


class ModelName(NamedTuple):
    """The parts of a model name; empty where a part is absent."""

    plugin: str
    architecture: str
    tag: str

    @classmethod
    def parse(cls, name: str) -> ModelName:
        """Split `[plugin/]architecture[.tag]`."""
        plugin, _, rest = checked_name(name).rpartition("/")
        architecture, _, tag = rest.partition(".")
        return cls(plugin, architecture, tag)


def checked_name(name: object) -> str:
    """Return a name of a model if it is text.

    Raises:
        TypeError: it is something else.
    """
    if isinstance(name, str):
        return name
    hint = f". {other_reading(os.fspath(name))}" if isinstance(name, os.PathLike) else ""
    raise TypeError(
        f"the name of a model is a str, such as 'resnet50', not {name!r:.80} "
        f"({type(name).__name__}){hint}"
    )


def split_source(name: str) -> tuple[str | None, str]:
    """Split a scheme from its reference: ("hf-hub", "org/name"), or (None, "resnet50").

    `hf_hub:` and `hf-hub:` are the same scheme, as are `local_dir:` and `local-dir:`.
    """
    match = _SOURCE.fullmatch(checked_name(name))
    return (normal_scheme(match[1]), match[2]) if match else (None, name)


def normal_scheme(scheme: str) -> str:
    """Return a scheme in the one spelling that all its spellings mean: "hf-hub"."""
    return scheme.replace("_", "-").lower()


def other_reading(name: str) -> str:
    """Return what to write for a path or a repository that stands where a name is due.

    Empty for what looks like neither, and is no path of this machine.
    """
    if split_source(name)[0]:
        return f"{name!r} is a place that hub.create_model loads from, not an architecture"
    if name.lower().endswith(_WEIGHTS) or os.path.isfile(name):
        return (
            "For a file of weights name the architecture too: create_model(NAME, "
            f"checkpoint_path='{name}'); with a config.json beside it 'file:{name}' does"
        )
    folder = f"For a folder write 'local-dir:{name}'"
    if _REPOSITORY.fullmatch(name):
        return f"{folder}, for a repository on the Hugging Face Hub write 'hf_hub:{name}'"
    return folder if "/" in name or is_path(name) or os.path.isdir(name) else ""


def is_path(name: str) -> bool:
    """Whether a name can only be a path, of this system or of another."""
    return _PATH.fullmatch(name) is not None


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
        model_name = split_source(model_name)[1]
    return "".join(c if c.isalnum() else "_" for c in model_name).rstrip("_")


def natural_key(name: str) -> list[tuple[int, str]]:
    """Return a sort key that puts resnet18 before resnet101."""
    parts = re.split(r"(\d+)", name.lower())
    return [(int(part), "") if part.isdigit() else (0, part) for part in parts]
