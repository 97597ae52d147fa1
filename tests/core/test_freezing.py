"""What `freeze` holds stays as it is, whatever is around the network and whatever is asked."""

import copy
import pickle

import hub
import pytest
import torch
from torch import nn


def learning(model):
    return [name for name, p in model.named_parameters() if p.requires_grad]


def moved(model, x=None):
    """Return the names of the state that a step of training changes."""
    before = copy.deepcopy(model.state_dict())
    model.train()
    x = torch.rand(4, 3, 64, 64) if x is None else x
    outputs = model(x)
    outputs = [*outputs.values()] if isinstance(outputs, dict) else outputs
    loss = sum(y.square().mean() for y in (outputs if isinstance(outputs, list) else [outputs]))
    parameters = [p for p in model.parameters() if p.requires_grad]
    if parameters:
        loss.backward()
        torch.optim.SGD(parameters, lr=0.1, weight_decay=0.1).step()
    return [k for k, v in model.state_dict().items() if not torch.equal(v, before[k])]


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
@pytest.mark.parametrize(
    "options",
    [
        dict(num_classes=0),
        dict(num_classes=0, global_pool=""),
        dict(features_only=True),
        *(dict(features_only=True, feature_cls=form) for form in ("getter", "dict", "hook", "fx")),
    ],
)
def test_without_a_head_all_is_frozen(name, options):
    if options.get("feature_cls") == "fx":
        pytest.importorskip("torchvision")
        if name == "test_vit":
            pytest.skip("its size is read from the image, which fx cannot trace")
    model = hub.create_model(name, **options)
    assert hub.freeze(model) == [n for n, _ in model.named_parameters()]
    assert learning(model) == []
    size = 160 if name == "test_vit" else 64
    assert moved(model, torch.rand(2, 3, size, size)) == []


def test_with_a_head_all_but_it_is_frozen():
    model = hub.create_model("test_vit2")  # its head has a norm
    hub.freeze(model)
    assert learning(model) == ["fc_norm.weight", "fc_norm.bias", "head.weight", "head.bias"]
    model = hub.create_model("test_resnet")
    model.prune_intermediate_layers([2])
    model.reset_classifier(3)
    hub.freeze(model)
    assert moved(model) == ["fc.weight", "fc.bias"]


class Detector(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = hub.create_model("test_resnet", num_classes=0)
        self.box = nn.Linear(96, 4)

    def forward(self, x):
        return self.box(self.backbone(x))


def test_what_a_wrapper_has_beside_the_network_goes_on_learning():
    model = Detector()
    hub.freeze(model)
    assert moved(model) == ["box.weight", "box.bias"]
    hub.unfreeze(model)
    names = hub.freeze(model, upto="layer2")
    assert "backbone.layer2.0.conv1.weight" in names
    assert "backbone.layer3.0.conv1.weight" not in names
    assert hub.freeze(model, upto="backbone.layer2") == names
    compiled = torch.compile(hub.create_model("test_resnet"), backend="eager")
    hub.freeze(compiled)
    assert learning(compiled) == ["_orig_mod.fc.weight", "_orig_mod.fc.bias"]


@pytest.mark.parametrize(
    "make", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m)), nn.Sequential]
)
def test_statistics_stand_still_in_copies_and_whatever_holds_the_network(make):
    model = hub.create_model("test_resnet")
    hub.freeze(model)
    made = make(model).train()
    norms = [m for m in made.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms and not any(norm.training for norm in norms)
    hub.unfreeze(made)
    assert all(norm.training for norm in norms)


def test_any_module_is_frozen_by_the_paths_of_its_parts():
    model = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, affine=False)), nn.Conv2d(4, 4, 3)
    )
    assert hub.freeze(model, "0") == ["0.0.weight", "0.0.bias"]
    assert moved(model) == ["1.weight", "1.bias"]
    hub.unfreeze(model, ["0"])
    assert len(moved(model)) == 7
    with pytest.raises(ValueError, match=r"'2' is no module and no parameter of this Sequential"):
        hub.freeze(model, ["2"])
    with pytest.raises(TypeError, match=r"no hub\.Backbone in this Sequential, .*name what to"):
        hub.freeze(model)


def test_submodules_and_statistics_are_timms_arguments():
    model = hub.create_model("test_resnet", num_classes=3)
    names = hub.freeze(model, ["conv1", "layer1.0.conv1"], include_bn_running_stats=False)
    assert {name.rsplit(".", 1)[0] for name in names} == {
        *("conv1.0", "conv1.1", "conv1.3", "conv1.4", "conv1.6"),
        "layer1.0.conv1",
    }
    changed = moved(model)
    assert "conv1.1.running_mean" in changed
    assert not set(names) & set(changed)
    hub.unfreeze(model, "conv1")
    assert "layer1.0.conv1.weight" not in learning(model)
    hub.freeze(model, "conv1")
    hub.unfreeze(model, include_bn_running_stats=False)
    assert not model.train().conv1[1].training


@pytest.mark.parametrize(
    ("upto", "last"),
    [
        ("act1", "bn1.bias"),  # has no parameters: what comes before it is frozen
        ("conv1", "bn1.bias"),
        ("maxpool", "bn1.bias"),
        ("layer1", "layer1.0.bn2.bias"),
        ("global_pool", "layer4.0.downsample.2.bias"),
        ("fc", "fc.bias"),
    ],
)
def test_every_module_is_a_bound(upto, last):
    model = hub.create_model("test_resnet")
    names = [name for name, _ in model.named_parameters()]
    assert hub.freeze(model, upto=upto) == names[: names.index(last) + 1]


def test_a_parameter_is_a_bound_and_what_is_none_is_named():
    model = hub.create_model("test_vit")
    assert "patch_embed.proj.weight" in hub.freeze(model, upto="cls_token")
    for wrong in (2, "layer5", "blocks.9"):
        with pytest.raises(ValueError, match=rf"upto={wrong!r} is no module .*blocks\.0, blocks"):
            hub.freeze(model, upto=wrong)
