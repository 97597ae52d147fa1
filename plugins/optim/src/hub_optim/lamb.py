"""LAMB: Adam with a rate for each layer, for large batches (1904.00962)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Unpack

import torch

from hub_optim.arithmetic import (
    Lanes,
    Number,
    adam_,
    add_,
    at_least,
    at_most,
    choose,
    divide,
    scale,
    scale_,
    square_sum,
    zeros,
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
    global_norm,
    share,
)


class LambConstants(NamedTuple):
    """Of one step; `scale` has the corrections of both moments, as in Adam's constants."""

    shrink: Number | None
    decay: Number | None
    coupled: float | None
    weight1: float
    averaging: bool
    beta2: float
    weight2: float
    eps: Number
    scale: Number
    lr: Number
    adapt: bool
    trust_clip: bool
    caution: bool


class Lamb(BlockedOptimizer):
    """Scale Adam's update of each parameter to the norm of the parameter.

    Args:
        params: parameters or groups of them.
        lr: step size.
        bias_correction: correct the moments for their start at 0.
        betas: of the first and of the second moment.
        eps: added to the root of the second moment.
        weight_decay: see `decoupled_decay`; parameters without it are not scaled.
        grad_averaging: a gradient enters the first moment by 1 - beta 1; otherwise as a whole.
        max_grad_norm: gradients are scaled down to this norm, all together; None leaves them.
        trust_clip: never scale an update up (LAMBC).
        always_adapt: scale parameters without decay too.
        caution: leave out what disagrees with the gradient (2411.16085).
        decoupled_decay: take the decay from the weight; otherwise add it to the update.
        corrected_weight_decay: decay by lr**2 / highest lr (2506.02285), where decoupled.
        **switches: foreach, maximize, capturable, compile; see `BlockedOptimizer`.
    """

    def __init__(
        self,
        params: Any,
        lr: Number = 1e-3,
        *,
        bias_correction: bool = True,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.01,
        grad_averaging: bool = True,
        max_grad_norm: float | None = 1.0,
        trust_clip: bool = False,
        always_adapt: bool = False,
        caution: bool = False,
        decoupled_decay: bool = False,
        corrected_weight_decay: bool = False,
        **switches: Unpack[Switches],
    ) -> None:
        defaults = dict(
            always_adapt=always_adapt,
            betas=betas,
            bias_correction=bias_correction,
            caution=caution,
            corrected_weight_decay=corrected_weight_decay,
            decoupled_decay=decoupled_decay,
            eps=eps,
            grad_averaging=grad_averaging,
            lr=lr,
            max_grad_norm=max_grad_norm,
            trust_clip=trust_clip,
            weight_decay=weight_decay,
        )
        super().__init__(params, defaults, **switches)

    def buffers(self, group: Group) -> Mapping[str, Fill]:
        """Return both moments."""
        return dict.fromkeys(["exp_avg", "exp_avg_sq"], torch.zeros_like)

    def prepare(self) -> Number | None:
        """Return by how much all gradients are scaled down."""
        highest = self.defaults["max_grad_norm"]
        if highest is None:
            return None
        norm = global_norm(self)
        return None if norm is None else 1 / at_least(norm / highest, 1.0)

    def constants(self, group: Group, tick: Tick) -> LambConstants:
        """Return the numbers of a step."""
        (beta1, beta2), corrected = group["betas"], group["bias_correction"]
        decay, decoupled = group["weight_decay"], group["decoupled_decay"]
        correction2 = (1 - beta2**tick.step) ** 0.5 if corrected else 1.0
        return LambConstants(
            shrink=tick.shared,
            decay=decay_rate(group, tick.lr) if decay and decoupled else None,
            coupled=decay if decay and not decoupled else None,
            weight1=1 - beta1,
            averaging=group["grad_averaging"],
            beta2=beta2,
            weight2=1 - beta2,
            eps=group["eps"] * correction2,
            scale=correction2 / (1 - beta1**tick.step) if corrected else 1.0,
            lr=tick.lr,
            adapt=bool(decay) or group["always_adapt"],
            trust_clip=group["trust_clip"],
            caution=group["caution"],
        )

    @staticmethod
    def update(p: Lanes, g: Lanes, s: Mapping[str, Lanes], k: LambConstants) -> Sums:
        """Move the moments, decay, scale the update, step."""
        m, v = s["exp_avg"], s["exp_avg_sq"]
        if k.shrink is not None:
            g = scale(g, k.shrink)
        if not k.averaging:
            add_(m, g)  # b1 * (m + g) + (1 - b1) * g is the b1 * m + g that is asked for
        u = zeros(p)
        adam_(u, g, m, v, 1.0, k.weight1, k.beta2, k.weight2, k.eps, -k.scale)
        if k.caution:
            u, agreement = cautious(u, g)
            kept, size = yield agreement
            scale_(u, 1 / share(kept, size))
        del g  # pieces wait below until the whole parameter has been seen
        if k.decay is not None:
            add_(p, p, -k.decay)
        if k.coupled is not None:
            add_(u, p, k.coupled)
        rate = k.lr
        if k.adapt:
            weights, updates = yield square_sum(p), square_sum(u)
            rate = trust_ratio(weights**0.5, updates**0.5, k.trust_clip) * k.lr
        add_(p, u, -rate)


def trust_ratio(weights: Number, updates: Number, clip: bool) -> Number:
    """Return the norm of weights by the norm of updates, and 1 where either is 0."""
    ratio = choose(weights > 0, divide(weights, updates, 1.0), 1.0)
    return at_most(ratio, 1.0) if clip else ratio
