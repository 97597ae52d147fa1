"""What a network differs in from another: how it is told whether a description is true."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from hub.pretrained.adapting import tied_names
from torch import Tensor, nn

# Of a run, not of a network: they change no output, or are stated elsewhere.
_OF_A_RUN = {
    *("training", "grad_checkpointing", "fused_attn", "inplace"),
    *("pretrained_cfg", "default_cfg"),
}
_HOOKS = (
    *("_forward_hooks", "_forward_pre_hooks"),
    *("_state_dict_hooks", "_state_dict_pre_hooks", "_load_state_dict_pre_hooks"),
)


def differences(model: nn.Module, twin: nn.Module) -> Iterator[str]:
    """Yield in words what a network has, and another does not: modules, options, tensors.

    Args:
        model: the network.
        twin: what is built from its description, on any device.
    """
    found, wanted = dict(model.named_modules()), dict(twin.named_modules())
    if [*found] != [*wanted]:
        names = [n for n in (*found, *wanted) if (n in found) != (n in wanted)]
        yield f"it has other modules: {', '.join(names[:3]) or 'in another order'}"
        return
    for path, module in found.items():
        where = path or "the network"
        if _kind(module) != _kind(wanted[path]) and not _is_synchronised(module, wanted[path]):
            yield f"{where} is a {type(module).__name__}, not a {type(wanted[path]).__name__}"
        elif any(len(getattr(module, h)) > len(getattr(wanted[path], h)) for h in _HOOKS):
            yield f"something is hooked to {where}: remove the hook"
        elif methods := _methods_of_its_own(module) - _methods_of_its_own(wanted[path]):
            yield f"{where} has another {', '.join(sorted(methods))} than its class"
        else:
            for what in (*_options(module, wanted[path]), *_tensors(module, wanted[path])):
                yield f"{path}.{what}".lstrip(".")
    if tied_names(model) != tied_names(twin):
        yield "other parameters are shared"


def _kind(module: nn.Module) -> tuple[str, str]:
    return type(module).__module__, type(module).__qualname__  # a class may be defined once more


def _methods_of_its_own(module: nn.Module) -> set[str]:
    """Return what was set on a module in place of a method; `train` is what `hub.freeze` sets."""
    return {n for n in vars(module) if callable(getattr(type(module), n, None))} - {"train"}


def _is_synchronised(module: nn.Module, twin: nn.Module) -> bool:
    """Return whether a norm differs only in that processes share its statistics."""
    norm = nn.modules.batchnorm._BatchNorm
    return isinstance(module, nn.SyncBatchNorm) and isinstance(twin, norm)


def _options(module: nn.Module, twin: nn.Module) -> Iterator[str]:
    for name, wanted in vars(twin).items():
        if name.startswith("_") or name in _OF_A_RUN:
            continue
        found = getattr(module, name, None)
        if not same(found, wanted):
            yield f"{name} is {found!r}, not {wanted!r}"


def _tensors(module: nn.Module, twin: nn.Module) -> Iterator[str]:
    for table in ("_parameters", "_buffers"):
        found, wanted = getattr(module, table), getattr(twin, table)
        for name in dict.fromkeys((*found, *wanted)):
            a, b = found.get(name), wanted.get(name)
            if not (a is None and b is None) and not _fits(a, b):
                yield f"{name} is {_words(a)}, not {_words(b)}"


def _fits(a: Tensor | None, b: Tensor | None) -> bool:
    """Return whether a plain tensor takes the place of another without loss."""
    if a is None or b is None or type(a) not in (Tensor, nn.Parameter):
        return False
    real = a.is_floating_point() and b.is_floating_point() and a.itemsize <= b.itemsize
    return a.shape == b.shape and a.layout == b.layout and (real or a.dtype == b.dtype)


def _words(x: Tensor | None) -> str:
    if x is None:
        return "absent"
    kind = "" if type(x) in (Tensor, nn.Parameter) else f"{type(x).__name__} "
    return f"{kind}{tuple(x.shape)} {str(x.dtype).removeprefix('torch.')}"


def same(a: Any, b: Any) -> bool:
    """Return whether two options are equal; what is neither data nor code is, if of one type."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, functools.partial) and isinstance(b, functools.partial):
        return same((a.func, a.args, a.keywords), (b.func, b.args, b.keywords))
    if callable(a) and callable(b):
        return _name(a) == _name(b)
    plain = int | float | str | torch.dtype | None
    if isinstance(a, plain) and isinstance(b, plain):
        return bool(a == b)
    return type(a) is type(b) or (isinstance(a, Tensor) and b is None)  # kept from a run


def _name(function: Callable[..., Any]) -> tuple[str, str]:
    named: Any = function if hasattr(function, "__qualname__") else type(function)
    return named.__module__, named.__qualname__
