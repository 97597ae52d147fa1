"""What the constructor of ResNet promises."""

import hub
import pytest
import torch
from hub_layers import DropBlock2d, DropPath
from hub_resnet.blocks import BasicBlock


@pytest.mark.parametrize("name", ["test_resnet", "resnet14t", "seresnet18", "resnetblur18"])
@pytest.mark.parametrize(
    ("output_stride", "reduction"),
    [(8, [2, 4, 8, 8, 8]), (16, [2, 4, 8, 16, 16]), (32, [2, 4, 8, 16, 32])],
)
def test_output_stride_turns_strides_into_dilation(name, output_stride, reduction):
    model = hub.create_model(name, output_stride=output_stride, features_only=True).eval()
    assert model.feature_info.reduction() == reduction
    assert [64 // m.shape[-1] for m in model(torch.rand(1, 3, 64, 64))] == reduction
    plain = hub.create_model(name, features_only=True)
    assert model.state_dict().keys() == plain.state_dict().keys()


def test_output_stride_is_8_16_or_32():
    with pytest.raises(ValueError, match="output_stride=4: it can be 8, 16 or 32"):
        hub.create_model("resnet18", output_stride=4)


def test_stochastic_depth_grows_linearly_and_drop_block_is_in_the_last_stages():
    model = hub.create_model("resnet18", drop_path_rate=0.7, drop_block_rate=0.1)
    rates = [
        block.drop_path.drop_prob if isinstance(block.drop_path, DropPath) else 0.0
        for block in model.modules()
        if isinstance(block, BasicBlock)
    ]
    assert rates == pytest.approx([0.1 * i for i in range(8)])
    for i in range(1, 5):
        blocks = getattr(model, f"layer{i}")
        assert all(isinstance(b.drop_block, DropBlock2d) == (i >= 3) for b in blocks)


def test_dropout_stands_before_the_classifier():
    model = hub.create_model("test_resnet", drop_rate=0.5)
    features = torch.ones(64, 96, 2, 2)
    pooled = model.forward_head(features, pre_logits=True)
    assert 0.4 < (pooled == 0).float().mean() < 0.6
    assert (model.eval().forward_head(features, pre_logits=True) == 1).all()


def test_residuals_start_at_zero_unless_told_otherwise():
    assert (hub.create_model("resnet14t").layer1[0].bn3.weight == 0).all()
    assert (hub.create_model("resnet18").layer1[0].bn2.weight == 0).all()
    assert (hub.create_model("resnet18", zero_init_last=False).layer1[0].bn2.weight == 1).all()


@pytest.mark.parametrize("in_chans", [1, 4])
@pytest.mark.parametrize("name", ["resnet18", "resnet14t"])
def test_any_number_of_channels(name, in_chans):
    model = hub.create_model(name, in_chans=in_chans, num_classes=2).eval()
    assert model(torch.rand(1, in_chans, 64, 64)).shape == (1, 2)


@pytest.mark.parametrize("pool", ["avg", "max", "avgmax", "catavgmax", "fast"])
def test_pools(pool):
    model = hub.create_model("test_resnet", global_pool=pool, num_classes=2).eval()
    assert model(torch.rand(1, 3, 64, 64)).shape == (1, 2)


def test_parts_by_name_or_class():
    by_name = hub.create_model("test_resnet", act_layer="silu", norm_layer="groupnorm1")
    assert isinstance(by_name.act1, torch.nn.SiLU)
    by_class = hub.create_model("test_resnet", act_layer=torch.nn.SiLU)
    assert isinstance(by_class.act1, torch.nn.SiLU)
    attended = hub.create_model("resnet18", block_args=dict(attn_layer="cbam"))
    assert attended(torch.rand(2, 3, 64, 64)).shape == (2, 1000)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(block="bottelneck"), "unknown block 'bottelneck'. Did you mean 'bottleneck'"),
        (dict(stem_type="deeep"), "stem_type='deeep': it can be '', 'deep', 'deep_tiered'"),
        (dict(cardinality=32), "a basic block has neither groups nor another base width"),
        (dict(global_pool="avrg"), "unknown pool type 'avrg'. Did you mean 'avg'"),
        (dict(global_pool=""), "without a pool"),
        (dict(block_args=dict(attn_layer="sse")), "unknown attention 'sse'. Did you mean"),
    ],
)
def test_impossible_arguments_are_explained(arguments, message):
    with pytest.raises(ValueError) as caught:
        hub.create_model("resnet18", **arguments)
    assert message in str(caught.value)


def test_gradients_reach_every_parameter():
    model = hub.create_model("test_resnet", zero_init_last=False)
    model(torch.rand(2, 3, 64, 64)).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.parameters())
