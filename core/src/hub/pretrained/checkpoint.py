"""Read a checkpoint: from a file, told by its content, to tensors by name.

A file that never changes is mapped into memory, which costs nothing until its pages are used. Any
other is read, so that nothing hangs on it afterwards: it may be overwritten, cut short or deleted.
"""

from __future__ import annotations

import argparse
import logging
import mmap
import pickle
import re
import threading
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hub.errors import WeightsError
from hub.names import split_source
from hub.pretrained.contents import HEAD, not_the_file
from hub.pretrained.sources import StableFile, fetch_weights, open_source, read_index

log = logging.getLogger("hub")

StateDict = dict[str, Tensor]

# Where training code puts the state dict in a checkpoint; averaged weights first.
_ENVELOPES_EMA = ("state_dict_ema", "ema_state_dict", "model_ema", "params_ema", "ema", "teacher")
_ENVELOPES = (
    *("state_dict", "model_state_dict", "model", "net", "network", "module", "params", "weights"),
    "student",
)
# What DistributedDataParallel and torch.compile put before every name.
_PREFIXES = ("module.", "_orig_mod.")
_EXTRA_STATE = "_extra_state"  # what modules save beside tensors, as torch names it


def load_state_dict(
    checkpoint_path: str | Path, use_ema: bool = True, device: torch.device | str = "cpu"
) -> StateDict:
    """Read a checkpoint, whatever its name: safetensors, what `torch.save` wrote, or `.npz`.

    Of what `torch.save` wrote, tensors and plain data are read. An index of shards, such as
    `model.safetensors.index.json`, stands for all of them.

    Args:
        checkpoint_path: the file, or `scheme:reference` of a source ("https://...").
        use_ema: prefer averaged weights where the checkpoint has both.
        device: where the tensors go.

    Raises:
        WeightsError: no such file, damaged, not safe to load, or without a state dict.
        TypeError: `device` is none.
    """
    check_device(device)
    state = clean_state_dict(read_checkpoint(checkpoint_path, use_ema))
    for name, value in state.items():
        if torch.is_tensor(value):  # what modules save beside tensors need not be one
            state[name] = value.to(device)
    return state


def check_device(device: object) -> None:
    """Raise TypeError for a number, which torch takes for a GPU: `strict` once stood here."""
    if not isinstance(device, torch.device | str):
        raise TypeError(
            f"device={device!r}: give a torch.device or its name, 'cpu'; strict is given by name"
        )


def read_checkpoint(
    reference: str | Path,
    use_ema: bool = True,
    cache_dir: str | Path | None = None,
    filename: str | None = None,
) -> StateDict:
    """Read a checkpoint as `load_state_dict`, under the names that it has.

    Args:
        reference: the file, or `scheme:reference` of a source.
        use_ema: prefer averaged weights where the checkpoint has both.
        cache_dir: where a source keeps what it fetches.
        filename: of a source that has several; default: the usual names.
    """
    file = _local_file(reference, cache_dir, filename)
    path = Path(file)
    with default_device("cpu"):
        content = _reader(path)(path, isinstance(file, StableFile))
    state = _find_state_dict(content, use_ema)
    if state is None:
        raise WeightsError(
            f"{path} holds no state dict (tensors by name) but {_shown(content)}: save the "
            "network's state_dict(), alone or under 'state_dict'"
        )
    return checked(state, path)


def _local_file(reference: str | Path, cache_dir: str | Path | None, filename: str | None) -> str:
    """Return the file that a path or `scheme:reference` means, fetched if need be."""
    path = Path(reference)
    if path.is_file():
        return reference if isinstance(reference, str) else str(reference)
    scheme, rest = split_source(str(reference))
    if scheme is not None:
        return fetch_weights(open_source(scheme, rest, cache_dir), filename)
    if path.is_dir():
        raise WeightsError(f"{path} is a folder: write local-dir:{path}")
    raise WeightsError(f"there is no file {str(path)!r} to load weights from")


# --- files ---------------------------------------------------------------------------------------


def _reader(path: Path) -> Callable[[Path, bool], Any]:
    """Return what reads a file, by its first bytes."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError as e:
        raise WeightsError(f"{path} cannot be read: {e.strerror or e}") from e
    if reason := not_the_file(head):
        raise WeightsError(f"{path} {reason}")
    if head.startswith(b"PK"):  # a zip archive; the name of its first file stands at 30
        if not zipfile.is_zipfile(path):
            raise WeightsError(f"{path} is damaged: its end is missing. Fetch or save it again")
        first = head[30 : 30 + int.from_bytes(head[26:28], "little")]
        return _read_npz if first.endswith(b".npy") else _read_torch
    if head[8:9] == b"{":  # after the length of the header
        return _read_safetensors
    if head.lstrip().startswith(b"{"):
        return _read_shards
    if head.startswith(b"\x80"):  # a pickle: torch's format before 1.6
        return _read_torch
    raise WeightsError(
        f"{path} is damaged or holds no weights: it begins with {head[:16]!r}, and hub reads "
        "safetensors, what torch.save writes, and .npz"
    )


def _read_safetensors(path: Path, stable: bool) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path, backend="mmap" if stable else "pread")
    except (SafetensorError, OSError) as e:
        raise WeightsError(f"{path} is not a readable safetensors file: {e}") from e


def _read_npz(path: Path, stable: bool) -> Any:
    import numpy as np

    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    except (ValueError, TypeError, OSError, zipfile.BadZipFile) as e:
        raise WeightsError(f"{path} is not a readable npz file of plain arrays: {e}") from e


# torch has one list of what is allowed for all threads: while one reads, others wait.
_reading = threading.Lock()


def _read_torch(path: Path, stable: bool) -> Any:
    # What torch wrote before 1.6 cannot be mapped, and a shared mapping would write to the file.
    # Of paths torch goes by the suffix: what is read is handed over open.
    shared = torch.serialization.get_default_mmap_options() == getattr(mmap, "MAP_SHARED", 0)
    mapped = stable and not shared and path.suffix != ".safetensors" and zipfile.is_zipfile(path)
    try:
        with path.open("rb") as file, _reading:
            source = path if mapped else file
            # Training scripts keep their arguments as argparse.Namespace.
            more = {argparse.Namespace}.difference(torch.serialization.get_safe_globals())
            with torch.serialization.safe_globals(list(more)):
                return torch.load(source, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as e:
        wanted = re.search(r"GLOBAL (\S+)", str(e))
        what = f"needs {wanted[1]} from Python code" if wanted else "holds more than tensors"
        raise WeightsError(
            f"{path} is refused: it is a pickle that {what}, and hub runs no code from files. "
            "Where you trust it, load it with torch and save its state dict as safetensors"
        ) from e
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, IndexError) as e:
        raise WeightsError(f"{path} is damaged or no checkpoint: {e}") from e


def _read_shards(path: Path, stable: bool) -> Any:
    """Read the files that an index names, one after another."""
    places = read_index(path)
    state: dict[str, Any] = {}
    for shard in sorted(set(places.values())):
        file = path.with_name(shard)
        if not file.is_file():
            raise WeightsError(f"{path} names the file {shard}, which is not beside it: fetch it")
        if _reader(file) is _read_shards:
            raise WeightsError(f"{path} names the file {shard}, which is an index itself")
        state |= _find_state_dict(_reader(file)(file, stable), use_ema=True) or {}
    if lost := [name for name in places if name not in state]:
        raise WeightsError(f"{path} names tensors that its files lack: {', '.join(lost[:3])}")
    return state


def default_device(device: torch.device | str) -> AbstractContextManager[object]:
    """Return a context in which tensors are made on `device`; free where they are already."""
    device = torch.device(device)
    return nullcontext() if device == torch.get_default_device() else device


# --- contents ------------------------------------------------------------------------------------


def _find_state_dict(content: Any, use_ema: bool, depth: int = 8) -> Mapping[str, Any] | None:
    """Return the state dict in a checkpoint, from whatever it is wrapped in, or None."""
    if not isinstance(content, Mapping) or not depth:
        return None
    order = (*_ENVELOPES_EMA, *_ENVELOPES) if use_ema else (*_ENVELOPES, *_ENVELOPES_EMA)
    for name in order:
        found = _find_state_dict(content.get(name), use_ema, depth - 1)
        if found is not None:
            return found
    if any(torch.is_tensor(value) for value in content.values()):
        return content if all(isinstance(name, str) for name in content) else None
    inner = [value for value in content.values() if _is_state_dict(value)]
    return inner[0] if len(inner) == 1 else None


def _is_state_dict(value: Any) -> bool:
    return isinstance(value, Mapping) and any(map(torch.is_tensor, value.values()))


def _shown(content: Any) -> str:
    """Describe what a checkpoint holds in place of a state dict."""
    if not isinstance(content, Mapping):
        return f"a {type(content).__name__}"
    entries = [f"{name!r} ({type(value).__name__})" for name, value in content.items()]
    return ", ".join(entries[:8]) + (", ..." if len(entries) > 8 else "") or "nothing"


def checked(state: Mapping[str, Any], where: object) -> StateDict:
    """Return a state dict without what is no tensor; torch's versions of modules are kept.

    Raises:
        WeightsError: a tensor holds no values, or no plain ones.
    """
    kept, data = {}, []
    for name, value in state.items():
        if not torch.is_tensor(value) and not name.endswith(_EXTRA_STATE):
            data.append(name)
            continue
        if torch.is_tensor(value) and (kind := _unusual(value)):
            raise WeightsError(
                f"{where}: {name} is {kind}, and a network takes plain tensors with their values: "
                "save it as one (.to_dense(), .dequantize(), or from the device it was on)"
            )
        kept[name] = value
    if data:
        log.info("%s: left, as they are no tensors: %s", where, ", ".join(data))
    return _with_versions(kept, getattr(state, "_metadata", None))


def _unusual(tensor: Tensor) -> str | None:
    if tensor.is_meta:
        return "on the meta device"
    if tensor.layout is not torch.strided or tensor.is_nested:
        return "sparse" if not tensor.is_nested else "nested"
    if tensor.is_quantized:
        return "quantised"
    plain = type(tensor) is Tensor or isinstance(tensor, nn.Parameter)
    return None if plain else f"a {type(tensor).__name__}"


def clean_state_dict(state_dict: Mapping[str, Tensor]) -> StateDict:
    """Return a state dict without the prefixes of DistributedDataParallel and torch.compile."""

    def clean(name: str) -> str:
        while name.startswith(_PREFIXES):
            name = name.partition(".")[2]
        return name

    return renamed(state_dict, clean)


def renamed(state: Mapping[str, Tensor], rename: Callable[[str], str]) -> StateDict:
    """Return a state dict under other names, with the versions of its modules."""
    versions = getattr(state, "_metadata", None) or {}
    return _with_versions(
        {rename(name): tensor for name, tensor in state.items()},
        {rename(f"{path}.").removesuffix("."): version for path, version in versions.items()},
    )


def _with_versions(state: StateDict, versions: Mapping[str, Any] | None) -> StateDict:
    """Return a state dict as torch makes them, which says of what version each module was."""
    versioned = OrderedDict(state)
    versioned._metadata = versions or None  # type: ignore[attr-defined]
    return versioned
