"""Promises about optimizers by name: the right class, its fastest form, nothing swallowed."""

import copy
import importlib
from argparse import Namespace
from functools import partial

import hub
import hub_optim
import pytest
import torch
from hub_optim import create_optimizer_v2, registry
from torch import nn


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


def give_gradients(model, seed=0):
    for i, parameter in enumerate(model.parameters()):
        steps = torch.arange(parameter.numel(), dtype=torch.float64)
        gradient = torch.sin(steps + i + seed).reshape(parameter.shape)
        parameter.grad = gradient.to(parameter.dtype)


def trained(model, optimizer, steps=5):
    """Return the parameters after some steps with gradients that are the same every time."""
    for step in range(steps):
        give_gradients(model, step)
        optimizer.step()
    return [p.detach().clone() for p in model.parameters()]


@pytest.fixture(autouse=True)
def _own_registrations(monkeypatch):
    monkeypatch.setattr(registry, "_registered", {})


# --- names ---------------------------------------------------------------------------------------


def test_there_are_the_101_names():
    names = hub_optim.list_optimizers()
    assert len(names) == 101 == len(set(names))
    assert names == sorted(names)


def test_names_are_filtered_by_wildcards():
    assert hub_optim.list_optimizers(["lar*", "nlar*"]) == ["larc", "lars", "nlarc", "nlars"]
    assert hub_optim.list_optimizers("*8bit", ["bnbadem*", "bnbs*"]) == [
        "bnbadam8bit",
        "bnbadamw8bit",
        "bnblion8bit",
    ]
    [(name, description)] = hub_optim.list_optimizers("kronw", with_description=True)
    assert (name, "decoupled" in description) == ("kronw", True)


def test_every_name_has_a_description_of_its_own_kind():
    described = hub_optim.list_optimizers(with_description=True)
    assert all(len(description) > 3 for _, description in described)
    assert "cautious" in dict(described)["clion"]
    assert "cautious" not in dict(described)["lion"]


@pytest.mark.parametrize(
    "name",
    [n for n in hub_optim.list_optimizers() if not n.startswith(("bnb", "fusedl", "fusedn"))],
)
def test_every_name_of_ours_and_of_torch_makes_an_optimizer(name):
    info = hub_optim.get_optimizer_info(name)
    module = info.opt_class.partition(":")[0]
    assert importlib.util.find_spec(module) is not None, f"{module} is not there"
    model = network()
    optimizer = create_optimizer_v2(model, name, lr=1e-3, weight_decay=0.01)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.0, 0.01]
    for key, value in info.defaults.items():
        # weight_decay is the network's; what is no option of a group went into the class
        if key in optimizer.param_groups[0] and key != "weight_decay":
            assert optimizer.param_groups[0][key] == value
    if info.has_momentum and "momentum" in optimizer.param_groups[0]:
        assert optimizer.param_groups[0]["momentum"] == 0.9


@pytest.mark.parametrize(
    ("name", "plain", "letter"),
    [
        ("cadopt", "adopt", dict(caution=True)),
        ("cnadamw", "nadamw", dict(caution=True)),
        ("csgdw", "sgdw", dict(caution=True)),
        ("clamb", "lamb", dict(caution=True)),
        ("lionc", "lion", dict(corrected_weight_decay=True)),
        ("lambw", "lamb", dict(decoupled_decay=True)),
        ("lambc", "lamb", dict(trust_clip=True)),
        ("larc", "lars", dict(trust_clip=True)),
        ("nlars", "lars", dict(nesterov=True)),
        ("nmuon", "muon", dict(nesterov=True)),
        ("adanw", "adan", dict(no_prox=True)),
        ("radabelief", "adabelief", dict(rectify=True)),
        ("radamw", "radam", dict(decoupled_weight_decay=True)),
    ],
)
def test_letters_of_a_name_mean_what_the_catalog_says(name, plain, letter):
    info, base = map(hub_optim.get_optimizer_info, (name, plain))
    assert info.opt_class == base.opt_class
    assert dict(info.defaults) == dict(base.defaults) | letter


def test_class_comes_with_what_its_name_stands_for():
    bound = hub_optim.get_optimizer_class("sgd")
    assert isinstance(bound, partial) and bound.keywords == dict(nesterov=True)
    assert hub_optim.get_optimizer_class("sgd", bind_defaults=False) is torch.optim.SGD
    assert hub_optim.get_optimizer_class("adamw") is torch.optim.AdamW


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("adamm", "no optimizer is called 'adamm'. Did you mean adam"),
        ("lookahead_adamm", "no optimizer is called 'adamm'"),
        ("", "no optimizer is called ''"),
    ],
)
def test_unknown_name_is_refused_with_suggestions(name, message):
    with pytest.raises(ValueError, match=message):
        create_optimizer_v2(network(), name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fusedlamb", "package apex, which is not installed: take 'lamb', which is hub's own"),
        ("fusednovograd", "take 'novograd'"),
        ("bnbadamw8bit", "package bitsandbytes, which is not installed: pip install bitsandbytes"),
    ],
)
def test_missing_package_is_told_with_the_way_out(name, message):
    with pytest.raises(ImportError, match=message):
        create_optimizer_v2(network(), name)


# --- keywords ------------------------------------------------------------------------------------


def test_keyword_that_an_optimizer_does_not_take_is_refused():
    with pytest.raises(ValueError, match=r"adamw takes no 'epss' .given 1.*Did you mean eps"):
        create_optimizer_v2(network(), "adamw", epss=1)
    with pytest.raises(ValueError, match=r"adam takes 2 betas, not \(0.9, 0.99, 0.999\)"):
        create_optimizer_v2(network(), "adam", betas=(0.9, 0.99, 0.999))
    with pytest.raises(ValueError, match=r"lion takes no 'capturabel'.*Did you mean capturable"):
        create_optimizer_v2(network(), "lion", capturabel=True)


def test_eps_and_betas_are_dropped_where_there_are_none():
    """A recipe passes them whatever the optimizer."""
    [*_, group] = create_optimizer_v2(network(), "lion", eps=1e-8, betas=[0.8, 0.9]).param_groups
    assert "eps" not in group and group["betas"] == (0.8, 0.9)
    group = create_optimizer_v2(network(), "sgd", lr=0.1, eps=1e-8, betas=(0.9, 0.9)).param_groups[
        0
    ]
    assert "eps" not in group and "betas" not in group


def test_rate_of_the_optimizer_is_kept_if_none_is_given():
    assert create_optimizer_v2(network(), "adadelta").param_groups[0]["lr"] == 1.0


def test_groups_keep_what_they_say_themselves():
    model = network()
    groups = [
        dict(params=(p for p in model[0].parameters()), lr=0.5, weight_decay=0.3),
        dict(params=model[3].weight),
    ]
    first, second = create_optimizer_v2(groups, "adamw", lr=0.1, weight_decay=0.2).param_groups
    assert (first["lr"], first["weight_decay"], len(first["params"])) == (0.5, 0.3, 2)
    assert (second["lr"], second["weight_decay"], len(second["params"])) == (0.1, 0.2, 1)


def test_momentum_is_that_of_the_caller():
    optimizer = create_optimizer_v2(network(), "sgd", lr=0.1, momentum=0.5)
    assert optimizer.param_groups[0]["momentum"] == 0.5
    assert optimizer.param_groups[0]["nesterov"] is True
    assert create_optimizer_v2(network(), "momentum").param_groups[0]["nesterov"] is False


def test_arguments_of_a_command_become_keywords():
    args = Namespace(
        opt="adamw",
        lr=0.01,
        weight_decay=0.1,
        momentum=0.9,
        opt_eps=None,
        opt_betas=[0.8, 0.9],
        layer_decay=None,
        opt_args=dict(amsgrad=True),
    )
    assert hub_optim.optimizer_kwargs(args) == dict(
        opt="adamw", lr=0.01, weight_decay=0.1, momentum=0.9, betas=[0.8, 0.9], amsgrad=True
    )
    group = hub_optim.create_optimizer(args, network(), filter_bias_and_bn=False).param_groups[0]
    assert (group["lr"], group["betas"], group["amsgrad"]) == (0.01, (0.8, 0.9), True)


# --- the fastest form ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sgd", "momentum", "adam", "adamw", "adagrad"])
def test_fused_kernel_is_taken_and_computes_the_same(name):
    model = network().double()
    other = copy.deepcopy(model)
    fused = create_optimizer_v2(model, name, lr=0.01, weight_decay=0.1)
    plain = create_optimizer_v2(other, name, lr=0.01, weight_decay=0.1, foreach=False)
    assert fused.param_groups[0]["fused"] is True
    assert not plain.param_groups[0]["fused"]
    torch.testing.assert_close(trained(model, fused), trained(other, plain), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    "choice",
    [dict(fused=False), dict(foreach=True), dict(foreach=False), dict(differentiable=True)],
)
def test_form_that_the_caller_chooses_is_kept(choice):
    assert not create_optimizer_v2(network(), "adam", **choice).param_groups[0]["fused"]


def test_fused_kernel_is_not_taken_where_it_cannot_work():
    complex_one = [nn.Parameter(torch.ones(2, dtype=torch.complex64))]
    assert not create_optimizer_v2(complex_one, "adam").param_groups[0]["fused"]
    on_meta = [nn.Parameter(torch.ones(2, device="meta"))]
    assert not create_optimizer_v2(on_meta, "adam").param_groups[0]["fused"]


def test_sparse_gradients_still_work():
    model = nn.Embedding(5, 2, sparse=True)
    optimizer = create_optimizer_v2(model, "sgd", lr=0.1, momentum=0.0, nesterov=False)
    before = model.weight.detach().clone()
    model(torch.tensor([1])).sum().backward()
    optimizer.step()
    changed = (model.weight != before).any(dim=1)
    assert changed.tolist() == [False, True, False, False, False]


@pytest.mark.parametrize(
    ("apex", "torchs"), [("fusedadam", "adam"), ("fusedadamw", "adamw"), ("fusedsgd", "sgd")]
)
def test_apex_names_are_torchs_fused_form(apex, torchs):
    model, other = network(), network()
    ours = create_optimizer_v2(model, apex, lr=0.01, weight_decay=0.1)
    plain = create_optimizer_v2(other, torchs, lr=0.01, weight_decay=0.1)
    assert ours.param_groups[0]["fused"] is True
    torch.testing.assert_close(trained(model, ours), trained(other, plain), rtol=0, atol=0)


def test_apex_names_decay_by_what_is_asked_for():
    parameters = [nn.Parameter(torch.ones(1))]
    asked = create_optimizer_v2(parameters, "fusedadamw", weight_decay=0.3)
    assert asked.param_groups[0]["weight_decay"] == 0.3
    by_itself = hub_optim.get_optimizer_class("fusedadamw")(parameters)
    assert by_itself.param_groups[0]["weight_decay"] == 0.0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nadam", "rmsprop"])
def test_compiled_step_computes_the_same_under_a_schedule(name):
    model = network()
    other = copy.deepcopy(model)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    compiled = create_optimizer_v2(model, name, lr=0.01, compile=True)
    plain = create_optimizer_v2(other, name, lr=0.01)
    for step in range(12):
        for scheduled in (compiled, plain):
            scheduled.param_groups[0]["lr"] = 0.01 / (step + 1)
        give_gradients(model, step)
        give_gradients(other, step)
        assert compiled.step(lambda: 5.0) == 5.0
        plain.step()
        rate = compiled.param_groups[0]["lr"]
        assert isinstance(rate, torch.Tensor)
    torch.testing.assert_close(list(model.parameters()), list(other.parameters()))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= 2  # not one per rate


def test_compiling_what_is_fused_already_changes_nothing():
    optimizer = create_optimizer_v2(network(), "adam", compile=True)
    assert optimizer.param_groups[0]["fused"] is True
    assert "step" not in vars(optimizer)


# --- others' optimizers --------------------------------------------------------------------------


class Halving(torch.optim.Optimizer):
    """An optimizer that takes neither a decay nor a rate: it halves."""

    def __init__(self, params, *, share=0.5):
        super().__init__(params, dict(share=share))

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.mul_(group["share"])


def test_registered_optimizer_is_made_by_name():
    info = hub_optim.OptimInfo(
        name="Halving", opt_class=Halving, has_eps=False, defaults=dict(share=0.25)
    )
    hub_optim.register_optimizer(info)
    assert "halving" in hub_optim.list_optimizers("halv*")
    model = network()
    before = [p.detach().clone() for p in model.parameters()]
    create_optimizer_v2(model, "halving", eps=1e-3).step()
    torch.testing.assert_close(list(model.parameters()), [b / 4 for b in before])
    with pytest.raises(ValueError, match=r"(?i)halving takes no 'weight_decay'"):
        create_optimizer_v2(model.parameters(), "halving", weight_decay=0.1)


def test_registered_optimizer_cannot_take_a_name():
    for name, message in (("adamw", "exists already"), ("lookahead_x", "wraps it")):
        with pytest.raises(ValueError, match=message):
            hub_optim.register_optimizer(hub_optim.OptimInfo(name=name, opt_class=Halving))


PLUGIN = """
    from hub import hookimpl

    @hookimpl(optionalhook=True)
    def hub_optimizers():
        from hub_optim import OptimInfo
        return [OptimInfo(name="{name}", opt_class="torch.optim:ASGD", has_eps=False)]
"""


def test_optimizer_of_a_plugin_is_made_by_name(install):
    install("acme", PLUGIN.format(name="acme_averaged"))
    hub.refresh()
    assert isinstance(create_optimizer_v2(network(), "acme_averaged"), torch.optim.ASGD)
    wrapped = create_optimizer_v2(network(), "lookahead_acme_averaged")
    assert isinstance(wrapped.base_optimizer, torch.optim.ASGD)


def test_plugin_cannot_take_a_name_and_is_told(install):
    install("acme", PLUGIN.format(name="adam"))
    hub.refresh()
    with pytest.warns(hub.HubWarning, match="'acme' brings an optimizer 'adam', which .* 'optim'"):
        assert hub_optim.get_optimizer_info("adam").opt_class == "torch.optim:Adam"


@pytest.mark.parametrize("code", ["raise OSError('x')", "return [3]"])
def test_broken_plugin_costs_only_its_own_optimizers(install, code):
    install(
        "acme",
        "from hub import hookimpl\n@hookimpl(optionalhook=True)\n"
        f"def hub_optimizers():\n    {code}\n",
    )
    hub.refresh()
    with pytest.warns(hub.HubWarning, match="plugin 'acme' could not name its optimizers"):
        assert len(hub_optim.list_optimizers()) == 101


def test_public_names_are_all_there():
    for name in hub_optim.__all__:
        assert getattr(hub_optim, name) is not None, name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        hub_optim.nothing  # noqa: B018
