"""How one batch is made: the work that the loader's process, its threads or its workers do.

A `Request` says which samples and which seed. Everything drawn for a sample depends on that seed
and on its place in the batch, so that whoever makes the batch makes the same one.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch.utils.data import default_collate

from hub_data.collate import as_classes, collate_targets, differing_shapes, fast_collate
from hub_data.dataset import ImageDataset, finish_target, require_samples
from hub_data.draws import mix, seeded
from hub_data.fast.buffers import BufferPool
from hub_data.fast.decode import as_array
from hub_data.fast.normalize import Normalizer
from hub_data.faults import SkippedSampleError
from hub_data.image_steps import Compose, MaybePILToTensor

Collate = Callable[[Sequence[Any]], Any]
Batch = Any


@dataclass(frozen=True, slots=True)
class Request:
    """A batch to be made.

    Args:
        number: its place in the epoch, from 0.
        indices: of the samples.
        seed: of everything that is drawn for it.
        mixing: whether a `collate_fn` that mixes samples is to do so.
    """

    number: int
    indices: Sequence[int]
    seed: int
    mixing: bool = True


@dataclass(kw_only=True)
class Recipe:
    """How to make batches of a data set.

    Args:
        dataset: has access by index.
        collate_fn: makes a batch of samples; None for a plain one.
        eight_bit: the samples are 8-bit images, which the loader normalises later (prefetching).
        normalizer: normalises each image as it is put into the batch; None to leave that to later.
        memory: "pool" (used again once free), "pinned" (for transfer to a device), "shared" (with
            another process).
        num_classes: labels have to be whole and below; None for no check.
        own_draws: the transforms draw from `hub_data.draws`, no global generator has to be seeded.
        seed_numpy: seed numpy's global generator too, where others are.
    """

    dataset: Any
    collate_fn: Collate | None
    eight_bit: bool
    normalizer: Normalizer | None = None
    memory: str = "pool"
    num_classes: int | None = None
    own_draws: bool = True
    seed_numpy: bool = True

    def __post_init__(self) -> None:
        self.pool = BufferPool()

    def for_process(self) -> Recipe:
        """Return the recipe for a worker process: what travels is 8 bits wide."""
        return replace(self, normalizer=None, memory="shared")

    @property
    def is_direct(self) -> bool:
        """Whether images are written straight into the batch."""
        dataset = self.dataset
        return (
            self.eight_bit
            and self.collate_fn is None
            and type(dataset) is ImageDataset
            and not dataset.additional_features
            and _ends_in_bytes(dataset.transform)
        )

    def make(self, request: Request) -> Batch:
        """Return the batch, made in this thread."""
        job = Job(self, request)
        job.work()
        return job.result()

    def empty(self, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        """Return memory for a batch."""
        if self.memory == "pool":
            return self.pool.empty(shape, dtype)
        if self.memory == "pinned":
            return torch.empty(shape, dtype=dtype, pin_memory=True)
        return torch.empty(shape, dtype=dtype).share_memory_()  # type: ignore[no-untyped-call]


class Job:
    """A batch in the making, by one thread or by several at once.

    Args:
        recipe: how.
        request: which.
    """

    def __init__(self, recipe: Recipe, request: Request) -> None:
        self.recipe, self.request = recipe, request
        self._direct = recipe.is_direct
        self._rows: Iterator[int] = iter(range(len(request.indices)))
        self._samples: list[Any] = [None] * len(request.indices)
        self._images: torch.Tensor | None = None
        self._batch: Batch = None
        self._left = len(request.indices)
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._error: BaseException | None = None

    def work(self) -> None:
        """Make rows until none is left; the thread that makes the last one ends the batch."""
        make = self._row if self._direct else self._sample
        for row in self._rows:
            try:
                if self._error is None:
                    with seeded(mix(self.request.seed, row)):
                        self._samples[row] = make(row, self.request.indices[row])
            except BaseException as error:  # handed to who asks for the batch
                self._fail(error)
            with self._lock:
                self._left -= 1
                last = self._left == 0
            if last:
                self._finish()

    def cancel(self) -> None:
        """Let nobody begin another row."""
        self._fail(RuntimeError("the batch was given up"))

    def result(self) -> Batch:
        """Wait for the batch and return it.

        Raises:
            Exception: what the data set, the transform or the collation raised.
        """
        self._done.wait()
        if self._error is not None:
            raise self._error
        return self._batch

    def _fail(self, error: BaseException) -> None:
        self._error = self._error or error

    def _finish(self) -> None:
        try:
            if self._error is None:
                kept = require_samples(self._samples, self.request.indices)
                with seeded(self.request.seed):
                    self._batch = self._rows_batch(kept) if self._direct else self._collated(kept)
                if self.recipe.num_classes is not None:
                    self._batch = _with_classes(self._batch, self.recipe.num_classes, self.request)
        except BaseException as error:
            self._fail(error)
        self._samples, self._images = [], None
        self._done.set()

    # Straight into the batch: the sample is its target, the image is in its row.

    def _row(self, row: int, index: int) -> tuple[Any] | None:
        dataset = self.recipe.dataset
        sample = dataset.load(index)
        if sample is None:
            return None
        image, target = sample
        for step in dataset.transform.transforms[:-1]:
            image = step(image)
        pixels = as_array(image)
        images = self._memory(pixels)
        if self.recipe.normalizer is None:
            images[row].copy_(torch.from_numpy(pixels))
        else:
            self.recipe.normalizer.row(pixels, images[row])
        return (finish_target(target, dataset.target_transform),)

    def _memory(self, pixels: np.ndarray) -> torch.Tensor:
        """Return the memory of the batch: (B, C, H, W) where normalised, else (B, H, W, C)."""
        size, normalizer = len(self._samples), self.recipe.normalizer
        height, width, chans = pixels.shape
        if pixels.dtype != np.uint8:
            raise ValueError(
                f"an image of {pixels.dtype} values: the loader normalises 8-bit images; create "
                "it with use_prefetcher=False, or read with input_img_mode='RGB'"
            )
        shape = (size, chans, height, width) if normalizer else (size, height, width, chans)
        with self._lock:
            if self._images is None:
                dtype = normalizer.dtype if normalizer else torch.uint8
                self._images = self.recipe.empty(shape, dtype)
        if self._images.shape != shape:
            raise ValueError(differing_shapes(self._images.shape[1:], shape[1:]))
        return self._images

    def _rows_batch(self, kept: Sequence[tuple[Any]]) -> Batch:
        assert self._images is not None
        images = self._images
        if len(kept) < len(self._samples):
            places = [i for i, sample in enumerate(self._samples) if sample is not None]
            images = images[places]
        if self.recipe.normalizer is None:
            images = images.permute(0, 3, 1, 2)  # (B, H, W, C) -> (B, C, H, W)
        return images, collate_targets([target for (target,) in kept])

    # Through samples, for every other data set, transform and collation.

    def _sample(self, row: int, index: int) -> Any:
        recipe = self.recipe
        if not recipe.own_draws:
            _seed_everything(mix(self.request.seed, row), recipe.seed_numpy)
        try:
            return recipe.dataset[index]
        except SkippedSampleError:
            return None

    def _collated(self, kept: Sequence[Any]) -> Batch:
        collate: Any = self.recipe.collate_fn
        if collate is None:
            collate = fast_collate if self.recipe.eight_bit else default_collate
        if getattr(collate, "mixup_enabled", self.request.mixing) != self.request.mixing:
            collate = copy(collate)  # it was switched after this batch was asked for
            collate.mixup_enabled = self.request.mixing
        if not self.recipe.own_draws:
            _seed_everything(self.request.seed, self.recipe.seed_numpy)
        return collate(kept)


def _ends_in_bytes(transform: Any) -> bool:
    return (
        isinstance(transform, Compose)
        and bool(transform.transforms)
        and isinstance(transform.transforms[-1], MaybePILToTensor)
    )


def _with_classes(batch: Batch, num_classes: int, request: Request) -> Batch:
    """Return a batch with its targets as classes, where it has one per sample.

    Raises:
        ValueError: one is no class below `num_classes`; -1 stands for no label.
    """
    images, targets, *rest = batch
    if not isinstance(targets, torch.Tensor) or targets.ndim != 1:
        return batch
    classes = as_classes(targets)
    wrong = ((classes < -1) | (classes >= num_classes)).nonzero().flatten().tolist()
    if wrong:
        row = wrong[0]
        raise ValueError(
            f"sample {request.indices[row]} has the label {int(classes[row])}, the model has "
            f"num_classes={num_classes}: labels go from 0 to {num_classes - 1}; give the number of "
            "classes of the data set, or a class_map that fits the model"
        )
    return batch if classes is targets else (images, classes, *rest)


def _seed_everything(seed: int, seed_numpy: bool) -> None:
    random.seed(seed)
    torch.default_generator.manual_seed(seed >> 1)
    if seed_numpy:
        np.random.seed(seed & 0xFFFFFFFF)
