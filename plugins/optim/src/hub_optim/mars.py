"""MARS: gradients corrected by the ones before, for AdamW or Lion (2411.10438)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Unpack

import torch

from hub_optim.arithmetic import (
    Lanes,
    Number,
    adam_,
    add,
    addcdiv_,
    addcmul_,
    at_least,
    clone,
    copy_,
    descend_,
    lerp_,
    root,
    scale_,
    sign_,
    square_sum,
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

KINDS = ("adamw", "lion")


class MarsConstants(NamedTuple):
    """Of one step; corrections of the moments as in `hub_optim.adam.AdamConstants`."""

    keep: Number
    weight1: float
    beta2: float
    weight2: float
    eps: Number
    rate: Number
    correction: float | None
    clip: bool
    sign: bool
    caution: bool


class Mars(BlockedOptimizer):
    """Add to each gradient how far it is from the one before; hold it at norm 1.

    Parameters of one dimension take a plain AdamW step, unless asked for otherwise. The first step
    has no gradient before it and corrects nothing.

    Args:
        params: parameters or groups of them.
        lr: step size.
        betas: of the first and of the second moment.
        eps: added to the root of the second moment.
        weight_decay: decoupled.
        gamma: strength of the correction.
        mars_type: "adamw" or "lion".
        optimize_1d: correct gradients of one dimension too.
        lr_1d_factor: times lr where they are not corrected.
        betas_1d: where they are not corrected; None takes betas.
        caution: leave out what disagrees with the gradient (2411.16085).
        **switches: foreach, maximize, capturable, compile; see `BlockedOptimizer`.
    """

    def __init__(
        self,
        params: Any,
        lr: Number = 3e-3,
        betas: tuple[float, float] = (0.9, 0.99),
        *,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        gamma: float = 0.025,
        mars_type: str = "adamw",
        optimize_1d: bool = False,
        lr_1d_factor: float = 1.0,
        betas_1d: tuple[float, float] | None = None,
        caution: bool = False,
        **switches: Unpack[Switches],
    ) -> None:
        if mars_type not in KINDS:
            raise ValueError(f"mars_type is {mars_type!r}; it must be one of {', '.join(KINDS)}")
        defaults = dict(
            lr=lr,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            gamma=gamma,
            mars_type=mars_type,
            optimize_1d=optimize_1d,
            lr_1d_factor=lr_1d_factor,
            betas_1d=betas_1d or betas,
            caution=caution,
        )
        super().__init__(params, defaults, **switches)

    def buffers(self, group: Group) -> Mapping[str, Fill]:
        """Return both moments and the gradient of the step before."""
        return dict.fromkeys(["exp_avg", "exp_avg_sq", "last_grad"], torch.zeros_like)

    def kind(self, p: torch.Tensor) -> bool:
        """Return whether a parameter has two dimensions or more."""
        return p.ndim >= 2

    def adopt_state(self, state: State, group: Group) -> None:
        """Begin a second moment where timm has none, which Lion does without."""
        super().adopt_state(state, group)
        if group["mars_type"] == "lion" and "exp_avg" in state:
            state.setdefault("exp_avg_sq", torch.zeros_like(state["exp_avg"]))

    def constants(self, group: Group, tick: Tick) -> MarsConstants:
        """Return the numbers of a step."""
        corrected = bool(tick.kind) or group["optimize_1d"]
        beta1, beta2 = group["betas"] if corrected else group["betas_1d"]
        lr = tick.lr if corrected else tick.lr * group["lr_1d_factor"]
        sign = corrected and group["mars_type"] == "lion"
        correction2 = (1 - beta2**tick.step) ** 0.5
        strength = group["gamma"] * beta1 / (1 - beta1)
        return MarsConstants(
            keep=1 - decay_rate(group, lr),
            weight1=1 - beta1,
            beta2=beta2,
            weight2=1 - beta2,
            eps=group["eps"] * correction2,
            rate=lr if sign else lr * correction2 / (1 - beta1**tick.step),
            correction=strength if corrected and not tick.first else None,
            clip=corrected,
            sign=sign,
            caution=group["caution"],
        )

    @staticmethod
    def update(p: Lanes, g: Lanes, s: Mapping[str, Lanes], k: MarsConstants) -> Sums:
        """Correct the gradient, move the moments by it, decay, step."""
        m, v, c = s["exp_avg"], s["exp_avg_sq"], g
        if k.correction is not None:
            c = add(g, sub(g, s["last_grad"]), k.correction)
        if k.clip:
            (squares,) = yield (square_sum(c),)
            c = clone(c) if c is g else c
            scale_(c, 1 / at_least(squares**0.5, 1.0))
        copy_(s["last_grad"], g)
        if not (k.sign or k.caution):
            adam_(p, c, m, v, k.keep, k.weight1, k.beta2, k.weight2, k.eps, k.rate)
            return
        lerp_(m, c, k.weight1)
        if not k.sign:
            scale_(v, k.beta2)
            addcmul_(v, c, c, k.weight2)
        del c
        u, rate = clone(m), k.rate
        if k.caution:
            u, agreement = cautious(u, g)
            kept, size = yield agreement
            rate = rate / share(kept, size)
        if k.sign:
            sign_(u)
            descend_(p, u, k.keep, rate)
        else:
            scale_(p, k.keep)
            addcdiv_(p, u, root(v, k.eps), -rate)
