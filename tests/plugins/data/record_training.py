"""Compare training transforms and mixing with timm, and record what timm gives.

    uv run --group reference python tests/plugins/data/record_training.py            # compare
    uv run --group reference python tests/plugins/data/record_training.py --record   # and write

Both sides begin from the same seeds of `random`, numpy and torch. Exit status 1 when they differ.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from pathlib import Path
from typing import Any

import hub_data
import timm.data
import timm.data.auto_augment
import torch
from PIL import Image
from timm.data.random_erasing import RandomErasing
from training_cases import digest, mixed, picture, policy_digest, seed

GOLDEN = Path(__file__).with_name("golden_training.json")
IMAGES = [(101, 77), (63, 150), (20, 17), (333, 257)]
POLICIES = (
    "rand-m9-mstd0.5-inc1 rand-m9-n3-mstd0.5 rand rand-mstd101-mmax20-m15 rand-m6-p0.9-t3a "
    "rand-t3aw-n3 rand-m8-inc1-tweights original original-mstd0.5 originalr v0 v0r-mstd1 3a "
    "augmix augmix-m5-w4-d2 augmix-m5-a2-mstd1"
).split()
OPTIONS: list[dict[str, Any]] = [
    {},
    dict(train_crop_mode="rkrc"),
    dict(train_crop_mode="rkrr", interpolation="random"),
    dict(train_crop_mode="rkrr", scale=(0.5, 2.0), ratio=(0.5, 2.0)),
    dict(scale=(0.2, 0.9), ratio=(0.5, 3.0), interpolation="random", hflip=0.3, vflip=0.7),
    dict(color_jitter=(0.4, 0.3, 0.2, 0.1), hflip=0.0),
    dict(color_jitter=0.8, color_jitter_prob=0.5, grayscale_prob=0.5),
    dict(color_jitter=None),
    dict(no_aug=True),
    dict(no_aug=True, interpolation="random", normalize=False),
    dict(use_prefetcher=True),
    dict(re_prob=0.8, re_mode="pixel", re_count=3),
    dict(re_prob=0.8, re_mode="rand"),
    dict(re_prob=1.0, re_mode="const"),
    dict(mean=(0.5, 0.4, 0.3), auto_augment="rand-m9-n4-p1", interpolation="bicubic"),
    dict(auto_augment="rand-m9-n4-p1", interpolation="random", color_jitter=0.3),
    *[dict(auto_augment=policy) for policy in POLICIES],
]
SIZES = [64, (48, 80), (3, 57, 41)]
MIXES: list[dict[str, Any]] = [
    dict(mixup_alpha=a, cutmix_alpha=c, cutmix_minmax=minmax, mode=mode, prob=prob, **more)
    for (a, c, minmax), mode, (prob, more) in itertools.product(
        [(0.8, 0.0, None), (0.0, 1.0, None), (0.8, 1.0, None), (0.2, 0.0, (0.2, 0.8))],
        ["batch", "pair", "elem", "half"],
        [(1.0, {}), (0.6, dict(correct_lam=False, label_smoothing=0.0))],
    )
]


def posterize_to_black() -> None:
    """Let timm posterize to 0 bits as it did before Pillow 13, which refuses that."""
    theirs = timm.data.auto_augment.NAME_TO_OP

    def patched(image: Image.Image, bits_to_keep: int, **options: Any) -> Image.Image:
        if bits_to_keep == 0:
            return image.point([0] * 256 * len(image.getbands()))
        return timm.data.auto_augment.posterize(image, bits_to_keep)

    theirs.update({name: patched for name in theirs if name.startswith("Posterize")})


def grid() -> list[dict[str, Any]]:
    cases = []
    for (number, options), (i, size) in itertools.product(enumerate(OPTIONS), enumerate(SIZES)):
        for repeat in range(8):
            image = IMAGES[(number + i + repeat) % len(IMAGES)]
            mode = "L" if (number + repeat) % 5 == 4 and "mean" not in options else "RGB"
            given = dict(input_size=size, is_training=True, **options)
            if mode == "L":
                given |= dict(mean=(0.5,), std=(0.25,))
            cases.append(dict(image=image, mode=mode, seed=1000 * number + repeat, options=given))
    return cases


def compare_transforms(recorded: list[Any]) -> float:
    worst, cases = 0.0, grid()
    for number, case in enumerate(cases):
        image = picture(*case["image"], case["mode"])
        outputs = []
        for library in (timm.data, hub_data):
            transform = library.create_transform(**case["options"])
            seed(case["seed"])
            outputs.append(transform(image))
        theirs, ours = outputs
        if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
            raise SystemExit(f"{case}: {ours.shape} {ours.dtype}, {theirs.shape} {theirs.dtype}")
        difference = (ours.double() - theirs.double()).abs().max().item()
        if difference > 1e-6:
            print(f"differs by {difference:.3g}: {case}")
        worst = max(worst, difference)
        if number % 4 == 0:
            recorded.append({**case, "output": digest(theirs)})
    print(f"transforms: {len(cases)} cases, largest difference {worst:.1e}")
    return worst


def compare_blur() -> float:
    """Return the largest difference of the blur, which is not computed as torchvision does."""
    worst = 0.0
    for number in range(100):
        image = picture(*IMAGES[number % 2], "RGB")
        outputs = []
        for library in (timm.data, hub_data):
            options = dict(is_training=True, gaussian_blur_prob=0.5, normalize=False)
            transform = library.create_transform(40, **options)
            seed(number)
            outputs.append(transform(image).double())
        worst = max(worst, (outputs[0] - outputs[1]).abs().max().item())
    print(f"blur: 100 draws, largest difference {worst:.0f} of 255 levels")
    return worst


def compare_mixing(recorded: list[Any]) -> float:
    worst = 0.0
    for number, options in enumerate(MIXES):
        for kind in ("collate", "batch"):
            if kind == "batch" and options["mode"] == "half":
                continue
            theirs, ours = (mixed(data, kind, options, number) for data in (timm.data, hub_data))
            for want, got in zip(theirs, ours, strict=True):
                worst = max(worst, (want.double() - got.double()).abs().max().item())
            recorded.append(
                dict(options=options, kind=kind, seed=number, output=[digest(t) for t in theirs])
            )
    print(f"mixing: {len(recorded)} cases, largest difference {worst:.1e}")
    return worst


def compare_policies(recorded: dict[str, str]) -> int:
    wrong = 0
    for name in ("original", "originalr", "v0", "v0r", "3a", "rand-m7-p0.3", "rand-inc1",
                 "rand-t3a", "rand-t3aw", "rand-tweights", "augmix-m4"):  # fmt: skip
        recorded[name] = policy_digest(timm.data, name)
        wrong += recorded[name] != policy_digest(hub_data, name)
    print(f"policies: {len(recorded)}, {wrong} differ")
    return wrong


def compare_erasing() -> float:
    worst = 0.0
    for number, mode, splits in itertools.product(range(20), ["const", "rand", "pixel"], [0, 3]):
        batches = []
        for library in (RandomErasing, hub_data.RandomErasing):
            seed(number)
            batch = torch.ones(9, 3, 40, 50)
            batches.append(
                library(0.7, mode=mode, max_count=3, num_splits=splits, device="cpu")(batch)
            )
        worst = max(worst, (batches[0] - batches[1]).abs().max().item())
    print(f"erasing: 120 batches, largest difference {worst:.1e}")
    return worst


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", action="store_true", help=f"write {GOLDEN.name}")
    options = parser.parse_args()
    torch.set_num_threads(1)
    posterize_to_black()
    golden: dict[str, list[Any]] = {"transforms": [], "mixing": []}
    worst = [compare_transforms(golden["transforms"]), compare_mixing(golden["mixing"])]
    policies: dict[str, str] = {}
    worst += [compare_erasing(), compare_blur() - 1, compare_policies(policies)]
    if options.record:
        lines = [
            f' "{key}": [\n' + ",\n".join("  " + json.dumps(row) for row in rows) + "\n ]"
            for key, rows in golden.items()
        ]
        lines.append(f' "policies": {json.dumps(policies)}')
        GOLDEN.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    return int(max(worst) > 1e-6)


if __name__ == "__main__":
    sys.exit(main())
