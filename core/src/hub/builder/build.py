"""Build a network from its class, its keywords and the description of its weights."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import nn

from hub.backbone import Backbone
from hub.builder.weights import resolve_weights
from hub.family import Weights
from hub.features import Indices
from hub.pretrained.checkpoint import default_device
from hub.pretrained.loading import Converter, load_weights
from hub.pretrained.noinit import DeferredInit
from hub.suggest import did_you_mean

Network = TypeVar("Network", bound=nn.Module)


def build_model_with_cfg(
    model_cls: Callable[..., Network],
    variant: str,
    pretrained: bool,
    pretrained_cfg: Weights | Mapping[str, Any] | str | None = None,
    pretrained_cfg_overlay: Mapping[str, Any] | None = None,
    *,
    pretrained_strict: bool = True,
    pretrained_filter_fn: Callable[..., Mapping[str, torch.Tensor]] | None = None,
    cache_dir: str | Path | None = None,
    features_only: bool = False,
    out_indices: Indices = None,
    feature_cls: str | Callable[..., nn.Module] | None = None,
    output_fmt: str | None = None,
    norm: bool | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    **kwargs: Any,
) -> Network:
    """Build a network, load its weights, and cut it down to its features if so asked.

    Args:
        model_cls: the network's class.
        variant: architecture name; finds the registered weights.
        pretrained: load weights.
        pretrained_cfg: description of the weights, or a tag; default: the registered one.
        pretrained_cfg_overlay: fields that replace those of the description.
        pretrained_strict: whether every tensor of the network must be in the checkpoint.
        pretrained_filter_fn: `fn(state_dict, model)` or `fn(state_dict)` that converts a
            checkpoint into a state dict of the network.
        cache_dir: where downloads are kept.
        features_only: return the network as a feature extractor, see `Backbone.as_features`.
        out_indices: levels of the feature extractor; default: the network's, usually all.
        feature_cls: form of the feature extractor, by name or class; see
            `hub.backbone.wrappers`; default: "list".
        output_fmt: layout of its maps: "NCHW" (default), "NHWC" or "NLC".
        norm: apply to its maps the norms of the network; default: no.
        device: where the network is to be.
        dtype: floating-point type of its parameters.
        **kwargs: constructor keywords. `num_classes` and `in_chans` default to those of the
            weights, `img_size` too where it is fixed.

    Raises:
        TypeError: a keyword that the constructor does not have, or one of a feature extractor
            without `features_only`.
        WeightsError: the weights cannot be found, read or fitted.
    """
    of_features: dict[str, Any] = dict(
        out_indices=out_indices, feature_cls=feature_cls, output_fmt=output_fmt, norm=norm
    )
    of_features = {key: value for key, value in of_features.items() if value is not None}
    for key, value in of_features.items():
        if not features_only:
            raise TypeError(
                f"{key}={value!r} is of a feature extractor: add features_only=True for maps, or "
                f"leave {key} out for logits"
            )
    weights = resolve_weights(variant, pretrained_cfg, pretrained_cfg_overlay)
    parameters = inspect.signature(model_cls).parameters
    _check_keywords(variant, model_cls, parameters, kwargs)
    kwargs = {k: v for k, v in _defaults(weights).items() if k in parameters} | kwargs
    if not weights.is_declared:
        weights = _described_by(weights, parameters, kwargs)
    device = torch.device(device) if device is not None else torch.get_default_device()
    if pretrained and device.type == "meta":
        device = torch.device("cpu")  # whoever asks for weights wants their values
    # With weights the tensors come from the file: what is built here is only their frame.
    init = DeferredInit()
    with default_device("cpu" if pretrained else device), init:
        model = model_cls(**kwargs)
    model.pretrained_cfg = model.default_cfg = weights.to_dict()  # type: ignore[assignment]
    model._built_by = functools.partial(model_cls, **kwargs)  # type: ignore[assignment]
    model._converter = Converter(pretrained_filter_fn)  # type: ignore[assignment]
    whole = model.state_dict().keys()
    features: nn.Module = model
    if features_only:
        features = _as_features(model, **of_features)
        if model not in features.modules():
            vars(features)["_network"] = model  # checkpoints have its names
    cut_off = frozenset(whole - model.state_dict().keys())
    model._cut_off = cut_off  # type: ignore[assignment]
    if pretrained:
        load_weights(
            model,
            weights,
            filter_fn=pretrained_filter_fn,
            strict=pretrained_strict,
            cache_dir=cache_dir,
            ignore=cut_off,
            device=device,
            dtype=dtype,
            init=init,
        )
    init.run(model.parameters())
    if device.type != "cpu" or dtype is not None:
        features.to(device=device, dtype=dtype)
    return cast("Network", features)  # itself, but for a `feature_cls` that holds it


def _as_features(
    model: nn.Module,
    feature_cls: str | Callable[..., nn.Module] = "list",
    out_indices: Indices = None,
    **options: Any,
) -> nn.Module:
    """Return a network as a feature extractor of the form asked for."""
    from hub.backbone.wrappers import FEATURE_CLASSES

    if isinstance(feature_cls, str):
        if feature_cls not in FEATURE_CLASSES:
            raise ValueError(
                f"feature_cls={feature_cls!r}{did_you_mean(feature_cls, FEATURE_CLASSES)} "
                f"It can be {', '.join(FEATURE_CLASSES)}"
            )
        if feature_cls in ("list", "getter", "dict") and not isinstance(model, Backbone):
            raise TypeError(
                f"features_only needs a hub.Backbone, and {type(model).__name__} is none; with a "
                "feature_info, feature_cls='hook' works"
            )
        feature_cls = FEATURE_CLASSES[feature_cls]
    return feature_cls(model, out_indices=out_indices, **options)


def _defaults(weights: Weights) -> dict[str, Any]:
    """Return the constructor keywords that follow from what is stated about the weights."""
    values: dict[str, Any] = {}
    if "num_classes" in weights.stated:
        values["num_classes"] = weights.num_classes
    if "input_size" in weights.stated:
        values["in_chans"] = weights.input_size[0]
    if weights.fixed_input_size:
        values["img_size"] = weights.input_size[-2:]
    return values


def _described_by(
    weights: Weights, parameters: Mapping[str, inspect.Parameter], kwargs: Mapping[str, Any]
) -> Weights:
    """Return a description with the classes and channels that a constructor is called with."""
    called = {k: p.default for k, p in parameters.items()} | dict(kwargs)
    num_classes, in_chans = called.get("num_classes"), called.get("in_chans")
    overlay: dict[str, Any] = {}
    if isinstance(num_classes, int):
        overlay["num_classes"] = num_classes
    if isinstance(in_chans, int):
        overlay["input_size"] = (in_chans, *weights.input_size[1:])
    return weights.with_fields(overlay)


def _check_keywords(
    variant: str,
    model_cls: Callable[..., nn.Module],
    parameters: Mapping[str, inspect.Parameter],
    kwargs: Mapping[str, Any],
) -> None:
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    for key in kwargs.keys() - parameters.keys():
        raise TypeError(
            f"{variant} ({model_cls.__name__}) has no argument {key!r}"
            f"{did_you_mean(key, parameters)} Its arguments: {', '.join(parameters)}"
        )
