"""Questions to the registry: what is there, and what is known of it. No torch."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, cast

from hub import plugins
from hub.errors import UnknownModelError
from hub.family import Weights
from hub.names import ModelName, natural_key
from hub.registry.local import find, lookup, registry
from hub.registry.registry import Architecture

if TYPE_CHECKING:
    from hub.backbone import Backbone

Patterns = str | Sequence[str]


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
    return lookup(_without_tag(model_name)) is not None


def is_model_in_modules(model_name: str, module_names: str | Iterable[str]) -> bool:
    """Whether the architecture belongs to one of these families."""
    found = lookup(_without_tag(model_name))
    names = {module_names} if isinstance(module_names, str) else set(module_names)
    return found is not None and found[0].module in names


def is_model_pretrained(model_name: str) -> bool:
    """Whether there are weights for this "arch.tag", or any at all for a plain "arch"."""
    found = lookup(model_name)
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
    found = lookup(_without_tag(model_name))
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
