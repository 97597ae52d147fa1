"""State dicts, weights from files, and networks that are saved."""

from __future__ import annotations

import copy
import pickle
import tempfile
from pathlib import Path
from typing import Any

import hub
import hub_publish
import torch
from hub import Backbone

from hub_kit import ConformanceError
from hub_kit.promise import expect, expect_close, expect_equal, promise
from hub_kit.subject import (
    create,
    image_size,
    images,
    paths_of,
    perturb,
    perturbed,
    plainly,
    poisoned_memory,
    pools_of,
)


@promise("loading")
def check_copies(name: str) -> None:
    """A deep copy, a pickled one and one that took the state dict give the same, independently."""
    model = perturbed(name)
    x = images(model)
    wanted = model(x)
    loaded = create(name)
    loaded.load_state_dict(copy.deepcopy(model.state_dict()))
    twins = {
        "deep copy": copy.deepcopy(model),
        "pickled": pickle.loads(pickle.dumps(model)),
        "loaded from a state dict": loaded,
    }
    for how, twin in twins.items():
        expect_close(twin(x), wanted, f"outputs of the network and one {how}")
        with torch.no_grad():
            for parameter in twin.parameters():
                parameter.zero_()
        expect(torch.equal(model(x), wanted), f"zeroing one {how} changed the network")


@promise("loading", rests_on=("check_builds", "check_levels", "check_layers_to_adapt"))
def check_loading(name: str) -> None:
    """Weights loaded by `create_model` give what a constructor and `load_state_dict` give.

    Tensors that no file holds (`persistent=False`) are compared as well. With other classes and
    other channels the same file loads: a fresh classifier, a first convolution that fits.
    """
    from safetensors.torch import save_model

    source = perturbed(name)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.safetensors"
        save_model(source, str(file))
        overlay: dict[str, Any] = {"file": str(file), "custom_load": False}
        options: dict[str, Any] = dict(pretrained=True, pretrained_cfg_overlay=overlay)
        with poisoned_memory():
            fast = create(name, **options)
        described = dict(pretrained=True, pretrained_cfg=_description(source, overlay))
        if paths_of(source):
            _expect_adapted(source, create(name, num_classes=7, **described), 7)
        if source.first_conv:
            gray = create(name, in_chans=1, **described)
            x = images(gray)
            expect(bool(gray(x).isfinite().all()), "output with in_chans=1 is not finite")
    slow = plainly(source).eval()
    slow.load_state_dict(source.state_dict())
    found = {**dict(fast.named_parameters()), **dict(fast.named_buffers())}
    for key, wanted in (*slow.named_parameters(), *slow.named_buffers()):
        expect(torch.equal(found[key], wanted), f"{key} has another value")
        expect_equal(found[key].dtype, wanted.dtype, f"dtype of {key}")
    x = images(source)
    expect_close(fast(x), slow(x), "outputs")
    still = [n for n, p in fast.named_parameters() if not p.requires_grad]
    expect(not still, f"parameters that do not learn: {still[:3]}")


def _description(source: Backbone, overlay: dict[str, Any]) -> dict[str, Any]:
    """Return what weights state of a file, so that it loads into other networks than this one."""
    stated = {
        "num_classes": source.num_classes,
        "input_size": (source.in_chans, *image_size(source)),
        "first_conv": source.first_conv,
        "classifier": source.classifier_layers,
    }
    return {**source.pretrained_cfg, **stated, **overlay}


def _expect_adapted(source: Backbone, model: Backbone, num_classes: int) -> None:
    """Raise unless a network of other classes has everything else from the file."""
    layers = {f"{p}.{n}" for p in source.classifier_layers for n in ("weight", "bias")}
    for key, tensor in source.state_dict().items():
        if key not in layers:
            same = torch.equal(model.state_dict()[key], tensor)
            expect(same, f"loaded for {num_classes} classes, {key} has another value")
    shape = tuple(model(images(model)).shape)
    expect_equal(shape[-1], num_classes, f"classes of a network loaded for {num_classes}")


@promise("saving", rests_on=("check_builds", "check_levels", "check_loading"))
def check_saving(name: str) -> None:
    """What `hub.save_pretrained` writes builds the network as it is: its classes, pool and size."""
    encoder = not paths_of(create(name))
    model = perturbed(name) if encoder else perturbed(name, num_classes=5)
    _expect_saved(model, "a network" if encoder else "a network built for 5 classes")
    for pool in pools_of(name):
        model.reset_classifier(0 if encoder else 3, pool)
        _expect_saved(perturb(model), f"a network after reset_classifier with the pool {pool!r}")
    if model.img_size is not None:
        height, width = image_size(model)
        try:
            model.set_input_size(img_size=(height, 2 * width))
        except ValueError:
            return
        _expect_saved(model, "a network after set_input_size")


def _expect_saved(model: Backbone, what: str) -> None:
    x = images(model)
    with tempfile.TemporaryDirectory() as folder:
        try:
            hub_publish.save_pretrained(model, folder)  # with HUB_PLUGINS=acme too
        except hub.HubError as e:
            raise ConformanceError(
                f"{what} is not saved ({e}): `present_arguments` returns what it was changed to"
            ) from e
        again = create(f"local-dir:{folder}", pretrained=True)
        expect_close(again(x), model(x), f"outputs of {what} and of the one loaded")
    for attribute in ("num_classes", "in_chans", "drop_rate", "pool_name"):
        expect_equal(getattr(again, attribute), getattr(model, attribute), attribute)
