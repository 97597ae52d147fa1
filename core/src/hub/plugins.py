"""The host: finds plugins by their entry points and loads each on its own.

A plugin that cannot be loaded costs one warning and is kept with its error, so that whoever asks
for one of its models is told the cause. `HUB_PLUGINS=resnet,vit` loads only these,
`HUB_PLUGINS=-acme` all but this one, `HUB_PLUGINS_STRICT=1` turns the warning into an error.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import json
import os
import re
import sys
import time
import tomllib
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, NamedTuple, cast

import pluggy

from hub import hookspecs
from hub.errors import HubWarning, PluginError
from hub.family import Family
from hub.suggest import did_you_mean

GROUP = "hub.plugins"
#: What takes long to import, and listing does not need.
HEAVY = frozenset({"torch", "torchvision", "numpy", "PIL", "huggingface_hub"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Plugin:
    """One installed plugin and what became of it.

    Args:
        name: name of its entry point; what stands before the "/" in "acme/resnet50".
        distribution: what `pip install` calls it.
        version: version of the distribution.
        official: whether it is one of hub's own, which own their names.
        status: loaded, broken (see `error`) or blocked (by `HUB_PLUGINS`).
        families: the families it declares.
        error: why it is broken.
        seconds: how long it took to load.
        heavy: packages that it was the first to import, such as torch; listing should need none.
    """

    name: str
    distribution: str
    version: str
    official: bool
    status: Literal["loaded", "broken", "blocked"]
    families: tuple[Family, ...] = ()
    error: BaseException | None = None
    seconds: float = 0.0
    heavy: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"plugin {self.name} ({self.distribution} {self.version})"


class Installed(NamedTuple):
    """An entry point of an installed distribution: what there is before anything is imported."""

    name: str
    module: str
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
    data: dict[str, dict[str, Any]] = json.loads((files("hub") / "known.json").read_text())
    return data


class _Loading:
    """A plugin on its way; what stops it is kept, and it goes no further."""

    def __init__(self, entry: Installed, holder: str) -> None:
        self.entry = entry
        self.holder = holder
        # In a clash the holder keeps the name and the other is named in full.
        clash = entry.distribution != holder
        self.name = f"{entry.distribution}:{entry.name}" if clash else entry.name
        self.blocked = False
        self.module: ModuleType | None = None
        self.families: tuple[Family, ...] = ()
        self.heavy: tuple[str, ...] = ()
        self.error: BaseException | None = None
        self.seconds = 0.0

    def attempt(self, step: Callable[[_Loading], None]) -> None:
        """Go one step, unless it is blocked or an earlier one failed."""
        if self.blocked or self.error:
            return
        start = time.perf_counter()
        try:
            step(self)
        except (Exception, SystemExit) as e:
            self.error = e
        self.seconds += time.perf_counter() - start


class Host:
    """The plugins of this process and the hooks through which they are called."""

    def __init__(self, installed: Iterable[Installed]) -> None:
        self.manager = pluggy.PluginManager("hub")
        self.manager.add_hookspecs(hookspecs)
        self.manager.register(importlib.import_module("hub.builtin"), "hub")
        self.installed = frozenset(installed)
        self.plugins: dict[str, Plugin] = {}
        loadings = [_Loading(entry, holder) for entry, holder in _with_holders(self.installed)]
        allowed, blocked = _environment({loading.name for loading in loadings})
        for loading in loadings:
            name = loading.name
            loading.blocked = name in blocked or (bool(allowed) and name not in allowed)
        for loading in loadings:
            loading.attempt(self._import)
        for loading in loadings:  # by now every hook is known, whoever brings it
            loading.attempt(self._register)
            self._report(loading)
        self.plugins = dict(sorted(self.plugins.items()))

    @property
    def hook(self) -> pluggy.HookRelay:
        """The hooks: `host.hook.hub_models()` asks every plugin."""
        return self.manager.hook

    def absence(self, name: str) -> str:
        """Return where what a plugin holds is, and why it is not here: "hub-vit, which ..."."""
        plugin = self.plugins.get(name)
        if plugin is None:
            distribution = known()[name]["distribution"]
            return f"{distribution}, which is not installed: pip install {distribution}"
        if plugin.status == "blocked":
            return f"{plugin}, which HUB_PLUGINS leaves out; add {name} to it or unset it"
        if plugin.status == "loaded":
            update = f"pip install --upgrade {plugin.distribution}"
            return f"another version of {plugin.distribution} than {plugin.version}: {update}"
        return f"{plugin}, which could not be loaded: {type(plugin.error).__name__}: {plugin.error}"

    def _import(self, loading: _Loading) -> None:
        """Import the module of a plugin, and learn the hooks that it brings."""
        entry = loading.entry
        if loading.name != entry.name:
            raise PluginError(
                f"the plugin name {entry.name!r} belongs to {loading.holder}; "
                f"uninstall {entry.distribution}, or ask its author for another name"
            )
        _check_core(entry)
        before = HEAVY & sys.modules.keys()
        try:
            loading.module = importlib.import_module(entry.module)
        finally:
            loading.heavy = tuple(sorted(HEAVY & sys.modules.keys() - before))
        bring = getattr(loading.module, "hub_addhooks", None)
        if bring is not None and self.manager.parse_hookimpl_opts(loading.module, "hub_addhooks"):
            for namespace in bring():
                self.manager.add_hookspecs(namespace)

    def _register(self, loading: _Loading) -> None:
        """Give the hooks of a plugin to those who call them, if they are as they should be."""
        module = loading.module
        assert module is not None
        self.manager.register(module, loading.name)
        try:
            self.manager.check_pending()
            loading.families = self._families(loading.name)
            self._check_tables(module)
        except BaseException:
            self.manager.unregister(module)
            raise

    def _report(self, loading: _Loading) -> None:
        """Keep what became of a plugin; warn, or raise, if it is broken."""
        entry, error = loading.entry, loading.error
        plugin = Plugin(
            name=loading.name,
            distribution=entry.distribution,
            version=entry.version,
            official=entry.official,
            status="blocked" if loading.blocked else "broken" if error else "loaded",
            families=loading.families,
            error=error,
            seconds=loading.seconds,
            heavy=loading.heavy,
        )
        self.plugins[plugin.name] = plugin
        if error:
            _warn(plugin, error)

    def _families(self, plugin: str) -> tuple[Family, ...]:
        found: list[Family] = []
        for implementation in self.hook.hub_models.get_hookimpls():
            if implementation.plugin_name == plugin:
                found.extend(cast("Iterable[Family]", implementation.function()))
        for family in found:
            if not isinstance(family, Family):
                raise PluginError(
                    f"hub_models of plugin {plugin!r} returned a {type(family).__name__}; "
                    "it must return hub.Family objects"
                )
        names = [name for family in found for name in (*family.variants, *family.renamed)]
        if len(names) != len(set(names)):
            twice = sorted({n for n in names if names.count(n) > 1})
            raise PluginError(f"plugin {plugin!r} declares {', '.join(twice)} more than once")
        return tuple(found)

    def _check_tables(self, module: object) -> None:
        """Call the other listing hooks once, so that a mistake is blamed on its plugin."""
        for hook, kind in (
            (self.hook.hub_sources, Mapping),
            (self.hook.hub_commands, Iterable),
            (self.hook.hub_attributes, Mapping),
        ):
            for implementation in hook.get_hookimpls():
                if implementation.plugin is module:
                    answer = implementation.function()
                    if not isinstance(answer, kind):
                        raise PluginError(
                            f"{hook.name} of {implementation.plugin_name!r} returned a "
                            f"{type(answer).__name__}, not a {kind.__name__}"
                        )


def discover() -> frozenset[Installed]:
    """Return the plugins that are installed, loaded or not."""
    importlib.invalidate_caches()
    found = list(_in_tree.values())
    for entry in importlib.metadata.entry_points(group=GROUP):
        if entry.dist is None:
            continue
        metadata = entry.dist.metadata
        tree = _in_tree.get(entry.name)
        if tree is None or canonical(tree.distribution) != canonical(metadata["Name"]):
            requires = metadata.get_all("Requires-Dist", [])
            found.append(
                Installed(
                    entry.name,
                    entry.value,
                    metadata["Name"],
                    metadata["Version"],
                    _core_of(requires),
                )
            )
    return frozenset(found)


def add_tree(folder: str | Path) -> list[str]:
    """Make the plugins of a source tree known to this process, as if it were installed.

    Args:
        folder: holds the `pyproject.toml` of one distribution; goes before an installed one.

    Returns:
        Names of its plugins.

    Raises:
        PluginError: there is no such file, or it declares no plugin.
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
    sys.path.insert(0, str((source if source.is_dir() else Path(folder)).resolve()))
    requires = _core_of(project.get("dependencies", []))
    version = project.get("version", "0")
    for name, module in entries.items():
        _in_tree[name] = Installed(name, module, project["name"], version, requires)
    rescan(force=True)
    return sorted(entries)


def canonical(distribution: str) -> str:
    """Return the name of a distribution in the one spelling that all its spellings mean."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def _core_of(requirements: Iterable[str]) -> str:
    """Return the versions of hub-core that the requirements of a distribution allow."""
    return ",".join(filter(None, map(_specifier, requirements)))


def _specifier(requirement: str) -> str:
    """Return the versions that a requirement allows if it is one of hub-core."""
    match = re.match(r"hub[-_.]core(?![-_.\w])\s*\(?([^;)]*)", requirement, re.IGNORECASE)
    return match[1].strip() if match else ""


def _with_holders(installed: Iterable[Installed]) -> Iterator[tuple[Installed, str]]:
    """Yield each plugin with the distribution that its name belongs to, official ones first."""
    holders = {name: str(entry["distribution"]) for name, entry in known().items()}
    for entry in sorted(installed, key=lambda i: (not i.official, *i)):
        yield entry, holders.setdefault(entry.name, entry.distribution)


def _check_core(entry: Installed) -> None:
    """Raise if a plugin says that it is made for another hub-core than this one."""
    if not entry.core:
        return
    from packaging.specifiers import SpecifierSet

    here = importlib.metadata.version("hub-core")
    if not SpecifierSet(entry.core).contains(here, prereleases=True):
        raise PluginError(
            f"it needs hub-core{entry.core}, and this is hub-core {here}: "
            f"pip install --upgrade hub-core {entry.distribution}"
        )


def _warn(plugin: Plugin, error: BaseException) -> None:
    text = f"{plugin} could not be loaded and is left out: {type(error).__name__}: {error}"
    if os.environ.get("HUB_PLUGINS_STRICT", "0") not in ("", "0"):
        raise PluginError(text) from error
    warnings.warn(
        f"{text} (`hub plugins list` shows all; HUB_PLUGINS=-{plugin.name} leaves it out)",
        HubWarning,
        stacklevel=2,
    )


def _environment(installed: set[str]) -> tuple[set[str], set[str]]:
    """Read `HUB_PLUGINS` into the names allowed (empty: all) and the names blocked."""
    words = [w.strip() for w in os.environ.get("HUB_PLUGINS", "").split(",") if w.strip()]
    blocked = {w[1:] for w in words if w.startswith("-")}
    allowed = {w for w in words if not w.startswith("-")}
    for name in sorted((allowed | blocked) - installed - known().keys()):
        warnings.warn(
            f"HUB_PLUGINS names {name!r}, which is not installed{did_you_mean(name, installed)} "
            f"Installed: {', '.join(sorted(installed)) or 'none'}",
            HubWarning,
            stacklevel=2,
        )
    return allowed, blocked


_host: Host | None = None
_loading = False
_in_tree: dict[str, Installed] = {}  # plugin name to what `add_tree` found


def host() -> Host:
    """Return the host of this process; plugins are loaded on the first call."""
    global _host
    if _host is None:
        _host = _load(discover())
    return _host


def is_loading() -> bool:
    """Return whether plugins are being loaded at this moment, so that they cannot be asked."""
    return _loading


def _load(installed: frozenset[Installed]) -> Host:
    global _loading
    _loading = True
    try:
        return Host(installed)
    finally:
        _loading = False


def rescan(*, force: bool = False) -> bool:
    """Load plugins anew if the installed ones changed (or `force`); return whether it did."""
    global _host
    found = discover()
    if not force and _host is not None and found == _host.installed:
        return False
    _host = _load(found)
    return True
