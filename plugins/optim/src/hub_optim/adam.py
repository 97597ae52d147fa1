"""Adam's relatives with decoupled decay: AdamW (1711.05101) and NAdamW."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch

from hub_optim.arithmetic import (
    Lanes,
    Number,
    addcdiv_,
    addcmul_,
    clone,
    count,
    div,
    lerp,
    lerp_,
    maximum_,
    scale_,
    shift_,
    sqrt,
    square_sum,
)
from hub_optim.engine import BlockedOptimizer, Fill, Group, Sums, Tick, cautious, decay_rate


class AdamConstants(NamedTuple):
    """Of one step: what the first and the second moment move by, and how both are corrected."""

    keep: Number
    weight1: float
    beta2: float
    weight2: float
    eps: float
    root2: Number
    rate: Number
    nesterov: bool
    caution: bool
    amsgrad: bool
    clip: float | None


class AdamWLegacy(BlockedOptimizer):
    """AdamW with what torch's has not: caution, corrected decay, clipped updates.

    Args:
        params: parameters or groups of them.
        lr: step size.
        betas: of the first and of the second moment.
        eps: added to the root of the second moment.
        weight_decay: decoupled.
        amsgrad: divide by the largest second moment so far (1904.09237).
        caution: leave out what disagrees with the gradient (2411.16085).
        corrected_weight_decay: decay by lr**2 / highest lr (2506.02285).
        clipping_threshold: hold the root mean square of gradient / denominator of each parameter
            at or below this, as StableAdamW does with 1.0 (2304.13013).
        **switches: maximize, foreach, capturable, compile; see `BlockedOptimizer`.
    """

    nesterov = False

    def __init__(
        self,
        params: Any,
        lr: Number = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        *,
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        caution: bool = False,
        corrected_weight_decay: bool = False,
        clipping_threshold: float | None = None,
        **switches: Any,
    ) -> None:
        defaults = dict(
            lr=lr,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            amsgrad=amsgrad,
            caution=caution,
            corrected_weight_decay=corrected_weight_decay,
            clipping_threshold=clipping_threshold,
        )
        super().__init__(params, defaults, **switches)

    def buffers(self, group: Group) -> Mapping[str, Fill]:
        """Return both moments, and the largest second one where it is asked for."""
        names = ["exp_avg", "exp_avg_sq"] + ["max_exp_avg_sq"] * group["amsgrad"]
        return dict.fromkeys(names, torch.zeros_like)

    def constants(self, group: Group, tick: Tick) -> AdamConstants:
        """Return the numbers of a step."""
        beta1, beta2 = group["betas"]
        return AdamConstants(
            keep=1 - decay_rate(group, tick.lr),
            weight1=1 - beta1,
            beta2=beta2,
            weight2=1 - beta2,
            eps=group["eps"],
            root2=(1 - beta2**tick.step) ** 0.5,
            rate=tick.lr / (1 - beta1**tick.step),
            nesterov=self.nesterov,
            caution=group["caution"],
            amsgrad=group["amsgrad"],
            clip=group["clipping_threshold"],
        )

    @staticmethod
    def update(p: Lanes, g: Lanes, s: Mapping[str, Lanes], k: AdamConstants) -> Sums:
        """Decay, move the moments, step."""
        m, v = s["exp_avg"], s["exp_avg_sq"]
        scale_(p, k.keep)
        lerp_(m, g, k.weight1)
        scale_(v, k.beta2)
        addcmul_(v, g, g, k.weight2)
        if k.amsgrad:
            maximum_(s["max_exp_avg_sq"], v)
            v = s["max_exp_avg_sq"]
        denominator = sqrt(v)
        scale_(denominator, 1 / k.root2)
        shift_(denominator, k.eps)
        if k.clip is not None:
            squares, size = yield square_sum(div(g, denominator)), count(g)
            scale_(denominator, ((squares / size) ** 0.5 / k.clip).clamp(min=1.0))
        u = lerp(m, g, k.weight1) if k.nesterov else m
        if k.caution:
            u = u if k.nesterov else clone(u)
            yield from cautious(u, g)
        addcdiv_(p, u, denominator, -k.rate)


class NAdamW(AdamWLegacy):
    """AdamW that steps from where the momentum is about to be (Nesterov).

    The rate is not scheduled as in NAdam (Dozat 2016) and torch.optim.NAdam. Arguments as for
    `AdamWLegacy`.
    """

    nesterov = True
