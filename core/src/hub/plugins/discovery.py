"""Which plugins are installed: entry points, and source trees, before anything is imported."""

from __future__ import annotations

import functools
import importlib
import json
import re
import tomllib
import warnings
from collections.abc import Iterable, Mapping
from importlib import metadata
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from hub.errors import HubWarning, PluginError

GROUP = "hub.plugins"


class Installed(NamedTuple):
    """An entry point of an installed distribution."""

    name: str
    value: str  # "hub_acme.plugin", "hub_acme.plugin:object" or "hub_acme.plugin [extra]"
    distribution: str
    version: str
    core: str = ""  # what it requires of hub-core: ">=0.2,<1"

    @property
    def official(self) -> bool:
        """Whether this is one of hub's own plugins."""
        entry = known().get(self.name)
        return entry is not None and entry["distribution"] == self.distribution


@functools.cache
def known() -> dict[str, dict[str, Any]]:
    """Return what the official plugins hold: distribution, models, commands, attributes."""
    text = (files("hub.plugins") / "known.json").read_text()
    data: dict[str, dict[str, Any]] = json.loads(text)
    return data


def discover(in_tree: Mapping[str, Installed]) -> frozenset[Installed]:
    """Return the plugins that are installed, loaded or not; those `in_tree` go first."""
    importlib.invalidate_caches()
    found = list(in_tree.values())
    for entry in _entry_points():
        if entry.dist is None:
            continue
        about = entry.dist.metadata
        tree = in_tree.get(entry.name)
        if tree is None or canonical(tree.distribution) != canonical(about["Name"]):
            core = _core_of(about.get_all("Requires-Dist", []))
            found.append(Installed(entry.name, entry.value, about["Name"], about["Version"], core))
    return frozenset(found)


def _entry_points() -> Iterable[metadata.EntryPoint]:
    try:
        return metadata.entry_points(group=GROUP)
    except Exception:  # a file of one distribution, whosever, cannot be read: ask each on its own
        found: dict[str, list[metadata.EntryPoint]] = {}
        for distribution in metadata.distributions():
            try:
                points = [p for p in distribution.entry_points if p.group == GROUP]
                found.setdefault(canonical(distribution.name), points)
            except Exception as e:
                text = f"the entry points of {distribution.locate_file('')} cannot be read: {e!r}"
                warnings.warn(text, HubWarning, stacklevel=2)
        return [point for points in found.values() for point in points]


def read_tree(folder: str | Path) -> tuple[dict[str, Installed], Path]:
    """Return the plugins of a source tree, by name, and the folder that its packages are in.

    Raises:
        PluginError: there is no pyproject.toml, or it declares no plugin.
    """
    path = Path(folder) / "pyproject.toml"
    try:
        project = tomllib.loads(path.read_text(encoding="utf-8")).get("project", {})
    except (OSError, tomllib.TOMLDecodeError) as e:
        raise PluginError(f"{folder} is no source tree of a plugin: {e}") from e
    entries = project.get("entry-points", {}).get(GROUP, {})
    if not entries:
        raise PluginError(
            f'{path} declares no plugin: it needs a table [project.entry-points."{GROUP}"], as '
            "`hub plugins new` writes it"
        )
    source = Path(folder) / "src"
    about = project["name"], project.get("version", "0"), _core_of(project.get("dependencies", []))
    found = {name: Installed(name, value, *about) for name, value in entries.items()}
    return found, (source if source.is_dir() else Path(folder)).resolve()


def canonical(distribution: str) -> str:
    """Return the name of a distribution in the one spelling that all its spellings mean."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def _core_of(requirements: Iterable[str]) -> str:
    """Return the versions of hub-core that the requirements of a distribution allow."""
    pattern = re.compile(r"hub[-_.]core(?![-_.\w])\s*\(?([^;)]*)", re.IGNORECASE)
    found = [match[1].strip() for match in map(pattern.match, requirements) if match]
    return ",".join(filter(None, found))
