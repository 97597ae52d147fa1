"""Hand tensors to a network as torch does: by name, and all of them or none.

Memory is taken over only where nobody else holds it, and only by a network that was just built;
one that is in use keeps its parameters, and the values are copied.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from hub.errors import WeightsError
from hub.pretrained.adapting import tied_names
from hub.pretrained.checkpoint import StateDict
from hub.pretrained.noinit import DeferredInit

if TYPE_CHECKING:
    from torch.nn.modules.module import _IncompatibleKeys

log = logging.getLogger("hub")

_Table = tuple[dict[str, Any], dict[str, Any]]  # parameters or buffers of a module, now and before

# Counts the steps of a batch norm and enters no output; a frozen one of any class has none.
_COUNTER, _COUNTED = ".num_batches_tracked", ".running_mean"


def assign(
    model: nn.Module,
    state: StateDict,
    own: StateDict,
    *,
    gone: set[str],
    strict: bool,
    loose: bool,
    what: str,
    device: torch.device | str | None,
    init: DeferredInit | None,
) -> _IncompatibleKeys:
    """Let torch load a state dict; nothing of it stays where it does not fit.

    Args:
        model: the network.
        state: the tensors by name, placed already where they are to be taken over.
        own: those that the network has.
        gone: names that it may miss.
        strict: whether it may miss no other.
        loose: whether the state dict may hold more.
        what: to call the network.
        device: where tensors go that are computed in place of those on the meta device.
        init: initialises a network that was just built, which takes the tensors over.
    """
    ties = tied_names(model)
    for group in ties:  # files may keep one name of several for the same tensor
        held = next((name for name in group if name in state), None)
        if held is not None:
            state.update({name: state[held] for name in group if name not in state})
    with _all_or_nothing(model) as before:
        keys = _load_as_torch(model, state, own, what, init)
        _check_names(keys, state, own, gone, strict=strict, loose=loose, what=what)
        for first, *others in ties:
            for other in others:
                owner, _, leaf = other.rpartition(".")
                model.get_submodule(owner)._parameters[leaf] = model.get_parameter(first)
        _materialise(model, state, device)
    if init is None:
        _copy_back(before)
    return keys


def place(
    state: StateDict,
    own: StateDict,
    free: set[int],
    *,
    device: torch.device | str | None,
    dtype: torch.dtype | None,
    everything: bool,
) -> None:
    """Put the tensors of a state dict where, and as what, the network wants them.

    Args:
        state: the tensors by name; those that the network is to take over are replaced.
        own: those that the network has.
        free: addresses of the memory that nobody holds, which need not be copied.
        device: where they go; default: where the network's are.
        dtype: floating-point type; default: the network's.
        everything: take over all of them, not only what the network has no values of.
    """
    some_float = next((t for t in own.values() if t.is_floating_point()), None)
    for name, tensor in state.items():
        if not torch.is_tensor(tensor):
            continue
        state[name] = tensor.detach()  # torch sets requires_grad of what it is given
        like = own.get(name, some_float)  # another name may be one of old, which a module knows
        if like is not None and (everything or like.is_meta):
            state[name] = _placed(tensor, like, device, dtype, free)


def address(tensor: Tensor) -> int:
    """Return where the memory of a tensor begins."""
    return tensor.untyped_storage().data_ptr()


def _placed(
    tensor: Tensor,
    like: Tensor,
    device: torch.device | str | None,
    dtype: torch.dtype | None,
    free: set[int],
) -> Tensor:
    """Return a tensor where, and as what, the network wants it, in memory that is its alone."""
    if device is None:
        device = torch.device("cpu") if like.is_meta else like.device
    if dtype is None or not tensor.is_floating_point():
        dtype = like.dtype
    storage = tensor.untyped_storage()
    alone = storage.data_ptr() in free and storage.nbytes() == tensor.nbytes
    free.discard(storage.data_ptr())
    return tensor.detach().to(
        device=device,
        dtype=dtype,
        copy=not (alone and tensor.is_contiguous()),
        memory_format=torch.contiguous_format,
    )


@contextlib.contextmanager
def _all_or_nothing(model: nn.Module) -> Iterator[list[_Table]]:
    """Put the tensors of a network back where something goes wrong; hands out what they were."""
    tables: list[dict[str, Any]] = [
        table for module in model.modules() for table in (module._parameters, module._buffers)
    ]
    before = [(table, dict(table)) for table in tables]
    try:
        yield before
    except BaseException:
        for table, tensors in before:
            table.clear()
            table.update(tensors)
        raise


def _copy_back(before: list[_Table]) -> None:
    """Copy what was loaded into the tensors that the network had, which others may hold."""
    pairs = []
    for table, tensors in before:
        for name, tensor in tensors.items():
            loaded = table.get(name)
            if tensor is None or loaded is None or loaded is tensor or tensor.is_meta:
                continue
            if not is_lazy(tensor) and loaded.shape == tensor.shape:  # modules may change it
                pairs.append((tensor, loaded))
                table[name] = tensor
    with torch.no_grad():
        for tensor, loaded in pairs:
            tensor.copy_(loaded)


def _load_as_torch(
    model: nn.Module,
    state: StateDict,
    own: StateDict,
    what: str,
    init: DeferredInit | None,
) -> _IncompatibleKeys:
    """Let torch and the modules load the tensors; what is of another shape is an error."""
    if init is not None:  # a module that loads in its own way may write into what it has
        init.run(
            p for m in model.modules() if _loads_itself(m) for p in m.parameters(recurse=False)
        )
    try:
        keys: _IncompatibleKeys = model.load_state_dict(state, strict=False, assign=True)
        return keys
    except RuntimeError as e:
        shapes = [
            f"{n}: {tuple(t.shape)} in the file, {tuple(own[n].shape)} in the network"
            for n, t in state.items()
            if n in own and t.shape != own[n].shape
        ]
        if not shapes:
            raise WeightsError(f"the weights do not fit {what}: {e}") from e
        faults = {
            "of another shape": shapes,
            "missing": [n for n in own if n not in state and not n.endswith(_COUNTER)],
            "not in the network": [n for n in state if n not in own and not n.endswith(_COUNTER)],
        }
        raise WeightsError(f"the weights do not fit {what}: {_counted(faults)}") from e


def _loads_itself(module: nn.Module) -> bool:
    method = type(module)._load_from_state_dict
    return bool(module._load_state_dict_pre_hooks) or not method.__module__.startswith("torch.")


def _check_names(
    keys: _IncompatibleKeys,
    state: StateDict,
    own: StateDict,
    gone: set[str],
    *,
    strict: bool,
    loose: bool,
    what: str,
) -> None:
    """Refuse what does not fit, say what is left; `loose`: the file may hold more."""
    missing = [name for name in keys.missing_keys if name not in gone]
    unexpected = {
        name: None
        for name in keys.unexpected_keys
        if not (name.endswith(_COUNTER) and name.removesuffix(_COUNTER) + _COUNTED in own)
    }
    text = _counted(
        {
            "missing": missing if strict else [],
            "not in the network": [] if loose else list(unexpected),
        }
    )
    if text:
        raise WeightsError(
            f"the weights do not fit {what}: {text}. What fits is loaded, and the rest named, with "
            "pretrained_strict=False (strict=False of load_checkpoint)"
        )
    loaded = [n for n in state if n not in unexpected and not n.endswith(_COUNTER)]
    if missing and not loaded:
        raise WeightsError(
            f"none of the weights is one of {what}: they are {_some(list(state))}, and it has "
            f"{_some(list(own))}"
        )
    left = [f"left as they were: {_some(missing, 20)}"] if missing else []
    if unexpected:
        left.append(f"not in the network: {_some(list(unexpected), 20)}")
    if left:
        level = logging.WARNING if missing else logging.INFO
        log.log(level, "%d tensors of the weights are loaded; %s", len(loaded), "; ".join(left))


def check_values(model: nn.Module) -> None:
    """Refuse a network of FakeTensorMode: torch would load into it, to no effect."""
    from torch._subclasses.fake_tensor import FakeTensor

    if fake := [name for name, p in model.named_parameters() if isinstance(p, FakeTensor)]:
        raise WeightsError(
            f"{_some(fake)} of the network have no values (FakeTensorMode), so that none can be "
            "loaded: build and load it outside of that context"
        )


def check_real(state: StateDict, own: StateDict, what: str) -> None:
    """Refuse integers and complex numbers for real ones: codes are no values, nor are halves."""
    others = [
        f"{name}: {tensor.dtype}"
        for name, tensor in state.items()
        if torch.is_tensor(tensor) and not tensor.is_floating_point()
        if name in own and own[name].is_floating_point()
    ]
    if others:
        raise WeightsError(
            f"the weights do not fit {what}: {len(others)} are no real numbers ({_some(others)}). "
            "Quantised ones are loaded with what quantised them: save the dequantised state dict"
        )


def _materialise(model: nn.Module, state: StateDict, device: torch.device | str | None) -> None:
    """Give values to what is on the meta device: those of the checkpoint, or else computed.

    The first is so where a context around, of accelerate say, empties all that is registered.
    """
    missing: list[tuple[str, str, str]] = []
    for path, module in model.named_modules():
        for kind in ("_parameters", "_buffers"):
            for name, tensor in getattr(module, kind).items():
                if tensor is None or not tensor.is_meta:
                    continue
                value = state.get(f"{path}.{name}".lstrip("."))
                if value is None:
                    missing.append((path, kind, name))
                elif kind == "_parameters":
                    module._parameters[name] = nn.Parameter(value, tensor.requires_grad)
                else:
                    module._buffers[name] = value
    if missing:
        _compute(model, missing, device)


def _compute(
    model: nn.Module, missing: list[tuple[str, str, str]], device: torch.device | str | None
) -> None:
    names = _some([f"{path}.{name}".lstrip(".") for path, _, name in missing])
    build = getattr(model, "_built_by", None)
    if build is None:
        raise WeightsError(
            f"{names} on the meta device: not in the weights, and only networks built by hub can "
            "be completed; build it on another device"
        )
    init = DeferredInit()
    with torch.device("cpu"), init:
        twin = build()
    for path, kind, name in missing:
        value = getattr(twin.get_submodule(path), kind)[name]
        if value.is_meta:
            raise WeightsError(
                f"{names}: not in the weights, and not to be computed here, where a context (such "
                "as init_empty_weights) keeps tensors without values: load outside of it"
            )
        init.run([value])
        getattr(model.get_submodule(path), kind)[name] = (
            value if device is None else value.to(device)
        )


def _counted(faults: Mapping[str, list[str]]) -> str:
    return "; ".join(f"{len(n)} {what} ({_some(n)})" for what, n in faults.items() if n)


def _some(names: list[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
