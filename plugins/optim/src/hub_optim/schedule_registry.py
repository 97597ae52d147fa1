"""What schedules there are, and how a request becomes one; no torch.

Those of hub and those of plugins are made in the same way: `ScheduleInfo` names a function from a
`ScheduleRequest` to the schedule.
"""

from __future__ import annotations

import importlib
import math
import warnings
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from hub import HubWarning, did_you_mean, plugins

from hub_optim import schedules
from hub_optim.hookspecs import Schedule, ScheduleInfo, ScheduleRequest


def cosine(request: ScheduleRequest) -> Schedule:
    """Return the schedule of `sched="cosine"`."""
    return schedules.Cosine(**_cycles(request), k_decay=request.k_decay)


def tanh(request: ScheduleRequest) -> Schedule:
    """Return the schedule of `sched="tanh"`."""
    return schedules.Tanh(**_cycles(request))


def poly(request: ScheduleRequest) -> Schedule:
    """Return the schedule of `sched="poly"`, whose power is `decay_rate`."""
    return schedules.Poly(**_cycles(request), power=request.decay_rate, k_decay=request.k_decay)


def step(request: ScheduleRequest) -> Schedule:
    """Return the schedule of `sched="step"`."""
    epochs = 90 if request.decay_epochs is None else request.decay_epochs
    return schedules.Step(
        epochs * request.steps_per_epoch, request.decay_rate, **_warmup(request, prefix=True)
    )


def multistep(request: ScheduleRequest) -> Schedule:
    """Return the schedule of `sched="multistep"`."""
    milestones = [epoch * request.steps_per_epoch for epoch in request.decay_milestones]
    return schedules.MultiStep(milestones, request.decay_rate, **_warmup(request, prefix=True))


def constant(request: ScheduleRequest) -> Schedule:
    """Return the schedule of `sched="constant"`."""
    return schedules.Constant(**_warmup(request, prefix=True))


def wsd(request: ScheduleRequest) -> Schedule:
    """Return the schedule of `sched="wsd"`."""
    return _wsd(request, stable_fn="constant", decay_fn="1-sqrt")


def rsqrt(request: ScheduleRequest) -> Schedule:
    """Return the schedule of `sched="rsqrt"`."""
    return _wsd(request, stable_fn="rsqrt", decay_fn="linear")


def _wsd(request: ScheduleRequest, *, stable_fn: str, decay_fn: str) -> Schedule:
    # Its warm-up is always a prefix; that `num_epochs` is the length of everything, as with the
    # other schedules, it therefore has to see to itself.
    t_initial = request.t_initial - (0 if request.warmup_prefix else request.warmup_t)
    epochs = 0.2 if request.decay_epochs is None else request.decay_epochs
    decay_t = epochs * (t_initial if 0 < epochs < 1 else request.steps_per_epoch)
    timescale = request.stable_timescale
    return schedules.WSD(
        t_initial,
        round(decay_t),
        lr_min=request.min_lr,
        stable_fn=stable_fn,
        stable_timescale=None if timescale is None else timescale * request.steps_per_epoch,
        decay_fn=request.decay_fn or decay_fn,
        **_warmup(request, prefix=False),
    )


def _warmup(request: ScheduleRequest, *, prefix: bool) -> dict[str, Any]:
    settings: dict[str, Any] = dict(warmup_t=request.warmup_t, warmup_lr_init=request.warmup_lr)
    return settings | (dict(warmup_prefix=request.warmup_prefix) if prefix else {})


def _cycles(request: ScheduleRequest) -> dict[str, Any]:
    return dict(
        t_initial=request.t_initial,
        lr_min=request.min_lr,
        cycle_mul=request.cycle_mul,
        cycle_decay=request.cycle_decay,
        cycle_limit=request.cycle_limit,
        **_warmup(request, prefix=True),
    )


#: The schedules that come with hub-optim.
SCHEDULES: Mapping[str, ScheduleInfo] = {
    info.name: info
    for info in (
        ScheduleInfo(name="constant", description="the rate as it is", schedule=constant),
        ScheduleInfo(name="cosine", description="half a cosine, restarts", schedule=cosine),
        ScheduleInfo(name="multistep", description="a decay at each milestone", schedule=multistep),
        ScheduleInfo(
            name="plateau",
            description="a decay when a metric no longer improves",
            scheduler="hub_optim.schedulers:plateau",
        ),
        ScheduleInfo(name="poly", description="a power of the time left", schedule=poly),
        ScheduleInfo(name="rsqrt", description="inverse root, then a decay", schedule=rsqrt),
        ScheduleInfo(name="step", description="a decay at regular intervals", schedule=step),
        ScheduleInfo(name="tanh", description="hyperbolic tangent, restarts", schedule=tanh),
        ScheduleInfo(name="wsd", description="constant, then a decay", schedule=wsd),
    )
}


def list_schedules() -> list[str]:
    """Return the names that `create_scheduler_v2(sched=...)` takes, sorted, but for "none"."""
    return sorted(_installed(plugins.host()))


def get_schedule_info(name: str) -> ScheduleInfo:
    """Return the description of a schedule.

    Raises:
        ValueError: nothing goes by that name.
    """
    found = _installed(plugins.host())
    if name not in found:
        raise ValueError(
            f"no schedule is called {name!r}{did_you_mean(name, found)} "
            f"There are {', '.join(sorted(found))}, and none"
        )
    return found[name]


def create_schedule(request: ScheduleRequest) -> Schedule:
    """Return the schedule that is asked for: a function of a rate and a step.

    Raises:
        ValueError: nothing goes by that name, it depends on more than time, or its settings make
            no sense.
    """
    info = get_schedule_info(request.sched)
    if info.schedule is None:
        raise ValueError(
            f"{info.name} depends on more than time ({info.description}): what it will do is not "
            "known before the training; create_scheduler_v2 makes it"
        )
    return resolve(info.schedule)(request)


def total_epochs(request: ScheduleRequest, schedule: object) -> int:
    """Return how many epochs to train, with the warm-up, all cycles and the cool-down."""
    length = getattr(schedule, "length", None)
    if length is None:
        warmup = request.warmup_epochs if request.warmup_prefix else 0
        return math.floor(request.num_epochs + warmup)
    total = math.floor(length + request.cooldown_t)
    return total // request.steps_per_epoch


def resolve(target: str | Callable[..., Any]) -> Callable[..., Any]:
    """Import "package.module:name"; what is no string is returned as it is."""
    if not isinstance(target, str):
        return target
    module, _, name = target.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return found


@lru_cache(maxsize=1)
def _installed(current: plugins.Host) -> dict[str, ScheduleInfo]:
    """Return the schedules of hub and of plugins; a name belongs to who had it first."""
    found = dict(SCHEDULES)
    hook = getattr(current.hook, "hub_schedules", None)
    for implementation in hook.get_hookimpls() if hook else ():
        plugin = implementation.plugin_name
        try:
            for info in implementation.function():
                if not isinstance(info, ScheduleInfo):
                    raise TypeError(f"hub_schedules must return ScheduleInfo, not {info!r}")
                if found.setdefault(info.name, info) is not info or info.name == "none":
                    raise ValueError(f"the name {info.name!r} is taken; ask for another")
        except Exception as e:  # one broken plugin must not cost the schedules of the others
            warnings.warn(
                f"schedules of plugin {plugin!r} are left out: {type(e).__name__}: {e}",
                HubWarning,
                stacklevel=3,
            )
    return found
