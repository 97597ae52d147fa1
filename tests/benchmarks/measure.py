"""Time whole processes in turn (A B A B ...) and print medians and ratios.

The machine may be shared and drift; in one run, in turn, both sides meet the same weather. Quote
the ratios.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Cost(NamedTuple):
    """Of one process, by the kernel's own accounting."""

    wall_s: float
    cpu_s: float
    peak_mib: float


def run(command: Sequence[str]) -> Cost:
    """Run a command to its end; its output is read and thrown away."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = process.stdout.read(), process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stdout.close(), process.stderr.close()
    if process.returncode or not out:
        sys.exit(f"{command} failed ({process.returncode}):\n{err.decode()[-2000:]}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def in_turn(commands: Mapping[str, Sequence[str]], rounds: int) -> dict[str, list[Cost]]:
    """Run each command once to warm up, then all of them in turn."""
    for command in commands.values():
        run(command)
    costs: dict[str, list[Cost]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            costs[name].append(run(command))
    return costs


def report(title: str, costs: Mapping[str, Sequence[Cost]]) -> None:
    """Print medians, and how many times less than the first each other needs, pair by pair."""
    print(f"\n{title}\n{'':<12}" + "".join(f"{field:>12}" for field in Cost._fields))
    first, *others = costs
    for name, rows in costs.items():
        medians = (statistics.median(column) for column in zip(*rows, strict=True))
        print(f"{name:<12}" + "".join(f"{value:>12.3f}" for value in medians))
    for name in others:
        ratios = (
            statistics.median(a[i] / b[i] for a, b in zip(costs[first], costs[name], strict=True))
            for i in range(len(Cost._fields))
        )
        print(f"{first}/{name}".ljust(12) + "".join(f"{ratio:>11.1f}x" for ratio in ratios))
