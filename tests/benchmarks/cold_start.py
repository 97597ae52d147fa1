"""Whole processes, hub against timm: list names, import, build a network.

uv run --group reference python tests/benchmarks/cold_start.py
"""

import argparse
import os
import sys

from measure import in_turn, report

PYTHON = sys.executable
HUB = os.path.join(os.path.dirname(PYTHON), "hub")

CASES = {
    "list '*resnet*'": {
        "timm": [PYTHON, "-c", "import timm; print(*timm.list_models('*resnet*'), sep='\\n')"],
        "hub": [HUB, "list", "*resnet*"],
    },
    "list pretrained": {
        "timm": [PYTHON, "-c", "import timm; print(*timm.list_models(pretrained=True), sep='\\n')"],
        "hub": [HUB, "list", "--pretrained"],
    },
    "create resnet50": {
        lib: [PYTHON, "-c", f"import {lib}; print({lib}.create_model('resnet50').num_features)"]
        for lib in ("timm", "hub")
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # both sides may keep their bytecode
    for title, commands in CASES.items():
        report(title, in_turn(commands, rounds))


if __name__ == "__main__":
    main()
