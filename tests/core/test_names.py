"""Names: who owns one, and what is said to who asks for another."""

import subprocess
import sys
from pathlib import Path

import hub
import pytest
from hub import plugins

ACME = """
from hub import Family, hookimpl

@hookimpl
def hub_models():
    return [Family(name="acme", model="hub_{0}.model:Net", variants={{{1}}})]
"""


def declares(*names: str, plugin: str = "acme") -> str:
    return ACME.format(plugin, ", ".join(f"{n!r}: {{}}" for n in names))


def test_third_party_architecture_is_found_by_name(install):
    install("acme", declares("acme_net"))
    hub.refresh()
    assert hub.is_model("acme_net")
    assert hub.is_model("acme/acme_net")
    assert hub.list_models("acme*") == ["acme_net"]
    assert hub.list_models(module="acme") == ["acme_net"]


def test_official_owner_keeps_the_bare_name(install):
    install("acme", declares("resnet50"))
    hub.refresh()
    assert hub.get_pretrained_cfg("resnet50").tag == "a1_in1k"
    assert hub.get_pretrained_cfg("acme/resnet50") is None
    assert {"acme/resnet50", "resnet50"} <= set(hub.list_models("*resnet50"))


def test_a_name_claimed_by_two_is_an_error_that_names_both(install):
    install("acme", declares("some_net"))
    install("zeta", declares("some_net", plugin="zeta"))
    hub.refresh()
    with pytest.raises(hub.AmbiguousModelError, match="write acme/some_net or zeta/some_net"):
        hub.model_entrypoint("some_net")
    assert hub.list_models("*some_net") == ["acme/some_net", "zeta/some_net"]
    assert hub.model_entrypoint("zeta/some_net").__name__ == "some_net"


def test_official_name_stays_reserved_without_its_plugin(install, monkeypatch):
    install("acme", declares("resnet50"))
    monkeypatch.setattr(plugins, "discover", without("resnet"))
    hub.refresh()
    with pytest.raises(hub.MissingPluginError) as caught:
        hub.model_entrypoint("resnet50")
    assert str(caught.value) == (
        "resnet50 is in hub-resnet, which is not installed: pip install hub-resnet "
        "(another network is acme/resnet50)"
    )


def without(*names):
    found = plugins.discover()
    return lambda: frozenset(i for i in found if i.name not in names)


def test_missing_plugin_is_named_with_the_command(monkeypatch):
    monkeypatch.setattr(plugins, "discover", without("resnet"))
    hub.refresh()
    for name in ("resnet50", "resnet50.a1_in1k", "tv_resnet50"):
        arch = name.partition(".")[0]
        with pytest.raises(hub.MissingPluginError) as caught:
            hub.create_model(name)
        assert str(caught.value) == (
            f"{arch} is in hub-resnet, which is not installed: pip install hub-resnet"
        )
    with pytest.raises(hub.MissingPluginError, match="pip install hub-resnet"):
        hub.create_model("resnet/resnet50")


def test_unknown_name_gets_suggestions():
    with pytest.raises(hub.UnknownModelError, match=r"unknown model 'resnet5'\. Did you mean resn"):
        hub.create_model("resnet5")


def test_unknown_tag_gets_the_right_ones():
    with pytest.raises(hub.UnknownModelError) as caught:
        hub.create_model("resnet18.a1_in22k")
    assert "resnet18 has no weights tagged 'a1_in22k'. Did you mean a1_in1k" in str(caught.value)
    assert "Its tags: a1_in1k, a2_in1k, a3_in1k, tv_in1k" in str(caught.value)


def test_repository_id_without_a_scheme_is_explained():
    with pytest.raises(hub.UnknownModelError, match=r"write 'hf_hub:timm/resnet50\.a1_in1k'"):
        hub.create_model("timm/resnet50.a1_in1k")


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("C:\\runs\\tuned", "'local-dir:C:\\runs\\tuned'"),
        ("C:/runs/tuned", "'local-dir:C:/runs/tuned'"),
        ("\\\\server\\runs", "'local-dir:\\\\server\\runs'"),
        ("runs\\tuned", "'local-dir:runs\\tuned'"),
        ("./runs/x", "'local-dir:./runs/x'"),
        ("../x", "'local-dir:../x'"),
        (".", "'local-dir:.'"),
        ("/runs/x", "'local-dir:/runs/x'"),
        ("~/x", "'local-dir:~/x'"),
        ("runs/tuned", "'local-dir:runs/tuned'"),
        ("runs/tuned", "'hf_hub:runs/tuned'"),
        ("runs/tuned/", "'local-dir:runs/tuned/'"),
        ("runs/deep/tuned", "'local-dir:runs/deep/tuned'"),
        ("data/tuned", "'local-dir:data/tuned'"),  # there is a plugin of this name
        ("tuned", "'local-dir:tuned'"),
        ("x.pth", "checkpoint_path='x.pth'"),
        ("resnet18.safetensors", "checkpoint_path='resnet18.safetensors'"),
        ("C:\\runs\\x.PT", "'file:C:\\runs\\x.PT'"),
        ("runs/x.ckpt", "'file:runs/x.ckpt'"),
        ("weights", "'file:weights'"),
        ("timm/resnet50.a1_in1k", "'hf_hub:timm/resnet50.a1_in1k'"),
        ("any thing/x", "'local-dir:any thing/x'"),
        ("timm/resnet50.a1_in1k@main", "'hf_hub:timm/resnet50.a1_in1k@main'"),
    ],
)
def test_path_or_repository_where_a_name_is_due_is_read_for_what_it_is(
    tmp_path, monkeypatch, name, instead
):
    monkeypatch.chdir(tmp_path)
    for folder in ("runs/tuned", "data/tuned", "tuned", "resnet18"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "weights").touch()
    with pytest.raises(hub.ModelNameError) as caught:
        hub.create_model(name)
    assert instead in str(caught.value)
    assert not hub.is_model("tuned")
    assert hub.is_model("resnet18")  # a folder of the same name hides no architecture


@pytest.mark.parametrize(
    "name", ["timm/resnet50.a1_in1k", "./x", "/x", "~/x", "C:\\x", "runs/tuned/", "hf_hub:", "x/y"]
)
def test_parsing_refuses_what_is_no_name_as_timm_does(name):
    with pytest.raises(ValueError, match=r"write|behind its scheme"):
        hub.parse_model_name(name)


@pytest.mark.parametrize("name", ["resnet50", "resnet50.a1_in1k", "nothing", "vit/no", "x.pth"])
def test_parsing_passes_on_what_may_be_a_name(name):
    assert hub.parse_model_name(name) == (None, name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (None, "is a str, such as 'resnet50', not None \\(NoneType\\)"),
        (50, "not 50 \\(int\\)"),
        (b"resnet50", "not b'resnet50' \\(bytes\\)"),
        (["resnet50"], "not \\['resnet50'\\] \\(list\\)"),
        (Path("runs/x"), "Path\\)\\. For a folder write 'local-dir:runs"),
        (Path("x.pth"), "checkpoint_path='x.pth'"),
    ],
)
def test_name_that_is_no_text_is_told(name, message):
    for ask in (hub.create_model, hub.is_model, hub.parse_model_name, hub.get_pretrained_cfg):
        with pytest.raises(TypeError, match=message):
            ask(name)


@pytest.mark.parametrize(
    "name", ["ResNet50", "RESNET50", "resnet50 ", " resnet50", "resnet50\n", "resnet50.A1_IN1K"]
)
def test_case_and_blanks_are_no_hindrance_to_a_suggestion(name):
    with pytest.raises(hub.UnknownModelError, match=r"Did you mean (resnet50|a1_in1k)"):
        hub.create_model(name)


def test_name_of_nothing_is_told():
    for name in ("", "hf_hub:", "local-dir:"):
        with pytest.raises(hub.ModelNameError, match=r"empty|names nothing behind its scheme"):
            hub.create_model(name)


def test_two_distributions_with_one_plugin_name_do_not_replace_each_other(install):
    install("acme", declares("acme_net"))
    install("acme", declares("other_net", plugin="second"), distribution="hub-second")
    with pytest.warns(hub.HubWarning, match="the plugin name 'acme' belongs to hub-acme; uninst"):
        hub.refresh()
    assert hub.is_model("acme_net")
    assert not hub.is_model("other_net")


def test_impostor_of_an_official_plugin_is_refused(install):
    install("resnet", declares("resnet50"), distribution="aaa-resnet")
    with pytest.warns(hub.HubWarning, match="'resnet' belongs to hub-resnet; uninstall aaa-"):
        hub.refresh()
    assert hub.get_pretrained_cfg("resnet50").tag == "a1_in1k"


def test_impostor_is_refused_where_the_official_plugin_is_missing_too(install, monkeypatch):
    install("resnet", declares("resnet50"), distribution="aaa-resnet")
    found = plugins.discover()
    monkeypatch.setattr(
        plugins, "discover", lambda: {i for i in found if i.distribution != "hub-resnet"}
    )
    with pytest.warns(hub.HubWarning, match="'resnet' belongs to hub-resnet"):
        hub.refresh()
    for name in ("resnet50", "resnet/resnet50"):
        with pytest.raises(hub.MissingPluginError, match="pip install hub-resnet"):
            hub.model_entrypoint(name)


def test_old_names_cannot_be_taken_either(install):
    code = declares("acme_net").replace(
        ")]", ', renamed={"tv_resnet50": "acme_net", "o": "acme_net"})]'
    )
    install("acme", code)
    install("zeta", code.replace("acme", "zeta").replace("tv_resnet50", "tv_resnet18"))
    hub.refresh()
    with pytest.warns(hub.HubDeprecationWarning):
        assert hub.get_pretrained_cfg("tv_resnet50").tag == "tv_in1k"
    with pytest.warns(hub.HubDeprecationWarning, match="tv_resnet50 is an old name; use acme_net"):
        assert hub.model_entrypoint("acme/tv_resnet50").__name__ == "acme_net"
    with pytest.raises(hub.AmbiguousModelError, match="write acme/o or zeta/o"):
        hub.model_entrypoint("o")


def test_outdated_official_plugin_is_told_to_be_upgraded(monkeypatch):
    newer = {**plugins.known(), "resnet": dict(plugins.known()["resnet"])}
    newer["resnet"]["models"] = [*newer["resnet"]["models"], "resnet9000"]
    monkeypatch.setattr(plugins, "known", lambda: newer)
    hub.refresh()
    with pytest.raises(hub.MissingPluginError, match="pip install --upgrade hub-resnet"):
        hub.create_model("resnet9000")


def test_plugin_installed_later_is_found_without_refresh(install):
    assert not hub.is_model("acme_net")
    install("acme", declares("acme_net"))
    assert hub.model_entrypoint("acme_net").__name__ == "acme_net"


def test_old_name_warns_and_forwards():
    with pytest.warns(hub.HubDeprecationWarning, match=r"tv_resnet50 is an old name; use resnet50"):
        cfg = hub.get_pretrained_cfg("tv_resnet50")
    assert (cfg.architecture, cfg.tag) == ("resnet50", "tv_in1k")
    assert hub.is_model("tv_resnet50")
    assert "tv_resnet50" not in hub.list_models()
    assert hub.get_deprecated_models("resnet")["tv_resnet50"] == "resnet50.tv_in1k"


def test_listing_imports_nothing_heavy():
    code = (
        "import sys, hub; assert len(hub.list_models()) > 80; hub.list_models(pretrained=True);"
        "hub.get_pretrained_cfg('resnet50'); hub.is_model('x');"
        "print([m for m in ('torch', 'torchvision', 'numpy', 'PIL', 'huggingface_hub', "
        "'safetensors') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
