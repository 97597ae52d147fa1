"""How updates run: in blocks, on lists of tensors, or compiled.

What is here knows tensors and update functions, but no optimizers; see `hub_optim.engine`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from functools import cache, partial, reduce
from operator import add
from types import FunctionType
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from hub_optim.arithmetic import Lanes, Number, copy_, negative
from hub_optim.sharding import local, local_gradient, over_processes

Sums = Generator[tuple[Number, ...], tuple[Any, ...], None]
Update = Callable[..., Sums | None]

BLOCK_BYTES = 6 << 20  # of all tensors per thread: the best of 1 to 12 MiB with 32 MiB of L3 cache
SMALL_ELEMENTS = 1 << 14  # below, calling an operation costs more than what it computes
LIST_ELEMENTS = 1 << 24  # per list: what bounds the temporaries of a step on an accelerator
HALF = (torch.float16, torch.bfloat16)


class Lane(NamedTuple):
    """One parameter, its gradient and its buffers: what lies here of them, in real numbers.

    Args:
        p: the parameter.
        g: its gradient.
        s: its buffers.
        of: the parameter as the optimizer has it; others may hold more of it.
    """

    p: Tensor
    g: Tensor
    s: dict[str, Tensor]
    of: Tensor


def lane_of(p: Tensor, state: Mapping[str, Tensor], names: Iterable[str]) -> Lane:
    """Return a parameter that has a gradient, with the named buffers of its state."""
    g = local_gradient(p)
    if g.dtype != p.dtype and p.dtype not in HALF:
        g = g.to(p.dtype)
    buffers = {name: in_real(local(state[name])) for name in names}
    return Lane(in_real(local(p)), in_real(g), buffers, p)


def in_real(t: Tensor) -> Tensor:
    """Return a view of complex numbers as real ones; anything else as it is."""
    return torch.view_as_real(t) if t.is_complex() else t


def run_whole(update: Update, lanes: list[Lane], k: NamedTuple) -> None:
    """Run an update on one parameter after another."""
    for lane in lanes:
        finish([update(lane.p, lane.g, lane.s, k)], lane.of)


def run_lists(update: Update, lanes: list[Lane], k: NamedTuple, elements: int) -> None:
    """Run an update on many parameters at once, but on no more than so many elements."""
    for some in portions(lanes, elements):
        s = {n: [lane.s[n] for lane in some] for n in some[0].s}
        run = update([lane.p for lane in some], [lane.g for lane in some], s, k)
        finish([run], some[0].of)


def run_blocks(update: Update, lanes: list[Lane], k: NamedTuple) -> None:
    """Run an update on pieces that fit the cache: parts of a large parameter, many small ones."""
    keep_freed_memory()
    bytes_each = lanes[0].p.element_size() * (2 + len(lanes[0].s))
    size = BLOCK_BYTES // bytes_each * torch.get_num_threads()
    small, large = by_size(lanes)
    run_lists(update, small, k, size)
    for lane in large:
        parts = round(lane.p.numel() / size)
        pieces = blocks(flattened(lane), parts) if parts > 1 else [lane[:3]]
        finish((update(*piece, k) for piece in pieces), lane.of)


def run_compiled(update: Update, lanes: list[Lane], k: NamedTuple) -> None:
    """Run an update as one kernel per parameter; small ones in lists, which takes less time."""
    small, large = by_size(lanes)
    run_lists(update, small, k, LIST_ELEMENTS)
    tensors = as_tensors(k, lanes[0].p)
    kernel = compiled(update, tensors, lanes[0].p)
    for lane in large:
        kernel(*flattened(lane)[:3], tensors)


@cache
def keep_freed_memory() -> None:
    """Let glibc keep what is freed, as it does once 32 MiB have been freed at once.

    Until then it gives the temporaries of each block back to the system, and clearing the new
    pages takes longer than the update. A training that frees activations gets there by itself.
    """
    torch.empty((1 << 25) - (1 << 14), dtype=torch.uint8)


def by_size(lanes: list[Lane]) -> tuple[list[Lane], list[Lane]]:
    """Return small lanes and large ones; all processes that share them must say the same."""
    small = [lane for lane in lanes if lane.of.numel() <= SMALL_ELEMENTS]
    return small, [lane for lane in lanes if lane.of.numel() > SMALL_ELEMENTS]


def adapted(update: Update, like: Tensor, maximize: bool) -> Update:
    """Return an update that also goes up gradients, or computes half precision in float32."""
    if not maximize and like.dtype not in HALF:
        return update
    return partial(working, update, maximize)


def working(
    update: Update, maximize: bool, p: Lanes, g: Lanes, s: Mapping[str, Lanes], k: NamedTuple
) -> Sums:
    """Run an update on copies that it can compute with, and copy back what has changed."""
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


def finish(runs: Iterable[Sums | None], of: Tensor) -> None:
    """Run the pieces of one parameter to their end, one after another from sum to sum.

    Args:
        runs: the updates of the pieces.
        of: the parameter, or one of several that are distributed alike.
    """
    waiting, partial_sums = [], []
    for run in runs:
        values = None if run is None else next(run, None)
        if run is not None and values is not None:
            waiting.append(run)
            partial_sums.append([at_host(value) for value in values])
    while waiting:
        sums = tuple(reduce(add, column) for column in zip(*partial_sums, strict=True))
        sums = tuple(map(at_host, over_processes(sums, of)))
        running, waiting, partial_sums = waiting, [], []
        for run in running:
            try:
                values = run.send(sums)
            except StopIteration:
                continue
            waiting.append(run)
            partial_sums.append([at_host(value) for value in values])


def at_host(number: Number) -> Number:
    """Return a number in the memory of the host as a float, with which kernels are faster."""
    if isinstance(number, Tensor) and number.ndim == 0 and number.device.type == "cpu":
        return number if torch.compiler.is_compiling() else number.item()
    return number


def flattened(lane: Lane) -> Lane:
    """Return a lane as vectors in the order of p's memory; as it is if p has holes there."""
    p, g, s, of = lane
    if not is_dense(p):
        return lane
    if g.stride() != p.stride():
        g = torch.empty_like(p).copy_(g)
    for t in s.values():
        if t.shape == p.shape and t.stride() != p.stride():  # the memory format has changed
            t.data = torch.empty_like(p, dtype=t.dtype).copy_(t)
    shape = p.shape
    buffers = {n: vector(t) if t.shape == shape else t for n, t in s.items()}
    return Lane(vector(p), vector(g), buffers, of)


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
    # Detached it is no view of t; of a view torch.compile sees t's shape, and compiles for each.
    return t.as_strided((t.numel(),), (1,)).detach()


def blocks(lane: Lane, parts: int) -> Iterator[tuple[Tensor, Tensor, dict[str, Tensor]]]:
    """Cut a lane of vectors into so many pieces of about one length."""
    p, g, s, _ = lane
    if p.ndim != 1:
        yield p, g, s
        return
    size = -(-p.numel() // (parts * 16)) * 16  # vectors in registers stay aligned
    cut = {n: torch.split(t, size) for n, t in s.items() if t.shape == p.shape}
    one = {n: t for n, t in s.items() if n not in cut}
    for i, (p_i, g_i) in enumerate(zip(torch.split(p, size), torch.split(g, size), strict=True)):
        yield p_i, g_i, {n: cut[n][i] for n in cut} | one


def portions(lanes: list[Lane], elements: int) -> Iterator[list[Lane]]:
    """Cut a list of lanes where their elements become too many for one."""
    some: list[Lane] = []
    held = 0
    for lane in lanes:
        if some and held + lane.of.numel() > elements:
            yield some
            some, held = [], 0
        some.append(lane)
        held += lane.of.numel()
    if some:
        yield some


KERNELS: dict[Any, Callable[..., None]] = {}


def compiled(update: Update, k: NamedTuple, like: Tensor) -> Callable[..., None]:
    """Return a compiled function (p, g, s, k) that runs an update on whole tensors."""
    inner = update.args if isinstance(update, partial) else (update,)
    fixed = (Tensor if isinstance(x, Tensor) else x for x in k)
    key = (*inner, like.dtype, like.device, *fixed)
    if key not in KERNELS:

        def kernel(p: Tensor, g: Tensor, s: dict[str, Tensor], k: NamedTuple) -> None:
            finish([update(p, g, s, k)], p)

        # torch.compile gives up a code object that it has compiled 8 times, so each has its own.
        code = kernel.__code__.replace(co_name=f"update_{len(KERNELS)}")
        own = FunctionType(code, globals(), closure=kernel.__closure__)
        KERNELS[key] = torch.compile(own, dynamic=True, fullgraph=True)
    return KERNELS[key]


def fitted(k: NamedTuple, like: Tensor) -> Any:
    """Return constants with their tensors in the precision that the update computes with."""
    if not any(isinstance(x, Tensor) for x in k):
        return k
    dtype = torch.promote_types(like.dtype.to_real(), torch.float32)
    return cast(Any, type(k))(*(x.to(dtype) if isinstance(x, Tensor) else x for x in k))


def as_tensors(k: NamedTuple, like: Tensor) -> Any:
    """Return constants with tensors for floats, which would be compiled in and change each step."""
    dtype = torch.promote_types(like.dtype, torch.float32)
    numbers = (torch.tensor(x, dtype=dtype) if isinstance(x, float) else x for x in k)
    return cast(Any, type(k))(*numbers)
