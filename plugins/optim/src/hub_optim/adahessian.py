"""AdaHessian (2006.00719): Adam with the diagonal of the Hessian in place of squared gradients.

The diagonal is estimated by Hutchinson's method: the mean of z * Hz over vectors z of random signs.
Gradients must come with their graph: `loss.backward(create_graph=True)`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

from hub_optim.arithmetic import Number, addcdiv_, scale_
from hub_optim.base import Group, State
from hub_optim.draws import DrawingOptimizer
from hub_optim.whole import given, like, steps_taken


class Adahessian(DrawingOptimizer):
    """AdaHessian.

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
    unsharded_only = (
        "it differentiates gradients once more, and those that FSDP reduces have no graph; take "
        "another optimizer, or DistributedDataParallel"
    )
    seed = 2**31 - 1

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
        defaults = given(locals())
        super().__init__(params, defaults)
        if not 0 <= hessian_power <= 1:
            raise ValueError(f"hessian_power is {hessian_power}; it must be between 0 and 1")
        for name, count in (("update_each", update_each), ("n_samples", n_samples)):
            if count < 1:
                raise ValueError(f"{name} is {count}; it must be 1 or more")

    def begin(self, p: Tensor, group: Group) -> State:
        """Return zeros for the moments and the estimate, whose age is counted beside."""
        if p.is_complex():
            raise ValueError(
                f"Adahessian takes real parameters, but one of shape {tuple(p.shape)} is "
                f"{p.dtype}; keep it as its real and imaginary parts (torch.view_as_real)"
            )
        names = ("exp_avg", "exp_hessian_diag_sq", "hessian")
        return {name: like(p) for name in names} | {"age": 0}

    def adopt_state(self, state: State, group: Group) -> None:
        """Take timm's count of estimates; it saves no estimate, so one must be due.

        Raises:
            ValueError: the next step would go by an estimate that is not there.
        """
        super().adopt_state(state, group)
        age = state.pop("hessian step", None)
        if age is None or "hessian" in state:
            return
        if age % group["update_each"]:
            raise ValueError(
                f"this state has no estimate of the Hessian, and with update_each="
                f"{group['update_each']} the next is due in {-age % group['update_each']} steps; "
                "save it after a multiple of them, or begin without a state"
            )
        state |= {"age": age, "hessian": torch.zeros_like(state["exp_avg"])}

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

    def _signs(self, p: Tensor) -> Tensor:
        """Return -1 or 1 for each element."""
        bits = torch.randint(0, 2, p.shape, generator=self.generator(p.device), device=p.device)
        return bits.to(p.dtype).mul_(2).sub_(1)

    def update(self, p: Tensor, g: Tensor, state: State, group: Group, lr: Any) -> None:
        """Decay, move both moments, step."""
        (beta1, beta2), step = group["betas"], steps_taken(state, group)
        h = state["hessian"]
        if group["avg_conv_kernel"] and p.ndim == 4:
            h = h.abs().mean((2, 3), keepdim=True)
        scale_(p, 1 - lr * group["weight_decay"])
        m, v = state["exp_avg"], state["exp_hessian_diag_sq"]
        m.lerp_(g, 1 - beta1)
        v.mul_(beta2).addcmul_(h, h, value=1 - beta2)
        root = (v / (1 - beta2**step)).pow_(group["hessian_power"] / 2).add_(group["eps"])
        addcdiv_(p, m, root, -lr / (1 - beta1**step))
