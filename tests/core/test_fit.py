"""Which checkpoints fit a network: those that torch would load, and what surrounds them."""

import contextlib
import json
import logging

import hub
import pytest
import torch
from hub.pretrained.sources import LocalFolder
from hub_layers import FrozenBatchNorm2d, freeze_batch_norm_2d
from safetensors.torch import save_file
from torch import nn
from torchvision.ops import misc


@pytest.fixture
def lines(caplog):
    """What the logger "hub" said at INFO or above."""
    caplog.set_level(logging.INFO, logger="hub")
    return lambda: [r.getMessage() for r in caplog.records if r.name == "hub"]


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(0)
    return hub.create_model("test_resnet").state_dict()


def load(name="test_resnet", strict=True, num_classes=None, **overlay):
    return hub.create_model(
        name,
        pretrained=True,
        pretrained_strict=strict,
        num_classes=num_classes,
        pretrained_cfg_overlay={k: str(v) if k == "file" else v for k, v in overlay.items()},
    )


def assert_loaded(model, state):
    own = model.state_dict()
    assert own
    for name, tensor in own.items():
        if name in state and torch.is_tensor(tensor):
            assert torch.equal(tensor, state[name]), name


# --- as torch loads -----------------------------------------------------------------------------


class OwnFrozenNorm(nn.Module):
    """As people write it, without a thought for num_batches_tracked."""

    def __init__(self, num_features):
        super().__init__()
        for name in ("weight", "bias", "running_mean", "running_var"):
            self.register_buffer(name, torch.ones(num_features))

    def forward(self, x):
        return x * self.weight[:, None, None]


@pytest.mark.parametrize("norm", [misc.FrozenBatchNorm2d, FrozenBatchNorm2d, OwnFrozenNorm])
def test_published_weights_load_with_a_frozen_norm_of_any_class(state, tmp_path, norm):
    torch.save(state, tmp_path / "w.pth")
    for how in (
        dict(checkpoint_path=tmp_path / "w.pth"),
        dict(pretrained=True, pretrained_cfg_overlay=dict(state_dict=state)),
    ):
        assert_loaded(hub.create_model("test_resnet", norm_layer=norm, **how), state)


def test_norms_frozen_in_place_are_saved_and_loaded(state, tmp_path):
    frozen = freeze_batch_norm_2d(hub.create_model("test_resnet"))
    save_file(frozen.state_dict(), tmp_path / "w.safetensors")
    torch.save(frozen.state_dict(), tmp_path / "w.pth")
    for name in ("w.safetensors", "w.pth"):
        assert_loaded(load(file=tmp_path / name), frozen.state_dict())
    torch.save(state, tmp_path / "whole.pth")
    hub.load_checkpoint(frozen, tmp_path / "whole.pth")
    assert_loaded(frozen, state)


class Versioned(nn.Module):
    """Its second version has the weight the other way round."""

    _version = 2

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2, 2))

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, *rest):
        if (local_metadata.get("version") or 1) < 2:
            state_dict[f"{prefix}weight"] = state_dict[f"{prefix}weight"].T
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)


class LoadsByItself(nn.Module):
    """Copies in its own way."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(2))
        nn.init.normal_(self.weight)

    def _load_from_state_dict(self, state_dict, prefix, *rest):
        self.weight.data.copy_(state_dict.pop(f"{prefix}weight"))


class Renamed(nn.Module):
    """Its weight had another name once; it holds what is no tensor."""

    def __init__(self):
        super().__init__()
        self.steps = 0
        self.weight = nn.Parameter(torch.zeros(2, 2))
        self.register_load_state_dict_pre_hook(self.rename)

    @staticmethod
    def rename(module, state_dict, prefix, *rest):
        if f"{prefix}kernel" in state_dict:
            state_dict[f"{prefix}weight"] = state_dict.pop(f"{prefix}kernel")

    def get_extra_state(self):
        return {"steps": self.steps}

    def set_extra_state(self, state):
        self.steps = state["steps"]


class Odd(nn.Module):
    """Holds one of each; `module` is a name of its own, not of a wrapper."""

    def __init__(self, num_classes=2):
        super().__init__()
        self.module, self.own, self.old = Versioned(), LoadsByItself(), Renamed()
        self.norm = nn.BatchNorm1d(2)
        self.lazy, self.fc = nn.LazyLinear(2), nn.Linear(2, num_classes)


def _odd_state(**changes):
    torch.manual_seed(1)
    model = Odd()
    model.lazy(torch.rand(1, 3))
    state = model.state_dict()
    for tensor in state.values():
        if torch.is_tensor(tensor) and tensor.is_floating_point():
            tensor.uniform_(1, 2)
    state["old._extra_state"] = {"steps": 7}
    return state


def _without(state, *names):
    for name in names:
        del state[name]
    return state


STATES = {
    "of today": lambda s: s,
    "without versions": dict,
    "with an old name": lambda s: {**_without(s, "old.weight"), "old.kernel": s["fc.weight"]},
    "without counters": lambda s: _without(dict(s), "norm.num_batches_tracked"),
    "without a counter that must be there": lambda s: _without(s, "norm.num_batches_tracked"),
    "a scalar as one number": lambda s: {**s, "norm.num_batches_tracked": torch.ones(1).long()},
    "lacks a weight": lambda s: _without(s, "fc.bias"),
    "has one more": lambda s: {**s, "fc.scale": torch.ones(1)},
    "of another shape": lambda s: {**s, "fc.weight": torch.ones(3, 2)},
}


@pytest.mark.parametrize("what", STATES)
def test_what_torch_loads_loads_and_what_it_refuses_is_refused(tmp_path, what):
    hub.register_model(Odd, name="odd_net")
    state = STATES[what](_odd_state())
    torch.save(state, tmp_path / "w.pth")
    described = dict(file=tmp_path / "w.pth", num_classes=2)
    plain = Odd()
    try:
        plain.load_state_dict(state)
    except RuntimeError:
        model = Odd()
        before = {name: p.clone() for name, p in model.fc.named_parameters()}
        with pytest.raises(hub.WeightsError, match="the weights do not fit"):
            hub.load_checkpoint(model, tmp_path / "w.pth")
        assert_loaded(model.fc, before)
        with pytest.raises(hub.WeightsError, match="the weights do not fit"):
            hub.create_model(
                "odd_net", pretrained=True, pretrained_cfg=dict(file=tmp_path / "w.pth")
            )
        return
    used = Odd()
    hub.load_checkpoint(used, tmp_path / "w.pth")
    built = hub.create_model("odd_net", pretrained=True, pretrained_cfg=described)
    for model in (used, built):
        assert model.old.steps == plain.old.steps == 7
        assert_loaded(model, plain.state_dict())


def test_misfit_names_the_argument_that_loads_the_rest(state, tmp_path):
    torch.save({**state, "more": torch.ones(1)}, tmp_path / "w.pth")
    with pytest.raises(hub.WeightsError, match=r"not in the network \(more\).*pretrained_strict="):
        hub.create_model("test_resnet", checkpoint_path=tmp_path / "w.pth")
    model = hub.create_model(
        "test_resnet", checkpoint_path=tmp_path / "w.pth", pretrained_strict=False
    )
    assert_loaded(model, state)


# --- files that hold more, or less --------------------------------------------------------------

MORE = {"mask_token": torch.zeros(1), "decoder_blocks.0.weight": torch.ones(2)}


@pytest.mark.parametrize("num_classes", [0, 5])
def test_pretraining_with_more_than_the_network_loads_and_what_is_left_is_named(
    state, lines, num_classes
):
    whole = {k: v for k, v in state.items() if not k.startswith("fc.")} | MORE
    model = load(state_dict=whole, num_classes=num_classes)
    assert_loaded(model, whole)
    assert any("not in the network: mask_token, decoder_blocks.0.weight" in li for li in lines())


def test_loose_load_says_what_it_loaded_and_what_it_left(state, tmp_path, lines):
    part = {k: v for k, v in state.items() if not k.startswith("fc.")} | MORE
    torch.save(part, tmp_path / "w.pth")
    model = hub.create_model("test_resnet")
    result = hub.load_checkpoint(model, tmp_path / "w.pth", strict=False)
    assert result.missing_keys == ["fc.weight", "fc.bias"]
    assert result.unexpected_keys == list(MORE)
    assert_loaded(model, part)
    (line,) = lines()
    assert "tensors of the weights are loaded; left as they were: fc.weight, fc.bias" in line
    assert "not in the network: mask_token, decoder_blocks.0.weight" in line
    assert_loaded(load(state_dict=part, strict=False), part)


@pytest.mark.parametrize("more", [{}, {"bn1.num_batches_tracked": torch.tensor(1)}])
def test_loose_load_of_nothing_is_refused(more, tmp_path):
    torch.save({"a.b": torch.ones(1), **more}, tmp_path / "w.pth")
    with pytest.raises(hub.WeightsError, match=r"none of the weights .*a\.b"):
        hub.load_checkpoint(hub.create_model("test_resnet"), tmp_path / "w.pth", strict=False)
    with pytest.raises(hub.WeightsError, match=r"none of the weights .*a\.b"):
        load(file=tmp_path / "w.pth", strict=False)


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.module.", "backbone.", "encoder.", "a.b."]
)
def test_prefix_of_every_name_is_taken_off_where_all_fit_then(state, tmp_path, lines, prefix):
    named = {f"{prefix}{name}": tensor for name, tensor in state.items()}
    torch.save(named, tmp_path / "w.pth")
    assert_loaded(load(file=tmp_path / "w.pth"), state)
    said = lines()
    assert_loaded(hub.create_model("test_resnet", checkpoint_path=tmp_path / "w.pth"), state)
    projector = {**named, "projector.0.weight": torch.ones(1)}
    assert_loaded(load(state_dict=projector, num_classes=0), state)
    known = prefix.endswith("module.")
    assert said == ([] if known else [f"{prefix!r} is taken off the names of the weights"])


def test_two_networks_in_one_file_are_not_guessed_between(state):
    both = {f"{side}.{name}": t for side in ("encoder_q", "encoder_k") for name, t in state.items()}
    with pytest.raises(hub.WeightsError, match=r"holds 2 .*encoder_q\., encoder_k\..*state_dict="):
        load(state_dict=both, num_classes=0)


@pytest.mark.parametrize("feature_cls", ["list", "getter", "dict", "hook", "fx"])
def test_whole_network_loads_into_its_features(state, tmp_path, feature_cls):
    torch.save(state, tmp_path / "w.pth")
    features = hub.create_model(
        "test_resnet",
        features_only=True,
        out_indices=(1, 2),
        feature_cls=feature_cls,
        checkpoint_path=tmp_path / "w.pth",
    )
    own = features.state_dict()
    prefix = {"list": "", "fx": "graph_module."}.get(feature_cls, "model.")
    assert all(torch.equal(t, state[name.removeprefix(prefix)]) for name, t in own.items())
    with torch.no_grad():
        for tensor in features.state_dict().values():
            tensor.zero_()
    hub.load_checkpoint(nn.Sequential(features), tmp_path / "w.pth")
    assert all(torch.equal(t, state[name.removeprefix(prefix)]) for name, t in own.items())


def test_features_of_tokens_load_the_whole_network(tmp_path):
    whole = hub.create_model("test_vit").state_dict()
    torch.save(whole, tmp_path / "w.pth")
    features = hub.create_model("test_vit", features_only=True, checkpoint_path=tmp_path / "w.pth")
    assert_loaded(features, whole)


# --- where there are no values ------------------------------------------------------------------


@contextlib.contextmanager
def everything_registered_is_emptied():
    """What accelerate's init_empty_weights does."""
    register = nn.Module.register_parameter

    def emptied(module, name, parameter):
        register(module, name, parameter)
        if parameter is not None:
            module._parameters[name] = nn.Parameter(parameter.to("meta"), parameter.requires_grad)

    nn.Module.register_parameter = emptied
    try:
        yield
    finally:
        nn.Module.register_parameter = register


@pytest.mark.parametrize(
    "context", [everything_registered_is_emptied, lambda: torch.device("meta")]
)
def test_load_where_values_are_thrown_away_keeps_them_or_says_so(state, tmp_path, context):
    torch.save(state, tmp_path / "w.pth")
    with context():
        models = [
            hub.create_model("test_resnet", checkpoint_path=tmp_path / "w.pth"),
            load(file=tmp_path / "w.pth"),
            load(state_dict=state),
            hub.create_model("test_resnet"),
        ]
        hub.load_checkpoint(models[-1], tmp_path / "w.pth")
    for model in models:
        assert not any(t.is_meta for t in [*model.parameters(), *model.buffers()])
        assert_loaded(model, state)


def test_classifier_that_cannot_be_initialised_is_named(state):
    with everything_registered_is_emptied():
        with pytest.raises(hub.WeightsError, match=r"fc.weight, fc.bias: not in the weights, and"):
            load(state_dict=state, num_classes=3)


def test_network_of_a_fake_mode_is_refused(tmp_path):
    from torch._subclasses.fake_tensor import FakeTensorMode

    save_file({"weight": torch.ones(2, 2)}, tmp_path / "w.safetensors")
    mode = FakeTensorMode()
    with mode:
        model = nn.Linear(2, 2, bias=False)
        with pytest.raises(hub.WeightsError, match="have no values"):
            hub.load_checkpoint(model, tmp_path / "w.safetensors")
    with pytest.raises(hub.WeightsError, match="have no values"):
        hub.load_checkpoint(model, tmp_path / "w.safetensors")


@pytest.mark.parametrize("name", ["test_resnet", "resnet18", "test_vit"])
def test_network_is_built_and_run_in_a_fake_mode(name):
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        assert hub.create_model(name)(torch.rand(1, 3, 160, 160)).shape == (1, 1000)


# --- how weights are described ------------------------------------------------------------------


def test_weights_and_a_dict_of_the_same_fields_mean_the_same(tmp_path):
    state = hub.create_model("test_resnet", num_classes=3, in_chans=1).state_dict()
    fields = dict(state_dict=state, num_classes=3, input_size=(1, 64, 64))
    for described in (fields, hub.Weights(**fields)):
        model = hub.create_model("test_resnet", pretrained=True, pretrained_cfg=described)
        assert_loaded(model, state)
    assert not hub.Weights.undeclared("x").with_fields(dict(num_classes=3)).is_declared


def test_null_in_model_args_means_the_default(tmp_path):
    hub.save_pretrained(hub.create_model("test_resnet"), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["model_args"] = {"drop_rate": None, "act_layer": None}
    (tmp_path / "config.json").write_text(json.dumps(config))
    model = hub.create_model(f"local-dir:{tmp_path}", pretrained=True)
    assert model(torch.rand(2, 3, 64, 64)).shape == (2, 1000)


def test_load_pretrained_takes_the_arguments_of_timm(state, tmp_path):
    model = hub.create_model("test_resnet", num_classes=4)
    head = model.fc.weight.clone()
    cfg = dict(state_dict=state, num_classes=1000, classifier="fc", first_conv="conv1.0")
    hub.load_pretrained(model, cfg, 4, 3, lambda s: s, True, None)
    assert torch.equal(model.fc.weight, head)
    assert_loaded(model, {k: v for k, v in state.items() if not k.startswith("fc.")})
    model.pretrained_cfg = dict(cfg)
    hub.load_pretrained(model)
    with pytest.raises(ValueError, match="in_chans=4, but the network has 3: build it for 4"):
        hub.load_pretrained(model, cfg, in_chans=4)
    with pytest.raises(hub.WeightsError, match="has no weights"):
        hub.load_pretrained(nn.Linear(1, 1))


def test_checkpoints_are_loaded_with_the_arguments_of_timm(state, tmp_path):
    file = tmp_path / "w.pth"
    torch.save({name: t for name, t in state.items() if name != "fc.bias"}, file)
    model = hub.create_model("test_resnet")
    result = hub.load_checkpoint(model, file, True, "cpu", False)
    assert result.missing_keys == ["fc.bias"]
    torch.save({f"old {name}": tensor for name, tensor in state.items()}, file)
    empty = hub.create_model("test_resnet", device="meta")
    hub.load_checkpoint(empty, file, filter_fn=lambda s, _: {k[4:]: v for k, v in s.items()})
    assert_loaded(empty, state)
    assert hub.load_state_dict(file, True, "meta")["old fc.bias"].is_meta
    with pytest.raises(TypeError, match=r"device=False: .*strict is given by name"):
        hub.load_checkpoint(model, file, True, False)


# --- what a checkpoint is wrapped in --------------------------------------------------------------

ENVELOPES = {
    "net": lambda s: {"net": s, "acc": 91.2},
    "module": lambda s: {"module": s, "ds_version": "0.9"},
    "ema": lambda s: {"ema": s, "model": {n: t * 0 for n, t in s.items()}},
    "teacher": lambda s: {
        "teacher": {f"backbone.{n}": t for n, t in s.items()},
        "student": {f"module.backbone.{n}": t * 0 for n, t in s.items()},
        "optimizer": {"state": {0: {"exp_avg": torch.ones(1)}}, "param_groups": []},
    },
    "any name, if it is the only one": lambda s: {"generator": s, "epoch": 3},
    "plain data beside": lambda s: {**s, "epoch": 3},
    "two deep": lambda s: {"checkpoint": 1, "model": {"module": s, "step": 1}},
}


@pytest.mark.parametrize("envelope", ENVELOPES)
def test_state_dict_is_found_in_what_training_code_wraps_it(state, tmp_path, envelope):
    torch.save(ENVELOPES[envelope](state), tmp_path / "w.pth")
    assert_loaded(load(file=tmp_path / "w.pth"), state)


# --- checkpoints of several files ----------------------------------------------------------------


def write_shards(folder, state, kind="safetensors"):
    """Write a checkpoint as transformers and accelerate do; return its index."""
    stem, end = {"safetensors": ("model", ".safetensors"), "bin": ("pytorch_model", ".bin")}[kind]
    names = list(state)
    places = {}
    for i, part in enumerate((names[::2], names[1::2]), 1):
        file = folder / f"{stem}-{i:05}-of-00002{end}"
        save = save_file if kind == "safetensors" else torch.save
        save({name: state[name] for name in part}, file)
        places |= dict.fromkeys(part, file.name)
    index = folder / f"{stem}{end}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))
    return index


@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_checkpoint_of_several_files_loads_by_folder_and_by_file(state, tmp_path, kind):
    index = write_shards(tmp_path, state, kind)
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "test_resnet"}))
    assert LocalFolder(str(tmp_path)).weights() == index
    for name in (f"local-dir:{tmp_path}", f"file:{index}"):
        assert_loaded(hub.create_model(name, pretrained=True), state)
    assert_loaded(hub.create_model("test_resnet", checkpoint_path=index), state)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m, f: m.update(a="../x.safetensors"), "names the file '../x.safetensors'"),
        (lambda m, f: m.update(a="/etc/x.bin"), "names the file '/etc/x.bin'"),
        (lambda m, f: m.update(a="x\\y.bin"), "names the file"),
        (lambda m, f: m.update(a=["x.bin"]), "names the file"),
        (lambda m, f: m.update(a="none.bin"), "names the file none.bin, which is not beside it"),
        (lambda m, f: m.update(a=f.name), "which is an index itself"),
        (lambda m, f: m.update(a=m["fc.bias"]), "names tensors that its files lack: a"),
        (lambda m, f: m.clear(), "is JSON, not weights"),
    ],
)
def test_index_that_leads_elsewhere_or_lies_is_refused(state, tmp_path, change, message):
    index = write_shards(tmp_path, state)
    content = json.loads(index.read_text())
    change(content["weight_map"], index)
    index.write_text(json.dumps(content))
    with pytest.raises(hub.WeightsError, match=message):
        hub.load_state_dict(index)
