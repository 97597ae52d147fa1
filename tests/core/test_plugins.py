"""The host: broken, blocked and odd plugins."""

import subprocess
import sys

import hub
import pytest
from hub import plugins

GOOD = """
from hub import Family, hookimpl

@hookimpl
def hub_models():
    return [Family(name="acme", model="hub_acme.model:Net", variants={"acme_net": {}})]
"""
BROKEN = "raise RuntimeError('no licence')"


def test_broken_plugin_leaves_others_working(install):
    install("acme", GOOD)
    install("broken", BROKEN)
    with pytest.warns(hub.HubWarning) as caught:
        hub.refresh()
        plugins.host()
    assert [str(w.message) for w in caught] == [
        "plugin broken (hub-broken 1.0) could not be loaded and is left out: RuntimeError: no "
        "licence (`hub plugins list` shows all; HUB_PLUGINS=-broken leaves it out)"
    ]
    assert hub.is_model("acme_net")
    assert hub.is_model("resnet50")


def test_asking_for_a_model_of_a_broken_plugin_names_the_cause(install):
    install("broken", BROKEN)
    with pytest.warns(hub.HubWarning):
        hub.refresh()
    with pytest.raises(hub.PluginError, match="which could not be loaded: RuntimeError") as caught:
        hub.create_model("broken/some_net")
    assert isinstance(caught.value.__cause__, RuntimeError)
    with pytest.raises(hub.UnknownModelError, match="It may be in plugin broken") as caught:
        hub.create_model("some_net")
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_plugin_that_exits_at_import_does_not_end_the_program(install):
    install("broken", "raise SystemExit(3)")
    with pytest.warns(hub.HubWarning, match="SystemExit: 3"):
        hub.refresh()
    assert hub.is_model("resnet50")


def test_strict_raises(install, monkeypatch):
    install("broken", BROKEN)
    monkeypatch.setenv("HUB_PLUGINS_STRICT", "1")
    with pytest.raises(hub.PluginError, match="no licence") as caught:
        hub.refresh()
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_blocked_plugin_is_not_imported(install, monkeypatch):
    install("broken", BROKEN)
    monkeypatch.setenv("HUB_PLUGINS", "-broken")
    hub.refresh()
    assert plugins.host().plugins["broken"].status == "blocked"
    with pytest.raises(hub.MissingPluginError, match="which HUB_PLUGINS leaves out"):
        hub.create_model("broken/some_net")


def test_allowed_plugins_are_the_only_ones(install, monkeypatch):
    install("acme", GOOD)
    monkeypatch.setenv("HUB_PLUGINS", "acme")
    hub.refresh()
    assert hub.list_models() == ["acme_net"]
    with pytest.raises(hub.MissingPluginError) as caught:
        hub.create_model("resnet50")
    assert "which HUB_PLUGINS leaves out; add resnet to it or unset it" in str(caught.value)


def test_misspelt_plugin_in_the_environment_is_told(monkeypatch):
    monkeypatch.setenv("HUB_PLUGINS", "-resnett")
    with pytest.warns(hub.HubWarning, match=r"names 'resnett', which is not installed. Did you"):
        hub.refresh()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("from hub import hookimpl\n@hookimpl\ndef hub_models(): return ['x']", "returned a str"),
        ("from hub import hookimpl\n@hookimpl\ndef hub_model(): return []", "unknown hook"),
        ("from hub import hookimpl\n@hookimpl\ndef hub_models(x): return []", "hub_models"),
        (GOOD.replace('"acme_net"', '"acme.net"'), "declares the name 'acme.net'"),
        (GOOD.replace(":Net", ".Net"), "write 'package.module:Class'"),
        (GOOD.replace("{}}", '{}}, weights={"other.a": None}'), "there is no variant 'other'"),
        (GOOD.replace("{}}", '{}}, renamed={"acme_net": "acme_net"}'), "acme_net more than once"),
        (GOOD.replace("{}}", '{}}, lacks={"output_strid"}'), "lacks 'output_strid', which is no"),
        ("from hub import hookimpl\n@hookimpl\ndef hub_commands(): return 3", "returned a int"),
        ("from hub import hookimpl\n@hookimpl\ndef hub_sources(): return []", "not a Mapping"),
    ],
)
def test_mistake_in_a_plugin_is_blamed_on_it(install, code, message):
    install("acme", code)
    with pytest.warns(hub.HubWarning, match="plugin acme .* is left out") as caught:
        hub.refresh()
    assert message in str(caught[0].message)
    assert plugins.host().plugins["acme"].status == "broken"
    assert hub.is_model("resnet50")


def test_model_reference_that_leads_nowhere_is_told_on_first_build(install):
    folder = install("acme", GOOD)
    (folder / "model.py").write_text("")
    hub.refresh()
    with pytest.raises(hub.PluginError, match=r"module hub_acme.model has no 'Net'"):
        hub.create_model("acme_net")


def test_official_plugins_import_nothing_heavy():
    heavy = ("torch", "torchvision", "numpy", "PIL", "huggingface_hub", "safetensors")
    code = (
        "import sys; from hub import plugins; h = plugins.host();"
        "assert all(p.status == 'loaded' for p in h.plugins.values()), h.plugins;"
        f"list(h.hook.hub_commands()); print([m for m in {heavy} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


BRINGS = """
from hub import hookimpl, hookspec

class Specifications:
    @hookspec
    def acme_words():
        "Return words."

@hookimpl
def hub_addhooks():
    return [Specifications]
"""
IMPLEMENTS = """
from hub import hookimpl

@hookimpl{options}
def acme_words():
    return ["hello"]
"""


@pytest.mark.parametrize("name", ["aardvark", "zebra"])
def test_hook_of_another_plugin_is_known_whoever_loads_first(name, install):
    install("middle", BRINGS)
    install(name, IMPLEMENTS.format(options=""))
    hub.refresh()
    assert plugins.host().hook.acme_words() == [["hello"]]


def test_hook_that_nobody_calls_breaks_the_plugin_unless_it_is_optional(install):
    install("acme", IMPLEMENTS.format(options=""))
    install("zebra", IMPLEMENTS.format(options="(optionalhook=True)"))
    with pytest.warns(hub.HubWarning, match="plugin acme .* unknown hook 'acme_words'"):
        hub.refresh()
    assert plugins.host().plugins["acme"].status == "broken"
    assert plugins.host().plugins["zebra"].status == "loaded"


def test_plugin_whose_hooks_are_broken_leaves_others_working(install):
    install("acme", BRINGS.replace("return [Specifications]", "raise RuntimeError('no words')"))
    with pytest.warns(hub.HubWarning, match="plugin acme .* RuntimeError: no words"):
        hub.refresh()
    assert hub.is_model("resnet50")


def test_plugin_for_another_core_is_refused_before_it_is_imported(install):
    folder = install("acme", BROKEN)
    metadata = folder.parent / "hub_acme-1.0.dist-info/METADATA"
    metadata.write_text(metadata.read_text() + "Requires-Dist: Hub_Core (>=7,<8)\n")
    with pytest.warns(hub.HubWarning, match="it needs hub-core>=7,<8, and this is hub-core"):
        hub.refresh()


def test_blocked_clash_is_left_alone(install, monkeypatch):
    install("resnet", BROKEN, distribution="hub-evil")
    monkeypatch.setenv("HUB_PLUGINS", "-hub-evil:resnet")
    hub.refresh()
    assert plugins.host().plugins["hub-evil:resnet"].status == "blocked"
    assert plugins.host().plugins["resnet"].status == "loaded"


OFFERS = """
from hub import hookimpl

@hookimpl
def hub_attributes():
    return {{"colour": "{module}:BLACK", "create_model": "{module}:BLACK"}}

BLACK = "{name}"
"""


def test_attribute_of_a_plugin_is_the_first_ones_and_never_replaces_cores(install):
    for name in ("acme", "zebra"):
        install(name, OFFERS.format(name=name, module=f"hub_{name}.plugin"))
    hub.refresh()
    assert hub.colour == "acme"
    assert callable(hub.create_model)


def test_attribute_that_nobody_offers_is_an_attribute_error(monkeypatch):
    with pytest.raises(AttributeError, match="module 'hub' has no attribute 'nothing_like_it'"):
        hub.nothing_like_it  # noqa: B018
    entry = {"distribution": "hub-paint", "models": [], "commands": [], "attributes": ["colour"]}
    monkeypatch.setitem(plugins.known(), "paint", entry)
    with pytest.raises(AttributeError, match="colour is in hub-paint, which is not installed"):
        hub.colour  # noqa: B018


def test_plugin_that_asks_hub_for_what_is_not_there_is_broken_and_nothing_else(install):
    install("acme", "from hub import nothing_like_it")
    with pytest.warns(hub.HubWarning, match="cannot import name 'nothing_like_it'"):
        hub.refresh()
    assert hub.is_model("resnet50")
