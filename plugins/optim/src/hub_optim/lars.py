"""LARS: momentum with a rate for each layer (1708.03888); LARC is LARS with clipped rates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Unpack

import torch

from hub_optim.arithmetic import (
    Lanes,
    Number,
    at_most,
    choose,
    descend_,
    divide,
    momentum_,
    scale,
    square_sum,
)
from hub_optim.engine import BlockedOptimizer, Fill, Group, Sums, Switches, Tick
from hub_optim.sgdw import check_nesterov, first_weight


class LarsConstants(NamedTuple):
    """Of one step; `momentum` is None without it."""

    lr: Number
    decay: float
    momentum: float | None
    weight: float
    trust: float
    eps: float
    adapt: bool
    trust_clip: bool
    nesterov: bool


class Lars(BlockedOptimizer):
    """Scale the gradient of each parameter to a share of the parameter's norm.

    Args:
        params: parameters or groups of them.
        lr: step size.
        momentum: what is kept of the momentum.
        dampening: what is left out of a gradient that enters it.
        weight_decay: added to the gradient, times the weight; parameters without it are not scaled.
        nesterov: step from where the momentum leads; needs momentum and no dampening.
        trust_coeff: the share.
        eps: added to the norm of the gradient.
        trust_clip: never scale beyond lr (LARC).
        always_adapt: scale parameters without decay too.
        **switches: foreach, maximize, capturable, compile; see `BlockedOptimizer`.
    """

    def __init__(
        self,
        params: Any,
        lr: Number = 1.0,
        momentum: float = 0.0,
        dampening: float = 0.0,
        *,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        trust_coeff: float = 0.001,
        eps: float = 1e-8,
        trust_clip: bool = False,
        always_adapt: bool = False,
        **switches: Unpack[Switches],
    ) -> None:
        defaults = dict(
            always_adapt=always_adapt,
            dampening=dampening,
            eps=eps,
            lr=lr,
            momentum=momentum,
            nesterov=nesterov,
            trust_clip=trust_clip,
            trust_coeff=trust_coeff,
            weight_decay=weight_decay,
        )
        super().__init__(params, defaults, **switches)
        check_nesterov(nesterov, momentum, dampening)

    def buffers(self, group: Group) -> Mapping[str, Fill]:
        """Return the momentum, if there is any."""
        return {"momentum_buffer": torch.zeros_like} if group["momentum"] else {}

    def counts_steps(self, group: Group) -> bool:
        """Return False: after the first, no step differs from another."""
        return False

    def constants(self, group: Group, tick: Tick) -> LarsConstants:
        """Return the numbers of a step."""
        return LarsConstants(
            lr=tick.lr,
            decay=group["weight_decay"],
            momentum=group["momentum"] or None,
            weight=first_weight(group, tick),
            trust=group["trust_coeff"],
            eps=group["eps"],
            adapt=bool(group["weight_decay"]) or group["always_adapt"],
            trust_clip=group["trust_clip"],
            nesterov=group["nesterov"],
        )

    @staticmethod
    def update(p: Lanes, g: Lanes, s: Mapping[str, Lanes], k: LarsConstants) -> Sums:
        """Scale the gradient, move the momentum, step."""
        decay: Number = 0.0
        if k.adapt:
            weights, gradients = yield square_sum(p), square_sum(g)
            ratio = trust_ratio(weights**0.5, gradients**0.5, k)
            g, decay = scale(g, ratio), k.decay * ratio
        if k.momentum is None:
            descend_(p, g, 1 - k.lr * decay, k.lr)
        else:
            m = s["momentum_buffer"]
            momentum_(p, g, m, decay, k.momentum, k.weight, k.lr, k.nesterov)


def trust_ratio(weights: Number, gradients: Number, k: LarsConstants) -> Number:
    """Return the factor of a gradient from both norms, and 1 where either is 0."""
    norm = gradients + weights * k.decay + k.eps
    ratio = choose((weights > 0) & (gradients > 0), divide(k.trust * weights, norm, 1.0), 1.0)
    return at_most(divide(ratio, k.lr, 1.0), 1.0) if k.trust_clip else ratio
