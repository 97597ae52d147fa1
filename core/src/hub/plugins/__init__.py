"""The plugins of this process: loaded when first asked for, once, and anew when told to."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from types import ModuleType

from hub.errors import PluginError
from hub.plugins import discovery
from hub.plugins.discovery import Installed, canonical, known
from hub.plugins.host import Host, Plugin

__all__ = ["Host", "Installed", "Plugin", "add_tree", "canonical", "discover", "host"]
__all__ += ["install_core", "is_loading", "known", "rescan"]

_lock = threading.RLock()  # one thread loads plugins, the others wait for it
_host: Host | None = None
_core: ModuleType  # what core itself brings
_loading_thread: int | None = None
_in_tree: dict[str, Installed] = {}  # plugin name to what `add_tree` found


def install_core(module: ModuleType) -> None:
    """Say which module holds core's own hooks: `hub` does, which stands above all of them."""
    global _core
    _core = module


def host() -> Host:
    """Return the host of this process; plugins are loaded on the first call."""
    found = _host
    if found is None:
        with _lock:
            found = _host or _load(discover())
    return found


def discover() -> frozenset[Installed]:
    """Return the plugins that are installed, loaded or not."""
    return discovery.discover(_in_tree)


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
        _host = Host(installed, _core)
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


def add_tree(folder: str | Path) -> list[str]:
    """Make the plugins of a source tree known to this process, as if it were installed.

    Args:
        folder: holds the `pyproject.toml` of one distribution; goes before an installed one.

    Returns:
        Names of its plugins.

    Raises:
        PluginError: there is no such file, or it declares no plugin.
    """
    found, packages = discovery.read_tree(folder)
    sys.path.insert(0, str(packages))
    _in_tree.update(found)
    rescan(force=True)
    return sorted(found)
