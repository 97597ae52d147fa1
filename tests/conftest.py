"""What all tests share: the state of the host between them, and plugins made on the spot."""

import os
import sys
import textwrap
from pathlib import Path

if count := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):  # the cores are shared; before torch
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // int(count))))

import pytest
from hub import plugins
from hub.registry import local


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch):
    """Give each test the plugins and run-time registrations that it makes itself."""
    before = dict(local._local)
    for name in ("HUB_PLUGINS", "HUB_PLUGINS_STRICT"):
        monkeypatch.delenv(name, raising=False)
    yield
    local._local.clear()
    local._local.update(before)
    local._registry = None


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Return a function that installs a plugin as pip would leave it: modules and a dist-info.

    `install("acme", code)` makes the distribution hub-acme 1.0 with the entry point acme, whose
    module holds `code`. It is found by importlib.metadata like any other.
    """
    site = tmp_path / "site"
    monkeypatch.syspath_prepend(str(site))

    def write(name: str, code: str, *, distribution: str = "", version: str = "1.0") -> Path:
        distribution = distribution or f"hub-{name}"
        package = distribution.replace("-", "_")
        folder = site / package
        folder.mkdir(parents=True)
        (folder / "__init__.py").touch()
        (folder / "plugin.py").write_text(textwrap.dedent(code))
        info = site / f"{package}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Name: {distribution}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[hub.plugins]\n{name} = {package}.plugin\n")
        return folder

    yield write
    monkeypatch.undo()
    plugins._host = None
    for module in [m for m in sys.modules.values() if _is_below(m, site)]:
        del sys.modules[module.__name__]


def _is_below(module, folder: Path) -> bool:
    path = getattr(module, "__file__", None)
    return path is not None and Path(path).is_relative_to(folder)
