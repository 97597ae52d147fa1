"""Schedulers: they write the rates of a schedule into the groups of an optimizer.

    scheduler.step(epoch + 1)  # after each epoch, or
    scheduler.step_update(updates)  # after each update

The caller counts. A scheduler that counts epochs does nothing in `step_update` and the other way
round, so that a loop may call both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor
from torch.optim import Optimizer

from hub_optim import schedules
from hub_optim.arguments import check_options
from hub_optim.hookspecs import Schedule, ScheduleRequest
from hub_optim.schedules import Noise, noise_of


class Scheduler:
    """A schedule that is followed by the groups of an optimizer.

    The rate of each group at this moment is its own rate, kept as `initial_lr`; a group that is
    added later brings its own. Groups with `lr_scale`, as layer decay makes them, get their rate
    times that.

    Args:
        optimizer: it is only written to, never stepped.
        schedule: the rate at a step of a group with a rate.
        param_group_field: what of a group is scheduled.
        t_in_epochs: steps are epochs; otherwise updates.
        noise: added to the schedule.
        initialize: the groups begin now; otherwise their `initial_lr` counts, as on resuming.

    Raises:
        KeyError: a group lacks the field, or its initial value.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        schedule: Schedule,
        *,
        param_group_field: str = "lr",
        t_in_epochs: bool = True,
        noise: Noise | None = None,
        initialize: bool = True,
    ) -> None:
        self.optimizer = optimizer
        self.schedule = schedule
        self.param_group_field = param_group_field
        self.t_in_epochs = t_in_epochs
        self.noise = noise
        self.metric: float | None = None
        self.t: int | None = None
        self.base_values: list[float] = []
        self._learn_groups(initialize=initialize)
        self.update_groups([schedule(base, 0) for base in self.base_values])

    def step(self, epoch: int, metric: float | None = None) -> None:
        """Set the rates for an epoch, if epochs count.

        Args:
            epoch: the one that begins now, from 0.
            metric: of the one that has ended.
        """
        self.metric = metric
        if self.t_in_epochs:
            self._go_to(epoch)

    def step_update(self, num_updates: int, metric: float | None = None) -> None:
        """Set the rates for an update, if updates count.

        Args:
            num_updates: how many there have been.
            metric: after the last.
        """
        self.metric = metric
        if not self.t_in_epochs:
            self._go_to(num_updates)

    def values_at(self, t: int) -> list[float]:
        """Return the rate of each group at step `t`, before `lr_scale`."""
        factor = 1.0 + (self.noise(t) if self.noise else 0.0)
        return [self.schedule(base, t) * factor for base in self.base_values]

    def update_groups(self, values: float | Sequence[float]) -> None:
        """Write rates into the groups, times `lr_scale`."""
        groups = self.optimizer.param_groups
        listed = values if isinstance(values, Sequence) else [values] * len(groups)
        for group, value in zip(groups, listed, strict=True):
            self._write(group, value * group.get("lr_scale", 1.0))

    def get_cycle_length(self, cycles: int = 0) -> float | None:
        """Return the length of the schedule, or of some of its cycles; None if it has none."""
        if isinstance(self.schedule, schedules.Cyclic):
            return self.schedule.cycle_length(cycles)
        return getattr(self.schedule, "length", None)

    def state_dict(self) -> dict[str, Any]:
        """Return what resuming needs; not the schedule, so that a run may go on for longer."""
        return dict(base_values=list(self.base_values), t=self.t, metric=self.metric)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken; that of timm's schedulers is understood too."""
        self.base_values = list(state_dict["base_values"])
        self.metric = state_dict.get("metric")
        t = state_dict.get("t")
        if t is not None:
            self._go_to(t)

    def _learn_groups(self, *, initialize: bool = True) -> None:
        """Note the rates of groups that are new: at first all, later those that were added."""
        field, initial = self.param_group_field, f"initial_{self.param_group_field}"
        needed = field if initialize else initial
        for i, group in enumerate(self.optimizer.param_groups):
            if needed not in group:
                raise KeyError(f"{needed} missing from param_groups[{i}] of the optimizer")
            if i >= len(self.base_values):
                self.base_values.append(float(group.setdefault(initial, float(group[needed]))))

    def _go_to(self, t: int) -> None:
        self.t = t
        self._learn_groups()
        self.update_groups(self.values_at(t))

    def _write(self, group: dict[str, Any], value: float) -> None:
        field = self.param_group_field
        if isinstance(group[field], Tensor):
            group[field].fill_(value)  # in place: a captured or compiled step reads this tensor
        else:
            group[field] = value


class _NamedScheduler(Scheduler):
    """A scheduler of one kind of schedule, which is made here.

    Args:
        optimizer: see `Scheduler`.
        *args: for the schedule.
        t_in_epochs: steps are epochs; otherwise updates.
        noise_range_t: step at which noise begins, or two at which it begins and ends.
        noise_pct: see `Noise`.
        noise_std: see `Noise`.
        noise_seed: see `Noise`.
        initialize: see `Scheduler`.
        **settings: for the schedule.
    """

    make: ClassVar[Callable[..., Schedule]]

    def __init__(
        self,
        optimizer: Optimizer,
        *args: Any,
        t_in_epochs: bool = True,
        noise_range_t: float | Sequence[float] | None = None,
        noise_pct: float = 0.67,
        noise_std: float = 1.0,
        noise_seed: int = 42,
        initialize: bool = True,
        **settings: Any,
    ) -> None:
        super().__init__(
            optimizer,
            type(self).make(*args, **settings),
            t_in_epochs=t_in_epochs,
            noise=noise_of(noise_range_t, pct=noise_pct, std=noise_std, seed=noise_seed),
            initialize=initialize,
        )


class CosineLRScheduler(_NamedScheduler):
    """Follows `schedules.Cosine`."""

    make = schedules.Cosine


class TanhLRScheduler(_NamedScheduler):
    """Follows `schedules.Tanh`."""

    make = schedules.Tanh


class PolyLRScheduler(_NamedScheduler):
    """Follows `schedules.Poly`."""

    make = schedules.Poly


class StepLRScheduler(_NamedScheduler):
    """Follows `schedules.Step`."""

    make = schedules.Step


class MultiStepLRScheduler(_NamedScheduler):
    """Follows `schedules.MultiStep`."""

    make = schedules.MultiStep


class WSDLRScheduler(_NamedScheduler):
    """Follows `schedules.WSD`."""

    make = schedules.WSD


class PlateauLRScheduler(Scheduler):
    """Lowers the rates when a metric has not improved for a while.

    The one scheduler with a memory; all of it is in `state_dict`. It counts epochs only.

    Args:
        optimizer: see `Scheduler`.
        decay_rate: factor of a decay.
        patience_t: epochs without improvement that are put up with.
        threshold: share by which a metric must be better than the best to count.
        cooldown_t: epochs after a decay in which none counts as bad.
        warmup_t: epochs of a linear warm-up.
        warmup_lr_init: rate at its start.
        lr_min: lowest rate.
        mode: "max" if the metric is to grow, "min" if it is to fall.
        noise_range_t: epoch at which noise begins, or two at which it begins and ends.
        noise_type: "normal" or "uniform".
        noise_pct: see `Noise`.
        noise_std: see `Noise`.
        noise_seed: see `Noise`; None for 42.
        initialize: see `Scheduler`.
    """

    #: A decay by less than this is none.
    SMALLEST_CHANGE = 1e-8

    def __init__(
        self,
        optimizer: Optimizer,
        decay_rate: float = 0.1,
        patience_t: int = 10,
        threshold: float = 1e-4,
        cooldown_t: int = 0,
        *,
        warmup_t: float = 0,
        warmup_lr_init: float = 0.0,
        lr_min: float = 0.0,
        mode: str = "max",
        noise_range_t: float | Sequence[float] | None = None,
        noise_type: str = "normal",
        noise_pct: float = 0.67,
        noise_std: float = 1.0,
        noise_seed: int | None = None,
        initialize: bool = True,
    ) -> None:
        given = {name: value for name, value in locals().items() if name != "self"}
        check_options(PlateauLRScheduler, given)
        if mode not in ("max", "min"):
            raise ValueError(f"mode={mode!r} is neither 'max' nor 'min'")
        if not 0 <= decay_rate < 1:
            raise ValueError(f"decay_rate={decay_rate}: a decay makes the rate smaller, 0 to 1")
        seed = 42 if noise_seed is None else noise_seed
        super().__init__(
            optimizer,
            schedules.Constant(warmup_t=warmup_t, warmup_lr_init=warmup_lr_init),
            noise=noise_of(noise_range_t, pct=noise_pct, std=noise_std, seed=seed, kind=noise_type),
            initialize=initialize,
        )
        self.warmup_t, self.decay_rate, self.lr_min = warmup_t, decay_rate, lr_min
        self.patience_t, self.threshold, self.cooldown_t = patience_t, threshold, cooldown_t
        self.mode = mode
        self.best = -math.inf if mode == "max" else math.inf
        self.num_bad = 0
        self.cooling = 0
        # The rates without noise while there is noise on those of the groups.
        self.quiet: list[float] | None = None

    def step(self, epoch: int, metric: float | None = None) -> None:
        """Set the rates for an epoch; `metric` is that of the one before."""
        self.metric, self.t = metric, epoch
        self._learn_groups()
        if epoch <= self.warmup_t:
            self.update_groups([self.schedule(base, epoch) for base in self.base_values])
            return
        self._restore(self.quiet)
        if metric is not None and self._is_stuck(float(metric)):
            self._decay()
        noise = self.noise(epoch) if self.noise else 0.0
        self.quiet = (
            [float(group["lr"]) for group in self.optimizer.param_groups] if noise else None
        )
        self._restore([lr + lr * noise for lr in self.quiet or []])

    def state_dict(self) -> dict[str, Any]:
        """Return what resuming needs."""
        rates = [float(group["lr"]) for group in self.optimizer.param_groups]
        memory = dict(best=self.best, num_bad=self.num_bad, cooling=self.cooling, quiet=self.quiet)
        return super().state_dict() | memory | dict(rates=rates)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        state = dict(state_dict)
        self._restore(state.pop("rates"))
        for name, value in state.items():
            setattr(self, name, value)

    def _restore(self, rates: Sequence[float] | None) -> None:
        for group, rate in zip(self.optimizer.param_groups, rates or [], strict=False):
            self._write(group, rate)

    def _is_stuck(self, metric: float) -> bool:
        """Count an epoch; return whether patience has run out."""
        sign = 1 if self.mode == "max" else -1
        if sign * metric > sign * self.best * (1 + sign * self.threshold):
            self.best, self.num_bad = metric, 0
        else:
            self.num_bad += 1
        if self.cooling > 0:
            self.cooling -= 1
            self.num_bad = 0
        return self.num_bad > self.patience_t

    def _decay(self) -> None:
        self.num_bad, self.cooling = 0, self.cooldown_t
        for group in self.optimizer.param_groups:
            rate = float(group["lr"])
            lower = max(rate * self.decay_rate, self.lr_min)
            if rate - lower > self.SMALLEST_CHANGE:
                self._write(group, lower)


def plateau(optimizer: Optimizer, request: ScheduleRequest) -> PlateauLRScheduler:
    """Return the scheduler of `sched="plateau"`."""
    if not request.step_on_epochs:
        raise ValueError("plateau has a metric once an epoch; it cannot be stepped on updates")
    return PlateauLRScheduler(
        optimizer,
        decay_rate=request.decay_rate,
        patience_t=request.patience_epochs,
        warmup_t=request.warmup_t,
        warmup_lr_init=request.warmup_lr,
        lr_min=request.min_lr,
        mode=request.plateau_mode,
        noise_range_t=request.noise_range_t,
        noise_pct=request.noise_pct,
        noise_std=request.noise_std,
        noise_seed=request.noise_seed,
    )
