"""From the tensors of a checkpoint to a loaded network: convert, adapt, and let torch load them.

What was read becomes the network's parameters where the network was built for it; one that is in
use keeps its own, and the values are copied. Memory is taken over only where nobody else holds it.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from hub.adapting import (
    adapt_classifier,
    adapt_input_conv,
    adapt_stem,
    as_tuple,
    tied_names,
    with_names_of,
)
from hub.checkpoint import (
    StateDict,
    checked,
    clean_state_dict,
    load_state_dict,
    read_checkpoint,
)
from hub.errors import WeightsError
from hub.family import Weights
from hub.noinit import DeferredInit

if TYPE_CHECKING:
    from torch.nn.modules.module import _IncompatibleKeys

log = logging.getLogger("hub")

__all__ = [
    "adapt_input_conv",
    "clean_state_dict",
    "load_checkpoint",
    "load_pretrained",
    "load_state_dict",
]

Filter = Callable[..., Mapping[str, Tensor]]
_Table = tuple[dict[str, Any], dict[str, Any]]  # parameters or buffers of a module, now and before

# Integers that are codes of something; a network of real numbers has no use for them as they are.
_PACKED = (torch.int8, torch.uint8)
# Counts the steps of a batch norm and enters no output; a frozen one of any class has none.
_COUNTER, _COUNTED = ".num_batches_tracked", ".running_mean"


def load_pretrained(
    model: nn.Module,
    pretrained_cfg: Weights | Mapping[str, Any] | None = None,
    num_classes: int | None = None,
    in_chans: int | None = None,
    filter_fn: Filter | None = None,
    strict: bool = True,
    cache_dir: str | Path | None = None,
) -> _IncompatibleKeys:
    """Load weights into a network, adapted to its input channels and classes.

    Args:
        model: the network; its parameters stay the same objects.
        pretrained_cfg: what to load; default: what the network was built with.
        num_classes: of the network; default: what it says itself. Where the weights have others,
            its classifier is left as it is.
        in_chans: of the network; default: what its first convolution has.
        filter_fn: converts the checkpoint, see `hub.build_model_with_cfg`; default: the family's.
        strict: whether names must fit as torch wants them; else what fits is loaded, and said.
        cache_dir: where downloads are kept.

    Returns:
        What the weights lack and what they have in addition, as torch's `load_state_dict` does.

    Raises:
        WeightsError: tensors are missing, unexpected or of another shape; nothing is loaded then.
        ValueError: `in_chans` is not the network's.
    """
    if pretrained_cfg is None:
        pretrained_cfg = getattr(model, "pretrained_cfg", None) or {}
    if not isinstance(pretrained_cfg, Weights):
        pretrained_cfg = Weights.from_dict(pretrained_cfg)
    own = getattr(model, "in_chans", in_chans)
    if in_chans is not None and own != in_chans:
        raise ValueError(f"in_chans={in_chans}, but the network has {own}: build it for {in_chans}")
    return load_weights(
        model,
        pretrained_cfg,
        num_classes=num_classes,
        in_chans=in_chans,
        filter_fn=filter_fn or _converter(model),
        strict=strict,
        cache_dir=cache_dir,
    )


def load_checkpoint(
    model: nn.Module, checkpoint_path: str | Path, use_ema: bool = True, strict: bool = True
) -> _IncompatibleKeys:
    """Load a checkpoint file into a network, tensor by tensor of the same name and shape.

    Args:
        model: the network, or a wrapper around it; its parameters stay the same objects.
        checkpoint_path: the file, or `scheme:reference` of a source.
        use_ema: prefer averaged weights where the checkpoint has both.
        strict: whether names must fit as torch wants them; else what fits is loaded, and said.

    Returns:
        As `load_pretrained`.

    Raises:
        WeightsError: as `load_state_dict` and `load_pretrained`.
    """
    model = _unwrapped(model)
    _check_values(model)
    classes = getattr(model, "num_classes", 0)  # those of the file: nothing is adapted here
    state = read_checkpoint(checkpoint_path, use_ema)
    return load_weights(
        model,
        Weights(state_dict=state, num_classes=classes),
        filter_fn=_converter(model),
        strict=strict,
        ignore=getattr(model, "_cut_off", ()),
    )


def _unwrapped(model: nn.Module) -> nn.Module:
    """Return the network that hub built within wrappers (compiled, parallel, feature getters)."""
    inner = model
    while not hasattr(inner, "_built_by"):
        if "_network" in vars(inner):  # of a feature extractor that was traced from it
            inner = vars(inner)["_network"]
            continue
        children = list(inner.children())
        if len(children) != 1 or inner._parameters or inner._buffers:
            return model
        inner = children[0]
    return inner


class Converter:
    """A function that converts checkpoints; copies of its network go without where pickle must."""

    def __init__(self, function: Filter | None) -> None:
        self.function = function

    def __deepcopy__(self, memo: dict[int, Any]) -> Converter:
        return self

    def __reduce__(self) -> tuple[type[Converter], tuple[Filter | None]]:
        try:
            pickle.dumps(self.function)
        except Exception:  # whatever the pickling of somebody's object raises
            return Converter, (None,)
        return Converter, (self.function,)


def _converter(model: nn.Module) -> Filter | None:
    converter = getattr(model, "_converter", None)
    return converter.function if isinstance(converter, Converter) else None


# --- one load ------------------------------------------------------------------------------------


def load_weights(
    model: nn.Module,
    weights: Weights,
    *,
    filter_fn: Filter | None = None,
    strict: bool = True,
    cache_dir: str | Path | None = None,
    num_classes: int | None = None,
    in_chans: int | None = None,
    ignore: Iterable[str] = (),
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    init: DeferredInit | None = None,
) -> _IncompatibleKeys:
    """Load as `load_pretrained`, also into the frame that a build has just made.

    Args:
        model: the network.
        weights: what to load.
        filter_fn: converts the checkpoint.
        strict: whether names must fit as torch wants them.
        cache_dir: where downloads are kept.
        num_classes: of the network; default: what it says itself.
        in_chans: of the network, where it does not say.
        ignore: names that the checkpoint may have in addition, of parts that were cut off.
        device: where tensors that are taken over go; default: where the network's are.
        dtype: floating-point type of those; default: the network's.
        init: initialises what the checkpoint lacks; what it holds is taken over, not copied.
    """
    _check_values(model)
    own = {name: t for name, t in model.state_dict().items() if torch.is_tensor(t)}
    with torch.device("cpu"):  # whatever the default device is: files are read there
        state = _find(weights, cache_dir)
    # What we read ourselves is nobody else's.
    free = set() if weights.state_dict is not None else set(map(_address, _tensors(state)))
    paths = as_tuple(weights.classifier or getattr(model, "classifier_path", None))
    state = with_names_of(model, state, paths)
    if filter_fn is not None:
        state = _converted(state, model, filter_fn, init)
    ties = tied_names(model)
    for group in ties:  # files may keep one name of several for the same tensor
        held = next((name for name in group if name in state), None)
        if held is not None:
            state.update({name: state[held] for name in group if name not in state})
    if num_classes is None:
        num_classes = getattr(model, "num_classes", weights.num_classes)
    gone = adapt_classifier(state, own, paths, weights, num_classes)
    in_chans = getattr(model, "in_chans", in_chans)
    adapt_stem(state, own, as_tuple(weights.first_conv), weights.input_size[0], in_chans)
    for name in ignore:
        state.pop(name, None)
    any_float = next((t for t in own.values() if t.is_floating_point()), None)
    for name, tensor in state.items():
        like = own.get(name, any_float)
        if torch.is_tensor(tensor) and like is not None and (init is not None or like.is_meta):
            state[name] = _place(tensor, like, device, dtype, free)
    what = weights.architecture or "the network"
    _check_packed(state, own, what)
    with _all_or_nothing(model) as before:
        keys = _load_as_torch(model, state, own, what, init)
        loose = not strict or bool(gone) or bool(ignore)
        _check_names(keys, state, own, gone, strict=strict, loose=loose, what=what)
        for first, *others in ties:
            for other in others:
                owner, _, leaf = other.rpartition(".")
                model.get_submodule(owner)._parameters[leaf] = model.get_parameter(first)
        _materialise(model, state, device)
    if init is None:
        _copy_back(before)
    return keys


def _find(weights: Weights, cache_dir: str | Path | None) -> StateDict:
    """Return the tensors that `weights` describes, from the first source that it names."""
    if weights.state_dict is not None:
        return checked(weights.state_dict, "state_dict")
    if weights.file:
        return read_checkpoint(weights.file)
    from hub import sources

    if weights.hf_hub_id:
        repository = sources.HubRepository(weights.hf_hub_id, cache_dir=cache_dir)
        return read_checkpoint(sources.fetch_weights(repository, weights.hf_hub_filename))
    if weights.url:
        return read_checkpoint(
            sources.StableFile(sources.download(weights.url, cache_dir=cache_dir))
        )
    name = f"{weights.architecture}{'.' if weights.tag else ''}{weights.tag or ''}"
    raise WeightsError(
        f"{name} has no weights: hub.list_pretrained('{weights.architecture}*') lists those there "
        "are; pretrained_cfg_overlay=dict(file=...) loads your own"
    )


def _converted(
    state: StateDict, model: nn.Module, filter_fn: Filter, init: DeferredInit | None
) -> StateDict:
    """Return what a converter makes of a checkpoint; what it reads of the network is there."""
    two = len(inspect.signature(filter_fn).parameters) > 1
    with init or contextlib.nullcontext():
        result = filter_fn(state, model) if two else filter_fn(state)
    if not isinstance(result, Mapping):
        name = getattr(filter_fn, "__name__", filter_fn)
        raise WeightsError(
            f"the converter {name} returned a {type(result).__name__}: it must return a state dict"
        )
    return checked(result, "the converted state dict")


def _tensors(state: StateDict) -> Iterable[Tensor]:
    return (value for value in state.values() if torch.is_tensor(value))


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _place(
    tensor: Tensor,
    like: Tensor,
    device: torch.device | str | None,
    dtype: torch.dtype | None,
    free: set[int],
) -> Tensor:
    """Return a tensor where, and as what, the network wants it, in memory that is its alone.

    `free`: the memory that nobody holds yet.
    """
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


# --- torch's own loading -------------------------------------------------------------------------


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


def _check_values(model: nn.Module) -> None:
    """Refuse a network of FakeTensorMode: torch would load into it, to no effect."""
    from torch._subclasses.fake_tensor import FakeTensor

    if fake := [name for name, p in model.named_parameters() if isinstance(p, FakeTensor)]:
        raise WeightsError(
            f"{_some(fake)} of the network have no values (FakeTensorMode), so that none can be "
            "loaded: build and load it outside of that context"
        )


def _check_packed(state: StateDict, own: StateDict, what: str) -> None:
    """Refuse integers for a parameter of real numbers: torch would take codes for values."""
    packed = [
        f"{name}: {tensor.dtype}"
        for name, tensor in state.items()
        if name in own and own[name].is_floating_point() and tensor.dtype in _PACKED
    ]
    if packed:
        raise WeightsError(
            f"the weights do not fit {what}: {len(packed)} quantised ({_some(packed)}). Load them "
            "with what quantised them, and save the dequantised state dict"
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
