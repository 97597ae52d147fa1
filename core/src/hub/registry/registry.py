"""Which architectures and weights the plugins have, and who owns a name. No torch."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hub import plugins
from hub.errors import (
    AmbiguousModelError,
    HubDeprecationWarning,
    HubError,
    MissingPluginError,
    ModelNameError,
    PluginError,
    UnknownModelError,
)
from hub.family import Family, Weights
from hub.names import ModelName, other_reading
from hub.suggest import did_you_mean

if TYPE_CHECKING:
    from torch import nn

#: Plugin name of what `register_model` adds at run time.
LOCAL = "local"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Architecture:
    """One architecture of one plugin.

    Args:
        name: bare name.
        plugin: name of the plugin that declares it.
        module: name of its family; what `list_models(module=...)` filters by.
        weights: tag to weights, the default first.
        family: the declaring family; None for one registered at run time.
        registered: the function or class that was registered; None for one of a family.
    """

    name: str
    plugin: str
    module: str
    weights: Mapping[str, Weights] = field(default_factory=dict)
    family: Family | None = None
    registered: Callable[..., nn.Module] | None = None

    @property
    def entrypoint(self) -> Callable[..., nn.Module]:
        """What builds it: `entrypoint(pretrained=False, **kwargs)`; core says how."""
        build: Callable[..., nn.Module] = plugins.host().core.entrypoint(self)
        return build

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
