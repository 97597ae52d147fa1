"""Promises about the tree itself."""

import json
import re
import subprocess
import tomllib
from itertools import chain
from pathlib import Path

import pytest
from make_known import TARGET, known
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[2]
ROOT_PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECTS = {
    path.parent: tomllib.loads(path.read_text())
    for path in (ROOT / "core/pyproject.toml", *sorted(ROOT.glob("plugins/*/pyproject.toml")))
}
TEMPLATE = ROOT / "core/src/hub/template/pyproject.toml"
PLUGINS = [folder for folder in PROJECTS if folder.name != "core"]


def test_known_plugins_are_up_to_date():
    assert TARGET.read_text() == known(), "run: python tests/repo/make_known.py"


@pytest.mark.parametrize("folder", PLUGINS, ids=lambda f: f.name)
def test_plugin_has_one_name_everywhere(folder):
    project = PROJECTS[folder]["project"]
    assert project["name"] == f"hub-{folder.name}"
    assert (folder / f"src/hub_{folder.name}/__init__.py").is_file()
    entry_points = project.get("entry-points", {}).get("hub.plugins")
    assert entry_points in (None, {folder.name: f"hub_{folder.name}.plugin"})


def test_environment_holds_every_package():
    names = {p["project"]["name"] for p in PROJECTS.values()}
    assert set(ROOT_PROJECT["project"]["dependencies"]) == names
    assert set(ROOT_PROJECT["tool"]["uv"]["sources"]) == names


def test_core_with_all_brings_every_plugin():
    extras = PROJECTS[ROOT / "core"]["project"]["optional-dependencies"]
    named = [Requirement(line).name for line in extras["all"]]
    assert named == [PROJECTS[folder]["project"]["name"] for folder in PLUGINS]


def test_versions_go_in_lockstep():
    assert len({p["project"]["version"] for p in PROJECTS.values()}) == 1


def test_lowest_versions_are_stated_once_for_all_packages():
    version = Version(PROJECTS[ROOT / "core"]["project"]["version"])
    bounds = {}
    for project in (*PROJECTS.values(), tomllib.loads(TEMPLATE.read_text())):
        extras = project["project"].get("optional-dependencies", {})
        for line in chain(project["project"]["dependencies"], *extras.values()):
            requirement = Requirement(line)
            (bound,) = requirement.specifier
            assert bound.operator == ">=", line
            assert bounds.setdefault(requirement.name, bound) == bound, line
            if requirement.name.startswith("hub-"):
                assert Version(bound.version) == version, line


def test_no_shipped_package_depends_on_the_reference():
    for project in PROJECTS.values():
        assert not [d for d in project["project"]["dependencies"] if d.startswith("timm")]


def test_top_level_holds_what_the_design_says():
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert {path.partition("/")[0] for path in listed} <= {
        *("pyproject.toml", "README.md", "LICENSE", ".ci", ".gitignore"),
        *("core", "plugins", "tests", "docs"),
    }


def test_every_version_is_pinned():
    pins = ROOT_PROJECT["tool"]["uv"]["constraint-dependencies"]
    assert all(re.fullmatch(r"[a-z0-9\-]+==[^ ]+", pin) for pin in pins)
    names = {pin.partition("==")[0] for pin in pins}
    for project in (ROOT_PROJECT, *PROJECTS.values()):
        for dependency in project["project"]["dependencies"]:
            name = re.match(r"[A-Za-z0-9_\-]+", dependency)[0].replace("_", "-")
            assert name.startswith("hub-") or name in names, f"{name} has no pin"


def test_facts_are_json_of_the_plugins_variants():
    for folder in PLUGINS:
        for path in folder.glob("src/*/facts.json"):
            entry = json.loads(TARGET.read_text())[folder.name]
            assert set(json.loads(path.read_text())) <= set(entry["models"])
