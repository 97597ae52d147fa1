"""The kit passes good networks and catches each deliberate fault with the check meant for it."""

import shutil
from pathlib import Path

import pytest
import torch
from hub_kit import ConformanceError, conformance

ACME = Path(__file__).with_name("acme")
CHECKS = {check.__name__: check for check in (*conformance.CHEAP, *conformance.NUMERICAL)}
BROKEN: dict[str, str] = {}
exec((ACME / "broken.py").read_text(), BROKEN)
BROKEN = BROKEN["BROKEN"]


@pytest.fixture(autouse=True)
def acme(install):
    """Install hub-acme, a third party's plugin."""
    folder = install("acme", "")
    shutil.copytree(ACME, folder, dirs_exist_ok=True)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", ["tiny_conv", "tiny_tokens", "tiny_tokens_gap"])
def test_good_networks_pass(name):
    report = conformance.run(name)
    assert report.ok, str(report)
    assert report.names == (name,)
    assert report.passed == len(CHECKS)
    assert str(report).startswith(f"1 architectures, {len(CHECKS)} checks passed, 0 failed")


@pytest.mark.parametrize(("name", "check"), BROKEN.items())
def test_each_fault_is_caught(name, check):
    with pytest.raises(ConformanceError, match=f"(?s){name}: .+ contract: .+ see: hub.Backbone"):
        CHECKS[check](name)
