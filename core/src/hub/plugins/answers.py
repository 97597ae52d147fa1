"""What plugins answer when their hooks are called, checked where it comes in. No torch."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import pluggy

from hub.errors import PluginError
from hub.family import Family
from hub.hookspecs import Command
from hub.names import normal_scheme

if TYPE_CHECKING:
    from torch import nn

#: Hooks that offer things by name, and what these are.
TABLES: dict[str, type] = {"hub_sources": str, "hub_attributes": str, "hub_commands": Command}
_COMMAND = re.compile(r"[\w-]+( [\w-]+)?")
_REFERENCE = re.compile(r"\w+(\.\w+)*:\w+(\.\w+)*")


def families(plugin: str, answer: Iterable[Family]) -> tuple[Family, ...]:
    """Return what a plugin answered to `hub_models`, checked."""
    found = tuple(answer)
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
    return found


def as_table(hook: str, answer: Any) -> dict[str, Any]:
    """Return what a plugin offers through a hook, by name, checked."""
    kind = TABLES[hook]
    wanted = Iterable if kind is Command else Mapping
    if not isinstance(answer, wanted):
        raise PluginError(f"{hook} returned {described(answer)}, not a {wanted.__name__}")
    table: dict[Any, Any] = (
        dict(answer) if kind is str else {getattr(c, "name", None): c for c in answer}
    )
    for name, thing in table.items():
        if not isinstance(thing, kind):
            raise PluginError(f"{hook} offers {described(thing)}, not a {kind.__name__}")
        if not isinstance(name, str):
            raise PluginError(f"{hook} offers something as {name!r}, and a name is a str")
        if kind is Command and not _COMMAND.fullmatch(name):
            raise PluginError(f"{hook} offers {name!r}: a command has one word, or two")
        if isinstance(thing, str) and not _REFERENCE.fullmatch(thing):
            raise PluginError(f"{hook} offers {name!r} as {thing!r}: write 'package.module:name'")
    return {normal_scheme(n): t for n, t in table.items()} if hook == "hub_sources" else table


def checked(implementation: pluggy.HookImpl) -> Callable[..., Any]:
    """Return an implementation of `hub_create_model` that answers for what it returns."""
    function: Callable[..., Any] = implementation.function
    who = f"hub_create_model of plugin {implementation.plugin_name!r}"
    if implementation.hookwrapper:
        raise PluginError("hub_create_model is an old-style wrapper: write hookimpl(wrapper=True)")

    def wrap(*args: object) -> Generator[None, nn.Module, nn.Module]:
        return check_network((yield from function(*args)), who)

    def build(*args: object) -> nn.Module | None:
        model = function(*args)
        return None if model is None else check_network(model, who)

    return wrap if implementation.wrapper else build


def check_network(model: object, who: str) -> nn.Module:
    """Return what somebody built.

    Raises:
        PluginError: it is no network.
    """
    from torch import nn

    if not isinstance(model, nn.Module):
        raise PluginError(f"{who} returned {described(model)}, not a network (torch.nn.Module)")
    return model


def described(value: object) -> str:
    """Return what a value is, for a message: "None", "a tuple", "the class Linear"."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    return "None" if value is None else f"a {type(value).__name__}"
