"""The host: finds plugins by their entry points and loads each on its own.

A plugin that cannot be loaded costs one warning and is kept with its error, so that whoever asks
for one of its models is told the cause. `HUB_PLUGINS=resnet,vit` loads only these,
`HUB_PLUGINS=-acme` all but this one, `HUB_PLUGINS_STRICT=1` turns the warning into an error.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.metadata
import json
import os
import re
import sys
import threading
import time
import tomllib
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, NamedTuple, cast

import pluggy

from hub import hookspecs
from hub.errors import HubWarning, PluginError
from hub.family import Family
from hub.plugins import answers
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

    @property
    def reason(self) -> str:
        """Why it is broken, in one line; empty if it is not."""
        text = f"{type(self.error).__name__}: {self.error}" if self.error else ""
        return " ".join(text.split())

    def __str__(self) -> str:
        return f"plugin {self.name} ({self.distribution} {self.version})"


class Installed(NamedTuple):
    """An entry point of an installed distribution: what there is before anything is imported."""

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
    data: dict[str, dict[str, Any]] = json.loads((files("hub") / "plugins/known.json").read_text())
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
        self.hooks: Any = None  # the module, or what else holds the hooks
        self.families: tuple[Family, ...] = ()
        self.tables: dict[str, dict[str, Any]] = {}
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
        except KeyboardInterrupt:
            raise
        except BaseException as e:  # a Rust extension panics with what is no Exception
            self.error = e
        self.seconds += time.perf_counter() - start


class Host:
    """The plugins of this process and the hooks through which they are called."""

    def __init__(self, installed: Iterable[Installed]) -> None:
        self.manager = pluggy.PluginManager("hub")
        self.manager.add_hookspecs(hookspecs)
        self.builtin = importlib.import_module("hub.builtin")
        self.manager.register(self.builtin, "hub")
        self.installed = frozenset(installed)
        self.plugins: dict[str, Plugin] = {}
        self._offers: dict[str, list[tuple[str, dict[str, Any]]]] = {h: [] for h in answers.TABLES}
        loadings = [_Loading(entry, holder) for entry, holder in _with_holders(self.installed)]
        allowed, blocked = _environment({loading.name for loading in loadings})
        for loading in loadings:
            name = loading.name
            loading.blocked = name in blocked or (bool(allowed) and name not in allowed)
        # What a plugin prints must not mix with the output of the program that uses it.
        with contextlib.redirect_stdout(sys.stderr):
            for loading in loadings:
                loading.attempt(self._import)
            for loading in loadings:  # by now every hook is known, whoever brings it
                loading.attempt(self._register)
        for loading in loadings:
            self._report(loading)
        self.plugins = dict(sorted(self.plugins.items()))

    @property
    def hook(self) -> pluggy.HookRelay:
        """The hooks: `host.hook.hub_models()` asks every plugin."""
        return self.manager.hook

    def table(self, hook: str) -> dict[str, Any]:
        """Return what is offered by name through `hub_sources`, `hub_attributes` or `hub_commands`.

        Core's own names stay, and those of official plugins; what two others claim is left out, see
        `clash`.
        """
        return {
            name: offers[0][1]
            for name, offers in self._claims(hook).items()
            if len(offers) == 1 or self._is_own(offers[0][0])
        }

    def clash(self, hook: str, name: str) -> str:
        """Return what to say of a name that several plugins claim; empty if none or one does."""
        owners = [plugin for plugin, _ in self._claims(hook).get(name, ())]
        if len(owners) < 2 or self._is_own(owners[0]):
            return ""
        return (
            f"{name!r} is claimed by the plugins {' and '.join(owners)}: leave one out with "
            f"HUB_PLUGINS=-{owners[-1]}, and tell their authors"
        )

    def claimants(self, hook: str) -> dict[str, list[str]]:
        """Return each name that is offered through such a hook to the plugins that offer it."""
        return {n: [plugin for plugin, _ in offers] for n, offers in self._claims(hook).items()}

    def _claims(self, hook: str) -> dict[str, list[tuple[str, Any]]]:
        """Return each name to who offers what by it: core, official plugins, others."""
        own = getattr(self.builtin, hook, None)
        claims: dict[str, list[tuple[str, Any]]] = {}
        for plugin, table in [
            ("core", answers.as_table(hook, own() if own else {})),
            *self._offers[hook],
        ]:
            for name, thing in table.items():
                claims.setdefault(name, []).append((plugin, thing))
        return claims

    def _is_own(self, plugin: str) -> bool:
        return plugin == "core" or self.plugins[plugin].official

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
        return f"{plugin}, which could not be loaded: {plugin.reason}"

    def _import(self, loading: _Loading) -> None:
        """Import what an entry point names, and learn the hooks that it brings."""
        entry = loading.entry
        if loading.name != entry.name:
            raise PluginError(
                f"the plugin name {entry.name!r} belongs to {loading.holder}; "
                f"uninstall {entry.distribution}, or ask its author for another name"
            )
        _check_core(entry)
        before = HEAVY & sys.modules.keys()
        try:
            loading.hooks = _load_entry(entry)
        finally:
            loading.heavy = tuple(sorted(HEAVY & sys.modules.keys() - before))
        bring = getattr(loading.hooks, "hub_addhooks", None)
        if bring is not None and self.manager.parse_hookimpl_opts(loading.hooks, "hub_addhooks"):
            for namespace in bring():
                self.manager.add_hookspecs(namespace)

    def _register(self, loading: _Loading) -> None:
        """Give the hooks of a plugin to those who call them, if they are as they should be."""
        hooks = loading.hooks
        if self.manager.is_registered(hooks):
            raise PluginError(
                f"{loading.entry.value} is the plugin {self.manager.get_name(hooks)!r} already"
            )
        self.manager.register(hooks, loading.name)
        try:
            self.manager.check_pending()
            self._check_marks(hooks)
            for caller in self.manager.get_hookcallers(hooks) or ():
                for implementation in caller.get_hookimpls():
                    if implementation.plugin is hooks:
                        self._take(loading, caller.name, implementation)
        except BaseException:
            self.manager.unregister(hooks)
            raise

    def _check_marks(self, hooks: Any) -> None:
        """Raise if a function is called like a hook and not marked, or an object has no hooks."""
        for name in vars(self.hook):
            function = getattr(hooks, name, None)
            marked = hasattr(function, "hub_impl") or hasattr(function, "hub_spec")
            if callable(function) and not marked:
                raise PluginError(f"{name} is not marked: write @hub.hookimpl above it")
        if not isinstance(hooks, ModuleType) and not self.manager.get_hookcallers(hooks):
            raise PluginError(
                f"its entry point names {answers.described(hooks)} without hooks; name the module "
                "whose functions are marked with @hub.hookimpl"
            )

    def _take(self, loading: _Loading, hook: str, implementation: pluggy.HookImpl) -> None:
        """Ask what a plugin offers, once, so that nothing can fail later; guard how it builds."""
        if hook == "hub_models":
            loading.families += answers.families(
                loading.name, cast("Any", implementation.function())
            )
        elif hook in answers.TABLES:
            loading.tables[hook] = answers.as_table(hook, implementation.function())
        elif hook == "hub_create_model":
            implementation.function = answers.checked(implementation)  # type: ignore[misc]

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
        else:
            for hook, table in loading.tables.items():
                self._offers[hook].append((plugin.name, table))


def _load_entry(entry: Installed) -> Any:
    """Import what holds the hooks of a plugin: what `EntryPoint.load` of the library returns."""
    point = importlib.metadata.EntryPoint(entry.name, entry.value, GROUP)
    if not point.pattern.match(entry.value):
        raise PluginError(
            f"its entry point {entry.name!r} is {entry.value!r}, which names no module; "
            "write it as 'hub_acme.plugin'"
        )
    found = point.load()
    # Whoever names one hook function means the module: its other hooks must not be lost.
    return sys.modules[point.module] if hasattr(found, "hub_impl") else found


def discover() -> frozenset[Installed]:
    """Return the plugins that are installed, loaded or not."""
    importlib.invalidate_caches()
    found = list(_in_tree.values())
    for entry in _entry_points():
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


def _entry_points() -> Iterable[importlib.metadata.EntryPoint]:
    try:
        return importlib.metadata.entry_points(group=GROUP)
    except Exception:  # a file of one distribution, whosever, cannot be read: ask each on its own
        found: dict[str, list[importlib.metadata.EntryPoint]] = {}
        for distribution in importlib.metadata.distributions():
            try:
                points = [p for p in distribution.entry_points if p.group == GROUP]
                found.setdefault(canonical(distribution.name), points)
            except Exception as e:
                text = f"the entry points of {distribution.locate_file('')} cannot be read: {e!r}"
                warnings.warn(text, HubWarning, stacklevel=2)
        return [point for points in found.values() for point in points]


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
    for name, value in entries.items():
        _in_tree[name] = Installed(name, value, project["name"], version, requires)
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
    text = f"{plugin} could not be loaded and is left out: {plugin.reason}"
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


_lock = threading.RLock()  # one thread loads plugins, the others wait for it
_host: Host | None = None
_loading_thread: int | None = None
_in_tree: dict[str, Installed] = {}  # plugin name to what `add_tree` found


def host() -> Host:
    """Return the host of this process; plugins are loaded on the first call."""
    found = _host
    if found is None:
        with _lock:
            found = _host or _load(discover())
    return found


def is_loading() -> bool:
    """Return whether this thread is loading plugins, so that they cannot be asked."""
    return _loading_thread == threading.get_ident()


def _load(installed: frozenset[Installed]) -> Host:
    global _host, _loading_thread
    if is_loading():
        raise PluginError(
            "hub was asked for what plugins hold while they are loaded: a plugin may ask in a "
            "function, not when it is imported"
        )
    _loading_thread = threading.get_ident()
    try:
        _host = Host(installed)
        return _host
    finally:
        _loading_thread = None


def rescan(*, force: bool = False) -> bool:
    """Load plugins anew if the installed ones changed (or `force`); return whether it did."""
    with _lock:
        found = discover()
        if not force and _host is not None and found == _host.installed:
            return False
        _load(found)
        return True
