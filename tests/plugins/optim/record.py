"""Record where timm's optimizers take a small network: `digests.json`.

    uv run --group reference --with opt-einsum python tests/plugins/optim/record.py

Needs timm; the tests that read the file do not. What is compared of optimizers that draw random
numbers (kron, adahessian) is the result of the same draws: both sides start from the same seed and
draw in the same order. Parts of the reference compute in less than the parameters' precision:
muon's iteration in bfloat16, kron's triangular solves, radamlegacy, and the scalar states of laprop
and novograd in float32. For float64 they are recorded with that made good, since what such rounding
leads to differs from processor to processor and is nothing to follow; for float32 muon only is
made so. (`against_timm.py` compares with the reference as it is.) Kron needs opt-einsum to end
before long.

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

import pytest
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

    own = timm.optim.get_optimizer_class(case.opt.removeprefix("lookahead_"), False)
    with full_precision(TRACKS[kind].dtype, torchs=own.__module__.startswith("torch.")):
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
def full_precision(dtype: torch.dtype, *, torchs: bool) -> Iterator[None]:
    """Let the reference compute in the precision of the parameters, unless it is torch's own."""
    if torchs:
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        iterate = timm.optim.muon.zeropower_via_newtonschulz
        in_full = functools.partial(iterate, dtype=dtype)
        patch.setattr(timm.optim.muon, "zeropower_via_newtonschulz", in_full)
        patch.setattr(timm.optim.kron, "_solve_triangular_right", _solve)
        if dtype == torch.float64:
            patch.setattr(torch.Tensor, "float", torch.Tensor.double)
        torch.set_default_dtype(dtype)
        try:
            yield
        finally:
            torch.set_default_dtype(torch.float32)


def _solve(x: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
    rows = x.reshape(-1, x.size(-1))
    return torch.linalg.solve_triangular(a, rows, upper=True, left=False).reshape_as(x)


def _rounded(told: dict[str, dict[str, tuple]], digits: int) -> dict[str, list[float]]:
    return {
        step: [float(f"{value:.{digits}g}") for value, _ in by_name.values()]
        for step, by_name in told.items()
    }


if __name__ == "__main__":
    main()
