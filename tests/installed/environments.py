"""Fresh environments in which wheels of this tree, and of other plugins, are installed by pip.

Nothing is fetched: torch and what else the packages say that they need is linked from the
environment of the tests, and nothing that they do not name.
"""

import importlib.metadata
import os
import subprocess
import sys
import sysconfig
import textwrap
import venv
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
HERE = Path(sysconfig.get_path("purelib"))
PYPROJECT = """
[project]
name = "{distribution}"
version = "{version}"
description = "A plugin for the tests."
requires-python = ">=3.11"
dependencies = {requires}

[project.entry-points."hub.plugins"]
{name} = "{package}.plugin"

[build-system]
requires = ["uv_build>=0.9,<1"]
build-backend = "uv_build"
"""


def build_wheel(project: Path, target: Path) -> Path:
    """Build the wheel of a project into a folder."""
    target.mkdir(parents=True, exist_ok=True)
    code = f"import uv_build; print(uv_build.build_wheel({str(target)!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=project,
        env=_with_tools(os.environ),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return target / done.stdout.split()[-1]


def write_plugin(
    folder: Path, name: str, code: str, *, distribution="", version="1.0", requires=(), **modules
) -> Path:
    """Write the source tree of a plugin; `code` is its plugin.py, `modules` are the others."""
    distribution = distribution or f"hub-{name}"
    package = distribution.replace("-", "_")
    project = folder / distribution
    source = project / "src" / package
    source.mkdir(parents=True)
    fields = dict(name=name, distribution=distribution, version=version, package=package)
    text = PYPROJECT.format(requires=list(requires), **fields)
    (project / "pyproject.toml").write_text(text)
    for module, content in {"__init__": "", "plugin": code, **modules}.items():
        (source / f"{module}.py").write_text(textwrap.dedent(content))
    return project


class Environment:
    """A virtual environment, and a working directory that is empty at first."""

    def __init__(self, folder: Path, third_party: Path, *, with_pip=False):
        self.folder, self.cwd = folder / "env", folder / "cwd"
        venv.create(self.folder, with_pip=with_pip, symlinks=os.name != "nt")
        self.cwd.mkdir()
        self.bin = self.folder / ("Scripts" if os.name == "nt" else "bin")
        self.python = self.bin / "python"
        self._site.joinpath("third_party.pth").write_text(f"{third_party}\n")
        self.variables = {
            "HOME": str(folder),
            "HF_HOME": str(folder / "huggingface"),
            "OMP_NUM_THREADS": "1",
            "VIRTUAL_ENV": str(self.folder),
        }

    @property
    def _site(self) -> Path:
        return next(self.folder.glob("[Ll]ib*/**/site-packages"))

    def run(self, *command, **variables) -> subprocess.CompletedProcess:
        """Run a command of this environment in its working directory."""
        unwanted = ("PYTHON", "HUB_", "HF_", "UV_", "PIP_", "VIRTUAL_ENV")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(unwanted)}
        env = _with_tools(kept | self.variables | variables)
        env["PATH"] = os.pathsep.join((str(self.bin), env["PATH"]))
        program = self.bin / command[0]
        first = str(program) if program.exists() else command[0]
        return subprocess.run(
            [first, *map(str, command[1:])],
            cwd=self.cwd,
            env=env,
            capture_output=True,
            text=True,
            timeout=300,
        )

    def hub(self, *arguments, **variables):
        """Run `hub` and return (exit code, output, errors)."""
        done = self.run("hub", *arguments, **variables)
        return done.returncode, done.stdout, done.stderr

    def exec(self, code: str, **variables) -> str:
        """Run Python code, which must end well, and return what it printed."""
        script = self.cwd / "script.py"
        script.write_text(textwrap.dedent(code))
        done = self.run("python", script, **variables)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def error(self, code: str, **variables) -> str:
        """Run Python code, which must fail, and return the last line: the error."""
        script = self.cwd / "script.py"
        script.write_text(textwrap.dedent(code))
        done = self.run("python", script, **variables)
        assert done.returncode == 1, done.stdout
        return done.stderr.strip().splitlines()[-1]


def link_third_party(folder: Path, distributions) -> Path:
    """Link what these distributions need, and what that needs, into a folder; hub is left out."""
    folder.mkdir()
    for name in sorted(_needed(distributions)):
        if not name.startswith("hub-"):
            for file in importlib.metadata.files(name) or ():
                top = file.parts[0]
                if top not in ("..", "bin") and not (folder / top).exists():
                    (folder / top).symlink_to(HERE / top)
    return folder


def _needed(distributions) -> set[str]:
    """Return the names of distributions, and of all that they require here."""
    found, waiting = set(), list(map(Requirement, distributions))
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        for extra in {"", *wanted.extras} - {e for n, e in found if n == name}:
            found.add((name, extra))
            for line in importlib.metadata.requires(name) or ():
                requirement = Requirement(line)
                if not requirement.marker or requirement.marker.evaluate({"extra": extra}):
                    waiting.append(requirement)
    return {name for name, _ in found}


def _with_tools(variables) -> dict:
    """Return the environment variables with the programs of this environment at the end of PATH."""
    tools = os.pathsep.join((variables.get("PATH", os.defpath), str(Path(sys.executable).parent)))
    return {**variables, "PATH": tools}
