"""Run tests against the lowest versions that the packages allow, or on another Python.

python tests/installed/lowest.py                    # the default tests
python tests/installed/lowest.py --python 3.12 --resolution highest tests/core

A Python that uv does not find is named by its path. Seen on 2026-11-28, on Linux:

* Python 3.11.7 with the lowest versions (torch 2.9.0, torchvision 0.24.0, Pillow 11.3.0, numpy
  1.26.0): the default tests pass, but for tests/installed, which was not run.
* Python 3.12.1 with the highest versions: hub-data and the first 87 % of core pass.
* Python 3.13.0, likewise: hub-data and the first 88 % of core, given `-W "ignore:Guards may run
  slower"`: torch.compile warns of this one version.
* Python 3.14.8, likewise: hub-data, but for the second half of test_loader.py, not run.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: What the tests import themselves; the newest torch brings setuptools, torch 2.9 needs it unasked.
TOOLS = ("mypy", "pytest", "ruff", "scikit-learn", "setuptools", "uv-build")


def install(folder: Path, python: str, resolution: str) -> Path:
    """Make an environment with every package of this tree, as uv resolves it; return its Python."""
    pins = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["uv"]
    tools = [p for p in pins["constraint-dependencies"] if p.partition("==")[0] in TOOLS]
    packages = [_with_extras(ROOT / "core"), *map(_with_extras, ROOT.glob("plugins/*/"))]
    executable = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    uv = ["uv", "--no-config", "--quiet"]
    subprocess.run([*uv, "venv", "--python", python, folder], check=True)
    # Where a version has no wheel for this Python, the lowest that has one is meant.
    command = [*uv, "pip", "install", "--only-binary=:all:", f"--resolution={resolution}"]
    command += ["--python", executable, *packages, *tools]
    subprocess.run(command, check=True)
    subprocess.run([*uv, "pip", "list", "--python", executable], check=True)
    return executable


def _with_extras(folder: Path) -> str:
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    return f"-e{folder}[{','.join(project.get('optional-dependencies', ()))}]"


def main() -> int:
    """Return the exit code of pytest."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--python", default=f"{sys.version_info[0]}.{sys.version_info[1]}")
    parser.add_argument("--resolution", default="lowest-direct", help="of uv; highest is another")
    args, of_pytest = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        python = install(Path(folder), args.python, args.resolution)
        return subprocess.run([python, "-m", "pytest", *of_pytest], cwd=ROOT).returncode


if __name__ == "__main__":
    sys.exit(main())
