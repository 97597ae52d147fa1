"""`hub plugins test`: run the kit and print what it finds."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

from hub import plugins

from hub_kit import conformance


def run(args: Namespace) -> int:
    """Check the networks that `args.name` means; return the exit code."""
    names = plugins.add_tree(args.name) if _is_folder(args.name) else [args.name]
    ok = True
    for name in names:
        report = conformance.run(name, _dots())
        print(f"\n{report}")
        ok &= report.ok
    return 0 if ok else 1


def _is_folder(name: str) -> bool:
    """Return whether a word means a source folder: it is there, and no plugin is called so."""
    return name not in plugins.host().plugins and Path(name).is_dir()


def _dots() -> Any:
    """Return a function that prints a line per architecture, a mark per check."""
    current = ""

    def progress(name: str, ok: bool) -> None:
        nonlocal current
        if name != current:
            print(f"\n{name} " if current else f"{name} ", end="")
            current = name
        print("." if ok else "F", end="", flush=True)

    return progress
