"""What the constructor and the sizes of VisionTransformer promise."""

import copy

import hub
import pytest
import torch
from hub_layers import DropPath, resample_abs_pos_embed
from hub_vit.model import VisionTransformer

SMALL = dict(embed_dim=32, depth=2, num_heads=2, num_classes=5)


def small(**options) -> VisionTransformer:
    torch.manual_seed(0)
    return VisionTransformer(**{**SMALL, "img_size": 64, **options}).eval()


def image(height=64, width=64, batch=2):
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(1))


def test_prefix_tokens_come_first_and_only_the_class_token_may_lack_a_position():
    model = small(reg_tokens=3)
    assert model.num_prefix_tokens == 4
    assert model.pos_embed.shape == (1, 16 + 4, 32)
    assert small(reg_tokens=3, no_embed_class=True).pos_embed.shape == (1, 16, 32)
    assert small(class_token=False, global_pool="avg").pos_embed.shape == (1, 16, 32)
    assert small(pos_embed="none").pos_embed is None
    assert model.forward_features(image()).shape == (2, 20, 32)


def test_maps_of_images_that_are_not_square():
    model = small(img_size=(64, 96), reg_tokens=2)
    final, pairs = model.forward_intermediates(image(64, 96), return_prefix_tokens=True)
    assert final.shape == (2, 3 + 24, 32)
    assert [m.shape for m, _ in pairs] == [(2, 32, 4, 6)] * 2
    assert [p.shape for _, p in pairs] == [(2, 3, 32)] * 2


def test_a_feature_extractor_hands_out_the_last_three_levels():
    model = hub.create_model("test_vit", features_only=True)
    assert model.feature_info.module_name() == ["blocks.3", "blocks.4", "blocks.5"]
    assert [m.shape for m in model(image(160, 160))] == [(2, 64, 10, 10)] * 3


def test_a_feature_extractor_drops_what_it_does_not_need():
    model = hub.create_model("test_vit", features_only=True, out_indices=(1,))
    names = {name.partition(".")[0] for name, _ in model.named_parameters()}
    assert names == {"cls_token", "pos_embed", "patch_embed", "blocks"}
    assert len(model.blocks) == 2


@pytest.mark.parametrize("pool", ["token", "avg", "avgmax", "max"])
def test_the_norm_is_of_all_tokens_or_of_the_pooled_one(pool):
    model = small(global_pool=pool)
    pooled = pool != "token"
    assert isinstance(model.norm, torch.nn.Identity) == pooled
    assert isinstance(model.fc_norm, torch.nn.Identity) != pooled
    assert model(image()).shape == (2, 5)
    # Whichever has it: what the classifier sees is normalised.
    seen = model.forward_head(model.forward_features(image()), pre_logits=True)
    assert seen.mean(1).abs().max() < 1e-5


def test_a_network_without_pool_classifies_every_token():
    assert small(global_pool="")(image()).shape == (2, 17, 5)
    assert small(global_pool="", num_classes=0)(image()).shape == (2, 17, 32)


def test_reset_classifier_changes_pool_and_classes_only():
    model = small()
    before = copy.deepcopy(model.state_dict())
    model.reset_classifier(3, "avg")
    assert model(image()).shape == (2, 3)
    assert model.global_pool == "avg"
    kept = {k: v for k, v in model.state_dict().items() if not k.startswith("head.")}
    assert all(torch.equal(v, before[k]) for k, v in kept.items())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(img_size=70), "height 70 is not a multiple .* nearest are 64 or 80"),
        (dict(img_size=(64, 40)), "width 40 is not a multiple .* nearest are 32 or 48"),
        (dict(img_size=8), "nearest are 16"),
        (dict(global_pool="mean"), "global_pool='mean': it can be '', 'token', 'avg'"),
        (dict(class_token=False), "needs class_token=True"),
        (dict(pos_embed="sine"), "pos_embed='sine': it can be 'learn'"),
        (dict(weight_init="he"), "weight_init='he': it can be '', 'jax'"),
        (dict(num_heads=3), "num_heads=3 does not divide the width 32"),
    ],
)
def test_what_cannot_be_built_is_refused_with_what_can(options, message):
    with pytest.raises(ValueError, match=message):
        small(**options)


def test_an_image_of_another_size_is_refused_with_what_to_do():
    with pytest.raises(ValueError, match=r"64x96, but the network takes 64x64.*set_input_size"):
        small()(image(64, 96))
    with pytest.raises(ValueError, match=r"width 90 .* nearest are 80 or 96"):
        small(dynamic_img_size=True)(image(64, 90))


def test_dynamic_size_gives_what_a_network_of_that_size_gives():
    model, x = small(dynamic_img_size=True, reg_tokens=1), image(80, 48)
    fixed = small(img_size=(80, 48), reg_tokens=1)
    state = model.state_dict()
    state["pos_embed"] = resample_abs_pos_embed(state["pos_embed"], (5, 3), (4, 4), 2)
    fixed.load_state_dict(state)
    torch.testing.assert_close(model(x), fixed(x))
    shapes = [m.shape for m in model.forward_intermediates(x, intermediates_only=True)]
    assert shapes == [(2, 32, 5, 3)] * 2


def test_padding_takes_every_size_as_if_zeros_were_there():
    model = small(dynamic_img_size=True, dynamic_img_pad=True)
    x = image(61, 90)
    padded = torch.nn.functional.pad(x, (0, 6, 0, 3))
    torch.testing.assert_close(model(x), model(padded))
    (first, _) = model.forward_intermediates(x, intermediates_only=True)
    assert first.shape == (2, 32, 4, 6)


@pytest.mark.parametrize("options", [dict(), dict(no_embed_class=True, reg_tokens=2)])
def test_set_input_size_equals_a_network_built_for_it_with_resampled_weights(options):
    model = small(**options)
    rebuilt = small(img_size=(96, 32), patch_size=8, **options)
    weights = hub.family.Weights(architecture="small", input_size=(3, 64, 64))
    from hub_vit.convert import convert

    rebuilt.pretrained_cfg = weights.to_dict()
    rebuilt.load_state_dict(convert(model.state_dict(), rebuilt))
    model.set_input_size((96, 32), patch_size=8)
    x = image(96, 32)
    torch.testing.assert_close(model(x), rebuilt(x))
    assert model.img_size == rebuilt.img_size == (96, 32)
    assert model.feature_info == rebuilt.feature_info
    assert model.feature_info.reduction() == [8, 8]


def test_set_input_size_there_and_back_over_the_same_grid_changes_nothing():
    model = small()
    before = copy.deepcopy(model.state_dict())
    model.set_input_size(64)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_an_impossible_size_leaves_the_network_as_it_was():
    model = small()
    before = model(image())
    with pytest.raises(ValueError, match="nearest are 96 or 112"):
        model.set_input_size(100)
    with pytest.raises(ValueError, match="nearest are 60 or 72"):
        model.set_input_size(patch_size=12)
    assert torch.equal(model(image()), before)
    assert model.img_size == (64, 64)


def test_set_input_size_keeps_what_is_frozen_frozen():
    model = small()
    model.requires_grad_(False)
    model.set_input_size(96, patch_size=8)
    assert not any(p.requires_grad for p in model.parameters())


def test_options_that_only_training_sees():
    options = dict(patch_drop_rate=0.5, pos_drop_rate=0.1, proj_drop_rate=0.1, attn_drop_rate=0.1)
    model = small(**options, drop_path_rate=0.2, drop_rate=0.1)
    rates = [b.drop_path1.drop_prob for b in model.blocks if isinstance(b.drop_path1, DropPath)]
    assert rates == pytest.approx([0.2])
    model_without = small()
    assert torch.equal(model(image()), model_without(image()))
    assert model.train().forward_features(image()).shape == (2, 1 + 8, 32)


def test_tokens_and_biases_start_as_published():
    model = hub.create_model("vit_tiny_patch16_224")
    assert model.pos_embed.std().item() == pytest.approx(0.02, rel=0.05)
    assert model.cls_token.abs().max() < 1e-5
    assert model.blocks[3].attn.qkv.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert not model.blocks[3].mlp.fc1.bias.any()
    head = small(weight_init="jax_nlhb").head
    assert not head.weight.any()
    assert head.bias.exp().sum().item() == pytest.approx(1.0)


def test_weight_decay_spares_tokens_and_positions():
    assert small(reg_tokens=1).no_weight_decay() == {"cls_token", "reg_token", "pos_embed"}


def test_gradient_checkpointing_gives_the_same_gradients():
    model, x = small().train(), image()
    model(x).sum().backward()
    want = {k: p.grad.clone() for k, p in model.named_parameters()}
    model.zero_grad()
    model.set_grad_checkpointing()
    model(x).sum().backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, want[name])


def test_builds_on_the_meta_device():
    with torch.device("meta"):
        model = small(drop_path_rate=0.1)
    assert all(p.is_meta for p in model.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("dynamic", [False, True])
def test_compiles_and_exports_whole(dynamic):
    model, x = small(dynamic_img_size=dynamic), image()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x), model(x))
    batch = torch.export.Dim("batch", min=2, max=8)
    program = torch.export.export(model, (x,), dynamic_shapes={"x": {0: batch}})
    four = image(batch=4)
    torch.testing.assert_close(program.module()(four), model(four))


@pytest.mark.slow
@pytest.mark.parametrize("pad", [False, True])
@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("size", [(64, 64), (64, 96), (96, 128)])  # the first is its own
def test_exports_with_dynamic_size_from_an_example_of_any(size, strict, pad):
    model = small(dynamic_img_size=True, dynamic_img_pad=pad)
    height, width = (torch.export.Dim(name, min=2, max=20) for name in ("height", "width"))
    shapes = {"x": {2: 16 * height, 3: 16 * width}}
    program = torch.export.export(model, (image(*size),), dynamic_shapes=shapes, strict=strict)
    for other in (image(64, 64), image(64, 192), image(80, 64), image(96, 128)):
        torch.testing.assert_close(program.module()(other), model(other))


def test_exports_of_a_fixed_size_resample_nothing():
    model = small(dynamic_img_size=True)
    program = torch.export.export(model, (image(),), strict=False)
    assert "upsample" not in str(program.graph)
