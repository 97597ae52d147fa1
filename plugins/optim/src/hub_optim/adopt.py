"""ADOPT: Adam that converges for any beta 2 (2411.02853)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Unpack

import torch

from hub_optim.arithmetic import (
    Lanes,
    Number,
    add,
    add_,
    addcmul_,
    clamp_,
    div,
    floor_,
    lerp_,
    scale_,
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


class AdoptConstants(NamedTuple):
    """Of one step; the decay is coupled, or decoupled by `decay`, or neither."""

    decay: Number | None
    coupled: float | None
    weight1: float
    beta2: float
    weight2: float
    eps: float
    clip: Number | None
    lr: Number
    first: bool
    caution: bool


class Adopt(BlockedOptimizer):
    """Divide the gradient by the second moment of the steps before, and average the quotient.

    The first step only begins the second moment.

    Args:
        params: parameters or groups of them.
        lr: step size.
        betas: of the first and of the second moment.
        eps: lowest divisor.
        clip_exp: quotients are held within (step - 1) ** clip_exp; None leaves them as they are.
        weight_decay: see the next.
        decoupled: take the decay from the weight; otherwise add it to the gradient.
        corrected_weight_decay: decay by lr**2 / highest lr (2506.02285), where decoupled.
        caution: leave out what disagrees with the gradient (2411.16085).
        **switches: foreach, maximize, capturable, compile; see `BlockedOptimizer`.
    """

    def __init__(
        self,
        params: Any,
        lr: Number = 1e-3,
        betas: tuple[float, float] = (0.9, 0.9999),
        *,
        eps: float = 1e-6,
        clip_exp: float | None = 0.333,
        weight_decay: float = 0.0,
        decoupled: bool = False,
        corrected_weight_decay: bool = False,
        caution: bool = False,
        **switches: Unpack[Switches],
    ) -> None:
        defaults = dict(
            lr=lr,
            betas=betas,
            eps=eps,
            clip_exp=clip_exp,
            weight_decay=weight_decay,
            decoupled=decoupled,
            corrected_weight_decay=corrected_weight_decay,
            caution=caution,
        )
        super().__init__(params, defaults, **switches)

    def buffers(self, group: Group) -> Mapping[str, Fill]:
        """Return both moments."""
        return dict.fromkeys(["exp_avg", "exp_avg_sq"], torch.zeros_like)

    def constants(self, group: Group, tick: Tick) -> AdoptConstants:
        """Return the numbers of a step."""
        beta1, beta2 = group["betas"]
        decay, decoupled = group["weight_decay"], group["decoupled"]
        exponent = group["clip_exp"]
        return AdoptConstants(
            decay=decay_rate(group, tick.lr) if decay and decoupled else None,
            coupled=decay if decay and not decoupled else None,
            weight1=1 - beta1,
            beta2=beta2,
            weight2=1 - beta2,
            eps=group["eps"],
            clip=None if exponent is None else (tick.step - 1) ** exponent,
            lr=tick.lr,
            first=tick.first,
            caution=group["caution"],
        )

    @staticmethod
    def update(p: Lanes, g: Lanes, s: Mapping[str, Lanes], k: AdoptConstants) -> Sums:
        """Step by the quotient, then let the second moment see the gradient."""
        m, v = s["exp_avg"], s["exp_avg_sq"]
        if k.coupled is not None:
            g = add(g, p, k.coupled)
        if k.first:
            addcmul_(v, g, g)
            return
        if k.decay is not None:
            add_(p, p, -k.decay)
        divisor = sqrt(v)
        floor_(divisor, k.eps)
        quotient = div(g, divisor)
        if k.clip is not None:
            clamp_(quotient, k.clip)
        lerp_(m, quotient, k.weight1)
        del divisor, quotient
        scale_(v, k.beta2)
        addcmul_(v, g, g, k.weight2)
        rate = k.lr
        if k.caution:
            m, agreement = cautious(m, g)
            kept, size = yield agreement
            rate = rate / share(kept, size)
        add_(p, m, -rate)
