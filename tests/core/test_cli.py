"""The command `hub`."""

import json
import os
import subprocess
import sys

import hub
import pytest
from hub.__main__ import main


def run(capsys, *arguments):
    """Run in this process; return exit code, output, errors."""
    try:
        code = main(arguments)
    except SystemExit as e:
        code = e.code
    return code, *capsys.readouterr()


def test_list(capsys):
    assert run(capsys, "list", "resnet18*") == (0, "resnet18\nresnet18d\n", "")
    code, out, _ = run(capsys, "list", "resnet10t", "resnet14t", "--pretrained", "--json")
    assert (code, json.loads(out)) == (0, ["resnet10t.c3_in1k", "resnet14t.c3_in1k"])
    _, out, _ = run(capsys, "list", "--family", "resnet")
    assert len(out.splitlines()) == 81


def test_list_of_nothing_says_so(capsys):
    assert run(capsys, "list", "zzz") == (1, "", "hub: nothing installed matches zzz\n")


def test_info_comes_from_tables(capsys):
    code, out, _ = run(capsys, "info", "resnet50")
    assert code == 0
    for line in (
        "parameters    25,557,032",
        "features      act1: 64 /2  layer1: 256 /4  layer2: 512 /8  layer3: 1024 /16  layer4: 20",
        "weights       a1_in1k: timm/resnet50.a1_in1k",
        "input         3x224x224, 3x288x288 for evaluation",
        "licence       apache-2.0",
        "plugin        resnet (hub-resnet ",
    ):
        assert line in out
    _, out, _ = run(capsys, "info", "resnet50.tv_in1k", "--json")
    facts = json.loads(out)
    assert facts["weights"]["license"] == "bsd-3-clause"
    assert facts["params"] == 25_557_032
    assert "tv2_in1k" in facts["tags"]


def test_info_agrees_with_the_networks():
    """The recorded facts are those of the network itself; all variants in the slow tests."""
    from hub.cli.models import describe
    from hub_kit.facts import facts_of

    for name in ("test_resnet", "resnet50d", "ecaresnet50d_pruned"):
        recorded = describe(name)
        assert {k: recorded[k] for k in ("params", "levels")} == facts_of(name)


@pytest.mark.slow
def test_every_fact_agrees_with_the_network():
    from hub_kit.facts import main as check

    sys.argv = ["facts", "resnet", "--check"]
    assert check() == 0


def test_plugins_list(capsys):
    code, out, _ = run(capsys, "plugins", "list")
    assert code == 0
    row = next(line.split("\t") for line in out.splitlines() if line.startswith("resnet"))
    assert row[:6] == ["resnet", "hub-resnet", hub.__version__, "loaded", "81", "150"]
    _, out, _ = run(capsys, "plugins", "list", "--json")
    assert {p["plugin"] for p in json.loads(out)} >= {"data", "resnet"}


def test_plugins_list_shows_a_broken_one_and_fails(capsys, install):
    install("broken", "import no_such_module")
    with pytest.warns(hub.HubWarning):
        hub.refresh()
    code, out, _ = run(capsys, "plugins", "list")
    assert code == 1
    assert "ModuleNotFoundError: No module named 'no_such_module'" in out


def test_errors_are_one_line_and_exit_code_1(capsys):
    code, out, err = run(capsys, "info", "resnet5")
    assert (code, out) == (1, "")
    assert err.startswith("hub: error: unknown model 'resnet5'. Did you mean resnet50")
    assert err.count("\n") == 1


def test_unknown_command_is_told_with_the_plugin_that_has_it(capsys, monkeypatch):
    code, _, err = run(capsys, "lisst")
    assert code == 2
    assert "there is no command 'lisst'. Did you mean list? Commands: " in err
    monkeypatch.setenv("HUB_PLUGINS", "resnet")
    hub.refresh()
    _, _, err = run(capsys, "predict", "x.png")
    assert f"`hub predict` is in plugin data (hub-data {hub.__version__}), which HUB_PLUGINS" in err


def test_command_of_a_plugin(capsys, install):
    code = """
    from hub import Command, hookimpl

    def add_arguments(parser):
        parser.add_argument("--loud", action="store_true")

    def run(args):
        print("ACME" if args.loud else "acme")
        return 3

    @hookimpl
    def hub_commands():
        return [Command(name="acme", help="say it", add_arguments=add_arguments, run=run)]
    """
    install("acme", code)
    hub.refresh()
    assert run(capsys, "acme", "--loud") == (3, "ACME\n", "")
    assert "say it" in run(capsys, "--help")[1]


def test_reader_that_stops_early_is_no_error():
    command = f"{sys.executable} -m hub list | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("\n0\n")
    assert done.stderr == ""


def test_reader_that_is_gone_before_the_first_line_is_no_error():
    script = f"{sys.executable} -m hub list resnet18 >&3"
    ours, theirs = os.pipe()
    os.close(ours)
    done = subprocess.run(
        ["bash", "-c", f"exec 3>&{theirs}; {script}"], pass_fds=[theirs], capture_output=True
    )
    os.close(theirs)
    assert (done.returncode, done.stderr) == (0, b"")


def test_closed_output_is_no_error():
    command = f"{sys.executable} -m hub list resnet18 >&-"
    done = subprocess.run(["bash", "-c", command], capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")


FAILS = """
from hub import Command, hookimpl

class PanicException(BaseException): pass

def fail(*args):
    raise {error}

@hookimpl
def hub_commands():
    return [Command(name="acme", help="", add_arguments={add}, run=fail)]
"""


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        ("PanicException('boom')", 2, "hub: error: PanicException: boom\n"),
        ("__import__('hub').HubError('no licence')", 1, "hub: error: no licence\n"),
        ("PermissionError(13, 'Permission denied', 'x')", 1, "hub: error: [Errno 13] Permission "),
        ("BrokenPipeError('socket')", 1, "hub: error: socket\n"),  # of another pipe than stdout
        ("KeyboardInterrupt", 130, ""),
        ("SystemExit(7)", 7, ""),
    ],
)
@pytest.mark.parametrize("add", ["fail", "lambda parser: None"])
def test_command_that_fails_ends_in_a_line_and_a_code(capsys, install, error, code, said, add):
    install("acme", FAILS.format(error=error, add=add))
    hub.refresh()
    found, out, err = run(capsys, "acme")
    assert (found, out, err[: len(said)]) == (code, "", said)
    assert err.count("\n") == bool(said)
    assert run(capsys, "list", "resnet18") == (0, "resnet18\n", "")  # others go on
    assert "acme" in run(capsys, "--help")[1]


@pytest.mark.parametrize("name", ["local-dir:tuned", "hf_hub:timm/resnet50.a1_in1k"])
def test_info_of_a_place_to_load_from_says_what_is_due(capsys, name):
    code, _, err = run(capsys, "info", name)
    assert code == 1
    assert f"{name!r} is a place that hub.create_model loads from, not an architecture" in err
    assert err.count(name) <= 2 and err.count("\n") == 1


def test_whole_process_loads_no_torch():
    code = (
        "import sys; from hub.__main__ import main;"
        "main(['list', '*resnet*']); main(['info', 'resnet50']); main(['plugins', 'list']);"
        "assert 'torch' not in sys.modules, 'torch was imported'"
    )
    subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
