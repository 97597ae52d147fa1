"""Schedulers by name."""

from __future__ import annotations

import inspect
from dataclasses import MISSING, fields
from typing import Any, Literal, overload

from hub import did_you_mean
from torch.optim import Optimizer

from hub_optim.hookspecs import ScheduleRequest
from hub_optim.schedule_options import scheduler_kwargs
from hub_optim.schedule_registry import create_schedule, get_schedule_info, resolve, total_epochs
from hub_optim.schedulers import Scheduler
from hub_optim.schedules import noise_of

# For these a type checker knows that there is a scheduler.
Known = Literal[
    "constant", "cosine", "multistep", "plateau", "poly", "rsqrt", "step", "tanh", "wsd"
]


@overload
def create_scheduler_v2(
    optimizer: Optimizer, sched: Known = "cosine", num_epochs: int = 300, **settings: Any
) -> tuple[Scheduler, int]: ...


@overload
def create_scheduler_v2(
    optimizer: Optimizer, sched: Literal["none"], num_epochs: int = 300, **settings: Any
) -> tuple[None, int]: ...


@overload
def create_scheduler_v2(
    optimizer: Optimizer, sched: str, num_epochs: int = 300, **settings: Any
) -> tuple[Scheduler | None, int]: ...


def create_scheduler_v2(
    optimizer: Optimizer, sched: str = "cosine", num_epochs: int = 300, **settings: Any
) -> tuple[Scheduler | None, int]:
    """Create a scheduler by name.

    Args:
        optimizer: its groups are scheduled.
        sched: one of `list_schedules()`; "none" leaves the rates alone. "constant" does as well,
            but warms up and applies the `lr_scale` of layer decay.
        num_epochs: length of the schedule.
        **settings: the other fields of `ScheduleRequest`, which explains each.

    Returns:
        The scheduler, None for "none"; and how many epochs to train, with a warm-up that is a
        prefix, all cycles and the cool-down.

    Raises:
        TypeError: a number is given as text.
        ValueError: the name or a setting is unknown, or a setting makes no sense.
    """
    allowed = {field.name for field in fields(ScheduleRequest)}
    for name in settings:
        if name not in allowed:
            raise ValueError(
                f"a schedule has no setting {name!r}{did_you_mean(name, allowed)} "
                f"There are {', '.join(sorted(allowed))}"
            )
    request = ScheduleRequest(sched=sched, num_epochs=num_epochs, **settings)
    if sched == "none":
        return None, total_epochs(request, None)
    info = get_schedule_info(sched)
    if info.scheduler is not None:
        scheduler: Scheduler = resolve(info.scheduler)(optimizer, request)
        return scheduler, total_epochs(request, scheduler)
    schedule = create_schedule(request)
    noise = noise_of(
        request.noise_range_t,
        pct=request.noise_pct,
        std=request.noise_std,
        seed=request.noise_seed,
    )
    scheduler = Scheduler(optimizer, schedule, t_in_epochs=request.step_on_epochs, noise=noise)
    return scheduler, total_epochs(request, schedule)


def _full_signature() -> inspect.Signature:
    """Return the signature of `create_scheduler_v2` with its settings named, for `help()`."""
    shown = inspect.signature(create_scheduler_v2)
    settings = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default if field.default is not MISSING else inspect.Parameter.empty,
            annotation=field.type,
        )
        for field in fields(ScheduleRequest)
        if field.name not in shown.parameters
    ]
    return shown.replace(parameters=[*list(shown.parameters.values())[:-1], *settings])


create_scheduler_v2.__signature__ = _full_signature()  # type: ignore[attr-defined]


def create_scheduler(
    args: Any, optimizer: Optimizer, updates_per_epoch: int = 0
) -> tuple[Scheduler | None, int]:
    """Create a scheduler from parsed arguments; see `scheduler_kwargs` for their names."""
    return create_scheduler_v2(
        optimizer, **scheduler_kwargs(args), updates_per_epoch=updates_per_epoch
    )
