"""States are taken over exactly, those of timm too, or refused before anything is changed."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
import torch
from hub_optim import create_optimizer_v2
from optimizer_cases import NAMES, Case
from saved_states import AFTER, FORMS, OPTIONS, RECORDED, SAVED, SmallTrack, decoded
from torch import nn
from trajectory import advance, groups

# timm takes these moments in float32 when it loads them; hub does not.
ROUGH = {"radamlegacy": 1e-7}
STATES = json.loads(RECORDED.read_text())


def make(opt: str, track: SmallTrack, **options: Any) -> torch.optim.Optimizer:
    case = Case(opt, OPTIONS.get(opt.removeprefix("lookahead_"), {}))
    arguments = case.arguments() | case.precise() | options
    return create_optimizer_v2(groups(track), **arguments)


def trained(opt: str) -> tuple[SmallTrack, torch.optim.Optimizer]:
    track = SmallTrack()
    optimizer = make(opt, track)
    advance(track, optimizer, range(1, SAVED + 1))
    return track, optimizer


def go_on(opt: str, state: dict[str, Any]) -> None:
    """Go on from a state that timm wrote, to where timm went."""
    track = SmallTrack()
    track.set(STATES[opt]["before"])
    optimizer = make(opt, track)
    optimizer.load_state_dict(state)
    advance(track, optimizer, range(SAVED + 1, AFTER + 1))
    for name, expected in STATES[opt]["after"].items():
        torch.testing.assert_close(
            track.params[name].detach(),
            torch.tensor(expected, dtype=torch.float64),
            rtol=ROUGH.get(opt, 1e-9),
            atol=1e-11,
        )


@pytest.mark.parametrize("opt", FORMS)
def test_a_state_that_timm_wrote_is_continued_as_timm_does(opt):
    go_on(opt, decoded(STATES[opt]["state"]))


# What earlier releases of timm wrote in another way, or did not write yet.
OLDER = {
    "muon": lambda group: group.update(adamw_lr=group["lr"] * group.pop("fallback_lr_scale")),
    "lamb": lambda group: group.update(step=int(group["step"])),
    "lion": lambda group: [group.pop(n) for n in ("caution", "foreach", "maximize")],
    "adamwlegacy": lambda group: [group.pop(n) for n in ("caution", "foreach", "max_lr_snapshot")],
    "adan": lambda group: [group.pop(n) for n in ("caution",)],
}


@pytest.mark.parametrize("opt", OLDER)
def test_older_groups_of_timm_are_understood(opt):
    state = decoded(STATES[opt]["state"])
    for group in state["param_groups"]:
        OLDER[opt](group)
    go_on(opt, state)


def test_a_rate_for_adam_follows_the_rate_before_the_schedule():
    track = SmallTrack()
    optimizer = make("muon", track)
    state = copy.deepcopy(optimizer.state_dict())
    for group in state["param_groups"]:
        del group["fallback_lr_scale"]
        group |= dict(adamw_lr=0.3, initial_lr=0.6, lr=0.1)
    optimizer.load_state_dict(state)
    assert [group["fallback_lr_scale"] for group in optimizer.param_groups] == [0.5, 0.5]


@pytest.mark.parametrize("kind", [float, torch.tensor])
def test_averages_of_rates_may_be_numbers_or_tensors(kind):
    state = decoded(STATES["laprop"]["state"])
    for of_one in state["state"].values():
        of_one |= {n: kind(float(of_one[n])) for n in ("exp_avg_lr_1", "exp_avg_lr_2")}
        of_one["step"] = int(of_one["step"])
    track = SmallTrack()
    optimizer = make("laprop", track)
    optimizer.load_state_dict(state)
    advance(track, optimizer, range(SAVED + 1, AFTER + 1))


def test_an_estimate_of_the_hessian_that_timm_did_not_save_must_be_due():
    optimizer = make("adahessian", SmallTrack(), update_each=2)
    state = decoded(STATES["adahessian"]["state"])
    with pytest.raises(ValueError, match="the next is due in 1 steps"):
        optimizer.load_state_dict(state)


@pytest.mark.parametrize("opt", NAMES)
def test_a_state_that_lacks_something_is_refused_and_changes_nothing(opt):
    track, optimizer = trained(opt)
    whole = optimizer.state_dict()
    for name in next(iter(whole["state"].values())):
        if name == "step" and not counts(optimizer):
            continue
        for damage in (without, misshapen):
            state = damage(copy.deepcopy(whole), name)
            state["param_groups"][0]["lr"] = 77.0
            if not state["state"][0]:
                continue  # without any state, a parameter begins anew
            with pytest.raises(ValueError, match=rf"no state for .*parameter 0.*needs .*{name}"):
                optimizer.load_state_dict(state)
    assert optimizer.param_groups[0]["lr"] != 77.0
    advance(track, optimizer, range(SAVED + 1, AFTER + 1))
    assert all(p.isfinite().all() for p in track.params.values())


def counts(optimizer: Any) -> bool:
    group = optimizer.param_groups[0]
    return not hasattr(optimizer, "counts_steps") or optimizer.counts_steps(group)


def without(state: dict[str, Any], name: str) -> dict[str, Any]:
    del state["state"][0][name]
    return state


def misshapen(state: dict[str, Any], name: str) -> dict[str, Any]:
    value = state["state"][0][name]
    if isinstance(value, torch.Tensor) and value.ndim:
        state["state"][0][name] = torch.ones(7, 7)
        return state
    return without(state, name)


@pytest.mark.parametrize("opt", NAMES)
def test_the_state_of_another_optimizer_is_refused_or_serves(opt):
    """Never is it accepted and then misses something in the next step."""
    for other in ("sgd", "adamw", "lion", "novograd", "adafactor", "kron", "adagrad"):
        track = SmallTrack()
        optimizer = make(opt, track)
        before = copy.deepcopy(optimizer.state_dict()["state"])
        try:
            optimizer.load_state_dict(trained(other)[1].state_dict())
        except ValueError as e:
            assert "this is no state for" in str(e)
            torch.testing.assert_close(optimizer.state_dict()["state"], before, rtol=0, atol=0)
        else:
            track.backward(1, create_graph=opt == "adahessian")
            optimizer.step()


@pytest.mark.parametrize("opt", [*NAMES, "lookahead_adamw"])
def test_a_loaded_state_is_a_copy(opt):
    _, optimizer = trained(opt)
    state = optimizer.state_dict()
    before = copy.deepcopy(state["state"])
    track = SmallTrack()
    other = make(opt, track)
    other.load_state_dict(state)
    advance(track, other, range(SAVED + 1, AFTER + 1))
    torch.testing.assert_close(state["state"], before, rtol=0, atol=0)


@pytest.mark.parametrize("opt", ["sgd", "adamw", "adam", "adagrad", "lion", "muon"])
def test_how_steps_run_is_not_loaded(opt):
    p = nn.Parameter(torch.ones(4, 3, 2, 2))
    default = create_optimizer_v2([p], opt, lr=0.1)
    p.grad = torch.ones_like(p)
    default.step()
    foreach = create_optimizer_v2([p], opt, lr=0.1, **dict(foreach=False) if opt != "muon" else {})
    for saved, loading in ((default, foreach), (foreach, default)):
        forms = {n: loading.param_groups[0].get(n) for n in ("fused", "foreach", "capturable")}
        loading.load_state_dict(saved.state_dict())
        assert {n: loading.param_groups[0].get(n) for n in forms} == forms
        loading.step()


def test_a_state_of_whole_groups_that_do_not_match_is_refused_as_by_torch():
    optimizer = make("lion", SmallTrack())
    other = create_optimizer_v2([nn.Parameter(torch.ones(2))], "lion")
    with pytest.raises(ValueError, match="different number of parameter groups"):
        optimizer.load_state_dict(other.state_dict())
