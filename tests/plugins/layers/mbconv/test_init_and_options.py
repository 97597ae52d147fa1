"""Initialization by name, and the keywords that these networks share."""

import math

import pytest
import torch
from hub_layers import CondConv2d, MultiQueryAttention2d, UnknownLayerError, mbconv
from torch import nn


def network():
    net = nn.Module()
    net.conv = nn.Conv2d(64, 128, 3, groups=4)
    net.cond = CondConv2d(64, 128, 3, num_experts=2)
    net.bn = nn.BatchNorm2d(8)
    net.bare = nn.BatchNorm2d(8, affine=False)
    net.fc = nn.Linear(128, 512)
    net.routing_fn = nn.Linear(128, 512)
    net.attn = MultiQueryAttention2d(64, num_heads=2)
    for p in net.parameters():
        nn.init.constant_(p, 7)
    return net


@pytest.mark.parametrize(("fixed", "groups"), [(True, 4), (False, 1)])
def test_goog_follows_the_fans(fixed, groups):
    torch.manual_seed(0)
    net = network()
    mbconv.init_weights_goog(net, fix_group_fanout=fixed)
    std = math.sqrt(2 / (9 * 128))
    assert net.conv.weight.std().item() == pytest.approx(std * math.sqrt(groups), rel=0.05)
    for expert in net.cond.expert_weights():
        assert expert.std().item() == pytest.approx(std, rel=0.05)
    assert net.fc.weight.abs().max().item() == pytest.approx(512**-0.5, rel=0.01)
    assert net.routing_fn.weight.abs().max().item() == pytest.approx(640**-0.5, rel=0.01)
    assert (net.bn.weight == 1).all()
    for module in (net.conv, net.bn, net.fc, net.routing_fn):
        assert (module.bias == 0).all()
    bound = math.sqrt(6 / (64 + 64))  # Xavier's, which the attention chooses for itself
    assert net.attn.query.proj.weight.abs().max().item() == pytest.approx(bound, rel=0.01)


def test_default_is_what_torch_does():
    torch.manual_seed(0)
    net = network()
    mbconv.get_init_weights("default")(net)
    assert net.conv.weight.abs().max().item() == pytest.approx((16 * 9) ** -0.5, rel=0.01)
    assert (net.bn.weight == 1).all()


def test_schemes_have_names():
    assert mbconv.get_init_weights() is mbconv.init_weights_goog
    with pytest.raises(UnknownLayerError, match=r"unknown weight initialization 'gog'.*'goog'"):
        mbconv.get_init_weights("gog")


def test_norm_options_are_taken_out():
    kwargs = dict(bn_momentum=None, bn_eps=1e-3, drop_rate=0.1)
    assert mbconv.resolve_bn_args(kwargs) == dict(eps=1e-3)
    assert kwargs == dict(drop_rate=0.1)
    assert mbconv.get_bn_args_tf() == dict(momentum=pytest.approx(0.01), eps=1e-3)


def test_activation_is_taken_out():
    kwargs = dict(act_layer="hard_swish", drop_rate=0.1)
    assert mbconv.resolve_act_layer(kwargs) is nn.Hardswish
    assert kwargs == dict(drop_rate=0.1)
    assert mbconv.resolve_act_layer({}, "silu") is nn.SiLU
