"""Record what `hub info` shows of a plugin's networks without building them.

python -m hub_kit.facts acme          # writes facts.json into the package of plugin acme
python -m hub_kit.facts acme --check  # only says what differs
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any

import hub
import torch
from hub import plugins


def facts_of(name: str) -> dict[str, Any]:
    """Build an architecture on the meta device and return its parameters and feature levels."""
    with torch.device("meta"):
        model = hub.create_model(name)
    facts: dict[str, Any] = {"params": sum(p.numel() for p in model.parameters())}
    if isinstance(model, hub.Backbone):
        info = model.feature_info
        facts["levels"] = [[row["num_chs"], row["reduction"], row["module"]] for row in info]
    return facts


def record(names: Iterable[str]) -> str:
    """Return the content of a facts.json for these architectures, one line each."""
    lines = (f'"{n.rpartition("/")[2]}": {json.dumps(facts_of(n))}' for n in names)
    return "{\n" + ",\n".join(lines) + "\n}\n"


def main() -> int:
    """Write or check the facts.json of one plugin."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("plugin")
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    plugin = plugins.host().plugins[args.plugin]
    packages: dict[str, list[str]] = {}
    for family in plugin.families:
        package = family.model.partition(":")[0].partition(".")[0]
        packages.setdefault(package, []).extend(f"{plugin.name}/{n}" for n in family.variants)
    same = True
    for package, names in packages.items():
        path = Path(str(files(package) / "facts.json"))
        text = record(names)
        same &= path.is_file() and path.read_text() == text
        if not args.check:
            path.write_text(text)
    if args.check and not same:
        print(f"facts.json of {plugin} is not up to date: python -m hub_kit.facts {plugin.name}")
    return int(args.check and not same)


if __name__ == "__main__":
    sys.exit(main())
