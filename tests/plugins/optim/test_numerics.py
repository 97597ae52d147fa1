"""Every optimizer goes where timm's of the same name went, as `record.py` wrote it down."""

from __future__ import annotations

import inspect
import json
from typing import Any

import pytest
import torch
from optimizer_cases import CASES, NAMES, Case
from trajectory import DIGESTS, TRACKS, trajectory

from interim import create_optimizer_v2, get_optimizer_class

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


def takes_foreach(opt: str) -> bool:
    cls = get_optimizer_class(opt.removeprefix("lookahead_"), bind_defaults=False)
    return "foreach" in inspect.signature(cls).parameters


def assert_as_recorded(case_id: str, kind: str, **options: Any) -> None:
    case = CASES[case_id]
    told = trajectory(
        TRACKS[kind](),
        lambda params: create_optimizer_v2(params, **case.arguments(), **options),
        falling=case.falling,
    )
    relative, absolute = TOLERANCES[kind]
    for step, recorded in RECORDED[case_id][kind].items():
        for (name, (value, scale)), expected in zip(told[step].items(), recorded, strict=True):
            allowed = relative * scale + absolute
            off = abs(value - expected)
            assert off <= allowed, f"step {step}, {name}: {value} for {expected}, {off:.1e} off"


@pytest.mark.parametrize("kind", TRACKS)
@pytest.mark.parametrize("case_id", CASES)
def test_optimizer_goes_where_the_reference_went(case_id, kind):
    assert_as_recorded(case_id, kind)


@pytest.mark.parametrize("foreach", [False, True])
@pytest.mark.parametrize("case_id", NAMES)
def test_foreach_changes_how_and_not_where(case_id, foreach):
    if not takes_foreach(case_id):
        pytest.skip("has one way only")
    assert_as_recorded(case_id, "float64", foreach=foreach)


def test_every_case_is_recorded_and_no_other():
    assert set(RECORDED) == set(CASES)


def test_a_case_that_is_wrong_is_seen():
    wrong = CASES["adamw"].arguments() | {"weight_decay": 0.05 * (1 + 1e-6)}
    CASES["wrong"] = Case("adamw", {"weight_decay": wrong["weight_decay"]})
    RECORDED["wrong"] = RECORDED["adamw"]
    try:
        with pytest.raises(AssertionError, match="off"):
            assert_as_recorded("wrong", "float64")
    finally:
        del CASES["wrong"], RECORDED["wrong"]
