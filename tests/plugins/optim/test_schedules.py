"""Promises about schedules: timm's rates, exact resumption, requests that make no sense refused."""

import importlib.util
import inspect
import json
import math
import subprocess
import sys
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

import hub
import hub_optim
import pytest
import torch
from hub_optim import schedules

HERE = Path(__file__).parent
RECORDS = json.loads((HERE / "schedules.json").read_text())
BASE = 0.1


def _recorder():
    """Return record_schedules.py as a module; it records only when run."""
    spec = importlib.util.spec_from_file_location("record_schedules", HERE / "record_schedules.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


recorder = _recorder()
draw, metric, trace = recorder.draw, recorder.metric, recorder.trace


def optimizer(lr=BASE, **group):
    return torch.optim.SGD([dict(params=[torch.nn.Parameter(torch.zeros(1))], **group)], lr=lr)


def rates_of(scheduler):
    return [group["lr"] for group in scheduler.optimizer.param_groups]


@pytest.mark.parametrize(
    "row", RECORDS, ids=lambda row: f"{row['seed']}-{draw(row['seed'])['sched']}"
)
def test_rates_are_those_of_timm_over_the_whole_length(row):
    found = trace(hub_optim.create_scheduler_v2, draw(row["seed"]))
    assert found["epochs"] == row["epochs"]
    assert len(found["rates"]) == len(row["rates"])
    for rates, expected in zip(found["rates"], row["rates"], strict=True):
        assert rates == pytest.approx(expected, rel=1e-12, abs=1e-15)


def test_records_cover_every_schedule():
    assert {draw(seed)["sched"] for seed in range(recorder.RECORDED)} == set(
        hub_optim.list_schedules()
    )


@pytest.mark.parametrize("seed", range(9))
def test_resumed_run_has_the_same_rates(seed):
    settings = draw(seed) | dict(noise=[0.1, 0.9], updates_per_epoch=3)

    def make():
        scheduler, epochs = hub_optim.create_scheduler_v2(
            torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=BASE), **settings
        )
        advance = scheduler.step if settings["step_on_epochs"] else scheduler.step_update
        return scheduler, advance, epochs if settings["step_on_epochs"] else 3 * epochs

    whole, advance, steps = make()
    middle = steps // 2
    expected = []
    for t in range(1, steps):
        advance(t, metric(t))
        expected.append(rates_of(whole))
        if t == middle:
            saved = json.loads(json.dumps(whole.state_dict()))  # what a checkpoint can hold
    resumed, advance, _ = make()
    resumed.load_state_dict(saved)
    assert rates_of(resumed) == expected[middle - 1]
    for t in range(middle + 1, steps):
        advance(t, metric(t))
        assert rates_of(resumed) == expected[t - 1]


def test_schedule_without_memory_needs_only_the_step():
    a, _ = hub_optim.create_scheduler_v2(optimizer(), "cosine", num_epochs=30, noise=0.2)
    b, _ = hub_optim.create_scheduler_v2(optimizer(), "cosine", num_epochs=30, noise=0.2)
    for t in range(20):
        a.step(t)
    b.step(19)
    assert rates_of(a) == rates_of(b)


def test_second_scheduler_starts_from_the_rate_of_the_group():
    of_both = optimizer()
    first, _ = hub_optim.create_scheduler_v2(of_both, "cosine", num_epochs=10)
    first.step(9)
    second, _ = hub_optim.create_scheduler_v2(of_both, "constant")
    assert rates_of(second) == [BASE]


@pytest.mark.parametrize("on_epochs", [True, False])
def test_scheduler_listens_to_epochs_or_to_updates(on_epochs):
    scheduler, _ = hub_optim.create_scheduler_v2(
        optimizer(), num_epochs=10, step_on_epochs=on_epochs, updates_per_epoch=5
    )
    scheduler.step_update(7) if on_epochs else scheduler.step(7)
    assert rates_of(scheduler) == [BASE]
    scheduler.step(7) if on_epochs else scheduler.step_update(7)
    assert rates_of(scheduler)[0] < BASE


def test_rate_that_is_a_tensor_stays_the_same_tensor():
    rate = torch.tensor(BASE, dtype=torch.float64)
    scheduler, _ = hub_optim.create_scheduler_v2(optimizer(lr=rate), num_epochs=10)
    scheduler.step(5)
    assert scheduler.optimizer.param_groups[0]["lr"] is rate
    assert rate.item() == pytest.approx(BASE / 2)
    assert scheduler.base_values == [BASE]


def test_layer_scale_reaches_every_schedule():
    for sched in hub_optim.list_schedules():
        scheduler, _ = hub_optim.create_scheduler_v2(
            optimizer(lr_scale=0.25), sched, stable_timescale=10
        )
        assert rates_of(scheduler) == pytest.approx([0.25 * BASE], rel=1e-6), sched


def test_group_that_is_added_later_is_scheduled_too():
    scheduler, _ = hub_optim.create_scheduler_v2(optimizer(), "cosine", num_epochs=10)
    scheduler.step(3)
    late = dict(params=[torch.nn.Parameter(torch.zeros(1))], lr=0.4)
    scheduler.optimizer.add_param_group(late)
    scheduler.step(5)
    assert rates_of(scheduler) == pytest.approx([BASE / 2, 0.2])


def test_warmup_may_be_a_part_of_an_epoch():
    scheduler, epochs = hub_optim.create_scheduler_v2(
        optimizer(),
        "constant",
        num_epochs=3,
        warmup_epochs=0.5,
        warmup_lr=0.0,
        step_on_epochs=False,
        updates_per_epoch=20,
    )
    rates = []
    for update in (0, 5, 9, 10):
        scheduler.step_update(update)
        rates += rates_of(scheduler)
    assert (epochs, rates) == (3, pytest.approx([0.0, BASE / 2, 0.9 * BASE, BASE]))


def test_group_without_a_rate_is_named():
    with pytest.raises(KeyError, match=r"momentum_x missing from param_groups\[0\]"):
        hub_optim.Scheduler(optimizer(), schedules.Constant(), param_group_field="momentum_x")
    with pytest.raises(KeyError, match="initial_lr missing"):
        hub_optim.Scheduler(optimizer(), schedules.Constant(), initialize=False)


def test_any_field_of_a_group_can_be_scheduled():
    """Weight decay that grows, as self-supervised recipes have it."""
    of_decay = optimizer(weight_decay=0.04)
    scheduler = hub_optim.Scheduler(
        of_decay, lambda base, t: base + 0.1 * t, param_group_field="weight_decay"
    )
    scheduler.step(3)
    assert of_decay.param_groups[0]["weight_decay"] == pytest.approx(0.34)
    assert of_decay.param_groups[0]["lr"] == BASE


def test_none_leaves_the_optimizer_alone():
    assert hub_optim.create_scheduler_v2(optimizer(), "none", num_epochs=7) == (None, 7)


@pytest.mark.parametrize(
    ("settings", "epochs"),
    [
        (dict(sched="cosine", num_epochs=10, cooldown_epochs=2), 12),
        (dict(sched="cosine", num_epochs=10, warmup_epochs=3, warmup_prefix=True), 13),
        (dict(sched="tanh", num_epochs=10, cycle_limit=2, cycle_mul=2.0), 30),
        (dict(sched="step", num_epochs=10, warmup_epochs=3, warmup_prefix=True), 13),
        (dict(sched="wsd", num_epochs=10, warmup_epochs=3), 10),
        (dict(sched="poly", num_epochs=10, step_on_epochs=False, updates_per_epoch=9), 10),
    ],
)
def test_length_of_training_counts_warmup_cycles_and_cooldown(settings, epochs):
    assert hub_optim.create_scheduler_v2(optimizer(), **settings)[1] == epochs


def test_plateau_remembers_across_a_checkpoint():
    """Patience is 3: two bad epochs before the checkpoint and two after it make a decay."""

    def make():
        return hub_optim.PlateauLRScheduler(optimizer(), patience_t=3, decay_rate=0.5)

    first = make()
    for epoch, value in enumerate([0.9, 0.8, 0.8], start=1):
        first.step(epoch, value)
    second = make()
    second.load_state_dict(first.state_dict())
    second.step(4, 0.8)
    assert rates_of(second) == [BASE]
    second.step(5, 0.8)
    assert rates_of(second) == [BASE / 2]


def test_plateau_counts_no_bad_epoch_while_it_cools_down():
    scheduler = hub_optim.PlateauLRScheduler(optimizer(), 0.5, patience_t=0, cooldown_t=2)
    rates = []
    for epoch in range(1, 8):
        scheduler.step(epoch, 0.5)
        rates += rates_of(scheduler)
    assert [rate / BASE for rate in rates] == [1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25]


def test_plateau_stops_where_a_decay_would_change_nothing():
    scheduler = hub_optim.PlateauLRScheduler(optimizer(lr=1e-8), patience_t=0)
    for epoch in range(1, 4):
        scheduler.step(epoch, 0.5)
    assert rates_of(scheduler) == [1e-8]


def test_plateau_does_not_step_without_a_metric():
    scheduler = hub_optim.PlateauLRScheduler(optimizer(), patience_t=0, mode="min")
    for epoch in range(1, 20):
        scheduler.step(epoch)
    assert rates_of(scheduler) == [BASE]


def test_plateau_with_no_warmup_keeps_its_rate_at_epoch_0():
    scheduler, _ = hub_optim.create_scheduler_v2(optimizer(), "plateau", warmup_lr=1e-5)
    scheduler.step(0)
    assert rates_of(scheduler) == [BASE]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(sched="cosin"), "no schedule is called 'cosin'. Did you mean cosine"),
        (dict(sched="cosine", warmup_epoch=3), "no setting 'warmup_epoch'. Did you mean warmup_ep"),
        (dict(sched="cosine", num_epochs=0), "t_initial=0 is out of range for Cosine"),
        (dict(sched="poly", min_lr=-1.0), "lr_min=-1.0 is out of range for Poly"),
        (dict(sched="step", decay_epochs=0), "decay_t=0 is out of range for Step"),
        (dict(sched="multistep", decay_milestones=[5, 3]), r"decay_t=\[5, 3\] must grow"),
        (
            dict(sched="wsd", num_epochs=5, decay_epochs=9),
            "decay_t=9: the decay is a part of the 5",
        ),
        (
            dict(sched="wsd", decay_fn="sqrt"),
            "decay_fn='sqrt' is no function and not one of linear",
        ),
        (dict(sched="rsqrt"), "needs a timescale above 0"),
        (dict(sched="cosine", step_on_epochs=False), "updates_per_epoch=0: a schedule that counts"),
        (dict(sched="plateau", step_on_epochs=False, updates_per_epoch=3), "cannot be stepped on"),
        (dict(sched="plateau", plateau_mode="up"), "mode='up' is neither"),
        (dict(sched="cosine", noise=0.5, noise_pct=0.0), "noise of at most 0.0 cannot"),
        (dict(sched="cosine", noise=[0.1, 0.2, 0.3]), "a beginning, or that and an end"),
    ],
)
def test_request_that_makes_no_sense_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        hub_optim.create_scheduler_v2(optimizer(), **settings)


def test_shortening_cycles_end_at_the_lowest_rate():
    """Cycles of 10, 5, 2.5 ... steps never get past 20: what comes later is no cycle at all."""
    schedule = schedules.Cosine(10, lr_min=1e-3, cycle_mul=0.5, cycle_limit=99)
    assert schedule(BASE, 19) < BASE
    assert [schedule(BASE, t) for t in (20, 21, 1000)] == [1e-3] * 3


def test_falling_stable_phase_stops_at_the_lowest_rate():
    schedule = schedules.WSD(1000, 10, lr_min=0.05, stable_fn="rsqrt", stable_timescale=10)
    assert schedule(BASE, 10) > 0.05
    assert [schedule(BASE, t) for t in (500, 995, 1000)] == [0.05] * 3


def test_wsd_takes_a_function_for_its_decay():
    schedule = schedules.WSD(10, 5, decay_fn=lambda over: (1 - over) ** 2)
    assert [schedule(1.0, t) for t in (5, 6, 10)] == pytest.approx([1.0, 0.64, 0.0])


def test_classes_take_the_settings_of_timm():
    scheduler = hub_optim.CosineLRScheduler(
        optimizer(), t_initial=10, lr_min=1e-4, warmup_t=2, warmup_lr_init=1e-5, warmup_prefix=True
    )
    assert scheduler.get_cycle_length() == 12
    scheduler.step(12)
    assert rates_of(scheduler) == [1e-4]
    assert hub_optim.MultiStepLRScheduler(optimizer(), [3, 6], 0.1).get_cycle_length() is None
    with pytest.raises(TypeError, match="t_initail"):
        hub_optim.CosineLRScheduler(optimizer(), t_initail=10)


def test_arguments_of_a_command_become_settings():
    args = Namespace(sched="step", epochs=9, decay_epochs=3, decay_rate=0.5, warmup_epochs=0)
    scheduler, epochs = hub_optim.create_scheduler(args, optimizer())
    scheduler.step(3)
    assert (epochs, rates_of(scheduler)) == (9, [BASE / 2])
    found = hub_optim.scheduler_kwargs(Namespace(sched="plateau", eval_metric="loss"))
    assert found["plateau_mode"] == "min"
    assert found["noise_seed"] == 42


def test_help_names_every_setting():
    shown = inspect.signature(hub_optim.create_scheduler_v2).parameters
    assert [*shown][:3] == ["optimizer", "sched", "num_epochs"]
    assert shown["warmup_lr"].default == 1e-5
    assert len(shown) == 25


def test_doctest_of_schedules_holds():
    schedule = schedules.Cosine(300, warmup_t=5)
    assert [schedule(0.1, t) for t in (0, 150, 300)] == pytest.approx([0.0, 0.05, 0.0])


def test_noise_stays_within_its_limit_and_range():
    noise = schedules.Noise((10, 200), pct=0.3, std=1.0)
    values = [noise(t) for t in range(300)]
    assert all(v == 0 for v in values[:10] + values[200:])
    assert 0.25 < max(map(abs, values)) < 0.3
    uniform = schedules.Noise((0,), pct=0.3, kind="uniform")
    assert 0.25 < max(abs(uniform(t)) for t in range(200)) <= 0.3


PLUGIN = """
    from hub import hookimpl

    def halves(request):
        return lambda base, t: base * 0.5 ** (t // request.steps_per_epoch)

    @hookimpl(optionalhook=True)
    def hub_schedules():
        from hub_optim import ScheduleInfo
        return [ScheduleInfo(name="{name}", schedule="hub_acme.plugin:halves")]
"""


@pytest.mark.parametrize("warmup_epochs", [0, 2])
@pytest.mark.parametrize("sched", hub_optim.list_schedules())
def test_the_first_epoch_has_the_rate_of_the_schedule(sched, warmup_epochs):
    """What training does before the first `step` is what `step(0)` asks for."""
    settings = dict(num_epochs=10, warmup_epochs=warmup_epochs, stable_timescale=3)
    settings |= dict(decay_milestones=(1, 4))  # which shows at step 0
    scheduler, _ = hub_optim.create_scheduler_v2(optimizer(), sched, **settings)
    before = rates_of(scheduler)
    scheduler.step(0)
    assert rates_of(scheduler) == before


@dataclass(frozen=True)
class Rising:
    """A schedule of a third party; `warmup_t` says nothing here, as it has no `warmup_lr_init`."""

    warmup_t: int = 3

    def __call__(self, base: float, t: float) -> float:
        return base * (t + 1) / 10


class OwnScheduler(hub_optim.Scheduler):
    def __init__(self, optimizer):
        super().__init__(optimizer, lambda base, t: base * 0.5 ** (t + 1))


def test_the_first_epoch_of_a_third_partys_schedule_has_its_rate():
    assert rates_of(hub_optim.Scheduler(optimizer(), Rising())) == pytest.approx([BASE / 10])
    assert rates_of(OwnScheduler(optimizer())) == [BASE / 2]


def test_schedule_of_a_plugin_works_like_one_of_ours(install):
    install("acme", PLUGIN.format(name="halves"))
    hub.refresh()
    assert "halves" in hub_optim.list_schedules()
    scheduler, epochs = hub_optim.create_scheduler_v2(optimizer(), "halves", num_epochs=5)
    scheduler.step(3)
    assert (epochs, rates_of(scheduler)) == (5, [BASE / 8])


@pytest.mark.parametrize("name", ["cosine", "none"])
def test_schedule_of_a_plugin_cannot_take_a_name(install, name):
    install("acme", PLUGIN.format(name=name))
    hub.refresh()
    with pytest.warns(hub.HubWarning, match=f"plugin 'acme' are left out: .* '{name}' is taken"):
        assert hub_optim.list_schedules().count("cosine") == 1
    scheduler, _ = hub_optim.create_scheduler_v2(optimizer(), "cosine", num_epochs=10)
    scheduler.step(5)
    assert math.isclose(rates_of(scheduler)[0], BASE / 2)


def test_schedules_are_listed_and_made_without_torch():
    code = (
        "import sys, hub_optim;"
        "r = hub_optim.ScheduleRequest(sched='wsd', num_epochs=10);"
        "hub_optim.create_schedule(r)(0.1, 5); hub_optim.list_schedules();"
        "hub_optim.list_optimizers(with_description=True); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
