from functools import partial

import hub_layers as L
import pytest
import torch
from torch import nn

CASES = [
    (L.get_act_layer, "silo", "silu"),
    (L.get_act_fn, "gelu_tan", "gelu_tanh"),
    (L.get_norm_layer, "layernorm2", "layernorm2d"),
    (L.get_norm_act_layer, "batchnrm2d", "batchnorm2d"),
    (L.get_attn, "cban", "cbam"),
    (partial(L.create_aa, channels=8), "blurp", "blurpc"),
    (partial(L.create_pool2d, kernel_size=2), "agv", "avg"),
    (lambda name: L.SelectAdaptivePool2d(pool_type=name), "avgmx", "avgmax"),
]


@pytest.mark.parametrize(("factory", "typo", "meant"), CASES)
def test_unknown_name_is_explained_with_the_nearest(factory, typo, meant):
    with pytest.raises(ValueError) as error:
        factory(typo)
    message = str(error.value)
    assert repr(typo) in message
    assert f"Did you mean {meant!r}?" in message
    assert "Known: " in message and isinstance(error.value, KeyError)


@pytest.mark.parametrize(
    "get", [L.get_act_layer, L.get_norm_layer, L.get_norm_act_layer, L.get_attn]
)
def test_no_name_means_no_layer(get):
    assert get(None) is None
    assert get("") is None


@pytest.mark.parametrize("get", [L.get_act_layer, L.get_norm_layer, L.get_attn])
def test_classes_and_partials_pass_through(get):
    bound = partial(nn.Identity)
    assert get(nn.Identity) is nn.Identity
    assert get(bound) is bound
    with pytest.raises(TypeError, match="got 3"):
        get(3)


def test_case_and_underscores_carry_no_meaning():
    assert L.get_act_layer("Leaky_ReLU") is nn.LeakyReLU is L.get_act_layer("leakyrelu")
    assert L.get_norm_layer("Layer_Norm_2d") is L.LayerNorm2d


def test_inplace_reaches_only_those_who_know_it():
    assert L.create_act_layer("relu", inplace=True).inplace
    assert not L.create_act_layer("relu").inplace
    assert isinstance(L.create_act_layer(nn.GELU, inplace=True), nn.GELU)
    slope = L.create_act_layer(partial(nn.LeakyReLU, negative_slope=0.3), inplace=True)
    assert slope.inplace and slope.negative_slope == 0.3
    with pytest.raises(TypeError):
        L.create_act_layer("gelu", bogus=1)


def test_every_activation_function_equals_its_module():
    from hub_layers.act.activations import ACTIVATION_FNS, ACTIVATIONS

    x = torch.linspace(-4, 4, 33)
    assert set(ACTIVATIONS) - set(ACTIVATION_FNS) == {"prelu"}
    for name in ACTIVATION_FNS:
        torch.testing.assert_close(L.get_act_fn(name)(x), L.create_act_layer(name)(x))
        inplace = L.create_act_layer(name, inplace=True)(x.clone())
        torch.testing.assert_close(inplace, L.get_act_fn(name)(x))


def test_hand_written_activations_follow_their_formula():
    x = torch.linspace(-4, 4, 33)
    torch.testing.assert_close(L.quick_gelu(x), x / (1 + torch.exp(-1.702 * x)))
    torch.testing.assert_close(L.hard_mish(x), x / 2 * (x + 2).clamp(0, 2))


def test_true_is_squeeze_excite_and_false_is_none():
    assert L.get_attn(True) is L.SEModule
    assert L.get_attn(False) is None
    assert L.create_attn(None, 8) is None


def test_norm_class_stands_for_its_norm_act():
    layer = L.get_norm_act_layer(partial(nn.BatchNorm2d, eps=0.5), "silu")(8)
    assert type(layer) is L.BatchNormAct2d
    assert layer.eps == 0.5 and isinstance(layer.act, nn.SiLU)
    kept = L.create_norm_act_layer(
        partial(L.BatchNormAct2d, act_layer=nn.Tanh), 8, act_layer="relu"
    )
    assert isinstance(kept.act, nn.Tanh)
    with pytest.raises(ValueError, match=r"no norm.act counterpart"):
        L.get_norm_act_layer(nn.InstanceNorm2d)


def test_foreign_norm_act_class_is_known_by_its_arguments():
    class Own(nn.Module):
        def __init__(self, channels, apply_act=True):
            super().__init__()
            self.channels, self.apply_act = channels, apply_act

    layer = L.create_norm_act_layer(Own, 8, act_layer="relu", apply_act=False)
    assert (layer.channels, layer.apply_act) == (8, False)


def test_conv_padding_by_name():
    assert L.create_conv2d(4, 8, 3).padding == (1, 1)
    assert L.create_conv2d(4, 8, (3, 5), dilation=2).padding == (2, 4)
    assert L.create_conv2d(4, 8, 3, padding="valid").padding == (0, 0)
    assert type(L.create_conv2d(4, 8, 3, padding="same")) is nn.Conv2d
    assert type(L.create_conv2d(4, 8, 3, stride=2, padding="same")) is L.Conv2dSame
    assert L.create_conv2d(4, 8, 3, depthwise=True).groups == 4
    assert type(L.create_conv2d(4, 8, [3, 5])) is L.MixedConv2d
    assert type(L.create_conv2d(4, 8, 3, num_experts=4)) is L.CondConv2d
    with pytest.raises(ValueError, match="sme"):
        L.create_conv2d(4, 8, 3, padding="sme")
    with pytest.raises(ValueError, match=r"\[3, 5\] with num_experts=4"):
        L.create_conv2d(4, 8, [3, 5], num_experts=4)
    with pytest.raises(ValueError, match=r"\[3, 5\] with groups=2"):
        L.create_conv2d(4, 8, [3, 5], groups=2)


def test_antialiasing_by_name_class_and_nothing():
    assert L.create_aa("avg", 8, stride=3).kernel_size == 3
    assert L.create_aa("blurpc", 8).pad_mode == "constant"
    assert L.create_aa(partial(L.BlurPool2d, filt_size=5), 8).filt_size == 5
    assert isinstance(L.create_aa("blur", 8, enable=False), nn.Identity)
    assert L.create_aa(None, 8, noop=None) is None


def test_public_names_exist_and_are_listed_once():
    assert len(set(L.__all__)) == len(L.__all__)
    assert all(hasattr(L, name) for name in L.__all__)
