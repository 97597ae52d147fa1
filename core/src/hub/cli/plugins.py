"""`hub plugins list` and `hub plugins doctor`: what is installed, and what is wrong with it."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace
from dataclasses import asdict
from typing import Any

from hub import plugins
from hub.cli import doctor
from hub.cli.table import table
from hub.hookspecs import Command


def _list_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print a JSON list")


def _doctor_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", help="one plugin, in full; all if not given")
    parser.add_argument("--json", action="store_true", help="print a JSON list")


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


COMMANDS = (
    Command(
        name="plugins list",
        help="installed plugins and what became of them",
        add_arguments=_list_arguments,
        run=_list,
    ),
    Command(
        name="plugins doctor",
        help="what is wrong with them, and what to do",
        add_arguments=_doctor_arguments,
        run=_doctor,
    ),
)
