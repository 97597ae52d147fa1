"""Kernels that are chosen unasked give what the plain ones give, in every order of events."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hub_optim import create_optimizer_v2
from optimizer_cases import CASES, NAMES
from torch import nn
from trajectory import wave

SHAPES = [(20, 18), (6, 5, 3, 3), (17,), (), (40, 30)]
STEPS = 7
# Adahessian needs the graph of gradients and has no other kernels.
KINDS = [n for n in NAMES if n != "adahessian"] + ["lookahead_sgd", "lookahead_adamw"]


class Run:
    """An optimizer at work; orders of events override what they are about."""

    dtypes = (torch.float64,)

    def __init__(self, opt: str, plain: bool) -> None:
        self.opt, self.plain = opt, plain
        self.params = self.parameters(0.0)
        self.optimizer = self.make()

    def parameters(self, phase: float) -> list[nn.Parameter]:
        dtypes = [self.dtypes[i % len(self.dtypes)] for i in range(len(SHAPES))]
        values = [wave(shape, i + phase) * 0.3 for i, shape in enumerate(SHAPES)]
        return [nn.Parameter(v.to(t)) for v, t in zip(values, dtypes, strict=True)]

    def make(self) -> torch.optim.Optimizer:
        arguments = (
            CASES[self.opt].arguments() if self.opt in CASES else dict(opt=self.opt, lr=0.01)
        )
        optimizer = create_optimizer_v2(self.params, **arguments)
        known = optimizer.defaults
        forms = {n: False for n in ("foreach", "fused") if n in known} if self.plain else {}
        return create_optimizer_v2(self.params, **arguments, **forms)

    def gradient(self, p: nn.Parameter, i: int, step: int) -> torch.Tensor | None:
        return wave(p.shape, i + 0.3 * step).to(p.dtype) * 0.1

    def before(self, step: int) -> None: ...

    def step(self, step: int) -> None:
        self.optimizer.step()

    def go(self) -> list[torch.Tensor]:
        for step in range(STEPS):
            self.before(step)
            self.optimizer.zero_grad()
            for i, p in enumerate(self.params):
                p.grad = self.gradient(p, i, step)
            self.step(step)
        return [p.detach() for p in self.params]


class LateFirstGradients(Run):
    def gradient(self, p: nn.Parameter, i: int, step: int) -> torch.Tensor | None:
        return super().gradient(p, i, step) if step >= i else None


class MissingGradients(Run):
    def gradient(self, p: nn.Parameter, i: int, step: int) -> torch.Tensor | None:
        return super().gradient(p, i, step) if (step + i) % 3 else None


class LateGroups(Run):
    def before(self, step: int) -> None:
        if step == 3:
            late = self.parameters(9.0)
            self.optimizer.add_param_group(dict(params=late, weight_decay=0.01))
            self.params = self.params + late


class LateGroupsWithoutKernel(Run):
    """A group that no fused kernel can step, added to one that it can."""

    def before(self, step: int) -> None:
        if step == 3:
            late = [nn.Parameter(torch.stack([wave((5, 6), 1.0)] * 2, dim=-1)[..., 0])]
            self.optimizer.add_param_group(dict(params=late))
            self.params = self.params + late


class RoundTrip(Run):
    def before(self, step: int) -> None:
        if step in (0, 4):
            state = copy.deepcopy(self.optimizer.state_dict())
            self.optimizer = self.make()
            self.optimizer.load_state_dict(state)


class RoundTripWithLateGradients(RoundTrip, LateFirstGradients): ...


class MixedPrecision(Run):
    dtypes = (torch.float64, torch.float32)


class Scaled(Run):
    """Gradients come scaled; a scaler skips the steps in which they overflow."""

    overflows: tuple[int, ...] = (0,)

    def __init__(self, opt: str, plain: bool) -> None:
        super().__init__(opt, plain)
        self.scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
        # What freed memory may hold: kernels that rely on what they allocate find it.
        junk = [torch.full(shape, 1e9, dtype=torch.float64) for shape in SHAPES * 20]
        del junk

    def gradient(self, p: nn.Parameter, i: int, step: int) -> torch.Tensor | None:
        g = super().gradient(p, i, step)
        if g is not None:
            g = g * self.scaler.scale(torch.ones((), dtype=torch.float64))
            if step in self.overflows:
                g.view(-1)[0] = torch.inf
        return g

    def step(self, step: int) -> None:
        self.scaler.step(self.optimizer)
        self.scaler.update()


class ScaledWithLaterOverflow(Scaled):
    overflows = (0, 4)


class ScaledWithLateGradients(Scaled, LateFirstGradients): ...


class ScaledWithLateGroups(Scaled, LateGroupsWithoutKernel): ...


ORDERS: list[Callable[..., Run]] = [
    LateFirstGradients,
    MissingGradients,
    LateGroups,
    LateGroupsWithoutKernel,
    RoundTrip,
    RoundTripWithLateGradients,
    MixedPrecision,
    Scaled,
    ScaledWithLaterOverflow,
    ScaledWithLateGradients,
    ScaledWithLateGroups,
]


@pytest.mark.parametrize("opt", KINDS)
@pytest.mark.parametrize("order", ORDERS)
def test_the_order_of_events_shows_in_no_kernel(opt, order):
    if opt == "adagrad" and "LateGroups" in order.__name__ and torch.__version__ < "2.12":
        pytest.skip("torch's Adagrad cannot step a group that is added late before 2.12")
    found, expected = order(opt, plain=False).go(), order(opt, plain=True).go()
    rounding = 1e-4 if order is MixedPrecision else 1e-10
    torch.testing.assert_close(found, expected, rtol=rounding, atol=rounding * 0.1)


@pytest.mark.parametrize("options", [{}, dict(dampening=0.3, nesterov=False), dict(fused=True)])
def test_skipped_and_late_steps_of_sgd_are_right_with_any_options(options):
    def run(**forms: Any) -> list[torch.Tensor]:
        made = ScaledWithLateGradients("sgd", plain=False)
        made.optimizer = create_optimizer_v2(made.params, "sgd", lr=0.1, **options | forms)
        return made.go()

    torch.testing.assert_close(run(), run(fused=False, foreach=False), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("opt", ["sgdw", "lars", "sgd", "rmsproptf"])
def test_momentum_may_be_turned_on_later(opt):
    """As torch's schedulers with `cycle_momentum` do."""
    p = nn.Parameter(torch.ones(3))
    nesterov = {} if opt == "rmsproptf" else dict(nesterov=False)
    optimizer = create_optimizer_v2([p], opt, lr=0.1, momentum=0.0, **nesterov)
    for momentum in (0.0, 0.9, 0.9):
        optimizer.param_groups[0]["momentum"] = momentum
        p.grad = torch.ones(3)
        optimizer.step()
    assert p.isfinite().all() and "momentum_buffer" in optimizer.state[p]


class Marked(torch.Tensor):
    """A tensor of another type, as quantised ones are: no kernel may be taken for it."""


@pytest.mark.parametrize("opt", ["sgd", "adamw", "lion", "lamb", "muon", "adafactor"])
def test_parameters_of_another_type_learn_as_plain_ones(opt):
    def learned(kind: Any) -> torch.Tensor:
        p = nn.Parameter(wave((20, 18), 0.5).as_subclass(kind))
        optimizer = create_optimizer_v2([p], opt, lr=0.01)
        for step in range(3):
            p.grad = wave((20, 18), 1.0 + step).as_subclass(kind)
            optimizer.step()
        return p.detach().as_subclass(torch.Tensor)

    torch.testing.assert_close(learned(Marked), learned(torch.Tensor), rtol=1e-12, atol=1e-14)
