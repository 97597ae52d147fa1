"""Record, or compare live, what timm's schedulers do. For developers: needs timm.

    python tests/plugins/optim/record_schedules.py              # writes schedules.json
    python tests/plugins/optim/record_schedules.py --check 400  # draws other configurations

Every configuration is drawn at random from its seed. Rates are recorded over the whole length, for
two groups of which one has a scale.
"""

import json
import math
import random
import sys
import warnings
from pathlib import Path

import torch

TARGET = Path(__file__).with_name("schedules.json")
RECORDED = 20
KINDS = ("cosine", "tanh", "poly", "step", "multistep", "constant", "wsd", "rsqrt", "plateau")


def draw(seed: int) -> dict:
    """Return the settings of a scheduler; the first seeds go through all kinds."""
    r = random.Random(seed)
    sched = KINDS[seed % len(KINDS)]
    settings = dict(
        sched=sched,
        num_epochs=r.randint(12, 50),
        cooldown_epochs=r.choice([0, 3]),
        decay_rate=r.choice([0.1, 0.5, 0.97]),
        decay_epochs=r.choice([None, 5]),
        decay_milestones=sorted(r.sample(range(2, 40), 3)),
        patience_epochs=r.choice([1, 3]),
        min_lr=r.choice([0.0, 1e-5]),
        warmup_lr=r.choice([1e-6, 1e-4]),
        warmup_epochs=r.choice([0, 3, 5]),
        warmup_prefix=r.random() < 0.5,
        noise=r.choice([None, None, 0.4, [0.3], [0.2, 0.8]]),
        noise_pct=r.choice([0.67, 0.3]),
        noise_std=r.choice([1.0, 0.2]),
        noise_seed=r.randint(0, 99),
        cycle_mul=r.choice([1.0, 1.5, 2.0, 0.8]),
        cycle_decay=r.choice([0.1, 0.5, 1.0]),
        cycle_limit=r.choice([1, 2, 3]),
        k_decay=r.choice([1.0, 0.7, 2.0]),
        plateau_mode=r.choice(["max", "min"]),
        step_on_epochs=sched == "plateau" or r.random() < 0.6,
        updates_per_epoch=3,
    )
    if sched in ("wsd", "rsqrt"):
        settings["decay_epochs"] = r.choice([None, 0.3, 4])
        settings["decay_fn"] = r.choice([None, "linear", "1-sqrt", "cosine", "power", "exp"])
    if sched == "rsqrt":
        settings["stable_timescale"] = r.choice([3.5, 10])
    return settings


def metric(t: int) -> float | None:
    """Return what a plateau follows: better, worse, and sometimes not there."""
    return math.sin(t / 5) + 0.01 * t if t % 11 else None


def trace(create, settings: dict) -> dict:
    """Return the epochs that a scheduler asks for and the rates that it sets, step by step.

    What they are before the first step is left out: timm begins a tangent at the rate of the group
    and not at its own. Step 0 of a plateau is left out: with no warm-up timm sets the rate of the
    warm-up there, which no loop of its own ever asks for and hub does not imitate.
    """
    parameters = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    groups = [dict(params=parameters[:1]), dict(params=parameters[1:], lr=0.3, lr_scale=0.5)]
    optimizer = torch.optim.SGD(groups, lr=0.1)
    scheduler, epochs = create(optimizer, **settings)
    on_epochs = settings["step_on_epochs"]
    steps = epochs * (1 if on_epochs else settings["updates_per_epoch"])
    advance = scheduler.step if on_epochs else scheduler.step_update
    rates = []
    for t in range(int(settings["sched"] == "plateau"), steps):
        advance(t, metric(t))
        rates.append([group["lr"] for group in optimizer.param_groups])
    return dict(epochs=epochs, rates=rates)


def _reference():
    from timm.scheduler import create_scheduler_v2

    warnings.simplefilter("ignore", FutureWarning)
    return create_scheduler_v2


def record() -> None:
    create = _reference()
    rows = []
    for seed in range(RECORDED):
        found = trace(create, draw(seed))
        rates = [[float(f"{rate:.15g}") for rate in row] for row in found["rates"]]
        rows.append(json.dumps(dict(seed=seed, epochs=found["epochs"], rates=rates)))
    TARGET.write_text("[\n" + ",\n".join(rows) + "\n]\n")


def check(count: int) -> None:
    from hub_optim import create_scheduler_v2

    create, worst, refused = _reference(), 0.0, 0
    for seed in range(count):
        settings = draw(seed)
        try:
            theirs = trace(create, settings)
        except ValueError:  # a decay longer than the schedule
            refused += 1
            continue
        ours = trace(create_scheduler_v2, settings)
        assert ours["epochs"] == theirs["epochs"], settings
        for row, expected in zip(ours["rates"], theirs["rates"], strict=True):
            errors = [abs(a - b) / max(abs(b), 1e-9) for a, b in zip(row, expected, strict=True)]
            worst = max(worst, *errors)
    print(f"{count - refused} configurations, largest relative difference {worst:.1e}")


if __name__ == "__main__":
    check(int(sys.argv[2])) if "--check" in sys.argv else record()
