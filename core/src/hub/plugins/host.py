"""The host: loads each plugin on its own and calls the hooks of all.

A plugin that cannot be loaded costs one warning and is kept with its error, so that whoever asks
for one of its models is told the cause. `HUB_PLUGINS=resnet,vit` loads only these,
`HUB_PLUGINS=-acme` all but this one, `HUB_PLUGINS_STRICT=1` turns the warning into an error.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Literal

import pluggy

from hub import hookspecs
from hub.errors import HubWarning, PluginError
from hub.family import Family
from hub.plugins import answers
from hub.plugins.discovery import GROUP, Installed, known
from hub.suggest import did_you_mean

#: What takes long to import, and listing does not need.
HEAVY = frozenset({"torch", "torchvision", "numpy", "PIL", "huggingface_hub"})


@dataclass(kw_only=True, slots=True)
class Plugin:
    """One installed plugin and what became of it.

    Args:
        name: name of its entry point; what stands before the "/" in "acme/resnet50".
        entry: the entry point.
        status: loaded, broken (see `error`) or blocked (by `HUB_PLUGINS`).
        families: the families it declares.
        tables: what it offers by name, by hook.
        error: why it is broken.
        seconds: how long it took to load.
        heavy: packages that it was the first to import, such as torch; listing should need none.
        hooks: the module, or what else holds its hooks.
    """

    name: str
    entry: Installed
    status: Literal["loaded", "broken", "blocked"] = "loaded"
    families: tuple[Family, ...] = ()
    tables: dict[str, dict[str, Any]] = field(default_factory=dict)
    error: BaseException | None = None
    seconds: float = 0.0
    heavy: tuple[str, ...] = ()
    hooks: Any = None

    @property
    def distribution(self) -> str:
        """What `pip install` calls it."""
        return self.entry.distribution

    @property
    def version(self) -> str:
        """The version of its distribution."""
        return self.entry.version

    @property
    def official(self) -> bool:
        """Whether it is one of hub's own, which own their names."""
        return self.entry.official

    @property
    def reason(self) -> str:
        """Why it is broken, in one line; empty if it is not."""
        text = f"{type(self.error).__name__}: {self.error}" if self.error else ""
        return " ".join(text.split())

    def __str__(self) -> str:
        return f"plugin {self.name} ({self.distribution} {self.version})"

    def attempt(self, step: Callable[[Plugin], None]) -> None:
        """Go one step of loading, unless it is blocked or an earlier one failed."""
        if self.status != "loaded":
            return
        start = time.perf_counter()
        try:
            step(self)
        except KeyboardInterrupt:
            raise
        except BaseException as e:  # a Rust extension panics with what is no Exception
            self.error, self.status = e, "broken"
        self.seconds += time.perf_counter() - start


class Host:
    """The plugins of this process and the hooks through which they are called."""

    def __init__(self, installed: Iterable[Installed], core: ModuleType) -> None:
        self.manager = pluggy.PluginManager("hub")
        self.manager.add_hookspecs(hookspecs)
        self.manager.register(core, "hub")
        self.core = core
        self.installed = frozenset(installed)
        # In a clash the holder keeps the name and the other is named in full.
        self._holders = {name: str(entry["distribution"]) for name, entry in known().items()}
        found = []
        for entry in sorted(self.installed, key=_official_first):
            clash = self._holders.setdefault(entry.name, entry.distribution) != entry.distribution
            name = f"{entry.distribution}:{entry.name}" if clash else entry.name
            found.append(Plugin(name=name, entry=entry))
        allowed, blocked = _environment({plugin.name for plugin in found})
        for plugin in found:
            if plugin.name in blocked or (allowed and plugin.name not in allowed):
                plugin.status = "blocked"
        # What a plugin prints must not mix with the output of the program that uses it.
        with contextlib.redirect_stdout(sys.stderr):
            for plugin in found:
                plugin.attempt(self._import)
            for plugin in found:  # by now every hook is known, whoever brings it
                plugin.attempt(self._register)
        for plugin in found:
            if plugin.error is not None:
                _warn(plugin, plugin.error)
        self.plugins = {plugin.name: plugin for plugin in sorted(found, key=lambda p: p.name)}

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
        owners = self.claimants(hook).get(name, [])
        if len(owners) < 2 or self._is_own(owners[0]):
            return ""
        others = ",".join(f"-{owner}" for owner in owners[1:])
        return (
            f"{name!r} is claimed by the plugins {' and '.join(owners)}: keep one, with "
            f"HUB_PLUGINS={others} for instance, and tell their authors"
        )

    def claimants(self, hook: str) -> dict[str, list[str]]:
        """Return each name that is offered through such a hook to the plugins that offer it."""
        return {n: [plugin for plugin, _ in offers] for n, offers in self._claims(hook).items()}

    def _claims(self, hook: str) -> dict[str, list[tuple[str, Any]]]:
        """Return each name to who offers what by it: core, official plugins, others."""
        own = getattr(self.core, hook, dict)
        tables = [("core", answers.as_table(hook, own()))]
        for plugin in sorted(self.plugins.values(), key=lambda p: _official_first(p.entry)):
            if plugin.status == "loaded":
                tables.append((plugin.name, plugin.tables.get(hook, {})))
        claims: dict[str, list[tuple[str, Any]]] = {}
        for owner, table in tables:
            for name, thing in table.items():
                claims.setdefault(name, []).append((owner, thing))
        for word in {name.partition(" ")[0] for name in claims if " " in name} & claims.keys():
            self._part(claims, word)
        return claims

    def _part(self, claims: dict[str, list[tuple[str, Any]]], word: str) -> None:
        """Let a word be a command or a group of commands: it cannot be both."""
        group = [name for name in claims if name.startswith(f"{word} ")]
        single, several = claims[word], [offer for name in group for offer in claims[name]]
        if any(self._is_own(owner) for owner, _ in several):
            claims[group[0]] += claims.pop(word)
        elif self._is_own(single[0][0]):
            claims[word] += several
        else:
            claims[word] = single + several
        if word in claims:
            for name in group:
                del claims[name]

    def _is_own(self, owner: str) -> bool:
        return owner == "core" or self.plugins[owner].official

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

    def _import(self, plugin: Plugin) -> None:
        """Import what an entry point names, and learn the hooks that it brings."""
        entry = plugin.entry
        if plugin.name != entry.name:
            raise PluginError(
                f"the plugin name {entry.name!r} belongs to {self._holders[entry.name]}; "
                f"uninstall {entry.distribution}, or ask its author for another name"
            )
        _check_core(entry)
        before = HEAVY & sys.modules.keys()
        try:
            plugin.hooks = _load_entry(entry)
        finally:
            plugin.heavy = tuple(sorted(HEAVY & sys.modules.keys() - before))
        bring = getattr(plugin.hooks, "hub_addhooks", None)
        if bring is not None and self.manager.parse_hookimpl_opts(plugin.hooks, "hub_addhooks"):
            for namespace in bring():
                self.manager.add_hookspecs(namespace)

    def _register(self, plugin: Plugin) -> None:
        """Give the hooks of a plugin to those who call them, if they are as they should be."""
        hooks = plugin.hooks
        if self.manager.is_registered(hooks):
            raise PluginError(
                f"{plugin.entry.value} is the plugin {self.manager.get_name(hooks)!r} already"
            )
        self.manager.register(hooks, plugin.name)
        try:
            self.manager.check_pending()
            self._check_marks(hooks)
            for caller in self.manager.get_hookcallers(hooks) or ():
                for implementation in caller.get_hookimpls():
                    if implementation.plugin is hooks:
                        _take(plugin, caller.name, implementation)
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


def _official_first(entry: Installed) -> tuple[Any, ...]:
    return (not entry.official, *entry)


def _take(plugin: Plugin, hook: str, implementation: pluggy.HookImpl) -> None:
    """Ask what a plugin offers, once, so that nothing can fail later; guard how it builds."""
    ask: Callable[[], Any] = implementation.function
    if hook == "hub_models":
        plugin.families += answers.families(plugin.name, ask())
    elif hook in answers.TABLES:
        plugin.tables[hook] = answers.as_table(hook, ask())
    elif hook == "hub_create_model":
        implementation.function = answers.checked(implementation)  # type: ignore[misc]


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
