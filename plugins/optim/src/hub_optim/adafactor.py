"""Adafactor (1804.04235): second moments kept as rows and columns of a matrix.

The state of a matrix of (M, N) takes M + N numbers instead of M * N. Two differences from the
paper: a convolution is factored over its channels, with a row and a column for each place of the
kernel, and the rate is scaled by the size of the parameter only where the optimizer sets it itself.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from hub_optim.arithmetic import Number, add_
from hub_optim.base import Group, State
from hub_optim.whole import WholeOptimizer, cautious_, given, like, squared, steps_taken


class Adafactor(WholeOptimizer):
    """Adafactor.

    Args:
        params: parameters or groups of them.
        lr: step size; None to let the optimizer set it from the step number.
        eps: added to squared gradients.
        eps_scale: least size of a parameter that the rate is scaled by, where lr is None.
        clip_threshold: highest root mean square of an update before the rate.
        decay_rate: the second moment forgets with 1 - step ** decay_rate.
        betas: the first is that of the first moment; None keeps no first moment.
        weight_decay: decoupled.
        scale_parameter: scale the rate by the size of the parameter, where lr is None.
        warmup_init: begin with a rate of 1e-6 per step, where lr is None.
        min_dim_size_to_factor: sides must be longer than this to be factored.
        caution: leave out of the first moment what disagrees with the gradient (2411.16085).
        maximize: go up the gradient.
        capturable: keep the step counters on the device: for CUDA graphs.

    Raises:
        ValueError: for warmup_init with a given lr.
    """

    own_precision: ClassVar[tuple[str, ...]] = (
        "exp_avg",
        "exp_avg_sq",
        "exp_avg_sq_row",
        "exp_avg_sq_col",
    )

    def __init__(
        self,
        params: Any,
        lr: Number | None = None,
        eps: float = 1e-30,
        *,
        eps_scale: float = 1e-3,
        clip_threshold: float = 1.0,
        decay_rate: float = -0.8,
        betas: tuple[float, float] | None = None,
        weight_decay: float = 0.0,
        scale_parameter: bool = True,
        warmup_init: bool = False,
        min_dim_size_to_factor: int = 16,
        caution: bool = False,
        maximize: bool = False,
        capturable: bool = False,
    ) -> None:
        defaults = given(locals()) | {"relative_step": lr is None}
        if warmup_init and lr is not None:
            raise ValueError(
                f"warmup_init is for rates that Adafactor sets itself, but lr is {lr}; leave lr "
                f"out, or warm up by the schedule"
            )
        super().__init__(params, defaults)

    def adopt_group(self, group: Group) -> None:
        """Take the one beta of timm."""
        super().adopt_group(group)
        if group.get("beta1") is not None:
            group["betas"] = (group["beta1"], 0.999)
        group.pop("beta1", None)

    def adopt_state(self, state: State, group: Group) -> None:
        """Leave out the size of the parameter, which timm keeps and measures anew in each step."""
        super().adopt_state(state, group)
        state.pop("RMS", None)

    def begin(self, p: Tensor, group: Group) -> State:
        """Return zeros for the moments, those of a factored parameter without a side."""
        state = {} if group.get("betas") is None else {"exp_avg": like(p, wide=True)}
        sides = factored_sides(p.shape, group["min_dim_size_to_factor"])
        real = like(p, wide=True)
        real = real.real if real.is_complex() else real
        if sides is None:
            return state | {"exp_avg_sq": torch.zeros_like(real)}
        row, col = sides
        return state | {
            "exp_avg_sq_row": real.new_zeros(real.sum(col).shape),
            "exp_avg_sq_col": real.new_zeros(real.sum(row).shape),
        }

    def update(self, p: Tensor, g: Tensor, state: State, group: Group, lr: Any) -> None:
        """Divide by the root of the second moment, clip, step."""
        step = steps_taken(state, group)
        if group["relative_step"]:
            lr = group["lr"] = own_rate(p, step, group)
        weight = step ** group["decay_rate"]
        u = self._divided(g, state, weight, group)
        rms = u.norm() / math.sqrt(u.numel())
        u.mul_(lr / (rms / group["clip_threshold"]).clamp_(min=1.0))
        if group.get("betas") is not None:
            u = state["exp_avg"].lerp_(u, 1 - group["betas"][0])
            if group["caution"]:
                u = cautious_(u.clone(), g)
        if group["weight_decay"]:
            # Not p *= 1 - rate, whose factor is rounded the same way in every step of float32.
            add_(p, p, -group["weight_decay"] * lr)
        add_(p, u, -1.0)

    def _divided(self, g: Tensor, state: State, weight: Number, group: Group) -> Tensor:
        """Move the second moment and return the gradient divided by its root."""
        square = squared(g).add_(group["eps"])
        sides = factored_sides(g.shape, group["min_dim_size_to_factor"])
        if sides is None:
            v = state["exp_avg_sq"].lerp_(square, weight)
            return torch.rsqrt(v, out=square).mul(g) if g.is_complex() else v.rsqrt().mul_(g)
        row, col = sides
        rows = state["exp_avg_sq_row"].lerp_(square.mean(col), weight)
        cols = state["exp_avg_sq_col"].lerp_(square.mean(row), weight)
        del square  # the update may take its memory
        scaled = (rows / rows.mean(row, keepdim=True)).rsqrt_()
        return (g * scaled.unsqueeze(col)).mul_(cols.rsqrt().unsqueeze(row))


def factored_sides(shape: torch.Size, longer_than: int) -> tuple[int, int] | None:
    """Return the two sides that a second moment is factored over: channels first, else the last.

    The first is the one that rows count, the second is summed over for them. None where no two
    sides are long enough.
    """
    if len(shape) > 2 and min(shape[:2]) > longer_than:
        return 0, 1
    if len(shape) >= 2 and min(shape[-2:]) > longer_than:
        return len(shape) - 2, len(shape) - 1
    return None


def own_rate(p: Tensor, step: Number, group: Group) -> Any:
    """Return the learning rate that Adafactor sets: falling with the root of the step number."""
    highest = 1e-6 * step if group["warmup_init"] else 1e-2
    if isinstance(step, Tensor):
        lr: Any = torch.minimum(step**-0.5, torch.as_tensor(highest, device=step.device))
    else:
        lr = min(highest, step**-0.5)
    if group["scale_parameter"]:
        lr = lr * (p.norm() / math.sqrt(p.numel())).clamp(min=group["eps_scale"])
    return lr
