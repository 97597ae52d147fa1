"""hub: a hub of vision backbones for PyTorch, made of plugins.

    import hub

    hub.list_models("resnet*", pretrained=True)
    model = hub.create_model("resnet50.a1_in1k", pretrained=True)

Importing hub, and everything that only looks things up, loads no torch.
"""

from __future__ import annotations

import importlib
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from hub.compat import DefaultCfg, generate_default_cfgs
from hub.create import create_model
from hub.errors import (
    AmbiguousModelError,
    HubDeprecationWarning,
    HubError,
    HubWarning,
    MissingPluginError,
    ModelNameError,
    PluginError,
    UnknownModelError,
    WeightsError,
)
from hub.family import Family, Weights
from hub.hookspecs import BuildRequest, Command, Source, hookimpl, hookspec
from hub.names import get_arch_name, safe_model_name, split_model_name_tag
from hub.registry import (
    get_arch_pretrained_cfgs,
    get_deprecated_models,
    get_pretrained_cfg,
    get_pretrained_cfg_value,
    is_model,
    is_model_in_modules,
    is_model_pretrained,
    list_models,
    list_modules,
    list_pretrained,
    model_entrypoint,
    parse_model_name,
    refresh,
    register_model,
)

if TYPE_CHECKING:
    from hub_data.preprocessing import preprocessing as preprocessing  # and all of known.json
    from hub_inference.errors import OptimizationError as OptimizationError
    from hub_inference.fusing import fuse as fuse
    from hub_inference.optimizing import optimize as optimize
    from hub_inference.reparameterizing import reparameterize_model as reparameterize_model

    from hub.backbone import Backbone, BlockSequence, Head, freeze, group_parameters, unfreeze
    from hub.backbone.wrappers import (
        FeatureDictNet,
        FeatureGetterNet,
        FeatureGraphNet,
        FeatureHookNet,
        FeatureListNet,
    )
    from hub.builder import build_model_with_cfg, resolve_pretrained_cfg
    from hub.features import FeatureInfo
    from hub.loading import (
        adapt_input_conv,
        clean_state_dict,
        load_checkpoint,
        load_pretrained,
        load_state_dict,
    )
    from hub.saving import push_to_hub, save_pretrained

    __version__: str

#: timm's name of `Weights`.
PretrainedCfg = Weights

# What needs torch, by module; imported when first asked for.
_LAZY = {
    "Backbone": "backbone",
    "BlockSequence": "backbone",
    "FeatureDictNet": "backbone.wrappers",
    "FeatureGetterNet": "backbone.wrappers",
    "FeatureGraphNet": "backbone.wrappers",
    "FeatureHookNet": "backbone.wrappers",
    "FeatureInfo": "features",
    "FeatureListNet": "backbone.wrappers",
    "Head": "backbone",
    "adapt_input_conv": "loading",
    "build_model_with_cfg": "builder",
    "clean_state_dict": "loading",
    "freeze": "backbone",
    "group_parameters": "backbone",
    "load_checkpoint": "loading",
    "load_pretrained": "loading",
    "load_state_dict": "loading",
    "push_to_hub": "saving",
    "resolve_pretrained_cfg": "builder",
    "save_pretrained": "saving",
    "unfreeze": "backbone",
}

__all__ = [
    "AmbiguousModelError",
    "Backbone",
    "BlockSequence",
    "BuildRequest",
    "Command",
    "DefaultCfg",
    "Family",
    "FeatureDictNet",
    "FeatureGetterNet",
    "FeatureGraphNet",
    "FeatureHookNet",
    "FeatureInfo",
    "FeatureListNet",
    "Head",
    "HubDeprecationWarning",
    "HubError",
    "HubWarning",
    "MissingPluginError",
    "ModelNameError",
    "PluginError",
    "PretrainedCfg",
    "Source",
    "UnknownModelError",
    "Weights",
    "WeightsError",
    "adapt_input_conv",
    "build_model_with_cfg",
    "clean_state_dict",
    "create_model",
    "freeze",
    "generate_default_cfgs",
    "get_arch_name",
    "get_arch_pretrained_cfgs",
    "get_deprecated_models",
    "get_pretrained_cfg",
    "get_pretrained_cfg_value",
    "group_parameters",
    "hookimpl",
    "hookspec",
    "is_model",
    "is_model_in_modules",
    "is_model_pretrained",
    "list_models",
    "list_modules",
    "list_pretrained",
    "load_checkpoint",
    "load_pretrained",
    "load_state_dict",
    "model_entrypoint",
    "parse_model_name",
    "push_to_hub",
    "refresh",
    "register_model",
    "resolve_pretrained_cfg",
    "safe_model_name",
    "save_pretrained",
    "split_model_name_tag",
    "unfreeze",
]


if not TYPE_CHECKING:  # a checker is to know every name, and to find those that are not there

    def __getattr__(name: str) -> Any:
        from hub.attributes import plugin_attribute

        if name == "__version__":
            return version("hub-core")
        if name in _LAZY:
            return getattr(importlib.import_module(f"hub.{_LAZY[name]}"), name)
        return plugin_attribute(name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
