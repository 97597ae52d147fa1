"""Readers: where samples come from. Each is named by a scheme, and comes through a hook.

`create_reader("scheme/name")` finds the class that a plugin stated for the scheme in its hook
`hub_readers`; without a scheme, `root` is a folder of images or a tar archive.
"""

from __future__ import annotations

import inspect
import os
import warnings
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from hub import HubError, HubWarning, PluginError, did_you_mean, plugins

from hub_data.hookspecs import Reader, ReaderInfo, Stream
from hub_data.plugin import hub_readers as own_readers


def list_readers() -> dict[str, ReaderInfo]:
    """Return scheme to reader, of all plugins.

    A plugin that cannot name its readers costs one warning, as does a scheme that two plugins
    claim; whoever asks for one of those is told the cause.

    Raises:
        PluginError: one of these, where `HUB_PLUGINS_STRICT` is set.
    """
    return dict(_installed(plugins.host()).readers)


class _Installed(NamedTuple):
    """Scheme to reader; and plugin, or scheme of two plugins, to what is wrong with it."""

    readers: dict[str, ReaderInfo]
    problems: dict[str, PluginError]


@lru_cache(maxsize=1)
def _installed(host: plugins.Host) -> _Installed:
    readers = {info.scheme: info for info in own_readers()}
    owners = dict.fromkeys(readers, "data")
    problems: dict[str, PluginError] = {}
    hook = getattr(host.hook, "hub_readers", None)
    for implementation in hook.get_hookimpls() if hook else ():
        plugin = implementation.plugin_name
        if plugin == "data":
            continue
        try:
            found = _checked(implementation.function())
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # one broken plugin must not cost the readers of the others
            problems[plugin] = _problem(plugin, error)
            continue
        for info in found:
            owner = owners.setdefault(info.scheme, plugin)
            if owner == plugin:
                readers[info.scheme] = info
                continue
            problems[info.scheme] = PluginError(
                f"plugins {owner!r} and {plugin!r} both have readers for {info.scheme!r}; "
                f"HUB_PLUGINS=-{plugin} leaves the second out"
            )
            if owner != "data":  # hub's own keep their schemes
                readers.pop(info.scheme, None)
    for problem in problems.values():
        if os.environ.get("HUB_PLUGINS_STRICT", "0") not in ("", "0"):
            raise problem
        warnings.warn(str(problem), HubWarning, stacklevel=4)
    return _Installed(dict(sorted(readers.items())), problems)


def _checked(found: Iterable[ReaderInfo]) -> list[ReaderInfo]:
    infos = list(found)
    for info in infos:
        if not isinstance(info, ReaderInfo):
            raise TypeError(f"{type(info).__name__} is no hub_data.hookspecs.ReaderInfo")
    return infos


def _problem(plugin: str, cause: BaseException) -> PluginError:
    problem = PluginError(
        f"hub_readers of plugin {plugin!r} failed, so it has no readers: {type(cause).__name__}: "
        f"{cause} (HUB_PLUGINS=-{plugin} leaves the plugin out)"
    )
    problem.__cause__ = cause
    return problem


def find_reader(name: str, root: str | Path | None = None) -> tuple[ReaderInfo, str]:
    """Return the reader that "scheme/name" or "scheme:name" stands for, and the name.

    A name without a scheme stands for the tar archive or the folder `root`.

    Raises:
        ValueError: no plugin has such a scheme, or the name is a path.
        PluginError: the plugin of this name is broken, or two have this scheme.
    """
    readers, problems = _installed(plugins.host())
    scheme, rest = _split_scheme(name)
    if scheme in readers:
        return readers[scheme], rest
    if scheme in problems:
        raise problems[scheme]
    if scheme or _is_path(name, root):
        near = did_you_mean(scheme, readers) if len(scheme) > 1 else "."  # one letter: a drive
        broken = "".join(f"; {problem}" for problem in problems.values())
        raise ValueError(
            f"no reader for {name!r}{near} There are {', '.join(readers)}. A path goes elsewhere: "
            f"create_dataset('', root={name!r}) for a folder or tar archive, {f'csv:{name}'!r} for "
            f"a table{broken}"
        ) from next(iter(problems.values()), None)
    is_tar = root is not None and os.path.isfile(root) and ".tar" in Path(root).suffixes
    return readers["tar" if is_tar else "folder"], name


def _split_scheme(name: str) -> tuple[str, str]:
    for sign in "/:":
        scheme, found, rest = name.partition(sign)
        if found and scheme.replace("_", "").replace("-", "").isalnum():
            return scheme.lower(), rest
    return "", name


def _is_path(name: str, root: str | Path | None) -> bool:
    """Return whether a name without a scheme is a path; others are ignored, as timm does."""
    if not name or (root is not None and os.path.exists(root) and _is_same(name, root)):
        return False
    places = (name, os.path.join(root or "", name))
    return any(sign in name for sign in "/\\~") or any(map(os.path.exists, places))


def _is_same(name: str, root: str | Path) -> bool:
    return os.path.exists(name) and os.path.samefile(name, root)


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
    missing = missing_libraries(info)
    if missing:
        raise HubError(
            f"the reader {info.scheme!r} needs {' and '.join(missing)}, not installed here: "
            f"pip install {' '.join(missing)}"
        )
    module, _, name = info.reader.partition(":")
    try:
        return getattr(import_module(module), name)
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:
        raise PluginError(
            f"the reader {info.scheme!r} is said to be {info.reader}, which cannot be imported: "
            f"{type(error).__name__}: {error}"
        ) from error


def missing_libraries(info: ReaderInfo) -> list[str]:
    """Return the distributions that a reader needs and that are not installed."""
    missing = []
    for module, distribution in info.requires:
        try:
            found = find_spec(module)
        except (ImportError, ValueError):  # of a package that is not there, or half there
            found = None
        if found is None:
            missing.append(distribution)
    return missing


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
