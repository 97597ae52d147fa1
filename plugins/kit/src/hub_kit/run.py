"""`hub plugins test`: run the kit and print what it finds."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

from hub import HubError, plugins

from hub_kit import conformance


def run(args: Namespace) -> int:
    """Check the networks that `args.name` means; return the exit code."""
    names = plugins.add_tree(args.name) if _is_folder(args.name) else [args.name]
    ok = True
    for name in names:
        progress = _line_per_check if args.verbose else _line_per_architecture()
        try:
            report = conformance.run(name, progress, select=args.select, stop=args.stop)
        except ValueError as e:
            raise HubError(str(e)) from e
        print(f"\n{report}")
        if not report.passed and not report.failures:
            print(f"no check is selected by -k {args.select!r}")
        ok &= report.ok
        if args.stop and not ok:
            break
    return 0 if ok else 1


def _is_folder(name: str) -> bool:
    """Return whether a word means a source folder: it is there, and no plugin is called so."""
    return name not in plugins.host().plugins and Path(name).is_dir()


def _line_per_check(name: str, check: str, ok: bool) -> None:
    print(f"{name}::{check} {'passed' if ok else 'FAILED'}", flush=True)


def _line_per_architecture() -> Callable[[str, str, bool], None]:
    """Return a function that prints a line per architecture, a mark per check."""
    current = ""

    def progress(name: str, check: str, ok: bool) -> None:
        nonlocal current
        if name != current:
            print(f"\n{name} " if current else f"{name} ", end="")
            current = name
        print("." if ok else "F", end="", flush=True)

    return progress
