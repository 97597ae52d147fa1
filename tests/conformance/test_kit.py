"""The kit passes good networks and catches each deliberate fault with the check meant for it."""

import re
import shutil
from pathlib import Path

import pytest
import torch
from hub.__main__ import main
from hub_kit import ConformanceError, conformance

ACME = Path(__file__).with_name("acme")
CHECKS = {check.__name__: check for check in (*conformance.CHEAP, *conformance.NUMERICAL)}
VALUES = conformance.NUMERICAL
BROKEN: dict = {}
exec((ACME / "broken.py").read_text(), BROKEN)
FAULTS = [
    pytest.param(name, check, sentence, id=f"{check}-{name}")
    for faults in BROKEN["BROKEN"].values()
    for name, (check, sentence) in faults.items()
]
GOOD = (
    *("tiny_conv", "tiny_tokens", "tiny_tokens_gap", "tiny_head", "tiny_wide", "tiny_pair"),
    *("tiny_fused", "tiny_encoder", "tiny_twofold", "tiny_any_size", "tiny_mixed"),
)


@pytest.fixture(autouse=True)
def acme(install):
    """Install hub-acme, a third party's plugin."""
    folder = install("acme", "")
    shutil.copytree(ACME, folder, dirs_exist_ok=True)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", GOOD)
def test_good_networks_pass(name):
    report = conformance.run(name)
    assert report.ok, str(report)
    assert report.names == (name,)
    assert report.passed == len(CHECKS)
    assert str(report).startswith(f"1 architectures, {len(CHECKS)} checks passed, 0 failed")


@pytest.mark.parametrize(("name", "check", "sentence"), FAULTS)
def test_each_fault_is_caught_by_its_check_and_not_before(name, check, sentence):
    for base in CHECKS[check].rests_on:
        CHECKS[base](name)  # what the check rests on finds nothing: it is the cause
    with pytest.raises(ConformanceError) as caught:
        CHECKS[check](name)
    first, *others = str(caught.value).splitlines()
    assert first.startswith(f"{name}: ")
    assert sentence in str(caught.value)
    text = "\n".join(others)
    assert re.search(r"^  contract: .+\.$", text, re.M)
    assert re.search(r"^  at: .*hub_acme.*\.py:\d+, (in|class) \w+", text, re.M)
    assert re.search(r"^  see: docs/contract\.md#[a-z0-9-]+$", text, re.M)


def test_what_a_family_lacks_is_not_asked_of_it():
    CHECKS["check_export"]("no_export")


@pytest.mark.parametrize("capability", ["export", "compile"])
def test_declared_lack_that_works_is_told(capability):
    wanted = rf"lacks={{'{capability}'}}, and it works: take that out"
    with pytest.raises(ConformanceError, match=wanted):
        CHECKS[f"check_{capability}"](f"says_no_{capability}")


def test_each_check_has_a_fault_that_it_catches():
    caught = {check for faults in BROKEN["BROKEN"].values() for check, _ in faults.values()}
    assert caught == CHECKS.keys()


def test_each_check_rests_on_checks_that_run_before_it():
    names = list(CHECKS)
    for name, check in CHECKS.items():
        assert set(check.rests_on) <= set(names[: names.index(name)]), name


# --- one cause is said once --------------------------------------------------------------------


def test_one_cause_is_said_once():
    report = conformance.run("FailsOnTheWay")
    assert list(report.causes()) == [("FailsOnTheWay", "check_levels")]
    text = str(report)
    assert text.count("RuntimeError") == 1
    assert "follows from it: check_table, " in text
    wanted = r"at: .*model\.py:\d+, in forward, called from .*levels\.py:\d+, in forward_levels"
    assert re.search(wanted, text)


def test_error_in_the_authors_code_is_told_with_its_line():
    with pytest.raises(ConformanceError) as caught:
        CHECKS["check_builds"]("FailsToBuild")
    lines = (ACME / "mutations" / "construction.py").read_text().splitlines()
    line = next(i for i, text in enumerate(lines, 1) if "no such scale" in text)
    assert f"construction.py:{line}, in __init__" in str(caught.value)


def test_network_that_cannot_be_built_fails_alone():
    """What needs it built is not asked for its values."""
    report = conformance.run("FailsToBuild")
    assert list(report.causes()) == [("FailsToBuild", "check_builds")]
    assert not {check for _, check in report.failures} & {c.__name__ for c in VALUES}


# --- the command -------------------------------------------------------------------------------


def test_command_prints_a_line_per_check(capsys):
    assert main(["plugins", "test", "tiny_conv", "-v", "-k", "table or pools"]) == 0
    out = capsys.readouterr().out
    assert "tiny_conv::check_table passed" in out
    assert "2 checks passed, 0 failed" in out


def test_command_stops_at_the_first_failure(capsys):
    assert main(["plugins", "test", "WrongChannels", "-x", "-v"]) == 1
    out = capsys.readouterr().out
    *_, last = [line for line in out.splitlines() if "::" in line]
    assert last.endswith("WrongChannels::check_table FAILED")
    assert "1 failed" in out


@pytest.mark.parametrize(
    ("expression", "chosen"),
    [
        ("pools", {"check_pools"}),
        ("cut and not values", {"check_cuts"}),
        ("(levels or table) and tiny_conv", {"check_levels", "check_table"}),
        ("TABLE", {"check_table"}),
    ],
)
def test_expression_selects_checks(expression, chosen):
    is_selected = conformance.selection(expression)
    assert {c for c in CHECKS if is_selected(f"acme/tiny_conv::{c}")} == chosen


def test_expression_that_is_none_is_refused_in_words(capsys):
    assert main(["plugins", "test", "tiny_conv", "-k", "levels or"]) == 1
    assert "is no expression: write words" in capsys.readouterr().err


def test_expression_that_selects_nothing_is_a_failure(capsys):
    assert main(["plugins", "test", "tiny_conv", "-k", "no_such_check"]) == 1
    assert "no check is selected by -k 'no_such_check'" in capsys.readouterr().out
