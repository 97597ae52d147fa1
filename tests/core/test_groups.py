"""Depth of parameters, and what follows from it."""

import hub
import pytest
import torch
from hub.backbone import group_parameters


def test_depth_of_a_resnet_is_that_of_its_blocks():
    model = hub.create_model("resnet18")
    groups = group_parameters(model, model.group_matcher())
    assert list(groups) == list(range(10))
    assert groups[0] == ["conv1.weight", "bn1.weight", "bn1.bias"]
    assert {name.rsplit(".", 2)[0] for name in groups[8]} == {"layer4.1"}
    assert groups[9] == ["fc.weight", "fc.bias"]
    assert sum(map(len, groups.values())) == len(list(model.parameters()))


def test_coarse_depth_is_that_of_the_levels():
    model = hub.create_model("resnet50")
    groups = group_parameters(model, model.group_matcher(coarse=True), return_values=True)
    assert list(groups) == list(range(6))
    assert sum(p.numel() for p in groups[5]) == 2048 * 1000 + 1000


def test_what_stands_between_levels_belongs_to_the_earlier_one():
    model = hub.create_model("resnetrs50")
    depths = group_parameters(model, model.group_matcher(), reverse=True)
    assert depths["maxpool.0.weight"] == 0
    assert depths["layer1.0.conv1.weight"] == 1


def test_matcher_answers_for_modules_and_refuses_strangers():
    matcher = hub.create_model("resnet18").group_matcher()
    assert matcher("layer1.1") == 2
    with pytest.raises(KeyError, match="no parameter"):
        matcher("layer9")


def test_frozen_part_does_not_change_in_training():
    model = hub.create_model("test_resnet", zero_init_last=False)
    frozen = hub.freeze(model, upto="layer2")
    assert "layer2.0.bn2.weight" in frozen
    assert "layer3.0.conv1.weight" not in frozen
    before = {k: v.clone() for k, v in model.state_dict().items()}
    holder = torch.nn.Sequential(model).train()  # as a part of a detector
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=0.1)
    holder(torch.rand(4, 3, 64, 64)).square().mean().backward()
    optimizer.step()
    for name, tensor in model.state_dict().items():
        early = name.startswith(("conv1", "bn1", "layer1", "layer2"))
        assert torch.equal(tensor, before[name]) == early, name
    hub.unfreeze(model)
    assert all(p.requires_grad for p in model.parameters())
    model(torch.rand(4, 3, 64, 64))
    assert not torch.equal(model.bn1.running_mean, before["bn1.running_mean"])


def test_freezing_all_but_the_head_is_the_default():
    model = hub.create_model("test_resnet")
    hub.freeze(model)
    assert [n for n, p in model.named_parameters() if p.requires_grad] == ["fc.weight", "fc.bias"]
    with pytest.raises(ValueError, match=r"upto='layer9' .* levels are act1, layer1"):
        hub.freeze(model, upto="layer9")
