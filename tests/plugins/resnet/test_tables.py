"""The tables of hub-resnet: what holds without torch and without a reference."""

import hashlib
import json
import subprocess
import sys
from collections import Counter
from dataclasses import fields
from math import log2

import pytest
from hub.family import Weights
from hub_resnet.plugin import hub_models
from hub_resnet.variants import RENAMED, VARIANTS, WEIGHTS

# sha256 of the sorted lines "name:shape:dtype" of timm's state dicts, and their number.
PRUNED_STATE_DICTS = {
    "ecaresnet50d_pruned": (
        348,
        "aa577e71558291247748c887ec23a98e034e0c6cc7e96019a74af672575ecb01",
    ),
    "ecaresnet101d_pruned": (
        671,
        "757e2d9101744d115e19d0368424faad98babc8f759fbf1280d98558e8ae1de5",
    ),
}


def test_family_is_declared_without_error():
    (family,) = hub_models()
    assert (family.name, family.model) == ("resnet", "hub_resnet.model:ResNet")
    assert len(family.variants) == 81
    assert len(family.weights) == 169
    assert len(family.renamed) == 43


def test_importing_the_plugin_imports_no_torch():
    heavy = ("torch", "torchvision", "numpy", "PIL", "huggingface_hub", "safetensors")
    code = f"import sys, hub_resnet.plugin; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_variants_survive_json():
    def as_tuples(value):
        if isinstance(value, dict):
            return {k: as_tuples(v) for k, v in value.items()}
        return tuple(map(as_tuples, value)) if isinstance(value, list) else value

    assert as_tuples(json.loads(json.dumps(VARIANTS))) == VARIANTS


def test_family_has_a_small_variant_for_tests():
    assert "test_resnet" in VARIANTS


def test_every_variant_has_an_entry():
    assert {key.partition(".")[0] for key in WEIGHTS} == set(VARIANTS)


def test_default_tag_has_weights_where_any_tag_has():
    tags: dict[str, list[Weights]] = {}
    for key, weights in WEIGHTS.items():
        tags.setdefault(key.partition(".")[0], []).append(weights)
    for name, entries in tags.items():
        assert entries[0].has_weights == any(w.has_weights for w in entries), name
    assert sum(w.has_weights for w in WEIGHTS.values()) == 150


def test_all_weights_but_bamboos_state_their_licence():
    assert Counter(w.license for w in WEIGHTS.values()) == {
        "apache-2.0": 136,
        "bsd-3-clause": 17,
        "cc-by-nc-4.0": 15,
        None: 1,
    }
    assert [key for key, w in WEIGHTS.items() if w.license is None] == ["resnet50.bamboo"]


@pytest.mark.parametrize("key", WEIGHTS)
def test_weights_are_complete(key):
    weights = WEIGHTS[key].completed(*key.split(".", 1))
    deep = "stem_type" in VARIANTS[weights.architecture]
    assert weights.first_conv == ("conv1.0" if deep else "conv1")
    assert weights.classifier == "fc"
    assert weights.pool_size == tuple((side + 31) // 32 for side in weights.input_size[1:])
    assert weights.hf_hub_id == (f"timm/{key}" if weights.has_weights else None)
    assert not weights.url or weights.url.startswith("https://")
    assert json.loads(json.dumps(weights.to_dict())).keys() <= {f.name for f in fields(Weights)}


def test_renamed_models_exist():
    assert not set(RENAMED) & set(VARIANTS)
    assert set(RENAMED.values()) <= set(VARIANTS) | set(WEIGHTS)


@pytest.mark.parametrize("name", PRUNED_STATE_DICTS)
def test_pruned_widths_determine_every_shape(name):
    lines = sorted(_pruned_state_dict(VARIANTS[name]))
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    assert (len(lines), digest) == PRUNED_STATE_DICTS[name]


def _pruned_state_dict(variant):
    """Yield "name:shape:dtype" of a pruned ecaresnet*d, following only its table."""
    stem, stages = variant["pruned_widths"]
    width = 3
    for at, out in zip((0, 3, 6), stem, strict=True):
        yield f"conv1.{at}.weight:{out},{width},3,3:float32"
        yield from _batchnorm(f"conv1.{at + 1}" if at < 6 else "bn1", out)
        width = out
    for stage, (out, blocks) in enumerate(stages, 1):
        assert len(blocks) == variant["layers"][stage - 1]
        for index, (mid1, mid2) in enumerate(blocks):
            path = f"layer{stage}.{index}"
            yield f"{path}.conv1.weight:{mid1},{width},1,1:float32"
            yield f"{path}.conv2.weight:{mid2},{mid1},3,3:float32"
            yield f"{path}.conv3.weight:{out},{mid2},1,1:float32"
            for norm, size in (("bn1", mid1), ("bn2", mid2), ("bn3", out)):
                yield from _batchnorm(f"{path}.{norm}", size)
            kernel = int((log2(256 * 2 ** (stage - 1)) + 1) / 2) | 1  # of the unpruned width
            yield f"{path}.se.conv.weight:1,1,{kernel}:float32"
            if index == 0:
                yield f"{path}.downsample.1.weight:{out},{width},1,1:float32"
                yield from _batchnorm(f"{path}.downsample.2", out)
            width = out
    yield f"fc.weight:1000,{width}:float32"
    yield "fc.bias:1000:float32"


def _batchnorm(path, size):
    for name in ("weight", "bias", "running_mean", "running_var"):
        yield f"{path}.{name}:{size}:float32"
    yield f"{path}.num_batches_tracked::int64"
