"""What readers that stream share: who reads what, how much, and in which order."""

from __future__ import annotations

import math
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any, TypeVar

import torch
import torch.distributed
from torch.utils.data import get_worker_info

from hub_data.class_map import UnlistedClassError
from hub_data.faults import NOT_DAMAGE
from hub_data.readers.indexed import report_unlisted
from hub_data.targets import TargetField

Item = TypeVar("Item")


@dataclass(frozen=True)
class Share:
    """Which part of a data set is read here: each worker of each rank has one.

    Args:
        index: number of this part.
        total: number of parts.
    """

    index: int
    total: int

    def of(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield every item that is ours; all shares together yield each item once."""
        return (item for i, item in enumerate(items) if i % self.total == self.index)


class StreamedReader(ABC):
    """Base of readers that stream: a subclass states `read`, the samples of one pass.

    In training every worker yields the same number of samples, a multiple of the batch size, so
    that all ranks take the same number of steps; a pass that ends early is followed by another.
    In evaluation each sample is yielded once, by one worker of one rank: ranks may differ in the
    number of their batches, so results are to be summed up at the end, not in each step.

    Attributes:
        target: makes the target of a record.

    Args:
        num_samples: samples in a pass, of all ranks together; 0 where unknown.
        is_training: see above; also, `read` shuffles.
        batch_size: samples per batch.
        repeats: passes per epoch.
        seed: of the order; the same on all ranks.

    Raises:
        ValueError: it is for training, and the number of samples is not known.
    """

    target: TargetField

    def __init__(
        self,
        *,
        num_samples: int,
        is_training: bool = False,
        batch_size: int = 1,
        repeats: int = 0,
        seed: int = 42,
    ) -> None:
        if is_training and not num_samples:
            raise ValueError(
                "the number of samples is not known, and the schedule needs it: give num_samples"
            )
        self.num_samples = num_samples
        self.is_training = is_training
        self.batch_size = max(1, batch_size or 1)
        self.repeats = max(1, repeats)
        self.seed = seed
        self.rank, self.num_ranks = _rank_and_ranks()
        self.num_workers = 1
        # Workers that persist are told of a new epoch through shared memory.
        self._epoch = torch.zeros((), dtype=torch.int64)
        self._epoch.share_memory_()  # type: ignore[no-untyped-call]

    @abstractmethod
    def read(self, share: Share, epoch: int) -> Iterator[tuple[Any, ...]]:
        """Yield (image, target) of our share of one pass; in training shuffled by `epoch`."""

    @property
    def epoch(self) -> int:
        """The epoch that is read, or comes next."""
        return int(self._epoch)

    def set_epoch(self, count: int) -> None:
        """Say which epoch comes next; the order of samples depends on it."""
        self._epoch.fill_(count)

    def set_loader_cfg(self, num_workers: int | None = None) -> None:
        """Say how many workers the loader will have, before they start."""
        if num_workers is not None:
            self.num_workers = max(1, num_workers)

    def share(self) -> Share:
        """Return which part is read in this process."""
        worker = get_worker_info()
        if worker is None:
            return Share(self.rank, self.num_ranks)
        return Share(
            self.rank * worker.num_workers + worker.id, self.num_ranks * worker.num_workers
        )

    def random(self, share: Share, epoch: int) -> random.Random:
        """Return the generator of this share for an epoch."""
        return random.Random(f"{self.seed}/{epoch}/{share.index}/{share.total}")

    def __len__(self) -> int:
        """Return the samples of an epoch of this rank, all workers together."""
        shares = self.num_ranks * self.num_workers
        if self.is_training:
            return self._per_worker(shares) * self.num_workers
        own = range(self.rank * self.num_workers, (self.rank + 1) * self.num_workers)
        return self.repeats * sum(len(range(i, self.num_samples, shares)) for i in own)

    def _per_worker(self, shares: int) -> int:
        """Return the samples of a worker in training."""
        samples = math.ceil(self.repeats * self.num_samples / shares)
        return math.ceil(samples / self.batch_size) * self.batch_size

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        """Yield what this process and worker is to see of one epoch.

        Raises:
            RuntimeError: there is nothing for this worker in training.
        """
        try:
            yield from self._samples(self.share())
        finally:
            report_unlisted(type(self).__name__, self.target.unlisted)
            self.target.unlisted.clear()

    def sample(
        self, make: Callable[[Item], tuple[Any, ...]], record: Item
    ) -> Iterator[tuple[Any, ...]]:
        """Yield the sample that `make` makes of a record.

        Nothing if the class map lacks its class; what stops `make` stands in place of an image that
        cannot be had, and is raised where damage is counted.
        """
        try:
            yield make(record)
        except UnlistedClassError:
            return
        except NOT_DAMAGE:
            raise
        except Exception as error:
            yield error, None

    def _samples(self, share: Share) -> Iterator[tuple[Any, ...]]:
        if not self.is_training:
            for _ in range(self.repeats):
                yield from self.read(share, self.epoch)
            return
        due = self._per_worker(share.total)
        for again in count():
            missing = due
            # Passes of one epoch differ in order, and from those of other epochs.
            for sample in self.read(share, self.epoch + again * 1_000_003):
                yield sample
                due -= 1
                if not due:
                    return
            if due == missing and self.target.unlisted:
                raise ValueError(
                    f"no sample is of a class of the class map: it has "
                    f"{[*self.target.class_to_idx][:5]}; the labels are "
                    f"{[*self.target.unlisted][:5]}"
                )
            if due == missing:
                raise RuntimeError(
                    f"worker {share.index} of {share.total} (all ranks together) got no sample: "
                    "take fewer workers, or cut the data set into more shards"
                )


def shuffled(items: Iterable[Item], size: int, generator: random.Random) -> Iterator[Item]:
    """Yield items in an order that is random within about `size` of them."""
    waiting: list[Item] = []
    for item in items:
        if len(waiting) < size:
            waiting.append(item)
            continue
        position = generator.randrange(size)
        waiting[position], item = item, waiting[position]
        yield item
    generator.shuffle(waiting)
    yield from waiting


def _rank_and_ranks() -> tuple[int, int]:
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1
