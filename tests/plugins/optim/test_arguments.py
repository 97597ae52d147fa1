"""Numbers that come as text, as YAML reads 1e-3, are refused by name wherever they are given."""

from __future__ import annotations

import inspect
from dataclasses import fields
from typing import Any, get_args

import hub_optim
import pytest
import torch
from hub_optim import create_optimizer_v2, scheduler_factory, schedules
from optimizer_cases import NAMES
from torch import nn

TEXTS = {"lr": "1e-3", "weight_decay": "0.1", "eps": "1e-8", "momentum": "0.9", "foreach": "false"}


def parameters() -> list[nn.Parameter]:
    return [nn.Parameter(torch.ones(4, 4))]


@pytest.mark.parametrize("opt", [*NAMES, "lookahead_adamw"])
def test_a_number_as_text_is_refused_by_name(opt):
    texts = TEXTS | {"betas": ("0.9", "0.99")}
    for name, text in texts.items():
        # Not every one takes a switch, which is another error.
        with pytest.raises((TypeError, ValueError), match=name) as raised:
            create_optimizer_v2(parameters(), opt, **{name: text})
        assert name == "foreach" or "is the text" in str(raised.value)
        if name != "foreach":
            with pytest.raises(TypeError, match=rf"^{name} is the text"):
                create_optimizer_v2([dict(params=parameters()) | {name: text}], opt)


def own_classes() -> dict[str, Any]:
    infos = [hub_optim.get_optimizer_info(name) for name in NAMES]
    named = {i.opt_class: hub_optim.get_optimizer_class(i.name, False) for i in infos}
    return {name: cls for name, cls in named.items() if name.startswith("hub_optim.")}


@pytest.mark.parametrize("cls", own_classes().values())
def test_every_option_of_our_classes_is_checked_at_construction_and_in_groups(cls):
    for name, parameter in list(inspect.signature(cls).parameters.items())[1:]:
        text = "str" in str(parameter.annotation) or isinstance(parameter.default, str)
        if text or parameter.kind is parameter.VAR_KEYWORD:
            continue
        with pytest.raises(TypeError, match=rf"^{name} is the text '1', but {cls.__name__} takes"):
            cls(parameters(), **{name: "1"})
    optimizer = cls(parameters(), lr=0.1)
    for wrong in (dict(lr="0.1"), dict(lr=-1.0), dict(betas=(0.9, 1.5)), dict(weight_decay=-0.1)):
        with pytest.raises((TypeError, ValueError), match=next(iter(wrong))):
            optimizer.add_param_group(dict(params=parameters(), **wrong))
    assert len(optimizer.param_groups) == 1


def test_what_may_be_text_stays_text():
    create_optimizer_v2(parameters(), "adafactorbv", momentum_dtype="float32")
    create_optimizer_v2(parameters(), "muon", ns_coefficients="original", adjust_lr_fn=None)
    create_optimizer_v2([("0", p) for p in parameters()], "lion")  # a parameter's name
    create_optimizer_v2([dict(params=parameters(), group_name="head")], "lion")


@pytest.mark.parametrize(
    "name", ["layer_decay", "layer_decay_min_scale", "layer_decay_no_opt_scale", "momentum"]
)
def test_arguments_of_the_factory_are_checked_too(name):
    with pytest.raises(TypeError, match=rf"^{name} is the text '0.5'"):
        create_optimizer_v2(nn.Linear(2, 2), "adamw", **{name: "0.5"})


def test_lookahead_is_checked_too():
    for name in ("alpha", "k"):
        with pytest.raises(TypeError, match=f"^{name} is the text '1'"):
            hub_optim.Lookahead(torch.optim.SGD(parameters(), lr=0.1), **{name: "1"})


@pytest.mark.parametrize(
    "setting",
    [f.name for f in fields(hub_optim.ScheduleRequest) if "str" not in str(f.type)],
)
def test_a_setting_of_a_schedule_as_text_is_refused_by_name(setting):
    optimizer = create_optimizer_v2(parameters(), "sgd", lr=0.1)
    with pytest.raises(TypeError, match=rf"^{setting} is the text '5'"):
        hub_optim.create_scheduler_v2(optimizer, **{setting: "5"})


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda o: hub_optim.CosineLRScheduler(o, "300"), "t_initial"),
        (lambda o: hub_optim.StepLRScheduler(o, 30, warmup_t="5"), "warmup_t"),
        (lambda o: hub_optim.PlateauLRScheduler(o, decay_rate="0.1"), "decay_rate"),
        (lambda o: schedules.Noise((0,), pct="0.5"), "pct"),
    ],
)
def test_schedules_made_by_hand_are_checked_too(make, name):
    with pytest.raises(TypeError, match=f"^{name} is the text"):
        make(create_optimizer_v2(parameters(), "sgd", lr=0.1))


@pytest.mark.parametrize("opt", NAMES)
@pytest.mark.parametrize("cyclic", ["OneCycleLR", "CyclicLR"])
def test_torchs_cyclic_schedules_cycle_momentum_or_say_that_there_is_none(opt, cyclic):
    optimizer = create_optimizer_v2(parameters(), opt, lr=0.01)
    rates = (
        dict(max_lr=0.1, total_steps=4)
        if cyclic == "OneCycleLR"
        else dict(base_lr=0.01, max_lr=0.1)
    )
    make = getattr(torch.optim.lr_scheduler, cyclic)
    if not {"momentum", "betas"} & optimizer.defaults.keys():
        with pytest.raises(ValueError, match="cycle_momentum"):
            make(optimizer, **rates)
        return
    scheduler = make(optimizer, **rates)
    if opt != "adahessian":  # which needs the graph of gradients
        for p in optimizer.param_groups[0]["params"]:
            p.grad = torch.ones_like(p)
    optimizer.step(), scheduler.step()


def test_none_is_no_momentum_to_cycle():
    for opt, options in (("adafactor", {}), ("adafactorbv", dict(momentum=None))):
        optimizer = create_optimizer_v2(parameters(), opt, lr=0.01, **options)
        with pytest.raises(ValueError, match="cycle_momentum"):
            torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=4)


def test_a_type_checker_knows_every_schedule_of_hub():
    assert list(get_args(scheduler_factory.Known)) == hub_optim.list_schedules()
