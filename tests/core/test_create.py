"""From a name to a network."""

import json

import hub
import pytest
import torch
from safetensors.torch import save_file
from torch import nn


@pytest.fixture
def saved(tmp_path):
    """A test_resnet saved as the Hub keeps models, and its folder."""
    torch.manual_seed(0)
    model = hub.create_model("test_resnet", num_classes=7).eval()
    nn.init.normal_(model.fc.bias)
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    config = {
        "architecture": "test_resnet",
        "num_classes": 7,
        "label_names": list("abcdefg"),
        "pretrained_cfg": {
            "tag": "mine",
            "input_size": [3, 96, 96],
            "mean": [0.5, 0.5, 0.5],
            "first_conv": "conv1.0",
            "classifier": "fc",
            "num_classes": 7,
            "unknown_field": 1,
        },
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    return model, tmp_path


def test_arguments_reach_the_constructor_and_none_is_the_default():
    model = hub.create_model("test_resnet", num_classes=5, in_chans=1, drop_rate=None)
    assert model.fc.out_features == 5
    assert model.conv1[0].in_channels == 1
    assert model.drop_rate == 0.0


def test_switches_of_timm_are_accepted():
    hub.create_model("test_resnet", scriptable=False, exportable=True, no_jit=True)
    with pytest.warns(hub.HubWarning, match="not made for TorchScript"):
        hub.create_model("test_resnet", scriptable=True)


def test_unknown_argument_is_refused_with_a_suggestion():
    with pytest.raises(TypeError, match=r"no argument 'drop_ratee'\. Did you mean drop_rate"):
        hub.create_model("test_resnet", drop_ratee=0.1)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("test_resnet", "x.pth"), "pretrained='x.pth' is True or False; a file of weights is che"),
        (("test_resnet", None, 10), "pretrained_cfg=10 is a tag, .* by name, num_classes=10"),
        (("test_resnet", 1, None, "x.pth"), "pretrained_cfg_overlay='x.pth' is a dict of fields"),
    ],
)
def test_argument_of_another_kind_is_refused_before_anything_is_built(given, message):
    with pytest.raises(TypeError, match=message):
        hub.create_model(*given)


def test_network_carries_the_description_of_its_weights():
    model = hub.create_model("resnet18.tv_in1k")
    assert model.pretrained_cfg is model.default_cfg
    assert model.pretrained_cfg["tag"] == "tv_in1k"
    assert model.pretrained_cfg["interpolation"] == "bilinear"
    assert hub.create_model("resnet18", pretrained_cfg="a2_in1k").default_cfg["tag"] == "a2_in1k"


def test_overlay_replaces_fields_and_knows_them():
    model = hub.create_model("test_resnet", pretrained_cfg_overlay=dict(crop_pct=0.5))
    assert model.pretrained_cfg["crop_pct"] == 0.5
    with pytest.raises(TypeError, match=r"'crop_pt' is no field of hub.Weights\. Did"):
        hub.create_model("test_resnet", pretrained_cfg_overlay=dict(crop_pt=0.5))


def test_three_ways_to_build_are_one():
    from hub_resnet.model import ResNet

    by_name = hub.create_model("resnet18")
    by_entrypoint = hub.model_entrypoint("resnet18")()
    by_class = ResNet("basic", (2, 2, 2, 2))
    assert str(by_name) == str(by_entrypoint) == str(by_class)


def test_meta_device_and_dtype():
    with torch.device("meta"):
        assert hub.create_model("resnet18").fc.weight.is_meta
    assert hub.create_model("resnet18", device="meta").bn1.running_mean.is_meta
    model = hub.create_model("test_resnet", dtype=torch.bfloat16)
    assert {t.dtype for t in model.state_dict().values()} == {torch.bfloat16, torch.int64}


def test_folder_loads_with_its_own_configuration(saved):
    model, folder = saved
    loaded = hub.create_model(f"local-dir:{folder}", pretrained=True).eval()
    assert loaded.pretrained_cfg["label_names"] == tuple("abcdefg")
    assert loaded.pretrained_cfg["mean"] == (0.5, 0.5, 0.5)
    x = torch.rand(2, 3, 64, 64)
    assert torch.equal(loaded(x), model(x))
    assert hub.create_model(f"local_dir:{folder}").fc.out_features == 7


def test_weights_file_by_overlay_and_by_checkpoint_path(saved):
    model, folder = saved
    file = folder / "model.safetensors"
    overlay = dict(file=str(file), num_classes=7)
    by_overlay = hub.create_model("test_resnet", pretrained=True, pretrained_cfg_overlay=overlay)
    by_path = hub.create_model("test_resnet", num_classes=7, checkpoint_path=file)
    for name, tensor in model.state_dict().items():
        assert torch.equal(by_overlay.state_dict()[name], tensor), name
        assert torch.equal(by_path.state_dict()[name], tensor), name


def test_other_number_of_classes_gets_a_fresh_head(saved):
    model, folder = saved
    loaded = hub.create_model(f"local-dir:{folder}", pretrained=True, num_classes=3)
    assert loaded.fc.weight.shape == (3, 96)
    assert 0 < loaded.fc.weight.abs().max() < 1
    assert torch.equal(loaded.layer4[0].conv1.weight, model.layer4[0].conv1.weight)
    headless = hub.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0)
    assert isinstance(headless.fc, nn.Identity)


@pytest.mark.parametrize("in_chans", [1, 2, 4, 5])
def test_stem_is_adapted_to_the_channels(saved, in_chans):
    model, folder = saved
    loaded = hub.create_model(f"local-dir:{folder}", pretrained=True, in_chans=in_chans).eval()
    gray = torch.rand(2, 1, 64, 64)
    expected = model.conv1[0](gray.expand(-1, 3, -1, -1))
    found = loaded.conv1[0](gray.expand(-1, in_chans, -1, -1))
    if in_chans == 1:
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    kernel, source = loaded.conv1[0].weight, model.conv1[0].weight
    assert kernel.shape[1] == in_chans
    if in_chans > 1:
        torch.testing.assert_close(kernel[:, 1], source[:, 1] * 3 / in_chans)
        torch.testing.assert_close(kernel[:, -1], source[:, (in_chans - 1) % 3] * 3 / in_chans)


def test_features_of_pretrained_weights_leave_the_tail_unread(saved):
    model, folder = saved
    features = hub.create_model(
        f"local-dir:{folder}", pretrained=True, features_only=True, out_indices=(0, 2)
    ).eval()
    x = torch.rand(1, 3, 64, 64)
    expected = model.forward_intermediates(x, indices=(0, 2), intermediates_only=True)
    assert all(torch.equal(a, b) for a, b in zip(features(x), expected, strict=True))
    assert not hasattr(features, "layer3")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda s: s.pop("bn1.weight"), r"1 missing \(bn1.weight\)"),
        (lambda s: s.update(extra=torch.ones(1)), r"1 not in the network \(extra\)"),
        (
            lambda s: s.update({"bn1.weight": torch.ones(5)}),
            r"of another shape \(bn1.weight: \(5,\) in the file, \(32,\) in the network\)",
        ),
    ],
)
def test_weights_that_do_not_fit_load_nothing(saved, spoil, message):
    model, folder = saved
    state = dict(model.state_dict())
    spoil(state)
    save_file(state, folder / "model.safetensors")
    with pytest.raises(hub.WeightsError, match=message):
        hub.create_model(f"local-dir:{folder}", pretrained=True)


def test_architecture_without_weights_says_so():
    with pytest.raises(hub.WeightsError, match=r"resnet200\.untrained has no weights"):
        hub.create_model("resnet200", pretrained=True, device="meta")


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("local-dir:/no/such/folder", hub.WeightsError, "there is no such folder"),
        ("ftpp:somewhere", hub.WeightsError, "no plugin reads 'ftpp'"),
    ],
)
def test_source_that_is_not_there(name, error, message):
    with pytest.raises(error, match=message):
        hub.create_model(name)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1]", "holds a list, not an object"),
        ("{", "not readable JSON"),
        ("{}", "names no architecture"),
        ('{"architecture": "acme_net"}', "holds a model that cannot be built here: unknown model"),
    ],
)
def test_damaged_configuration(tmp_path, content, message):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(hub.HubError, match=message):
        hub.create_model(f"local-dir:{tmp_path}")


def test_source_of_a_plugin_is_found_by_its_scheme(install, saved):
    _, folder = saved
    code = """
    from hub import hookimpl
    from hub.pretrained.sources import LocalFolder

    @hookimpl
    def hub_sources():
        return {"shelf": "hub_acme.plugin:Shelf"}

    class Shelf(LocalFolder):
        def __init__(self, reference, *, cache_dir=None):
            super().__init__(reference.removeprefix("on-the-shelf="))
    """
    install("acme", code)
    hub.refresh()
    assert hub.create_model(f"shelf:on-the-shelf={folder}").fc.out_features == 7


def test_build_can_be_wrapped(install):
    code = """
    from hub import hookimpl

    @hookimpl(wrapper=True)
    def hub_create_model(request):
        model = yield
        model.wrapped_by = f"acme for {request.plugin}/{request.architecture}"
        return model
    """
    install("acme", code)
    hub.refresh()
    assert hub.create_model("test_resnet").wrapped_by == "acme for resnet/test_resnet"


# --- registered at run time ---------------------------------------------------------------------


def test_registered_function_is_built_by_name():
    @hub.register_model
    def note_net(pretrained=False, **kwargs):
        return nn.Linear(kwargs.get("width", 2), 1)

    assert hub.create_model("note_net", width=9).in_features == 9
    assert "note_net" in hub.list_models(module=__name__.rpartition(".")[2])
    assert hub.is_model("local/note_net")


def test_registered_class_has_everything_of_a_declared_one():
    @hub.register_model(name="class_net")
    class ClassNet(nn.Module):
        def __init__(self, num_classes=1000, in_chans=3):
            super().__init__()
            self.fc = nn.Linear(in_chans, num_classes)

        def forward(self, x):
            return self.fc(x.mean((2, 3)))

    model = hub.create_model("class_net", num_classes=4, in_chans=2)
    assert model(torch.rand(1, 2, 8, 8)).shape == (1, 4)
    with pytest.raises(TypeError, match=r"class_net \(ClassNet\) has no argument 'depth'"):
        hub.create_model("class_net", depth=3)


def test_registered_again_replaces_itself_but_never_an_official_name():
    def make(value):
        def note_net(pretrained=False, **kwargs):
            return nn.Linear(value, 1)

        return note_net

    hub.register_model(make(1))
    hub.register_model(make(2))
    assert hub.create_model("note_net").in_features == 2

    def resnet18(pretrained=False, **kwargs):
        return nn.Linear(1, 1)

    with pytest.warns(hub.HubWarning, match="resnet18 is also in plugin resnet; the one registe"):
        hub.register_model(resnet18)
    assert hub.create_model("resnet18").num_features == 512
    assert hub.create_model("local/resnet18").in_features == 1


def test_default_cfgs_of_a_module_describe_its_weights(monkeypatch):
    cfgs = hub.generate_default_cfgs(
        {
            "note_net.a": dict(num_classes=5),
            "note_net.b": hub.Weights(url="https://x/y.pth", num_classes=6),
            "note_net.c": dict(hf_hub_id="timm/"),
        }
    )
    assert list(cfgs["note_net"].tags) == ["b", "a", "c"]
    monkeypatch.setitem(globals(), "default_cfgs", cfgs)

    @hub.register_model
    def note_net(pretrained=False, **kwargs):
        return nn.Linear(1, kwargs["pretrained_cfg"].num_classes)

    assert hub.create_model("note_net").out_features == 6
    assert hub.create_model("note_net.a").out_features == 5
    assert hub.list_pretrained("note_net*") == ["note_net.b", "note_net.c"]
    assert hub.get_pretrained_cfg("note_net.c").hf_hub_id == "timm/note_net.c"
    assert not hub.is_model_pretrained("note_net.a")
