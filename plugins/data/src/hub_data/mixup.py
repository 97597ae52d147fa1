"""Mixup (https://arxiv.org/abs/1710.09412) and CutMix (https://arxiv.org/abs/1905.04899).

Image i is mixed with image B - 1 - i. `Mixup` works on a normalised batch, on its device;
`FastCollateMixup` makes the batch from 8-bit samples, as the `collate_fn` of a loader. Draws come
from numpy's generator. Set `mixup_enabled` to False to stop mixing; labels stay smoothed.

Differences from timm: batches of odd size are mixed too (the image in the middle stays), except
in mode "half"; wrong modes, types and labels raise errors that name them; collating leaves the
samples as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from hub_data.collate import as_classes, collate_targets
from hub_data.draws import numpy_draws

MODES = ("batch", "pair", "elem")
Lam = float | torch.Tensor


class Rectangle(NamedTuple):
    """Rows `top` to `bottom` and columns `left` to `right`, the last ones not included."""

    top: int
    bottom: int
    left: int
    right: int

    def of(self, images: torch.Tensor) -> torch.Tensor:
        """Return this part of (..., H, W), as a view."""
        return images[..., self.top : self.bottom, self.left : self.right]


class Mixup:
    """Mix the images of a batch, and their labels.

    Args:
        mixup_alpha: of the Beta distribution of the share in Mixup; 0 for no Mixup.
        cutmix_alpha: the same for CutMix; 0 for no CutMix.
        cutmix_minmax: least and largest side of the rectangle as share of the image's side; takes
            the place of `cutmix_alpha`.
        prob: probability that a batch (mode "batch") or an image is mixed.
        switch_prob: probability of CutMix where both are on.
        mode: "batch" draws once for the batch, "pair" for each pair of images, "elem" for each
            image; "half" (collating only) is "elem" that returns the first half.
        correct_lam: count the pixels that CutMix really replaced.
        label_smoothing: share of each label that goes to all classes evenly.
        num_classes: width of the labels.
        multi_label: labels are (B, K), each class of its own; smoothing draws towards 0.5.

    Raises:
        ValueError: the mode is unknown, or nothing is to be mixed.
    """

    def __init__(
        self,
        mixup_alpha: float = 1.0,
        cutmix_alpha: float = 0.0,
        cutmix_minmax: Sequence[float] | None = None,
        prob: float = 1.0,
        switch_prob: float = 0.5,
        mode: str = "batch",
        correct_lam: bool = True,
        label_smoothing: float = 0.1,
        num_classes: int = 1000,
        multi_label: bool = False,
    ) -> None:
        modes = (*MODES, "half") if isinstance(self, FastCollateMixup) else MODES
        if mode not in modes:
            raise ValueError(f"unknown mode {mode!r} of mixup: choose from {', '.join(modes)}")
        if cutmix_minmax is not None:
            if len(cutmix_minmax) != 2 or not 0 <= cutmix_minmax[0] <= cutmix_minmax[1] <= 1:
                raise ValueError(f"cutmix_minmax={cutmix_minmax!r}: give 0 <= least <= most <= 1")
            cutmix_alpha = 1.0
        if mixup_alpha <= 0 and cutmix_alpha <= 0:
            raise ValueError(
                "nothing is to be mixed: give mixup_alpha, cutmix_alpha or cutmix_minmax, or leave "
                "out mixup"
            )
        self.mixup_alpha = mixup_alpha
        self.cutmix_alpha = cutmix_alpha
        self.cutmix_minmax = cutmix_minmax
        self.mix_prob = prob
        self.switch_prob = switch_prob
        self.mode = mode
        self.correct_lam = correct_lam
        self.label_smoothing = label_smoothing
        self.num_classes = num_classes
        self.multi_label = multi_label
        self.mixup_enabled = True

    def __call__(
        self, images: torch.Tensor, targets: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Mix a batch, in place.

        Args:
            images: (B, C, H, W), normalised.
            targets: (B,) classes; (B, K) where `multi_label`.

        Returns:
            The images, and (B, K) labels.

        Raises:
            TypeError: the images are whole numbers.
            ValueError: the targets have another shape, or are out of range.
        """
        if not images.is_floating_point():
            raise TypeError(
                f"Mixup mixes normalised images and got {images.dtype}: normalise first, or mix "
                "8-bit samples with FastCollateMixup"
            )
        lam = self._mix_batch(images) if self.mode == "batch" else self._mix_each(images)
        return images, self._targets(targets, lam)

    def _targets(self, targets: torch.Tensor, lam: Lam) -> torch.Tensor:
        return mixup_target(targets, self.num_classes, lam, self.label_smoothing, self.multi_label)

    def _mix_batch(self, images: torch.Tensor) -> float:
        lam, cut = self._draw_batch()
        if lam == 1.0:
            return 1.0
        if not cut:
            images.lerp_(images.flip(0), 1.0 - lam)
            return lam
        box, lam = self._rectangle(images.shape, lam)
        inside = box.of(images)
        inside.copy_(inside.flip(0))
        return lam

    def _mix_each(self, images: torch.Tensor) -> torch.Tensor:
        lams, boxes = self._draw_each(len(images), images.shape)
        share = 1.0 - lams
        share[list(boxes)] = 0.0
        # Taken before anything is written: the partner of one image is another's.
        parts = {i: box.of(images[-1 - i]).clone() for i, box in boxes.items()}
        if share.any():
            weight = torch.from_numpy(share).to(images)
            images.lerp_(images.flip(0), weight.view(-1, 1, 1, 1))
        for i, box in boxes.items():
            box.of(images[i]).copy_(parts[i])
        return torch.from_numpy(lams).to(images).unsqueeze(1)

    def _draw_batch(self) -> tuple[float, bool]:
        """Return the share of each image itself, and whether it is CutMix."""
        if not self.mixup_enabled or numpy_draws.rand() >= self.mix_prob:
            return 1.0, False
        cut = self.cutmix_alpha > 0
        if cut and self.mixup_alpha > 0:
            cut = bool(numpy_draws.rand() < self.switch_prob)
        alpha = self.cutmix_alpha if cut else self.mixup_alpha
        return float(numpy_draws.beta(alpha, alpha)), cut

    def _draw_alphas(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the shares of `count` images themselves, and which of them are CutMix."""
        if not self.mixup_enabled:
            return np.ones(count, np.float32), np.zeros(count, bool)
        mixed, cut = self.mixup_alpha, self.cutmix_alpha
        cuts = np.full(count, cut > 0)
        if mixed > 0 and cut > 0:
            cuts = numpy_draws.rand(count) < self.switch_prob
            lams = np.where(
                cuts, numpy_draws.beta(cut, cut, count), numpy_draws.beta(mixed, mixed, count)
            )
        else:
            lams = numpy_draws.beta(max(mixed, cut), max(mixed, cut), count)
        chosen = numpy_draws.rand(count) < self.mix_prob
        return np.where(chosen, lams, 1.0).astype(np.float32), cuts

    def _draw_each(
        self, size: int, shape: Sequence[int]
    ) -> tuple[np.ndarray, dict[int, Rectangle]]:
        """Return the share of each of `size` images itself, and the rectangles of CutMix."""
        count = size // 2 if self.mode == "pair" else size
        lams, cuts = self._draw_alphas(count)
        boxes = {}
        for i in np.flatnonzero(cuts & (lams != 1)).tolist():
            boxes[i], lams[i] = self._rectangle(shape, lams[i])
        if self.mode == "pair":
            boxes |= {size - 1 - i: box for i, box in boxes.items()}
            lams = np.concatenate([lams, np.ones(size % 2, np.float32), lams[::-1]])
        return lams, boxes

    def _rectangle(self, shape: Sequence[int], lam: float) -> tuple[Rectangle, float]:
        box, lam = cutmix_bbox_and_lam(shape, lam, self.cutmix_minmax, self.correct_lam)
        return Rectangle(*map(int, box)), float(lam)


class FastCollateMixup(Mixup):
    """Make a batch of 8-bit samples, mixed: the `collate_fn` of a loader; see `Mixup`."""

    def __call__(  # type: ignore[override]
        self, batch: Sequence[tuple[Any, Any]], _: object = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (B, C, H, W) uint8 and (B, K) labels.

        Args:
            batch: pairs of a (C, H, W) uint8 tensor or array and a target.

        Raises:
            TypeError: samples are not uint8, or targets neither numbers nor vectors.
            ValueError: sizes differ, targets are out of range, or "half" got an odd batch.
        """
        images = [torch.as_tensor(sample[0]) for sample in batch]
        _check_samples(images)
        targets = collate_targets([sample[1] for sample in batch])
        if self.mode == "batch":
            return self._collate_alike(images, targets)
        half = self.mode == "half"
        if half and len(batch) % 2:
            raise ValueError(f"mode='half' needs batches of even size and got {len(batch)} samples")
        count = len(batch) // 2 if half else len(batch)
        lams, boxes = self._draw_each(count, images[0].shape)
        mix = _Blender(images)
        mixed = torch.empty((count, *images[0].shape), dtype=torch.uint8)
        for i in range(count):
            mix(mixed[i], i, float(lams[i]), boxes.get(i))
        shares = np.concatenate([lams, np.ones(len(batch) - count, np.float32)])
        labels = self._targets(targets, torch.from_numpy(shares).unsqueeze(1))
        return mixed, labels[:count]

    def _collate_alike(
        self, images: list[torch.Tensor], targets: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        lam, cut = self._draw_batch()
        box = None
        if cut and lam != 1.0:
            box, lam = self._rectangle(images[0].shape, lam)
        mix = _Blender(images)
        mixed = torch.empty((len(images), *images[0].shape), dtype=torch.uint8)
        for i, into in enumerate(mixed):
            mix(into, i, lam, box)
        return mixed, self._targets(targets, lam)


def one_hot(
    x: torch.Tensor, num_classes: int, on_value: float = 1.0, off_value: float = 0.0
) -> torch.Tensor:
    """Return (B, K) labels of (B,) classes, float32.

    Raises:
        ValueError: a class is no whole number, or out of range (checked on the CPU only: elsewhere
            it would wait for the device).
    """
    classes = as_classes(x).view(-1, 1)
    if classes.device.type == "cpu" and classes.numel():
        low, high = int(classes.min()), int(classes.max())
        if low < 0 or high >= num_classes:
            raise ValueError(
                f"targets reach from {low} to {high}, with num_classes={num_classes}: give the "
                "number of classes of the data set, or a class_map that fits the model"
            )
    labels = torch.full((len(classes), num_classes), off_value, device=x.device)
    return labels.scatter_(1, classes, on_value)


def mixup_target(
    target: torch.Tensor,
    num_classes: int,
    lam: Lam = 1.0,
    smoothing: float = 0.0,
    multi_label: bool = False,
) -> torch.Tensor:
    """Return the labels of a batch that was mixed with itself in reverse order.

    Args:
        target: (B,) classes; (B, K) where `multi_label`.
        num_classes: K.
        lam: share of each image itself: one number, or (B, 1).
        smoothing: share of each label that goes to all classes evenly.
        multi_label: see `Mixup`.

    Returns:
        (B, K), float32.

    Raises:
        ValueError: `target` has another shape, or is out of range.
    """
    expected = 2 if multi_label else 1
    if target.ndim != expected or (multi_label and target.shape[1] != num_classes):
        form = f"(batch, {num_classes}) labels" if multi_label else "(batch,) classes"
        raise ValueError(
            f"targets have shape {tuple(target.shape)}, Mixup(multi_label={multi_label}, "
            f"num_classes={num_classes}) takes {form}"
        )
    if multi_label:
        labels = target.float() * (1.0 - smoothing) + 0.5 * smoothing
    else:
        even = smoothing / num_classes
        labels = one_hot(target, num_classes, on_value=1.0 - smoothing + even, off_value=even)
    if isinstance(lam, float) and lam == 1.0:
        return labels
    return labels * lam + labels.flip(0) * (1.0 - lam)


def rand_bbox(
    img_shape: Sequence[int], lam: float, margin: float = 0.0, count: int | None = None
) -> tuple[Any, Any, Any, Any]:
    """Return the rectangle of CutMix: top, bottom, left, right; arrays where `count` is given.

    Its sides are sqrt(1 - lam) of the image's, its centre is uniform, and what lies outside is
    cut off.

    Args:
        img_shape: (..., H, W).
        lam: share of the image that stays, before cutting off.
        margin: share of the rectangle that its centre keeps from the border.
        count: number of rectangles.
    """
    sides = [int(side * np.sqrt(1 - lam)) for side in img_shape[-2:]]
    spans: list[Any] = []
    for side, cut in zip(img_shape[-2:], sides, strict=True):
        keep = int(margin * cut)
        centre = numpy_draws.randint(keep, side - keep, size=count)
        ends = centre - cut // 2, centre + (cut + 1) // 2
        spans += [np.clip(end, 0, side) for end in ends]
    top, bottom, left, right = spans
    return top, bottom, left, right


def rand_bbox_minmax(
    img_shape: Sequence[int], minmax: Sequence[float], count: int | None = None
) -> tuple[Any, Any, Any, Any]:
    """Return a rectangle of random sides inside an image: top, bottom, left, right.

    Args:
        img_shape: (..., H, W).
        minmax: least and largest side as share of the image's.
        count: number of rectangles.
    """
    height, width = img_shape[-2:]
    least, most = minmax
    tall, wide = (
        numpy_draws.randint(int(side * least), max(int(side * most), int(side * least) + 1), count)
        for side in (height, width)
    )
    top = numpy_draws.randint(0, height - tall + 1, size=count)
    left = numpy_draws.randint(0, width - wide + 1, size=count)
    return top, top + tall, left, left + wide


def cutmix_bbox_and_lam(
    img_shape: Sequence[int],
    lam: float,
    ratio_minmax: Sequence[float] | None = None,
    correct_lam: bool = True,
    count: int | None = None,
) -> tuple[tuple[Any, Any, Any, Any], Any]:
    """Return a rectangle, and the share of the image that lies outside of it (see `Mixup`)."""
    if ratio_minmax is None:
        box = rand_bbox(img_shape, lam, count=count)
    else:
        box = rand_bbox_minmax(img_shape, ratio_minmax, count)
    if not correct_lam and ratio_minmax is None:
        return box, lam
    top, bottom, left, right = box
    return box, 1.0 - (bottom - top) * (right - left) / float(img_shape[-2] * img_shape[-1])


class _Blender:
    """Mixes 8-bit images with those opposite to them, in two buffers that stay in the cache."""

    def __init__(self, images: Sequence[torch.Tensor]) -> None:
        self.images = images
        self.own, self.other = torch.empty((2, *images[0].shape))

    def __call__(self, into: torch.Tensor, i: int, lam: float, box: Rectangle | None) -> None:
        """Write image `i` with its share `lam`, or with another part in `box`, to `into`."""
        image, partner = self.images[i], self.images[-1 - i]
        if box is not None:
            into.copy_(image)
            box.of(into).copy_(box.of(partner))
        elif lam == 1.0:
            into.copy_(image)
        else:
            self.own.copy_(image).mul_(lam)
            self.other.copy_(partner).mul_(1.0 - lam)
            into.copy_(self.own.add_(self.other).round_())


def _check_samples(images: Sequence[torch.Tensor]) -> None:
    for image in images:
        if image.dtype != torch.uint8:
            raise TypeError(
                f"FastCollateMixup mixes 8-bit samples and got {image.dtype}: create the transform "
                "with use_prefetcher=True, or mix the batch with Mixup"
            )
        if image.shape != images[0].shape:
            raise ValueError(
                f"samples of shapes {tuple(images[0].shape)} and {tuple(image.shape)} in a batch: "
                "a transform must give them all one size"
            )
