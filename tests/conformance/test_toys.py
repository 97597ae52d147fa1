"""One network of each kind that the contract knows, written by authors who had its page alone."""

import runpy
import shutil
from pathlib import Path

import pytest
import torch
from hub_kit import conformance

TOYS = Path(__file__).with_name("toys")
NAMES = [
    f"toy_{model.partition(':')[0]}" for model in runpy.run_path(str(TOYS / "plugin.py"))["TOYS"]
]


@pytest.fixture(autouse=True)
def toys(install):
    """Install hub-toys, a third party's plugin."""
    folder = install("toys", "")
    shutil.copytree(TOYS, folder, dirs_exist_ok=True)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", NAMES)
def test_each_kind_of_network_keeps_the_contract(name):
    report = conformance.run(name)
    assert report.ok, str(report)
    assert report.passed == len((*conformance.CHEAP, *conformance.NUMERICAL))
