"""MADGRAD: momentumised, adaptive dual averaging (2101.11075)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Unpack

import torch

from hub_optim.arithmetic import (
    Lanes,
    Number,
    add,
    add_,
    addcdiv_,
    addcmul_,
    clone,
    cube_root,
    lerp_,
    scale_,
    shift_,
)
from hub_optim.engine import BlockedOptimizer, Fill, Group, Switches, Tick, decay_rate


class MadgradConstants(NamedTuple):
    """Of one step; `weight` is 1 - momentum, or None without momentum."""

    keep: Number | None
    coupled: float | None
    growth: Number
    eps: float
    weight: float | None


class MADGRAD(BlockedOptimizer):
    """Sum gradients, weighted by the root of the step, from where training began.

    Args:
        params: parameters or groups of them.
        lr: step size.
        momentum: of the weights, in [0, 1); without it no copy of the first weights is kept.
        weight_decay: see the last.
        eps: added to the cube root of the squares, and to the rate.
        decoupled_decay: take the decay from the weight; otherwise add it to the gradient.
        **switches: foreach, maximize, capturable, compile; see `BlockedOptimizer`.
    """

    def __init__(
        self,
        params: Any,
        lr: Number = 1e-2,
        momentum: float = 0.9,
        *,
        weight_decay: float = 0.0,
        eps: float = 1e-6,
        decoupled_decay: bool = False,
        **switches: Unpack[Switches],
    ) -> None:
        defaults = dict(
            lr=lr,
            momentum=momentum,
            weight_decay=weight_decay,
            eps=eps,
            decoupled_decay=decoupled_decay,
        )
        super().__init__(params, defaults, **switches)
        if momentum >= 1:
            raise ValueError(f"momentum is {momentum}; it must be at least 0 and below 1")

    def buffers(self, group: Group) -> Mapping[str, Fill]:
        """Return both sums, and with momentum where the weights began."""
        sums: dict[str, Fill] = dict.fromkeys(["grad_sum_sq", "s"], torch.zeros_like)
        return sums | ({"x0": torch.clone} if group["momentum"] else {})

    def constants(self, group: Group, tick: Tick) -> MadgradConstants:
        """Return the numbers of a step."""
        decay, decoupled = group["weight_decay"], group["decoupled_decay"]
        return MadgradConstants(
            keep=1 - decay_rate(group, tick.lr) if decay and decoupled else None,
            coupled=decay if decay and not decoupled else None,
            growth=(tick.lr + group["eps"]) * tick.step**0.5,
            eps=group["eps"],
            weight=1 - group["momentum"] if group["momentum"] else None,
        )

    @staticmethod
    def update(p: Lanes, g: Lanes, s: Mapping[str, Lanes], k: MadgradConstants) -> None:
        """Add to the sums, and go from the beginning to where they lead."""
        squares, gradients = s["grad_sum_sq"], s["s"]
        if k.keep is not None:
            scale_(p, k.keep)
        if k.coupled is not None:
            g = add(g, p, k.coupled)
        if k.weight is None:  # the beginning follows from the sums as they were
            addcdiv_(p, gradients, denominator(squares, k.eps))
        addcmul_(squares, g, g, k.growth)
        add_(gradients, g, k.growth)
        divisor = denominator(squares, k.eps)
        if k.weight is None:
            addcdiv_(p, gradients, divisor, -1.0)
        else:
            goal = clone(s["x0"])
            addcdiv_(goal, gradients, divisor, -1.0)
            lerp_(p, goal, k.weight)


def denominator(squares: Lanes, eps: Number) -> Lanes:
    """Return the cube root plus eps."""
    result = cube_root(squares)
    shift_(result, eps)
    return result
