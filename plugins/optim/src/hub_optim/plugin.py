"""What hub-optim adds to hub: hooks for optimizers and schedules."""

from __future__ import annotations

from hub.hookspecs import hookimpl

from hub_optim import hookspecs


@hookimpl
def hub_addhooks() -> list[object]:
    """Return the hooks through which optimizers and schedules come."""
    return [hookspecs]
