"""Weights become the network's alone: once in memory, whole or not at all, and only data."""

import argparse
import copy
import inspect
import json
import os
import pickle
import re
from concurrent.futures import ThreadPoolExecutor

import hub
import hub_vit.convert
import numpy as np
import pytest
import torch
from hub import registry
from hub.cli.models import describe
from hub.importing import load_object
from hub.pretrained import loading
from hub.pretrained.checkpoint import load_state_dict
from hub.pretrained.config import BUILD_OPTIONS
from hub.pretrained.loading import load_pretrained
from hub.pretrained.sources import LocalFile, StableFile, fetch_weights
from hub_resnet.model import ResNet
from safetensors.torch import save_file
from torch import nn


@pytest.fixture
def model():
    torch.manual_seed(0)
    return hub.create_model("test_resnet").eval()


@pytest.fixture
def file(model, tmp_path):
    path = tmp_path / "model.safetensors"
    save_file(model.state_dict(), path)
    return path


def load(file, name="test_resnet", **kwargs):
    overlay = dict(file=str(file))
    return hub.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, **kwargs)


def assert_same(a, b):
    assert a.state_dict().keys() == b.state_dict().keys()
    for (name, x), y in zip(a.state_dict().items(), b.state_dict().values(), strict=True):
        assert torch.equal(x, y), name
    for (name, x), (_, y) in zip(a.named_buffers(), b.named_buffers(), strict=True):
        assert torch.equal(x, y), name


# --- the same network as by the slow path -------------------------------------------------------


def by_the_slow_path(name, state):
    architecture, _ = registry.find(name)
    cfg = hub.get_pretrained_cfg(name)
    size = dict(img_size=cfg.input_size[1:]) if cfg.fixed_input_size else {}
    build = load_object(architecture.family.model)
    model = build(**{**size, **architecture.family.variants[name]})
    model.load_state_dict(state)
    return model


ALL = [
    pytest.param(name, marks=() if name.startswith("test_") else pytest.mark.slow)
    for name in hub.list_models()
    if describe(name)["params"] < 70e6
]


@pytest.mark.parametrize("name", ALL)
def test_fast_and_slow_path_give_equal_tensors(name, tmp_path):
    state = hub.create_model(name).state_dict()
    save_file(state, tmp_path / "model.safetensors")
    fast = load(tmp_path / "model.safetensors", name)
    assert_same(fast, by_the_slow_path(name, state))


# --- memory ------------------------------------------------------------------------------------


def test_training_changes_the_parameters_and_not_the_file(model, file):
    before = file.read_bytes()
    loaded = load(file).train()
    optimizer = torch.optim.SGD(loaded.parameters(), lr=0.1)
    loaded(torch.rand(4, 3, 64, 64)).square().mean().backward()
    optimizer.step()
    assert not torch.equal(loaded.fc.weight, model.fc.weight)
    assert not torch.equal(loaded.bn1.running_mean, model.bn1.running_mean)
    assert file.read_bytes() == before
    assert_same(load(file), model)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize(("kind", "most"), [(StableFile, 8), (str, 72)])
def test_file_that_never_changes_is_mapped_and_any_other_is_read_once(tmp_path, suffix, kind, most):
    """16 M numbers are 64 MiB."""
    file = tmp_path / f"big{suffix}"
    state = {"weight": torch.ones(4096, 4096)}
    save_file(state, file) if suffix == ".safetensors" else torch.save(state, file)
    state.clear()
    model = nn.Linear(4096, 4096, bias=False, device="meta")
    before = own_memory()
    load_pretrained(model, hub.Weights(file=kind(file)))
    assert own_memory() - before < most * 2**20
    assert model.weight.sum() == 4096 * 4096


def own_memory():
    with open("/proc/self/status") as status:
        line = next(line for line in status if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024


if not os.path.exists("/proc/self/status"):
    del test_file_that_never_changes_is_mapped_and_any_other_is_read_once


WAYS = {
    "checkpoint_path": lambda f: hub.create_model("test_resnet", checkpoint_path=f),
    "checkpoint_path file:": lambda f: hub.create_model("test_resnet", checkpoint_path=f"file:{f}"),
    "file:": lambda f: hub.create_model(f"file:{f}", pretrained=True),
    "local-dir:": lambda f: hub.create_model(f"local-dir:{f.parent}", pretrained=True),
    "overlay": lambda f: load(f),
    "pretrained_cfg": lambda f: hub.create_model(
        "test_resnet", pretrained=True, pretrained_cfg=dict(file=str(f))
    ),
    "load_checkpoint": lambda f: loaded_later(hub.load_checkpoint, f),
    "load_pretrained": lambda f: loaded_later(hub.load_pretrained, dict(file=str(f))),
    "load_state_dict": lambda f: hub.load_state_dict(f),
}


def loaded_later(function, what):
    model = hub.create_model("test_resnet")
    function(model, what)
    return model


@pytest.mark.parametrize("name", ["model.safetensors", "model.pth"])
@pytest.mark.parametrize("way", WAYS)
def test_own_file_may_be_overwritten_once_it_is_loaded(model, tmp_path, name, way):
    """In a process of its own this was a bus error; a file of zeros shows it as other values."""
    file = tmp_path / name
    write_config(tmp_path)
    if name.endswith("safetensors"):
        save_file(model.state_dict(), file)
    else:
        torch.save({"state_dict": model.state_dict(), "epoch": 1}, file)
    loaded = WAYS[way](file)
    state = loaded if isinstance(loaded, dict) else loaded.state_dict()
    with file.open("r+b") as same:
        same.write(bytes(file.stat().st_size))
    assert all(torch.equal(state[k], v) for k, v in model.state_dict().items())
    torch.save({"state_dict": state, "epoch": 2}, file)
    assert_same_state(hub.load_state_dict(file), model.state_dict())


def assert_same_state(a, b):
    assert a.keys() == b.keys()
    assert all(torch.equal(a[k], v) for k, v in b.items())


def test_file_of_a_cache_is_mapped_only_where_its_source_says_so(model, file):
    class Place:
        is_stable = True

        def weights(self, filename=None):
            return file

    assert isinstance(fetch_weights(Place()), StableFile)
    assert not isinstance(fetch_weights(LocalFile(str(file))), StableFile)
    assert load(fetch_weights(Place())).pretrained_cfg["file"] == str(file)


def test_networks_from_one_state_dict_share_no_memory_with_it_or_each_other(model):
    state = dict(model.named_parameters()) | dict(model.named_buffers())
    overlay = dict(state_dict=state)
    a, b = (
        hub.create_model("test_resnet", pretrained=True, pretrained_cfg_overlay=overlay)
        for _ in range(2)
    )
    for name, tensor in a.state_dict().items():
        tensor.zero_()
        assert torch.equal(b.state_dict()[name], state[name]), name
    assert_same(b, model)
    assert all(p.is_leaf and p.requires_grad for p in b.parameters())


def test_tensors_that_share_memory_in_a_file_do_not_in_the_network(tmp_path):
    one, row = torch.rand(3, 3), torch.rand(3)
    state = {"0.weight": one, "0.bias": row, "1.weight": one, "1.bias": one[0], "2.weight": one.T}
    state |= {"2.bias": torch.rand(1).expand(3), "3.weight": torch.rand(9, 3)[::3], "3.bias": row}
    torch.save(state, tmp_path / "w.pth")
    for kind in (str, StableFile):
        model = nn.Sequential(*(nn.Linear(3, 3, device="meta") for _ in range(4)))
        hub.load_pretrained(model, hub.Weights(file=kind(tmp_path / "w.pth")))
        assert_same_state(model.state_dict(), state)
        assert len({p.untyped_storage().data_ptr() for p in model.parameters()}) == 8
        for parameter in model.parameters():
            assert parameter.is_contiguous()
            assert parameter.untyped_storage().nbytes() == parameter.nbytes


def test_network_in_use_keeps_its_parameters(model, file):
    used = hub.create_model("test_resnet")
    optimizer = torch.optim.SGD(used.parameters(), lr=0.1)
    compiled = torch.nn.Sequential(used)  # a wrapper, as compiling and parallel training put around
    for wrapper in (used, compiled):
        with torch.no_grad():
            used.fc.weight.zero_()
        assert hub.load_checkpoint(wrapper, file) == ([], [])
        assert_same(used, model)
    assert [id(p) for p in optimizer.param_groups[0]["params"]] == [
        id(p) for p in used.parameters()
    ]


def test_converter_sees_the_network_as_it_was_initialised(file):
    def keep_the_head(state, network):
        return {**state, "fc.weight": network.state_dict()["fc.weight"] * 2}

    for _ in range(2):
        torch.manual_seed(1)
        loaded = load(file, pretrained_filter_fn=keep_the_head)
        torch.manual_seed(1)
        fresh = hub.create_model("test_resnet")
    assert torch.equal(loaded.fc.weight, fresh.fc.weight * 2)
    with pytest.raises(hub.WeightsError, match=r"converter .* returned a NoneType"):
        load(file, pretrained_filter_fn=lambda state: None)


def test_local_converter_does_not_stop_copies():
    @hub.register_model
    def my_net(pretrained=False, **kwargs):
        return hub.build_model_with_cfg(
            ResNet,
            "my_net",
            pretrained,
            pretrained_filter_fn=lambda state: state,
            block="basic",
            layers=(1,) * 4,
        )

    model = hub.create_model("my_net")
    assert_same(pickle.loads(pickle.dumps(model)), model)
    assert loading._converter(copy.deepcopy(model)) is loading._converter(model)
    known = hub.create_model("test_vit")
    assert loading._converter(pickle.loads(pickle.dumps(known))) is hub_vit.convert.convert


def test_device_and_dtype_are_those_asked_for(model, file):
    loaded = load(file, dtype=torch.bfloat16)
    assert loaded.fc.weight.dtype == torch.bfloat16
    assert loaded.bn1.num_batches_tracked.dtype == torch.int64
    assert torch.equal(loaded.fc.weight, model.fc.weight.bfloat16())
    save_file(
        {k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()}, file
    )
    assert load(file).fc.weight.dtype == torch.float32


def test_loaded_parameters_are_trainable_leaves(file):
    for parameter in load(file).parameters():
        assert parameter.is_leaf
        assert parameter.requires_grad


def test_network_on_the_meta_device_is_completed(model, file):
    with torch.device("meta"):
        empty = hub.create_model("test_resnet", num_classes=3)
    weights = hub.Weights(file=str(file), classifier="fc", num_classes=1000)
    hub.load_pretrained(empty, weights)
    assert not [n for n, t in empty.state_dict().items() if t.is_meta]
    assert torch.equal(empty.layer1[0].conv1.weight, model.layer1[0].conv1.weight)
    assert 0 < empty.fc.weight.abs().max() < 1


def test_buffers_that_no_file_holds_are_computed(tmp_path):
    torch.manual_seed(0)
    blurred = hub.create_model("resnetblur18")
    save_file(blurred.state_dict(), tmp_path / "w.safetensors")
    with torch.device("meta"):
        empty = hub.create_model("resnetblur18")
    hub.load_pretrained(empty, hub.Weights(file=str(tmp_path / "w.safetensors")))
    assert_same(empty, blurred)


def test_default_device_meta_does_not_empty_what_is_loaded(model, file):
    with torch.device("meta"):
        loaded = load(file)
    assert_same(loaded, model)


def test_files_with_arguments_are_read_by_threads_and_nothing_else_is_allowed_after(
    model, tmp_path
):
    torch.save(
        {"model": model.state_dict(), "args": argparse.Namespace(lr=0.1)}, tmp_path / "w.pth"
    )
    before = set(torch.serialization.get_safe_globals())
    with ThreadPoolExecutor(8) as pool:
        states = list(pool.map(load_state_dict, [tmp_path / "w.pth"] * 40))
    assert all(state.keys() == model.state_dict().keys() for state in states)
    assert set(torch.serialization.get_safe_globals()) == before
    with torch.serialization.safe_globals([argparse.Namespace]):  # as somebody else wants it
        load_state_dict(tmp_path / "w.pth")
        assert argparse.Namespace in torch.serialization.get_safe_globals()


@pytest.mark.parametrize("name", ["5e9f0c", "w.SAFETENSORS", "w.pth", "w.safetensors", "w.npz"])
def test_content_says_what_a_file_is_and_not_its_name(model, tmp_path, name):
    state = model.state_dict()
    save_file(state, tmp_path / name)
    assert_same(load(tmp_path / name), model)
    torch.save(state, tmp_path / "w")
    (tmp_path / "w").replace(tmp_path / name)
    assert_same(load(StableFile(tmp_path / name)), model)
    with (tmp_path / name).open("wb") as file:
        np.savez(file, **state)
    assert_same(load(tmp_path / name), model)


# --- checkpoints as training leaves them ---------------------------------------------------------


def test_envelopes_and_prefixes_are_found(model, tmp_path):
    state = model.state_dict()
    other = {k: torch.zeros_like(v) for k, v in state.items()}
    checkpoints = [
        state,
        {"state_dict": state, "epoch": 3, "args": argparse.Namespace(lr=0.1)},
        {"model": {f"module.{k}": v for k, v in state.items()}},
        {"model": {"state_dict": {f"_orig_mod.module.{k}": v for k, v in state.items()}}},
        {"state_dict": other, "state_dict_ema": state},
        {"model_ema": state, "model": other, "optimizer": {"lr": 1}},
    ]
    for checkpoint in checkpoints:
        torch.save(checkpoint, tmp_path / "c.pth")
        assert_same(load(tmp_path / "c.pth"), model)
    found = load_state_dict(tmp_path / "c.pth", use_ema=False)
    assert not found["fc.weight"].any()


def test_old_format_of_torch_loads(model, tmp_path):
    torch.save(model.state_dict(), tmp_path / "c.pth", _use_new_zipfile_serialization=False)
    assert_same(load(tmp_path / "c.pth"), model)


def test_checkpoint_of_any_source_by_reference(model, file):
    assert_same(hub.create_model("test_resnet", checkpoint_path=f"local-dir:{file.parent}"), model)


def test_foreign_arrays_go_through_the_converter(install, tmp_path):
    folder = install(
        "acme",
        """
        from hub import Family, hookimpl

        @hookimpl
        def hub_models():
            return [Family(name="acme", model="hub_acme.model:Net", variants={"acme_net": {}},
                           converter="hub_acme.model:convert")]
        """,
    )
    (folder / "model.py").write_text(
        "import torch\n"
        "class Net(torch.nn.Linear):\n"
        "    def __init__(self, num_classes=2):\n"
        "        super().__init__(3, num_classes)\n"
        "def convert(state, model):\n"
        "    return {'weight': state['head/kernel'].T, 'bias': state['head/bias']}\n"
    )
    hub.refresh()
    np.savez(
        tmp_path / "w.npz", **{"head/kernel": np.ones((3, 2), "f4"), "head/bias": np.ones(2, "f4")}
    )
    model = load(tmp_path / "w.npz", "acme_net", num_classes=2)
    assert model.weight.sum() == 6


# --- refused -----------------------------------------------------------------------------------


class Bomb:
    def __reduce__(self):
        return os.system, ("touch exploded",)


def test_pickle_with_code_is_refused_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {"w": Bomb()}}, tmp_path / "bomb.pth")
    (tmp_path / "plain.bin").write_bytes(pickle.dumps(Bomb(), protocol=2))
    for name in ("bomb.pth", "plain.bin"):
        with pytest.raises(hub.WeightsError, match=r"is refused: .*posix\.system"):
            load(tmp_path / name)
    assert not (tmp_path / "exploded").exists()


def test_npz_with_pickled_objects_is_refused(tmp_path):
    np.savez(tmp_path / "w.npz", w=np.array([Bomb()], dtype=object))
    with pytest.raises(hub.WeightsError, match="not a readable npz file of plain arrays"):
        load(tmp_path / "w.npz")


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 46000000\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("w.safetensors", b"", "is empty: its download or its saving broke off"),
        ("w.safetensors", b"\xff" * 100, "is damaged or holds no weights: it begins with"),
        ("w.safetensors", b"\x09" + bytes(7) + b"{" + bytes(9), "not a readable safetensors file"),
        ("w.safetensors", LFS, "is a Git LFS pointer.*git lfs pull"),
        ("w.pth", LFS, "is a Git LFS pointer.*git lfs pull"),
        ("w.npz", LFS, "is a Git LFS pointer.*git lfs pull"),
        ("w.pth", b"", "is empty: its download or its saving broke off"),
        ("w.pth", b"PK\x03\x04 cut off", "is damaged: its end is missing"),
        ("w.pth", b"\x80\x02cut off", "w.pth"),
        ("w.pth", b"\n<!DOCTYPE html><html>not found", "is a web page, not the file"),
        ("w.bin", b"\x89HDF\r\n", "it begins with .*HDF.*safetensors, what torch.save writes"),
        ("w.npz", b"PK\x03\x04", "is damaged: its end is missing"),
        ("w.json", b'{"a": 1}', "is JSON, not weights"),
    ],
)
def test_damaged_file_is_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(hub.WeightsError, match=message):
        load(tmp_path / name)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_truncated_file_is_named(model, tmp_path, suffix, share):
    path = tmp_path / f"w{suffix}"
    save_file(model.state_dict(), path) if suffix == ".safetensors" else torch.save(
        model.state_dict(), path
    )
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(hub.WeightsError, match=f"w{suffix}"):
        load(path)


@pytest.mark.parametrize(
    ("content", "shown"),
    [({"epoch": 3}, r"'epoch' \(int\)"), ([1], "a list"), ({}, "nothing")],
)
def test_file_without_tensors_is_named_with_what_it_holds(tmp_path, content, shown):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(hub.WeightsError, match=f"holds no state dict .* but {shown}"):
        load(tmp_path / "w.pth")
    with pytest.raises(hub.WeightsError, match="there is no file"):
        load(tmp_path / "nothing.pth")
    with pytest.raises(hub.WeightsError, match=f"is a folder: write local-dir:{tmp_path}"):
        load(tmp_path)


UNUSUAL = {
    "sparse": lambda: torch.eye(2).to_sparse(),
    "sparse, too": lambda: torch.eye(2).to_sparse_csr(),
    "on the meta device": lambda: torch.empty(2, 2, device="meta"),
    "quantised": lambda: torch.quantize_per_tensor(torch.eye(2), 0.1, 0, torch.qint8),
    "no real numbers (weight: torch.int8)": lambda: torch.ones(2, 2, dtype=torch.int8),
    "no real numbers (weight: torch.int64)": lambda: torch.ones(2, 2, dtype=torch.int64),
    "no real numbers (weight: torch.bool)": lambda: torch.ones(2, 2, dtype=torch.bool),
    "no real numbers (weight: torch.complex64)": lambda: torch.ones(2, 2, dtype=torch.complex64),
}


@pytest.mark.filterwarnings("ignore")  # torch's, of what it is to write
@pytest.mark.parametrize("kind", UNUSUAL)
def test_tensor_without_plain_values_is_refused_in_words(tmp_path, kind):
    state = {"weight": UNUSUAL[kind]()}
    torch.save(state, tmp_path / "w.pth")
    message = re.escape(kind.partition(",")[0])
    for what in (dict(file=str(tmp_path / "w.pth")), dict(state_dict=state)):
        model = nn.Linear(2, 2, bias=False)
        before = model.weight.clone()
        with pytest.raises(hub.WeightsError, match=message):
            hub.load_pretrained(model, what)
        assert torch.equal(model.weight, before)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool, torch.complex64])
def test_what_is_no_real_number_is_not_built_from(model, tmp_path, dtype):
    state = {**model.state_dict(), "fc.weight": model.fc.weight.detach().to(dtype)}
    torch.save(state, tmp_path / "w.pth")
    for what in (dict(file=str(tmp_path / "w.pth")), dict(state_dict=state)):
        with pytest.raises(hub.WeightsError, match=r"1 are no real numbers \(fc\.weight: torch"):
            hub.create_model("test_resnet", pretrained=True, pretrained_cfg_overlay=what)


def test_a_failed_load_leaves_the_network_as_it_was(model, file, tmp_path):
    state = {k: v + 1 for k, v in model.state_dict().items()}
    state["fc.weight"] = torch.ones(2, 2)
    torch.save(state, tmp_path / "w.pth")
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(hub.WeightsError, match=r"1 of another shape \(fc.weight"):
        hub.load_checkpoint(model, tmp_path / "w.pth")
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


# --- what a config.json may say ------------------------------------------------------------------


def write_config(folder, **config):
    (folder / "config.json").write_text(json.dumps({"architecture": "test_resnet", **config}))
    return f"local-dir:{folder}"


@pytest.mark.parametrize(
    ("config", "error", "message"),
    [
        ({"model_args": {"checkpoint_path": "/etc/passwd"}}, hub.WeightsError, "'checkpoint_path'"),
        ({"model_args": {"pretrained_cfg_overlay": {}}}, hub.WeightsError, "no argument of a net"),
        ({"model_args": {"cache_dir": "/"}}, hub.WeightsError, "sets 'cache_dir'"),
        ({"model_args": {"depht": 3}}, TypeError, "has no argument 'depht'"),
        ({"model_args": {"act_layer": "os.system"}}, ValueError, "unknown activation 'os.system'"),
        ({"model_args": {"block": "hub_resnet.blocks:BasicBlock"}}, ValueError, "unknown block"),
        ({"model_args": [1]}, hub.WeightsError, "model_args in its config.json is no object"),
        ({"pretrained_cfg": 3}, hub.WeightsError, "pretrained_cfg in its config.json is no object"),
        ({"num_classes": "many"}, hub.WeightsError, "num_classes='many'"),
        ({"pretrained_cfg": {"mean": "x"}}, hub.WeightsError, "mean='x'"),
        ({"pretrained_cfg": {"input_size": [3, "a", 1]}}, hub.WeightsError, "input_size="),
        ({"architecture": 3}, hub.WeightsError, "names no architecture"),
    ],
)
def test_configuration_carries_only_data_of_a_network(tmp_path, config, error, message):
    with pytest.raises(error, match=message):
        hub.create_model(write_config(tmp_path, **config))


def test_no_keyword_of_a_build_is_taken_from_a_configuration():
    keywords = inspect.signature(hub.build_model_with_cfg).parameters.keys() - {"kwargs"}
    assert keywords | {"checkpoint_path"} == BUILD_OPTIONS


def test_configuration_cannot_point_at_other_files(model, file, tmp_path):
    secret = tmp_path / "secret"
    secret.mkdir()
    save_file({"a": torch.ones(1)}, secret / "other.safetensors")
    cfg = {"file": str(secret / "other.safetensors"), "url": "https://evil/x.pth"}
    name = write_config(tmp_path, pretrained_cfg=cfg)
    assert_same(hub.create_model(name, pretrained=True), model)


def test_plugin_that_a_repository_needs_is_shown_as_its_claim(tmp_path):
    plugin = {"name": "acme", "distribution": "hub-acme", "version": "1.2"}
    name = write_config(tmp_path, architecture="acme_net", plugin=plugin)
    with pytest.raises(hub.UnknownModelError) as caught:
        hub.create_model(name)
    assert "says it needs hub-acme 1.2: look at that package before you install it" in str(
        caught.value
    )
