"""Lion: steps by the sign of a momentum (Chen et al. 2023, 2302.06675)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Unpack

import torch

from hub_optim.arithmetic import Lanes, Number, add, descend_, lerp_, sign_
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


class LionConstants(NamedTuple):
    """Of one step; `momentum_share` stands beside a gradient of weight 1."""

    keep: Number
    momentum_share: float
    momentum_weight: float
    lr: Number
    caution: bool


class Lion(BlockedOptimizer):
    """Step by the sign of an interpolation between momentum and gradient.

    Args:
        params: parameters or groups of them.
        lr: step size of every element; 3 to 10 times smaller than AdamW's.
        betas: of the interpolation, and of the momentum.
        weight_decay: decoupled.
        caution: leave out what disagrees with the gradient (2411.16085).
        corrected_weight_decay: decay by lr**2 / highest lr (2506.02285).
        **switches: foreach, maximize, capturable, compile; see `BlockedOptimizer`.
    """

    def __init__(
        self,
        params: Any,
        lr: Number = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        *,
        weight_decay: float = 0.0,
        caution: bool = False,
        corrected_weight_decay: bool = False,
        **switches: Unpack[Switches],
    ) -> None:
        defaults = dict(
            lr=lr,
            betas=betas,
            weight_decay=weight_decay,
            caution=caution,
            corrected_weight_decay=corrected_weight_decay,
        )
        super().__init__(params, defaults, **switches)

    def buffers(self, group: Group) -> Mapping[str, Fill]:
        """Return the momentum."""
        return {"exp_avg": torch.zeros_like}

    def counts_steps(self, group: Group) -> bool:
        """Return False: no step differs from another."""
        return False

    def constants(self, group: Group, tick: Tick) -> LionConstants:
        """Return the numbers of a step."""
        beta1, beta2 = group["betas"]
        keep = 1 - decay_rate(group, tick.lr)
        return LionConstants(keep, beta1 / (1 - beta1), 1 - beta2, tick.lr, group["caution"])

    @staticmethod
    def update(p: Lanes, g: Lanes, s: Mapping[str, Lanes], k: LionConstants) -> Sums:
        """Find the direction, move the momentum, decay and step."""
        m = s["exp_avg"]
        u, rate = add(g, m, k.momentum_share), k.lr
        lerp_(m, g, k.momentum_weight)
        sign_(u)
        if k.caution:
            u, agreement = cautious(u, g)
            kept, size = yield agreement
            rate = rate / share(kept, size)
        descend_(p, u, k.keep, rate)
