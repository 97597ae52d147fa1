"""From samples to a batch."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Number
from typing import Any

import numpy as np
import torch
from torch.utils.data import default_collate

from hub_data.to_image import require_values


def fast_collate(batch: Sequence[tuple[Any, Any]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Make a batch of 8-bit samples, for a loader that normalises on the device.

    Args:
        batch: pairs of an image and a target. An image is a (C, H, W) uint8 tensor or array, or a
            tuple of as many in each sample (AugMix): those at one place in the tuples then follow
            each other, so that `images.split(len(batch))` takes them apart.

    Returns:
        (B, C, H, W) uint8, and targets, see `collate_targets`.

    Raises:
        TypeError: the targets are neither numbers nor vectors.
        ValueError: the samples differ in shape, or are no 8-bit images.
    """
    targets = collate_targets([sample[1] for sample in batch])
    first = batch[0][0]
    if not isinstance(first, tuple):
        return _stack([sample[0] for sample in batch]), targets
    splits = [_stack(images) for images in zip(*(sample[0] for sample in batch), strict=True)]
    copies = (len(splits),) + (1,) * (targets.ndim - 1)
    return torch.cat(splits), targets.repeat(copies)


def collate_targets(targets: Sequence[Any]) -> torch.Tensor:
    """Return whole numbers as (B,) int64, others as (B,) float32; arrays and tensors stacked.

    Raises:
        TypeError: they are something else, such as text or lists.
    """
    odd = [t for t in targets if not isinstance(t, Number | np.generic | np.ndarray | torch.Tensor)]
    if odd:
        raise TypeError(
            f"a sample has the target {odd[0]!r}, and a batch takes numbers, arrays and tensors: "
            "target_transform makes such of it (MultiLabelTarget of lists), class_map of names; or "
            "give a collate_fn"
        )
    collated: torch.Tensor = default_collate(list(targets))
    if collated.ndim != 1:
        return collated
    return collated.float() if collated.is_floating_point() else collated.long()


def as_classes(targets: torch.Tensor) -> torch.Tensor:
    """Return (B,) targets that stand for classes as int64.

    Raises:
        ValueError: one is no whole number (checked on the CPU only: elsewhere it would wait for
            the device).
    """
    classes = targets.long()
    if targets.is_floating_point() and targets.device.type == "cpu" and (classes != targets).any():
        raise ValueError(
            f"targets such as {targets[classes != targets][0].item():g} are no classes, which are "
            "whole numbers: for values, leave num_classes and mixing out"
        )
    return classes


def _stack(images: Sequence[Any]) -> torch.Tensor:
    tensors = [torch.from_numpy(i) if isinstance(i, np.ndarray) else i for i in images]
    for tensor in tensors:
        if not isinstance(tensor, torch.Tensor) or tensor.dtype != torch.uint8:
            kind = getattr(tensor, "dtype", type(tensor).__name__)
            raise ValueError(
                f"samples are {kind}; the loader normalises 8-bit tensors: the data set has to "
                "apply its `transform`, and another one has to end with MaybePILToTensor; or, for "
                "tensors that are normalised, create the loader with use_prefetcher=False"
            )
        require_values(tensor)
        if tensor.shape != tensors[0].shape:
            raise ValueError(differing_shapes(tensors[0].shape, tensor.shape))
    return torch.stack(tensors)


def differing_shapes(first: Sequence[int], other: Sequence[int]) -> str:
    """Return what to say of two samples that do not go into one batch."""
    return (
        f"samples of shapes {tuple(first)} and {tuple(other)} in one batch: the transform must "
        "give them all one size"
    )
