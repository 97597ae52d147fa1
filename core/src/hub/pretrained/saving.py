"""Save a network so that `create_model("local-dir:...")` builds it again; share it on the Hub.

A saved model is a folder with `config.json`, `model.safetensors` and a card. The layout is that of
the repositories timm publishes, so that timm loads it too where it has the architecture.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hub import plugins, registry
from hub.backbone import Backbone
from hub.errors import HubError, WeightsError
from hub.family import Weights
from hub.pretrained.config import read_arguments, read_weights
from hub.pretrained.describing import differences, same
from hub.pretrained.loading import load_state_dict
from hub.pretrained.noinit import DeferredInit
from hub.pretrained.sources import INDEX_SUFFIX, LocalFolder, read_index

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
        (scratch / CARD).write_text(_card(config), encoding="utf-8")
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


def push_to_hub(
    model: nn.Module | str | Path,
    repo_id: str,
    *,
    token: str | None = None,
    private: bool = False,
    revision: str | None = None,
    commit_message: str = "Add model",
    **options: Any,
) -> str:
    """Save a network into a repository on the Hugging Face Hub, made if it is not there.

    Only configuration, weights and card are uploaded; a card that the repository has is kept.

    Args:
        model: the network, or a folder that `save_pretrained` wrote.
        repo_id: "org/name".
        token: access token; default: the one that `hf auth login` stored, or `HF_TOKEN`.
        private: make a new repository private.
        revision: branch to commit to.
        commit_message: first line of the commit.
        **options: of a network, labels and preprocessing, see `save_pretrained`.

    Returns:
        Address of the commit.

    Raises:
        HubError: as `save_pretrained`, or the Hub refused.
        TypeError: options that are not of a folder.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    with tempfile.TemporaryDirectory() as temporary:
        if isinstance(model, nn.Module):
            save_pretrained(model, temporary, **options)
            model = temporary
        elif options:
            raise TypeError(f"{', '.join(options)}: stated when a folder is saved, not when pushed")
        source = LocalFolder(str(model))
        source.config()
        weights = source.weights()
        shards = read_index(weights).values() if weights.name.endswith(INDEX_SUFFIX) else ()
        files = [weights.name, *sorted(set(shards)), CONFIG, CARD]
        load_state_dict(weights)  # nothing damaged leaves the house
        api = HfApi(token=token, library_name="hub")
        try:
            api.create_repo(repo_id, private=private, exist_ok=True)
            if api.file_exists(repo_id, CARD, revision=revision):
                files.remove(CARD)
            commit = api.upload_folder(
                repo_id=repo_id,
                folder_path=model,
                allow_patterns=files,
                revision=revision,
                commit_message=commit_message,
            )
        except (HfHubHTTPError, HFValidationError, OSError) as e:
            reason = str(e).strip().splitlines()[0]
            raise HubError(
                f"hf-hub:{repo_id} could not be written: {reason}. Check the name, that you may "
                "write there, and your token (`hf auth login` or HF_TOKEN)"
            ) from e
    return str(commit.commit_url)


def model_config(
    model: nn.Module,
    *,
    label_names: Sequence[str] | None = None,
    label_descriptions: Mapping[str, str] | None = None,
    preprocessing: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the content of `config.json` for a network; arguments as for `save_pretrained`.

    Raises:
        HubError: what it says does not build this network.
    """
    weights = _described(model).with_fields(preprocessing or {})
    num_classes = getattr(model, "num_classes", weights.num_classes)
    size = getattr(model, "img_size", None)
    if size and "input_size" not in (preprocessing or {}):
        weights = weights.with_fields({"input_size": [weights.input_size[0], *size]})
    if label_names is None and num_classes == weights.num_classes:
        label_names = weights.label_names
    if label_names and len(label_names) != num_classes:
        raise HubError(f"{len(label_names)} label names for a classifier of {num_classes} classes")
    descriptions = label_descriptions or weights.label_descriptions
    architecture, _ = registry.find(registry.built_name(model) or str(weights.architecture))
    owner = plugins.host().plugins.get(architecture.plugin)
    config = {
        "architecture": architecture.name,
        "num_classes": num_classes,
        "num_features": getattr(model, "num_features", None),
        "global_pool": getattr(model, "pool_name", None),
        "label_names": list(label_names or ()),
        "label_descriptions": dict(descriptions) if label_names and descriptions else None,
        "model_args": {},
        "pretrained_cfg": _fitted(model, weights, num_classes),
    }
    config["model_args"] = _arguments(model, architecture, config)
    if owner is not None:
        config["plugin"] = {
            "name": owner.name,
            "distribution": owner.distribution,
            "version": owner.version,
        }
    return {key: value for key, value in config.items() if value not in (None, [], {})}


def _described(model: nn.Module) -> Weights:
    """Return the description that a network carries; refuse what could not be built from it."""
    described = getattr(model, "pretrained_cfg", None)
    if not isinstance(described, Mapping) or not hasattr(model, "_built_by"):
        inner = [f"model.{path}" for path, m in model.named_modules() if hasattr(m, "_built_by")]
        if inner:
            raise HubError(f"{type(model).__name__} holds a network of hub: save that, {inner[0]}")
        raise HubError(
            f"{type(model).__name__} was not built by hub, so its architecture has no name: build "
            "it with hub.create_model, or register its class with @hub.register_model"
        )
    if isinstance(model, Backbone) and model.is_part:
        raise HubError(
            "this network was cut down (features_only, prune_intermediate_layers), and cannot be "
            "saved alone: save the whole one; create_model(..., features_only=True) cuts it again"
        )
    if getattr(model, "_is_fused", False):
        raise HubError(
            "this network was fused for inference, and its architecture has other parameters: save "
            "the one it was made from, and fuse it again after loading"
        )
    if empty := [name for name, tensor in model.state_dict().items() if tensor.is_meta]:
        raise WeightsError(f"{empty[0]} is on the meta device and has no values to save")
    return Weights.from_dict(described)


def _fitted(model: nn.Module, weights: Weights, num_classes: int) -> dict[str, Any]:
    """Return the fields of the weights as they are for this network's channels and classes."""
    in_chans = getattr(model, "in_chans", weights.input_size[0])
    size = [in_chans, *weights.input_size[1:]]
    fields: dict[str, Any] = {"num_classes": num_classes, "input_size": size}
    for name in ("mean", "std"):  # per channel; where there are others, what they have in common
        values = getattr(weights, name)
        other = len(values) != in_chans
        fields[name] = [sum(values) / len(values)] * in_chans if other else list(values)
    fitted = weights.with_fields(fields)
    skip = {"architecture", "label_names", "label_descriptions"}
    return {k: v for k, v in fitted.to_dict(remove_source=True).items() if k not in skip}


def _arguments(
    model: nn.Module, architecture: registry.Architecture, config: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the constructor keywords that complete a description, as data.

    Raises:
        HubError: a keyword is no data, or what is built then is another network.
    """
    now = _stated(model)
    given: dict[str, Any] = {}
    for _ in range(4):  # one keyword can decide what another is by default
        twin = _rebuilt(architecture, {**config, "model_args": given})
        usual = _stated(twin)
        changed = {k: v for k, v in now.items() if k not in usual or not same(v, usual[k])}
        if not changed:
            break
        given |= {key: _as_data(key, value) for key, value in changed.items()}
    found = list(differences(model, twin))
    if found:
        raise HubError(
            f"config.json cannot describe this {architecture.name}: {'; '.join(found[:3])}"
            f"{f'; and {len(found) - 3} more' if len(found) > 3 else ''}. It describes what "
            "hub.create_model, reset_classifier and set_input_size do: change the network with "
            "these (reset_classifier(2) for a new head), take out what was put into it, or save "
            "its tensors alone: torch.save(model.state_dict(), 'tensors.pth')"
        )
    return given


def _stated(model: nn.Module) -> dict[str, Any]:
    """Return the constructor keywords of a network as they are now."""
    build: functools.partial[nn.Module] = model._built_by  # type: ignore[assignment]
    parameters = inspect.signature(build.func).parameters.values()
    stated = {p.name: p.default for p in parameters if p.default is not p.empty} | build.keywords
    changed = model.present_arguments() if isinstance(model, Backbone) else {}
    return stated | {key: value for key, value in changed.items() if key in stated}


def _rebuilt(architecture: registry.Architecture, config: Mapping[str, Any]) -> nn.Module:
    """Build what a configuration describes, without values."""
    what = "the description of this network"
    config = json.loads(json.dumps(config))
    weights, arguments = read_weights(config, what), read_arguments(config, what)
    try:
        # No value is ever written; on the meta device torch would load its compiler for it.
        with torch.random.fork_rng(devices=[]), torch.device("cpu"), DeferredInit():
            return architecture.entrypoint(pretrained=False, pretrained_cfg=weights, **arguments)
    except Exception as e:
        raise HubError(
            f"{architecture.name} cannot be built again with {config['model_args']}: "
            f"{type(e).__name__}: {e}"
        ) from e


def _as_data(key: str, value: Any) -> Any:
    try:
        json.dumps(value)
    except TypeError:
        raise HubError(
            f"the network was built with {key}={value!r}, which a config.json cannot hold: "
            "build it with a name or plain data instead"
        ) from None
    return value


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


# Licences that the Hub knows by these ids; any other has to be "other" with a name.
_LICENCES = {
    *("apache-2.0", "mit", "bsd-3-clause", "cc-by-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0"),
    *("apple-ascl", "apple-amlr", "gemma", "unknown", "other"),
}

_CARD = """\
---
library_name: hub
tags: [image-classification, hub]{licence}
---
# {architecture}

A {architecture} for hub, saved by `hub.save_pretrained`.

```python
import hub

model = hub.create_model("local-dir:THIS_FOLDER", pretrained=True)  # or hf_hub:ORG/NAME
```

* input: {size}, mean {mean}, std {std}
* classes: {num_classes}{more}
"""


def _card(config: Mapping[str, Any]) -> str:
    """Return a model card with what the configuration knows."""
    cfg, more = config["pretrained_cfg"], ""
    licence = cfg.get("license") or ""
    if licence:
        named = licence not in _LICENCES
        licence = f"\nlicense: other\nlicense_name: {licence}" if named else f"\nlicense: {licence}"
    if labels := config.get("label_names"):
        more += f"\n* labels: {', '.join(labels[:20])}{', ...' if len(labels) > 20 else ''}"
    if plugin := config.get("plugin"):
        more += f"\n* plugin: {plugin['distribution']} {plugin['version']}"
    return _CARD.format(
        licence=licence,
        architecture=config["architecture"],
        size=" x ".join(map(str, cfg["input_size"])),
        mean=tuple(cfg["mean"]),
        std=tuple(cfg["std"]),
        num_classes=config["num_classes"],
        more=more,
    )
