"""Sequences of blocks, and blocks that run again in the backward pass."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torch.utils.hooks import BackwardHook


class BlockSequence(nn.Sequential):
    """Blocks one after the other: a stage. With gradient checkpointing each is recomputed.

    Called, it gives what the last block gives. Where each block is a level of the network,
    `each` yields what every one gives.
    """

    grad_checkpointing = False

    def forward(self, x: Any, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        """Run the blocks; further arguments go to each of them."""
        for block in self:
            x = run_block(self, block, x, *args, **kwargs)
        return x

    def each(self, x: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
        """Run the blocks and yield what each gives; whoever has enough stops.

        The hooks of the sequence fire as if it were called; those after it with its last block, so
        not where somebody stopped early.
        """
        given, watch = _enter(self, x)
        x, last = given, len(self) - 1
        for index, block in enumerate(self):
            x = run_block(self, block, x, *args, **kwargs)
            yield _leave(self, given, x, watch) if index == last else x


def run_block(owner: Any, block: nn.Module, *args: Any, **kwargs: Any) -> Any:
    """Run a block; where `owner` checkpoints gradients, again in the backward pass.

    Args:
        owner: a module in training with `grad_checkpointing`, which `set_grad_checkpointing` sets.
        block: what is run.
        *args: what it is given.
        **kwargs: likewise.
    """
    if owner.grad_checkpointing and owner.training and torch.is_grad_enabled():
        return recompute(block, *args, **kwargs)
    return block(*args, **kwargs)


def recompute(block: nn.Module, *args: Any, **kwargs: Any) -> Any:
    """Run a block, keep only what it is given, and run it again in the backward pass.

    The second run sees the buffers (running statistics, counters) as the first one found them, and
    leaves no trace in them.
    """
    contexts: dict[str, Any] = {}
    if not torch.compiler.is_compiling():  # a compiled graph updates buffers once by itself
        contexts["context_fn"] = functools.partial(_contexts, block)
    return checkpoint(block, *args, use_reentrant=False, **contexts, **kwargs)


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
