"""`hub plugins new` and `hub plugins test`: a package that keeps the contract from the start."""

import re
import subprocess
import sys
import tomllib

import hub
import pytest
from hub import plugins
from hub.__main__ import main
from hub.errors import HubError
from hub_kit import conformance, scaffold


@pytest.fixture(autouse=True)
def _forget_trees(monkeypatch):
    before = list(sys.path)
    yield
    plugins._in_tree.clear()
    plugins._host = None
    sys.path[:] = before
    for name in [n for n in sys.modules if n.startswith(("hub_acme", "hub_big_nets"))]:
        del sys.modules[name]


def test_rendered_tree_passes_the_kit_without_being_installed(tmp_path, capsys):
    folder = scaffold.new_plugin("acme", folder=tmp_path / "hub-acme")
    assert main(["plugins", "test", str(folder)]) == 0
    out = capsys.readouterr().out
    assert "acme/acme_net ..............." in out
    count = 2 * len(conformance.CHEAP) + len(conformance.NUMERICAL)
    assert f"2 architectures, {count} checks passed, 0 failed" in out
    assert hub.is_model("acme_net")


def test_names_are_the_authors(tmp_path):
    folder = scaffold.new_plugin("big_nets", "ConvMixer", tmp_path / "x")
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    assert project["name"] == "hub-big-nets"
    assert project["entry-points"]["hub.plugins"] == {"big_nets": "hub_big_nets.plugin"}
    assert plugins.add_tree(folder) == ["big_nets"]
    assert hub.list_models("*mixer*") == ["conv_mixer", "test_conv_mixer"]
    assert type(hub.create_model("big_nets/test_conv_mixer")).__name__ == "ConvMixer"
    files = [p for p in folder.rglob("*") if p.is_file() and p.suffix != ".pyc"]
    text = "".join(p.read_text() for p in files)
    assert "acme" not in text.lower()


def test_rendered_tree_is_tidy(tmp_path):
    """It has the style of hub: formatted and linted."""
    folder = scaffold.new_plugin("acme", folder=tmp_path / "hub-acme")
    for command in (
        ["ruff", "format", "--check", "--line-length", "100", "."],
        ["ruff", "check", "--line-length", "100", "--select", "E,F,I,B,UP,RUF", "."],
    ):
        done = subprocess.run(
            [sys.executable, "-m", *command], cwd=folder, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("name", "network", "message"),
    [
        ("Acme", None, "'Acme' cannot be the name of a plugin: write small letters"),
        ("acme-net", None, "cannot be the name of a plugin"),
        ("resnet", None, "'resnet' is a name of hub's own; choose another, such as 'my_resnet'"),
        ("core", None, "'core' is a name of hub's own"),
        ("acme", "net", "'net' cannot be the name of a class"),
        ("acme", "Resnet50", "would be the architecture resnet50, which is one of hub-resnet"),
    ],
)
def test_name_that_cannot_be_is_refused(name, network, message, tmp_path):
    with pytest.raises(HubError, match=message):
        scaffold.new_plugin(name, network, tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_nothing_is_overwritten(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["plugins", "new", "acme"]) == 0
    (tmp_path / "hub-acme/README.md").write_text("mine")
    assert main(["plugins", "new", "acme"]) == 1
    assert "hub-acme exists and is not empty; give another folder" in capsys.readouterr().err
    assert (tmp_path / "hub-acme/README.md").read_text() == "mine"


def test_failing_check_says_what_the_contract_is(tmp_path, capsys):
    folder = scaffold.new_plugin("acme", folder=tmp_path / "hub-acme")
    model = folder / "src/hub_acme/model.py"
    model.write_text(model.read_text().replace("reduction=4 * 2**i", "reduction=8 * 2**i"))
    assert main(["plugins", "test", str(folder)]) == 1
    out = capsys.readouterr().out
    assert re.search(r"acme/acme_net \.+F", out)
    assert "check_table: acme/acme_net: " in out
    assert "  contract: " in out
    assert "  see: docs/contract.md#table" in out


def test_kit_finds_nothing_to_check(tmp_path, capsys):
    assert main(["plugins", "test", "no_such_thing"]) == 1
    assert "nothing to check in 'no_such_thing': no plugin is called so" in capsys.readouterr().err
    assert main(["plugins", "test", "data"]) == 1
    assert "nothing to check in 'data': plugin data (hub-data" in capsys.readouterr().err
    assert main(["plugins", "test", str(tmp_path)]) == 1
    assert "is no source tree of a plugin" in capsys.readouterr().err
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\n')
    assert main(["plugins", "test", str(tmp_path)]) == 1
    assert "declares no plugin: it needs a table [project.entry-points" in capsys.readouterr().err


def test_kit_within_the_suite_of_an_author(tmp_path):
    """`pytest -p hub_kit.pytest_plugin --hub NAME` needs no test file, and obeys -k."""

    def run(*options):
        command = ["pytest", "-p", "hub_kit.pytest_plugin", "-p", "no:cacheprovider"]
        done = subprocess.run(
            [sys.executable, "-m", *command, "--rootdir", ".", *options],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        return done.returncode, done.stdout + done.stderr

    code, out = run("--hub", "test_resnet", "-k", "table or cuts", "-v")
    assert code == 0
    assert "test_resnet::check_table PASSED" in out
    assert " 2 passed, " in out
    code, out = run("--hub", "nothing_like_it")
    assert code == 4
    assert "there is nothing to check" in out
