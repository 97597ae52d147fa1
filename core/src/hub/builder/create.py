"""`create_model`: from a name to a network. Torch is imported when one is built."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from hub import plugins, registry
from hub.builder.weights import resolve_weights
from hub.errors import HubWarning, UnknownModelError, WeightsError
from hub.family import Weights
from hub.hookspecs import BuildRequest
from hub.names import split_source
from hub.plugins.answers import check_network
from hub.pretrained.config import claimed_plugin, read_arguments, read_weights

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from hub.backbone import Backbone
    from hub.backbone.wrappers import FeatureGetterNet, FeatureGraphNet, FeatureHookNet


@overload
def create_model(
    model_name: str,
    pretrained: bool = False,
    pretrained_cfg: Weights | Mapping[str, Any] | str | None = None,
    pretrained_cfg_overlay: Mapping[str, Any] | None = None,
    checkpoint_path: str | Path | None = None,
    cache_dir: str | Path | None = None,
    scriptable: bool | None = None,
    exportable: bool | None = None,
    no_jit: bool | None = None,
    *,
    features_only: Literal[False] = False,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    **kwargs: Any,
) -> Backbone: ...
@overload
def create_model(
    model_name: str,
    pretrained: bool = False,
    *,
    features_only: Literal[True],
    feature_cls: Literal["list"] = "list",
    **kwargs: Any,
) -> Backbone[list[Tensor]]: ...
@overload
def create_model(
    model_name: str,
    pretrained: bool = False,
    *,
    features_only: Literal[True],
    feature_cls: Literal["getter", "dict", "hook", "fx", "graph"],
    **kwargs: Any,
) -> FeatureGetterNet | FeatureHookNet | FeatureGraphNet: ...
@overload
def create_model(
    model_name: str, pretrained: bool = False, *, features_only: bool, **kwargs: Any
) -> nn.Module: ...
def create_model(
    model_name: str,
    pretrained: bool = False,
    pretrained_cfg: Weights | Mapping[str, Any] | str | None = None,
    pretrained_cfg_overlay: Mapping[str, Any] | None = None,
    checkpoint_path: str | Path | None = None,
    cache_dir: str | Path | None = None,
    scriptable: bool | None = None,
    exportable: bool | None = None,
    no_jit: bool | None = None,
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    **kwargs: Any,
) -> nn.Module:
    """Build a network by name.

    Args:
        model_name: `[plugin/]architecture[.tag]`, or `scheme:reference`:
            "resnet50.a1_in1k", "acme/acme_net", "hf_hub:org/name[@revision]", "local-dir:path",
            "file:path", "https://host/model.safetensors#sha256=...".
        pretrained: load weights: those of the tag, by default the first of the architecture.
        pretrained_cfg: another description of weights, or a tag.
        pretrained_cfg_overlay: fields of `Weights` to replace, `dict(file="mine.safetensors")`.
        checkpoint_path: file, or `scheme:reference`, to load after the network was built.
        cache_dir: where downloads are kept.
        scriptable: timm's switch for TorchScript, which hub does not support: warns if true.
        exportable: timm's switch; networks of hub export as they are.
        no_jit: timm's switch; hub has nothing that it would turn off.
        device: where the network is to be.
        dtype: floating-point type of its parameters.
        **kwargs: keywords of the network's constructor (`num_classes`, `in_chans`, `drop_rate`,
            ...) and of `hub.build_model_with_cfg` (`features_only`, `out_indices`, ...). None
            stands for the default.

    Returns:
        The network, in training mode, with the description of its weights as `pretrained_cfg`.
        Its type says `Backbone`, which all official ones are; what others register may be any
        `nn.Module`. With `features_only=True` it is called for a list of maps.

    Raises:
        UnknownModelError: no installed plugin has the name; the message says what to do.
        ModelNameError: a path, or a repository without a scheme, stands in its place.
        AmbiguousModelError: two plugins have it.
        PluginError: its plugin is broken, or a hook or entry point returned what is no network.
        WeightsError: weights cannot be found, read or fitted.
        TypeError: an argument that the network does not have, or of a kind that it cannot be.

    Example:
        >>> import hub
        >>> model = hub.create_model("test_resnet", num_classes=10)
        >>> model.get_classifier()
        Linear(in_features=96, out_features=10, bias=True)
    """
    if scriptable:
        warnings.warn(
            "hub networks are not made for TorchScript; use torch.export or torch.compile",
            HubWarning,
            stacklevel=2,
        )
    _check_kinds(pretrained, pretrained_cfg, pretrained_cfg_overlay)
    kwargs = {k: v for k, v in kwargs.items() if v is not None}
    scheme, reference = split_source(model_name)
    if scheme is not None:
        model_name, found, saved = _from_source(scheme, reference, pretrained, cache_dir)
        pretrained_cfg = found if pretrained_cfg is None else pretrained_cfg
        kwargs = {**saved, **kwargs}
    architecture, tag = registry.find(model_name)
    cfg = tag or None if pretrained_cfg is None else pretrained_cfg
    weights = resolve_weights(architecture, cfg, pretrained_cfg_overlay)
    options = dict(cache_dir=cache_dir, device=device, dtype=dtype)
    request = BuildRequest(
        architecture=architecture.name,
        plugin=architecture.plugin,
        entrypoint=architecture.entrypoint,
        pretrained=pretrained,
        weights=weights if weights.stated else None,
        kwargs=kwargs | {k: v for k, v in options.items() if v is not None},
    )
    model: nn.Module = plugins.host().hook.hub_create_model(request=request)
    if checkpoint_path:
        from hub.pretrained.loading import load_checkpoint

        load_checkpoint(model, checkpoint_path, strict=kwargs.get("pretrained_strict", True))
    return model


def _check_kinds(pretrained: object, cfg: object, overlay: object) -> None:
    """Raise if an argument is of a kind that cannot be meant, as after a slip of position."""
    if not isinstance(pretrained, bool) and pretrained not in (0, 1, None):
        raise TypeError(
            f"pretrained={pretrained!r:.80} is True or False; a file of weights is "
            "checkpoint_path=, a tag stands behind the name: 'resnet50.a1_in1k'"
        )
    if not (cfg is None or isinstance(cfg, (str, Mapping, Weights))):
        raise TypeError(
            f"pretrained_cfg={cfg!r:.80} is a tag, a hub.Weights or a dict of its fields; "
            "arguments of the network are given by name, num_classes=10"
        )
    if not (overlay is None or isinstance(overlay, Mapping)):
        raise TypeError(
            f"pretrained_cfg_overlay={overlay!r:.80} is a dict of fields of hub.Weights"
        )


def _from_source(
    scheme: str, reference: str, pretrained: bool, cache_dir: str | Path | None
) -> tuple[str, Weights, dict[str, Any]]:
    """Return architecture, weights and constructor keywords that a source's config names."""
    from hub.pretrained.sources import fetch_weights, open_source

    what = f"{scheme}:{reference}"
    source = open_source(scheme, reference, cache_dir)
    config = source.config()
    if config is None:
        raise WeightsError(
            f"{what} holds weights without a config.json: name the architecture, "
            f"create_model(NAME, checkpoint_path={what!r})"
        )
    described = read_weights(config, what)
    architecture = config.get("architecture", described.architecture)
    if not isinstance(architecture, str):
        raise WeightsError(f"{what}: its config.json names no architecture")
    plugin = config.get("plugin")
    name = architecture
    if isinstance(plugin, Mapping) and isinstance(plugin.get("name"), str):
        name = f"{plugin['name']}/{architecture}"
    try:
        registry.find(name)
    except UnknownModelError as e:
        raise UnknownModelError(
            f"{what} holds a model that cannot be built here: {e}{claimed_plugin(config)}"
        ) from e
    weights = replace(
        described,
        architecture=architecture,
        source=scheme,
        hf_hub_id=None,
        hf_hub_filename=None,
    )
    if pretrained:
        weights = replace(weights, file=fetch_weights(source, described.hf_hub_filename))
    return name, weights, read_arguments(config, what)


def build(request: BuildRequest) -> nn.Module:
    """Build what a request describes; the last in the line of `hub_create_model`."""
    kwargs = dict(request.kwargs)
    if request.weights is not None:
        kwargs["pretrained_cfg"] = request.weights
    built = request.entrypoint(pretrained=request.pretrained, **kwargs)
    model = check_network(built, f"what builds {request.plugin}/{request.architecture}")
    model._hub_name = f"{request.plugin}/{request.architecture}"  # type: ignore[assignment]
    return model
