"""The hooks of hub. A plugin implements those it needs, marked with `hub.hookimpl`.

Each is called with keyword arguments and returns typed values; none changes what it is given.
A hook must be cheap and import nothing heavy: `import torch` belongs into what it refers to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pluggy

from hub.family import Family, Weights

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from torch import nn

hookspec = pluggy.HookspecMarker("hub")
hookimpl = pluggy.HookimplMarker("hub")


class Source(Protocol):
    """A place that models come from, opened on one reference (`scheme:reference`).

    An instance answers for one fixed state of that place: configuration and weights that it hands
    out belong together. Where nobody ever changes its files in place, as in a cache of downloads,
    `is_stable = True` lets networks map them; all others are read.
    """

    def __init__(self, reference: str, *, cache_dir: str | Path | None = None) -> None: ...

    def config(self) -> Mapping[str, Any] | None:
        """Return the content of `config.json`, or None where the place holds only weights."""

    def weights(self, filename: str | None = None) -> Path:
        """Return a local file with the weights, fetched if need be."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """A subcommand of `hub`.

    Args:
        name: the word after `hub`, or two: "plugins test" is one of the commands `hub plugins ...`.
        help: one line for `hub --help`.
        add_arguments: adds the options to the parser it is given.
        run: does the work; returns the exit code.
    """

    name: str
    help: str
    add_arguments: Callable[[ArgumentParser], None]
    run: Callable[[Namespace], int]


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildRequest:
    """Everything that decides how a network is built, before anything heavy is imported.

    Args:
        architecture: bare name of the architecture.
        plugin: name of the plugin that has it.
        entrypoint: builds it: `entrypoint(pretrained=, pretrained_cfg=, ..., **kwargs)`.
        pretrained: whether weights are to be loaded.
        weights: description of the weights, complete; None where the architecture has none.
        kwargs: constructor keywords and options of `hub.build_model_with_cfg`.
    """

    architecture: str
    plugin: str
    entrypoint: Callable[..., nn.Module]
    pretrained: bool
    weights: Weights | None
    kwargs: Mapping[str, Any] = field(default_factory=dict)


@hookspec
def hub_models() -> Iterable[Family]:  # type: ignore[empty-body]
    """Return the families of this plugin."""


@hookspec
def hub_sources() -> Mapping[str, str]:  # type: ignore[empty-body]
    """Return scheme to "package.module:Class" of its `Source`; the class is imported on use."""


@hookspec(firstresult=True)
def hub_create_model(request: BuildRequest) -> nn.Module | None:
    """Build the network that `request` describes, or return None to leave it to the next plugin.

    Write it as a wrapper (`@hub.hookimpl(wrapper=True)`) to change what others built: to quantise,
    insert adapters, compile.
    """


@hookspec
def hub_commands() -> Iterable[Command]:  # type: ignore[empty-body]
    """Return the subcommands that this plugin adds to `hub`.

    A name that two plugins claim is neither's, unless one of them is hub's own.
    """


@hookspec
def hub_attributes() -> Mapping[str, str]:  # type: ignore[empty-body]
    """Return names that appear as `hub.name`, to "package.module:object", imported on use.

    Core's own names stay, and those of official plugins; what two others claim is neither's.
    """


@hookspec
def hub_addhooks() -> Iterable[object]:  # type: ignore[empty-body]
    """Return modules (or classes) with the specifications of hooks that this plugin calls.

    Mark each with `hub.hookspec`. Others implement them with `@hub.hookimpl(optionalhook=True)`,
    and then do not depend on this plugin being installed.
    """
