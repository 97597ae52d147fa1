"""Every form of a feature extractor gives the same maps."""

import copy

import hub
import pytest
import torch
from torch import nn


@pytest.fixture
def whole():
    torch.manual_seed(0)
    return hub.create_model("test_resnet").eval()


@pytest.mark.parametrize("form", ["list", "getter", "dict", "hook", "fx", hub.FeatureDictNet])
def test_forms_agree(whole, form):
    torch.manual_seed(0)
    net = hub.create_model(
        "test_resnet", features_only=True, out_indices=(1, -2), feature_cls=form
    ).eval()
    own = {
        k.removeprefix("model.").removeprefix("graph_module."): v
        for k, v in net.state_dict().items()
    }
    for name, tensor in own.items():
        tensor.copy_(whole.state_dict()[name])
    x = torch.rand(1, 3, 64, 64)
    found = net(x)
    if isinstance(found, dict):
        assert list(found) == ["1", "3"]
        found = list(found.values())
    expected = whole.forward_intermediates(x, (1, 3), intermediates_only=True)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(found, expected, strict=True))
    assert net.feature_info.channels() == [32, 192]
    assert net.feature_info.reduction() == [4, 16]


def test_getter_drops_what_it_does_not_need():
    net = hub.FeatureGetterNet(hub.create_model("test_resnet"), out_indices=[1])
    assert {name.split(".")[1] for name in net.state_dict()} == {"conv1", "bn1", "layer1"}
    assert copy.deepcopy(net)(torch.rand(1, 3, 64, 64))[0].shape == (1, 32, 16, 16)


@pytest.mark.parametrize("form", ["list", "getter"])
@pytest.mark.parametrize(("layout", "shape"), [("NHWC", (1, 8, 8, 48)), ("NLC", (1, 64, 48))])
def test_layouts(form, layout, shape):
    net = hub.create_model(
        "test_resnet", features_only=True, out_indices=[2], output_fmt=layout, feature_cls=form
    )
    assert net(torch.rand(1, 3, 64, 64))[0].shape == shape


def test_hooks_serve_networks_without_the_contract():
    @hub.register_model(name="plain_net")
    class PlainNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 8, 3, 2, 1)
            self.feature_info = [
                dict(num_chs=4, reduction=2, module="a"),
                dict(num_chs=8, reduction=4, module="b"),
            ]

        def forward(self, x):
            return self.b(self.a(x))

    net = hub.create_model("plain_net", features_only=True, feature_cls="hook", out_indices=[-1])
    assert [m.shape for m in net(torch.rand(1, 3, 8, 8))] == [(1, 8, 2, 2)]
    with pytest.raises(TypeError, match=r"PlainNet is none; with a feature_info, feature_cls='h"):
        hub.create_model("plain_net", features_only=True)
    with pytest.raises(ValueError, match=r"feature_cls='hok'\. Did you mean hook\? It can be list"):
        hub.create_model("plain_net", features_only=True, feature_cls="hok")


@pytest.mark.parametrize("form", ["list", "getter", "dict", "hook", "fx"])
def test_copies_are_in_the_mode_of_what_they_copy(form):
    model = hub.create_model("test_resnet", features_only=True, feature_cls=form).eval()
    twin = copy.deepcopy(model)
    x = torch.rand(1, 3, 64, 64)
    for mode in (False, True, False):
        maps, copied = (net.train(mode)(x) for net in (model, twin))
        assert mode == twin.training
        for key, found in enumerate(copied) if isinstance(maps, list) else copied.items():
            assert torch.equal(found, maps[key])


@pytest.mark.parametrize("form", ["list", "getter", "dict", "hook", "fx"])
def test_forms_carry_the_description_of_the_network(form):
    net = hub.create_model("test_resnet", features_only=True, out_indices=[1], feature_cls=form)
    assert net.pretrained_cfg == net.default_cfg
    assert net.pretrained_cfg["architecture"] == "test_resnet"
    row = dict(num_chs=32, reduction=4, module="layer1", index=1)
    assert net.feature_info.info[1].items() >= row.items()


@pytest.mark.parametrize(
    ("cls", "keys"),
    [
        (hub.FeatureDictNet, ["2", "4"]),
        (hub.FeatureGetterNet, ["2", "4"]),
        (hub.FeatureGraphNet, ["2", "4"]),
        (hub.FeatureHookNet, ["layer2", "layer4"]),
    ],
)
def test_keys_of_a_dict_are_timms_or_those_asked_for(cls, keys):
    options = {} if cls is hub.FeatureDictNet else {"return_dict": True}
    x = torch.rand(1, 3, 64, 64)
    net = cls(hub.create_model("test_resnet"), (2, 4), **options).eval()
    assert list(net(x)) == keys
    net = cls(hub.create_model("test_resnet"), (2, 4), out_map=["p3", 5], **options).eval()
    assert list(net(x)) == ["p3", "5"]
    with pytest.raises(ValueError, match=r"names 1 maps, and 2 are handed out: levels \(2, 4\)"):
        cls(hub.create_model("test_resnet"), (2, 4), out_map=["p3"])


@pytest.mark.parametrize(
    "options", [dict(out_indices=(1, 99)), dict(feature_cls="dict"), dict(output_fmt="NHWC")]
)
def test_options_of_a_feature_extractor_need_features_only(options):
    (key,) = options
    for kwargs in (options, {**options, "features_only": False}):
        with pytest.raises(TypeError, match=f"{key}=.*: add features_only=True for maps, or leave"):
            hub.create_model("test_resnet", **kwargs)


def test_layout_that_does_not_exist_is_refused_at_once():
    for form in ("list", "getter"):
        with pytest.raises(ValueError, match="output_fmt='CHW': it can be NCHW, NHWC, NLC"):
            hub.create_model("test_resnet", features_only=True, output_fmt="CHW", feature_cls=form)


def test_return_layers_choose_among_the_levels_that_are_left():
    net = hub.create_model("test_resnet", features_only=True, out_indices=(1, 3)).eval()
    assert net.return_layers == {"layer1": "1", "layer3": "3"}
    net.return_layers = {row["module"]: "" for row in net.feature_info.info}
    assert [m.shape[1] for m in net(torch.rand(1, 3, 64, 64))] == [32, 32, 48, 192]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of what transformers imports
def test_transformers_takes_it_for_timm(monkeypatch):
    timm, transformers = pytest.importorskip("timm"), pytest.importorskip("transformers")
    monkeypatch.setattr(timm, "create_model", hub.create_model)
    config = transformers.TimmBackboneConfig(backbone="test_resnet", out_indices=[1, 3])
    outputs = transformers.TimmBackbone(config).eval()(
        torch.rand(1, 3, 64, 64), output_hidden_states=True
    )
    assert [m.shape[1] for m in outputs.feature_maps] == [32, 192]
    assert [m.shape[1] for m in outputs.hidden_states] == [32, 32, 48, 192]
