"""The tables of hub-vit: what holds without torch and without a reference."""

import json
import subprocess
import sys

import hub
import pytest
from hub_vit.plugin import hub_models
from hub_vit.variants import VARIANTS, WEIGHTS


def test_family_is_declared_without_error():
    (family,) = hub_models()
    assert (family.name, family.model) == (
        "vision_transformer",
        "hub_vit.model:VisionTransformer",
    )
    assert (len(family.variants), len(family.weights), len(family.renamed)) == (8, 24, 7)


def test_importing_the_plugin_imports_no_torch():
    heavy = ("torch", "torchvision", "numpy", "PIL", "huggingface_hub", "safetensors")
    code = f"import sys, hub_vit.plugin; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_variants_survive_json():
    assert json.loads(json.dumps(VARIANTS)) == VARIANTS


def test_every_variant_has_an_entry():
    assert {key.partition(".")[0] for key in WEIGHTS} == set(VARIANTS)


def test_flax_files_are_marked_as_such():
    for key, weights in WEIGHTS.items():
        assert weights.custom_load == (weights.url or "").endswith(".npz"), key


def test_default_weights_are_the_first_of_the_table():
    assert hub.get_pretrained_cfg("vit_tiny_patch16_224").tag == "augreg_in21k_ft_in1k"
    assert hub.get_pretrained_cfg("vit_base_patch16_224").tag == "augreg2_in21k_ft_in1k"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("vit_base_patch16_224_dino", "vit_base_patch16_224.dino"),
        ("vit_base_patch16_224_sam", "vit_base_patch16_224.sam_in1k"),
        ("vit_tiny_patch16_224_in21k", "vit_tiny_patch16_224.augreg_in21k"),
    ],
)
def test_old_names_lead_to_weights(old, new):
    (family,) = hub_models()
    assert family.renamed[old] == new
    assert new in family.weights
