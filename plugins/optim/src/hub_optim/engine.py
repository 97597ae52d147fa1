"""The engine under hub's own optimizers: an update is written once and run as the device likes it.

An optimizer says which tensors it keeps (`buffers`), which numbers a step needs (`constants`) and
what happens to the elements (`update`, in terms of `hub_optim.arithmetic`). The engine does the
rest: it runs the update

* on a CPU in blocks that fit its cache, so that a step passes each tensor through memory once
  instead of once per operation;
* on accelerators, or with `foreach=True`, on lists of tensors at once;
* with `compile=True` as one kernel that torch.compile makes of it;

and it takes care of complex numbers, half precision, memory formats, `maximize`, tensor learning
rates, closures, and of states that resume exactly.

An update that needs a sum over a whole parameter (a norm, a share of elements) is a generator: it
yields what is to be summed and gets the sums back, whatever pieces it has been run on:

    square_p, square_u = yield square_sum(p), square_sum(u)

in a line of its own: torch.compile loses a `yield` among arguments before torch 2.13.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping
from typing import Any, ClassVar, NamedTuple, TypedDict, Unpack

import torch
from torch import Tensor
from torch.optim import Optimizer

from hub_optim.arithmetic import (
    Lanes,
    Number,
    agreeing,
    at_least,
    count,
    mul_,
    square_sum,
    total,
)
from hub_optim.base import CheckedOptimizer, Group, State
from hub_optim.lanes import (
    HALF,
    LIST_ELEMENTS,
    Lane,
    Sums,
    adapted,
    at_host,
    fitted,
    in_real,
    is_dense,
    lane_of,
    run_blocks,
    run_compiled,
    run_lists,
    run_whole,
    vector,
)
from hub_optim.sharding import (
    distribution,
    is_distributed,
    is_plain,
    local_gradient,
    over_processes,
)

__all__ = [
    "BlockedOptimizer",
    "Fill",
    "Group",
    "Sums",
    "Switches",
    "Tick",
    "cautious",
    "decay_rate",
    "global_norm",
    "share",
]

Fill = Callable[[Tensor], Tensor]


class Switches(TypedDict, total=False):
    """How an optimizer runs, in the same words for all: see `BlockedOptimizer`."""

    foreach: bool | None
    maximize: bool
    capturable: bool
    compile: bool


class Tick(NamedTuple):
    """What a step knows of the parameters that it updates together.

    Args:
        step: 1 for the first update of these parameters; a tensor where the host must not know it.
        lr: the learning rate; a tensor where the host must not know it.
        first: this is the first update.
        kind: what `BlockedOptimizer.kind` said of them.
        numbers: the scalar states; what `constants` changes in here is kept for the next step.
        shared: what `BlockedOptimizer.prepare` returned.
    """

    step: Number
    lr: Number
    first: bool
    kind: Hashable
    numbers: dict[str, Number]
    shared: Any


class Together(NamedTuple):
    """What parameters have in common that are updated together."""

    step: Number
    first: bool
    kind: Hashable
    distribution: Hashable
    numbers: tuple[tuple[str, Number], ...]
    device: torch.device
    dtype: torch.dtype
    type: type


class BlockedOptimizer(CheckedOptimizer):
    """Base of hub's own optimizers; see the module for what a subclass says.

    Args:
        params: parameters or groups of them, as torch.optim takes them.
        defaults: hyper-parameters of a group, see `CheckedOptimizer`.
        foreach: lists of tensors at once (True), one after another (False), or what suits (None).
        maximize: go up the gradient.
        capturable: keep the step counters on the device: for CUDA graphs.
        compile: fuse the update into one kernel, made on the first step.

    Raises:
        ValueError: for a hyper-parameter out of its range.
    """

    numbers: ClassVar[Mapping[str, float]] = {}  # scalar states and what they start from
    wide_state: ClassVar[bool] = False  # buffers in float32 where parameters are in half precision

    def __init__(
        self,
        params: Any,
        defaults: dict[str, Any],
        **switches: Unpack[Switches],
    ) -> None:
        if unknown := set(switches) - set(Switches.__annotations__):
            raise TypeError(
                f"{type(self).__name__} takes no {', '.join(sorted(unknown))}; it takes "
                f"{', '.join([*defaults, *Switches.__annotations__])}"
            )
        off: Switches = dict(foreach=None, maximize=False, capturable=False, compile=False)
        super().__init__(params, {**defaults, **off, **switches})

    # What a subclass says.

    def buffers(self, group: Group) -> Mapping[str, Fill]:
        """Return the buffers of a parameter by name, each with what makes it: torch.zeros_like."""
        raise NotImplementedError

    def constants(self, group: Group, tick: Tick) -> NamedTuple:
        """Return the numbers that one step of `update` needs, the same for every element."""
        raise NotImplementedError

    @staticmethod
    def update(p: Lanes, g: Lanes, s: Mapping[str, Lanes], k: Any) -> Sums | None:
        """Change parameters `p` and buffers `s` in place by gradients `g`, which stay as they are.

        Written with `hub_optim.arithmetic` alone; a generator where it needs sums, see the module.
        """
        raise NotImplementedError

    def kind(self, p: Tensor) -> Hashable:
        """Return what sets parameters apart that need other constants: `p.ndim > 1`."""
        return None

    def prepare(self) -> Any:
        """Return what all groups need to know of each other, before a step."""
        return None

    # What the engine does.

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient.

        Args:
            closure: computes the gradients again; its loss is returned.

        Raises:
            ValueError: if a gradient is sparse.
        """
        loss = begin_step(self, closure)
        shared = self.prepare()
        for group in self.param_groups:
            lr = group["lr"] if stays_on_device(group) else float(group["lr"])
            fills = self.buffers(group)
            for key, params in self._gather(group, fills).items():
                tick = Tick(key.step, lr, key.first, key.kind, dict(key.numbers), shared)
                if isinstance(shared, Tensor):
                    tick = tick._replace(shared=shared.to(key.device))  # of other devices, too
                k = fitted(self.constants(group, tick), params[0])
                for p in params:
                    self.state[p].update(tick.numbers)
                self._run([lane_of(p, self.state[p], fills) for p in params], group, k)
        return loss

    def _gather(self, group: Group, fills: Mapping[str, Fill]) -> dict[Together, list[Tensor]]:
        """Return the parameters to update, those together that share all numbers."""
        params = [p for p in group["params"] if p.grad is not None and p.numel()]
        new = [self._begin(p, fills, group["capturable"]) for p in params]
        steps = [self.state[p]["step"] for p in params]
        if steps:
            torch._foreach_add_(steps, 1)
        together: dict[Together, list[Tensor]] = defaultdict(list)
        for p, first, step in zip(params, new, steps, strict=True):
            # A tensor as a key is equal to itself only; in float32, 1 - 0.999**1 has 4 digits.
            at = step.double() if stays_on_device(group) else step.item()
            numbers = tuple((name, self.state[p][name]) for name in self.numbers)
            kind = self.kind(p), distribution(p)
            together[Together(at, first, *kind, numbers, p.device, p.dtype, type(p))].append(p)
        return together

    def _begin(self, p: Tensor, fills: Mapping[str, Fill], capturable: bool) -> bool:
        """Give a parameter what its state lacks; return whether it lacked anything."""
        dense_gradient(self, p)
        state = self.state[p]
        missing = [name for name in fills if name not in state]
        if "step" in state and not missing:  # lookahead keeps weights here, too
            return False
        if "step" not in state:
            device = p.device if capturable else "cpu"
            state["step"] = torch.zeros((), dtype=torch.float32, device=device)
            state.update(self.numbers)
        for name in missing:
            buffer = fills[name](in_real(p))
            state[name] = buffer.float() if self.wide_state and p.dtype in HALF else buffer
        return True

    def _run(self, lanes: list[Lane], group: Group, k: NamedTuple) -> None:
        """Update parameters that share all numbers, in the way that suits where they are."""
        p, foreach = lanes[0].p, group["foreach"]
        update = adapted(self.update, p, group["maximize"])
        on_cpu = p.device.type == "cpu"
        if torch.compiler.is_compiling() or not is_plain(p):
            run_whole(update, lanes, k)
        elif group["compile"] and not is_distributed(lanes[0].of):
            run_compiled(update, lanes, k)
        elif foreach or (foreach is None and not on_cpu):
            run_lists(update, lanes, k, LIST_ELEMENTS)
        elif on_cpu:
            run_blocks(update, lanes, k)
        else:
            run_whole(update, lanes, k)

    # What is saved.

    def needed_state(self, p: Tensor, group: Group) -> State:
        """Return the scalar states and the buffers of a parameter like `p`."""
        buffers = {name: fill(in_real(p)) for name, fill in self.buffers(group).items()}
        return {**self.numbers, **buffers}

    def keeps_precision(self, name: str, value: Any, p: Tensor) -> bool:
        """Return whether a value is wide, or one number for the whole parameter."""
        is_buffer = isinstance(value, Tensor) and name != "step"
        return is_buffer and (self.wide_state or value.shape != p.shape)

    def adopt_state(self, state: State, group: Group) -> None:
        """Take scalar states as numbers; timm has some of them as tensors."""
        super().adopt_state(state, group)
        for name in self.numbers:
            if isinstance(state.get(name), Tensor) and not group["capturable"]:
                state[name] = state[name].item()


def cautious(u: Lanes, g: Lanes) -> tuple[Lanes, tuple[Number, Number]]:
    """Return what of an update agrees with the gradient (2411.16085), and sums for `share`."""
    agree = agreeing(u, g)
    sums = total(agree), count(agree)
    mul_(agree, u)
    return agree, sums


def share(kept: Number, size: Number) -> Number:
    """Return by what to divide a cautious update, to make up for what it leaves out."""
    return at_least(kept / size, 1e-3)


def decay_rate(group: Group, lr: Number) -> Number:
    """Return the share of a weight that decays in one step.

    `corrected_weight_decay` lets it follow the square of the rate (2506.02285).
    """
    rate = lr**2 / group["max_lr"] if group.get("corrected_weight_decay") else lr
    return rate * group["weight_decay"]


def global_norm(optimizer: Optimizer) -> Number | None:
    """Return the norm of all gradients together, where the first of them is; None without any."""
    alike: dict[Hashable, list[Tensor]] = defaultdict(list)
    for group in optimizer.param_groups:
        for p in group["params"]:
            if p.grad is not None:
                dense_gradient(optimizer, p)
                alike[distribution(p)].append(p)
    squares = [over_processes((squared_norm(some),), some[0])[0] for some in alike.values()]
    return at_host(sum(squares[1:], squares[0]) ** 0.5) if squares else None


def squared_norm(params: list[Tensor]) -> Tensor:
    """Return the sum of squares of what gradients hold here, where the first of them is."""
    grads = [in_real(local_gradient(p)) for p in params]
    if grads[0].device.type != "cpu":
        norms = torch._foreach_norm(grads)
        norm = torch.linalg.vector_norm(torch.stack([n.to(norms[0]) for n in norms]).float())
        return norm.square()
    exact = [vector(g) if g.dtype not in HALF and is_dense(g) else g.float() for g in grads]
    return torch.stack([square_sum(g) for g in exact]).sum()


def stays_on_device(group: Group) -> bool:
    """Return whether steps and rates must stay tensors: in graphs of torch.compile or CUDA."""
    return bool(group["capturable"]) or torch.compiler.is_compiling()


def refuse_blind_capture(optimizer: Optimizer) -> None:
    """Raise in a CUDA graph that would record one step counter for ever."""
    for name in ("_accelerator_graph_capture_health_check", "_cuda_graph_capture_health_check"):
        if hasattr(Optimizer, name):
            getattr(optimizer, name)()
            return


def begin_step(optimizer: Optimizer, closure: Callable[[], Any] | None) -> Any:
    """Do what comes before every step; return the loss that the closure computes, if any."""
    refuse_blind_capture(optimizer)
    if closure is None:
        return None
    with torch.enable_grad():
        return closure()


def dense_gradient(optimizer: Optimizer, p: Tensor) -> Tensor:
    """Return the gradient of a parameter, or raise ValueError if it is sparse."""
    assert p.grad is not None
    if p.grad.layout != torch.strided:
        raise ValueError(
            f"{type(optimizer).__name__} takes dense gradients, but the one of a parameter of "
            f"shape {tuple(p.shape)} is {p.grad.layout}; use torch.optim.SparseAdam for it, or an "
            "nn.Embedding with sparse=False"
        )
    return p.grad
