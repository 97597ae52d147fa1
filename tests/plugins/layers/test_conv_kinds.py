"""Mixed and conditional convolution and attention on maps, against slow references."""

import hub_layers as L
import pytest
import torch
import torch.nn.functional as F


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize("padding", ["", "same"])
def test_mixed_convolution_gives_each_share_its_kernel(depthwise, padding):
    conv = L.create_conv2d(11, 11, [3, 5, 7], stride=2, padding=padding, depthwise=depthwise)
    assert list(conv.state_dict()) == ["0.weight", "1.weight", "2.weight"]
    assert [c.in_channels for c in conv.values()] == [5, 3, 3]  # what does not divide goes first
    x = torch.randn(2, 11, 12, 10)
    parts = []
    for part, kernel, c in zip(x.split([5, 3, 3], 1), (3, 5, 7), conv.values(), strict=True):
        before = kernel // 2 if padding == "" else (kernel - 2) // 2  # SAME: the odd row goes after
        total = 2 * before if padding == "" else kernel - 2
        padded = F.pad(part, (before, total - before, before, total - before))
        groups = part.shape[1] if depthwise else 1
        parts.append(F.conv2d(padded, c.weight, stride=2, groups=groups))
    torch.testing.assert_close(conv(x), torch.cat(parts, 1))


def test_more_kernels_than_channels_are_refused():
    with pytest.raises(ValueError, match=r"\(3, 5, 7\): 3 kernels cannot share 2 input"):
        L.MixedConv2d(2, 8, (3, 5, 7))


@pytest.mark.parametrize("padding", ["", "same"])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("groups", [1, 2])
def test_conditional_convolution_mixes_kernels_per_sample(padding, bias, groups):
    options = dict(stride=2, padding=padding, bias=bias, groups=groups)
    conv = L.CondConv2d(4, 6, 3, num_experts=3, **options)
    x, routing = torch.randn(2, 4, 8, 8), torch.rand(2, 3)
    expected = []
    for sample, weights in zip(x, routing, strict=True):
        plain = L.create_conv2d(4, 6, 3, **options)
        mixed = sum(w * e for w, e in zip(weights, conv.weight, strict=True))
        state = {"weight": mixed.view(6, 4 // groups, 3, 3)}
        if bias:
            state["bias"] = sum(w * e for w, e in zip(weights, conv.bias, strict=True))
        plain.load_state_dict(state)
        expected.append(plain(sample[None]))
    torch.testing.assert_close(conv(x, routing), torch.cat(expected))


def test_experts_are_drawn_like_convolutions():
    conv = L.CondConv2d(64, 64, 3, num_experts=2, bias=True)
    bound = (64 * 9) ** -0.5  # of nn.Conv2d: kaiming_uniform_(a=sqrt(5))
    for numbers in (conv.weight, conv.bias):
        assert numbers.abs().max() <= bound
        assert numbers.std().item() == pytest.approx(bound / 3**0.5, rel=0.15)


def _attend(q, k, v):
    return (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1) @ v


@pytest.mark.parametrize("head_first", [False, True])
def test_attention2d_against_one_head_after_the_other(head_first):
    layer = L.Attention2d(8, 12, num_heads=4, head_first=head_first, expand_first=True)
    x = torch.randn(2, 8, 3, 5)
    qkv = layer.qkv(x).flatten(2).transpose(1, 2)  # (B, N, 3 * 12)
    heads = []
    for i in range(4):
        starts = [9 * i + 3 * j if head_first else 12 * j + 3 * i for j in range(3)]
        heads.append(_attend(*[qkv[..., s : s + 3] for s in starts]))
    expected = torch.cat(heads, -1).transpose(1, 2).reshape(2, 12, 3, 5)
    torch.testing.assert_close(layer(x), layer.proj(expected))


@pytest.mark.parametrize(("query_strides", "kv_stride"), [(1, 1), (1, 2), ((2, 1), 2)])
def test_multi_query_attention_against_one_head_after_the_other(query_strides, kv_stride):
    strides = dict(query_strides=query_strides, kv_stride=kv_stride)
    layer = L.MultiQueryAttention2d(8, 6, num_heads=2, key_dim=5, value_dim=3, **strides).eval()
    x = torch.randn(2, 8, 4, 6)
    q = layer.query(x)
    height, width = q.shape[-2:]
    q, k, v = (t.flatten(2).transpose(1, 2) for t in (q, layer.key(x), layer.value(x)))
    heads = torch.cat([_attend(q[..., s : s + 5], k, v) for s in (0, 5)], -1)
    expected = layer.output(heads.transpose(1, 2).reshape(2, 6, height, width))
    torch.testing.assert_close(layer(x), expected)
    assert layer(x).shape == (2, 6, 4, 6)
    wide = torch.ones(1, 2, height * width, k.shape[1], dtype=torch.bool)
    torch.testing.assert_close(layer(x, attn_mask=wide), expected)


def test_multi_query_attention_names():
    names = {n for n, _ in L.MultiQueryAttention2d(8, num_heads=2, kv_stride=2).named_parameters()}
    norm = {f"{p}.norm.{n}" for p in ("key", "value") for n in ("weight", "bias")}
    down = {f"{p}.down_conv.weight" for p in ("key", "value")}
    assert names == norm | down | {f"{p}.proj.weight" for p in ("query", "key", "value", "output")}


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="10 channels do not divide into num_heads=4"):
        L.Attention2d(10, num_heads=4)
