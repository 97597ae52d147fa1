"""Every optimizer goes where timm's of the same name went, as `record.py` wrote it down."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from hub_optim import create_optimizer_v2
from optimizer_cases import CASES, NAMES, Case
from trajectory import DIGESTS, TRACKS, trajectory

RECORDED = json.loads(DIGESTS.read_text())
# In parts of the displacement, and what rounding does to parameters of about 0.2: a parameter
# that moves little tells no more in float32.
TOLERANCES = {"float64": (1e-9, 1e-14), "float32": (1e-5, 1e-6)}


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def takes_foreach(case: Case) -> bool:
    parameter = torch.nn.Parameter(torch.zeros(2))
    return "foreach" in create_optimizer_v2([parameter], **case.arguments()).defaults


def assert_as_recorded(case_id: str, kind: str, **options: Any) -> None:
    case = CASES[case_id]
    told = trajectory(
        TRACKS[kind](),
        lambda params: create_optimizer_v2(params, **case.arguments(), **case.precise(), **options),
        falling=case.falling,
    )
    relative, absolute = TOLERANCES[kind]
    for step, recorded in RECORDED[case_id][kind].items():
        for (name, (value, scale)), expected in zip(told[step].items(), recorded, strict=True):
            allowed = relative * scale + absolute
            off = abs(value - expected)
            assert off <= allowed, f"step {step}, {name}: {value} for {expected}, {off:.1e} off"


@pytest.mark.parametrize(
    ("case_id", "kind"), [(name, kind) for name, case in CASES.items() for kind in case.tracks]
)
def test_optimizer_goes_where_the_reference_went(case_id, kind):
    assert_as_recorded(case_id, kind)


# Without the switch a CPU works in blocks, which the test above has seen.
@pytest.mark.parametrize("case_id", NAMES)
def test_foreach_changes_how_and_not_where(case_id):
    if not takes_foreach(CASES[case_id]):
        pytest.skip("has one way only")
    assert_as_recorded(case_id, "float64", foreach=True)


def test_every_case_is_recorded_and_no_other():
    recorded = {name: tuple(kinds) for name, kinds in RECORDED.items()}
    assert recorded == {name: case.tracks for name, case in CASES.items()}


def test_a_case_that_is_wrong_is_seen():
    wrong = CASES["adamw"].arguments() | {"weight_decay": 0.05 * (1 + 1e-6)}
    CASES["wrong"] = Case("adamw", {"weight_decay": wrong["weight_decay"]})
    RECORDED["wrong"] = RECORDED["adamw"]
    try:
        with pytest.raises(AssertionError, match="off"):
            assert_as_recorded("wrong", "float64")
    finally:
        del CASES["wrong"], RECORDED["wrong"]
