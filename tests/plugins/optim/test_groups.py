"""Promises about parameter groups: each parameter that learns is in one, and in the right one."""

import hub
import hub_optim
import pytest
import torch
from hub_optim import create_optimizer_v2
from hub_optim.groups import depths_of
from torch import nn


def network(name="test_vit"):
    return hub.create_model(name, num_classes=7)


def named_groups(model, groups):
    """Return groups with names instead of parameters."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    return [group | dict(params=[names[p] for p in group["params"]]) for group in groups]


class Plain(nn.Module):
    """A network that says nothing about itself."""

    def __init__(self, layers=6):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(2, 2) for _ in range(layers))
        self.head = nn.Linear(2, 3)


class Tabled(Plain):
    """A network that tells its depths as timm's do: by patterns."""

    def group_matcher(self, coarse=False):
        return dict(
            stem=r"^layers\.0",
            blocks=[(r"^layers\.(\d+)", None), (r"^norm", (99999,))],
        )


@pytest.mark.parametrize("name", ["test_vit", "test_resnet"])
@pytest.mark.parametrize("layer_decay", [None, 0.7])
@pytest.mark.parametrize("fallback", [(), ("*head*", "fc.*")])
def test_every_parameter_that_learns_is_in_exactly_one_group(name, layer_decay, fallback):
    model = network(name)
    first = next(model.parameters()).requires_grad_(False)
    optimizer = create_optimizer_v2(
        model, "adamw", weight_decay=0.1, layer_decay=layer_decay, fallback_list=fallback
    )
    held = [p for group in optimizer.param_groups for p in group["params"]]
    assert len(held) == len(set(held))
    assert set(held) == set(model.parameters()) - {first}


def test_biases_norms_and_what_the_network_names_do_not_decay():
    model = network()
    optimizer = create_optimizer_v2(model, "adamw", weight_decay=0.1)
    spared, decaying = named_groups(model, optimizer.param_groups)
    assert (spared["weight_decay"], decaying["weight_decay"]) == (0.0, 0.1)
    assert {"cls_token", "pos_embed", "norm.weight", "head.bias"} <= set(spared["params"])
    assert all(model.get_parameter(name).ndim > 1 for name in decaying["params"])
    assert "patch_embed.proj.weight" in decaying["params"]


def test_bias_of_several_axes_does_not_decay():
    model = nn.Module()
    model.register_parameter("bias", nn.Parameter(torch.ones(3, 3)))
    model.register_parameter("weight", nn.Parameter(torch.ones(3, 3)))
    for make in (hub_optim.param_groups_weight_decay, hub_optim.param_groups_layer_decay):
        with pytest.warns(hub.HubWarning) if "layer" in make.__name__ else _nothing():
            groups = named_groups(model, make(model, weight_decay=0.1))
        assert {g["params"][0]: g["weight_decay"] for g in groups} == dict(bias=0.0, weight=0.1)


class _nothing:
    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None


def test_all_decay_if_asked_to():
    groups = hub_optim.param_groups_weight_decay(
        network(), weight_decay=0.1, weight_decay_exclude_1d=False
    )
    assert [group["weight_decay"] for group in groups] == [0.1]


@pytest.mark.parametrize("rate", [0.0, None])
def test_no_decay_is_one_group(rate):
    [group] = hub_optim.param_groups_weight_decay(network(), weight_decay=rate)
    assert group["weight_decay"] == 0.0


def test_shared_parameter_is_in_one_group_and_spared_by_either_name():
    model = Plain(2)
    model.layers[1].weight = model.layers[0].weight
    groups = hub_optim.param_groups_weight_decay(
        model, weight_decay=0.1, no_weight_decay_list=["layers.1.weight"]
    )
    spared, decaying = named_groups(model, groups)
    assert "layers.0.weight" in spared["params"]
    assert decaying["params"] == ["head.weight"]


def test_fallback_groups_are_marked():
    model = network()
    groups = hub_optim.param_groups_weight_decay(
        model,
        weight_decay=0.1,
        no_weight_decay_list=model.no_weight_decay(),
        fallback_list=["head.*"],
        fallback_no_weight_decay=True,
    )
    marked = [g for g in named_groups(model, groups) if g.get("use_fallback")]
    assert {name for group in marked for name in group["params"]} == {
        "head.weight",
        "head.bias",
        *model.no_weight_decay(),
    }
    assert [group["weight_decay"] for group in marked] == [0.0, 0.1]


def test_frozen_network_is_refused_with_the_way_out():
    model = network().requires_grad_(False)
    with pytest.raises(ValueError, match="no parameter of this VisionTransformer learns"):
        create_optimizer_v2(model, "sgd")


# --- depth ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["test_vit", "test_resnet"])
def test_rate_falls_with_the_distance_from_the_head(name):
    model = network(name)
    groups = hub_optim.param_groups_layer_decay(model, layer_decay=0.5, min_scale=0.01)
    matcher = model.group_matcher()
    top = max(matcher(n) for n, _ in model.named_parameters())
    assert top >= 3
    for group in named_groups(model, groups):
        for parameter in group["params"]:
            assert group["lr_scale"] == max(0.01, 0.5 ** (top - matcher(parameter)))


def test_layers_with_too_small_a_scale_are_frozen():
    model = network()
    groups = hub_optim.param_groups_layer_decay(model, layer_decay=0.5, no_opt_scale=0.3)
    assert {group["lr_scale"] for group in groups} == {0.5, 1.0}
    held = {p for group in groups for p in group["params"]}
    assert held == {p for p in model.parameters() if p.requires_grad}
    assert not model.get_parameter("cls_token").requires_grad


def test_depths_are_read_from_patterns_too():
    depths = depths_of(Tabled(3))
    assert {name.rpartition(".")[0]: depth for name, depth in depths.items()} == {
        "layers.0": 0,
        "layers.1": 1,
        "layers.2": 2,
        "head": 3,
    }


def test_pattern_may_join_the_group_before():
    model = Tabled(2)
    model.norm = nn.LayerNorm(2)
    depths = depths_of(model)
    assert depths["norm.weight"] == depths["layers.1.weight"] == 1
    assert depths["head.weight"] == 2


def test_depth_is_guessed_from_order_where_nothing_tells_it():
    model = Plain(6)
    depths = hub_optim.auto_group_layers(model, layers_per_group=4)
    assert [depths[f"layers.{i}.weight"] for i in range(6)] == [0, 0, 1, 1, 2, 2]
    assert depths["head.weight"] == 3
    model.pretrained_cfg = dict(classifier="head")
    depths = hub_optim.auto_group_layers(model, num_groups=2)
    assert [depths[f"layers.{i}.weight"] for i in range(6)] == [0, 0, 0, 1, 1, 1]
    assert depths["head.bias"] == 2


def test_layer_decay_without_effect_is_told():
    with pytest.warns(hub.HubWarning, match="all parameters of this Linear are of one depth"):
        create_optimizer_v2(nn.Linear(2, 2), "sgd", layer_decay=0.5)


def test_wrapped_network_is_grouped_like_the_network():
    model = network()
    wrapped = torch.compile(model, backend="eager")
    for decay in (None, 0.7):
        inner, outer = (
            [g["params"] for g in create_optimizer_v2(m, "sgd", layer_decay=decay).param_groups]
            for m in (model, wrapped)
        )
        assert [[id(p) for p in g] for g in inner] == [[id(p) for p in g] for g in outer]


# --- groups that the caller makes ----------------------------------------------------------------


def test_parameter_that_is_left_out_is_named():
    with pytest.raises(ValueError, match=r"leaves out head.bias; put it into a group, or freeze"):
        create_optimizer_v2(Plain(), "sgd", param_group_fn=lambda m: list(m.parameters())[:-1])


def test_parameter_in_two_groups_is_named():
    def twice(model):
        return [dict(params=model.parameters()), dict(params=model.head.weight)]

    with pytest.raises(ValueError, match=r"puts head.weight into several groups"):
        create_optimizer_v2(Plain(), "sgd", param_group_fn=twice)


def test_many_names_are_cut():
    with pytest.raises(ValueError, match=r"layers.3.bias and 6 more"):
        create_optimizer_v2(Plain(), "sgd", param_group_fn=lambda model: [])


def test_groups_of_the_caller_are_used_as_they_are():
    def by_part(model):
        return (
            dict(params=part.parameters(), lr=rate)
            for part, rate in ((model.layers, 0.1), (model.head, 0.2))
        )

    optimizer = create_optimizer_v2(Plain(), "sgd", weight_decay=0.3, param_group_fn=by_part)
    assert [(g["lr"], g["weight_decay"]) for g in optimizer.param_groups] == [
        (0.1, 0.3),
        (0.2, 0.3),
    ]
    named = create_optimizer_v2(Plain(), "sgd", param_group_fn=lambda m: m.named_parameters())
    assert len(named.param_groups[0]["params"]) == 14
