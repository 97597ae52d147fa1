"""What is wrong with the plugins that are installed, and what to do about it. No torch."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hub import plugins, registry
from hub.errors import HubError
from hub.suggest import did_you_mean

#: Seconds that loading a plugin may take before it is worth a note.
SLOW = 0.2
#: The folder of the package `hub`.
HERE = Path(plugins.__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that the doctor found.

    Args:
        kind: a "problem" keeps something from working; a "note" is good to know.
        plugin: the plugin; "" for hub itself.
        text: what it is.
        advice: what to do next.
    """

    kind: Literal["problem", "note"]
    plugin: str
    text: str
    advice: str = ""

    def __str__(self) -> str:
        text = f"{self.kind:<8} {self.plugin or 'hub'}: {self.text}"
        return f"{text}\n{'':<8} {self.advice}" if self.advice else text


def environment() -> str:
    """Return one line about the versions in play."""
    versions = [f"{name} {_version(name) or 'missing'}" for name in ("hub-core", "torch")]
    return ", ".join([*versions, f"Python {platform.python_version()}", f"in {sys.prefix}"])


def examine(name: str | None = None) -> list[Finding]:
    """Examine one plugin, or all of them and hub itself.

    Raises:
        HubError: no plugin has this name.
    """
    found = plugins.host().plugins
    if name is None:
        subjects = list(found.values())
        findings = [*_shadows(), *_command_clashes()]
    elif name in found:
        subjects, findings = [found[name]], []
    else:
        raise HubError(
            f"there is no plugin {name!r}{did_you_mean(name, found)} "
            f"Installed: {', '.join(found) or 'none'}"
        )
    for plugin in subjects:
        findings += [*_status(plugin, full=name is not None), *_requirements(plugin)]
        findings += [*_weight(plugin), *_references(plugin), *_name_clashes(plugin)]
    return findings


def _status(plugin: plugins.Plugin, full: bool) -> Iterator[Finding]:
    """Yield what kept a plugin from loading; in `full` with the place in its code."""
    name = plugin.name
    if plugin.status == "blocked":
        yield Finding(
            "note", name, f"HUB_PLUGINS={os.environ.get('HUB_PLUGINS', '')} leaves it out"
        )
    if plugin.error is not None:
        remedy = f"pip uninstall {plugin.distribution}, or leave it out: HUB_PLUGINS=-{name}"
        place = f"\n{_place(plugin.error)}" if full else ""
        yield Finding("problem", name, plugin.reason + place, f"mend it, {remedy}")


def _place(error: BaseException) -> str:
    """Return where in the code of a plugin an error arose; the way of hub to it is left out."""
    told = traceback.TracebackException.from_exception(error)
    packages = (HERE, Path(importlib.__file__).parent)
    ours = ("<frozen", *(f"{package}{os.sep}" for package in packages))
    told.stack = traceback.StackSummary.from_list(
        frame for frame in told.stack if not frame.filename.startswith(ours)
    )
    return "".join(told.format()).rstrip()


def _requirements(plugin: plugins.Plugin) -> Iterator[Finding]:
    """Yield the requirements of a plugin that the environment does not meet."""
    from packaging.requirements import Requirement

    try:
        lines = importlib.metadata.requires(plugin.distribution) or []
    except importlib.metadata.PackageNotFoundError:  # a source tree
        return
    for line in lines:
        requirement = Requirement(line)
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        here = _version(requirement.name)
        if here is None or not requirement.specifier.contains(here, prereleases=True):
            needed = f"{requirement.name}{requirement.specifier}"
            state = f"which is {here} here" if here else "which is not installed"
            text = f"it needs {needed}, {state}"
            yield Finding("problem", plugin.name, text, f'pip install "{needed}"')
    if plugin.official and plugin.version != (here := _version("hub-core")):
        text = f"it is {plugin.version}, and hub-core is {here}"
        advice = f"pip install --upgrade hub-core {plugin.distribution}"
        yield Finding("problem", plugin.name, text, advice)


def _weight(plugin: plugins.Plugin) -> Iterator[Finding]:
    """Yield what makes a plugin slow to list."""
    if plugin.heavy:
        yield Finding(
            "problem",
            plugin.name,
            f"it imports {', '.join(plugin.heavy)} when it is listed, which makes every use of "
            "`hub` wait; others after it may do the same unseen",
            "import it in the module of the network, which plugin.py names and does not import",
        )
    elif plugin.seconds > SLOW:
        yield Finding("note", plugin.name, f"it took {plugin.seconds:.2f} s to load")


def _references(plugin: plugins.Plugin) -> Iterator[Finding]:
    """Yield the modules that a plugin's families name and that are not there."""
    named = {
        reference for f in plugin.families for reference in (f.model, f.converter) if reference
    }
    for reference in sorted(named):
        module = reference.partition(":")[0]
        try:
            missing = importlib.util.find_spec(module) is None
        except ImportError:
            missing = True
        if missing:
            text = f"it refers to {reference!r}, and there is no module {module}"
            yield Finding("problem", plugin.name, text)


def _name_clashes(plugin: plugins.Plugin) -> Iterator[Finding]:
    """Yield the architectures of a plugin that are not known by their bare name."""
    known = registry.registry()
    names = [name for family in plugin.families for name in family.variants]
    owners = {name: known.owner(name) for name in names}
    prefixed = [n for n, owner in owners.items() if owner is None or owner.plugin != plugin.name]
    if prefixed:
        others = {c.plugin for n in prefixed for c in known.claims[n]} - {plugin.name}
        others |= {p for p, entry in plugins.known().items() if {*prefixed} & {*entry["models"]}}
        shown = ", ".join(prefixed[:5]) + (", ..." if len(prefixed) > 5 else "")
        text = f"{shown} also in {', '.join(sorted(others))}"
        yield Finding("note", plugin.name, text, f"here it is {plugin.name}/{prefixed[0]}")


def _shadows() -> Iterator[Finding]:
    """Yield what else is called `hub` and may be imported, or written over, in its place."""
    for folder in dict.fromkeys(["", *sys.path]):
        for path in (Path(folder) / "hub" / "__init__.py", Path(folder) / "hub.py"):
            if path.is_file() and path.resolve().parent != HERE:
                text = f"{path.resolve()} is imported in its place by programs that start there"
                yield Finding("problem", "", text, "rename it")
    for name in _distributions_of("hub") - {"hub-core"}:
        text = f"the distribution {name} has a package `hub` too: each overwrites the other"
        remedy = f"pip uninstall {name}; pip install --force-reinstall --no-deps hub-core"
        yield Finding("problem", "", text, remedy)


def _distributions_of(package: str) -> set[str]:
    """Return the distributions that hold files of a top-level package."""
    return {
        plugins.canonical(d) for d in importlib.metadata.packages_distributions().get(package, ())
    }


def _command_clashes() -> Iterator[Finding]:
    """Yield the subcommands that several plugins bring."""
    host = plugins.host()
    for name, owners in sorted(host.claimants("hub_commands").items()):
        if clash := host.clash("hub_commands", name):
            yield Finding("problem", "", f"the command {clash}")
        elif len(owners) > 1:
            text = f"{' and '.join(owners)} bring a command `hub {name}`; {owners[0]} has it"
            yield Finding("note", "", text)


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
