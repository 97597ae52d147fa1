"""What optimizers there are: those of the catalog, of plugins, and of the running script.

No torch here: names are listed and described without it.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from types import MappingProxyType
from typing import Literal, overload

from hub import HubWarning, did_you_mean, plugins

from hub_optim.catalog import CATALOG
from hub_optim.hookspecs import OptimInfo

LOOKAHEAD = "lookahead_"

_registered: dict[str, OptimInfo] = {}


def register_optimizer(info: OptimInfo) -> None:
    """Add an optimizer to this process, for a script or a notebook; plugins have a hook for it.

    Args:
        info: what is added. Registering a name again replaces what the script registered before.

    Raises:
        ValueError: the name is one of hub's own or of a plugin, or begins with `lookahead_`.
    """
    name = info.name.lower()
    if name in _installed(plugins.host()):
        raise ValueError(f"the optimizer {name!r} exists already; register yours by another name")
    _check_name(name)
    _registered[name] = info


def optimizers() -> MappingProxyType[str, OptimInfo]:
    """Return every optimizer, name to description."""
    return MappingProxyType(_installed(plugins.host()) | _registered)


@overload
def list_optimizers(
    filter: str | Sequence[str] = "",
    exclude_filters: str | Sequence[str] | None = None,
    with_description: Literal[False] = False,
) -> list[str]: ...


@overload
def list_optimizers(
    filter: str | Sequence[str] = "",
    exclude_filters: str | Sequence[str] | None = None,
    *,
    with_description: Literal[True],
) -> list[tuple[str, str]]: ...


def list_optimizers(
    filter: str | Sequence[str] = "",
    exclude_filters: str | Sequence[str] | None = None,
    with_description: bool = False,
) -> list[str] | list[tuple[str, str]]:
    """Return the names of optimizers, sorted; each also works with `lookahead_` before it.

        >>> list_optimizers(["la*", "nla*"], exclude_filters="lamb?*")
        ['lamb', 'laprop', 'lapropc', 'larc', 'lars', 'nlarc', 'nlars']

    Args:
        filter: wildcard pattern, or several of which one must match; "" for all.
        exclude_filters: wildcard patterns of which none may match.
        with_description: return pairs of name and description.
    """
    found = optimizers()
    wanted, unwanted = _patterns(filter) or ("*",), _patterns(exclude_filters)
    names = [
        name
        for name in sorted(found)
        if _matches_any(name, wanted) and not _matches_any(name, unwanted)
    ]
    return [(name, found[name].description) for name in names] if with_description else names


def get_optimizer_info(name: str) -> OptimInfo:
    """Return the description of an optimizer.

    Raises:
        ValueError: nothing goes by that name.
    """
    found = optimizers()
    info = found.get(name.lower())
    if info is None:
        raise ValueError(
            f"no optimizer is called {name!r}{did_you_mean(name.lower(), found)} "
            "hub_optim.list_optimizers() has them all"
        )
    return info


def split_lookahead(name: str) -> tuple[str, bool]:
    """Return the name of the optimizer proper, and whether lookahead goes around it."""
    lower = name.lower()
    return lower.removeprefix(LOOKAHEAD), lower.startswith(LOOKAHEAD)


def _patterns(given: str | Sequence[str] | None) -> tuple[str, ...]:
    if not given:
        return ()
    return (given,) if isinstance(given, str) else tuple(given)


def _matches_any(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern.lower()) for pattern in patterns)


def _check_name(name: str) -> None:
    if name.startswith(LOOKAHEAD) or name in ("", "lookahead"):
        raise ValueError(
            f"an optimizer cannot be called {name!r}: {LOOKAHEAD!r} before a name wraps it"
        )


@lru_cache(maxsize=1)
def _installed(current: plugins.Host) -> dict[str, OptimInfo]:
    """Return the optimizers of the catalog and of plugins; a name belongs to who had it first."""
    found = dict(CATALOG)
    owners = dict.fromkeys(CATALOG, "optim")
    # Absent where hub-optim is imported as a library and left out as a plugin.
    hook = getattr(current.hook, "hub_optimizers", None)
    for implementation in hook.get_hookimpls() if hook else ():
        plugin = implementation.plugin_name
        try:
            for info in implementation.function():
                _add(info, plugin, found, owners)
        except Exception as e:  # one broken plugin must not cost the optimizers of the others
            _warn(f"plugin {plugin!r} could not name its optimizers: {type(e).__name__}: {e}")
    return found


def _add(info: OptimInfo, plugin: str, found: dict[str, OptimInfo], owners: dict[str, str]) -> None:
    if not isinstance(info, OptimInfo):
        raise TypeError(f"hub_optimizers must return OptimInfo, not {type(info).__name__}")
    name = info.name.lower()
    _check_name(name)
    if name in found:
        _warn(
            f"plugin {plugin!r} brings an optimizer {name!r}, which plugin {owners[name]!r} has "
            "already; it is left out, ask its author for another name"
        )
        return
    found[name], owners[name] = info, plugin


def _warn(text: str) -> None:
    warnings.warn(text, HubWarning, stacklevel=4)
