"""What is saved is built again, to equal tensors."""

import functools
import json
import signal
import subprocess
import sys
import time

import hub
import pytest
import torch
from hub.__main__ import main
from hub_layers import freeze_batch_norm_2d, unfreeze_batch_norm_2d
from safetensors import safe_open
from torch import nn
from torch.nn.utils import parametrizations, prune


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = hub.create_model("test_resnet", num_classes=4, drop_rate=0.1, act_layer="silu").eval()
    return model


def config_of(folder):
    return json.loads((folder / "config.json").read_text())


def test_saved_model_loads_to_equal_tensors_and_outputs(model, tmp_path):
    hub.save_pretrained(model, tmp_path / "new" / "folder", label_names=list("abcd"))
    loaded = hub.create_model(f"local-dir:{tmp_path}/new/folder", pretrained=True).eval()
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    x = torch.rand(2, 3, 64, 64)
    assert torch.equal(loaded(x), model(x))
    assert loaded.drop_rate == 0.1
    assert loaded.pretrained_cfg["label_names"] == tuple("abcd")


def test_configuration_states_what_differs_from_the_variant(model, tmp_path):
    hub.save_pretrained(model, tmp_path, preprocessing=dict(mean=(0.5, 0.5, 0.5), crop_pct=1.0))
    config = config_of(tmp_path)
    assert config["architecture"] == "test_resnet"
    assert config["num_classes"] == 4
    assert config["global_pool"] == "avg"
    assert config["model_args"] == {"drop_rate": 0.1, "act_layer": "silu"}
    assert config["pretrained_cfg"]["mean"] == [0.5, 0.5, 0.5]
    assert config["pretrained_cfg"]["crop_pct"] == 1.0
    assert config["pretrained_cfg"]["num_classes"] == 4
    assert not {"url", "file", "hf_hub_id", "state_dict"} & config["pretrained_cfg"].keys()
    assert config["plugin"] == {
        "name": "resnet",
        "distribution": "hub-resnet",
        "version": hub.__version__,
    }
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}
    assert len({p.stat().st_mode for p in tmp_path.iterdir()}) == 1


def test_changes_after_creation_are_saved(tmp_path):
    model = hub.create_model("test_resnet", in_chans=2).eval()
    model.reset_classifier(3, "avgmax")
    hub.save_pretrained(model, tmp_path)
    loaded = hub.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    x = torch.rand(1, 2, 64, 64)
    assert torch.equal(loaded(x), model(x))
    assert loaded.pretrained_cfg["input_size"] == (2, 160, 160)


def expect_loaded_equal(model, folder):
    """Save, load and compare; return the arguments that the configuration states."""
    hub.save_pretrained(model.eval(), folder)
    loaded = hub.create_model(f"local-dir:{folder}", pretrained=True).eval()
    size = getattr(model, "img_size", None) or (64, 64)
    x = torch.rand(1, model.in_chans, *size)
    assert torch.equal(loaded(x), model(x))
    assert [*map(type, loaded.modules())] == [*map(type, model.modules())]
    return config_of(folder).get("model_args", {})


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_vit2"])
@pytest.mark.parametrize("pool", ["avg", "max", "avgmax", "catavgmax", "token", ""])
def test_every_pool_that_was_chosen_later_is_saved(name, pool, tmp_path):
    model = hub.create_model(name)
    try:
        model.reset_classifier(3 if pool else 0, pool)
    except ValueError:
        pytest.skip("no such pool")
    expect_loaded_equal(model, tmp_path)


def test_where_the_final_norm_is_does_not_depend_on_the_pool_that_was_chosen_later(tmp_path):
    model = hub.create_model("test_vit")
    model.reset_classifier(3, "avg")
    arguments = expect_loaded_equal(model, tmp_path)
    assert arguments == {"global_pool": "avg", "fc_norm": False}


@pytest.mark.parametrize("name", ["test_vit", "vit_tiny_patch16_224"])
@pytest.mark.parametrize("sizes", [dict(img_size=(96, 64)), dict(img_size=64, patch_size=8)])
def test_sizes_that_were_set_later_are_saved(name, sizes, tmp_path):
    model = hub.create_model(name, num_classes=2)
    model.set_input_size(**sizes)
    expect_loaded_equal(model, tmp_path)
    assert config_of(tmp_path)["pretrained_cfg"]["input_size"][1:] == list(model.img_size)


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_attributes_that_are_arguments_are_saved(name, tmp_path):
    model = hub.create_model(name)
    model.drop_rate = 0.25
    assert expect_loaded_equal(model, tmp_path) == {"drop_rate": 0.25}


def test_norms_frozen_and_thawed_in_place_are_saved(tmp_path):
    model = freeze_batch_norm_2d(hub.create_model("test_resnet"))
    assert expect_loaded_equal(model, tmp_path / "a") == {"norm_layer": "frozenbatchnorm2d"}
    model = hub.create_model(f"local-dir:{tmp_path}/a", pretrained=True)
    assert expect_loaded_equal(unfreeze_batch_norm_2d(model), tmp_path / "b") == {}


def test_what_belongs_to_a_run_is_no_part_of_the_network(tmp_path):
    model = hub.create_model("test_resnet")
    hub.freeze(model)
    model.set_grad_checkpointing()
    model.layer1[0].act2.inplace = False
    expect_loaded_equal(model, tmp_path / "a")
    shared = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    hub.save_pretrained(torch.compile(shared, backend="eager"), tmp_path / "b")
    assert "model_args" not in config_of(tmp_path / "b")
    loaded = hub.create_model(f"local-dir:{tmp_path}/b", pretrained=True)
    assert type(loaded.bn1) is nn.BatchNorm2d
    assert torch.equal(loaded.bn1.weight, model.bn1.weight)


def test_function_that_states_arguments_itself_builds_from_what_it_saved(tmp_path):
    @hub.register_model
    def own_net(pretrained=False, **kwargs):
        from hub_resnet.model import ResNet

        own = dict(block="basic", layers=(1, 1, 1, 1))
        return hub.build_model_with_cfg(ResNet, "own_net", pretrained, **own, **kwargs)

    model = hub.create_model("own_net", drop_rate=0.1)
    assert expect_loaded_equal(model, tmp_path) == {"drop_rate": 0.1}


def test_saving_draws_no_random_numbers(model, tmp_path):
    before = torch.get_rng_state()
    hub.save_pretrained(model, tmp_path)
    assert torch.equal(torch.get_rng_state(), before)


def replace(path, module):
    return lambda model: model.set_submodule(path, module)


def change(path, **values):
    return lambda model: vars(model.get_submodule(path)).update(values)


CHANGES = {
    "a classifier": (replace("fc", nn.Linear(96, 2)), r"fc.out_features is 2, .*fc.weight is \(2"),
    "an activation": (replace("act1", nn.SiLU()), "act1 is a SiLU, not a ReLU"),
    "a pool of the stem": (replace("maxpool", nn.Identity()), "maxpool is a Identity, not a Max"),
    "a block more": (lambda m: m.layer4.append(nn.Identity()), r"other modules: layer4\.1"),
    "a block less": (lambda m: m.layer4.__delitem__(0), r"other modules: layer4\.0"),
    "an adapter": (
        lambda m: replace("fc", nn.Sequential(m.fc, nn.Linear(1000, 1000)))(m),
        r"other modules: fc\.0, fc\.1",
    ),
    "a module by its options": (change("bn1", eps=1e-3), r"bn1\.eps is 0\.001, not 1e-05"),
    "a dilation": (
        replace("layer1.0.conv1", nn.Conv2d(32, 32, 3, padding=2, dilation=2, bias=False)),
        r"conv1\.dilation is \(2, 2\), not \(1, 1\)",
    ),
    "some norms": (lambda m: freeze_batch_norm_2d(m.layer1), "is a FrozenBatchNorm2d, not a Batch"),
    "a hook": (lambda m: m.layer1.register_forward_hook(lambda *_: None), "hooked to layer1"),
    "a hook on what is saved": (
        lambda m: m.fc.register_state_dict_post_hook(lambda *_: None),
        "hooked to fc",
    ),
    "a forward": (lambda m: setattr(m, "forward", lambda x: x), "network has another forward than"),
    "another method": (
        lambda m: setattr(m, "forward_features", lambda x: x),
        "the network has another forward_features than its class",
    ),
    "a forward inside": (lambda m: setattr(m.act1, "forward", abs), "act1 has another forward"),
    "weight norm": (lambda m: parametrizations.weight_norm(m.fc), "modules: fc.parametrizations"),
    "pruning": (lambda m: prune.l1_unstructured(m.fc, "weight", 0.5), "hooked to fc"),
    "a narrower weight": (
        lambda m: setattr(m.fc.weight, "data", m.fc.weight.data[:500]),
        r"fc\.weight is \(500, 96\) float32",
    ),
    "a tied weight": (
        lambda m: setattr(m.layer1[0].bn2, "weight", m.layer1[0].bn1.weight),
        "other parameters are shared",
    ),
    "double": (lambda m: m.double(), r"conv1\.0\.weight is \(16, 3, 3, 3\) float64, not"),
    "a bias less": (lambda m: setattr(m.fc, "bias", None), r"fc\.bias is absent, not \(1000,\)"),
    "a sparse weight": (
        lambda m: setattr(m.fc, "weight", nn.Parameter(m.fc.weight.to_sparse())),
        r"fc\.weight is",
    ),
    "integers": (
        lambda m: setattr(m.bn1, "running_mean", torch.zeros(32, dtype=torch.int8)),
        r"bn1\.running_mean is \(32,\) int8, not",
    ),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_no_argument_describes_is_refused_before_anything_is_written(what, tmp_path):
    make, message = CHANGES[what]
    model = hub.create_model("test_resnet")
    make(model)
    with pytest.raises(hub.HubError, match=f"(?s)cannot describe this test_resnet: .*{message}"):
        hub.save_pretrained(model, tmp_path / "new")
    with pytest.raises(hub.HubError, match="save its tensors alone"):
        hub.push_to_hub(model, "org/name")
    assert not list(tmp_path.iterdir())


class Hooked(nn.Linear):
    """A network whose constructor hooks something to it: that belongs to it."""

    def __init__(self, num_classes=2):
        super().__init__(3, num_classes)
        self.register_forward_hook(lambda module, given, output: 2 * output)


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_pool_that_has_no_name_is_refused_by_its_class(name, tmp_path):
    model = hub.create_model(name)
    model.global_pool = nn.AdaptiveMaxPool2d(1)
    with pytest.raises(hub.HubError, match=r"cannot be built again with .*AdaptiveMaxPool2d"):
        hub.save_pretrained(model, tmp_path / "new")
    assert not list(tmp_path.iterdir())


def test_hooks_of_a_constructor_are_built_again(tmp_path):
    @hub.register_model
    def hooked_net(pretrained=False, **kwargs):
        return hub.build_model_with_cfg(Hooked, "hooked_net", pretrained, **kwargs)

    model = hub.create_model("hooked_net")
    hub.save_pretrained(model, tmp_path)
    x = torch.rand(1, 3)
    assert torch.equal(hub.create_model(f"local-dir:{tmp_path}", pretrained=True)(x), model(x))


def test_norms_of_other_options_are_refused_by_what_they_are(tmp_path):
    partial = functools.partial(nn.BatchNorm2d, eps=1e-3)
    model = hub.create_model("test_resnet", norm_layer=partial)
    with pytest.raises(hub.HubError, match=r"conv1\.1\.eps is 0\.001"):
        hub.save_pretrained(model, tmp_path)
    wrapper = hub.create_model("test_resnet", features_only=True, feature_cls="getter")
    with pytest.raises(hub.HubError, match=r"holds a network of hub: save that, model\.model"):
        hub.save_pretrained(wrapper, tmp_path)


def test_labels_have_to_be_as_many_as_classes(model, tmp_path):
    with pytest.raises(hub.HubError, match="3 label names for a classifier of 4 classes"):
        hub.save_pretrained(model, tmp_path, label_names=list("abc"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_layout_and_type_of_memory_do_not_matter(model, tmp_path, memory_format, dtype):
    model.to(memory_format=memory_format, dtype=dtype)
    hub.save_pretrained(model, tmp_path)
    loaded = hub.create_model(f"local-dir:{tmp_path}", pretrained=True, dtype=dtype)
    assert torch.equal(loaded.layer1[0].conv1.weight, model.layer1[0].conv1.weight)


def test_head_of_an_undeclared_network_is_found_too(install, tmp_path):
    folder = install(
        "acme",
        """
        from hub import Family, hookimpl

        @hookimpl
        def hub_models():
            return [Family(name="acme", model="hub_acme.model:Net", variants={"acme_net": {}})]
        """,
    )
    (folder / "model.py").write_text(
        "from hub_resnet.model import ResNet\n"
        "class Net(ResNet):\n"
        "    def __init__(self, num_classes=6):\n"
        "        super().__init__('basic', (1, 1, 1, 1), num_classes=num_classes)\n"
    )
    hub.refresh()
    hub.save_pretrained(hub.create_model("acme_net"), tmp_path)
    assert config_of(tmp_path)["num_classes"] == 6
    assert config_of(tmp_path)["plugin"]["distribution"] == "hub-acme"
    loaded = hub.create_model(f"local-dir:{tmp_path}", pretrained=True, num_classes=2)
    assert loaded.fc.weight.shape == (2, 512)


class Tied(nn.Module):
    def __init__(self, num_classes=5):
        super().__init__()
        self.first = nn.Linear(num_classes, num_classes)
        self.second = nn.Linear(num_classes, num_classes)
        self.second.weight = self.first.weight


def test_shared_parameters_are_saved_once_and_shared_again(tmp_path):
    hub.register_model(name="tied_net")(Tied)
    model = hub.create_model("tied_net", num_classes=5)
    hub.save_pretrained(model, tmp_path)
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert set(file.keys()) == {"first.weight", "first.bias", "second.bias"}
    loaded = hub.create_model(f"local-dir:{tmp_path}", pretrained=True)
    assert loaded.first.weight is loaded.second.weight
    assert torch.equal(loaded.first.weight, model.first.weight)
    assert "plugin" not in config_of(tmp_path)


def test_what_cannot_be_built_again_is_not_saved(model, tmp_path):
    with pytest.raises(hub.HubError, match="Linear was not built by hub"):
        hub.save_pretrained(nn.Linear(1, 1), tmp_path)
    with pytest.raises(hub.HubError, match="this network was cut down"):
        hub.save_pretrained(model.as_features([1]), tmp_path)
    with pytest.raises(hub.HubError, match="was fused for inference"):
        hub.save_pretrained(hub.fuse(hub.create_model("test_resnet").eval()), tmp_path)
    by_class = hub.create_model("test_resnet", act_layer=nn.SiLU)
    with pytest.raises(hub.HubError, match=r"act_layer=.*which a config.json cannot hold"):
        hub.save_pretrained(by_class, tmp_path)
    with torch.device("meta"):
        empty = hub.create_model("test_resnet")
    with pytest.raises(hub.WeightsError, match="on the meta device and has no values to save"):
        hub.save_pretrained(empty, tmp_path)
    assert not list(tmp_path.iterdir())


def test_saving_again_replaces_the_model_but_not_the_card(model, tmp_path):
    hub.save_pretrained(model, tmp_path)
    (tmp_path / "README.md").write_text("written by a person")
    with torch.no_grad():
        model.fc.bias.fill_(7)
    hub.save_pretrained(model, tmp_path)
    assert (tmp_path / "README.md").read_text() == "written by a person"
    loaded = hub.create_model(f"local-dir:{tmp_path}", pretrained=True)
    assert (loaded.fc.bias == 7).all()
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]


def test_a_failed_save_leaves_what_was_there(model, tmp_path, monkeypatch):
    hub.save_pretrained(model, tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def fail(*args, **kwargs):
        raise OSError("no space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", fail)
    with pytest.raises(OSError, match="no space left"):
        hub.save_pretrained(model, tmp_path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


@pytest.mark.parametrize("replaced", [0, 1, 2])
def test_a_killed_save_is_completed_by_the_same_call(model, tmp_path, replaced):
    code = f"""
import os, signal, hub
real, count = os.replace, [0]
def replace(a, b):
    if count[0] == {replaced}:
        os.kill(os.getpid(), signal.SIGKILL)
    count[0] += 1
    real(a, b)
os.replace = replace
hub.save_pretrained(hub.create_model("test_resnet", num_classes=9), {str(tmp_path)!r})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    hub.save_pretrained(model, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]
    loaded = hub.create_model(f"local-dir:{tmp_path}", pretrained=True)
    assert torch.equal(loaded.fc.weight, model.fc.weight)


def test_processes_that_save_to_one_folder_take_turns(model, tmp_path):
    code = f"""
import hub, sys
for classes in range(2, 8):
    hub.save_pretrained(hub.create_model("test_resnet", num_classes=classes), {str(tmp_path)!r})
"""
    hub.save_pretrained(model, tmp_path)
    writers = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    while any(writer.poll() is None for writer in writers):
        with safe_open(tmp_path / "model.safetensors", "pt") as file:  # always whole
            assert file.get_tensor("fc.weight").shape[1] == 96
        config_of(tmp_path)
        time.sleep(0.01)
    assert [writer.returncode for writer in writers] == [0, 0]
    loaded = hub.create_model(f"local-dir:{tmp_path}", pretrained=True)
    assert loaded.num_classes == 7
    assert len(list(tmp_path.iterdir())) == 3


def test_download_makes_a_folder_that_works_alone(model, tmp_path, capsys):
    hub.save_pretrained(model, tmp_path / "a", label_names=list("abcd"))
    assert main(["download", f"local-dir:{tmp_path}/a", "--to", f"{tmp_path}/b"]) == 0
    assert capsys.readouterr().out.endswith(f"use it as local-dir:{tmp_path}/b\n")
    assert config_of(tmp_path / "a") == config_of(tmp_path / "b")
    a, b = (tmp_path / x / "model.safetensors" for x in "ab")
    assert a.read_bytes() == b.read_bytes()


def test_push_refuses_a_damaged_folder(model, tmp_path, capsys):
    hub.save_pretrained(model, tmp_path)
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    assert main(["push", str(tmp_path), "org/name"]) == 1
    assert "is not a readable safetensors file" in capsys.readouterr().err
