"""The hooks of hub-optim: how other plugins add optimizers and schedules.

Implement them with `@hub.hookimpl(optionalhook=True)`: a plugin that has more to offer than an
optimizer then works without hub-optim too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hub.hookspecs import hookspec


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimInfo:
    """One optimizer by name; without torch, so that names can be listed without it.

    Args:
        name: what `create_optimizer_v2(opt=...)` takes.
        opt_class: "package.module:Class", imported on use, or the class itself.
        description: one line.
        has_eps: the constructor takes `eps`.
        has_momentum: the constructor takes `momentum`.
        has_betas: the constructor takes `betas`.
        num_betas: how many of them.
        second_order: `step` needs the graph of the gradients.
        defaults: keywords that the name stands for: dict(nesterov=True).
    """

    name: str
    opt_class: str | type
    description: str = ""
    has_eps: bool = True
    has_momentum: bool = False
    has_betas: bool = False
    num_betas: int = 2
    second_order: bool = False
    defaults: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class ScheduleInfo:
    """One schedule by name.

    Args:
        name: what `create_scheduler_v2(sched=...)` takes.
        schedule: "package.module:function": called with the optimizer and the keywords of
            `create_scheduler_v2` as one `ScheduleRequest`, it returns a scheduler.
        description: one line.
    """

    name: str
    schedule: str
    description: str = ""


@hookspec
def hub_optimizers() -> Iterable[OptimInfo]:  # type: ignore[empty-body]
    """Return the optimizers that this plugin adds."""


@hookspec
def hub_schedules() -> Iterable[ScheduleInfo]:  # type: ignore[empty-body]
    """Return the schedules that this plugin adds."""
