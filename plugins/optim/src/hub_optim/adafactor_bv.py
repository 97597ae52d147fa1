"""Adafactor as big_vision trains with it: "Scaling Vision Transformers" (2106.04560).

Against `hub_optim.adafactor`: the rate is always given, momentum is of the divided gradient and in
half precision, the share of the second moment that is kept is capped, updates are clipped only
where that is asked for, and the two longest sides are factored, which in a convolution are its
channels.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from hub_optim.arithmetic import Number, add_, scale_
from hub_optim.base import Group, State
from hub_optim.engine import decay_rate
from hub_optim.whole import WholeOptimizer, cautious_, given, like, squared, steps_taken

DTYPES = {name: getattr(torch, name) for name in ("bfloat16", "float16", "float32")}


class AdafactorBigVision(WholeOptimizer):
    """Adafactor of big_vision.

    Args:
        params: parameters or groups of them.
        lr: step size.
        min_dim_size_to_factor: sides of this length and above are factored.
        decay_rate: the second moment forgets with step ** -decay_rate.
        decay_offset: steps by which the step number is taken lower for that.
        beta2_cap: the second moment keeps this much at most.
        momentum: share of the old momentum; None for none.
        momentum_dtype: of its state: "bfloat16", "float16", "float32" or the dtype.
        eps: added to squared gradients; None for 1e-30.
        weight_decay: decoupled, times lr.
        clipping_threshold: highest root mean square of an update before the rate; None for any.
        unscaled_wd: do not multiply the decay by lr.
        caution: leave out of the momentum what disagrees with the gradient (2411.16085).
        corrected_weight_decay: let decay fall as lr**2, or lr where unscaled (2506.02285).
        maximize: go up the gradient.
        capturable: keep the step counters on the device: for CUDA graphs.
    """

    own_precision: ClassVar[tuple[str, ...]] = (
        "exp_avg",
        "exp_avg_sq",
        "exp_avg_sq_r",
        "exp_avg_sq_c",
    )

    def __init__(
        self,
        params: Any,
        lr: Number = 1.0,
        min_dim_size_to_factor: int = 16,
        *,
        decay_rate: float = 0.8,
        decay_offset: int = 0,
        beta2_cap: float = 0.999,
        momentum: float | None = 0.9,
        momentum_dtype: str | torch.dtype = torch.bfloat16,
        eps: float | None = None,
        weight_decay: float = 0.0,
        clipping_threshold: float | None = None,
        unscaled_wd: bool = False,
        caution: bool = False,
        corrected_weight_decay: bool = False,
        maximize: bool = False,
        capturable: bool = False,
    ) -> None:
        defaults = given(locals()) | {"momentum_dtype": as_dtype(momentum_dtype)}
        super().__init__(params, defaults)

    def begin(self, p: Tensor, group: Group) -> State:
        """Return zeros for the moments, those of a factored parameter with a side of one."""
        zeros = like(p.real if p.is_complex() else p, wide=True)
        sides = longest_sides(p.shape, group["min_dim_size_to_factor"])
        if sides is None:
            state = {"exp_avg_sq": zeros}
        else:
            row, col = sides
            state = {
                "exp_avg_sq_r": zeros.sum(col, keepdim=True),
                "exp_avg_sq_c": zeros.sum(row, keepdim=True),
            }
        if group.get("momentum") is not None:
            dtype = p.dtype if p.is_complex() else group["momentum_dtype"]
            state["exp_avg"] = torch.zeros_like(p, dtype=dtype)
        return state

    def update(self, p: Tensor, g: Tensor, state: State, group: Group, lr: Any) -> None:
        """Divide by the root of the second moment, clip, average, step."""
        u = self._divided(g, state, group)
        if group["clipping_threshold"] is not None:
            rms = u.norm() / math.sqrt(u.numel())
            u.div_((rms / group["clipping_threshold"]).clamp_(min=1.0))
        if group.get("momentum") is not None:
            average = state["exp_avg"]
            average.lerp_(u.to(average.dtype), 1 - group["momentum"])
            u = average if average.dtype == g.dtype else average.to(g.dtype)
            if group["caution"]:
                u = cautious_(u.clone() if u is average else u, g)
        if group["weight_decay"]:
            rate = decay_rate(group, lr)
            scale_(p, 1 - (rate / lr if group["unscaled_wd"] else rate))
        add_(p, u, -lr)

    def _divided(self, g: Tensor, state: State, group: Group) -> Tensor:
        """Move the second moment and return the gradient divided by its root."""
        weight = forgetting(steps_taken(state, group), group)
        square = squared(g).add_(1e-30 if group["eps"] is None else group["eps"])
        sides = longest_sides(g.shape, group["min_dim_size_to_factor"])
        if sides is None:
            return g * state["exp_avg_sq"].lerp_(square, weight).rsqrt()
        row, col = sides
        rows = state["exp_avg_sq_r"].lerp_(square.mean(col, keepdim=True), weight)
        cols = state["exp_avg_sq_c"].lerp_(square.mean(row, keepdim=True), weight)
        del square  # the update may take its memory
        return (g * (rows / rows.mean(row, keepdim=True)).rsqrt_()).mul_(cols.rsqrt())


def longest_sides(shape: torch.Size, at_least: int) -> tuple[int, int] | None:
    """Return the two longest sides, the longest last; None if one is shorter than `at_least`."""
    if len(shape) < 2:
        return None
    row, col = sorted(range(len(shape)), key=lambda i: (shape[i], i))[-2:]
    return (row, col) if shape[row] >= at_least else None


def forgetting(step: Number, group: Group) -> Any:
    """Return the share of the second moment that is replaced: falling with the step number."""
    least = 1 - group["beta2_cap"]
    if isinstance(step, Tensor):
        return ((step - group["decay_offset"]).clamp(min=1) ** -group["decay_rate"]).clamp(least)
    return max(least, max(step - group["decay_offset"], 1) ** -group["decay_rate"])


def as_dtype(value: str | torch.dtype) -> torch.dtype:
    """Return the dtype of a name.

    Raises:
        ValueError: for a name that is none of `DTYPES`.
    """
    if isinstance(value, torch.dtype):
        return value
    if value not in DTYPES:
        raise ValueError(f"momentum_dtype is {value!r}; it takes {', '.join(DTYPES)} or a dtype")
    return DTYPES[value]
