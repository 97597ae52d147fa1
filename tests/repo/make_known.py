"""Write core's known.json: what the official plugins of this tree hold.

    python tests/repo/make_known.py

Core tells by it who owns a name, and which plugin to install for a missing one.
"""

import json
import tomllib
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).parents[2]
TARGET = ROOT / "core/src/hub/plugins/known.json"


def known() -> str:
    entries = {}
    for path in sorted(ROOT.glob("plugins/*/pyproject.toml")):
        project = tomllib.loads(path.read_text())["project"]
        for name, module in project.get("entry-points", {}).get("hub.plugins", {}).items():
            plugin = import_module(module)
            families = plugin.hub_models() if hasattr(plugin, "hub_models") else []
            commands = plugin.hub_commands() if hasattr(plugin, "hub_commands") else []
            attributes = list(plugin.hub_attributes()) if hasattr(plugin, "hub_attributes") else []
            entries[name] = {
                "distribution": project["name"],
                "models": [n for f in families for n in (*f.variants, *f.renamed)],
                "commands": [c.name for c in commands],
                "attributes": attributes,
            }
    lines = (f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in entries.items())
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    TARGET.write_text(known())
