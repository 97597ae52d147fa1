"""Compare every optimizer with timm's as it is, side by side: largest difference by name.

    uv run --group reference --with opt-einsum python tests/plugins/optim/against_timm.py
    uv run --group reference --with opt-einsum python tests/plugins/optim/against_timm.py muon kron

Needs timm; the tests do not. Exit status 1 where a difference is above what `ALLOWED` says.
"""

from __future__ import annotations

import sys
import warnings
from typing import Any

import timm.optim
import torch
from hub_optim import create_optimizer_v2
from optimizer_cases import CASES, Case
from record import eager, worst
from trajectory import TRACKS, trajectory

# In parts of the displacement after at most 50 steps. Larger where the reference computes in less
# than the parameters' precision, which `record.py` names; in float32 a mask or a sign may turn.
ALLOWED = {"float64": 1e-9, "float32": 2e-3}
ROUGH = {"muon": 0.3, "kron": 1e-5, "laprop": 1e-6, "novograd": 1e-6, "radamlegacy": 2e-3}


def main(wanted: list[str]) -> int:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    failed = 0
    print(f"{'optimizer':60} {'float64':>9} {'float32':>9}  all in parts of the displacement")
    for name, case in CASES.items():
        if wanted and not any(word in name for word in wanted):
            continue
        off = {kind: difference(case, kind) for kind in TRACKS}
        far = [kind for kind in TRACKS if off[kind] > allowed(case, kind)]
        failed += bool(far)
        print(f"{name:60} {off['float64']:9.1e} {off['float32']:9.1e}  {' '.join(far)}", flush=True)
    return int(failed > 0)


def allowed(case: Case, kind: str) -> float:
    rough = [limit for word, limit in ROUGH.items() if word in case.opt]
    return max([ALLOWED[kind], *rough])


def difference(case: Case, kind: str) -> float:
    def ours(params: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return create_optimizer_v2(params, **case.arguments())

    def theirs(params: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return timm.optim.create_optimizer_v2(params, **case.arguments())

    with eager():
        a, b = (trajectory(TRACKS[kind](), m, falling=case.falling) for m in (ours, theirs))
    return worst(a, b)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
