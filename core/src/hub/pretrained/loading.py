"""From a description of weights to a loaded network: find, convert, adapt, and assign them."""

from __future__ import annotations

import contextlib
import inspect
import pickle
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from hub.errors import WeightsError
from hub.family import Weights
from hub.pretrained.adapting import (
    adapt_classifier,
    adapt_stem,
    layers_to_adapt,
    with_names_of,
)
from hub.pretrained.assigning import Assignment, address, own_tensors
from hub.pretrained.checkpoint import (
    StateDict,
    check_device,
    checked,
    default_device,
    read_checkpoint,
)
from hub.pretrained.noinit import DeferredInit

if TYPE_CHECKING:
    from torch.nn.modules.module import _IncompatibleKeys

Filter = Callable[..., Mapping[str, Tensor]]


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
    model: nn.Module,
    checkpoint_path: str | Path,
    use_ema: bool = True,
    device: torch.device | str = "cpu",
    strict: bool = True,
    *,
    filter_fn: Filter | None = None,
) -> _IncompatibleKeys:
    """Load a checkpoint file into a network, tensor by tensor of the same name and shape.

    Args:
        model: the network, or a wrapper around it; its parameters stay the same objects.
        checkpoint_path: the file, or `scheme:reference` of a source.
        use_ema: prefer averaged weights where the checkpoint has both.
        device: where the values go of parameters on the meta device; others stay where they are.
        strict: whether names must fit as torch wants them; else what fits is loaded, and said.
        filter_fn: as for `load_pretrained`.

    Returns:
        As `load_pretrained`.

    Raises:
        TypeError: `device` is none.
        WeightsError: as `load_state_dict` and `load_pretrained`.
    """
    check_device(device)
    model = _unwrapped(model)
    file = checkpoint_path if isinstance(checkpoint_path, str) else str(checkpoint_path)
    described = Weights(  # as the network is: nothing is adapted here
        file=file,
        num_classes=getattr(model, "num_classes", 0),
        input_size=(getattr(model, "in_chans", 3), 224, 224),
    )
    return load_weights(
        model,
        described,
        use_ema=use_ema,
        filter_fn=filter_fn or _converter(model),
        strict=strict,
        device=device,
        ignore=getattr(model, "_cut_off", frozenset()),
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
    use_ema: bool = True,
    cache_dir: str | Path | None = None,
    num_classes: int | None = None,
    in_chans: int | None = None,
    ignore: Collection[str] = (),
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    init: DeferredInit | None = None,
) -> _IncompatibleKeys:
    """Load as `load_pretrained`, also into the frame that a build has just made.

    Args as there and for `hub.build_model_with_cfg`, and:
        ignore: names that the checkpoint may have in addition, of parts that were cut off.
        init: initialises what the checkpoint lacks; what it holds is taken over, not copied.
    """
    own = own_tensors(model)
    stems, classifiers = layers_to_adapt(model, weights)
    if num_classes is None:
        num_classes = getattr(model, "num_classes", weights.num_classes)
    in_chans = getattr(model, "in_chans", in_chans)
    with default_device("cpu"):  # where files are read and converted
        state = _find(weights, cache_dir, use_ema)
        # What is read here is nobody else's; what is handed over in memory is.
        tensors = (t for t in state.values() if torch.is_tensor(t))
        free = set(map(address, tensors)) if weights.state_dict is None else set()
        state = with_names_of(model, state, classifiers)
        if filter_fn is not None:
            state = _converted(state, model, filter_fn, init)
        gone = adapt_classifier(state, own, classifiers, weights, num_classes)
        adapt_stem(state, own, stems, weights.input_size[0], in_chans)
    for name in ignore:
        state.pop(name, None)
    return Assignment(
        model=model,
        own=own,
        state=state,
        free=free,
        gone=gone,
        strict=strict,
        loose=not strict or bool(gone) or bool(ignore),
        what=weights.architecture or "the network",
        device=device,
        dtype=dtype,
        init=init,
    ).run()


def _find(weights: Weights, cache_dir: str | Path | None, use_ema: bool) -> StateDict:
    """Return the tensors that `weights` describes, from the first source that it names."""
    if weights.state_dict is not None:
        return checked(weights.state_dict, "state_dict")
    if weights.file:
        return read_checkpoint(weights.file, use_ema)
    place = f"hf-hub:{weights.hf_hub_id}" if weights.hf_hub_id else weights.url
    if place:
        return read_checkpoint(place, use_ema, cache_dir, weights.hf_hub_filename)
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
