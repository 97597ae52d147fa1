"""The hooks of hub-optim: how other plugins add optimizers and schedules.

Implement them with `@hub.hookimpl(optionalhook=True)`: a plugin that has more to offer than an
optimizer then works without hub-optim too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from hub import hookspec

from hub_optim.arguments import check_fields


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimInfo:
    """One optimizer by name; without torch, so that names can be listed without it.

    Args:
        name: what `create_optimizer_v2(opt=...)` takes.
        opt_class: "package.module:Class", imported on use, or the class itself (in a script).
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


class Schedule(Protocol):
    """A learning rate as a function of time, without memory and without torch.

    It may have a `length`: steps until it has nothing more to do, warm-up included. Without one it
    is as long as the training that it was made for.
    """

    def __call__(self, base: float, t: float, /) -> float:
        """Return the rate at step `t`, counted from 0, of a group whose own rate is `base`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ScheduleRequest:
    """What `create_scheduler_v2` is asked for. Fields are as given, `*_t` are in steps.

    A step is an epoch, or an update with `step_on_epochs=False`.

    Args:
        sched: name of the schedule.
        num_epochs: its length, without cool-down and without a warm-up that is a prefix.
        decay_epochs: step: epochs between two decays (None: 90); wsd and rsqrt: length of the
            decay, below 1 as a share of the schedule (None: 0.2).
        decay_milestones: multistep: epochs after which the rate decays.
        cooldown_epochs: epochs at the lowest rate after the end.
        patience_epochs: plateau: epochs without improvement before the rate decays.
        decay_rate: factor of a decay; poly: the power.
        min_lr: lowest rate, of schedules that go down to one.
        warmup_lr: rate at the start of the warm-up.
        warmup_epochs: epochs in which the rate grows to that of the schedule; half an epoch is
            one that updates can follow.
        warmup_prefix: the schedule begins after the warm-up, not along with it.
        noise: where noise begins, or begins and ends, as shares of `num_epochs`; None for none.
        noise_pct: highest noise, as a share of the rate.
        noise_std: its standard deviation before that limit.
        noise_seed: noise at a step is a function of this and of the step.
        cycle_mul: each cycle is this much longer than the one before (cosine, tanh, poly).
        cycle_decay: each begins at this share of the rate at which the one before began.
        cycle_limit: number of cycles.
        k_decay: exponent of time (cosine, poly; arXiv 2004.05909).
        decay_fn: shape of the decay of wsd (None: 1-sqrt) and rsqrt (None: linear).
        stable_timescale: rsqrt: epochs in which the rate falls to 0.71; None for the warm-up's.
        plateau_mode: whether the metric is to grow ("max") or to fall ("min").
        step_on_epochs: count epochs; otherwise updates.
        updates_per_epoch: needed to count updates.
    """

    sched: str = "cosine"
    num_epochs: int = 300
    decay_epochs: float | None = None
    decay_milestones: Sequence[float] = (90, 180, 270)
    cooldown_epochs: int = 0
    patience_epochs: int = 10
    decay_rate: float = 0.1
    min_lr: float = 0.0
    warmup_lr: float = 1e-5
    warmup_epochs: float = 0
    warmup_prefix: bool = False
    noise: float | Sequence[float] | None = None
    noise_pct: float = 0.67
    noise_std: float = 1.0
    noise_seed: int = 42
    cycle_mul: float = 1.0
    cycle_decay: float = 0.1
    cycle_limit: int = 1
    k_decay: float = 1.0
    decay_fn: str | None = None
    stable_timescale: float | None = None
    plateau_mode: str = "max"
    step_on_epochs: bool = True
    updates_per_epoch: int = 0

    def __post_init__(self) -> None:
        check_fields(self)
        if not self.step_on_epochs and self.updates_per_epoch < 1:
            raise ValueError(
                f"updates_per_epoch={self.updates_per_epoch}: a schedule that counts updates must "
                "know how many an epoch has; pass the length of the loader, or step_on_epochs=True"
            )

    @property
    def steps_per_epoch(self) -> int:
        """Steps of the schedule in an epoch: 1, or the number of updates."""
        return 1 if self.step_on_epochs else self.updates_per_epoch

    @property
    def t_initial(self) -> int:
        """Length of the schedule, in steps."""
        return self.num_epochs * self.steps_per_epoch

    @property
    def warmup_t(self) -> float:
        """Length of the warm-up, in steps."""
        return self.warmup_epochs * self.steps_per_epoch

    @property
    def cooldown_t(self) -> int:
        """Length of the cool-down, in steps."""
        return self.cooldown_epochs * self.steps_per_epoch

    @property
    def noise_range_t(self) -> tuple[float, ...] | None:
        """Steps at which noise begins and, if it does, ends."""
        if self.noise is None:
            return None
        shares = (self.noise,) if isinstance(self.noise, int | float) else self.noise
        return tuple(share * self.t_initial for share in shares)


@dataclass(frozen=True, kw_only=True, slots=True)
class ScheduleInfo:
    """One schedule by name; it has `schedule` or, if it must remember something, `scheduler`.

    Args:
        name: what `create_scheduler_v2(sched=...)` takes.
        description: one line.
        schedule: "package.module:function": called with a `ScheduleRequest`, returns a `Schedule`.
            It is drawn by `hub lr`, so better import no torch.
        scheduler: "package.module:function": called with the optimizer and a `ScheduleRequest`,
            returns a `hub_optim.Scheduler`.
    """

    name: str
    description: str = ""
    schedule: str | Callable[[ScheduleRequest], Schedule] | None = None
    scheduler: str | Callable[[Any, ScheduleRequest], Any] | None = None

    def __post_init__(self) -> None:
        if (self.schedule is None) == (self.scheduler is None):
            raise ValueError(f"the schedule {self.name!r} needs `schedule` or `scheduler`, one")


@hookspec
def hub_optimizers() -> Iterable[OptimInfo]:  # type: ignore[empty-body]
    """Return the optimizers that this plugin adds."""


@hookspec
def hub_schedules() -> Iterable[ScheduleInfo]:  # type: ignore[empty-body]
    """Return the schedules that this plugin adds."""
