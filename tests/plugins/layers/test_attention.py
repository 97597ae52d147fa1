import hub_layers as L
import pytest
import torch
from hub_layers.channel_attention.eca import eca_kernel_size
from torch import nn

X = torch.randn(2, 16, 6, 5, generator=torch.Generator().manual_seed(0))
NAMES = ["se", "ese", "eca", "ecam", "ceca", "ge", "gc", "gca", "cbam", "lcbam"]
KEYS = {
    "se": {
        "fc1.weight": (8, 16, 1, 1),
        "fc1.bias": (8,),
        "fc2.weight": (16, 8, 1, 1),
        "fc2.bias": (16,),
    },
    "ese": {"fc.weight": (16, 16, 1, 1), "fc.bias": (16,)},
    "eca": {"conv.weight": (1, 1, 3)},
    "ceca": {"conv.weight": (1, 1, 3)},
    "ecam": {
        "conv.weight": (8, 1, 1),
        "conv.bias": (8,),
        "conv2.weight": (1, 8, 3),
        "conv2.bias": (1,),
    },
    "ge": {
        "mlp.fc1.weight": (1, 16, 1, 1),
        "mlp.fc1.bias": (1,),
        "mlp.fc2.weight": (16, 1, 1, 1),
        "mlp.fc2.bias": (16,),
    },
}


@pytest.mark.parametrize("name", NAMES)
def test_every_attention_keeps_the_shape_and_trains(name):
    layer = L.create_attn(name, 16)
    out = layer(X)
    assert out.shape == X.shape
    out.sum().backward()
    assert all(p.grad is not None for p in layer.parameters())
    assert L.create_attn(name, 16, device="meta")(X.to("meta")).shape == X.shape
    assert L.create_attn(name, 16, dtype=torch.bfloat16)(X.bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize("name", KEYS)
def test_state_dict_is_the_published_one(name):
    shapes = {k: tuple(v.shape) for k, v in L.create_attn(name, 16).state_dict().items()}
    assert shapes == KEYS[name]


def test_squeeze_excite_is_its_formula():
    se = L.SEModule(16, rd_ratio=0.25, rd_divisor=1)
    w1, w2 = se.fc1.weight.flatten(1), se.fc2.weight.flatten(1)
    hidden = torch.relu(X.mean((2, 3)) @ w1.T + se.fc1.bias)
    gate = torch.sigmoid(hidden @ w2.T + se.fc2.bias)
    torch.testing.assert_close(se(X), X * gate[:, :, None, None])


@pytest.mark.parametrize(("channels", "size"), [(4, 3), (64, 3), (256, 5), (512, 5), (2048, 7)])
def test_eca_kernel_size_follows_the_paper(channels, size):
    assert eca_kernel_size(channels) == size
    assert L.EcaModule(channels).conv.kernel_size == (size,)
    assert L.EcaModule(kernel_size=9).conv.kernel_size == (9,)
    with pytest.raises(ValueError, match="odd"):
        L.EcaModule(kernel_size=4)


def test_circular_eca_treats_all_channels_alike():
    ceca = L.CecaModule(16)
    rolled = ceca(X.roll(5, dims=1)).roll(-5, dims=1)
    torch.testing.assert_close(rolled, ceca(X))
    eca = L.EcaModule(16)
    eca.load_state_dict(ceca.state_dict())
    assert not torch.allclose(eca(X.roll(5, dims=1)).roll(-5, dims=1), eca(X))


def test_global_context_without_attention_pools_by_the_mean():
    gc = L.GlobalContext(16, use_attn=False)
    expected = X * gc.mlp_scale(X.mean((2, 3), keepdim=True)).sigmoid()
    torch.testing.assert_close(gc(X), expected)
    zero = L.GlobalContext(16, fuse_add=True, fuse_scale=False, init_last_zero=True)
    nn.init.zeros_(zero.mlp_add.fc2.bias)
    assert torch.equal(zero(X), X)


def test_gather_excite_gathers_over_its_extent():
    ge = L.GatherExcite(16, extent=2, use_mlp=False)
    assert ge.pool(X).shape[-2:] == (3, 3)
    names = [n for n, _ in L.GatherExcite(16, extra_params=True, extent=4).gather.named_children()]
    assert names == ["conv1", "norm1", "act1", "conv2", "norm2"]
    for bad in (dict(extent=0), dict(extent=3)):
        with pytest.raises(ValueError, match=r"feat_size|extent=3"):
            L.GatherExcite(16, extra_params=True, **bad)
