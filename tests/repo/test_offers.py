"""What the official plugins offer as `hub.name`, with them and without."""

import importlib.metadata
import json
import re
import subprocess
import sys

import hub
import pytest
from make_known import TARGET

KNOWN = json.loads(TARGET.read_text())
OFFERS = [(plugin, name) for plugin, entry in KNOWN.items() for name in entry["attributes"]]
WITH_FRONTS = ("inference", "publish")  # packages that users may import in place of hub


@pytest.mark.parametrize(("plugin", "name"), OFFERS)
def test_hub_offers_what_the_package_has(plugin, name):
    assert getattr(hub, name).__module__.partition(".")[0] == f"hub_{plugin}"
    if plugin in WITH_FRONTS:
        package = sys.modules[f"hub_{plugin}"]
        assert getattr(package, name) is getattr(hub, name)
        assert name in package.__all__


@pytest.mark.parametrize(("plugin", "name"), OFFERS)
def test_without_the_plugin_each_name_says_what_to_install(plugin, name, monkeypatch):
    every = importlib.metadata.entry_points

    def without(**kwargs):
        return [entry for entry in every(**kwargs) if entry.name != plugin]

    monkeypatch.setattr(importlib.metadata, "entry_points", without)
    hub.refresh()
    package = KNOWN[plugin]["distribution"]
    message = f"hub.{name} is in {package}, which is not installed: pip install {package}"
    try:
        with pytest.raises(AttributeError, match=f"^{re.escape(message)}$"):
            getattr(hub, name)
    finally:
        monkeypatch.undo()
        hub.refresh()


@pytest.mark.parametrize("plugin", WITH_FRONTS)
def test_all_names_of_a_package_are_there_and_others_are_not(plugin):
    package = importlib.import_module(f"hub_{plugin}")
    assert all(hasattr(package, name) for name in package.__all__)
    assert set(package.__all__) <= set(dir(package))
    assert not hasattr(package, "optimise")


@pytest.mark.parametrize("plugin", [name for name in KNOWN if KNOWN[name]["attributes"]])
def test_what_a_plugin_declares_loads_no_torch(plugin):
    declare = "".join(
        f"; p.{hook}()"
        for hook in ("hub_attributes", "hub_commands")
        if hasattr(importlib.import_module(f"hub_{plugin}.plugin"), hook)
    )
    code = f"import sys, hub_{plugin}.plugin as p{declare}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
