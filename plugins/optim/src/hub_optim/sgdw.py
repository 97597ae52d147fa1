"""SGDW: stochastic gradient descent with decoupled decay (1711.05101)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Unpack

import torch

from hub_optim.arithmetic import Lanes, Number, add, add_, descend_, momentum_, scale_
from hub_optim.engine import (
    BlockedOptimizer,
    Fill,
    Group,
    Sums,
    Switches,
    Tick,
    cautious,
    decay_rate,
    share,
)


class SGDConstants(NamedTuple):
    """Of one step; `momentum` is None without it."""

    keep: Number
    momentum: float | None
    weight: float
    lr: Number
    nesterov: bool
    caution: bool


class SGDW(BlockedOptimizer):
    """Descend along the momentum and decay weights apart from it.

    Args:
        params: parameters or groups of them.
        lr: step size.
        momentum: what is kept of the momentum.
        dampening: what is left out of a gradient that enters it.
        weight_decay: decoupled.
        nesterov: step from where the momentum leads; needs momentum and no dampening.
        caution: leave out what disagrees with the gradient (2411.16085).
        corrected_weight_decay: decay by lr**2 / highest lr (2506.02285).
        **switches: foreach, maximize, capturable, compile; see `BlockedOptimizer`.
    """

    def __init__(
        self,
        params: Any,
        lr: Number = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        *,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        caution: bool = False,
        corrected_weight_decay: bool = False,
        **switches: Unpack[Switches],
    ) -> None:
        defaults = dict(
            lr=lr,
            momentum=momentum,
            dampening=dampening,
            weight_decay=weight_decay,
            nesterov=nesterov,
            caution=caution,
            corrected_weight_decay=corrected_weight_decay,
        )
        super().__init__(params, defaults, **switches)
        check_nesterov(nesterov, momentum, dampening)

    def buffers(self, group: Group) -> Mapping[str, Fill]:
        """Return the momentum, if there is any."""
        return {"momentum_buffer": torch.zeros_like} if group["momentum"] else {}

    def counts_steps(self, group: Group) -> bool:
        """Return False: after the first, no step differs from another."""
        return False

    def constants(self, group: Group, tick: Tick) -> SGDConstants:
        """Return the numbers of a step."""
        return SGDConstants(
            keep=1 - decay_rate(group, tick.lr),
            momentum=group["momentum"] or None,
            weight=first_weight(group, tick),
            lr=tick.lr,
            nesterov=group["nesterov"],
            caution=group["caution"],
        )

    @staticmethod
    def update(p: Lanes, g: Lanes, s: Mapping[str, Lanes], k: SGDConstants) -> Sums:
        """Decay, move the momentum, step."""
        if k.momentum is None:
            descend_(p, g, k.keep, k.lr)
            return
        m = s["momentum_buffer"]
        if not k.caution:
            scale_(p, k.keep)
            momentum_(p, g, m, 0.0, k.momentum, k.weight, k.lr, k.nesterov)
            return
        scale_(m, k.momentum)
        add_(m, g, k.weight)
        u, agreement = cautious(add(g, m, k.momentum) if k.nesterov else m, g)
        kept, size = yield agreement
        descend_(p, u, k.keep, k.lr / share(kept, size))


def first_weight(group: Group, tick: Tick) -> float:
    """Return by what a gradient enters the momentum, which begins as all of the first one."""
    return 1.0 if tick.first else 1.0 - group["dampening"]


def check_nesterov(nesterov: bool, momentum: float, dampening: float) -> None:
    """Raise ValueError where Nesterov's momentum has nothing to look ahead with."""
    if nesterov and (momentum <= 0 or dampening != 0):
        raise ValueError(
            f"nesterov=True needs momentum above 0 and no dampening, but momentum is {momentum} "
            f"and dampening {dampening}"
        )
