"""Adan: an adaptive Nesterov momentum from differences of gradients (2208.06677)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Unpack

import torch

from hub_optim.arithmetic import (
    Lanes,
    Number,
    add,
    copy_,
    lerp_,
    normalised_step_,
    scale_,
    sub,
)
from hub_optim.base import State
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


class AdanConstants(NamedTuple):
    """Of one step; weights are kept by one of two factors, before the step or after it."""

    keep_before: Number
    keep_after: Number | None
    weight1: float
    weight2: float
    beta2: float
    beta3: float
    weight3: float
    eps: Number
    rate: Number
    difference_share: Number
    first: bool
    caution: bool


class Adan(BlockedOptimizer):
    """Average gradients, their differences, and the square of what both foresee.

    Args:
        params: parameters or groups of them.
        lr: step size.
        betas: of gradients, of differences, of squares; 1 minus the paper's.
        eps: added to the root of the squares.
        weight_decay: decoupled.
        no_prox: decay as AdamW does, before the step; otherwise divide by 1 + decay after it.
        caution: leave out of the average what disagrees with the gradient (2411.16085).
        **switches: foreach, maximize, capturable, compile; see `BlockedOptimizer`.
    """

    def __init__(
        self,
        params: Any,
        lr: Number = 1e-3,
        betas: tuple[float, float, float] = (0.98, 0.92, 0.99),
        *,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        no_prox: bool = False,
        caution: bool = False,
        **switches: Unpack[Switches],
    ) -> None:
        defaults = dict(
            lr=lr,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            no_prox=no_prox,
            caution=caution,
        )
        super().__init__(params, defaults, **switches)

    def buffers(self, group: Group) -> Mapping[str, Fill]:
        """Return three averages and the gradient of the step before."""
        names = ["exp_avg", "exp_avg_diff", "exp_avg_sq", "previous_grad"]
        return dict.fromkeys(names, torch.zeros_like)

    def adopt_state(self, state: State, group: Group) -> None:
        """Take the gradient before, of which timm keeps the negative."""
        super().adopt_state(state, group)
        if "neg_pre_grad" in state:
            state["previous_grad"] = -state.pop("neg_pre_grad")

    def constants(self, group: Group, tick: Tick) -> AdanConstants:
        """Return the numbers of a step."""
        (beta1, beta2, beta3), t = group["betas"], tick.step
        decay, prox = decay_rate(group, tick.lr), not group["no_prox"]
        correction3 = (1 - beta3**t) ** 0.5
        return AdanConstants(
            keep_before=1.0 if prox else 1 - decay,
            keep_after=1 / (1 + decay) if prox else None,
            weight1=1 - beta1,
            weight2=1 - beta2,
            beta2=beta2,
            beta3=beta3,
            weight3=1 - beta3,
            eps=group["eps"] * correction3,
            rate=tick.lr * correction3 / (1 - beta1**t),
            difference_share=beta2 * (1 - beta1**t) / (1 - beta2**t),
            first=tick.first,
            caution=group["caution"],
        )

    @staticmethod
    def update(p: Lanes, g: Lanes, s: Mapping[str, Lanes], k: AdanConstants) -> Sums:
        """Move the averages, decay, step."""
        m, d, n, previous = (s["exp_avg"], s["exp_avg_diff"], s["exp_avg_sq"], s["previous_grad"])
        if k.first:
            copy_(previous, g)
        difference = sub(g, previous)
        copy_(previous, g)
        lerp_(m, g, k.weight1)
        lerp_(d, difference, k.weight2)
        foreseen = add(g, difference, k.beta2)
        u = m
        if k.caution:
            u, agreement = cautious(m, g)
            kept, size = yield agreement
            scale_(u, 1 / share(kept, size))
        u = add(u, d, k.difference_share)
        normalised_step_(p, foreseen, u, n, k.keep_before, k.beta3, k.weight3, k.eps, k.rate)
        if k.keep_after is not None:
            scale_(p, k.keep_after)
