"""Core's own implementations of the hooks; they come through the same door as everybody's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from hub.builder import create
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
    return create.build(request)


@hookimpl
def hub_commands() -> Iterable[Command]:
    """Offer list, info, download, push and plugins."""
    from hub.cli import models, plugins

    return (*models.COMMANDS, *plugins.COMMANDS)
