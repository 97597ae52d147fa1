"""The host: broken, blocked and odd plugins."""

import os
import subprocess
import sys
import textwrap

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
        (GOOD.replace("{}}", '{}}, lacks={"exprot"}'), "lacks 'exprot', which is no"),
        ("from hub import hookimpl\n@hookimpl\ndef hub_commands(): return 3", "returned a int"),
        ("from hub import hookimpl\n@hookimpl\ndef hub_sources(): return []", "not a Mapping"),
        (
            "from hub import hookimpl\n@hookimpl(hookwrapper=True)\n"
            "def hub_create_model(request): yield",
            "old-style wrapper: write hookimpl(wrapper=True)",
        ),
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


def test_plugin_may_specify_hooks_in_its_own_module(install):
    specifies = "@hookspec\ndef acme_words(): ..."
    install("acme", BRINGS.replace("[Specifications]", "[sys.modules[__name__]]") + specifies)
    hub.refresh()
    assert plugins.host().hook.acme_words() == []


BRINGS = """
import sys
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


def test_what_two_plugins_offer_by_one_name_is_neithers_and_cores_stay(install):
    for name in ("acme", "zebra"):
        install(name, OFFERS.format(name=name, module=f"hub_{name}.plugin"))
    hub.refresh()
    with pytest.raises(AttributeError, match="'colour' is claimed by the plugins acme and zebra"):
        hub.colour  # noqa: B018
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


# --- plugins that do what nobody expects --------------------------------------------------------

PANIC = "class PanicException(BaseException): pass\n"
HOOKS = "from hub import Command, Family, hookimpl\n"


@pytest.mark.parametrize(
    "code",
    [
        PANIC + "raise PanicException('boom')",
        "raise SystemExit('boom')",
        "raise GeneratorExit('boom')",
        *(
            f"{HOOKS}{PANIC}@hookimpl\ndef {hook}(): raise PanicException('boom')"
            for hook in (
                "hub_models",
                "hub_sources",
                "hub_commands",
                "hub_attributes",
                "hub_addhooks",
            )
        ),
        f"{HOOKS}{PANIC}@hookimpl\ndef hub_commands(): yield int('boom')",
    ],
)
def test_plugin_that_raises_what_is_no_exception_is_broken_and_nothing_else(install, code):
    install("acme", code)
    with pytest.warns(hub.HubWarning, match="plugin acme .* left out: .*boom"):
        hub.refresh()
    assert plugins.host().plugins["acme"].status == "broken"
    assert hub.is_model("resnet50")


def test_interrupt_from_the_keyboard_is_no_fault_of_a_plugin(install):
    install("acme", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        hub.refresh()
    assert not plugins.is_loading()


def test_what_a_plugin_offers_is_asked_once_and_cannot_fail_later(install):
    code = """
    from hub import hookimpl

    calls = []

    @hookimpl
    def hub_sources():
        calls.append(1)
        if len(calls) > 1:
            raise RuntimeError("asked again")
        return {"shelf": "hub.pretrained.sources:LocalFolder"}
    """
    install("acme", code)
    hub.refresh()
    for _ in range(2):
        with pytest.raises(hub.WeightsError, match="there is no such folder"):
            hub.create_model("shelf:nowhere")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("def hub_sources(): return {'shelf': list}", "offers the class list, not a str"),
        ("def hub_sources(): return {'shelf': 'no colon'}", "write 'package.module:name'"),
        ("def hub_attributes(): return {1: 'a:b'}", "offers something as 1, and a name is a str"),
        ("def hub_commands(): return ['acme']", "offers a str, not a Command"),
        (
            "def hub_commands(): return [Command(name='a b c', help='', add_arguments=id, run=id)]",
            "offers 'a b c': a command has one word, or two",
        ),
        ("def hub_commands(): return None", "returned None, not a Iterable"),
    ],
)
def test_offer_of_another_kind_is_the_plugins_mistake(install, answer, message):
    install("acme", f"{HOOKS}@hookimpl\n{answer}")
    with pytest.warns(hub.HubWarning, match="plugin acme") as caught:
        hub.refresh()
    assert message in str(caught[0].message)


def test_hook_without_its_mark_is_told(install):
    install("acme", "def hub_models(): return []")
    with pytest.warns(hub.HubWarning, match="hub_models is not marked: write @hub.hookimpl above"):
        hub.refresh()


PRINTS = """
import os, subprocess, sys
from hub import Family, hookimpl

print("printed")
os.write(1, b"written\\n")
subprocess.run(["echo", "echoed"])

@hookimpl
def hub_models():
    print("listed")
    return [Family(name="acme", model="hub_acme.model:Net", variants={"acme_net": {}})]
"""


@pytest.mark.parametrize("arguments", [["list", "acme*"], ["list", "acme*", "--json"]])
def test_what_a_plugin_prints_does_not_mix_with_the_output_of_commands(install, arguments):
    folder = install("acme", PRINTS)
    done = subprocess.run(
        [sys.executable, "-m", "hub", *arguments],
        env={**os.environ, "PYTHONPATH": str(folder.parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == ('["acme_net"]\n' if "--json" in arguments else "acme_net\n")
    assert set(done.stderr.split()) == {"printed", "written", "echoed", "listed"}


def test_what_a_plugin_prints_does_not_mix_with_the_output_of_programs(install, capsys):
    install("acme", PRINTS)
    hub.refresh()
    out, err = capsys.readouterr()
    assert (out, err) == ("", "printed\nlisted\n")


@pytest.mark.parametrize(
    "value",
    ["hub_acme.plugin:hub_models", "hub_acme.plugin [fast]", "hub_acme.plugin:Plugin.hooks"],
)
def test_entry_point_is_read_as_the_library_reads_it(install, value):
    folder = install("acme", GOOD + "\nimport sys\nclass Plugin: hooks = sys.modules[__name__]")
    _entry_point(folder, f"acme = {value}")
    hub.refresh()
    assert hub.list_models("acme*") == ["acme_net"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", "is '', which names no module; write it as 'hub_acme.plugin'"),
        ("hub acme", "is 'hub acme', which names no module"),
        ("hub_acme.plugin:nothing", "has no attribute 'nothing'"),
        ("hub_acme.plugin:__name__", "names a str without hooks; name the module"),
        ("hub_acme.nothing", "No module named 'hub_acme.nothing'"),
        ("hub_resnet.plugin", "hub_resnet.plugin is the plugin 'resnet' already"),
    ],
)
def test_entry_point_that_leads_nowhere_is_explained(install, value, message):
    folder = install("acme", GOOD)
    _entry_point(folder, f"acme = {value}")
    with pytest.warns(hub.HubWarning) as caught:
        hub.refresh()
    assert message in str(caught[0].message)
    assert message in plugins.host().plugins["acme"].reason


@pytest.mark.parametrize("content", [b"[hub.plugins]\nacme\n", b"\xff\xfe[hub.plugins]\n"])
def test_distribution_whose_entry_points_cannot_be_read_leaves_others_working(install, content):
    install("zeta", GOOD.replace("acme", "zeta"))
    folder = install("acme", GOOD)
    (folder.parent / "hub_acme-1.0.dist-info/entry_points.txt").write_bytes(content)
    with pytest.warns(hub.HubWarning, match="the entry points of .* cannot be read"):
        hub.refresh()
        assert hub.is_model("zeta_net") and hub.is_model("resnet50")


@pytest.mark.parametrize("name", ["acme nets", "Acme", "acme/nets"])
def test_entry_point_may_have_an_odd_name(install, name):
    folder = install("acme", GOOD)
    _entry_point(folder, f"{name} = hub_acme.plugin")
    hub.refresh()
    assert hub.is_model(f"{name}/acme_net")


def _entry_point(folder, line):
    text = f"[hub.plugins]\n{line}\n"
    (folder.parent / "hub_acme-1.0.dist-info/entry_points.txt").write_text(text)


def test_plugin_may_register_when_it_is_imported_but_not_ask(install):
    register = "import hub\n\n@hub.register_model\ndef note_net(pretrained=False, **kwargs): ...\n"
    install("acme", register)
    install("zeta", "import hub\nhub.list_models()")
    with pytest.warns(hub.HubWarning, match="plugin zeta .* may ask in a function, not when it"):
        hub.refresh()
    assert hub.is_model("local/note_net")


# --- what builds ---------------------------------------------------------------------------------

WRAPS = """
from hub import hookimpl

@hookimpl(wrapper=True)
def hub_create_model(request):
    model = yield
    {0}
"""
BUILDS = """
from hub import hookimpl

@hookimpl
def hub_create_model(request):
    {0}
"""


@pytest.mark.parametrize(
    ("code", "what"),
    [
        (WRAPS.format("model.eval()"), "returned None"),
        (WRAPS.format("return model, 1"), "returned a tuple"),
        (WRAPS.format("return type(model)"), "returned the class ResNet"),
        (WRAPS.format("return model.state_dict()"), "returned a OrderedDict"),
        (BUILDS.format("return 'resnet'"), "returned a str"),
        (BUILDS.format("yield"), "returned a generator"),
    ],
)
@pytest.mark.parametrize("outer", [False, True])
def test_hook_that_returns_no_network_is_the_error_of_its_plugin(install, code, what, outer):
    install("acme", code)
    install("aaa" if outer else "zzz", WRAPS.format("return model.eval()"))
    hub.refresh()
    with pytest.raises(hub.PluginError, match=f"of plugin 'acme' {what}, not a network"):
        hub.create_model("test_resnet")


def test_wrappers_see_the_errors_of_a_build_and_pass_them_on(install):
    code = """
    try:
        model = yield
    finally:
        request.kwargs["seen"].append(1)
    return model
    """
    install("acme", WRAPS.replace("    model = yield\n    {0}", code))
    hub.refresh()
    seen = []
    with pytest.raises(TypeError, match="no argument 'seen'"):
        hub.create_model("test_resnet", seen=seen)
    assert seen == [1]


@pytest.mark.parametrize(
    ("returned", "what"), [(None, "None"), ((1, 2), "a tuple"), (dict, "the class dict")]
)
def test_function_that_builds_no_network_is_named(returned, what):
    @hub.register_model
    def note_net(pretrained=False, **kwargs):
        return returned

    with pytest.raises(hub.PluginError, match=f"what builds local/note_net returned {what}, not"):
        hub.create_model("note_net")


# --- many threads --------------------------------------------------------------------------------


def test_many_threads_may_begin_at_once(install):
    """The first use of hub in a process, by sixteen threads; then names that come meanwhile."""
    folder = install("acme", "import time\ntime.sleep(0.1)\n" + GOOD)
    code = """
    import sys, threading
    from concurrent.futures import ThreadPoolExecutor
    sys.setswitchinterval(1e-5)
    import hub

    start = threading.Barrier(16)

    def work(i):
        start.wait()
        assert callable(hub.preprocessing)
        if i % 2:
            assert hub.is_model("acme_net") and hub.is_model("tv_resnet50")
            hub.register_model(lambda pretrained=False, **kwargs: None, name=f"net{i}")
        else:
            hub.refresh()
        assert not i % 2 or hub.is_model(f"net{i}"), i
        return hub.create_model("test_resnet", num_classes=i + 1)

    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(work, range(16)))
    assert [net.num_classes for net in found] == list(range(1, 17))
    assert all(hub.is_model(f"net{i}") for i in range(1, 16, 2))
    print("done")
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        env={**os.environ, "PYTHONPATH": str(folder.parent)},
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.stderr) == ("done\n", "")
