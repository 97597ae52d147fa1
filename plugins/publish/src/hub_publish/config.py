"""What `config.json` says of a network: enough to build it again, or it is not saved."""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from hub import Backbone, HubError, Weights, WeightsError, plugins, registry
from hub.pretrained.config import read_arguments, read_weights
from hub.pretrained.noinit import DeferredInit
from torch import nn

from hub_publish.differences import differences, same


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
    architecture, _ = registry.find(getattr(model, "_hub_name", None) or str(weights.architecture))
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
