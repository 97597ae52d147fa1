"""LaProp: Adam that divides gradients before it averages them (2002.04839)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, Unpack

import torch

from hub_optim.arithmetic import (
    Lanes,
    Number,
    add_,
    clone,
    divide,
    normalised_step_,
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


class LaPropConstants(NamedTuple):
    """Of one step."""

    decay: Number
    beta1: float
    beta2: float
    weight2: float
    eps: Number
    gradient_rate: Number
    rate: Number
    caution: bool


class LaProp(BlockedOptimizer):
    """Average normalised gradients, each with the rate of its own step.

    Args:
        params: parameters or groups of them.
        lr: step size.
        betas: of the first and of the second moment.
        eps: added to the root of the second moment.
        weight_decay: decoupled, after the step.
        caution: leave out what disagrees with the gradient (2411.16085).
        corrected_weight_decay: decay by lr**2 / highest lr (2506.02285).
        **switches: foreach, maximize, capturable, compile; see `BlockedOptimizer`.
    """

    numbers: ClassVar[Mapping[str, float]] = {"exp_avg_lr_1": 0.0, "exp_avg_lr_2": 0.0}

    def __init__(
        self,
        params: Any,
        lr: Number = 4e-4,
        betas: tuple[float, float] = (0.9, 0.999),
        *,
        eps: float = 1e-15,
        weight_decay: float = 0.0,
        caution: bool = False,
        corrected_weight_decay: bool = False,
        **switches: Unpack[Switches],
    ) -> None:
        defaults = dict(
            lr=lr,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            caution=caution,
            corrected_weight_decay=corrected_weight_decay,
        )
        super().__init__(params, defaults, **switches)

    def buffers(self, group: Group) -> Mapping[str, Fill]:
        """Return both moments."""
        return dict.fromkeys(["exp_avg", "exp_avg_sq"], torch.zeros_like)

    def constants(self, group: Group, tick: Tick) -> LaPropConstants:
        """Return the numbers of a step; moves the averages of rates on."""
        (beta1, beta2), lr, averages = group["betas"], tick.lr, tick.numbers
        rate = averages["exp_avg_lr_1"] * beta1 + (1 - beta1) * lr
        correction2 = averages["exp_avg_lr_2"] * beta2 + (1 - beta2)
        averages.update(exp_avg_lr_1=rate, exp_avg_lr_2=correction2)
        return LaPropConstants(
            decay=decay_rate(group, lr),
            beta1=beta1,
            beta2=beta2,
            weight2=1 - beta2,
            eps=group["eps"] * correction2**0.5,
            gradient_rate=lr * (1 - beta1) * correction2**0.5,
            rate=divide(lr, rate, 0.0),
            caution=group["caution"],
        )

    @staticmethod
    def update(p: Lanes, g: Lanes, s: Mapping[str, Lanes], k: LaPropConstants) -> Sums:
        """Move the moments, step, decay."""
        m, v = s["exp_avg"], s["exp_avg_sq"]
        entry, rate = -k.gradient_rate, k.rate
        normalised_step_(m, g, clone(g), v, k.beta1, k.beta2, k.weight2, k.eps, entry)
        if k.caution:
            m, agreement = cautious(m, g)
            kept, size = yield agreement
            rate = rate / share(kept, size)
        add_(p, m, -rate)
        add_(p, p, -k.decay)
