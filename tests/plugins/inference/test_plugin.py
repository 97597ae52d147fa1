"""What hub-inference offers, and what hub says where it is not installed."""

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import hub
import hub_inference
import pytest
from hub_inference.plugin import hub_attributes
from hub_inference.reparameterizing import METHODS

PAGE = Path(__file__).parents[3] / "docs/inference.md"


@pytest.mark.parametrize("name", hub_attributes())
def test_hub_offers_what_the_package_has(name):
    assert getattr(hub, name) is getattr(hub_inference, name)
    assert name in hub_inference.__all__


def test_all_names_are_there_and_others_are_not():
    assert all(hasattr(hub_inference, name) for name in hub_inference.__all__)
    assert set(hub_inference.__all__) <= set(dir(hub_inference))
    assert not hasattr(hub_inference, "optimise")
    assert issubclass(hub.OptimizationError, hub.HubError)


def test_importing_the_package_and_its_plugin_loads_no_torch():
    code = (
        "import sys, hub_inference.plugin as p; p.hub_attributes(); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize("name", hub_attributes())
def test_without_the_plugin_each_name_says_what_to_install(name, monkeypatch):
    every = importlib.metadata.entry_points

    def without(**kwargs):
        return [entry for entry in every(**kwargs) if entry.name != "inference"]

    monkeypatch.setattr(importlib.metadata, "entry_points", without)
    hub.refresh()
    message = f"hub.{name} is in hub-inference, which is not installed: pip install hub-inference"
    try:
        with pytest.raises(AttributeError, match=f"^{re.escape(message)}$"):
            getattr(hub, name)
    finally:
        monkeypatch.undo()
        hub.refresh()


def test_page_has_the_table_of_methods():
    rows = re.findall(r"^\| `(\w+)` \| ", PAGE.read_text(), re.MULTILINE)
    assert rows == list(METHODS)
