"""Import what a table of names refers to."""

from __future__ import annotations

import functools
import importlib
from typing import Any

from hub.errors import PluginError


def load_object(reference: str) -> Any:
    """Import "package.module:name" and return what it names."""
    module, _, name = reference.partition(":")
    found = importlib.import_module(module)
    try:
        return functools.reduce(getattr, name.split("."), found)
    except AttributeError:
        raise PluginError(f"{reference!r}: module {module} has no {name!r}") from None
