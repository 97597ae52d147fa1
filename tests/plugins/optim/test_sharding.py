"""Sharded parameters (FSDP2, tensor parallelism) are stepped as whole ones, or refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from optimizer_cases import NAMES

CHILD = Path(__file__).with_name("sharded.py")
WRAPPED = ["lookahead_adamw", "lookahead_lamb", "lookahead_kron"]


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """Return what both of two processes say of each optimizer."""
    store = tmp_path_factory.mktemp("ranks") / "store"
    ranks = [
        subprocess.Popen(
            [sys.executable, CHILD, str(rank), store, *NAMES, *WRAPPED],
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    said = [rank.communicate(timeout=900)[0].splitlines() for rank in ranks]
    return [dict(line.split(" ", 1) for line in lines) for lines in said]


@pytest.mark.slow
@pytest.mark.parametrize("opt", [*NAMES, *WRAPPED])
def test_parts_of_parameters_are_stepped_as_whole_ones(opt, told):
    for said in told:
        if opt == "adahessian":
            assert "ValueError Adahessian cannot step sharded parameters" in said[opt]
        else:
            assert said[opt] == "ok"
