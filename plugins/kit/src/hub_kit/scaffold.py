"""A new plugin: the package in `template/`, under the names that its author chose."""

from __future__ import annotations

import re
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from hub import plugins
from hub.errors import HubError

_PLUGIN = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_NETWORK = re.compile(r"[A-Z][A-Za-z0-9]*")
#: Names of commands, modules and plugins of hub itself.
_RESERVED = frozenset({"core", "local", "hub", "testing"})


def new_plugin(name: str, network: str | None = None, folder: str | Path | None = None) -> Path:
    """Write a package that installs, is found by hub, trains and keeps the contract.

    Args:
        name: what stands before the "/" in "acme/acme_net"; the distribution is "hub-acme".
        network: name of the class of the network; default "AcmeNet". Its architecture is called by
            the same words: "acme_net".
        folder: where to write; default "hub-acme" in the working directory.

    Returns:
        The folder.

    Raises:
        HubError: a name is malformed or belongs to somebody, or there is something in the folder.
    """
    _check_plugin_name(name)
    network = network or "".join(map(str.capitalize, name.split("_"))) + "Net"
    words = {
        "AcmeNet": network,
        "acme_net": _architecture_name(network),
        "hub-acme": f"hub-{name.replace('_', '-')}",
        "acme": name,
    }
    target = Path(folder or words["hub-acme"])
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise HubError(f"{target} exists and is not empty; give another folder with --to")
    _render(files("hub_kit") / "template", target, words)
    return target


def _check_plugin_name(name: str) -> None:
    if not _PLUGIN.fullmatch(name):
        raise HubError(
            f"{name!r} cannot be the name of a plugin: write small letters, digits and single "
            "underscores, a letter first, as in 'acme' or 'acme_nets'; 'hub-' is added"
        )
    if name in _RESERVED or name in plugins.known():
        raise HubError(f"{name!r} is a name of hub's own; choose another, such as 'my_{name}'")


def _architecture_name(network: str) -> str:
    """Return the words of a class name in small letters: "AcmeNet" to "acme_net"."""
    if not _NETWORK.fullmatch(network):
        raise HubError(
            f"--network {network!r} cannot be the name of a class: write letters and digits, a "
            "capital first, as in 'AcmeNet'"
        )
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", network).lower()
    for plugin, entry in plugins.known().items():
        if name in entry["models"]:
            raise HubError(
                f"--network {network!r} would be the architecture {name}, which is one of "
                f"hub-{plugin}; choose another, such as 'My{network}'"
            )
    return name


def _render(source: Traversable, target: Path, words: dict[str, str]) -> None:
    """Copy a file or folder; each word is replaced in names and contents alike."""
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
        for entry in source.iterdir():
            if entry.name != "__pycache__":
                _render(entry, target / _replaced(entry.name, words), words)
    else:
        target.write_text(_replaced(source.read_text(encoding="utf-8"), words), encoding="utf-8")


def _replaced(text: str, words: dict[str, str]) -> str:
    return re.sub("|".join(words), lambda match: words[match[0]], text)
