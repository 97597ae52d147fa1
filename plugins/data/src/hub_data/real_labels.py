"""Accuracy on ImageNet's validation images by ReaL labels: all that are right for an image.

Paper: Are we done with ImageNet? (https://arxiv.org/abs/2006.07159). The labels are those of its
authors, see `info/README.md`.

Differences from timm: any part of the validation images may be evaluated, and a file that is none
of them is named in the error.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch

from hub_data.imagenet_info import read_info


class RealLabelsImagenet:
    """Counts right answers; images without any right label do not count.

    Args:
        filenames: of the images in the order of the results, `ILSVRC2012_val_00000001.JPEG` with
            any folder before it.
        real_json: file with other labels: a list of lists, image 1 first.
        topk: which accuracies to count.

    Raises:
        ValueError: a file is none of the validation images.
    """

    def __init__(
        self,
        filenames: Sequence[str | Path],
        real_json: str | Path | None = None,
        topk: Sequence[int] = (1, 5),
    ) -> None:
        labels = json.loads(Path(real_json).read_text()) if real_json else _packaged_labels()
        by_name = {f"ILSVRC2012_val_{i:08d}.JPEG": right for i, right in enumerate(labels, 1)}
        names = [Path(filename).name for filename in filenames]
        unknown = [name for name in names if name not in by_name]
        if unknown:
            raise ValueError(
                f"{len(unknown)} of {len(names)} files have no ReaL label, such as {unknown[0]!r}: "
                f"they are for ILSVRC2012_val_00000001.JPEG to ..._{len(by_name):08d}.JPEG"
            )
        self.labels = [by_name[name] for name in names]
        self.topk = tuple(topk)
        self.is_correct: dict[int, list[bool]] = {k: [] for k in self.topk}
        self.sample_idx = 0

    def add_result(self, output: torch.Tensor) -> None:
        """Count the next images.

        Args:
            output: (B, 1000) logits.

        Raises:
            ValueError: there are more results than files.
        """
        if self.sample_idx + len(output) > len(self.labels):
            raise ValueError(
                f"{self.sample_idx + len(output)} results for {len(self.labels)} files: the loader "
                "repeats images, or `filenames` is not that of its data set"
            )
        ranked = output.topk(max(self.topk), dim=1).indices.cpu()
        for answers in ranked.tolist():
            right = self.labels[self.sample_idx]
            self.sample_idx += 1
            if right:
                for k in self.topk:
                    self.is_correct[k].append(any(answer in right for answer in answers[:k]))

    def get_accuracy(self, k: int | None = None) -> float | dict[int, float]:
        """Return the accuracy in percent: of `k`, or all of them by k."""
        if k is None:
            return {k: self._percent(k) for k in self.topk}
        return self._percent(k)

    def _percent(self, k: int) -> float:
        counted = self.is_correct[k]
        return 100.0 * sum(counted) / len(counted) if counted else float("nan")


@cache
def _packaged_labels() -> list[list[int]]:
    lines = read_info("real_labels.txt.gz").splitlines()
    return [[int(label) for label in line.split()] for line in lines]
