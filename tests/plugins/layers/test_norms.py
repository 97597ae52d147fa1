import hub_layers as L
import pytest
import torch
from torch import nn

X = torch.randn(2, 8, 5, 4, generator=torch.Generator().manual_seed(0)) * 3 + 1


def randomized(module):
    for i, (name, t) in enumerate(module.state_dict().items()):
        if t.is_floating_point():
            low = 0.5 if "var" in name else -1.0
            t.uniform_(low, 2.0, generator=torch.Generator().manual_seed(i))
    return module


def test_2d_norms_equal_the_plain_ones_on_channels_last():
    for name in ("LayerNorm", "RmsNorm", "SimpleNorm"):
        norm2d, norm = randomized(getattr(L, name + "2d")(8)), randomized(getattr(L, name)(8))
        expected = norm(X.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        torch.testing.assert_close(norm2d(X), expected, msg=name)


def test_norms_follow_their_formulas():
    x = X.permute(0, 2, 3, 1)
    rms = x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt()
    torch.testing.assert_close(L.RmsNorm(8)(x), rms)
    torch.testing.assert_close(L.SimpleNorm(8)(x), x / (x.var(-1, keepdim=True) + 1e-6).sqrt())
    centred = x - x.mean(-1, keepdim=True)
    torch.testing.assert_close(
        L.LayerNorm(8)(x), centred / (x.var(-1, keepdim=True, unbiased=False) + 1e-6).sqrt()
    )


@pytest.mark.parametrize("name", ["layernorm", "rmsnorm", "simplenorm"])
@pytest.mark.parametrize("suffix", ["", "2d"])
def test_fp32_norms_compute_in_float32_and_keep_the_dtype(name, suffix):
    norm = L.create_norm_layer(name + suffix + "fp32", 8).bfloat16()
    exact = L.create_norm_layer(name + suffix, 8)
    x = (X if suffix else X.permute(0, 2, 3, 1)).bfloat16()
    out = norm(x)
    assert out.dtype == torch.bfloat16
    assert torch.equal(out, exact(x.float()).bfloat16())


def test_norm_without_affine_has_no_state():
    for name in ("layernorm2d", "rmsnorm2d", "simplenorm2d", "groupnorm1"):
        assert not L.create_norm_layer(name, 8, affine=False).state_dict()


def test_norm_act_is_norm_then_act_with_the_keys_of_the_norm():
    from hub_layers.norm.norm_act import NORM_ACT_OF, NORM_ACTS

    for plain, fused in NORM_ACT_OF.items():
        if fused not in NORM_ACTS.values() or plain is nn.GroupNorm or plain is nn.LayerNorm:
            continue
        group = dict(num_groups=2) if plain is L.GroupNorm else {}
        x = X if "2d" in plain.__name__ or "Group" in plain.__name__ else X.permute(0, 2, 3, 1)
        norm, both = (
            randomized(plain(8, eps=1e-3, **group)),
            fused(8, eps=1e-3, act_layer="silu", **group),
        )
        assert list(both.state_dict()) == list(norm.state_dict())
        both.load_state_dict(norm.state_dict())
        torch.testing.assert_close(both(x), nn.functional.silu(norm(x)), msg=str(plain))


def test_batch_norm_act_is_a_batch_norm_with_drop_before_act():
    order = []

    class Drop(nn.Module):
        def forward(self, x):
            order.append("drop")
            return x - 100

    norm = L.BatchNormAct2d(8, drop_layer=Drop)
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm(X).abs().max() == 0 and order == ["drop"]
    assert isinstance(L.BatchNormAct2d(8, apply_act=False).act, nn.Identity)
    assert norm.num_batches_tracked == 1


def test_group_size_decides_the_number_of_groups():
    assert L.GroupNormAct(8, group_size=2).num_groups == 4
    with pytest.raises(ValueError, match="groups of 3"):
        L.GroupNormAct(8, group_size=3)


def network():
    layers = nn.BatchNorm2d(8, eps=0.1, momentum=0.3), L.BatchNormAct2d(8, act_layer="silu")
    return randomized(nn.Sequential(nn.Sequential(*layers), nn.Conv2d(8, 8, 1))).eval()


def test_frozen_batch_norm_equals_eval_and_never_changes():
    net = network()
    expected = net(X)
    frozen = L.freeze_batch_norm_2d(net)
    assert type(frozen[0][0]) is L.FrozenBatchNorm2d
    assert type(frozen[0][1]) is L.FrozenBatchNormAct2d
    before = {k: v.clone() for k, v in frozen.state_dict().items()}
    torch.testing.assert_close(frozen.train()(X), expected)
    assert all(torch.equal(v, before[k]) for k, v in frozen.state_dict().items())
    assert [k for k, _ in frozen.named_parameters()] == ["1.weight", "1.bias"]


def test_unfreezing_gives_the_batch_norm_back():
    net = network()
    expected, state = net(X), net.state_dict()
    thawed = L.unfreeze_batch_norm_2d(L.freeze_batch_norm_2d(net))
    assert type(thawed[0][0]) is nn.BatchNorm2d and type(thawed[0][1]) is L.BatchNormAct2d
    assert (thawed[0][0].eps, thawed[0][0].momentum) == (0.1, 0.3)
    assert not thawed[0][0].training
    assert thawed.state_dict().keys() == state.keys()
    assert torch.equal(thawed(X), expected)


def test_a_root_batch_norm_is_converted_too():
    assert type(L.freeze_batch_norm_2d(nn.BatchNorm2d(8))) is L.FrozenBatchNorm2d


def test_frozen_batch_norm_loads_a_batch_norm_checkpoint():
    norm = randomized(nn.BatchNorm2d(8)).eval()
    frozen = L.FrozenBatchNorm2d(8)
    frozen.load_state_dict(norm.state_dict())
    torch.testing.assert_close(frozen(X), norm(X))
    assert frozen.bfloat16()(X.bfloat16()).dtype == torch.bfloat16


def test_synchronizing_keeps_parameters_and_activation():
    net = network()
    expected, parameters = net(X), list(net.parameters())
    sync = L.convert_sync_batchnorm(net)
    assert type(sync[0][0]) is nn.SyncBatchNorm and type(sync[0][1]) is L.SyncBatchNormAct
    assert all(a is b for a, b in zip(sync.parameters(), parameters, strict=True))
    torch.testing.assert_close(sync.eval()(X), expected)


def test_name_of_a_norm_is_the_one_that_finds_its_class():
    from hub_layers.norm.norms import NORMS

    for name in NORMS:
        norm = L.get_norm_layer(name)(32) if name != "groupnorm" else L.GroupNorm(32, 4)
        assert L.get_norm_layer(L.get_norm_name(norm)) is type(norm)
    assert L.get_norm_name(nn.BatchNorm2d(4)) == "batchnorm2d"
    assert L.get_norm_name(nn.InstanceNorm2d(4)) is None
