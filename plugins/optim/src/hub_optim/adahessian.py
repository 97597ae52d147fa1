"""AdaHessian (2006.00719): Adam with the diagonal of the Hessian in place of squared gradients.

The diagonal is estimated by Hutchinson's method: the mean of z * Hz over vectors z of random signs.
Gradients must come with their graph: `loss.backward(create_graph=True)`.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from hub_optim.arithmetic import Number, addcdiv_, addcmul_, scale_
from hub_optim.engine import Group
from hub_optim.whole import State, WholeOptimizer, like, steps_taken

SEED = 2**31 - 1


class Adahessian(WholeOptimizer):
    """AdaHessian.

    Every process draws the same signs, whatever else it draws, and goes on with them where a
    checkpoint left off.

    Args:
        params: parameters or groups of them.
        lr: step size.
        betas: of the first moment and of the squared diagonal.
        eps: added to the denominator.
        weight_decay: decoupled.
        hessian_power: of the diagonal in the denominator: 1 for Newton's steps, 0 for none.
        update_each: steps from one estimate to the next.
        n_samples: vectors that an estimate is the mean of.
        avg_conv_kernel: average the diagonal over the places of a kernel.
        maximize: go up the gradient.

    Raises:
        ValueError: for a hessian_power outside 0 to 1, or counts below 1.
    """

    is_second_order = True
    own_precision: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        params: Any,
        lr: Number = 0.1,
        betas: tuple[float, float] = (0.9, 0.999),
        *,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        hessian_power: float = 1.0,
        update_each: int = 1,
        n_samples: int = 1,
        avg_conv_kernel: bool = False,
        maximize: bool = False,
    ) -> None:
        if not 0 <= hessian_power <= 1:
            raise ValueError(f"hessian_power is {hessian_power}; it must be between 0 and 1")
        for name, count in (("update_each", update_each), ("n_samples", n_samples)):
            if count < 1:
                raise ValueError(f"{name} is {count}; it must be 1 or more")
        defaults = dict(
            lr=lr,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            hessian_power=hessian_power,
            update_each=update_each,
            n_samples=n_samples,
            avg_conv_kernel=avg_conv_kernel,
            maximize=maximize,
        )
        super().__init__(params, defaults)
        self._draws: dict[torch.device, Tensor] = {}

    def begin(self, p: Tensor, group: Group) -> State:
        """Return zeros for the moments and the estimate, whose age is counted beside."""
        names = ("exp_avg", "exp_hessian_diag_sq", "hessian")
        return {name: like(p) for name in names} | {"age": 0}

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Estimate the diagonal where it is due, and update every parameter that has a gradient.

        Args:
            closure: computes the gradients again, with their graph; its loss is returned.

        Raises:
            RuntimeError: if gradients come without their graph.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        due = []
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state_of(p, group)
                if state["age"] % group["update_each"] == 0:
                    due.append((p, state, group["n_samples"]))
                state["age"] += 1
        if due:
            self._estimate(due)
        super().step()
        return loss

    def _estimate(self, due: list[tuple[Tensor, State, int]]) -> None:
        """Set the estimate of the Hessian's diagonal: the mean of z * Hz."""
        grads = [cast(Tensor, p.grad) for p, _, _ in due]
        if not all(g.requires_grad for g in grads):
            raise RuntimeError(
                "Adahessian differentiates gradients, but these come without their graph; call "
                "loss.backward(create_graph=True) before the step"
            )
        for _, state, _ in due:
            state["hessian"].zero_()
        samples = max(n for _, _, n in due)
        for sample in range(samples):
            signs = [self._signs(p) for p, _, _ in due]
            keep = sample < samples - 1
            products = torch.autograd.grad(grads, [p for p, _, _ in due], signs, retain_graph=keep)
            for (_, state, n), z, hz in zip(due, signs, products, strict=True):
                if sample < n:
                    state["hessian"].addcmul_(hz, z, value=1 / n)
