"""Record where timm's optimizers take a small network: `digests.json`.

    uv run --group reference --with opt-einsum python tests/plugins/optim/record.py

Needs timm; the tests that read the file do not. What is compared of optimizers that draw random
numbers (kron, adahessian) is the result of the same draws: both sides start from the same seed and
draw in the same order. Two parts of the reference compute in less than the parameters' precision,
and would give other numbers on another processor: muon's iteration in bfloat16, and kron's
triangular solves in float32. They are recorded in the parameters' precision. (`against_timm.py`
compares both as they are, on one machine.) Kron needs opt-einsum to end before long.

Where the reference gives other numbers with `foreach` on than off, which is rounding aside never,
the recorder stops.
"""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import timm.optim
import timm.optim.kron
import timm.optim.muon
import torch
from optimizer_cases import CASES, Case
from trajectory import DIGESTS, TRACKS, trajectory

DIGITS = {"float64": 12, "float32": 8}


def main() -> None:
    torch.set_num_threads(1)
    with eager():
        lines = [f"{json.dumps(name)}: {json.dumps(record(case))}" for name, case in CASES.items()]
    DIGESTS.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def record(case: Case) -> dict[str, Any]:
    return {kind: _rounded(reference(case, kind), DIGITS[kind]) for kind in case.tracks}


def reference(case: Case, kind: str, **options: Any) -> dict[str, dict[str, tuple]]:
    """Return timm's trajectory, after a check that its two implementations agree."""
    told = _run(case, kind, **options)
    name = case.opt.removeprefix("lookahead_")
    if "foreach" in inspect.signature(timm.optim.get_optimizer_class(name, False)).parameters:
        for foreach in (False, True):
            difference = worst(told, _run(case, kind, foreach=foreach, **options))
            if difference > (1e-9 if kind == "float64" else 1e-5):
                raise SystemExit(f"{case.opt} {case.options}: foreach={foreach}: {difference:.1e}")
    return told


def worst(a: dict[str, dict[str, tuple]], b: dict[str, dict[str, tuple]]) -> float:
    """Return the largest difference of two trajectories in parts of the displacement."""
    return max(
        abs(a[step][name][0] - b[step][name][0]) / (a[step][name][1] or 1e-300)
        for step in a
        for name in a[step]
    )


def _run(case: Case, kind: str, **options: Any) -> dict[str, dict[str, tuple]]:
    def make(params: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return timm.optim.create_optimizer_v2(params, **case.arguments(), **options)

    with full_precision():
        return trajectory(TRACKS[kind](), make, falling=case.falling)


@contextmanager
def eager() -> Iterator[None]:
    """Run what the reference compiles (parts of kron) as it is written."""
    torch.compiler.set_stance("force_eager")
    try:
        yield
    finally:
        torch.compiler.set_stance("default")


@contextmanager
def full_precision() -> Iterator[None]:
    """Let muon's and kron's reference compute in the precision of the parameters."""
    muon, kron = timm.optim.muon, timm.optim.kron
    iterate, solve = muon.zeropower_via_newtonschulz, kron._solve_triangular_right

    @functools.wraps(iterate)
    def precise(matrix: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        return iterate(matrix, *args, dtype=matrix.dtype, **kwargs)

    def exact(x: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
        rows = x.reshape(-1, x.size(-1))
        return torch.linalg.solve_triangular(a, rows, upper=True, left=False).reshape_as(x)

    muon.zeropower_via_newtonschulz, kron._solve_triangular_right = precise, exact
    try:
        yield
    finally:
        muon.zeropower_via_newtonschulz, kron._solve_triangular_right = iterate, solve


def _rounded(told: dict[str, dict[str, tuple]], digits: int) -> dict[str, list[float]]:
    return {
        step: [float(f"{value:.{digits}g}") for value, _ in by_name.values()]
        for step, by_name in told.items()
    }


if __name__ == "__main__":
    main()
