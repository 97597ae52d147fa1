"""`hub plugins doctor`; what it says of distributions that pip installed is in tests/installed."""

import json

import hub
import pytest
from hub.__main__ import main
from hub.cli import doctor
from hub.errors import HubError

COMMAND = """
from hub import Command, hookimpl

@hookimpl
def hub_commands():
    return [Command(name="{name}", help="", add_arguments=lambda p: None, run=lambda args: 7)]
"""


def examined(install, code, name=None, **kwargs):
    install("acme", code, **kwargs)
    hub.refresh()
    return [(f.kind, f.plugin, f.text) for f in doctor.examine(name)]


def test_healthy_tree_has_no_findings(capsys):
    assert doctor.examine() == []
    assert main(["plugins", "doctor"]) == 0
    assert capsys.readouterr().out.endswith("\nno problems\n")


def test_unknown_plugin_is_told():
    with pytest.raises(HubError, match=r"no plugin 'resne'. Did you mean resnet\? Installed: "):
        doctor.examine("resne")


def test_findings_as_json(install, capsys):
    install("acme", "raise RuntimeError('no licence')")
    with pytest.warns(hub.HubWarning):
        hub.refresh()
    assert main(["plugins", "doctor", "--json"]) == 1
    (finding,) = json.loads(capsys.readouterr().out)
    assert finding["kind"] == "problem"
    assert finding["plugin"] == "acme"
    assert finding["text"] == "RuntimeError: no licence"
    assert "HUB_PLUGINS=-acme" in finding["advice"]


def test_one_broken_plugin_is_shown_with_its_traceback(install):
    with pytest.warns(hub.HubWarning):
        (finding,) = examined(install, "raise RuntimeError('no licence')", "acme")
    assert 'plugin.py", line 1, in <module>' in finding[2]
    assert finding[2].count("  File ") == 1


def test_command_of_two_plugins_is_noted_and_the_official_one_runs(install, capsys):
    (finding,) = examined(install, COMMAND.format(name="list"))
    assert finding == ("note", "", "core and acme bring a command `hub list`; core has it")
    assert main(["list", "resnet18"]) == 0
    assert capsys.readouterr().out == "resnet18\n"
    assert main(["plugins", "doctor"]) == 0


def test_command_that_two_plugins_claim_is_neithers_and_the_others_run(install, capsys):
    install("zebra", COMMAND.format(name="shine"))
    (finding,) = examined(install, COMMAND.format(name="shine"))
    assert finding[0] == "problem"
    said = "the command 'shine' is claimed by the plugins acme and zebra: keep one, with"
    assert said in finding[2]
    with pytest.raises(SystemExit):
        main(["shine"])
    assert said in capsys.readouterr().err
    assert main(["list", "resnet18"]) == 0


@pytest.mark.parametrize("name", ["plugins", "list more"])
def test_a_word_is_a_command_or_a_group_of_them_and_the_others_run(install, capsys, name):
    (finding,) = examined(install, COMMAND.format(name=name))
    assert finding[0] == "note"
    assert finding[2].startswith("core and acme bring a command")
    assert main(["list", "resnet18"]) == 0
    assert main(["plugins", "list"]) == 0


def test_a_word_that_is_a_command_of_one_and_a_group_of_another_is_neithers(install, capsys):
    install("zebra", COMMAND.format(name="shine more"))
    (finding,) = examined(install, COMMAND.format(name="shine"))
    assert finding[0] == "problem"
    for words in (["shine"], ["shine", "more"]):
        with pytest.raises(SystemExit):
            main(words)
    assert main(["list", "resnet18"]) == 0


def test_plugin_that_imports_much_is_a_problem(install):
    code = """
    import sys, types
    sys.modules["torchvision"] = types.ModuleType("torchvision")
    """
    import sys

    kept = sys.modules.pop("torchvision", None)
    try:
        (finding,) = examined(install, code)
    finally:
        del sys.modules["torchvision"]
        if kept:
            sys.modules["torchvision"] = kept
    assert finding[:2] == ("problem", "acme")
    assert finding[2].startswith("it imports torchvision when it is listed")


def test_hidden_hub_is_a_problem(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hub.py").touch()
    (finding,) = doctor.examine()
    assert finding.kind == "problem"
    assert finding.text.startswith(f"{tmp_path / 'hub.py'} is imported in its place")
