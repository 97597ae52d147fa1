"""The base of optimizers that see a parameter as a whole: its shape, its rows, its norm.

Where an update needs no more than the elements, `hub_optim.engine` runs it in blocks; what
orthogonalises a matrix or keeps statistics of rows and columns is here, one parameter at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor

from hub_optim.arithmetic import Number
from hub_optim.base import CheckedOptimizer, Group, State
from hub_optim.engine import begin_step, dense_gradient, stays_on_device
from hub_optim.lanes import HALF
from hub_optim.sharding import distributed_as, is_distributed, whole, write_


class WholeOptimizer(CheckedOptimizer):
    """Base of optimizers that update one parameter at a time.

    A subclass says what a parameter's state begins as (`begin`) and what a step does (`update`).
    Parameters in half precision are computed with in float32 and rounded once per step. Those that
    are sharded are gathered one by one, with their gradients and states; every process computes
    the same and keeps its part.

    Args:
        params: parameters or groups of them, as torch.optim takes them.
        defaults: hyper-parameters of a group, see `CheckedOptimizer`.
    """

    # States that are not of the parameter's precision; torch would give them that on loading.
    own_precision: ClassVar[tuple[str, ...]] = ()

    def __init__(self, params: Any, defaults: dict[str, Any]) -> None:
        defaults.setdefault("capturable", False)
        super().__init__(params, defaults)

    def begin(self, p: Tensor, group: Group) -> State:
        """Return the first state of a parameter; `step` is added to it."""
        raise NotImplementedError

    def update(self, p: Tensor, g: Tensor, state: State, group: Group, lr: Any) -> None:
        """Change a parameter and its state in place by its gradient `g`, which stays as it is."""
        raise NotImplementedError

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient.

        Args:
            closure: computes the gradients again; its loss is returned.

        Raises:
            ValueError: if a gradient is sparse.
        """
        loss = begin_step(self, closure)
        for group in self.param_groups:
            ready = [p for p in group["params"] if p.grad is not None and p.numel()]
            if ready:
                self.update_group(ready, group, self.rate(group))
        return loss

    def update_group(self, params: list[Tensor], group: Group, lr: Any) -> None:
        """Update parameters of one group, all of which have gradients."""
        for p in params:
            self.update_one(p, group, lr)

    def update_one(self, p: Tensor, group: Group, lr: Any) -> None:
        """Update one parameter: gather and widen it, count the step, let the subclass work."""
        state = self.state_of(p, group)
        state["step"] += 1
        g = self.gradient(p, group)
        if p.dtype not in HALF and not is_distributed(p):
            self.update(p.detach(), g, state, group, lr)  # torch.compile takes no views of leaves
            return
        exact = {name: self._exact(name, value) for name, value in state.items()}
        w = self._exact("", p.detach())
        self.update(w, g, exact, group, lr)
        write_(p, w)
        for name, value in exact.items():
            if isinstance(value, Tensor):
                write_(state[name], value)
            else:
                state[name] = value

    def _exact(self, name: str, value: Any) -> Any:
        """Return all of a value, in a precision to compute with."""
        half = isinstance(value, Tensor) and value.dtype in HALF
        value = whole(value)
        return value.float() if half and name not in self.own_precision else value

    def state_of(self, p: Tensor, group: Group) -> State:
        """Return the state of a parameter, begun if it has none."""
        state: State = self.state[p]
        if "step" not in state:
            device = p.device if group["capturable"] else "cpu"
            state["step"] = torch.zeros((), dtype=torch.float32, device=device)
            # What is begun depends on no values.
            like = p.detach()
            if is_distributed(p):
                like = torch.empty(p.shape, dtype=p.dtype, device=p.device)
            for name, value in self.begin(like, group).items():
                same = isinstance(value, Tensor) and value.shape == p.shape
                state[name] = distributed_as(value, p) if same else value
        return state

    def gradient(self, p: Tensor, group: Group) -> Tensor:
        """Return the gradient of what is minimized, in a precision to compute with."""
        g: Tensor = whole(dense_gradient(self, p))
        g = g.float() if g.dtype in HALF else g
        return -g if group.get("maximize") else g

    def rate(self, group: Group) -> Any:
        """Return the learning rate: a tensor only where the host must not know it."""
        lr = group["lr"]
        return lr if lr is None or stays_on_device(group) else float(lr)

    def needed_state(self, p: Tensor, group: Group) -> State:
        """Return what the state of a parameter like `p` begins as."""
        return self.begin(p, group)

    def keeps_precision(self, name: str, value: Any, p: Tensor) -> bool:
        """Return whether it is one of `own_precision`."""
        return name in self.own_precision


def steps_taken(state: State, group: Group) -> Number:
    """Return the number of the step: a tensor only where the host must not know it."""
    step: Tensor = state["step"]
    return step if stays_on_device(group) else step.item()


def like(p: Tensor, *, wide: bool = False) -> Tensor:
    """Return zeros for a state: in the parameter's precision, or at least float32."""
    return torch.zeros_like(p, dtype=torch.float32 if wide and p.dtype in HALF else None)


def given(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return a constructor's keywords from its `locals()`: what a group is to hold."""
    beside = "self", "params", "__class__"
    return {name: value for name, value in arguments.items() if name not in beside}


def squared(g: Tensor) -> Tensor:
    """Return the squares of the elements' sizes: real numbers, in memory of their own."""
    return torch.view_as_real(g).square().sum(-1) if g.is_complex() else g * g


def cautious_(u: Tensor, g: Tensor) -> Tensor:
    """Keep of an update, in place, what agrees with the gradient (2411.16085)."""
    real = torch.view_as_real if u.is_complex() else Tensor.detach
    agrees = (real(u) * real(g) > 0).to(real(u).dtype)
    real(u).mul_(agrees.div_(agrees.mean().clamp_(min=1e-3)))
    return u
