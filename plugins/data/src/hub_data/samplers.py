"""Which samples each rank sees, in which order: a function of seed, epoch and rank alone.

Because the order is a function, a loader can be resumed at any batch: nothing but numbers has to be
saved.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sized
from itertools import islice

import torch
import torch.distributed
from torch.utils.data import Sampler


class EpochSampler(Sampler[int]):
    """Each sample once, in the order of the data set or in one drawn for each epoch.

    Args:
        dataset: what has a length.
        shuffle: draw an order.
        seed: of the orders.
    """

    def __init__(self, dataset: Sized, *, shuffle: bool, seed: int = 0) -> None:
        self.dataset, self.shuffle, self.seed, self.epoch = dataset, shuffle, seed, 0

    def __iter__(self) -> Iterator[int]:
        return iter(_order(len(self.dataset), self.shuffle, self.seed + self.epoch).tolist())

    def __len__(self) -> int:
        return len(self.dataset)

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of this epoch."""
        self.epoch = epoch


class OrderedDistributedSampler(Sampler[int]):
    """Every `num_replicas`-th sample, in order: for evaluation.

    All ranks get the same number, so the last ones may begin again with the first samples. To
    count each sample once, count `num_valid_samples` of a rank, or `Loader.num_valid` of a batch.

    Args:
        dataset: what has a length.
        num_replicas: number of ranks; None for that of the process group.
        rank: which one this is; None for that of the process group.
    """

    def __init__(
        self, dataset: Sized, num_replicas: int | None = None, rank: int | None = None
    ) -> None:
        self.dataset = dataset
        self.num_replicas, self.rank = _place(num_replicas, rank)
        self.num_samples = math.ceil(len(dataset) / self.num_replicas)
        self.total_size = self.num_samples * self.num_replicas

    def __iter__(self) -> Iterator[int]:
        length = len(self.dataset)
        return (i % length for i in range(self.rank, self.total_size, self.num_replicas))

    def __len__(self) -> int:
        return self.num_samples

    @property
    def num_valid_samples(self) -> int:
        """How many of this rank's samples, from the first, no other rank has too."""
        return len(range(self.rank, len(self.dataset), self.num_replicas))


class RepeatAugSampler(Sampler[int]):
    """Repeated augmentation (https://arxiv.org/abs/1902.05509) for distributed training.

    Each sample comes several times in a row, each time on another rank, so that ranks see other
    augmentations of it at the same time. An epoch keeps its length: it ends when as many samples
    were seen as there are, and so shows only some of them.

    Args:
        dataset: what has a length.
        num_replicas: number of ranks; None for that of the process group.
        rank: which one this is; None for that of the process group.
        shuffle: draw an order for each epoch.
        num_repeats: how often a sample comes; 1.5 for every second one twice.
        selected_round: the length of an epoch is rounded down to a multiple of it; 0 for not.
        selected_ratio: an epoch shows the data set's length divided by it; 0 for `num_replicas`.
        seed: of the orders.
    """

    def __init__(
        self,
        dataset: Sized,
        num_replicas: int | None = None,
        rank: int | None = None,
        shuffle: bool = True,
        num_repeats: float = 3,
        selected_round: int = 256,
        selected_ratio: float = 0,
        seed: int = 0,
    ) -> None:
        if num_repeats < 1:
            raise ValueError(f"num_repeats={num_repeats!r}: give 1 or more")
        self.dataset, self.shuffle, self.seed, self.epoch = dataset, shuffle, seed, 0
        self.num_replicas, self.rank = _place(num_replicas, rank)
        self.num_repeats = num_repeats
        length = len(dataset)
        self.num_samples = math.ceil(length * num_repeats / self.num_replicas)
        self.total_size = self.num_samples * self.num_replicas
        ratio = selected_ratio or self.num_replicas
        if selected_round and length >= selected_round:
            selected = math.floor(length // selected_round * selected_round / ratio)
        else:
            selected = math.ceil(length / ratio)
        self.num_selected_samples = min(selected, self.num_samples)

    def __iter__(self) -> Iterator[int]:
        order = _order(len(self.dataset), self.shuffle, self.seed + self.epoch)
        repeated = math.ceil(len(order) * self.num_repeats)
        places = range(self.rank, self.total_size, self.num_replicas)
        for place in islice(places, self.num_selected_samples):
            yield int(order[int(place % repeated / self.num_repeats)])

    def __len__(self) -> int:
        return self.num_selected_samples

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of this epoch."""
        self.epoch = epoch


def _order(length: int, shuffle: bool, seed: int) -> torch.Tensor:
    if not shuffle:
        return torch.arange(length)
    return torch.randperm(length, generator=torch.Generator().manual_seed(seed))


def _place(num_replicas: int | None, rank: int | None) -> tuple[int, int]:
    """Return (number of ranks, own rank).

    Raises:
        RuntimeError: neither was given, and there is no process group to ask.
        ValueError: there is no such rank.
    """
    if num_replicas is None or rank is None:
        distributed = torch.distributed
        if not (distributed.is_available() and distributed.is_initialized()):
            raise RuntimeError(
                "distributed samplers need a process group: call "
                "torch.distributed.init_process_group first, or give num_replicas and rank"
            )
        num_replicas = distributed.get_world_size() if num_replicas is None else num_replicas
        rank = distributed.get_rank() if rank is None else rank
    if not 0 <= rank < num_replicas:
        raise ValueError(f"rank={rank} of num_replicas={num_replicas}: ranks count from 0")
    return num_replicas, rank


def seed_of_rank_0(seed: int) -> int:
    """Return the seed of rank 0, so that all ranks share out one order; all have to call it."""
    agreed = [seed]
    torch.distributed.broadcast_object_list(agreed)
    return agreed[0]
