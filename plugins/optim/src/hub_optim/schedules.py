"""Learning rates as functions of time: no state, no torch.

Each class is called with the rate of a group and a step, and returns the rate at that step. Time
is whatever the caller counts, epochs or updates.

    >>> schedule = Cosine(300, warmup_t=5)
    >>> schedule(0.1, 0), schedule(0.1, 150), schedule(0.1, 300)
    (0.0, 0.05, 0.0)
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, field

from hub_optim.arguments import check_fields


@dataclass(frozen=True, kw_only=True)
class WarmedUp:
    """A schedule after a linear warm-up.

    Args:
        warmup_t: steps of the warm-up; 0 for none.
        warmup_lr_init: rate at its first step.
        warmup_prefix: time of the schedule proper begins after the warm-up, not along with it.
    """

    warmup_t: float = 0
    warmup_lr_init: float = 0.0
    warmup_prefix: bool = False

    def __post_init__(self) -> None:
        check_fields(self)
        _check(self, warmup_t=self.warmup_t >= 0, warmup_lr_init=self.warmup_lr_init >= 0)

    def __call__(self, base: float, t: float) -> float:
        """Return the rate at step `t` of a group whose own rate is `base`."""
        if t < self.warmup_t:
            slope = (self.summit(base) - self.warmup_lr_init) / self.warmup_t
            return self.warmup_lr_init + t * slope
        return self.proper(base, t - self.warmup_t if self.warmup_prefix else t)

    def summit(self, base: float) -> float:
        """Return the rate to which the warm-up leads."""
        return base

    def proper(self, base: float, t: float) -> float:
        """Return the rate at step `t` of the schedule without its warm-up."""
        raise NotImplementedError


@dataclass(frozen=True)
class Constant(WarmedUp):
    """The rate of the group, after the warm-up."""

    def proper(self, base: float, t: float) -> float:
        """Return `base`."""
        return base


@dataclass(frozen=True)
class Cyclic(WarmedUp):
    """From the rate of the group down to `lr_min`, in one cycle or in several.

    Args:
        t_initial: steps of the first cycle.
        lr_min: lowest rate.
        cycle_mul: each cycle is this much longer than the one before.
        cycle_decay: each begins at this share of the rate at which the one before began.
        cycle_limit: number of cycles; after them the rate stays at `lr_min`.
    """

    t_initial: float
    _: KW_ONLY
    lr_min: float = 0.0
    cycle_mul: float = 1.0
    cycle_decay: float = 1.0
    cycle_limit: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(
            self,
            t_initial=self.t_initial > 0,
            lr_min=self.lr_min >= 0,
            cycle_mul=self.cycle_mul > 0,
            cycle_limit=self.cycle_limit >= 0,
        )

    @property
    def length(self) -> float:
        """Steps of all cycles, and of the warm-up where it is a prefix."""
        return self.cycle_length()

    def cycle_length(self, cycles: int = 0) -> float:
        """Return the steps of that many cycles; 0 for all."""
        cycles = max(1, cycles or self.cycle_limit)
        length = self.t_initial * cycles
        if self.cycle_mul != 1:  # a geometric series
            grown = self.cycle_mul**cycles - 1
            length = math.floor(-self.t_initial * grown / (1 - self.cycle_mul))
        return length + (self.warmup_t if self.warmup_prefix else 0)

    def proper(self, base: float, t: float) -> float:
        """Return the rate at step `t` of the cycles."""
        cycle, position, length = self._locate(t)
        if cycle >= self.cycle_limit:
            return self.lr_min
        top = base * self.cycle_decay**cycle
        return self.lr_min + (top - self.lr_min) * self.shape(position, length)

    def shape(self, position: float, length: float) -> float:
        """Return how far the rate still is from the lowest, 1 to 0, within a cycle."""
        raise NotImplementedError

    def _locate(self, t: float) -> tuple[float, float, float]:
        """Return the number of the cycle at step `t`, the steps since its start, its length."""
        first, grow = self.t_initial, self.cycle_mul
        if grow == 1:
            cycle = t // first
            return cycle, t - first * cycle, first
        remaining = 1 - t / first * (1 - grow)
        if remaining <= 0:  # ever shorter cycles never reach this far
            return math.inf, 0.0, first
        cycle = math.floor(math.log(remaining, grow))
        before = (1 - grow**cycle) / (1 - grow) * first
        return cycle, t - before, first * grow**cycle


@dataclass(frozen=True)
class Cosine(Cyclic):
    """Half a cosine, SGDR where it restarts (arXiv 1608.03983).

    Args:
        k_decay: exponent of time (arXiv 2004.05909).
    """

    _: KW_ONLY
    k_decay: float = 1.0

    def shape(self, position: float, length: float) -> float:
        """Return (1 + cos(pi x^k)) / 2."""
        return 0.5 * (1 + math.cos(math.pi * position**self.k_decay / length**self.k_decay))


@dataclass(frozen=True)
class Poly(Cyclic):
    """A power of the time that is left.

    Args:
        power: 1 for a straight line.
        k_decay: exponent of time (arXiv 2004.05909).
    """

    _: KW_ONLY
    power: float = 0.5
    k_decay: float = 1.0

    def shape(self, position: float, length: float) -> float:
        """Return (1 - x^k)^power."""
        left = 1 - position**self.k_decay / length**self.k_decay
        return max(left, 0.0) ** self.power  # rounding may put a step past the end of its cycle


@dataclass(frozen=True)
class Tanh(Cyclic):
    """A piece of the hyperbolic tangent (arXiv 1806.01593).

    Args:
        lb: where the piece begins.
        ub: where it ends.
    """

    _: KW_ONLY
    lb: float = -7.0
    ub: float = 3.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.lb >= self.ub:
            raise ValueError(f"lb={self.lb} lies not below ub={self.ub}, as it has to")

    def summit(self, base: float) -> float:
        """Return the rate at the end of the warm-up, which a tangent has begun to lower by then."""
        return base if self.warmup_prefix else self.proper(base, self.warmup_t)

    def shape(self, position: float, length: float) -> float:
        """Return (1 - tanh(lb ... ub)) / 2."""
        x = position / length
        return 0.5 * (1 - math.tanh(self.lb * (1.0 - x) + self.ub * x))


@dataclass(frozen=True)
class Step(WarmedUp):
    """A decay at regular intervals.

    Args:
        decay_t: steps between two decays.
        decay_rate: factor of a decay.
    """

    decay_t: float
    decay_rate: float = 1.0
    _: KW_ONLY
    warmup_prefix: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self, decay_t=self.decay_t > 0)

    def proper(self, base: float, t: float) -> float:
        """Return the rate after the decays before step `t`."""
        return base * self.decay_rate ** (t // self.decay_t)


@dataclass(frozen=True)
class MultiStep(WarmedUp):
    """A decay after each of some steps.

    As in timm, a milestone m shows at step m - 1, one earlier than torch's `MultiStepLR`: recipes
    count on it.

    Args:
        decay_t: the milestones, growing.
        decay_rate: factor of a decay.
    """

    decay_t: Sequence[float]
    decay_rate: float = 1.0
    _: KW_ONLY
    warmup_prefix: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if list(self.decay_t) != sorted(self.decay_t):
            raise ValueError(f"the milestones decay_t={list(self.decay_t)} must grow")

    def proper(self, base: float, t: float) -> float:
        """Return the rate after the milestones before step `t`."""
        return base * self.decay_rate ** bisect_right(self.decay_t, t + 1)


#: Share of the rate that is left when a share of the decay is over: 1 at 0, 0 at 1.
DECAYS: dict[str, Callable[[float, float, float], float]] = {
    "linear": lambda x, power, ratio: 1.0 - x,
    "1-sqrt": lambda x, power, ratio: 1.0 - math.sqrt(x),
    "cosine": lambda x, power, ratio: 0.5 * (1.0 + math.cos(math.pi * x)),
    "power": lambda x, power, ratio: 1.0 - x**power,
    # From 1 to `ratio`, stretched so that it reaches 0.
    "exp": lambda x, power, ratio: (ratio**x - ratio) / (1.0 - ratio),
}
STABLES = ("constant", "rsqrt", "power")


@dataclass(frozen=True)
class WSD(WarmedUp):
    """Warm-up, a stable phase, a decay (arXiv 2404.06395, 2405.18392).

    The lowest rate is reached at the end, one step after the last; where steps are epochs, a
    cool-down of one epoch makes sure that it is trained with.

    Args:
        t_initial: steps of the stable phase and of the decay.
        decay_t: steps of the decay.
        lr_min: rate at the end.
        stable_fn: "constant"; "rsqrt", 1 / sqrt(1 + t / timescale) (arXiv 2106.04560); "power",
            the same with another power than one half (arXiv 2408.13359).
        stable_timescale: in steps; None for the length of the warm-up.
        stable_power: of "power".
        decay_fn: one of `DECAYS`, or a function of the share of the decay that is over.
        decay_power: of "power".
        decay_ratio: of "exp": the share at which the curve would end were it not stretched.
    """

    t_initial: float
    decay_t: float
    _: KW_ONLY
    lr_min: float = 0.0
    stable_fn: str = "constant"
    stable_timescale: float | None = None
    stable_power: float = 0.5
    decay_fn: str | Callable[[float], float] = "1-sqrt"
    decay_power: float = 0.5
    decay_ratio: float = 0.1
    warmup_prefix: bool = field(init=False, default=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stable_fn not in STABLES:
            raise ValueError(f"stable_fn={self.stable_fn!r} is not one of {', '.join(STABLES)}")
        if isinstance(self.decay_fn, str) and self.decay_fn not in DECAYS:
            allowed = ", ".join(DECAYS)
            raise ValueError(f"decay_fn={self.decay_fn!r} is no function and not one of {allowed}")
        if not 0 < self.decay_t <= self.t_initial:
            raise ValueError(
                f"decay_t={self.decay_t}: the decay is a part of the {self.t_initial} steps that "
                "follow the warm-up, above 0; make it shorter, or the schedule longer"
            )
        if self.stable_fn != "constant" and self.timescale <= 0:
            raise ValueError(
                f"stable_fn={self.stable_fn!r} needs a timescale above 0 (given {self.timescale}); "
                "without a warm-up pass stable_timescale"
            )
        _check(
            self,
            lr_min=self.lr_min >= 0,
            stable_power=self.stable_power > 0,
            decay_power=self.decay_power > 0,
            decay_ratio=0 < self.decay_ratio < 1,
        )

    @property
    def length(self) -> float:
        """Steps of all three phases."""
        return self.warmup_t + self.t_initial

    @property
    def timescale(self) -> float:
        """Steps after which "rsqrt" is at 0.71."""
        return self.warmup_t if self.stable_timescale is None else self.stable_timescale

    def proper(self, base: float, t: float) -> float:
        """Return the rate `t` steps after the warm-up."""
        stable = max(base * self._stable(t), self.lr_min)
        begun = t - (self.t_initial - self.decay_t)
        if begun <= 0:
            return stable
        over = min(begun / self.decay_t, 1.0)
        return self.lr_min + (stable - self.lr_min) * self._left(over)

    def _stable(self, t: float) -> float:
        if self.stable_fn == "constant":
            return 1.0
        power = 0.5 if self.stable_fn == "rsqrt" else self.stable_power
        return (1.0 + t / self.timescale) ** -power

    def _left(self, over: float) -> float:
        if isinstance(self.decay_fn, str):
            return DECAYS[self.decay_fn](over, self.decay_power, self.decay_ratio)
        return self.decay_fn(over)


@dataclass(frozen=True)
class Noise:
    """Noise on a rate: a function of the seed and the step, so that a run can be resumed.

    Args:
        range_t: steps at which it begins and, if there are two, ends.
        pct: highest noise, as a share of the rate.
        std: standard deviation of normal noise, before it is limited.
        seed: another one, another noise.
        kind: "normal" (drawn again while above the limit) or "uniform".
    """

    range_t: Sequence[float]
    _: KW_ONLY
    pct: float = 0.67
    std: float = 1.0
    seed: int = 42
    kind: str = "normal"

    def __post_init__(self) -> None:
        check_fields(self)
        if len(self.range_t) not in (1, 2):
            raise ValueError(f"noise has a beginning, or that and an end, not {self.range_t}")
        # Far beyond this, drawing until one is within the limit would take for ever.
        if self.kind == "normal" and not self.pct > 1e-4 * self.std:
            raise ValueError(f"noise of at most {self.pct} cannot have a deviation of {self.std}")

    def __call__(self, t: int) -> float:
        """Return the noise at step `t`, as a share of the rate: 0 where there is none."""
        begin, end = (*self.range_t, math.inf)[:2]
        if not begin <= t < end:
            return 0.0
        # torch's generator, and not Python's: recipes that were tuned with timm get its noise.
        import torch

        generator = torch.Generator().manual_seed(self.seed + t)
        if self.kind != "normal":
            return (2 * torch.rand(1, generator=generator).item() - 1) * self.pct
        while True:
            noise: float = torch.randn(1, generator=generator).item() * self.std
            if abs(noise) < self.pct:
                return noise


def noise_of(
    range_t: float | Sequence[float] | None,
    *,
    pct: float,
    std: float,
    seed: int,
    kind: str = "normal",
) -> Noise | None:
    """Return the noise that begins at a step, or begins and ends at two; None for none."""
    if range_t is None:
        return None
    ends = (range_t,) if isinstance(range_t, int | float) else tuple(range_t)
    return Noise(ends, pct=pct, std=std, seed=seed, kind=kind)


def _check(schedule: object, **conditions: bool) -> None:
    """Raise a `ValueError` for the first argument whose condition is not met."""
    for name, met in conditions.items():
        if not met:
            given = getattr(schedule, name)
            raise ValueError(f"{name}={given} is out of range for {type(schedule).__name__}")
