"""The registry of this process, and what scripts register in it. No torch."""

from __future__ import annotations

import functools
import sys
import threading
import warnings
from collections.abc import Callable
from typing import Any, TypeVar, overload

from hub import plugins
from hub.errors import HubError, HubWarning, ModelNameError, UnknownModelError
from hub.family import Family
from hub.names import ModelName, is_path, split_source
from hub.registry.registry import LOCAL, Architecture, Registry

_F = TypeVar("_F", bound=Callable[..., Any])

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


def lookup(model_name: str) -> tuple[Architecture, str] | None:
    """Return architecture and tag, or None where no installed plugin has the name."""
    try:
        return registry().find(model_name, warn=False)
    except HubError:
        return None


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
        registered=fn,
        weights=dict(default_cfg.cfgs) if default_cfg else {},
    )
    global _registry
    with _lock:
        _local[name] = architecture
        _registry = None
    return fn
