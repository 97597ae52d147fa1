"""Run blocks one by one: with the hooks of their stage, and again in the backward pass."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torch.utils.hooks import BackwardHook


def recompute(block: nn.Module, x: Tensor, *args: Any) -> Tensor:
    """Run a block, keep only what it is given, and run it again in the backward pass.

    The second run sees the buffers (running statistics, counters) as the first one found them, and
    leaves no trace in them.
    """
    contexts: dict[str, Any] = {}
    if not torch.compiler.is_compiling():  # a compiled graph updates buffers once by itself
        contexts["context_fn"] = functools.partial(_contexts, block)
    out: Tensor = checkpoint(block, x, *args, use_reentrant=False, **contexts)
    return out


def _contexts(
    block: nn.Module,
) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    return nullcontext(), _BuffersAsTheyAre(block)


class _BuffersAsTheyAre(AbstractContextManager[None]):
    """Within it, a module works on copies of the buffers that it had when this was made."""

    def __init__(self, module: nn.Module) -> None:
        self.before = [
            (m._buffers, {n: b.clone() for n, b in m._buffers.items() if b is not None})
            for m in module.modules()
            if m.training and m._buffers
        ]
        self.now: list[dict[str, Tensor | None]] = []

    def __enter__(self) -> None:
        self.now = [dict(buffers) for buffers, _ in self.before]
        for buffers, values in self.before:  # copies once more: there may be a third run
            buffers.update({name: value.clone() for name, value in values.items()})

    def __exit__(self, *_: object) -> None:
        for (buffers, _values), now in zip(self.before, self.now, strict=True):
            buffers.update(now)


def run_each(
    stage: nn.Sequential, x: Tensor, run: Callable[[nn.Module, Tensor], Tensor]
) -> Iterator[Tensor]:
    """Yield what each block of a stage gives; hooks of the stage fire as if it were called.

    Args:
        stage: the blocks.
        x: what the first is given.
        run: calls a block.
    """
    given, watch = _enter(stage, x)
    x = given
    for i, block in enumerate(stage):
        x = run(block, x)
        yield _leave(stage, given, x, watch) if i + 1 == len(stage) else x


def _enter(stage: nn.Module, x: Tensor) -> tuple[Tensor, Any]:
    """Fire the hooks that come before a call of a module."""
    for key, hook in stage._forward_pre_hooks.items():
        with_kwargs = key in stage._forward_pre_hooks_with_kwargs
        new = hook(stage, (x,), {}) if with_kwargs else hook(stage, (x,))
        if new is not None:
            new = new[0] if with_kwargs else new
            x = new[0] if isinstance(new, tuple) else new
    if not (stage._backward_hooks or stage._backward_pre_hooks):
        return x, None
    backward, _ = stage._get_backward_hooks()  # type: ignore[no-untyped-call]
    watch: Any = BackwardHook(stage, backward, stage._get_backward_pre_hooks())  # type: ignore[no-untyped-call]
    (x,) = watch.setup_input_hook((x,))
    return x, watch


def _leave(stage: nn.Module, given: Tensor, x: Tensor, watch: Any) -> Tensor:
    """Fire the hooks that come after a call of a module; return its output."""
    for key, hook in stage._forward_hooks.items():
        with_kwargs = key in stage._forward_hooks_with_kwargs
        new = hook(stage, (given,), {}, x) if with_kwargs else hook(stage, (given,), x)
        x = x if new is None else new
    return x if watch is None else watch.setup_output_hook(x)
