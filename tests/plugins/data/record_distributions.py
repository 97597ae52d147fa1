"""Record how timm's training transforms are distributed: golden_distributions.json.

    uv run --group reference python tests/plugins/data/record_distributions.py

Ten thousand draws of each step, for the slow test that compares hub-data's with them.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import timm.data
import torch
from distributions import counts_of, edges_of, measure, steps
from record_training import posterize_to_black
from timm.data.auto_augment import AugmentOp

GOLDEN = Path(__file__).with_name("golden_distributions.json")


def main() -> None:
    torch.set_num_threads(1)
    posterize_to_black()
    library = SimpleNamespace(
        AugmentOp=AugmentOp, create_transform=timm.data.create_transform, Mixup=timm.data.Mixup
    )
    lines = []
    for number, (name, draw) in enumerate(steps(library).items()):
        rows = []
        for values in measure(draw, 1000 + number).T:
            edges = edges_of(values)
            row = dict(mean=round(float(values.mean()), 5), std=round(float(values.std()), 5))
            rows.append(row | dict(edges=edges, counts=counts_of(values, edges)))
        lines.append(f" {json.dumps(name)}: {json.dumps(rows)}")
        print(name, [row["mean"] for row in rows], [len(row["counts"]) for row in rows])
    GOLDEN.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
