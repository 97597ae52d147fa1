"""AdaBelief: steps by how far gradients are from what was expected (2010.07468)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Unpack

import torch

from hub_optim.adam import rectified_step_, rectify
from hub_optim.arithmetic import (
    Lanes,
    Number,
    add,
    addcdiv_,
    addcmul_,
    lerp_,
    maximum_,
    normalised_step_,
    root,
    scale_,
    shift_,
    sub,
)
from hub_optim.engine import BlockedOptimizer, Fill, Group, Switches, Tick, decay_rate


class AdaBeliefConstants(NamedTuple):
    """Of one step; `adaptive` as `hub_optim.adam.rectify` returns it."""

    keep: Number
    coupled: float | None
    weight1: float
    beta2: float
    weight2: float
    eps: float
    root_eps: Number
    rate: Number
    amsgrad: bool
    rectify: bool
    adaptive: bool | torch.Tensor


class AdaBelief(BlockedOptimizer):
    """Adam with the variance of the gradient around its average for the second moment.

    Args:
        params: parameters or groups of them.
        lr: step size.
        betas: of the average and of the variance.
        eps: added to the variance at every step, and to its root.
        weight_decay: see the next two.
        amsgrad: divide by the largest variance so far (1904.09237); not where rectified.
        decoupled_decay: take the decay from the weight; otherwise add it to the gradient.
        fixed_decay: the decoupled decay does not follow the rate.
        rectify: warm up as RAdam does (1908.03265).
        degenerated_to_sgd: while RAdam waits for the variance, step by the average; otherwise not.
        **switches: foreach, maximize, capturable, compile; see `BlockedOptimizer`.
    """

    wide_state = True

    def __init__(
        self,
        params: Any,
        lr: Number = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        *,
        eps: float = 1e-16,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        decoupled_decay: bool = True,
        fixed_decay: bool = False,
        rectify: bool = True,
        degenerated_to_sgd: bool = True,
        **switches: Unpack[Switches],
    ) -> None:
        defaults = dict(
            lr=lr,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            amsgrad=amsgrad,
            decoupled_decay=decoupled_decay,
            fixed_decay=fixed_decay,
            rectify=rectify,
            degenerated_to_sgd=degenerated_to_sgd,
        )
        super().__init__(params, defaults, **switches)

    def buffers(self, group: Group) -> Mapping[str, Fill]:
        """Return the average, the variance, and the largest variance where it is asked for."""
        names = ["exp_avg", "exp_avg_var"] + ["max_exp_avg_var"] * group["amsgrad"]
        return dict.fromkeys(names, torch.zeros_like)

    def constants(self, group: Group, tick: Tick) -> AdaBeliefConstants:
        """Return the numbers of a step."""
        beta1, beta2 = group["betas"]
        decay = group["weight_decay"] if group["fixed_decay"] else decay_rate(group, tick.lr)
        decoupled = group["decoupled_decay"]
        adaptive, factor = rectify(tick.step, beta2) if group["rectify"] else (True, 1.0)
        if not group["degenerated_to_sgd"]:
            factor = factor * adaptive
        correction2 = 1.0 if group["rectify"] else (1 - beta2**tick.step) ** 0.5
        return AdaBeliefConstants(
            keep=1 - decay if decoupled else 1.0,
            coupled=None if decoupled else group["weight_decay"] or None,
            weight1=1 - beta1,
            beta2=beta2,
            weight2=1 - beta2,
            eps=group["eps"],
            root_eps=group["eps"] * correction2,
            rate=tick.lr * factor * correction2 / (1 - beta1**tick.step),
            amsgrad=group["amsgrad"],
            rectify=group["rectify"],
            adaptive=adaptive,
        )

    @staticmethod
    def update(p: Lanes, g: Lanes, s: Mapping[str, Lanes], k: AdaBeliefConstants) -> None:
        """Decay, move average and variance, step."""
        m, v = s["exp_avg"], s["exp_avg_var"]
        if k.coupled is None:
            scale_(p, k.keep)
        else:
            g = add(g, p, k.coupled)
        lerp_(m, g, k.weight1)
        surprise = sub(g, m)
        if k.adaptive is True and not k.amsgrad:
            shift_(v, k.eps / k.beta2)  # so that beta 2 leaves eps of it
            normalised_step_(p, surprise, m, v, 1.0, k.beta2, k.weight2, k.root_eps, k.rate)
            return
        scale_(v, k.beta2)
        addcmul_(v, surprise, surprise, k.weight2)
        shift_(v, k.eps)
        if k.amsgrad:
            maximum_(s["max_exp_avg_var"], v)
        if k.rectify:
            rectified_step_(p, m, v, k.root_eps, k.rate, k.adaptive)
        else:
            denominator = root(s["max_exp_avg_var"] if k.amsgrad else v, k.root_eps)
            addcdiv_(p, m, denominator, -k.rate)
