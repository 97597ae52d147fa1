"""Save a network so that `create_model("local-dir:...")` builds it again.

A saved model is a folder with `config.json`, `model.safetensors` and a card. The layout is that of
the repositories timm publishes, so that timm loads it too where it has the architecture.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from hub_publish.card import card
from hub_publish.config import model_config

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"


def save_pretrained(
    model: nn.Module,
    folder: str | Path,
    *,
    label_names: Sequence[str] | None = None,
    label_descriptions: Mapping[str, str] | None = None,
    preprocessing: Mapping[str, Any] | None = None,
) -> None:
    """Save a network that hub built: configuration, weights, labels, preprocessing, a card.

    What is written builds the network as it is now: with the pool, the classes and the sizes that
    it was given since, its norms frozen where all are. Before anything is written, hub builds the
    network from its description and compares.

    Each file takes its name only when it is whole, the weights first, so a folder that was
    interrupted is completed by the same call. Processes that save to one folder take turns.

    Args:
        model: the network.
        folder: made if it is not there.
        label_names: names of the classes, in order; default: those of its weights.
        label_descriptions: class name to description.
        preprocessing: fields of `hub.Weights` in which its images differ from those of the
            weights it began with: `dict(mean=..., input_size=...)`.

    Raises:
        HubError: the network was not built by hub, is only part of one, has arguments that are no
            data or something that no argument describes (a layer replaced by hand, adapters,
            quantised weights, hooks), or the number of labels is not that of its classes.
    """
    model = getattr(model, "_orig_mod", model)  # of torch.compile
    config = model_config(
        model,
        label_names=label_names,
        label_descriptions=label_descriptions,
        preprocessing=preprocessing,
    )
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with _scratch(folder) as scratch:
        text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
        (scratch / CONFIG).write_text(text, encoding="utf-8")
        (scratch / CARD).write_text(card(config), encoding="utf-8")
        _write_weights(model, scratch / WEIGHTS)
        shutil.copymode(scratch / CONFIG, scratch / WEIGHTS)  # not for the owner alone
        for name in (WEIGHTS, CONFIG, CARD):
            if name != CARD or not (folder / CARD).exists():  # a card is written by people
                os.replace(scratch / name, folder / name)


@contextlib.contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """Make a folder inside another while no other process does; remove it in the end."""
    scratch = folder / ".saving"
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(ImportError, OSError):  # a system or a file system without locks
            import fcntl

            handle = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, handle)
            fcntl.flock(handle, fcntl.LOCK_EX)
        shutil.rmtree(scratch, ignore_errors=True)  # of a save that was killed
        scratch.mkdir()
        stack.callback(shutil.rmtree, scratch, ignore_errors=True)
        yield scratch


def _write_weights(model: nn.Module, path: Path) -> None:
    """Write the tensors of a network; of one that has several names the first."""
    from safetensors.torch import save_file

    tensors = model.state_dict(keep_vars=True)
    first = {id(tensor): name for name, tensor in reversed(tensors.items())}
    held: set[int] = set()
    plain: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if first[id(tensor)] != name:
            continue
        copy = tensor.detach().cpu().contiguous()
        memory = copy.untyped_storage().data_ptr()
        plain[name] = copy.clone() if memory in held else copy  # safetensors takes no views
        held.add(memory)
    save_file(plain, path, metadata={"format": "pt"})
