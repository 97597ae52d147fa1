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
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator, Mapping
from types import FunctionType
from typing import Any, ClassVar, NamedTuple, TypedDict, Unpack, cast

import torch
from torch import Tensor
from torch.optim import Optimizer

from hub_optim.arithmetic import (
    Lanes,
    Number,
    agreeing,
    copy_,
    count,
    mul_,
    negative,
    scale_,
    square_sum,
    total,
)

Group = dict[str, Any]
State = Mapping[str, Any]
Sums = Generator[tuple[Number, ...], tuple[Any, ...], None]
Fill = Callable[[Tensor], Tensor]

BLOCK_BYTES = 1 << 19  # per tensor and thread: the best of 2**16 to 2**20 with 1 MiB of L2 cache
LIST_ELEMENTS = 1 << 24  # per list: what bounds the temporaries of a step on an accelerator
HALF = (torch.float16, torch.bfloat16)


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
    numbers: tuple[tuple[str, Number], ...]
    device: torch.device
    dtype: torch.dtype
    type: type


class Lane(NamedTuple):
    """One parameter, its gradient and its buffers, complex ones as real numbers."""

    p: Tensor
    g: Tensor
    s: dict[str, Tensor]


class BlockedOptimizer(Optimizer):
    """Base of hub's own optimizers; see the module for what a subclass says.

    Args:
        params: parameters or groups of them, as torch.optim takes them.
        defaults: hyper-parameters of a group. `lr`, `weight_decay`, `eps`, `momentum` and `betas`
            are checked; `corrected_weight_decay` keeps the rate given here as the highest one.
        foreach: lists of tensors at once (True), one after another (False), or what suits (None).
        maximize: go up the gradient.
        capturable: keep the step counters on the device: for CUDA graphs.
        compile: fuse the update into one kernel, made on the first step.

    Raises:
        ValueError: for a hyper-parameter out of its range.
    """

    numbers: ClassVar[Mapping[str, float]] = {}  # scalar states and what they start from
    wide_state: ClassVar[bool] = False  # buffers in float32 where parameters are in half precision
    splits: ClassVar[bool] = True  # the update takes a parameter in pieces without its shape

    def __init__(
        self,
        params: Any,
        defaults: dict[str, Any],
        **switches: Unpack[Switches],
    ) -> None:
        check_ranges(defaults)
        if defaults.get("corrected_weight_decay"):
            defaults["max_lr"] = highest_rate(defaults["lr"])
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
        refuse_blind_capture(self)
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        shared = self.prepare()
        for group in self.param_groups:
            lr = group["lr"] if stays_on_device(group) else float(group["lr"])
            for key, params in self._gather(group).items():
                tick = Tick(key.step, lr, key.first, key.kind, dict(key.numbers), shared)
                if isinstance(shared, Tensor):
                    tick = tick._replace(shared=shared.to(key.device))
                k = self.constants(group, tick)
                for p in params:
                    self.state[p].update(tick.numbers)
                self._run([self._lane(p) for p in params], group, k)
        return loss

    def _gather(self, group: Group) -> dict[Together, list[Tensor]]:
        """Return the parameters to update, those together that share all numbers."""
        params = [p for p in group["params"] if p.grad is not None]
        new = [self._begin(p, group) for p in params]
        steps = [self.state[p]["step"] for p in params]
        if steps:
            torch._foreach_add_(steps, 1)
        together: dict[Together, list[Tensor]] = defaultdict(list)
        for p, first, step in zip(params, new, steps, strict=True):
            at = step if stays_on_device(group) else step.item()  # a tensor is equal to itself only
            numbers = tuple((name, self.state[p][name]) for name in self.numbers)
            key = Together(at, first, self.kind(p), numbers, p.device, p.dtype, type(p))
            together[key].append(p)
        return together

    def _begin(self, p: Tensor, group: Group) -> bool:
        """Give a parameter its state; return whether it had none."""
        if p.grad is not None and p.grad.layout != torch.strided:
            raise ValueError(
                f"{type(self).__name__} takes dense gradients, but the one of a parameter of shape "
                f"{tuple(p.shape)} is {p.grad.layout}; use torch.optim.SparseAdam for it, or an "
                f"nn.Embedding with sparse=False"
            )
        state = self.state[p]
        if state:
            return False
        device = p.device if group["capturable"] else "cpu"
        state["step"] = torch.zeros((), dtype=torch.float32, device=device)
        state.update(self.numbers)
        for name, fill in self.buffers(group).items():
            buffer = fill(p.detach())
            state[name] = buffer.float() if self.wide_state and p.dtype in HALF else buffer
        return True

    def _lane(self, p: Tensor) -> Lane:
        assert p.grad is not None
        state = {n: t for n, t in self.state[p].items() if n != "step" and n not in self.numbers}
        if not p.is_complex():
            return Lane(p, p.grad, state)
        real = {n: torch.view_as_real(t) if t.is_complex() else t for n, t in state.items()}
        return Lane(torch.view_as_real(p), torch.view_as_real(p.grad), real)

    def _run(self, lanes: list[Lane], group: Group, k: NamedTuple) -> None:
        """Update parameters that share all numbers, in the way that suits where they are."""
        first, up = lanes[0].p, group["maximize"]
        ordinary = type(first) in (Tensor, torch.nn.Parameter)
        on_cpu = first.device.type == "cpu"
        if torch.compiler.is_compiling() or not ordinary:
            for lane in lanes:
                finish([working(self.update, *lane, k, up)])
        elif group["compile"]:
            kernel = compiled(type(self).update)
            k = as_tensors(k, lanes[0].p)
            for lane in lanes:
                kernel(*lane if not self.splits else flattened(lane), k, up)
        elif group["foreach"] or (group["foreach"] is None and not on_cpu):
            for some in portions(lanes):
                names = some[0].s
                s = {n: [lane.s[n] for lane in some] for n in names}
                p, g = [lane.p for lane in some], [lane.g for lane in some]
                finish([working(self.update, p, g, s, k, up)])
        else:
            for lane in lanes:
                pieces = blocks(flattened(lane)) if self.splits and on_cpu else [lane]
                finish(working(self.update, *piece, k, up) for piece in pieces)

    # What is saved.

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            for name, value in self.defaults.items():
                group.setdefault(name, value)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the state of an equal optimizer; the precision of its buffers is kept."""
        super().load_state_dict(state_dict)
        if not self.wide_state:
            return
        saved = [i for group in state_dict["param_groups"] for i in group["params"]]
        params = [p for group in self.param_groups for p in group["params"]]
        for index, p in zip(saved, params, strict=True):
            for name, value in state_dict["state"].get(index, {}).items():
                if isinstance(value, Tensor) and name != "step":  # torch narrows it to p's dtype
                    self.state[p][name] = value.to(p.device, copy=True)


def cautious(u: Lanes, g: Lanes) -> Sums:
    """Keep of an update what agrees with the gradient, and make up for the rest (2411.16085)."""
    agree = agreeing(u, g)
    mul_(u, agree)
    sums = total(agree), count(agree)
    del agree  # the generator lives until the whole parameter has been seen; this need not
    kept, size = yield sums
    scale_(u, (kept / size).clamp(min=1e-3).reciprocal())


def decay_rate(group: Group, lr: Number) -> Number:
    """Return the share of a weight that decays in one step.

    `corrected_weight_decay` lets it follow the square of the rate (2506.02285).
    """
    rate = lr**2 / group["max_lr"] if group.get("corrected_weight_decay") else lr
    return rate * group["weight_decay"]


def global_norm(groups: Iterable[Group]) -> Tensor | None:
    """Return the norm of all gradients together, where the first of them is; None without any."""
    grads = [p.grad for group in groups for p in group["params"] if p.grad is not None]
    if not grads:
        return None
    grads = [torch.view_as_real(g) if g.is_complex() else g for g in grads]
    if grads[0].device.type != "cpu":
        norms = torch._foreach_norm(grads)
        return torch.linalg.vector_norm(torch.stack([n.to(norms[0]) for n in norms]).float())
    exact = [vector(g) if g.dtype not in HALF and is_dense(g) else g.float() for g in grads]
    return torch.stack([square_sum(g) for g in exact]).sum().sqrt()


def working(
    update: Callable[..., Sums | None],
    p: Lanes,
    g: Lanes,
    s: Mapping[str, Lanes],
    k: NamedTuple,
    maximize: bool,
) -> Sums:
    """Run an update on what it can compute with: half precision goes through float32."""
    if maximize:
        g = negative(g)
    exact = {"p": p, **s}
    wide = {name: widened(x) for name, x in exact.items()}
    sums = update(wide["p"], widened(g), {name: wide[name] for name in s}, k)
    if sums is not None:
        yield from sums
    for name, x in exact.items():
        if wide[name] is not x:
            copy_(x, wide[name])


def widened(x: Lanes) -> Lanes:
    """Return half precision as float32 and anything else as it is."""
    if isinstance(x, list):
        return [t.float() for t in x] if x[0].dtype in HALF else x
    return x.float() if x.dtype in HALF else x


def finish(runs: Iterable[Sums]) -> None:
    """Run the pieces of one parameter to their end, one after another from sum to sum."""
    waiting, partial = [], []
    for run in runs:
        for value in run:
            partial.append(value)
            waiting.append(run)
            break
    while waiting:
        sums = tuple(sum(column[1:], column[0]) for column in zip(*partial, strict=True))
        running, waiting, partial = waiting, [], []
        for run in running:
            try:
                partial.append(run.send(sums))
            except StopIteration:
                continue
            waiting.append(run)


def flattened(lane: Lane) -> Lane:
    """Return a lane as vectors in the order of p's memory; as it is if p has holes there."""
    p = lane.p
    if not is_dense(p):
        return lane
    g = lane.g if lane.g.stride() == p.stride() else torch.empty_like(p).copy_(lane.g)
    s = {}
    for name, t in lane.s.items():
        if t.shape == p.shape and t.stride() != p.stride():
            t.data = torch.empty_like(p, dtype=t.dtype).copy_(t)  # the memory format has changed
        s[name] = vector(t) if t.shape == p.shape else t
    return Lane(vector(p), vector(g), s)


def is_dense(t: Tensor) -> bool:
    """Return whether the elements fill one stretch of memory, in whatever order."""
    if t.is_contiguous():
        return True
    expected = 1
    for stride, size in sorted(zip(t.stride(), t.shape, strict=True)):
        if size > 1 and stride != expected:
            return False
        expected *= size
    return True


def vector(t: Tensor) -> Tensor:
    """Return a dense tensor as a vector of the elements as they lie in memory."""
    return t.detach().as_strided((t.numel(),), (1,))


def blocks(lane: Lane) -> Iterator[Lane]:
    """Cut a lane of vectors into pieces that fit the cache."""
    size = BLOCK_BYTES // lane.p.element_size() * torch.get_num_threads()
    if lane.p.numel() <= size or lane.p.ndim != 1:
        yield lane
        return
    whole = lane.p.shape
    cut = {n: torch.split(t, size) for n, t in lane.s.items() if t.shape == whole}
    one = {n: t for n, t in lane.s.items() if t.shape != whole}
    for i, (p, g) in enumerate(
        zip(torch.split(lane.p, size), torch.split(lane.g, size), strict=True)
    ):
        yield Lane(p, g, {n: cut[n][i] for n in cut} | one)


def portions(lanes: list[Lane]) -> Iterator[list[Lane]]:
    """Cut a list of lanes where their elements become too many for one."""
    some: list[Lane] = []
    elements = 0
    for lane in lanes:
        if some and elements + lane.p.numel() > LIST_ELEMENTS:
            yield some
            some, elements = [], 0
        some.append(lane)
        elements += lane.p.numel()
    yield some


KERNELS: dict[Callable[..., Any], Callable[..., None]] = {}


def compiled(update: Callable[..., Sums | None]) -> Callable[..., None]:
    """Return a compiled function (p, g, s, k, maximize) that runs an update on whole tensors."""
    if update not in KERNELS:

        def kernel(
            p: Tensor, g: Tensor, s: dict[str, Tensor], k: NamedTuple, maximize: bool
        ) -> None:
            finish([working(update, p, g, s, k, maximize)])

        # torch.compile counts recompilations by code object; all optimizers share that of `kernel`.
        own = FunctionType(
            kernel.__code__.replace(co_name=update.__qualname__),
            globals(),
            closure=kernel.__closure__,
        )
        KERNELS[update] = torch.compile(own, dynamic=True, fullgraph=True)
    return KERNELS[update]


def as_tensors(k: NamedTuple, like: Tensor) -> Any:
    """Return constants with tensors for floats, which would be compiled in and change each step."""
    dtype = torch.float32 if like.dtype in HALF else like.dtype
    numbers = (torch.tensor(x, dtype=dtype) if isinstance(x, float) else x for x in k)
    return cast(Any, type(k))(*numbers)


def stays_on_device(group: Group) -> bool:
    """Return whether steps and rates must stay tensors: in graphs of torch.compile or CUDA."""
    return bool(group["capturable"]) or torch.compiler.is_compiling()


def refuse_blind_capture(optimizer: Optimizer) -> None:
    """Raise in a CUDA graph that would record one step counter for ever."""
    for name in ("_accelerator_graph_capture_health_check", "_cuda_graph_capture_health_check"):
        if hasattr(Optimizer, name):
            getattr(optimizer, name)()
            return


def highest_rate(lr: Number) -> float:
    """Return the rate that corrected weight decay compares with."""
    if float(lr) > 0:
        return float(lr)
    raise ValueError(
        f"corrected_weight_decay compares each rate with the highest one, which is lr={lr}; build "
        f"the optimizer with the highest rate of the schedule"
    )


def check_ranges(defaults: Mapping[str, Any]) -> None:
    """Raise ValueError for a hyper-parameter out of its range."""
    for name in ("lr", "weight_decay", "eps", "momentum"):
        value = defaults.get(name)
        if value is not None and not value >= 0:
            raise ValueError(f"{name} is {value}; it must be 0 or more")
    for i, beta in enumerate(defaults.get("betas") or ()):
        if not 0 <= beta < 1:
            raise ValueError(f"betas[{i}] is {beta}; it must be at least 0 and below 1")
