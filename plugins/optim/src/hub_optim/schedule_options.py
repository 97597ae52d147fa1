"""Schedules on the command line: the options, and what they mean to `create_scheduler_v2`.

The names and defaults are those of timm's `train.py`, so that its recipes can be drawn and run.
"""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

#: Setting of `create_scheduler_v2` -> name of the argument, value where there is no such argument.
ARGUMENTS: dict[str, tuple[str, Any]] = dict(
    num_epochs=("epochs", 100),
    decay_epochs=("decay_epochs", 30),
    decay_milestones=("decay_milestones", [30, 60]),
    warmup_epochs=("warmup_epochs", 5),
    cooldown_epochs=("cooldown_epochs", 0),
    patience_epochs=("patience_epochs", 10),
    decay_rate=("decay_rate", 0.1),
    min_lr=("min_lr", 0.0),
    warmup_lr=("warmup_lr", 1e-5),
    warmup_prefix=("warmup_prefix", False),
    noise=("lr_noise", None),
    noise_pct=("lr_noise_pct", 0.67),
    noise_std=("lr_noise_std", 1.0),
    noise_seed=("seed", 42),
    cycle_mul=("lr_cycle_mul", 1.0),
    cycle_decay=("lr_cycle_decay", 0.1),
    cycle_limit=("lr_cycle_limit", 1),
    k_decay=("lr_k_decay", 1.0),
    decay_fn=("lr_decay_fn", None),
    stable_timescale=("lr_stable_timescale", None),
)


def scheduler_kwargs(cfg: Any, decreasing_metric: bool | None = None) -> dict[str, Any]:
    """Return the keywords of `create_scheduler_v2` from parsed arguments.

    Args:
        cfg: has `sched`; may have the arguments of `ARGUMENTS`, `sched_on_updates` and
            `eval_metric`.
        decreasing_metric: whether less is better; None to tell from the name `eval_metric`.
    """
    if decreasing_metric is None:
        decreasing_metric = "loss" in getattr(cfg, "eval_metric", "top1")
    kwargs = {
        setting: getattr(cfg, name, default) for setting, (name, default) in ARGUMENTS.items()
    }
    return kwargs | dict(
        sched=cfg.sched,
        plateau_mode="min" if decreasing_metric else "max",
        step_on_epochs=not getattr(cfg, "sched_on_updates", False),
    )


#: Group of options -> flag, type (`bool`: a switch; `[int]`: several), default, what it is.
OPTIONS: dict[str, tuple[tuple[str, Any, Any, str], ...]] = {
    "schedule": (
        ("--sched", str, "cosine", "its name"),
        ("--sched-on-updates", bool, False, "step on updates, not on epochs"),
        ("--epochs", int, 300, "length"),
        ("--min-lr", float, 0.0, "lowest rate"),
        ("--decay-rate", float, 0.1, "step, multistep, plateau: factor of a decay; poly: power"),
        (
            "--decay-epochs",
            float,
            None,
            "step: interval; wsd, rsqrt: length of the decay, or share",
        ),
        ("--decay-milestones", [int], [90, 180, 270], "multistep: when to decay"),
        ("--patience-epochs", int, 10, "plateau: epochs without improvement"),
        ("--cooldown-epochs", int, 0, "epochs at the lowest rate after the end"),
        ("--lr-k-decay", float, 1.0, "cosine, poly: exponent of time"),
        ("--lr-decay-fn", str, None, "wsd, rsqrt: linear, 1-sqrt, cosine, power or exp"),
        ("--lr-stable-timescale", float, None, "rsqrt: epochs; those of the warm-up if not given"),
    ),
    "warm-up": (
        ("--warmup-epochs", float, 5, "length"),
        ("--warmup-lr", float, 1e-5, "rate at its start"),
        ("--warmup-prefix", bool, False, "the schedule begins after it, not along with it"),
    ),
    "cycles of cosine, tanh and poly": (
        ("--lr-cycle-limit", int, 1, "how many"),
        ("--lr-cycle-mul", float, 1.0, "each is this much longer than the one before"),
        ("--lr-cycle-decay", float, 0.5, "and begins at this share of its rate"),
    ),
    "noise": (
        ("--lr-noise", [float], None, "where it begins (and ends), as a share of the epochs"),
        ("--lr-noise-pct", float, 0.67, "highest, as a share of the rate"),
        ("--lr-noise-std", float, 1.0, "standard deviation, as a share of the rate"),
        ("--seed", int, 42, "another one, another noise"),
    ),
}


def add_schedule_arguments(parser: ArgumentParser) -> None:
    """Add the options of a schedule to a command."""
    for title, options in OPTIONS.items():
        group = parser.add_argument_group(title)
        for flag, kind, default, help in options:
            if kind is bool:
                group.add_argument(flag, action="store_true", help=help)
                continue
            several = isinstance(kind, list)
            kind = kind[0] if several else kind
            shown = "" if default is None else f" (default: {_words(default)})"
            group.add_argument(
                flag,
                type=kind,
                default=default,
                nargs="+" if several else None,
                metavar={str: "NAME", int: "N", float: "X"}[kind],
                help=help + shown,
            )


def _words(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
