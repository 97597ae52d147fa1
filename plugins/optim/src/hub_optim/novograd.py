"""NovoGrad: one second moment per layer (1905.11286), as NVIDIA trains with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Unpack

import torch

from hub_optim.arithmetic import (
    Lanes,
    Number,
    momentum_,
    scale,
    scale_,
    square_sum,
    stacked,
    store_,
)
from hub_optim.engine import BlockedOptimizer, Fill, Group, Sums, Switches, Tick, decay_rate
from hub_optim.lanes import at_host


class NovoGradConstants(NamedTuple):
    """Of one step; `share` is what of a normalised gradient enters the momentum."""

    keep: Number | None
    coupled: float
    beta1: float
    beta2: float
    eps: float
    share: float
    lr: Number
    amsgrad: bool


class NvNovoGrad(BlockedOptimizer):
    """Divide the gradient of a parameter by the average of its norm, then average.

    Args:
        params: parameters or groups of them.
        lr: step size.
        betas: of the momentum and of the squared norm.
        eps: added to the root of the squared norm.
        weight_decay: see `decoupled_decay`.
        grad_averaging: a gradient enters the momentum by 1 - beta 1; otherwise as a whole.
        amsgrad: divide by the largest norm so far (1904.09237).
        decoupled_decay: take the decay from the weight; otherwise add it to the divided gradient.
        corrected_weight_decay: decay by lr**2 / highest lr (2506.02285), where decoupled.
        **switches: foreach, maximize, capturable, compile; see `BlockedOptimizer`.
    """

    def __init__(
        self,
        params: Any,
        lr: Number = 1e-3,
        betas: tuple[float, float] = (0.95, 0.98),
        *,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        grad_averaging: bool = False,
        amsgrad: bool = False,
        decoupled_decay: bool = False,
        corrected_weight_decay: bool = False,
        **switches: Unpack[Switches],
    ) -> None:
        defaults = dict(
            amsgrad=amsgrad,
            betas=betas,
            corrected_weight_decay=corrected_weight_decay,
            decoupled_decay=decoupled_decay,
            eps=eps,
            grad_averaging=grad_averaging,
            lr=lr,
            weight_decay=weight_decay,
        )
        super().__init__(params, defaults, **switches)

    def buffers(self, group: Group) -> Mapping[str, Fill]:
        """Return the momentum, and the squared norm as one number per parameter."""
        names = ["exp_avg_sq"] + ["max_exp_avg_sq"] * group["amsgrad"]
        return {"exp_avg": torch.zeros_like} | dict.fromkeys(names, one_zero)

    def constants(self, group: Group, tick: Tick) -> NovoGradConstants:
        """Return the numbers of a step."""
        beta1, beta2 = group["betas"]
        decay, decoupled = group["weight_decay"], group["decoupled_decay"]
        return NovoGradConstants(
            keep=1 - decay_rate(group, tick.lr) if decay and decoupled else None,
            coupled=0.0 if decoupled else float(decay),
            beta1=beta1,
            beta2=beta2,
            eps=group["eps"],
            share=1 - beta1 if group["grad_averaging"] else 1.0,
            lr=tick.lr,
            amsgrad=group["amsgrad"],
        )

    @staticmethod
    def update(p: Lanes, g: Lanes, s: Mapping[str, Lanes], k: NovoGradConstants) -> Sums:
        """Move the norm, decay, move the momentum, step."""
        m = s["exp_avg"]
        (squares,) = yield (square_sum(g),)
        before = stacked(s["exp_avg_sq"])
        moved = before * k.beta2 + squares * (1 - k.beta2)
        norm = torch.where(before == 0, squares, moved)
        largest = torch.maximum(stacked(s["max_exp_avg_sq"]), norm) if k.amsgrad else norm
        if k.keep is not None:
            scale_(p, k.keep)
        entry = at_host(k.share / (largest**0.5 + k.eps))
        decay = k.share * k.coupled
        momentum_(p, scale(g, entry), m, decay, k.beta1, 1.0, k.lr, nesterov=False)
        yield ()  # every piece of the parameter has read the norm before; now it may change
        store_(s["exp_avg_sq"], norm)
        if k.amsgrad:
            store_(s["max_exp_avg_sq"], largest)


def one_zero(p: torch.Tensor) -> torch.Tensor:
    """Return a tensor of one number, in float32 where the parameter is in half precision."""
    return torch.zeros((), dtype=torch.promote_types(p.dtype, torch.float32), device=p.device)
