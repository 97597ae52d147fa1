"""Blocks against what they say they compute, written out with functions."""

import hub_layers
import pytest
import torch
import torch.nn.functional as F
from hub_layers import mbconv
from torch import nn


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def ready(block):
    """In evaluation, with statistics and affine parameters that matter."""
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d):
            for t in (module.weight, module.running_var):
                nn.init.uniform_(t, 0.5, 1.5)
            for t in (module.bias, module.running_mean):
                nn.init.normal_(t)
    return block.eval()


def conv(layer, x, **geometry):
    return F.conv2d(x, layer.weight, layer.bias, **geometry)


def norm(layer, x, act=F.relu):
    stats = layer.running_mean, layer.running_var, layer.weight, layer.bias
    return act(F.batch_norm(x, *stats, eps=layer.eps))


def same(x):
    return x


def gate(layer, x, act=F.relu):
    squeezed = act(conv(layer.conv_reduce, x.mean((2, 3), keepdim=True)))
    return x * conv(layer.conv_expand, squeezed).sigmoid()


X = (2, 8, 10, 12)


def test_squeeze_excite():
    x = torch.randn(X)
    layer = mbconv.SqueezeExcite(8, rd_ratio=0.3, act_layer="silu")
    assert layer.conv_reduce.out_channels == 2  # round(2.4)
    torch.testing.assert_close(layer(x), gate(layer, x, F.silu))
    forced = mbconv.SqueezeExcite(8, act_layer="silu", force_act_layer="relu")
    torch.testing.assert_close(forced(x), gate(forced, x))
    assert mbconv.SqueezeExcite(8, rd_channels=5).conv_reduce.out_channels == 5
    up = mbconv.SqueezeExcite(8, rd_round_fn=mbconv.round_channels)
    assert up.conv_reduce.out_channels == 8
    assert list(layer.state_dict()) == [
        f"{name}.{kind}" for name in ("conv_reduce", "conv_expand") for kind in ("weight", "bias")
    ]


def test_conv_bn_act():
    x = torch.randn(X)
    block = ready(mbconv.ConvBnAct(8, 8, 3, skip=True, group_size=4))
    expected = norm(block.bn1, conv(block.conv, x, padding=1, groups=2)) + x
    torch.testing.assert_close(block(x), expected)
    assert not mbconv.ConvBnAct(8, 8, 3).has_skip


def test_depthwise_separable():
    x = torch.randn(X)
    block = ready(mbconv.DepthwiseSeparableConv(8, 8, 5, se_layer=mbconv.SqueezeExcite))
    y = gate(block.se, norm(block.bn1, conv(block.conv_dw, x, padding=2, groups=8)))
    torch.testing.assert_close(block(x), norm(block.bn2, conv(block.conv_pw, y), same) + x)
    active = ready(mbconv.DepthwiseSeparableConv(8, 6, pw_act=True, noskip=True))
    assert active(x).min() == 0


def inverted(block, x, stride, padding, convs):
    y = norm(block.bn1, convs(block.conv_pw, x))
    window = dict(stride=stride, padding=padding, groups=y.shape[1])
    y = gate(block.se, norm(block.bn2, convs(block.conv_dw, y, **window)))
    return norm(block.bn3, convs(block.conv_pwl, y), same)


@pytest.mark.parametrize("stride", [1, 2])
def test_inverted_residual(stride):
    x = torch.randn(X)
    options = dict(stride=stride, exp_ratio=3, se_layer=mbconv.SqueezeExcite)
    block = ready(mbconv.InvertedResidual(8, 8, 3, **options))
    expected = inverted(block, x, stride, 1, conv) + (x if stride == 1 else 0)
    torch.testing.assert_close(block(x), expected)


def test_cond_conv_residual_mixes_its_kernels_per_sample():
    x = torch.randn(X)
    options = dict(exp_ratio=2, se_layer=mbconv.SqueezeExcite, num_experts=3)
    block = ready(mbconv.CondConvResidual(8, 8, 3, **options))
    out = []
    for sample in x[:, None]:
        routing = F.linear(sample.mean((2, 3)), block.routing_fn.weight, block.routing_fn.bias)
        weights = routing.sigmoid()[0]

        def mixed(layer, y, weights=weights, **geometry):
            kernel = (weights[:, None] * layer.weight).sum(0).view(layer.weight_shape)
            return F.conv2d(y, kernel, **geometry)

        out.append(inverted(block, sample, 1, 1, mixed) + sample)
    torch.testing.assert_close(block(x), torch.cat(out))


def test_edge_residual():
    x = torch.randn(X)
    block = ready(mbconv.EdgeResidual(8, 12, 3, stride=2, exp_ratio=2, force_in_chs=16))
    assert block.conv_exp.out_channels == 32
    y = norm(block.bn1, conv(block.conv_exp, x, stride=2, padding=1))
    torch.testing.assert_close(block(x), norm(block.bn2, conv(block.conv_pwl, y), same))


@pytest.mark.parametrize(
    ("kernels", "strided"),
    [((3, 5, 0), "dw_mid"), ((5, 0, 0), "dw_start"), ((0, 0, 3), "dw_end"), ((3, 3, 5), "dw_mid")],
)
def test_universal_inverted_residual(kernels, strided):
    x = torch.randn(X)
    names = dict(zip(("dw_start", "dw_mid", "dw_end"), kernels, strict=True))
    block = mbconv.UniversalInvertedResidual(
        8, 12, *kernels, stride=2, exp_ratio=2, layer_scale_init_value=0.5
    )
    ready(block)

    def spatial(name, y, act):
        if not names[name]:
            return y
        layer, window = getattr(block, name), dict(padding=names[name] // 2, groups=y.shape[1])
        window["stride"] = 2 if name == strided else 1
        return norm(layer.bn, conv(layer.conv, y, **window), act)

    y = spatial("dw_start", x, same)
    y = norm(block.pw_exp.bn, conv(block.pw_exp.conv, y))
    y = spatial("dw_mid", y, F.relu)
    y = norm(block.pw_proj.bn, conv(block.pw_proj.conv, y), same)
    torch.testing.assert_close(block(x), 0.5 * spatial("dw_end", y, same))


@pytest.mark.parametrize("multi_query", [False, True])
def test_mobile_attention(multi_query):
    x = torch.randn(X)
    options = dict(num_heads=2, key_dim=4, value_dim=4, layer_scale_init_value=0.5, use_cpe=True)
    block = ready(mbconv.MobileAttention(8, 8, use_multi_query=multi_query, **options))
    y = x + conv(block.conv_cpe_dw, x, padding=1, groups=8)
    torch.testing.assert_close(block(x), 0.5 * block.attn(norm(block.norm, y, same)) + y)
    kind = hub_layers.MultiQueryAttention2d if multi_query else hub_layers.Attention2d
    assert type(block.attn) is kind


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    ("kind", "filtered"),
    [
        ("ConvBnAct", 16),
        ("DepthwiseSeparableConv", 8),
        ("InvertedResidual", 32),
        ("CondConvResidual", 32),
        ("EdgeResidual", 32),
        ("UniversalInvertedResidual", 32),
    ],
)
def test_anti_aliasing_strides_instead_of_the_convolution(kind, filtered, stride):
    options = {} if kind in ("ConvBnAct", "DepthwiseSeparableConv") else dict(exp_ratio=4)
    options |= dict(kernel_size=3) if kind == "ConvBnAct" else {}
    block = getattr(mbconv, kind)(8, 16, stride=stride, aa_layer="blurpc", **options).eval()
    blurs = [m for m in block.modules() if isinstance(m, hub_layers.BlurPool2d)]
    assert [(b.channels, b.stride) for b in blurs] == ([(filtered, 2)] if stride == 2 else [])
    strides = [getattr(m, "stride", None) for m in block.modules() if hasattr(m, "kernel_size")]
    assert set(strides) == {(1, 1)}
    seen = []
    for blur in blurs:
        blur.register_forward_hook(lambda *_: seen.append(True))
    assert block(torch.randn(X)).shape == (2, 16, 10 // stride, 12 // stride)
    assert len(seen) == len(blurs)


def test_the_last_depthwise_convolution_is_not_anti_aliased():
    with pytest.raises(ValueError, match="which is not anti-aliased"):
        mbconv.UniversalInvertedResidual(8, 8, 0, 0, 3, stride=2, aa_layer="blur")


@pytest.mark.parametrize("kernel_size", [2, 3, 5])
def test_same_padding_as_in_tensorflow(kernel_size):
    block = mbconv.InvertedResidual(8, 8, kernel_size, stride=2, pad_type="same").eval()
    assert block(torch.randn(1, 8, 11, 12)).shape[2:] == (6, 6)


def test_drop_path_drops_the_branch_of_whole_samples():
    x = torch.randn(64, 8, 2, 2)
    block = mbconv.InvertedResidual(8, 8, drop_path_rate=0.5).train()
    unchanged = (block(x) == x).flatten(1).all(1)
    assert 10 < unchanged.sum() < 54
    block.eval()
    assert not (block(x) == x).flatten(1).all(1).any()


def test_space_to_depth_never_skips():
    block = mbconv.InvertedResidual(8, 8, s2d=True)
    assert not block.has_skip
    assert block(torch.randn(X)).shape == (2, 8, 5, 6)


def test_group_sizes_are_channels_per_group():
    assert [mbconv.num_groups(size, 12) for size in (None, 0, 1, 4)] == [1, 1, 12, 3]
    with pytest.raises(ValueError, match="12 channels do not divide"):
        mbconv.num_groups(5, 12)
