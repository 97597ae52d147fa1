"""What a `config.json` says: weights, arguments, the plugin that is needed. It is data only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hub.errors import WeightsError
from hub.family import Weights

#: Keywords of a build that are not a network's; a downloaded configuration must not set them.
BUILD_OPTIONS = {
    *("model_cls", "variant", "pretrained", "pretrained_strict", "pretrained_filter_fn"),
    *("pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir"),
    *("features_only", "out_indices", "feature_cls", "output_fmt", "norm", "device", "dtype"),
}


def read_weights(config: Mapping[str, Any], what: str) -> Weights:
    """Return the weights that a config.json describes, but for any place it says they are at.

    timm's first configurations were flat, later ones have a part `pretrained_cfg`.
    """
    described = config.get("pretrained_cfg", config)
    if not isinstance(described, Mapping):
        raise WeightsError(f"{what}: pretrained_cfg in its config.json is no object")
    fields = {k: v for k, v in described.items() if k not in ("url", "file", "state_dict")}
    for key in ("num_classes", "label_names", "label_descriptions"):
        if config.get(key) is not None:
            fields[key] = config[key]
    weights = Weights.from_dict(fields)
    wrong = weights.wrong_types()
    if wrong:
        raise WeightsError(f"{what}: its config.json has {', '.join(wrong)}")
    return weights


def read_arguments(config: Mapping[str, Any], what: str) -> dict[str, Any]:
    """Return the constructor keywords of a config.json; nothing that steers the building itself."""
    given = config.get("model_args") or {}
    if not isinstance(given, Mapping):
        raise WeightsError(f"{what}: model_args in its config.json is no object")
    for key in BUILD_OPTIONS & given.keys():
        raise WeightsError(
            f"{what}: its config.json sets {key!r}, which is no argument of a network; "
            "remove it from model_args"
        )
    # A pool that differs from the architecture's is in model_args; "global_pool" beside it informs.
    # null stands for the default, as None does in `create_model`.
    return {k: _plain(v) for k, v in given.items() if v is not None}


def claimed_plugin(config: Mapping[str, Any]) -> str:
    """Return the end of an error: which plugin a repository says it needs, as its claim."""
    plugin = config.get("plugin")
    if not isinstance(plugin, Mapping) or "distribution" not in plugin:
        return ""
    return (
        f". The repository says it needs {plugin['distribution']!s:.80} "
        f"{plugin.get('version', '')!s:.20}: look at that package before you install it; hub does "
        "not install it for you"
    )


def _plain(value: Any) -> Any:
    return tuple(_plain(v) for v in value) if isinstance(value, list) else value
