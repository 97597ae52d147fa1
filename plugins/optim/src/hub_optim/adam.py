"""Adam's relatives: AdamW with options that torch's has not, NAdamW, and older NAdam and RAdam."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, Unpack

import torch

from hub_optim.arithmetic import (
    Lanes,
    Number,
    adam_,
    add,
    add_,
    addcdiv_,
    addcmul_,
    at_least,
    clone,
    count,
    descend_,
    div,
    lerp,
    lerp_,
    maximum_,
    root,
    scale_,
    shift_,
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
    share,
)


class AdamConstants(NamedTuple):
    """Of one step.

    The corrections of both moments are in `rate` and `eps`: m / c1 / (sqrt(v) / c2 + eps) is
    c2 / c1 * m / (sqrt(v) + c2 * eps), with one operation less for each element.
    """

    keep: Number
    weight1: float
    beta2: float
    weight2: float
    eps: Number
    rate: Number
    correction2: Number
    clip: float | None
    nesterov: bool
    caution: bool
    amsgrad: bool


class AdamWLegacy(BlockedOptimizer):
    """AdamW (1711.05101) with what torch's has not: caution, corrected decay, clipped updates.

    Args:
        params: parameters or groups of them.
        lr: step size.
        betas: of the first and of the second moment.
        eps: added to the root of the second moment.
        weight_decay: decoupled.
        amsgrad: divide by the largest second moment so far (1904.09237).
        caution: leave out what disagrees with the gradient (2411.16085).
        corrected_weight_decay: decay by lr**2 / highest lr (2506.02285).
        clipping_threshold: keep the root mean square of gradient / denominator of each parameter
            at or below this, as StableAdamW does with 1.0 (2304.13013).
        **switches: foreach, maximize, capturable, compile; see `BlockedOptimizer`.
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
        **switches: Unpack[Switches],
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
        correction2 = (1 - beta2**tick.step) ** 0.5
        return AdamConstants(
            keep=1 - decay_rate(group, tick.lr),
            weight1=1 - beta1,
            beta2=beta2,
            weight2=1 - beta2,
            eps=group["eps"] * correction2,
            rate=tick.lr * correction2 / (1 - beta1**tick.step),
            correction2=correction2,
            clip=group["clipping_threshold"],
            nesterov=self.nesterov,
            caution=group["caution"],
            amsgrad=group["amsgrad"],
        )

    @staticmethod
    def update(p: Lanes, g: Lanes, s: Mapping[str, Lanes], k: AdamConstants) -> Sums:
        """Decay, move the moments, step."""
        m, v, rate = s["exp_avg"], s["exp_avg_sq"], k.rate
        if k.amsgrad or k.clip is not None:
            lerp_(m, g, k.weight1)
            scale_(v, k.beta2)
            addcmul_(v, g, g, k.weight2)
            if k.amsgrad:
                maximum_(s["max_exp_avg_sq"], v)
                v = s["max_exp_avg_sq"]
            denominator = root(v, k.eps)
            if k.clip is not None:
                squares, size = yield square_sum(div(g, denominator)), count(g)
                rms = (squares / size) ** 0.5 * k.correction2
                rate = rate / at_least(rms / k.clip, 1.0)
            u = div(lerp(m, g, k.weight1) if k.nesterov else m, denominator)
        else:
            if k.nesterov:
                lerp_(m, g, k.weight1)
                m = clone(m)
            if not k.caution:
                adam_(p, g, m, v, k.keep, k.weight1, k.beta2, k.weight2, k.eps, rate)
                return
            u = zeros(p)
            adam_(u, g, m, v, 1.0, k.weight1, k.beta2, k.weight2, k.eps, -1.0)
        if k.caution:
            u, agreement = cautious(u, g)
            kept, size = yield agreement
            rate = rate / share(kept, size)
        descend_(p, u, k.keep, rate)


class NAdamW(AdamWLegacy):
    """AdamW that steps from where the momentum is about to be (Nesterov).

    Unlike NAdam (Dozat 2016) and torch.optim.NAdam it has no schedule of the momentum. Arguments
    as for `AdamWLegacy`.
    """

    nesterov = True


class NAdamConstants(NamedTuple):
    """Of one step; corrections as in `AdamConstants`."""

    coupled: float | None
    beta1: float
    weight1: float
    beta2: float
    weight2: float
    eps: Number
    gradient_rate: Number
    momentum_rate: Number


class NAdamLegacy(BlockedOptimizer):
    """NAdam (Dozat 2016) as it was before torch had one; the decay is coupled.

    Args:
        params: parameters or groups of them.
        lr: step size.
        betas: of the first and of the second moment.
        eps: added to the root of the second moment.
        weight_decay: added to the gradient, times the weight.
        schedule_decay: how fast the momentum approaches beta 1.
        **switches: foreach, maximize, capturable, compile; see `BlockedOptimizer`.
    """

    numbers: ClassVar[Mapping[str, float]] = {"m_schedule": 1.0}

    def __init__(
        self,
        params: Any,
        lr: Number = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        *,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        schedule_decay: float = 4e-3,
        **switches: Unpack[Switches],
    ) -> None:
        defaults = dict(
            lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, schedule_decay=schedule_decay
        )
        super().__init__(params, defaults, **switches)

    def buffers(self, group: Group) -> Mapping[str, Fill]:
        """Return both moments."""
        return dict.fromkeys(["exp_avg", "exp_avg_sq"], torch.zeros_like)

    def constants(self, group: Group, tick: Tick) -> NAdamConstants:
        """Return the numbers of a step; moves the product of all momenta on."""
        (beta1, beta2), t, decay = group["betas"], tick.step, group["schedule_decay"]
        momentum, ahead = (beta1 * (1 - 0.5 * 0.96 ** (i * decay)) for i in (t, t + 1))
        product = tick.numbers["m_schedule"] * momentum
        tick.numbers["m_schedule"] = product
        correction2 = (1 - beta2**t) ** 0.5
        return NAdamConstants(
            coupled=group["weight_decay"] or None,
            beta1=beta1,
            weight1=1 - beta1,
            beta2=beta2,
            weight2=1 - beta2,
            eps=group["eps"] * correction2,
            gradient_rate=tick.lr * correction2 * (1 - momentum) / (1 - product),
            momentum_rate=tick.lr * correction2 * ahead / (1 - product * ahead),
        )

    @staticmethod
    def update(p: Lanes, g: Lanes, s: Mapping[str, Lanes], k: NAdamConstants) -> None:
        """Move the moments, step by the gradient and by the momentum."""
        m, v = s["exp_avg"], s["exp_avg_sq"]
        if k.coupled is not None:
            g = add(g, p, k.coupled)
        lerp_(m, g, k.weight1)
        scale_(v, k.beta2)
        addcmul_(v, g, g, k.weight2)
        denominator = root(v, k.eps)
        addcdiv_(p, g, denominator, -k.gradient_rate)
        addcdiv_(p, m, denominator, -k.momentum_rate)


class RAdamConstants(NamedTuple):
    """Of one step; `adaptive` is a number, 0 or 1, where the step is not known on the host."""

    decay: Number
    weight1: float
    beta2: float
    weight2: float
    eps: float
    rate: Number
    adaptive: bool | torch.Tensor


class RAdamLegacy(BlockedOptimizer):
    """RAdam (1908.03265) as its authors published it: momentum alone until the variance is known.

    Args:
        params: parameters or groups of them.
        lr: step size.
        betas: of the first and of the second moment.
        eps: added to the root of the second moment.
        weight_decay: decoupled.
        **switches: foreach, maximize, capturable, compile; see `BlockedOptimizer`.
    """

    wide_state = True

    def __init__(
        self,
        params: Any,
        lr: Number = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        *,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        **switches: Unpack[Switches],
    ) -> None:
        defaults = dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)
        super().__init__(params, defaults, **switches)

    def buffers(self, group: Group) -> Mapping[str, Fill]:
        """Return both moments."""
        return dict.fromkeys(["exp_avg", "exp_avg_sq"], torch.zeros_like)

    def constants(self, group: Group, tick: Tick) -> RAdamConstants:
        """Return the numbers of a step."""
        beta1, beta2 = group["betas"]
        adaptive, rectification = rectify(tick.step, beta2)
        return RAdamConstants(
            decay=decay_rate(group, tick.lr),
            weight1=1 - beta1,
            beta2=beta2,
            weight2=1 - beta2,
            eps=group["eps"],
            rate=tick.lr * rectification / (1 - beta1**tick.step),
            adaptive=adaptive,
        )

    @staticmethod
    def update(p: Lanes, g: Lanes, s: Mapping[str, Lanes], k: RAdamConstants) -> None:
        """Move the moments, decay, step."""
        m, v = s["exp_avg"], s["exp_avg_sq"]
        add_(p, p, -k.decay)
        if k.adaptive is True:
            adam_(p, g, m, v, 1.0, k.weight1, k.beta2, k.weight2, k.eps, k.rate)
            return
        lerp_(m, g, k.weight1)
        scale_(v, k.beta2)
        addcmul_(v, g, g, k.weight2)
        rectified_step_(p, m, v, k.eps, k.rate, k.adaptive)


def rectify(step: Number, beta2: float) -> tuple[bool | torch.Tensor, Number]:
    """Return whether the variance of the second moment is known by now, and RAdam's factor.

    The factor is 1 until then. For a step on the device the first is a number there: 0 or 1.
    """
    power = beta2**step
    longest = 2 / (1 - beta2) - 1
    length = longest - 2 * step * power / (1 - power)  # of the average that v is like (eq. 4)
    known = length >= 5  # the paper takes 4, its authors' code 5
    if isinstance(known, torch.Tensor):
        length = torch.where(known, length, 5.0)
    elif not known:
        return False, 1.0
    shrink = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
    factor = ((1 - power) * shrink) ** 0.5
    if isinstance(known, torch.Tensor):
        return known.to(factor.dtype), torch.where(known, factor, 1.0)
    return True, factor


def rectified_step_(
    p: Lanes, m: Lanes, v: Lanes, eps: Number, rate: Number, adaptive: bool | torch.Tensor
) -> None:
    """P -= rate * m / (sqrt(v) + eps), or rate * m where it is not adaptive."""
    if adaptive is False:
        add_(p, m, -rate)
        return
    denominator = root(v, eps)
    if isinstance(adaptive, torch.Tensor):
        scale_(denominator, adaptive)
        shift_(denominator, 1 - adaptive)
    addcdiv_(p, m, denominator, -rate)
