"""Compare hub-data with timm, and record what timm gives for tests that run without it.

    uv run --group reference python tests/plugins/data/record_against_timm.py            # compare
    uv run --group reference python tests/plugins/data/record_against_timm.py --record   # and write

Compared are the evaluation transform over image sizes, modes and options (largest difference is
printed) and the data configuration over arguments and weights. Exit status 1 when they differ.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from pathlib import Path
from typing import Any

import hub_data
import numpy as np
import timm.data
import timm.data.transforms
import torch
from PIL import Image

GOLDEN = Path(__file__).with_name("golden.json")
IMAGES = [(101, 77), (63, 150), (20, 17), (64, 64), (333, 257)]
SIZES = [(3, 64, 64), (3, 48, 80), (3, 57, 57), (3, 75, 41)]
FILTERS = ["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"]
CROPS = [0.5, 0.875, 0.95, 1.0, 1.15]
ARGS: list[dict[str, Any]] = [
    {},
    {"img_size": 128},
    {"input_size": (3, 96, 80)},
    {"in_chans": 1},
    {"in_chans": 1, "img_size": 64},
    {"chans": 4},
    {"mean": (0.5,)},
    {"mean": (0.5, 0.4, 0.3), "std": (0.1,)},
    {"in_chans": 1, "mean": (0.5,), "std": (0.2,)},
    {"input_size": (1, 32, 32), "mean": (0.5,)},
    {"crop_pct": 0.5, "crop_mode": "squash"},
    {"crop_pct": 0, "interpolation": ""},
    {"interpolation": "lanczos", "img_size": None, "mean": None},
]
WEIGHTS: list[dict[str, Any]] = [
    {"num_classes": 10},
    {"input_size": (3, 160, 160), "mean": (0.5, 0.5, 0.5), "interpolation": "bilinear"},
    {
        "input_size": (3, 160, 160),
        "test_input_size": (3, 192, 192),
        "crop_pct": 0.95,
        "test_crop_pct": 1.0,
        "crop_mode": "border",
    },
    {"test_crop_pct": 0.9, "input_size": None, "std": (0.1, 0.2, 0.3)},
    {"input_size": (1, 28, 28), "mean": (0.5,), "std": (0.5,)},
]


def picture(width: int, height: int, mode: str) -> Image.Image:
    """Return waves plus noise, the same on every machine."""
    y, x, c = np.mgrid[:height, :width, :3]
    values = 127 + 90 * np.sin(x / (5 + c)) * np.cos(y / 7) + (x * 31 + y * 17 + c * 7) % 37
    return Image.fromarray(values.clip(0, 255).astype(np.uint8)).convert(mode)


def grid() -> list[dict[str, Any]]:
    cases = []
    for (image, size), crop_mode, crop_pct in itertools.product(
        itertools.product(IMAGES, SIZES), ["center", "squash", "border"], CROPS
    ):
        interpolation = FILTERS[len(cases) % len(FILTERS)]
        options = dict(
            input_size=size, crop_pct=crop_pct, crop_mode=crop_mode, interpolation=interpolation
        )
        cases.append(dict(image=image, mode="RGB", options=options))
    for image, interpolation in itertools.product(IMAGES, FILTERS):
        grey = dict(input_size=(1, 28, 28), mean=(0.5,), std=(0.25,), interpolation=interpolation)
        cases.append(dict(image=image, mode="L", options=grey))
        cases.append(dict(image=image, mode="RGB", options=dict(input_size=33, normalize=False)))
        trimmed = dict(crop_border_pixels=3, interpolation=interpolation)
        cases.append(dict(image=image, mode="RGB", options=trimmed))
    return cases


def digest(tensor: torch.Tensor) -> dict[str, Any]:
    """Return what is recorded of an output: shape, moments and a few values."""
    flat = tensor.double().flatten()
    probes = [round(flat[i].item(), 5) for i in np.linspace(0, len(flat) - 1, 7).astype(int)]
    mean, std = round(flat.mean().item(), 6), round(flat.std().item(), 6)
    return dict(shape=list(tensor.shape), mean=mean, std=std, probes=probes)


def compare_transforms(recorded: list[Any]) -> float:
    worst = 0.0
    cases = grid()
    for number, case in enumerate(cases):
        image = picture(*case["image"], case["mode"])
        theirs = timm.data.create_transform(**case["options"])(image)
        ours = hub_data.create_transform(**case["options"])(image)
        if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
            raise SystemExit(f"{case}: {ours.shape} {ours.dtype}, {theirs.shape} {theirs.dtype}")
        worst = max(worst, (ours.double() - theirs.double()).abs().max().item())
        if number % 9 == 0:
            recorded.append({**case, "output": digest(theirs)})
    print(f"transforms: {len(cases)} combinations, largest difference {worst:.1e}")
    return worst


def compare_steps() -> float:
    worst, count = 0.0, 0
    for image, size, mode, fill in itertools.product(
        IMAGES, [(40, 90), (21, 20), (170, 35)], ["constant", "edge"], [0, (9, 8, 7)]
    ):
        if mode == "edge" and fill:
            continue
        source = picture(*image, "RGB")
        theirs = timm.data.transforms.CenterCropOrPad(size, fill, mode)(source)
        ours = hub_data.CenterCropOrPad(size, fill, mode)(source)
        worst = max(worst, float(np.abs(np.array(theirs, float) - np.array(ours, float)).max()))
        count += 1
    for image, size, longest in itertools.product(IMAGES, [50, (30, 71)], [0.0, 0.3, 1.0]):
        source = picture(*image, "RGB")
        theirs = timm.data.transforms.ResizeKeepRatio(size, longest)(source)
        ours = hub_data.ResizeKeepRatio(size, longest)(source)
        worst = max(worst, float(np.abs(np.array(theirs, float) - np.array(ours, float)).max()))
        count += 1
    print(f"steps: {count} combinations, largest difference {worst:.1e}")
    return worst


def ours_or_error(args: dict[str, Any], weights: dict[str, Any], test: bool) -> Any:
    try:
        return hub_data.resolve_data_config(args, weights, use_test_size=test)
    except ValueError as error:
        return error


def compare_configs(recorded: list[Any]) -> int:
    wrong = 0
    cases = list(itertools.product(ARGS, WEIGHTS, [False, True]))
    for args, weights, test in cases:
        theirs = timm.data.resolve_data_config(args, weights, use_test_size=test)
        ours = ours_or_error(args, weights, test)
        same = ours == theirs
        # timm makes it three values here, whatever the channels of the weights; Normalize fails.
        known = "mean" in args and "in_chans" not in args and weights.get("input_size", [3])
        if not same and not (known and known[0] == 1):
            print(f"args={args} weights={weights} test={test}\n  hub  {ours}\n  timm {theirs}")
            wrong += 1
        if same:
            recorded.append(dict(args=args, weights=weights, use_test_size=test, config=theirs))
    print(f"configurations: {len(cases)} combinations, {len(recorded)} equal, {wrong} wrong")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", action="store_true", help=f"write {GOLDEN.name}")
    options = parser.parse_args()
    torch.set_num_threads(1)
    golden: dict[str, list[Any]] = {"transforms": [], "configs": []}
    worst = max(compare_transforms(golden["transforms"]), compare_steps())
    wrong = compare_configs(golden["configs"])
    if options.record:
        lines = [
            f' "{key}": [\n' + ",\n".join("  " + json.dumps(row) for row in rows) + "\n ]"
            for key, rows in golden.items()
        ]
        GOLDEN.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    return int(worst > 1e-6 or wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
