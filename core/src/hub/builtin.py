"""What core itself brings: its hooks, through the same door as everybody's, and its builder.

It stands above all of core; the package `hub` hands it to the host, so that nothing below asks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from hub.builder.create import build
from hub.builder.entrypoint import entrypoint as entrypoint  # what `Architecture` asks for
from hub.hookspecs import BuildRequest, Command, hookimpl

if TYPE_CHECKING:
    from torch import nn


@hookimpl
def hub_sources() -> Mapping[str, str]:
    """Offer the Hugging Face Hub, folders, files and web addresses."""
    return {
        "hf-hub": "hub.pretrained.sources:HubRepository",
        "local-dir": "hub.pretrained.sources:LocalFolder",
        "file": "hub.pretrained.sources:LocalFile",
        "https": "hub.pretrained.sources:HttpsFile",
        "http": "hub.pretrained.sources:HttpFile",
    }


@hookimpl(trylast=True)
def hub_create_model(request: BuildRequest) -> nn.Module:
    """Build with the entry point of the architecture."""
    return build(request)


@hookimpl
def hub_commands() -> Iterable[Command]:
    """Offer list, info and plugins."""
    from hub.cli import models, plugins

    return (*models.COMMANDS, *plugins.COMMANDS)
