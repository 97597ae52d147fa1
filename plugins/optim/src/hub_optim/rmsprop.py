"""RMSprop as TensorFlow computes it (Hinton's lecture 6e, 2012)."""

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
    lerp_,
    scale_,
    shift,
    sqrt,
)
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


class RMSpropConstants(NamedTuple):
    """Of one step: the gradient enters the momentum by one rate, weights follow it by another."""

    keep: Number | None
    coupled: float | None
    weight: float
    eps: float
    momentum: float | None
    entry_rate: Number
    rate: Number
    centered: bool
    caution: bool


class RMSpropTF(BlockedOptimizer):
    """Divide by the root of the average square, with eps under the root and an average from 1.

    Args:
        params: parameters or groups of them.
        lr: step size.
        alpha: of the average of squares.
        eps: added to the average under the root.
        weight_decay: see `decoupled_decay`.
        momentum: of the updates.
        centered: take the square of the average gradient from the average square.
        decoupled_decay: take the decay from the weight; otherwise add it to the gradient.
        corrected_weight_decay: decay by lr**2 / highest lr (2506.02285), where decoupled.
        lr_in_momentum: updates enter the momentum with the rate of their own step.
        caution: leave out of the momentum what disagrees with the gradient (2411.16085).
        **switches: foreach, maximize, capturable, compile; see `BlockedOptimizer`.
    """

    def __init__(
        self,
        params: Any,
        lr: Number = 1e-2,
        alpha: float = 0.9,
        *,
        eps: float = 1e-10,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        decoupled_decay: bool = False,
        corrected_weight_decay: bool = False,
        lr_in_momentum: bool = True,
        caution: bool = False,
        **switches: Unpack[Switches],
    ) -> None:
        defaults = dict(
            lr=lr,
            alpha=alpha,
            eps=eps,
            weight_decay=weight_decay,
            momentum=momentum,
            centered=centered,
            decoupled_decay=decoupled_decay,
            corrected_weight_decay=corrected_weight_decay,
            lr_in_momentum=lr_in_momentum,
            caution=caution,
        )
        super().__init__(params, defaults, **switches)
        if alpha < 0:
            raise ValueError(f"alpha is {alpha}; it must be 0 or more")

    def buffers(self, group: Group) -> Mapping[str, Fill]:
        """Return the average square, and what momentum and centering need."""
        buffers: dict[str, Fill] = {"square_avg": torch.ones_like}
        if group["momentum"]:
            buffers["momentum_buffer"] = torch.zeros_like
        if group["centered"]:
            buffers["grad_avg"] = torch.zeros_like
        return buffers

    def constants(self, group: Group, tick: Tick) -> RMSpropConstants:
        """Return the numbers of a step."""
        decay, decoupled = group["weight_decay"], group["decoupled_decay"]
        early = group["lr_in_momentum"]
        return RMSpropConstants(
            keep=1 - decay_rate(group, tick.lr) if decay and decoupled else None,
            coupled=decay if decay and not decoupled else None,
            weight=1 - group["alpha"],
            eps=group["eps"],
            momentum=group["momentum"] or None,
            entry_rate=tick.lr if early else 1.0,
            rate=1.0 if early and group["momentum"] else tick.lr,
            centered=group["centered"],
            caution=group["caution"],
        )

    @staticmethod
    def update(p: Lanes, g: Lanes, s: Mapping[str, Lanes], k: RMSpropConstants) -> Sums:
        """Decay, move the averages, step."""
        square = s["square_avg"]
        if k.keep is not None:
            scale_(p, k.keep)
        if k.coupled is not None:
            g = add(g, p, k.coupled)
        scale_(square, 1 - k.weight)
        addcmul_(square, g, g, k.weight)
        variance = shift(square, k.eps)
        if k.centered:
            lerp_(s["grad_avg"], g, k.weight)
            addcmul_(variance, s["grad_avg"], s["grad_avg"], -1.0)
        divisor = sqrt(variance)
        del variance
        if k.momentum is None:
            addcdiv_(p, g, divisor, -k.rate)
            return
        u, rate = s["momentum_buffer"], k.rate
        scale_(u, k.momentum)
        addcdiv_(u, g, divisor, k.entry_rate)
        if k.caution:
            u, agreement = cautious(u, g)
            kept, size = yield agreement
            rate = rate / share(kept, size)
        add_(p, u, -rate)
