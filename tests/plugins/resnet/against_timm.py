"""Compare the tables of hub-resnet with the installed timm (the `reference` group).

python tests/plugins/resnet/against_timm.py
"""

import functools
import warnings
from dataclasses import fields
from unittest import mock

import timm
from hub.family import Family, Weights
from hub_resnet.plugin import hub_models
from timm.models import get_arch_pretrained_cfgs, resnet
from timm.models._registry import _deprecated_models

STRINGS = {
    resnet.BasicBlock: "basic",
    resnet.Bottleneck: "bottleneck",
    "AvgPool2d": "avg",
    "BlurPool2d": "blur",
}


class _Captured(Exception):
    pass


def timm_keywords(name: str) -> dict:
    """Return the constructor keywords that timm's entrypoint passes, in hub's words."""
    with mock.patch.object(resnet, "build_model_with_cfg", side_effect=_Captured) as build:
        try:
            timm.create_model(name)
        except _Captured:
            pass
    keywords = dict(build.call_args.kwargs)
    for key in ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir"):
        keywords.pop(key, None)
    block = keywords["block"]
    keywords["block"] = (
        tuple(STRINGS[b] for b in block) if isinstance(block, list) else STRINGS[block]
    )
    if aa_layer := keywords.pop("aa_layer", None):
        keywords["aa_layer"] = STRINGS[getattr(aa_layer, "__name__", aa_layer)]
    attn_layer = keywords.pop("block_args", {}).get("attn_layer")
    if isinstance(attn_layer, functools.partial):
        assert attn_layer.func.__name__ == "SEModule"
        keywords.update(attn_layer="se", attn_args=attn_layer.keywords)
    elif attn_layer:
        keywords["attn_layer"] = attn_layer
    if keywords.get("stem_width") == 64:  # the default
        del keywords["stem_width"]
    return keywords


def hub_keywords(family: Family, name: str) -> dict:
    """Return the keywords of hub's table with pruning as timm says it."""
    keywords = dict(family.variants[name])
    if keywords.pop("pruned_widths", None):
        keywords["pruned"] = True
    return keywords


def main() -> None:
    """Compare all; an AssertionError names the first difference."""
    (family,) = hub_models()
    names = timm.list_models(module="resnet")
    assert sorted(family.variants) == sorted(names)
    for name in names:
        assert hub_keywords(family, name) == timm_keywords(name), name
    print(f"{len(names)} variants: same names and keywords")

    compared = with_weights = 0
    assert {f.name for f in fields(Weights)} == {f.name for f in fields(timm.models.PretrainedCfg)}
    for name in names:
        cfgs = get_arch_pretrained_cfgs(name)
        assert [k for k in family.weights if k.partition(".")[0] == name] == list(cfgs), name
        default = timm.models.get_pretrained_cfg(name)
        assert default.tag == next(iter(cfgs.values())).tag, name
        for key, cfg in cfgs.items():
            ours = family.weights[key].completed(*key.split(".", 1) if "." in key else (key, ""))
            for field in fields(Weights):
                hub_value, timm_value = getattr(ours, field.name), getattr(cfg, field.name)
                assert hub_value == timm_value, (key, field.name, hub_value, timm_value)
                compared += 1
            assert ours.to_dict() == cfg.to_dict(), key
            assert ours.has_weights == bool(cfg.has_weights), key
            with_weights += ours.has_weights
    print(
        f"{len(family.weights)} configurations ({with_weights} with weights): "
        f"same order, {compared} fields equal"
    )

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        renamed = {old: new for old, new in _deprecated_models.items() if old in family.renamed}
    module = timm.models._registry._module_to_deprecated_models["resnet"]
    assert dict(family.renamed) == renamed == dict(module), set(renamed) ^ set(family.renamed)
    print(f"{len(family.renamed)} renamed models: same")


if __name__ == "__main__":
    main()
