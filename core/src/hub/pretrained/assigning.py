"""Hand tensors to a network as torch does: by name, and all of them or none.

Memory is taken over only where nobody else holds it, and only by a network that was just built;
one that is in use keeps its parameters, and the values are copied.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import _IncompatibleKeys
from torch.nn.parameter import is_lazy

from hub.errors import WeightsError
from hub.pretrained.adapting import tied_names
from hub.pretrained.checkpoint import StateDict
from hub.pretrained.noinit import DeferredInit

log = logging.getLogger("hub")

# Counts the steps of a batch norm and enters no output; a frozen one of any class has none.
_COUNTER, _COUNTED = ".num_batches_tracked", ".running_mean"


def own_tensors(model: nn.Module) -> StateDict:
    """Return the tensors of a network by name.

    Raises:
        WeightsError: it is one of FakeTensorMode: torch would load into it, to no effect.
    """
    from torch._subclasses.fake_tensor import FakeTensor

    if fake := [name for name, p in model.named_parameters() if isinstance(p, FakeTensor)]:
        raise WeightsError(
            f"{_some(fake)} of the network have no values (FakeTensorMode), so that none can be "
            "loaded: build and load it outside of that context"
        )
    return {name: t for name, t in model.state_dict().items() if torch.is_tensor(t)}


def address(tensor: Tensor) -> int:
    """Return where the memory of a tensor begins."""
    return tensor.untyped_storage().data_ptr()


@dataclass(kw_only=True)
class Assignment:
    """Tensors on their way into a network.

    Args:
        model: the network.
        own: its tensors by name.
        state: what it is to have.
        free: addresses of memory that nobody else holds.
        gone: names that may be missing.
        strict: whether no other may be.
        loose: whether there may be more.
        what: to call the network.
        device: where they go; default: where those of the network are, or from meta the CPU.
        dtype: what floating-point ones become; default: what those of the network are.
        init: initialises a network that was just built, which takes the tensors over.
    """

    model: nn.Module
    own: StateDict
    state: StateDict
    free: set[int]
    gone: Collection[str]
    strict: bool
    loose: bool
    what: str
    device: torch.device | str | None
    dtype: torch.dtype | None
    init: DeferredInit | None

    def run(self) -> _IncompatibleKeys:
        """Let torch load them; nothing stays of what does not fit.

        Raises:
            WeightsError: something does not.
        """
        self._check_real()
        self._place()
        ties = tied_names(self.model)
        for group in ties:  # files may keep one name of several for the same tensor
            held = next((name for name in group if name in self.state), None)
            if held is not None:
                self.state.update({n: self.state[held] for n in group if n not in self.state})
        with _all_or_nothing(self.model, keep=self.init is None):
            keys = self._load()
            for first, *others in ties:
                for other in others:
                    owner, _, leaf = other.rpartition(".")
                    table = self.model.get_submodule(owner)._parameters
                    table[leaf] = self.model.get_parameter(first)
            self._materialise()
        return keys

    def _check_real(self) -> None:
        """Refuse integers and complex numbers for real ones: codes are no values, nor halves."""
        others = [
            f"{name}: {self.state[name].dtype}"
            for name, own in self.own.items()
            if name in self.state
            if own.is_floating_point() and not self.state[name].is_floating_point()
        ]
        if others:
            raise WeightsError(
                f"the weights do not fit {self.what}: {len(others)} are no real numbers "
                f"({_some(others)}). Quantised ones are loaded with what quantised them: save the "
                "dequantised state dict"
            )

    def _place(self) -> None:
        """Put them where, and into the type that, the network wants, in memory of its alone."""
        some_float = next((t for t in self.own.values() if t.is_floating_point()), None)
        for name, tensor in self.state.items():
            like = self.own.get(name, some_float)  # a module may know another name, one of old
            if like is None or not torch.is_tensor(tensor):
                continue
            alone = address(tensor) in self.free
            alone = alone and tensor.untyped_storage().nbytes() == tensor.nbytes
            self.free.discard(address(tensor))
            real = self.dtype is not None and tensor.is_floating_point()
            # Detached, as torch sets requires_grad of what it is given.
            self.state[name] = tensor.detach().to(
                device=self.device or (torch.device("cpu") if like.is_meta else like.device),
                dtype=self.dtype if real else like.dtype,
                copy=not (alone and tensor.is_contiguous()),
                memory_format=torch.contiguous_format,
            )

    def _load(self) -> _IncompatibleKeys:
        if self.init is not None:  # a module that loads in its own way may write into what it has
            own_ways = filter(_loads_itself, self.model.modules())
            self.init.run(p for module in own_ways for p in module.parameters(recurse=False))
        shapes: list[str] = []
        try:
            keys = self.model.load_state_dict(self.state, strict=False, assign=True)
        except RuntimeError as e:
            shapes = [
                f"{n}: {tuple(t.shape)} in the file, {tuple(self.own[n].shape)} in the network"
                for n, t in self.state.items()
                if n in self.own and t.shape != self.own[n].shape
            ]
            if not shapes:
                raise WeightsError(f"the weights do not fit {self.what}: {e}") from e
            lost = [n for n in self.own if n not in self.state and not n.endswith(_COUNTER)]
            keys = _IncompatibleKeys(lost, [n for n in self.state if n not in self.own])
        self._check_fit(
            shapes,
            [name for name in keys.missing_keys if name not in self.gone],
            [name for name in keys.unexpected_keys if not self._is_spare(name)],
        )
        return keys  # type: ignore[no-any-return]

    def _is_spare(self, name: str) -> bool:
        """Return whether it is the counter of a norm that goes without, being frozen."""
        return name.endswith(_COUNTER) and name.removesuffix(_COUNTER) + _COUNTED in self.own

    def _check_fit(self, shapes: list[str], missing: list[str], unexpected: list[str]) -> None:
        """Refuse what does not fit, and say what is left."""
        faults = {
            "of another shape": shapes,
            "missing": missing if self.strict else [],
            "not in the network": [] if self.loose else unexpected,
        }
        if any(faults.values()):
            text = "; ".join(f"{len(n)} {kind} ({_some(n)})" for kind, n in faults.items() if n)
            if not shapes:
                text += (
                    ". What fits is loaded, and the rest named, with pretrained_strict=False "
                    "(strict=False of load_checkpoint)"
                )
            raise WeightsError(f"the weights do not fit {self.what}: {text}")
        extra = {*unexpected}
        loaded = [n for n in self.state if n not in extra and not n.endswith(_COUNTER)]
        if missing and not loaded:
            raise WeightsError(
                f"none of the weights is one of {self.what}: they are {_some(list(self.state))}, "
                f"and it has {_some(list(self.own))}"
            )
        left = {"left as they were": missing, "not in the network": unexpected}
        if said := [f"{how}: {_some(names, 20)}" for how, names in left.items() if names]:
            level = logging.WARNING if missing else logging.INFO
            log.log(level, "%d tensors of the weights are loaded; %s", len(loaded), "; ".join(said))

    def _materialise(self) -> None:
        """Give values to what is on the meta device: those of the checkpoint, or else computed.

        The first is so where a context around, of accelerate say, empties all that is registered.
        """
        empty: dict[str, dict[str, Any]] = {
            f"{path}.{name}".lstrip("."): table
            for path, module in self.model.named_modules()
            for table in (module._parameters, module._buffers)
            for name, tensor in table.items()
            if tensor is not None and tensor.is_meta
        }
        computed = self._computed([name for name in empty if name not in self.state])
        for name, table in empty.items():
            leaf = name.rpartition(".")[2]
            value = computed[name] if name in computed else self.state[name]
            if isinstance(table[leaf], nn.Parameter):
                value = nn.Parameter(value, table[leaf].requires_grad)
            table[leaf] = value

    def _computed(self, names: list[str]) -> Mapping[str, Tensor]:
        """Return what a network that hub built has under these names when it is built."""
        if not names:
            return {}
        build = getattr(self.model, "_built_by", None)
        if build is None:
            raise WeightsError(
                f"{_some(names)} on the meta device: not in the weights, and only networks built "
                "by hub can be completed; build it on another device"
            )
        init = DeferredInit()
        with torch.device("cpu"), init:
            twin = build()
        tensors = dict(twin.named_parameters()) | dict(twin.named_buffers())
        if any(tensors[name].is_meta for name in names):
            raise WeightsError(
                f"{_some(names)}: not in the weights, and not to be computed here, where a context "
                "(such as init_empty_weights) keeps tensors without values: load outside of it"
            )
        init.run(tensors[name] for name in names)
        return {name: tensors[name].detach().to(self.device or "cpu") for name in names}


@contextlib.contextmanager
def _all_or_nothing(model: nn.Module, keep: bool) -> Iterator[None]:
    """Put the tensors of a network back where something goes wrong.

    Args:
        model: the network.
        keep: also where nothing does, with the values that were loaded: others may hold them.
    """
    tables: list[dict[str, Any]] = [
        table for module in model.modules() for table in (module._parameters, module._buffers)
    ]
    before = [(table, dict(table)) for table in tables]
    try:
        yield
    except BaseException:
        for table, tensors in before:
            table.clear()
            table.update(tensors)
        raise
    with torch.no_grad():
        for table, tensors in before if keep else ():
            for name, tensor in tensors.items():
                loaded = table.get(name)
                if tensor is None or loaded is None or tensor.is_meta or is_lazy(tensor):
                    continue
                if loaded is not tensor and loaded.shape == tensor.shape:  # a module may change it
                    table[name] = tensor.copy_(loaded)


def _loads_itself(module: nn.Module) -> bool:
    method = type(module)._load_from_state_dict
    return bool(module._load_state_dict_pre_hooks) or not method.__module__.startswith("torch.")


def _some(names: list[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
