"""What plugins offer as `hub.name`. No torch."""

from __future__ import annotations

import importlib.util
from typing import Any

from hub import plugins
from hub.importing import load_object


def plugin_attribute(name: str) -> Any:
    """Return what a plugin offers as `hub.name`.

    Raises:
        AttributeError: none does; the message says which plugin would.
    """
    missing = AttributeError(f"module 'hub' has no attribute {name!r}")
    is_module = not name.startswith("_") and importlib.util.find_spec(f"hub.{name}") is not None
    if name.startswith("_") or is_module or plugins.is_loading():
        raise missing
    offered = plugins.host().table("hub_attributes")
    if name in offered:
        return load_object(offered[name])
    if clash := plugins.host().clash("hub_attributes", name):
        raise AttributeError(f"of the names of hub, {clash}")
    for plugin, entry in plugins.known().items():
        if name in entry["attributes"]:
            text = f"hub.{name} is in {plugins.host().absence(plugin)}"
            raise AttributeError(text, obj=plugins)  # else Python adds what it takes to be meant
    raise missing
