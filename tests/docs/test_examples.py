"""Every example in the README and in docstrings runs as it is written."""

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import hub
import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ["hub", *sorted(p.name for p in ROOT.glob("plugins/*/src/hub_*"))]
MODULES = [
    info.name
    for package in PACKAGES
    for info in [
        pkgutil.ModuleInfo(None, package, True),
        *pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."),
    ]
    if not info.name.endswith("__main__")
]


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name):
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert not failed


def test_readme_python(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(code.strip().splitlines()) <= 7
    exec(compile(code, "README.md", "exec"), {})
    assert "'resnet18'" in capsys.readouterr().out


def test_readme_names_what_there_is():
    text = (ROOT / "README.md").read_text()
    for project in ("core", *(p.parent.name for p in ROOT.glob("plugins/*/pyproject.toml"))):
        assert f"`hub-{project}`" in text
    count = len(hub.list_models(module="resnet"))
    weights = len([n for n in hub.list_pretrained() if hub.is_model_in_modules(n, "resnet")])
    assert f"{count} architectures, {weights} sets of weights" in text


def test_python_in_the_pages(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for page in sorted((ROOT / "docs").glob("*.md")):
        for code in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
            exec(compile(code, page.name, "exec"), {})
