"""hub: a hub of vision backbones for PyTorch, made of plugins.

    import hub

    hub.list_models("resnet*", pretrained=True)
    model = hub.create_model("resnet50.a1_in1k", pretrained=True)

Importing hub, and everything that only looks things up, loads no torch.

Inside, each floor uses only those below it: names, errors and plain data; `plugins`; `registry`;
`features`; `backbone`; `pretrained`; `builder`; `cli`; and this package, which hands core's own
hooks, `builtin`, down to the host.
"""

from __future__ import annotations

import importlib
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from hub import builtin, plugins
from hub.builder.create import create_model
from hub.builder.weights import resolve_weights
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
from hub.family import (
    CLIP_MEAN,
    CLIP_STD,
    IMAGENET_MEAN,
    IMAGENET_STD,
    INCEPTION_MEAN,
    INCEPTION_STD,
    Family,
    Weights,
)
from hub.hookspecs import BuildRequest, Command, Source, hookimpl, hookspec
from hub.names import get_arch_name, natural_key, safe_model_name, split_model_name_tag
from hub.registry.compat import DefaultCfg, generate_default_cfgs
from hub.registry.listing import (
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
)
from hub.registry.local import parse_model_name, refresh, register_model
from hub.suggest import did_you_mean

if TYPE_CHECKING:
    from hub_data.preprocessing import preprocessing as preprocessing  # and all of known.json
    from hub_inference.errors import OptimizationError as OptimizationError
    from hub_inference.fusing import fuse as fuse
    from hub_inference.optimizing import optimize as optimize
    from hub_inference.reparameterizing import reparameterize_model as reparameterize_model
    from hub_publish.pushing import push_to_hub as push_to_hub
    from hub_publish.saving import save_pretrained as save_pretrained

    from hub.backbone import Backbone, BlockSequence, Head, freeze, group_parameters, unfreeze
    from hub.backbone.wrappers import (
        FeatureDictNet,
        FeatureGetterNet,
        FeatureGraphNet,
        FeatureHookNet,
        FeatureListNet,
    )
    from hub.builder.build import build_model_with_cfg
    from hub.cli.table import table
    from hub.features import FeatureInfo
    from hub.pretrained.adapting import adapt_input_conv
    from hub.pretrained.checkpoint import clean_state_dict, load_state_dict
    from hub.pretrained.loading import load_checkpoint, load_pretrained

    __version__: str

#: timm's names.
PretrainedCfg = Weights
resolve_pretrained_cfg = resolve_weights

# What needs torch, by module; imported when first asked for.
_LAZY = {
    name: module
    for module, names in {
        "backbone": "Backbone BlockSequence Head freeze group_parameters unfreeze",
        "backbone.wrappers": "FeatureDictNet FeatureGetterNet FeatureGraphNet FeatureHookNet "
        "FeatureListNet",
        "cli.table": "table",
        "builder.build": "build_model_with_cfg",
        "features": "FeatureInfo",
        "pretrained.adapting": "adapt_input_conv",
        "pretrained.checkpoint": "clean_state_dict load_state_dict",
        "pretrained.loading": "load_checkpoint load_pretrained",
    }.items()
    for name in names.split()
}

# fmt: off
__all__ = [
    "CLIP_MEAN", "CLIP_STD", "IMAGENET_MEAN", "IMAGENET_STD", "INCEPTION_MEAN", "INCEPTION_STD",
    "AmbiguousModelError", "Backbone", "BlockSequence", "BuildRequest", "Command", "DefaultCfg",
    "Family", "FeatureDictNet", "FeatureGetterNet", "FeatureGraphNet", "FeatureHookNet",
    "FeatureInfo", "FeatureListNet", "Head", "HubDeprecationWarning", "HubError", "HubWarning",
    "MissingPluginError", "ModelNameError", "PluginError", "PretrainedCfg", "Source",
    "UnknownModelError", "Weights", "WeightsError", "adapt_input_conv", "build_model_with_cfg",
    "clean_state_dict", "create_model", "did_you_mean", "freeze", "generate_default_cfgs",
    "get_arch_name", "get_arch_pretrained_cfgs", "get_deprecated_models", "get_pretrained_cfg",
    "get_pretrained_cfg_value", "group_parameters", "hookimpl", "hookspec", "is_model",
    "is_model_in_modules", "is_model_pretrained", "list_models", "list_modules", "list_pretrained",
    "load_checkpoint", "load_pretrained", "load_state_dict", "model_entrypoint", "natural_key",
    "parse_model_name", "refresh", "register_model", "resolve_pretrained_cfg",
    "safe_model_name", "split_model_name_tag", "table", "unfreeze",
]
# fmt: on

plugins.install_core(builtin)

if not TYPE_CHECKING:  # a checker is to know every name, and to find those that are not there

    def __getattr__(name: str) -> Any:
        from hub.plugins.attributes import plugin_attribute

        if name == "__version__":
            return version("hub-core")
        if name in _LAZY:
            return getattr(importlib.import_module(f"hub.{_LAZY[name]}"), name)
        return plugin_attribute(name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
