"""Which architectures and weights there are, and who owns a name. No torch."""

from __future__ import annotations

import fnmatch
import functools
import os
import re
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar, cast, overload

from hub import plugins
from hub.errors import (
    AmbiguousModelError,
    HubDeprecationWarning,
    HubError,
    HubWarning,
    MissingPluginError,
    ModelNameError,
    PluginError,
    UnknownModelError,
)
from hub.family import Family, Weights
from hub.importing import load_object
from hub.names import ModelName, is_path, natural_key, other_reading, split_source
from hub.suggest import did_you_mean

if TYPE_CHECKING:
    from torch import nn

    from hub.backbone import Backbone

#: Plugin name of what `register_model` adds at run time.
LOCAL = "local"

Patterns = str | Sequence[str]
_F = TypeVar("_F", bound=Callable[..., Any])


@dataclass(frozen=True, kw_only=True, slots=True)
class Architecture:
    """One architecture of one plugin.

    Args:
        name: bare name.
        plugin: name of the plugin that declares it.
        module: name of its family; what `list_models(module=...)` filters by.
        entrypoint: builds the network.
        weights: tag to weights, the default first.
        family: the declaring family; None for one registered at run time.
    """

    name: str
    plugin: str
    module: str
    entrypoint: Callable[..., nn.Module]
    weights: Mapping[str, Weights] = field(default_factory=dict)
    family: Family | None = None

    @property
    def has_weights(self) -> bool:
        """Whether any tag of this architecture has weights."""
        return any(w.has_weights for w in self.weights.values())

    def weights_for(self, tag: str = "") -> Weights | None:
        """Return the weights of `tag` (default: the first), None where nothing is declared.

        Raises:
            UnknownModelError: the architecture has other tags, but not this one.
        """
        if not tag and self.weights:
            tag = next(iter(self.weights))
        if tag in self.weights:
            return self.weights[tag].completed(self.name, tag)
        if not tag:
            return None
        tags = [t for t in self.weights if t]
        known = f"Its tags: {', '.join(tags)}" if tags else "It has none"
        raise _unknown_error(
            f"{self.name} has no weights tagged {tag!r}{did_you_mean(tag, tags)} {known}",
            other_reading(f"{self.name}.{tag}"),
        )


class Registry:
    """All architectures of a host, and those registered at run time."""

    def __init__(self, host: plugins.Host, local: Mapping[str, Architecture]) -> None:
        self.host = host
        self.claims: dict[str, list[Architecture]] = {}
        self.renamed: dict[str, list[tuple[str, str]]] = {}  # old name to plugin and new name
        self._official = {
            name: plugin for plugin, entry in plugins.known().items() for name in entry["models"]
        }
        for plugin in host.plugins.values():
            for family in plugin.families:
                self._add_family(plugin.name, family)
        for architecture in local.values():
            self.claims.setdefault(architecture.name, []).append(architecture)

    def _add_family(self, plugin: str, family: Family) -> None:
        tags: dict[str, dict[str, Weights]] = {}
        for key, weights in family.weights.items():
            name, _, tag = key.partition(".")
            tags.setdefault(name, {})[tag] = weights
        for name in family.variants:
            architecture = Architecture(
                name=name,
                plugin=plugin,
                module=family.name,
                entrypoint=_entrypoint(family, name, tags.get(name, {})),
                weights=tags.get(name, {}),
                family=family,
            )
            self.claims.setdefault(name, []).append(architecture)
        for old, new in family.renamed.items():
            self.renamed.setdefault(old, []).append((plugin, new))

    def owner(self, name: str) -> Architecture | None:
        """Return who has the bare `name`: its official owner, or else its only claimant.

        The name of an official architecture stays reserved where its plugin is not installed: a
        name means the same network on every machine.
        """
        claims = self.claims.get(name, [])
        if len(claims) > 1 or name in self._official:
            claims = [c for c in claims if self._is_official(c.plugin)]
        return claims[0] if len(claims) == 1 else None

    def _is_official(self, plugin: str) -> bool:
        entry = self.host.plugins.get(plugin)
        return entry is not None and entry.official

    def public_names(self) -> Iterator[tuple[str, Architecture]]:
        """Yield every architecture under the shortest name that means it alone."""
        for name, claims in self.claims.items():
            owner = self.owner(name)
            for architecture in claims:
                bare = architecture is owner
                yield (name if bare else f"{architecture.plugin}/{name}"), architecture

    def find(self, model_name: str, *, warn: bool = True) -> tuple[Architecture, str]:
        """Return the architecture that `[plugin/]arch[.tag]` means, and the tag ("" if none).

        Args:
            model_name: the name.
            warn: whether an old name is worth a warning.

        Raises:
            UnknownModelError: nobody has this name.
            MissingPluginError: a plugin that is not installed, or blocked, has it.
            AmbiguousModelError: several have it.
            PluginError: its plugin is broken; chained to the cause.
        """
        parts = ModelName.parse(model_name)
        claims = self.claims.get(parts.architecture, [])
        if parts.plugin:
            self._check_plugin(parts.plugin, model_name)
            claims = [c for c in claims if c.plugin == parts.plugin]
            found = claims[0] if claims else None
        else:
            found = self.owner(parts.architecture)
        if found is not None:
            return found, parts.tag
        if claims and parts.architecture not in self._official:
            raise _ambiguous(parts.architecture, [c.plugin for c in claims])
        if parts.architecture in self.renamed:
            return self._forward(parts, model_name, warn)
        raise self._unknown(parts, model_name)

    def _forward(self, parts: ModelName, model_name: str, warn: bool) -> tuple[Architecture, str]:
        """Follow an old name to the new one, by the rules that hold for names."""
        heirs = self.renamed[parts.architecture]
        if parts.plugin:
            heirs = [heir for heir in heirs if heir[0] == parts.plugin]
        elif len(heirs) > 1:
            heirs = [heir for heir in heirs if self._is_official(heir[0])] or heirs
        if not heirs:
            raise self._unknown(parts, model_name)
        if len(heirs) > 1:
            raise _ambiguous(parts.architecture, [plugin for plugin, _ in heirs])
        plugin, new = heirs[0]
        if warn:
            text = f"{parts.architecture} is an old name; use {new}"
            warnings.warn(text, HubDeprecationWarning, stacklevel=2)
        architecture, _, tag = new.partition(".")
        found, _ = self.find(f"{plugin}/{architecture}")
        return found, parts.tag or tag

    def knows_plugin(self, name: str) -> bool:
        """Whether this is the name of a plugin, installed or official."""
        return name == LOCAL or name in self.host.plugins or name in plugins.known()

    def _check_plugin(self, plugin: str, model_name: str) -> None:
        """Raise if the plugin that a name states is not there to be asked."""
        if not self.knows_plugin(plugin):
            raise self.misread(model_name)
        entry = self.host.plugins.get(plugin)
        if plugin != LOCAL and (entry is None or entry.status != "loaded"):
            raise self._absent(model_name, plugin)

    def misread(self, model_name: str) -> ModelNameError:
        """Return the error for a path or a repository that stands where a name is due."""
        text = f"{model_name!r} is no name of a model"
        plugin = ModelName.parse(model_name).plugin
        if re.fullmatch(r"[\w\-]+", plugin) and not self.knows_plugin(plugin):
            installed = ", ".join(self.host.plugins) or "none"
            near = did_you_mean(plugin, self.host.plugins)
            text += f": there is no plugin {plugin!r}{near} Installed: {installed}"
        return ModelNameError(f"{text}. {other_reading(model_name)}")

    def _absent(self, model_name: str, plugin: str, others: Sequence[str] = ()) -> HubError:
        text = f"{model_name} is in {self.host.absence(plugin)}"
        if others:
            text += f" (another network is {', '.join(others)})"
        entry = self.host.plugins.get(plugin)
        if entry is None or entry.error is None:
            return MissingPluginError(text)
        error = PluginError(text)
        error.__cause__ = entry.error
        return error

    def _unknown(self, parts: ModelName, model_name: str) -> HubError:
        name = parts.architecture
        official = self._official.get(name)
        if official is not None and parts.plugin in ("", official):
            others = [f"{c.plugin}/{name}" for c in self.claims.get(name, [])]
            return self._absent(name, official, others)
        here = [n for n, c in self.claims.items() if parts.plugin in ("", *(a.plugin for a in c))]
        if not model_name.strip():
            return ModelNameError("the name of a model is empty; write one, such as 'resnet50'")
        is_name = parts.plugin and not os.path.exists(model_name)
        reading = "" if is_name else other_reading(model_name)
        if reading and not os.path.isdir(model_name):
            return self.misread(model_name)
        where = f"plugin {parts.plugin} has no model" if parts.plugin else "unknown model"
        text = (
            f"{where} {name!r}{did_you_mean(name, here)} "
            "`hub list PATTERN` or hub.list_models(pattern) shows what is installed"
        )
        broken = [p for p in self.host.plugins.values() if p.status == "broken"]
        if broken and not parts.plugin:
            names = ", ".join(map(str, broken))
            text = f"{text}. It may be in {names}, which could not be loaded"
        error = _unknown_error(text, reading)
        if broken and not parts.plugin:
            error.__cause__ = broken[0].error
        return error


def _unknown_error(text: str, reading: str) -> UnknownModelError:
    """Return the error for an unknown name; `reading` is what else it may be."""
    return ModelNameError(f"{text}. {reading}") if reading else UnknownModelError(text)


def _ambiguous(name: str, owners: Sequence[str]) -> AmbiguousModelError:
    choices = " or ".join(f"{owner}/{name}" for owner in owners)
    return AmbiguousModelError(f"{name!r} is claimed by {len(owners)} plugins; write {choices}")


def _entrypoint(family: Family, name: str, tags: Mapping[str, Weights]) -> Callable[..., nn.Module]:
    def build(pretrained: bool = False, **kwargs: Any) -> nn.Module:
        from hub.builder.build import build_model_with_cfg

        if kwargs.get("pretrained_cfg") is None:  # by name another plugin's might be found
            tag = next(iter(tags), None)
            kwargs["pretrained_cfg"] = (
                Weights.undeclared(name) if tag is None else tags[tag].completed(name, tag)
            )
        if family.converter is not None:
            kwargs.setdefault("pretrained_filter_fn", load_object(family.converter))
        model_cls: Callable[..., nn.Module] = load_object(family.model)
        kwargs = {**family.variants[name], **kwargs}
        return build_model_with_cfg(model_cls, name, pretrained, **kwargs)

    build.__name__ = build.__qualname__ = name
    build.__doc__ = f"Build {name} of the family {family.name}; see `hub.create_model`."
    return build


# --- the registry of this process ---------------------------------------------------------------

_lock = threading.RLock()  # holds a name from being registered while the registry is built
_local: dict[str, Architecture] = {}
_registry: Registry | None = None


def registry() -> Registry:
    """Return the registry of this process."""
    global _registry
    host = plugins.host()
    with _lock:
        if _registry is None or _registry.host is not host:
            _registry = Registry(host, _local)
        return _registry


def refresh() -> None:
    """Look for plugins again, for those installed since `import hub`, as in a notebook."""
    plugins.rescan(force=True)


def parse_model_name(model_name: str) -> tuple[str | None, str]:
    """Split the scheme of a source from a name: ("hf-hub", "org/name") or (None, "resnet50").

    Raises:
        TypeError: it is no text.
        ModelNameError: a path, or a repository, without a scheme; the message says what to write.
    """
    scheme, rest = split_source(model_name)
    if scheme is None:
        plugin = ModelName.parse(rest).plugin
        if (plugin or is_path(rest)) and not registry().knows_plugin(plugin):
            raise registry().misread(rest)
    elif not rest:
        raise ModelNameError(f"{model_name!r} names nothing behind its scheme")
    return scheme, rest


def find(model_name: str) -> tuple[Architecture, str]:
    """Return architecture and tag of a model name; looks for new plugins before it gives up."""
    try:
        return registry().find(model_name)
    except UnknownModelError:
        if not plugins.rescan():
            raise
        return registry().find(model_name)


def _lookup(model_name: str) -> tuple[Architecture, str] | None:
    """Return architecture and tag, or None where no installed plugin has the name."""
    try:
        return registry().find(model_name, warn=False)
    except HubError:
        return None


# --- run-time registration ----------------------------------------------------------------------


@overload
def register_model(fn: _F) -> _F: ...
@overload
def register_model(*, name: str) -> Callable[[_F], _F]: ...
def register_model(fn: _F | None = None, *, name: str | None = None) -> Any:
    """Make a function or class known as an architecture, for scripts and notebooks.

    A function builds the network: `fn(pretrained=False, **kwargs)`. A class is built by
    `hub.build_model_with_cfg`. If the module has `default_cfgs` (architecture to
    `hub.DefaultCfg`, as `hub.generate_default_cfgs` returns), they describe the weights.
    The name belongs to the plugin "local": it never replaces one of an official plugin.

    Args:
        fn: the function or class, when used as a plain decorator.
        name: the architecture's name; default: the name of the function or class.
    """
    if fn is None:
        return functools.partial(_register, name=name)
    return _register(fn, name=name)


def _register(fn: _F, name: str | None) -> _F:
    name = name or fn.__name__
    module = sys.modules.get(fn.__module__)
    default_cfg = getattr(module, "default_cfgs", {}).get(name)
    # Family checks the name, here as for plugins.
    Family(name=LOCAL, model=f"{fn.__module__}:{fn.__name__}", variants={name: {}})
    claims = [] if plugins.is_loading() else registry().claims.get(name, [])
    claimed = [c.plugin for c in claims if c.plugin != LOCAL]
    if claimed:
        warnings.warn(
            f"{name} is also in plugin {', '.join(claimed)}; the one registered here is "
            f"{LOCAL}/{name}",
            HubWarning,
            stacklevel=3,
        )
    architecture = Architecture(
        name=name,
        plugin=LOCAL,
        module=fn.__module__.rpartition(".")[2],
        entrypoint=_class_entrypoint(fn, name) if isinstance(fn, type) else fn,
        weights=dict(default_cfg.cfgs) if default_cfg else {},
    )
    global _registry
    with _lock:
        _local[name] = architecture
        _registry = None
    return fn


def _class_entrypoint(cls: type[nn.Module], name: str) -> Callable[..., nn.Module]:
    def build(pretrained: bool = False, **kwargs: Any) -> nn.Module:
        from hub.builder.build import build_model_with_cfg

        if kwargs.get("pretrained_cfg") is None:
            kwargs["pretrained_cfg"] = Weights.undeclared(name)
        return build_model_with_cfg(cls, name, pretrained, **kwargs)

    build.__name__ = build.__qualname__ = name
    return build


# --- queries ------------------------------------------------------------------------------------


def list_models(
    filter: Patterns = "",
    module: Patterns = "",
    pretrained: bool = False,
    exclude_filters: Patterns = "",
    name_matches_cfg: bool = False,
    include_tags: bool | None = None,
) -> list[str]:
    """List architectures, in natural order. Loads no torch.

    Args:
        filter: wildcard pattern or patterns; a name is listed if any matches it. Matched against
            the name with and without its tag, where tags are listed.
        module: family or families to list; all if empty.
        pretrained: only what has weights.
        exclude_filters: pattern or patterns of names to leave out.
        name_matches_cfg: only names that are the architecture of their own default weights.
        include_tags: list "arch.tag" for each tag instead of "arch"; default: as `pretrained`.

    Example:
        >>> import hub
        >>> hub.list_models("test_resnet*", pretrained=True)
        ['test_resnet.r160_in1k']
    """
    tags_too = pretrained if include_tags is None else include_tags
    modules = _patterns(module)
    listed: dict[str, str] = {}  # name to show -> name without tag
    for name, architecture in registry().public_names():
        if modules and architecture.module not in modules:
            continue
        if name_matches_cfg and not _matches_cfg(architecture):
            continue
        if tags_too:
            for tag, weights in (architecture.weights or {"": Weights()}).items():
                if not pretrained or weights.has_weights:
                    listed[f"{name}.{tag}" if tag else name] = name
        elif not pretrained or architecture.has_weights:
            listed[name] = name
    include, exclude = _patterns(filter), _patterns(exclude_filters)
    return sorted(
        (
            name
            for name, bare in listed.items()
            if (not include or _any_match(include, name, bare))
            and not _any_match(exclude, name, bare)
        ),
        key=natural_key,
    )


def _patterns(given: Patterns) -> list[str]:
    return [p for p in ([given] if isinstance(given, str) else given) if p]


def _any_match(patterns: Iterable[str], *names: str) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns for name in names)


def _matches_cfg(architecture: Architecture) -> bool:
    weights = architecture.weights_for()
    return weights is not None and weights.architecture == architecture.name


def list_pretrained(filter: Patterns = "", exclude_filters: Patterns = "") -> list[str]:
    """List "arch.tag" of everything that has weights; arguments as for `list_models`."""
    return list_models(filter, pretrained=True, exclude_filters=exclude_filters, include_tags=True)


def list_modules() -> list[str]:
    """List the names of all families, sorted."""
    return sorted({a.module for _, a in registry().public_names()})


def is_model(model_name: str) -> bool:
    """Whether an installed plugin has this architecture; a tag is ignored."""
    return _lookup(_without_tag(model_name)) is not None


def is_model_in_modules(model_name: str, module_names: str | Iterable[str]) -> bool:
    """Whether the architecture belongs to one of these families."""
    found = _lookup(_without_tag(model_name))
    names = {module_names} if isinstance(module_names, str) else set(module_names)
    return found is not None and found[0].module in names


def is_model_pretrained(model_name: str) -> bool:
    """Whether there are weights for this "arch.tag", or any at all for a plain "arch"."""
    found = _lookup(model_name)
    if found is None:
        return False
    architecture, tag = found
    if not tag:
        return architecture.has_weights
    return tag in architecture.weights and architecture.weights[tag].has_weights


def model_entrypoint(model_name: str, module_filter: str | None = None) -> Callable[..., Backbone]:
    """Return the function that builds an architecture: `fn(pretrained=False, **kwargs)`.

    Args:
        model_name: `[plugin/]arch[.tag]`; the tag is ignored.
        module_filter: the family it must belong to.

    Raises:
        UnknownModelError: no such architecture, or not in that family.
    """
    architecture, _ = find(model_name)
    if module_filter and architecture.module != module_filter:
        raise UnknownModelError(
            f"{architecture.name} is in the family {architecture.module!r}, not {module_filter!r}"
        )
    return cast("Callable[..., Backbone]", architecture.entrypoint)


def get_pretrained_cfg(model_name: str, allow_unregistered: bool = True) -> Weights | None:
    """Return the description of the weights that "arch.tag" (or the default of "arch") names.

    Args:
        model_name: `[plugin/]arch[.tag]`.
        allow_unregistered: return None for an unknown architecture instead of raising.

    Raises:
        UnknownModelError: unknown tag, or unknown architecture with `allow_unregistered=False`.
    """
    try:
        architecture, tag = find(model_name)
    except UnknownModelError:
        if allow_unregistered:
            return None
        raise
    return architecture.weights_for(tag)


def get_pretrained_cfg_value(model_name: str, cfg_key: str) -> Any:
    """Return one field of `get_pretrained_cfg(model_name)`; None where there is none."""
    return getattr(get_pretrained_cfg(model_name, allow_unregistered=False), cfg_key, None)


def get_arch_pretrained_cfgs(model_name: str) -> dict[str, Weights]:
    """Return "arch.tag" to weights for every tag of an architecture, the default first."""
    found = _lookup(_without_tag(model_name))
    if found is None:
        return {}
    name = found[0].name
    return {
        (f"{name}.{tag}" if tag else name): weights.completed(name, tag)
        for tag, weights in found[0].weights.items()
    }


def get_deprecated_models(module: str = "") -> dict[str, str]:
    """Return old name to new name, of one family or of all."""
    return {
        old: new
        for plugin in plugins.host().plugins.values()
        for family in plugin.families
        for old, new in family.renamed.items()
        if module in ("", family.name)
    }


def _without_tag(model_name: str) -> str:
    plugin, architecture, _ = ModelName.parse(model_name)
    return f"{plugin}/{architecture}" if plugin else architecture
