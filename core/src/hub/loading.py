"""From a file of tensors to a loaded network: read, convert, adapt, assign.

The file is memory-mapped and its tensors become the network's parameters, so that weights are in
memory once and only the pages that are used are read.
"""

from __future__ import annotations

import argparse
import inspect
import logging
import pickle
import re
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hub.create import open_source
from hub.errors import WeightsError
from hub.family import Weights
from hub.names import split_source
from hub.noinit import DeferredInit

log = logging.getLogger("hub")

StateDict = dict[str, Tensor]

# Where training frameworks put the state dict in a checkpoint; averaged weights first.
_ENVELOPES_EMA = ("state_dict_ema", "ema_state_dict", "model_ema")
_ENVELOPES = ("state_dict", "model_state_dict", "model")
# What DistributedDataParallel and torch.compile put before every name.
_PREFIXES = ("module.", "_orig_mod.")


def load_state_dict(checkpoint_path: str | Path, use_ema: bool = True) -> StateDict:
    """Read a checkpoint: safetensors, a `.pth`/`.bin` that holds nothing but tensors, or `.npz`.

    Args:
        checkpoint_path: the file, or `scheme:reference` of a source ("https://...").
        use_ema: prefer averaged weights where the checkpoint has both.

    Raises:
        WeightsError: no such file, damaged, not safe to load, or without a state dict.
    """
    path = _local_file(checkpoint_path)
    read = {".safetensors": _read_safetensors, ".npz": _read_npz}.get(path.suffix, _read_torch)
    return clean_state_dict(_unwrap(read(path), path, use_ema))


def _local_file(reference: str | Path) -> Path:
    """Return the file that a path or `scheme:reference` means, fetched if need be."""
    path = Path(reference)
    if path.is_file():
        return path
    scheme, rest = split_source(str(reference))
    if scheme is None:
        raise WeightsError(f"there is no file {str(path)!r} to load weights from")
    return open_source(scheme, rest).weights()


def _read_safetensors(path: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as e:
        raise WeightsError(f"{path} is not a readable safetensors file: {e}") from e


def _read_npz(path: Path) -> Any:
    try:
        import numpy as np
    except ImportError as e:
        raise WeightsError(f"{path} can be read only with numpy: pip install numpy") from e
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    except (ValueError, OSError, zipfile.BadZipFile) as e:
        raise WeightsError(f"{path} is not a readable npz file of plain arrays: {e}") from e


def _read_torch(path: Path) -> Any:
    try:
        zipped = zipfile.is_zipfile(path)  # files of the format before torch 1.6 cannot be mapped
        # Training scripts keep their arguments in a Namespace, which is harmless data.
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except pickle.UnpicklingError as e:
        wanted = re.search(r"GLOBAL (\S+)", str(e))
        what = f"needs {wanted[1]} from Python code" if wanted else "holds more than tensors"
        raise WeightsError(
            f"{path} is refused: it is a pickle that {what}, and hub runs no code from files. "
            "Where you trust it, load it with torch and save its state dict as safetensors"
        ) from e
    except (RuntimeError, EOFError, OSError) as e:
        raise WeightsError(f"{path} is damaged or no checkpoint: {e}") from e


def _unwrap(content: Any, path: Path, use_ema: bool) -> StateDict:
    names = (*_ENVELOPES_EMA, *_ENVELOPES) if use_ema else (*_ENVELOPES, *_ENVELOPES_EMA)
    while isinstance(content, Mapping):
        inner = next((content[n] for n in names if isinstance(content.get(n), Mapping)), None)
        if inner is None:
            break
        content = inner
    if not isinstance(content, Mapping) or not all(map(torch.is_tensor, content.values())):
        raise WeightsError(f"{path} holds no state dict (tensors by name)")
    return dict(content)


def clean_state_dict(state_dict: Mapping[str, Tensor]) -> StateDict:
    """Return a state dict without the prefixes of DistributedDataParallel and torch.compile."""

    def clean(name: str) -> str:
        while name.startswith(_PREFIXES):
            name = name.partition(".")[2]
        return name

    return {clean(name): tensor for name, tensor in state_dict.items()}


def find_weights(weights: Weights, cache_dir: str | Path | None = None) -> StateDict:
    """Return the tensors that `weights` describes, from the first source that it names.

    Raises:
        WeightsError: it names none, or the source fails.
    """
    if weights.state_dict is not None:
        return dict(weights.state_dict)
    if weights.file:
        return load_state_dict(weights.file)
    from hub import sources

    if weights.hf_hub_id:
        repository = sources.HubRepository(weights.hf_hub_id, cache_dir=cache_dir)
        return load_state_dict(repository.weights(weights.hf_hub_filename))
    if weights.url:
        return load_state_dict(sources.download(weights.url, cache_dir=cache_dir))
    raise WeightsError(
        f"{weights.architecture}{'.' if weights.tag else ''}{weights.tag or ''} has no weights: "
        f"hub.list_pretrained('{weights.architecture}*') lists those there are; "
        "pretrained_cfg_overlay=dict(file=...) loads your own"
    )


def load_pretrained(
    model: nn.Module,
    weights: Weights,
    *,
    filter_fn: Callable[..., Mapping[str, Tensor]] | None = None,
    strict: bool = True,
    cache_dir: str | Path | None = None,
    ignore: Iterable[str] = (),
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    init: DeferredInit | None = None,
) -> None:
    """Load weights into a network, adapted to its input channels and classes.

    Args:
        model: the network.
        weights: what to load.
        filter_fn: converts the checkpoint, see `hub.build_model_with_cfg`.
        strict: whether every tensor of the network must be in the checkpoint.
        cache_dir: where downloads are kept.
        ignore: names that the checkpoint may have in addition, of parts that were cut off.
        device: where the loaded tensors go; default: where the network's are.
        dtype: floating-point type of the loaded tensors; default: the network's.
        init: initialises what the checkpoint lacks, where construction put that off.

    Raises:
        WeightsError: tensors are missing, unexpected or of another shape; nothing is loaded then.
    """
    with torch.device("cpu"):  # whatever the default device is: files are mapped there
        state = find_weights(weights, cache_dir)
    if filter_fn is not None:
        two = len(inspect.signature(filter_fn).parameters) > 1
        state = dict(filter_fn(state, model) if two else filter_fn(state))
    own = model.state_dict()
    ties = _ties(model)
    for group in ties:  # files may keep one name of several for the same tensor
        held = next((name for name in group if name in state), None)
        if held is not None:
            state.update({name: state[held] for name in group if name not in state})
    fresh = _adapt_classifier(state, own, model, weights)
    _adapt_stem(state, own, weights)
    for name in ignore:
        state.pop(name, None)
    _check_fit(state, own, fresh, strict, weights)
    placed = {
        name: _place(tensor, own[name], device, dtype)
        for name, tensor in state.items()
        if name in own
    }
    model.load_state_dict(placed, strict=False, assign=True)
    for first, *others in ties:
        for other in others:
            owner, _, leaf = other.rpartition(".")
            setattr(model.get_submodule(owner), leaf, model.get_parameter(first))
    _materialise(model, device)


def _place(
    tensor: Tensor, like: Tensor, device: torch.device | str | None, dtype: torch.dtype | None
) -> Tensor:
    """Return a tensor of a file where, and as what, the network wants it."""
    if device is None:
        device = torch.device("cpu") if like.is_meta else like.device
    if dtype is None or not tensor.is_floating_point():
        dtype = like.dtype
    return tensor.to(device=device, dtype=dtype)


def _materialise(model: nn.Module, device: torch.device | str | None) -> None:
    """Compute what a network built on the meta device has and no checkpoint holds."""
    missing = [
        (path, table, name)
        for path, module in model.named_modules()
        for table in ("_parameters", "_buffers")
        for name, tensor in getattr(module, table).items()
        if tensor is not None and tensor.is_meta
    ]
    if not missing or (device is not None and torch.device(device).type == "meta"):
        return
    build = getattr(model, "_built_by", None)
    if build is None:
        names = [f"{path}.{name}".lstrip(".") for path, _, name in missing]
        raise WeightsError(
            f"{_some(names)} on the meta device: not in the weights, and only networks built by "
            "hub can be completed; build it on another device"
        )
    init = DeferredInit()
    with torch.device("cpu"), init:
        twin = build()
    for path, table, name in missing:
        value = getattr(twin.get_submodule(path), table)[name]
        init.run([value])
        getattr(model.get_submodule(path), table)[name] = (
            value if device is None else value.to(device)
        )


def load_checkpoint(
    model: nn.Module, checkpoint_path: str | Path, use_ema: bool = True, strict: bool = True
) -> None:
    """Load a checkpoint file into a network, tensor by tensor of the same name and shape.

    Args:
        model: the network.
        checkpoint_path: the file.
        use_ema: prefer averaged weights where the checkpoint has both.
        strict: whether every tensor of the network must be in the checkpoint.

    Raises:
        WeightsError: as `load_state_dict` and `load_pretrained`.
    """
    state = load_state_dict(checkpoint_path, use_ema)
    classes = getattr(model, "num_classes", 0)  # those of the file: nothing is adapted here
    load_pretrained(
        model,
        Weights(state_dict=state, num_classes=classes),
        filter_fn=getattr(model, "_converter", None),
        strict=strict,
    )


def adapt_input_conv(in_chans: int, conv_weight: Tensor, base_chans: int = 3) -> Tensor:
    """Return a kernel for another number of input channels with the same mean response.

    Args:
        in_chans: channels wanted.
        conv_weight: (out, base_chans, kh, kw) kernel.
        base_chans: channels of the images it was trained on.

    Returns:
        (out, in_chans, kh, kw): the sum over channels for one, else the channels repeated in
        turn and scaled by base_chans / in_chans.
    """
    if in_chans == base_chans:
        return conv_weight
    kernel = conv_weight.float()
    if in_chans == 1:
        kernel = kernel.sum(dim=1, keepdim=True)
    else:
        source = torch.arange(in_chans) % base_chans
        kernel = kernel[:, source] * (base_chans / in_chans)
    return kernel.to(conv_weight.dtype)


def _as_tuple(value: str | tuple[str, ...] | None) -> tuple[str, ...]:
    return () if value is None else (value,) if isinstance(value, str) else tuple(value)


def _adapt_stem(state: StateDict, own: Mapping[str, Tensor], weights: Weights) -> None:
    base = weights.input_size[0]
    for path in _as_tuple(weights.first_conv):
        name = f"{path}.weight"
        if name not in state or name not in own or state[name].shape[1] != base:
            continue
        in_chans = own[name].shape[1]
        if in_chans != base:
            state[name] = adapt_input_conv(in_chans, state[name], base)
            log.info("%s: adapted from %d to %d input channels", name, base, in_chans)


def _adapt_classifier(
    state: StateDict, own: Mapping[str, Tensor], model: nn.Module, weights: Weights
) -> set[str]:
    """Fit the classifier's tensors to the network's classes; return those it must make anew."""
    classes = getattr(model, "num_classes", weights.num_classes)
    paths = weights.classifier or getattr(model, "classifier_path", None)  # of a Backbone
    fresh: set[str] = set()
    for path in _as_tuple(paths):
        for name in (f"{path}.weight", f"{path}.bias"):
            if classes != weights.num_classes or name not in own:
                state.pop(name, None)
                fresh.add(name)
            elif weights.label_offset and name in state:
                state[name] = state[name][weights.label_offset :]
    fresh &= own.keys()
    if fresh:
        log.info(
            "classifier made anew for %d classes: the weights have %d", classes, weights.num_classes
        )
    return fresh


def _check_fit(
    state: StateDict, own: Mapping[str, Tensor], fresh: set[str], strict: bool, weights: Weights
) -> None:
    missing = [n for n in own if n not in state and n not in fresh]
    unexpected = [n for n in state if n not in own]
    shapes = [
        f"{n}: {tuple(state[n].shape)} in the file, {tuple(own[n].shape)} in the network"
        for n in own
        if n in state and state[n].shape != own[n].shape
    ]
    faults = [("of another shape", shapes)]
    if strict:
        faults += [("missing", missing), ("not in the network", unexpected)]
    text = "; ".join(f"{len(names)} {what} ({_some(names)})" for what, names in faults if names)
    if text:
        raise WeightsError(
            f"the weights do not fit {weights.architecture or 'the network'}: {text}"
        )


def _some(names: list[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def _ties(model: nn.Module) -> list[list[str]]:
    """Return the groups of names under which one Parameter is registered more than once."""
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return [group for group in names.values() if len(group) > 1]
