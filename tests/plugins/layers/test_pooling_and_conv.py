import hub_layers as L
import pytest
import torch
import torch.nn.functional as F
from torch import nn

X = torch.randn(2, 8, 7, 6, generator=torch.Generator().manual_seed(0))
KINDS = ["avg", "max", "avgmax", "catavgmax"]


@pytest.mark.parametrize("kind", KINDS)
def test_fast_and_channels_last_pools_equal_the_plain_ones(kind):
    plain = L.SelectAdaptivePool2d(pool_type=kind, flatten=True)
    last = L.SelectAdaptivePool2d(pool_type=kind, flatten=True, input_fmt="NHWC")
    assert plain.feat_mult() == plain(X).shape[1] // 8
    torch.testing.assert_close(
        L.SelectAdaptivePool2d(pool_type="fast" + kind, flatten=True)(X), plain(X)
    )
    torch.testing.assert_close(last(X.permute(0, 2, 3, 1)), plain(X))


def test_pools_are_mean_and_maximum():
    mean, top = X.mean((2, 3)), X.amax((2, 3))
    expected = dict(
        zip(KINDS, (mean, top, (mean + top) / 2, torch.cat((mean, top), 1)), strict=True)
    )
    for kind, value in expected.items():
        torch.testing.assert_close(L.select_adaptive_pool2d(X, kind).flatten(1), value, msg=kind)
    torch.testing.assert_close(L.adaptive_avgmax_pool2d(X).flatten(1), expected["avgmax"])


def test_no_pool_leaves_the_map_as_it_is():
    pool = L.SelectAdaptivePool2d(pool_type="")
    assert pool.is_identity() and pool(X) is X


def test_a_size_that_a_reduction_cannot_give_is_refused():
    with pytest.raises(ValueError, match="output_size=2"):
        L.SelectAdaptivePool2d(2, pool_type="fast")


@pytest.mark.parametrize("kind", ["avg", "max"])
@pytest.mark.parametrize("size", [5, 6, 7, 8])
def test_same_padding_gives_ceil_of_size_by_stride(kind, size):
    x = -torch.rand(1, 2, size, size) - 1
    pooled = L.create_pool2d(kind, 3, 2, padding="same")(x)
    assert pooled.shape[-1] == -(-size // 2) == L.Conv2dSame(2, 2, 3, stride=2)(x).shape[-1]
    if kind == "max":
        assert pooled.max() < 0  # the padding never wins


def test_token_pooling_leaves_out_the_prefix():
    x = torch.arange(12.0).view(1, 4, 3)
    assert L.global_pool_nlc(x).tolist() == [[0, 1, 2]]
    assert L.global_pool_nlc(x, "avg").tolist() == [[6, 7, 8]]
    assert L.global_pool_nlc(x, "avg", reduce_include_prefix=True).tolist() == [[4.5, 5.5, 6.5]]
    assert L.global_pool_nlc(x, "max", num_prefix_tokens=2).tolist() == [[9, 10, 11]]
    assert L.global_pool_nlc(x, "") is x
    with pytest.raises(ValueError, match="'man'"):
        L.global_pool_nlc(x, "man")


@pytest.mark.parametrize("filt_size", [2, 3, 4, 5])
@pytest.mark.parametrize("channels", [8, None])
def test_blur_of_a_constant_is_the_constant(filt_size, channels):
    blur = L.BlurPool2d(channels, filt_size)
    torch.testing.assert_close(blur(torch.full_like(X, 3.0)), torch.full_like(blur(X), 3.0))
    assert not blur.state_dict()


def test_blur_is_the_binomial_filter_and_survives_the_meta_device():
    blur = L.BlurPool2d(2, device="meta").to_empty(device="cpu")
    blur.reset_parameters()
    taps = torch.tensor([1.0, 2, 1]) / 4
    assert torch.equal(blur.filt, (taps[:, None] * taps).expand(2, 1, 3, 3))


def test_conv_norm_act_is_the_three_in_order_under_their_keys():
    layer = L.ConvNormAct(8, 4, 3, stride=2, act_layer="silu").eval()
    assert [k.split(".")[0] for k in layer.state_dict()] == ["conv"] + ["bn"] * 5
    expected = F.silu(F.conv2d(X, layer.conv.weight, stride=2, padding=1) / (1 + 1e-5) ** 0.5)
    torch.testing.assert_close(layer(X), expected)
    assert (layer.in_channels, layer.out_channels) == (8, 4)


def test_antialiasing_takes_over_the_stride():
    layer = L.ConvNormAct(8, 4, 3, stride=2, aa_layer="blur")
    assert layer.conv.stride == (1, 1) and layer.aa.stride == 2
    assert L.ConvNormAct(8, 4, 3, aa_layer="blur").aa is None


def test_separable_conv_is_depthwise_then_pointwise():
    layer = L.SeparableConvNormAct(8, 4, 3, channel_multiplier=2.0)
    shapes = {k: tuple(v.shape) for k, v in layer.state_dict().items() if "conv" in k}
    assert shapes == {"conv_dw.weight": (16, 1, 3, 3), "conv_pw.weight": (4, 16, 1, 1)}


def test_heads_pool_classify_and_reset():
    head = L.ClassifierHead(8, 5, drop_rate=0.1).eval()
    torch.testing.assert_close(head(X), X.mean((2, 3)) @ head.fc.weight.T + head.fc.bias)
    torch.testing.assert_close(head(X, pre_logits=True), X.mean((2, 3)))
    head.reset(3, "catavgmax")
    assert head(X).shape == (2, 3) and head.num_features == 16
    head.reset(0)
    assert head(X).shape == (2, 16)
    head.reset(0, "")
    assert head(X).shape == X.shape


def test_hidden_layer_of_a_head_survives_the_change_of_pooling():
    head = L.NormMlpClassifierHead(8, 5, hidden_size=4).eval()
    assert head(X).shape == (2, 5) and head.num_features == 4
    point = X[:, :, :1, :1]
    expected = head(point, pre_logits=True)
    head.reset(5, "")
    torch.testing.assert_close(head(point, pre_logits=True).flatten(1), expected)
    assert head(X).shape == (2, 5, 7, 6)


def test_layouts_and_their_way_back():
    for fmt in L.Format:
        y = L.nchw_to(X, fmt)
        assert y.shape[L.get_channel_dim(fmt)] == 8
        assert y.shape.numel() == X.numel()
        assert torch.equal(L.nhwc_to(X.permute(0, 2, 3, 1), fmt), y)


def test_small_numbers():
    assert [L.make_divisible(v) for v in (1, 11, 12, 20, 91)] == [8, 16, 16, 24, 88]
    assert L.to_2tuple(3) == (3, 3) and L.to_2tuple([1, 2]) == (1, 2)
    assert L.get_padding((3, 5), (1, 2)) == [1, 2]
    w = L.trunc_normal_tf_(torch.empty(10000), std=0.1)
    assert w.abs().max() <= 0.2 and 0.08 < w.std() < 0.095
    assert abs(L.lecun_normal_(torch.empty(200, 100)).std() - 0.1) < 0.005
    scaled = L.LayerScale2d(8, 0.5)
    assert torch.equal(scaled(X), X / 2) and isinstance(scaled.gamma, nn.Parameter)


def test_hidden_layer_that_a_reset_converts_stays_as_frozen_as_it_was():
    head = L.NormMlpClassifierHead(8, 5, hidden_size=6).eval()
    head.pre_logits.fc.weight.requires_grad_(False)
    head.reset(3, "")
    fc = head.pre_logits.fc
    assert isinstance(fc, nn.Conv2d) and not fc.training
    assert not fc.weight.requires_grad and fc.bias.requires_grad
    assert head.fc.weight.requires_grad
