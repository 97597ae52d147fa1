"""Compare hub-vit with the installed timm (the `reference` group): tables, sizes, initialisation.

python tests/plugins/vit/against_timm.py
"""

import warnings
from dataclasses import fields
from unittest import mock

import hub
import timm
import torch
from hub.family import Weights
from hub_vit.plugin import hub_models
from timm.models import get_arch_pretrained_cfgs, vision_transformer
from timm.models._registry import _deprecated_models

HEIGHT, WIDTH = 96, 128


class _Captured(Exception):
    pass


def timm_keywords(name: str) -> dict:
    """Return the constructor keywords that timm's entrypoint passes."""
    with mock.patch.object(
        vision_transformer, "build_model_with_cfg", side_effect=_Captured
    ) as build:
        try:
            timm.create_model(name)
        except _Captured:
            pass
    other = ("pretrained", "feature_cfg", "cache_dir")
    return {k: v for k, v in build.call_args.kwargs.items() if not k.startswith(other)}


def compare_tables() -> None:
    (family,) = hub_models()
    compared = with_weights = 0
    for name in family.variants:
        assert dict(family.variants[name]) == timm_keywords(name), name
        cfgs = get_arch_pretrained_cfgs(name)
        assert [k for k in family.weights if k.partition(".")[0] == name] == list(cfgs), name
        for key, cfg in cfgs.items():
            ours = family.weights[key].completed(*key.split(".", 1))
            for field in fields(Weights):
                hub_value, timm_value = getattr(ours, field.name), getattr(cfg, field.name)
                assert hub_value == timm_value, (key, field.name, hub_value, timm_value)
                compared += 1
            assert ours.to_dict() == cfg.to_dict(), key
            with_weights += ours.has_weights
    print(
        f"{len(family.variants)} variants: same keywords; {len(family.weights)} configurations "
        f"({with_weights} with weights): same order, {compared} fields equal"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        renamed = {
            old: new
            for old, new in _deprecated_models.items()
            if new.partition(".")[0] in family.variants
        }
    mended = {"vit_base_patch16_224_sam": "vit_base_patch16_224.sam_in1k"}
    assert dict(family.renamed) == renamed | mended, (family.renamed, renamed)
    print(f"{len(renamed)} renamed models: same, but for {mended}")


def pair(name: str, ours: dict, theirs: dict | None = None) -> tuple:
    """Return both networks with the same weights."""
    torch.manual_seed(0)
    reference = timm.create_model(name, **(ours if theirs is None else theirs)).eval()
    with torch.no_grad():
        for tensor in reference.parameters():
            tensor.add_(0.05 * torch.randn_like(tensor))
    model = hub.create_model(name, **ours).eval()
    model.load_state_dict(reference.state_dict())
    return model, reference


def same(what: str, have, want) -> None:
    torch.testing.assert_close(have, want, rtol=1e-4, atol=1e-5)
    print(f"{what}: equal")


@torch.no_grad()
def compare_sizes() -> None:
    x = torch.randn(2, 3, HEIGHT, WIDTH)
    for name in ("test_vit", "test_vit2", "test_vit4"):
        model, reference = pair(name, dict(dynamic_img_size=True))
        same(f"{name} dynamic", model(x), reference(x))
        model, reference = pair(name, dict(dynamic_img_size=True, dynamic_img_pad=True))
        odd = x[..., 1:, 3:]
        same(f"{name} padded", model(odd), reference(odd))
        same(
            f"{name} padded maps",
            model.forward_intermediates(odd, intermediates_only=True),
            reference.forward_intermediates(odd, intermediates_only=True),
        )
        model, reference = pair(name, dict(img_size=(HEIGHT, WIDTH), dynamic_img_size=False))
        same(f"{name} not square", model(x), reference(x))
        for patch in (None, 8, (16, 32)):
            model, reference = pair(name, dict(dynamic_img_size=False))
            for network in (model, reference):
                network.set_input_size(img_size=(HEIGHT, WIDTH), patch_size=patch)
            same(f"{name} set_input_size, patch {patch}", model(x), reference(x))


@torch.no_grad()
def compare_options() -> None:
    x = torch.randn(2, 3, 160, 160)
    for options in (
        dict(global_pool="avg"),
        dict(global_pool="avgmax"),
        dict(global_pool="max", pool_include_prefix=True),
        dict(global_pool=""),
        dict(global_pool="avg", fc_norm=False),
        dict(fc_norm=True),
        dict(final_norm=False),
        dict(pre_norm=True, qkv_bias=False, proj_bias=False),
        dict(qk_norm=True, init_values=0.1),
        dict(no_embed_class=True, reg_tokens=4),
        dict(reg_tokens=2),
        dict(pos_embed="none"),
        dict(norm_layer="rmsnorm", act_layer="silu", mlp_ratio=2.5),
    ):
        model, reference = pair("test_vit", options)
        same(f"{options}", model(x), reference(x))


def compare_initialisation() -> None:
    for mode in ("", "jax", "jax_nlhb", "moco", "reset"):
        torch.manual_seed(0)
        theirs = timm.create_model("vit_tiny_patch16_224", weight_init=mode).state_dict()
        ours = hub.create_model("vit_tiny_patch16_224", weight_init=mode).state_dict()
        for key, want in theirs.items():
            have = ours[key]
            assert torch.isclose(have.std(), want.std(), rtol=0.25, atol=1e-9), (mode, key)
            assert abs(have.mean() - want.mean()) <= 0.3 * want.std() + 1e-6, (mode, key)
    print("initialisation: same deviations and means")


if __name__ == "__main__":
    compare_tables()
    compare_initialisation()
    compare_options()
    compare_sizes()
