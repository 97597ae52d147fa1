"""Readers: where samples come from. Each is named by a scheme, and comes through a hook.

`create_reader("scheme/name")` finds the class that a plugin stated for the scheme in its hook
`hub_readers`; without a scheme, `root` is a folder of images or a tar archive.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterable, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hub import plugins
from hub.errors import HubError, PluginError
from hub.suggest import did_you_mean

from hub_data.hookspecs import Reader, ReaderInfo, Stream
from hub_data.plugin import hub_readers as own_readers


def list_readers() -> dict[str, ReaderInfo]:
    """Return scheme to reader, of all plugins.

    Raises:
        PluginError: a plugin returned something else, or two plugins claim a scheme.
    """
    found = {info.scheme: info for info in own_readers()}
    owners = dict.fromkeys(found, "data")
    hook = getattr(plugins.host().hook, "hub_readers", None)
    implementations = hook.get_hookimpls() if hook else ()
    for implementation in implementations:
        plugin = implementation.plugin_name
        if plugin == "data":
            continue
        for info in implementation.function():
            if not isinstance(info, ReaderInfo):
                raise PluginError(
                    f"hub_readers of plugin {plugin!r} returned a {type(info).__name__}; it must "
                    "return hub_data.hookspecs.ReaderInfo objects"
                )
            if owners.setdefault(info.scheme, plugin) != plugin:
                raise PluginError(
                    f"plugins {owners[info.scheme]!r} and {plugin!r} both have readers for "
                    f"{info.scheme!r}; HUB_PLUGINS=-{plugin} leaves the second out"
                )
            found[info.scheme] = info
    return dict(sorted(found.items()))


def find_reader(name: str, root: str | Path | None = None) -> tuple[ReaderInfo, str]:
    """Return the reader that "scheme/name" or "scheme:name" stands for, and the name.

    A name without a scheme stands for the tar archive or the folder `root`.

    Raises:
        ValueError: no plugin has such a scheme.
    """
    known = list_readers()
    scheme, rest = _split_scheme(name)
    if scheme:
        if scheme not in known:
            near = did_you_mean(scheme, known)
            raise ValueError(f"no reader for {name!r}{near} There are {', '.join(known)}")
        return known[scheme], rest
    is_tar = root is not None and os.path.isfile(root) and ".tar" in Path(root).suffixes
    return known["tar" if is_tar else "folder"], name


def _split_scheme(name: str) -> tuple[str, str]:
    for sign in "/:":
        scheme, found, rest = name.partition(sign)
        if found and scheme.replace("_", "").replace("-", "").isalnum():
            return scheme.lower(), rest
    return "", name


def create_reader(
    name: str, root: str | Path | None = None, split: str = "train", **options: Any
) -> Reader | Stream:
    """Return the reader that `name` stands for.

    Args:
        name: "scheme/name" or "scheme:name"; empty for the folder or tar archive `root`. The
            scheme may be in large letters, the name is taken as it is.
        root: folder or file of the data set, or where downloads are kept.
        split: part of the data set.
        options: keywords of the reader; those that are None count as not given.

    Raises:
        ValueError: there is no such reader, or `root` is needed.
        TypeError: the reader has no such keyword.
        HubError: a library that it needs is not installed.
    """
    info, rest = find_reader(name, root)
    reader_class = load_reader(info)
    given = {key: value for key, value in options.items() if value is not None}
    allowed = reader_options(reader_class)
    for key in given:
        if key not in allowed:
            near = did_you_mean(key, allowed)
            raise TypeError(
                f"the reader {info.scheme!r} has no option {key!r}{near} It has "
                f"{', '.join(sorted(allowed))}"
            )
    return reader_class(rest, root=root, split=split, **given)


def load_reader(info: ReaderInfo) -> Any:
    """Return the class of a reader.

    Raises:
        HubError: a library that it needs is not installed.
        PluginError: its plugin does not have it.
    """
    missing = [dist for module, dist in info.requires if find_spec(module) is None]
    if missing:
        raise HubError(
            f"the reader {info.scheme!r} needs {' and '.join(missing)}, not installed here: "
            f"pip install {' '.join(missing)}"
        )
    module, _, name = info.reader.partition(":")
    try:
        return getattr(import_module(module), name)
    except AttributeError as error:
        raise PluginError(f"the reader {info.scheme!r} is said to be {info.reader}") from error


def reader_options(reader_class: Any) -> frozenset[str]:
    """Return the keywords that a reader takes beyond `root` and `split`."""
    parameters = inspect.signature(reader_class).parameters.values()
    return frozenset(p.name for p in parameters if p.kind is p.KEYWORD_ONLY) - {"root", "split"}


def keep_known(
    reader_class: Any, options: Mapping[str, Any], always: Iterable[str] = ()
) -> dict[str, Any]:
    """Return those of `options` that a reader takes, and those named in `always`."""
    allowed = reader_options(reader_class).union(always)
    return {key: value for key, value in options.items() if key in allowed}
