"""Training at several image sizes: each batch has one of them, drawn or by a schedule.

The sizes of an epoch's batches depend on seed, epoch and number of samples alone, so all ranks
have the same one at the same time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice, repeat
from typing import Any

import numpy as np
from torch.utils.data import Dataset, Sampler

from hub_data.draws import mix

SCHEDULES = ("constant", "progressive")
_ORDER = 1  # sets the order of the sizes apart from their choice


class ScheduledBatchSampler(Sampler[list[tuple[int, int]]]):
    """Batches of (sample, choice) pairs, for `ScheduledTransformDataset`.

    Args:
        sampler: the samples of an epoch.
        batch_sizes: samples per batch, for each choice.
        choice_weights: how often each is chosen; evenly if None. 0 leaves a choice out.
        seed: of the choices; the same on all ranks.
        drop_last: leave out a last batch that is smaller.
        shuffle_schedule: draw the order of the sizes anew for each epoch.
        num_batches: batches in an epoch, whose samples are then repeated as needed; None for as
            many as the samples make.
        choice_schedule: "constant", or "progressive" from the first choice to the last.
        schedule_epochs: epochs from the first to the last.
        schedule_spread: of the choices around that of the epoch (standard deviation, in choices);
            0 for the nearest only.
        schedule_random_mix: share of batches whose choice is even among all.

    Raises:
        ValueError: an argument is out of range, or the samples make no batch.
    """

    def __init__(
        self,
        sampler: Any,
        batch_sizes: Sequence[int],
        choice_weights: Sequence[float] | None = None,
        seed: int = 0,
        drop_last: bool = True,
        shuffle_schedule: bool = True,
        num_batches: int | None = None,
        choice_schedule: str = "constant",
        schedule_epochs: int | None = None,
        schedule_spread: float = 0.65,
        schedule_random_mix: float = 0.1,
    ) -> None:
        self.sampler, self.seed, self.epoch = sampler, seed, 0
        self.batch_sizes = tuple(batch_sizes)
        self.drop_last, self.shuffle_schedule = drop_last, shuffle_schedule
        self.choice_schedule, self.schedule_epochs = choice_schedule, schedule_epochs
        self.schedule_spread, self.schedule_random_mix = schedule_spread, schedule_random_mix
        self._check()
        self.choice_weights = _shares(choice_weights, len(self.batch_sizes))
        self.num_batches = num_batches
        self._from_samples: list[tuple[int, int]] = []
        if num_batches is None and choice_schedule == "progressive":
            self.num_batches = int(len(sampler) / self._expected_size() + (not drop_last) * 0.999)
        if self.num_batches is None:
            self._from_samples = list(self._until_used_up())
        if len(self) < 1:
            raise ValueError(
                f"{len(sampler)} samples make no batch of the sizes {self.batch_sizes}: give "
                "smaller ones"
            )

    def choice_weights_for_epoch(self, epoch: int) -> np.ndarray:
        """Return the probability of each choice in an epoch."""
        if self.choice_schedule == "constant" or len(self.batch_sizes) == 1:
            return self.choice_weights
        assert self.schedule_epochs is not None
        progress = 1.0 if self.schedule_epochs == 1 else epoch / (self.schedule_epochs - 1)
        last = len(self.batch_sizes) - 1
        distance = np.abs(np.arange(last + 1) - min(max(progress, 0.0), 1.0) * last)
        active = self.choice_weights > 0
        if self.schedule_spread == 0:
            near = (distance == distance[active].min()).astype(float)
        else:
            # Measured from the nearest choice, the exponential cannot vanish for all of them.
            exponents = (distance[active].min() ** 2 - distance**2) / self.schedule_spread**2
            near = np.exp(np.where(active, exponents / 2, -np.inf))
        near = near * self.choice_weights
        even = active / active.sum()
        share = self.schedule_random_mix
        return (1 - share) * near / near.sum() + share * even

    def __len__(self) -> int:
        return len(self._from_samples) if self.num_batches is None else self.num_batches

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        schedule = self.schedule
        if self.shuffle_schedule:
            order = np.random.default_rng(mix(self.seed, self.epoch, _ORDER))
            schedule = [schedule[i] for i in order.permutation(len(schedule))]
        again = 1 if self.num_batches is None else len(schedule) * max(self.batch_sizes)
        samples = chain.from_iterable(repeat(self.sampler, again))
        for choice, size in schedule:
            yield [(sample, choice) for sample in islice(samples, size)]

    @property
    def schedule(self) -> list[tuple[int, int]]:
        """The (choice, batch size) pairs of the epoch, before their order is drawn."""
        if self.num_batches is None:
            return self._from_samples
        draws = np.random.default_rng(mix(self.seed, self.epoch))
        weights = self.choice_weights_for_epoch(self.epoch)
        choices = draws.choice(len(weights), self.num_batches, p=weights)
        return [(int(choice), self.batch_sizes[choice]) for choice in choices]

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the sizes, and of the samples."""
        self.epoch = epoch
        if hasattr(self.sampler, "set_epoch"):
            self.sampler.set_epoch(epoch)

    def _until_used_up(self) -> Iterator[tuple[int, int]]:
        """Yield choices until the samples are used up; the same in every epoch."""
        draws = np.random.default_rng(mix(self.seed))
        left, sizes = len(self.sampler), np.array(self.batch_sizes)
        while left > 0:
            weights = self.choice_weights * (sizes <= left)
            if not weights.any():
                if self.drop_last:
                    return
                weights = self.choice_weights
            choice = int(draws.choice(len(sizes), p=weights / weights.sum()))
            yield choice, min(int(sizes[choice]), left)
            left -= int(sizes[choice])

    def _expected_size(self) -> float:
        """Return the mean size of a batch over all epochs of the schedule."""
        epochs = range(self.schedule_epochs or 1)
        weights = [self.choice_weights_for_epoch(epoch) for epoch in epochs]
        return float(np.mean(weights, axis=0) @ np.array(self.batch_sizes))

    def _check(self) -> None:
        if not self.batch_sizes or min(self.batch_sizes) < 1:
            raise ValueError(f"batch sizes {self.batch_sizes}: give one or more, above 0")
        if self.choice_schedule not in SCHEDULES:
            raise ValueError(
                f"unknown choice_schedule {self.choice_schedule!r}: choose from "
                f"{', '.join(SCHEDULES)}"
            )
        if self.choice_schedule == "progressive" and not self.schedule_epochs:
            raise ValueError("a progressive schedule needs schedule_epochs: the epochs it takes")
        if self.schedule_spread < 0 or not 0 <= self.schedule_random_mix <= 1:
            raise ValueError(
                f"schedule_spread={self.schedule_spread} must be 0 or more, schedule_random_mix="
                f"{self.schedule_random_mix} within 0 and 1"
            )


class ScheduledTransformDataset(Dataset[Any]):
    """Samples by (index, choice): the choice says which transform.

    Args:
        dataset: gives (image, target, ...), images as they are (its own transform is None).
        transforms: one per choice.
    """

    def __init__(self, dataset: Any, transforms: Sequence[Callable[[Any], Any]]) -> None:
        self.dataset, self.transforms = dataset, tuple(transforms)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, place: tuple[int, int]) -> tuple[Any, ...]:
        """Return (transformed image, target, ...)."""
        index, choice = place
        image, *rest = self.dataset[index]
        return (self.transforms[choice](image), *rest)

    def __getattr__(self, name: str) -> Any:
        """Return what the data set has: filename, faults, report_faults ..."""
        if name.startswith("_") or name == "dataset":
            raise AttributeError(name)
        return getattr(self.dataset, name)


def _shares(weights: Sequence[float] | None, count: int) -> np.ndarray:
    shares = np.ones(count) if weights is None else np.array(weights, float)
    valid = shares.shape == (count,) and np.isfinite(shares).all() and (shares >= 0).all()
    if not valid or shares.sum() <= 0:
        raise ValueError(f"weights {weights!r}: give {count} numbers, none below 0, not all 0")
    return shares / shares.sum()
