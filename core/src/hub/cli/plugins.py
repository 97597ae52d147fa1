"""`hub plugins`: what is installed, what is wrong with it, how to begin and how to check one."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hub import plugins, scaffold
from hub.cli import doctor
from hub.cli.table import table
from hub.hookspecs import Command


def _arguments(parser: ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="installed plugins and what became of them")
    listing.add_argument("--json", action="store_true", help="print a JSON list")
    listing.set_defaults(act=_list)

    examine = actions.add_parser("doctor", help="what is wrong with them, and what to do")
    examine.add_argument("name", nargs="?", help="one plugin, in full; all if not given")
    examine.add_argument("--json", action="store_true", help="print a JSON list")
    examine.set_defaults(act=_doctor)

    new = actions.add_parser("new", help="write the package of a new plugin")
    new.add_argument("name", help="'acme' for the distribution hub-acme")
    new.add_argument("--network", metavar="NAME", help="class of the network (default: AcmeNet)")
    new.add_argument("--to", metavar="FOLDER", help="where to write it (default: hub-acme)")
    new.set_defaults(act=_new)

    test = actions.add_parser("test", help="hold its networks to the contract of hub")
    test.add_argument("name", help="a plugin, its source folder, or a pattern of architectures")
    test.set_defaults(act=_test)


def _rows() -> list[dict[str, Any]]:
    """Return what there is to say of each plugin."""
    return [
        {
            "plugin": p.name,
            "distribution": p.distribution,
            "version": p.version,
            "status": p.status,
            "models": sum(len(f.variants) for f in p.families),
            "weights": sum(w.has_weights for f in p.families for w in f.weights.values()),
            "official": p.official,
            "error": p.reason,
            "ms": round(1000 * p.seconds, 1),
        }
        for p in plugins.host().plugins.values()
    ]


def _list(args: Namespace) -> int:
    rows = [{key: row[key] for key in row if key != "ms"} for row in _rows()]
    _print_rows(rows, args.json)
    return 1 if any(row["error"] for row in rows) else 0


def _print_rows(rows: list[dict[str, Any]], as_json: bool = False) -> None:
    if as_json:
        print(json.dumps(rows))
    elif rows:
        print(table([list(row.values()) for row in rows], list(rows[0])))
    else:
        print("hub: no plugins are installed: pip install hub-resnet", file=sys.stderr)


def _doctor(args: Namespace) -> int:
    findings = doctor.examine(args.name)
    if args.json:
        print(json.dumps([asdict(finding) for finding in findings]))
    else:
        print(doctor.environment())
        shown = [row for row in _rows() if args.name in (None, row["plugin"])]
        _print_rows([{key: row[key] for key in row if key != "error"} for row in shown])
        for finding in findings:
            print(f"\n{finding}")
        problems = sum(finding.kind == "problem" for finding in findings)
        print(f"\n{problems or 'no'} problem{'s' * (problems != 1)}")
    return 1 if any(finding.kind == "problem" for finding in findings) else 0


def _new(args: Namespace) -> int:
    folder = scaffold.new_plugin(args.name, args.network, args.to)
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    print(f"{folder}/\n  " + "\n  ".join(files))
    print(f"next: hub plugins test {folder}; pip install -e {folder}; docs/plugins.md of hub")
    return 0


def _test(args: Namespace) -> int:
    from hub.testing import conformance

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


COMMAND = Command(
    name="plugins",
    help="the installed plugins: list, examine, test, begin a new one",
    add_arguments=_arguments,
    run=lambda args: int(args.act(args)),
)
