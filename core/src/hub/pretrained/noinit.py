"""Build a network without random numbers that a checkpoint, or a second initialiser, replaces.

Inside `DeferredInit`, in-place writes to Parameters (`nn.init.*`, `p.zero_()`, ...) are noted
instead of done, so the memory behind them is reserved but never touched. Whatever reads a
Parameter gets its notes carried out first, so buffers and constants that a constructor computes
come out as usual. `run` carries out the notes of the Parameters that are still wanted; a note
that overwrites everything replaces the earlier ones, so each is initialised once.

Construction on the meta device would be simpler, but breaks constructors that compute buffers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Self

import torch
from torch import nn
from torch.overrides import (
    TorchFunctionMode,
    handle_torch_function,
    has_torch_function_variadic,
)
from torch.utils._pytree import tree_leaves

_Note = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]

# In-place by name, but they write no values.
_NOT_WRITES = {"requires_grad_", "detach_", "retain_grad_", "share_memory_"}
# Properties and shape queries: they read no values.
_NOT_READS = set(
    "shape ndim dtype device requires_grad is_leaf is_meta grad grad_fn layout is_cuda is_sparse "
    "is_quantized is_nested names itemsize nbytes size dim numel nelement stride is_contiguous "
    "is_floating_point is_complex element_size data_ptr requires_grad_ __len__ __hash__ "
    "__repr__".split()
)
# Writes that leave nothing of the old values: tensor methods, then functions of `nn.init`.
_OVERWRITES = set(
    "normal_ uniform_ zero_ fill_ random_ bernoulli_ exponential_ "
    "zeros_ ones_ constant_ eye_ dirac_ orthogonal_ sparse_ trunc_normal_ _no_grad_trunc_normal_ "
    "xavier_uniform_ xavier_normal_ kaiming_uniform_ kaiming_normal_".split()
)

# What trunc_normal_ does: it reads what it drew, and torch lets no mode take the call as a whole.
_TRUNC_NORMAL = getattr(nn.init, "_no_grad_trunc_normal_", None)


def _no_grad_trunc_normal_(
    tensor: torch.Tensor, mean: float, std: float, a: float, b: float, **options: Any
) -> Any:
    """Stands in for torch's function of this name while initialisation is deferred."""
    if has_torch_function_variadic(tensor):
        return handle_torch_function(
            _no_grad_trunc_normal_, (tensor,), tensor, mean, std, a, b, **options
        )
    if min(mean - a, b - mean) > 10 * std:  # no float32 normal lies out there: nothing to cut
        with torch.no_grad():
            return tensor.normal_(mean, std, **options)
    assert _TRUNC_NORMAL is not None
    return _TRUNC_NORMAL(tensor, mean, std, a, b, **options)


class DeferredInit(TorchFunctionMode):
    """Context in which writes to Parameters are noted instead of done."""

    def __init__(self) -> None:
        super().__init__()
        self._notes: dict[int, list[_Note]] = {}  # by id; a note keeps its Parameter alive

    def __enter__(self) -> Self:
        if _TRUNC_NORMAL is not None:
            nn.init._no_grad_trunc_normal_ = _no_grad_trunc_normal_  # type: ignore[assignment]
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        if _TRUNC_NORMAL is not None:
            nn.init._no_grad_trunc_normal_ = _TRUNC_NORMAL

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Note a write, carry out what a read depends on, pass the rest through."""
        kwargs = kwargs or {}
        name = _name(func)
        if name in _NOT_READS:
            return func(*args, **kwargs)
        tensors = list(_tensors((*args, *kwargs.values())))
        if _is_write(name) and len(tensors) == 1 and isinstance(tensors[0], nn.Parameter):
            target = tensors[0]
            notes = self._notes.setdefault(id(target), [])
            if name in _OVERWRITES:
                notes.clear()
            notes.append((func, args, kwargs))
            return target
        self.run(tensors)
        return func(*args, **kwargs)

    def run(self, tensors: Iterable[torch.Tensor]) -> None:
        """Carry out, in order, what was noted for these Parameters."""
        for tensor in tensors:
            notes = self._notes.pop(id(tensor), [])
            with torch._C.DisableTorchFunction(), torch.no_grad():
                for func, args, kwargs in notes:
                    func(*args, **kwargs)


def _tensors(values: Iterable[Any]) -> Iterator[torch.Tensor]:
    """Yield the tensors among the arguments of a call; seldom are they nested."""
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, list | tuple | dict):
            yield from (leaf for leaf in tree_leaves(value) if isinstance(leaf, torch.Tensor))


def _is_write(name: str) -> bool:
    return name.endswith("_") and not name.endswith("__") and name not in _NOT_WRITES


def _name(func: Callable[..., Any]) -> str:
    """Return the name of a function, or of the property whose getter it is."""
    name: str = getattr(func, "__name__", "")
    if name == "__get__":
        name = getattr(getattr(func, "__self__", None), "__name__", name)
    return name
