"""Weights that were trained for other images or classes are adapted on load, and it is said."""

import logging

import hub
import pytest
import torch
from safetensors.torch import load_file, save_file

PLUGIN = """
from hub import Family, Weights, hookimpl

@hookimpl
def hub_models():
    return [Family(
        name="acme",
        model="hub_acme.model:TokenNet",
        converter="hub_acme.model:convert",
        variants={"acme_tokens": dict(img_size=32, patch_size=8)},
        weights={"acme_tokens": Weights(
            input_size=(3, 32, 32), first_conv="patch_embed", classifier="head", num_classes=5
        )},
    )]
"""

MODEL = '''
import torch
from torch import nn
from hub_layers import (
    gen_relative_position_index, resample_abs_pos_embed, resample_patch_embed,
    resize_rel_pos_bias_table, to_2tuple,
)

class TokenNet(nn.Module):
    """A class token and patches; each patch adds up the others, weighted by their distance."""

    def __init__(self, img_size=32, patch_size=8, in_chans=3, num_classes=5, width=6):
        super().__init__()
        self.num_classes = num_classes
        self.grid_size = tuple(n // patch_size for n in to_2tuple(img_size))
        height, width_ = self.grid_size
        self.patch_embed = nn.Conv2d(in_chans, width, patch_size, patch_size)
        self.cls_token = nn.Parameter(torch.randn(1, 1, width))
        self.pos_embed = nn.Parameter(torch.randn(1, 1 + height * width_, width))
        table = torch.randn((2 * height - 1) * (2 * width_ - 1), 1)
        self.relative_position_bias_table = nn.Parameter(table)
        index = gen_relative_position_index(self.grid_size)
        self.register_buffer("relative_position_index", index, persistent=False)
        self.head = nn.Linear(width, num_classes)

    def forward(self, x):
        x = self.patch_embed(x).flatten(2).transpose(1, 2)
        x = torch.cat((self.cls_token.expand(len(x), -1, -1), x), dim=1) + self.pos_embed
        bias = self.relative_position_bias_table[self.relative_position_index, 0]
        return self.head(x[:, 0] + (bias.softmax(-1) @ x[:, 1:]).mean(1))

def convert(state_dict, model):
    state_dict = dict(state_dict)
    name = "patch_embed.weight"
    state_dict[name] = resample_patch_embed(state_dict[name], model.patch_embed.kernel_size)
    if state_dict["pos_embed"].shape != model.pos_embed.shape:
        state_dict["pos_embed"] = resample_abs_pos_embed(state_dict["pos_embed"], model.grid_size)
    name = "relative_position_bias_table"
    state_dict[name] = resize_rel_pos_bias_table(
        state_dict[name], model.grid_size, model.relative_position_bias_table.shape
    )
    return state_dict
'''


@pytest.fixture
def lines(caplog):
    """What the logger "hub" said at INFO or above."""
    caplog.set_level(logging.INFO, logger="hub")
    return lambda: [r.getMessage() for r in caplog.records if r.name == "hub"]


@pytest.fixture
def load(install, tmp_path):
    """A function that loads the weights of an `acme_tokens` with other arguments."""
    (install("acme", PLUGIN) / "model.py").write_text(MODEL)
    hub.refresh()
    file = tmp_path / "tokens.safetensors"

    def load(trained=None, **kwargs):
        with torch.device("cpu"):
            save_file(hub.create_model("acme_tokens", **(trained or {})).state_dict(), file)
        overlay = dict(file=str(file))
        model = hub.create_model(
            "acme_tokens", pretrained=True, pretrained_cfg_overlay=overlay, **kwargs
        )
        return model, load_file(file)

    return load


def changed(model, saved):
    """The names of the tensors that are not those of the file."""
    own = model.state_dict()
    assert own.keys() == saved.keys()
    return [n for n in own if own[n].shape != saved[n].shape or not own[n].equal(saved[n])]


@pytest.mark.parametrize("img_size, grid, shown", [(64, 8, "8x8"), ((48, 32), (6, 4), "6x4")])
def test_tables_are_adapted_to_the_image_size_and_nothing_else(load, lines, img_size, grid, shown):
    from hub_layers import resample_abs_pos_embed, resize_rel_pos_bias_table, to_2tuple

    model, saved = load(img_size=img_size)
    assert lines() == [
        f"pos_embed: adapted from 4x4 to {shown}",
        f"relative position table: adapted from 4x4 to {shown}",
    ]
    assert sorted(changed(model, saved)) == ["pos_embed", "relative_position_bias_table"]
    grid, table = to_2tuple(grid), model.relative_position_bias_table
    assert model.grid_size == grid
    assert model.pos_embed.equal(resample_abs_pos_embed(saved["pos_embed"], grid))
    assert table.equal(
        resize_rel_pos_bias_table(saved["relative_position_bias_table"], grid, table.shape)
    )
    out = model(torch.randn(2, 3, *to_2tuple(img_size)))
    out.sum().backward()
    assert out.shape == (2, 5)
    assert model.pos_embed.grad is not None and table.grad is not None


@pytest.mark.parametrize("img_size", [32, (16, 40)])
def test_same_size_is_untouched_and_silent(load, lines, img_size):
    model, saved = load(dict(img_size=img_size), img_size=img_size)
    assert changed(model, saved) == []
    assert lines() == []


def test_patches_of_another_size(load, lines):
    model, saved = load(patch_size=16, img_size=64)
    assert changed(model, saved) == ["patch_embed.weight"]
    assert model.patch_embed.weight.shape == (6, 3, 16, 16)
    assert lines() == ["patch_embed: adapted from 8x8 to 16x16"]


def test_everything_at_once_is_one_line_each(load, lines):
    model, saved = load(img_size=48, patch_size=16, in_chans=1, num_classes=2)
    assert lines() == [
        "patch_embed: adapted from 8x8 to 16x16",
        "pos_embed: adapted from 4x4 to 3x3",
        "relative position table: adapted from 4x4 to 3x3",
        "classifier made anew for 2 classes: the weights have 5",
        "patch_embed.weight: adapted from 3 to 1 input channels",
    ]
    assert set(saved) - set(changed(model, saved)) == {"patch_embed.bias", "cls_token"}
    assert model(torch.randn(1, 1, 48, 48)).isfinite().all()


def test_default_device_does_not_matter_to_what_is_adapted(load, lines):
    with torch.device("meta"):
        model, _saved = load(img_size=48, patch_size=16, in_chans=4, num_classes=2, device="cpu")
    assert len(lines()) == 5
    assert model(torch.randn(1, 4, 48, 48)).isfinite().all()


def test_half_precision_weights_are_adapted(load, lines):
    model, saved = load(dict(dtype=torch.bfloat16), img_size=64)
    assert saved["pos_embed"].dtype == torch.bfloat16
    assert len(lines()) == 2
    assert model.pos_embed.dtype == torch.float32 and model.pos_embed.isfinite().all()


def test_family_without_a_converter_is_told_the_shapes(install, tmp_path):
    plain = PLUGIN.replace('        converter="hub_acme.model:convert",\n', "")
    assert plain != PLUGIN
    (install("acme", plain) / "model.py").write_text(MODEL)
    hub.refresh()
    file = tmp_path / "tokens.safetensors"
    save_file(hub.create_model("acme_tokens").state_dict(), file)
    with pytest.raises(hub.WeightsError, match=r"pos_embed: \(1, 17, 6\) in the file, \(1, 65, 6"):
        hub.create_model(
            "acme_tokens",
            pretrained=True,
            img_size=64,
            pretrained_cfg_overlay=dict(file=str(file)),
        )


# --- first layer and classifier, which core adapts itself ---------------------------------------


@pytest.fixture
def load_resnet(tmp_path):
    """A function that loads the weights of a test_resnet of 7 classes with other arguments."""
    file = tmp_path / "resnet.safetensors"
    save_file(hub.create_model("test_resnet", num_classes=7).state_dict(), file)

    def load(overlay=None, **kwargs):
        fields = dict(file=str(file), num_classes=7) | (overlay or {})
        model = hub.create_model(
            "test_resnet", pretrained=True, pretrained_cfg_overlay=fields, **kwargs
        )
        return model, load_file(file)

    return load


def test_fitting_resnet_is_untouched_and_silent(load_resnet, lines):
    assert changed(*load_resnet()) == []
    assert changed(*load_resnet(in_chans=3, num_classes=7)) == []
    assert lines() == []


@pytest.mark.parametrize("in_chans", [1, 2, 4, 5])
def test_stem_is_adapted_and_said(load_resnet, lines, in_chans):
    model, saved = load_resnet(in_chans=in_chans)
    assert changed(model, saved) == ["conv1.0.weight"]
    assert lines() == [f"conv1.0.weight: adapted from 3 to {in_chans} input channels"]
    kernel, before = model.conv1[0].weight, saved["conv1.0.weight"]
    if in_chans == 1:
        torch.testing.assert_close(kernel, before.sum(1, keepdim=True))
    else:
        for i in range(in_chans):
            torch.testing.assert_close(kernel[:, i], before[:, i % 3] * 3 / in_chans)


@pytest.mark.parametrize("num_classes", [3, 12])
def test_head_is_made_anew_and_said(load_resnet, lines, num_classes):
    model, saved = load_resnet(num_classes=num_classes)
    assert changed(model, saved) == ["fc.weight", "fc.bias"]
    assert lines() == [f"classifier made anew for {num_classes} classes: the weights have 7"]
    assert model.fc.weight.std() > 0 and model.fc.weight.isfinite().all()


def test_missing_head_is_not_made_and_not_said(load_resnet, lines):
    model, saved = load_resnet(num_classes=0)
    assert not any(name.startswith("fc.") for name in model.state_dict())
    saved = {n: t for n, t in saved.items() if not n.startswith("fc.")}
    assert changed(model, saved) == []
    assert lines() == []


def test_label_offset_drops_the_leading_classes(load_resnet, lines):
    model, saved = load_resnet(dict(num_classes=6, label_offset=1))
    assert model.fc.weight.equal(saved["fc.weight"][1:])
    assert model.fc.bias.equal(saved["fc.bias"][1:])
    assert lines() == []


def test_stem_and_head_are_one_line_each(load_resnet, lines):
    model, _ = load_resnet(in_chans=4, num_classes=2)
    assert model(torch.randn(1, 4, 64, 64)).shape == (1, 2)
    assert sorted(lines()) == [
        "classifier made anew for 2 classes: the weights have 7",
        "conv1.0.weight: adapted from 3 to 4 input channels",
    ]


# --- the layers that a Backbone states ----------------------------------------------------------


class Distilled(hub.Backbone):
    """Two tokens, a classifier on each; a second view of the image is added to the first."""

    layout, num_prefix_tokens = "NLC", 2
    classifier_path, pools = ("head", "head_dist"), ("token", "")

    def __init__(self, num_classes=5, in_chans=3, global_pool="token", drop_rate=0.0):
        super().__init__(num_classes, in_chans, global_pool, drop_rate)
        self.patch = torch.nn.Conv2d(in_chans, 6, 8, 8)
        self.look = torch.nn.Conv2d(in_chans, 6, 8, 8)
        self.prefix = torch.nn.Parameter(torch.randn(1, 2, 6))
        self.blocks = hub.BlockSequence(torch.nn.Linear(6, 6))
        self.feature_info = [dict(num_chs=6, reduction=8, module="blocks.0")]

    def forward_pool(self, x):
        return x[:, 0], x[:, 1]

    def forward_levels(self, x):
        x = (self.patch(x) + self.look(x)).flatten(2).mT
        x = torch.cat((self.prefix.expand(len(x), -1, -1), x), 1)
        yield self.blocks(x)


def load_distilled(num_classes=5, in_chans=3, **described):
    hub.register_model(Distilled, name="distilled_net")
    state = Distilled().state_dict()
    cfg = dict(state_dict=state, num_classes=5, input_size=(3, 16, 16), **described)
    model = hub.create_model(
        "distilled_net",
        pretrained=True,
        pretrained_cfg=cfg,
        num_classes=num_classes,
        in_chans=in_chans,
    )
    return model.eval(), state


def test_layers_that_a_backbone_states_are_adapted_without_being_described(lines):
    model, state = load_distilled(num_classes=2)
    assert changed(model, state) == [
        "head.weight",
        "head.bias",
        "head_dist.weight",
        "head_dist.bias",
    ]
    assert lines() == ["classifier made anew for 2 classes: the weights have 5"]
    model, state = load_distilled(num_classes=0)
    assert not [name for name in model.state_dict() if name.startswith("head")]


def test_description_of_a_file_adds_to_the_layers_that_a_backbone_states(lines):
    with pytest.raises(hub.WeightsError, match=r"look.weight: \(6, 3, 8, 8\) in the file"):
        load_distilled(in_chans=1)
    model, state = load_distilled(in_chans=1, first_conv="look")
    assert model.patch.weight.equal(state["patch.weight"].sum(1, keepdim=True))
    assert model.look.weight.equal(state["look.weight"].sum(1, keepdim=True))


@pytest.mark.parametrize("changed", [dict(in_chans=1), dict(num_classes=2)])
def test_load_checkpoint_adapts_no_layer(tmp_path, changed):
    torch.save(hub.create_model("test_resnet").state_dict(), tmp_path / "w.pth")
    model = hub.create_model("test_resnet", **changed)
    with pytest.raises(hub.WeightsError, match="of another shape"):
        hub.load_checkpoint(model, tmp_path / "w.pth")


def test_both_classifiers_are_saved_and_loaded(tmp_path):
    hub.register_model(Distilled, name="distilled_net")
    model = hub.create_model("distilled_net", num_classes=3, in_chans=2).eval()
    hub.save_pretrained(model, tmp_path)
    loaded = hub.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    x = torch.rand(1, 2, 16, 16)
    assert loaded(x).equal(model(x))
    assert loaded.head_dist.weight.equal(model.head_dist.weight)


# --- the kernel by itself -----------------------------------------------------------------------


@pytest.mark.parametrize("pixels", [1, 4, 16])
@pytest.mark.parametrize("in_chans", [1, 2, 3, 5])
def test_kernel_behind_space_to_depth_has_the_mean_response_of_each_pixel(pixels, in_chans):
    kernel = torch.rand(4, pixels * 3, 2, 2)
    adapted = hub.adapt_input_conv(in_chans, kernel)
    assert adapted.shape == (4, pixels * in_chans, 2, 2)
    mean = kernel.view(4, pixels, 3, 2, 2).mean(2)
    if in_chans == 1:
        torch.testing.assert_close(adapted, mean * 3)
    elif in_chans % 3 == 0:
        assert adapted is kernel
    else:
        taken = kernel.view(4, pixels, 3, 2, 2)[:, :, [i % 3 for i in range(in_chans)]]
        torch.testing.assert_close(adapted, (taken * 3 / in_chans).flatten(1, 2))


@pytest.mark.parametrize(
    "shape", [(4, 4, 2, 2), (4, 2, 2, 2), (4, 0, 2, 2), (4, 3), (4, 3, 2, 2, 2)]
)
def test_kernel_of_other_images_is_refused(shape):
    with pytest.raises(ValueError, match="does not see 3 channels"):
        hub.adapt_input_conv(1, torch.rand(shape))


@pytest.mark.parametrize(("in_chans", "base"), [(0, 3), (-1, 3), (1, 0), (3, -3)])
def test_channels_below_one_are_refused(in_chans, base):
    with pytest.raises(ValueError, match="both must be at least 1"):
        hub.adapt_input_conv(in_chans, torch.rand(4, 3, 2, 2), base)


class DeepStem(torch.nn.Module):
    """Sees 2x2 pixels at once, as the stems of TResNet do."""

    def __init__(self, in_chans=3, num_classes=2):
        super().__init__()
        self.in_chans, self.num_classes = in_chans, num_classes
        self.conv = torch.nn.Conv2d(in_chans * 4, num_classes, 1)

    def forward(self, x):
        b, c, h, w = x.shape
        x = x.view(b, c, h // 2, 2, w // 2, 2).permute(0, 3, 5, 1, 2, 4)
        return self.conv(x.reshape(b, c * 4, h // 2, w // 2)).mean((2, 3))


def test_deep_stem_is_adapted_where_the_channels_are_those_of_the_description(lines):
    hub.register_model(DeepStem, name="deep_net")
    state = DeepStem().state_dict()

    def load(in_chans, channels=3):
        cfg = dict(state_dict=state, num_classes=2, input_size=(channels, 8, 8), first_conv="conv")
        return hub.create_model("deep_net", pretrained=True, pretrained_cfg=cfg, in_chans=in_chans)

    grey, colour = load(1), load(3)
    x = torch.rand(1, 1, 8, 8)
    torch.testing.assert_close(grey(x), colour(x.expand(-1, 3, -1, -1)))
    assert lines() == ["conv.weight: adapted from 3 to 1 input channels"]
    for in_chans, channels in ((4, 6), (2, 6), (1, 2)):
        with pytest.raises(hub.WeightsError, match=r"conv.weight: \(2, 12, 1, 1\) in the file"):
            load(in_chans, channels)
