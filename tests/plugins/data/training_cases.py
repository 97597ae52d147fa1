"""What the recording script and the tests of training transforms share."""

from __future__ import annotations

import hashlib
import json
import random
from types import ModuleType
from typing import Any

import numpy as np
import torch
from PIL import Image


def seed(value: int) -> None:
    random.seed(value)
    np.random.seed(value)
    torch.manual_seed(value)


def picture(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """Return waves plus noise, the same on every machine."""
    y, x, c = np.mgrid[:height, :width, :3]
    values = 127 + 90 * np.sin(x / (5 + c)) * np.cos(y / 7) + (x * 31 + y * 17 + c * 7) % 37
    return Image.fromarray(values.clip(0, 255).astype(np.uint8)).convert(mode)


def digest(tensor: torch.Tensor) -> dict[str, Any]:
    """Return what is recorded of an output: shape, moments and a few values."""
    flat = tensor.double().flatten()
    probes = [round(flat[i].item(), 4) for i in np.linspace(0, len(flat) - 1, 7).astype(int)]
    mean, std = round(flat.mean().item(), 5), round(flat.std().item(), 5)
    return dict(shape=list(tensor.shape), mean=mean, std=std, probes=probes)


def policy_digest(data: ModuleType, name: str) -> str:
    """Return a digest of all operations of a policy: names, probabilities, magnitudes, weights."""
    if name.startswith("rand"):
        augment = data.rand_augment_transform(name)
        weights = augment.choice_weights
        rows: list[Any] = [augment.ops, [] if weights is None else weights.round(9).tolist()]
    elif name.startswith("augmix"):
        rows = [_augmix(data)(name).ops]
    else:
        rows = data.auto_augment_policy(name)
    entries = [
        [
            entry
            if isinstance(entry, float)
            else (entry.name, float(entry.prob), float(entry.magnitude))
        ]
        for row in rows
        for entry in row
    ]
    return hashlib.sha256(json.dumps(entries).encode()).hexdigest()[:16]


def _augmix(data: ModuleType) -> Any:
    """Return `augment_and_mix_transform`, which timm exports from a module only."""
    return getattr(data, "augment_and_mix_transform", None) or (
        data.auto_augment.augment_and_mix_transform
    )


def mixed(
    data: ModuleType, kind: str, options: dict[str, Any], number: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what `data.FastCollateMixup` or `data.Mixup` makes of ten images."""
    images = [np.array(picture(24, 16)).transpose(2, 0, 1) for i in range(10)]
    images = [np.roll(image, 5 * i, axis=2) for i, image in enumerate(images)]
    seed(number)
    if kind == "collate":
        batch = [(image, (3 * i) % 12) for i, image in enumerate(images)]
        return data.FastCollateMixup(num_classes=12, **options)(batch)
    stacked = torch.from_numpy(np.stack(images)).float() / 255
    return data.Mixup(num_classes=12, **options)(stacked, torch.arange(10) % 12)
