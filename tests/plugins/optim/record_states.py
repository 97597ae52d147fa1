"""Record states that timm's optimizers save, and where timm goes on from them: `states.json`.

    uv run --group reference --with opt-einsum python tests/plugins/optim/record_states.py
    uv run --group reference --with opt-einsum python tests/plugins/optim/record_states.py --check

Needs timm; the test that reads the file does not. timm goes on from the saved state, not from the
optimizer that saved it: the generators of kron and adahessian are in no state. With `--check`
nothing is written, and hub goes on from the states of every name on the network of `record.py`.
"""

from __future__ import annotations

import copy
import json
import sys
import warnings
from typing import Any

import timm.optim
import torch
from hub_optim import create_optimizer_v2
from optimizer_cases import CASES, Case
from record import eager, full_precision
from saved_states import AFTER, FORMS, OPTIONS, RECORDED, SAVED, SmallTrack, encoded
from trajectory import SEED, NetworkTrack, Track, advance, groups


def continued(case: Case, track: Track, other: Track) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return timm's state after some steps, and parameters there; go on with it on `other`."""
    name = case.opt.removeprefix("lookahead_")
    torchs = timm.optim.get_optimizer_class(name, False).__module__.startswith("torch.")
    with full_precision(torch.float64, torchs=torchs), eager():
        torch.manual_seed(SEED)
        first = timm.optim.create_optimizer_v2(groups(track), **case.arguments())
        advance(track, first, range(1, SAVED + 1))
        state = copy.deepcopy(first.state_dict())
        values = {n: p.detach().clone() for n, p in track.params.items()}
        set_(other, values)
        torch.manual_seed(SEED)
        second = timm.optim.create_optimizer_v2(groups(other), **case.arguments())
        second.load_state_dict(copy.deepcopy(state))
        advance(other, second, range(SAVED + 1, AFTER + 1))
    return state, values


def set_(track: Track, values: dict[str, Any]) -> None:
    for name, p in track.params.items():
        p.data.copy_(values[name])


def record() -> None:
    rows = []
    for opt in FORMS:
        track, other = SmallTrack(), SmallTrack()
        state, _ = continued(Case(opt, OPTIONS.get(opt, {})), track, other)
        row = dict(state=encoded(state), before=track.values(), after=other.values())
        rows.append(f"{json.dumps(opt)}: {json.dumps(row)}")
    RECORDED.write_text("{\n" + ",\n".join(rows) + "\n}\n")


def check(wanted: list[str]) -> int:
    failed = 0
    for name, case in CASES.items():
        if wanted and name not in wanted:
            continue
        expected, found = NetworkTrack(), NetworkTrack()
        state, values = continued(case, NetworkTrack(), expected)
        set_(found, values)
        optimizer = create_optimizer_v2(groups(found), **case.arguments(), **case.precise())
        optimizer.load_state_dict(state)
        advance(found, optimizer, range(SAVED + 1, AFTER + 1))
        pairs = ((found.params[n] - p, p - values[n]) for n, p in expected.params.items())
        off = max((error.norm() / moved.norm()).item() for error, moved in pairs)
        failed += off > 1e-9
        print(f"{name:60} {off:.1e}{' far' * (off > 1e-9)}", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    sys.exit(check(sys.argv[2:]) if "--check" in sys.argv else record())
