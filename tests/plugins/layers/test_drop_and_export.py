import hub_layers as L
import pytest
import torch
from torch import nn


def test_drop_path_zeroes_samples_and_keeps_the_expectation():
    torch.manual_seed(0)
    x = torch.ones(20000, 2, 1)
    y = L.DropPath(0.3).train()(x)
    assert y.unique().tolist() == pytest.approx([0, 1 / 0.7])
    assert torch.equal(y[:, 0], y[:, 1])
    assert abs(y.mean() - 1) < 0.02
    assert abs(L.drop_path(x, 0.3, True, scale_by_keep=False).mean() - 0.7) < 0.02
    assert L.DropPath(0.3).eval()(x) is x


def test_drop_path_rates_grow_linearly():
    assert L.calculate_drop_path_rates(0.3, 4) == pytest.approx([0, 0.1, 0.2, 0.3])
    stages = L.calculate_drop_path_rates(0.3, [1, 3], stagewise=True)
    assert [len(s) for s in stages] == [1, 3] and stages[1][-1] == pytest.approx(0.3)
    with pytest.raises(ValueError, match="depths=4"):
        L.calculate_drop_path_rates(0.3, 4, stagewise=True)


@pytest.mark.parametrize("side", [2, 3])
def test_drop_block_drops_its_share_in_blocks_and_keeps_the_mean(side):
    torch.manual_seed(0)
    x = torch.ones(2000, 2, 8, 8)
    y = L.DropBlock2d(0.1, block_size=side).train()(x)
    assert 0.04 < (y == 0).float().mean() < 0.15
    assert torch.equal(y[:, 0], y[:, 1])
    assert abs(y.mean() - 1) < 1e-3
    noisy = L.drop_block_2d(x, 0.1, side, with_noise=True)
    assert not (noisy == 0).any() and (noisy == 1).any()
    assert L.DropBlock2d(0.1).eval()(x) is x


def test_drop_block_overwrites_only_when_asked():
    x = torch.ones(4, 2, 8, 8)
    L.drop_block_2d(x, 0.5, 3)
    assert torch.equal(x, torch.ones_like(x))
    assert L.drop_block_2d(x, 0.5, 3, inplace=True) is x


def test_patch_dropout_keeps_prefix_and_order():
    x = torch.arange(11.0).view(1, 11, 1).repeat(2, 1, 3)
    y = L.PatchDropout(0.3, ordered=True)(x)
    assert y.shape == (2, 8, 3)
    assert (y[:, 0] == 0).all() and (y[:, 1:] > y[:, :-1]).all()
    assert L.PatchDropout(0.3).eval()(x) is x


def network():
    return nn.Sequential(
        L.ConvNormAct(3, 8, 3, stride=2, padding="same", act_layer="hard_swish"),
        L.create_attn("ceca", 8),
        L.create_attn("gc", 8),
        L.BlurPool2d(8),
        L.LayerNormAct2dFp32(8, act_layer="gelu"),
        L.DropPath(0.1),
        L.ClassifierHead(8, 5, "avgmax"),
    ).eval()


@pytest.mark.skipif(
    torch.__version__ < "2.11", reason="torch exports no padding by a dynamic size before 2.11"
)
@pytest.mark.parametrize("strict", [True, False])
def test_layers_export_with_a_dynamic_batch_and_size(strict):
    net, x = network(), torch.randn(3, 3, 21, 18)
    size = torch.export.Dim("size", min=16, max=64)
    shapes = ({0: torch.export.Dim("batch", min=2), 2: size},)
    program = torch.export.export(
        net, (torch.randn(2, 3, 24, 18),), dynamic_shapes=shapes, strict=strict
    )
    torch.testing.assert_close(program.module()(x), net(x))


def test_layers_compile_as_one_graph_in_training():
    net, x = network().train(), torch.randn(2, 3, 16, 16)
    out = torch.compile(net, fullgraph=True, backend="eager")(x)
    out.sum().backward()
    assert all(p.grad is not None for p in net.parameters())


def test_layers_build_on_the_meta_device():
    with torch.device("meta"):
        assert network()(torch.empty(2, 3, 16, 16)).shape == (2, 5)
