"""What hub-optim adds to hub: hooks for optimizers and schedules, the command `hub lr`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from hub import Command, hookimpl

from hub_optim import hookspecs


@hookimpl
def hub_addhooks() -> list[object]:
    """Return the hooks through which optimizers and schedules come."""
    return [hookspecs]


@hookimpl
def hub_commands() -> list[Command]:
    """Return `hub lr`."""
    return [
        Command(
            name="lr",
            help="draw a learning-rate schedule before anyone trains with it",
            add_arguments=add_lr_arguments,
            run=run_lr,
        )
    ]


def add_lr_arguments(parser: ArgumentParser) -> None:
    """Add the options of `hub lr`."""
    from hub_optim.schedule_options import add_schedule_arguments

    parser.add_argument("--lr", type=float, default=0.1, help="rate of the optimizer (default 0.1)")
    parser.add_argument("--plot", metavar="FILE", help="draw into this .png or .svg as well")
    parser.add_argument("--json", action="store_true", help="print every rate, as JSON")
    parser.add_argument(
        "--updates-per-epoch",
        type=int,
        default=0,
        metavar="N",
        help="length of the loader, for --sched-on-updates",
    )
    add_schedule_arguments(parser)


def run_lr(args: Namespace) -> int:
    """Run `hub lr`."""
    from hub_optim.plotting import run

    return run(args)
