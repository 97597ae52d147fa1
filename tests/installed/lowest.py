"""Run tests against the lowest versions that the packages allow, or on another Python.

python tests/installed/lowest.py                    # the default tests
python tests/installed/lowest.py --python 3.12 --resolution highest tests/core

Seen on 2026-11-28, on Linux: Python 3.11 with the lowest versions, in parts (core's sources and
plugins, backends, data sets and loaders of hub-data); Python 3.14 with the pinned ones (core, and
hub-data up to its loaders, where memory was shared wrongly). Not run: Python 3.12 and 3.13.
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
