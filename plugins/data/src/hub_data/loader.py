"""Loaders: batches of a data set, in an order that can be left and taken up again anywhere.

What a loader gives depends on its seed, the epoch and the place of a batch in it, and on nothing
else: not on the number of workers, nor on whether they are threads or processes. So its whole state
is a few numbers (`state_dict`), and a run that was resumed sees what it would have seen.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

from hub import HubWarning
from torch.utils.data import BatchSampler, DataLoader, Sampler

from hub_data.draws import mix
from hub_data.faults import FaultReport, joined, over_ranks
from hub_data.recipe import Batch, Request
from hub_data.workers import LoaderError, Streaming, Workers
from hub_data.wrapping import leaves


class Passes:
    """What all loaders share: passes over a data set that count, and can be taken up again.

    Args:
        dataset: kept so that callers can read `loader.dataset`; the workers read it.
        sampler: has the epoch, where there is one.
        batch_size: samples per batch.
        seed: of everything that is drawn.
        collate_fn: may mix samples.
        distributed: `report_faults` counts over all ranks.
    """

    def __init__(
        self,
        dataset: Any,
        sampler: Any,
        *,
        batch_size: int,
        seed: int,
        collate_fn: Any = None,
        distributed: bool = False,
    ) -> None:
        self.dataset, self.sampler, self.collate_fn = dataset, sampler, collate_fn
        self.batch_size, self.seed, self.distributed = batch_size, seed, distributed
        self.rank: int = getattr(sampler, "rank", 0)
        self._epoch, self._position, self._begun = 0, 0, False
        self._told = getattr(sampler, "epoch", 0)
        self._faults: FaultReport | None = None

    @property
    def epoch(self) -> int:
        """The epoch of the pass under way, or of the next."""
        return self._epoch

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next pass; not needed where passes follow each other."""
        self._epoch, self._position, self._begun = epoch, 0, False
        self._tell(epoch)

    @property
    def mixup_enabled(self) -> bool:
        """Whether a `collate_fn` that mixes samples does so; may be set between batches."""
        return bool(getattr(self.collate_fn, "mixup_enabled", False))

    @mixup_enabled.setter
    def mixup_enabled(self, enabled: bool) -> None:
        if hasattr(self.collate_fn, "mixup_enabled"):
            self.collate_fn.mixup_enabled = enabled

    def __len__(self) -> int:
        raise NotImplementedError

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches of an epoch, or what is left of one that was taken up again."""
        if self._begun:  # the pass before was left early
            self.set_epoch(self._epoch + 1)
        if (told := getattr(self.sampler, "epoch", self._told)) != self._told:
            self.set_epoch(told)  # somebody called sampler.set_epoch
        self._begun = True
        for batch in self._batches():
            self._position += 1
            yield batch
        self._epoch, self._position, self._begun = self._epoch + 1, 0, False
        self._tell(self._epoch)
        self._collect_faults()

    def report_faults(self) -> FaultReport | None:
        """Return what could not be read since the last call, on all ranks; None if nobody counts.

        With `distributed=True` all ranks have to call it: a pass ends without waiting for others.
        """
        self._collect_faults()
        report, self._faults = self._faults, None
        return over_ranks(report) if report is not None and self.distributed else report

    def _collect_faults(self) -> None:
        counting = [leaf for leaf in leaves(self.dataset) if hasattr(leaf, "report_faults")]
        reports = [leaf.report_faults(gather=False) for leaf in counting]
        if reports:
            before = [self._faults] if self._faults else []
            self._faults = replace(joined(before + reports), num_samples=len(self.dataset))

    def state_dict(self) -> dict[str, Any]:
        """Return what `load_state_dict` needs to go on after the last batch that was handed out."""
        return dict(
            epoch=self._epoch,
            position=self._position,
            seed=self.seed,
            sampler_seed=getattr(self.sampler, "seed", None),
            rank=self.rank,
            batch_size=self.batch_size,
            num_samples=self._num_samples(),
            mixup_enabled=self.mixup_enabled,
        )

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken: the next pass is the rest of that epoch.

        The number of workers and their kind may differ.

        Raises:
            LoaderError: the state is that of another data set, batch size or rank.
        """
        own = self.state_dict()
        for name in ("batch_size", "num_samples", "rank"):
            if state[name] != own[name]:
                raise LoaderError(
                    f"the saved loader had {name}={state[name]}, this one has {own[name]}: "
                    "create it as it was, or begin an epoch anew with set_epoch"
                )
        self.seed, self.mixup_enabled = state["seed"], state["mixup_enabled"]
        if state["sampler_seed"] is not None:
            self.sampler.seed = state["sampler_seed"]
        self.set_epoch(state["epoch"])
        self._position = state["position"]

    def close(self) -> None:
        """End the workers; a later pass starts them anew."""

    def _num_samples(self) -> int | None:
        raise NotImplementedError

    def _batches(self) -> Iterable[Batch]:
        raise NotImplementedError

    def _tell(self, epoch: int) -> None:
        self._told = epoch
        if hasattr(self.sampler, "set_epoch"):
            self.sampler.set_epoch(epoch)


class Loader(Passes):
    """Batches of a data set with access by index.

    Each pass over the loader is an epoch; a pass that is left early counts too.

    Args:
        dataset: kept so that callers can read `loader.dataset`; the workers read it.
        sampler: the samples of an epoch, in order; `set_epoch` is called where it has one.
        batch_size: samples per batch.
        drop_last: leave out a last batch that is smaller.
        workers: make the batches.
        seed: of everything that is drawn.
        collate_fn: kept to switch its mixing; the workers call it.
        batch_sampler: gives the samples of each batch; None for `batch_size` at a time.
        endless: begin the next epoch while the last batches of one are used.
        distributed: `report_faults` counts over all ranks.
    """

    def __init__(
        self,
        dataset: Any,
        *,
        sampler: Sampler[int],
        batch_size: int,
        drop_last: bool,
        workers: Workers,
        seed: int,
        collate_fn: Any = None,
        batch_sampler: Any = None,
        endless: bool = False,
        distributed: bool = False,
    ) -> None:
        super().__init__(
            dataset,
            sampler,
            batch_size=batch_size,
            seed=seed,
            collate_fn=collate_fn,
            distributed=distributed,
        )
        self.workers, self.drop_last, self.endless = workers, drop_last, endless
        self.batch_sampler = batch_sampler or BatchSampler(sampler, batch_size, drop_last)
        self._stream: Iterator[Batch] | None = None

    def __len__(self) -> int:
        return len(self.batch_sampler)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next pass; not needed where passes follow each other."""
        super().set_epoch(epoch)
        self._stream = None

    def num_valid(self, number: int) -> int:
        """Return how many samples of batch `number`, from its first, are to be counted.

        In distributed evaluation the last batch may hold samples that another rank counts.
        """
        valid: int = getattr(self.sampler, "num_valid_samples", self._num_samples())
        return max(0, min(self.batch_size, valid - number * self.batch_size))

    def close(self) -> None:
        """End the workers; a later pass starts them anew."""
        self._stream = None
        self.workers.close()

    def _num_samples(self) -> int:
        return len(self.sampler)

    def _tell(self, epoch: int) -> None:
        super()._tell(epoch)
        if hasattr(self.batch_sampler, "set_epoch"):
            self.batch_sampler.set_epoch(epoch)

    def _batches(self) -> Iterable[Batch]:
        if not self.endless:
            return self.workers.run(self._requests())
        if self._stream is None:
            self._stream = iter(self.workers.run(self._requests()))
        return islice(self._stream, len(self) - self._position)

    def _requests(self) -> Iterator[Request]:
        epoch, skip = self._epoch, self._position
        while True:
            self._tell(epoch)
            for number, indices in enumerate(self.batch_sampler):
                if number >= skip:
                    seed = mix(self.seed, self.rank, epoch, number)
                    yield Request(number, indices, seed, self.mixup_enabled)
            if not self.endless:
                return
            epoch, skip = epoch + 1, 0


class StreamLoader(Passes):
    """Batches of a data set that is read from its beginning; to go on in the middle reads it again.

    Args:
        dataset: kept so that callers can read `loader.dataset`.
        streaming: makes the batches.
        batch_size: samples per batch.
        seed: of everything that is drawn.
        collate_fn: kept to switch its mixing.
        distributed: see `Loader`.
    """

    batch_sampler = None

    def __init__(
        self,
        dataset: Any,
        streaming: Streaming,
        *,
        batch_size: int,
        seed: int,
        collate_fn: Any = None,
        distributed: bool = False,
    ) -> None:
        super().__init__(
            dataset,
            None,
            batch_size=batch_size,
            seed=seed,
            collate_fn=collate_fn,
            distributed=distributed,
        )
        self.streaming = streaming

    def __len__(self) -> int:
        return len(self.streaming)

    def _num_samples(self) -> int | None:
        try:
            return len(self.dataset)
        except TypeError:  # a stream need not know
            return None

    def _batches(self) -> Iterator[Batch]:
        num_samples, count = self._num_samples(), 0
        for batch in self.streaming.epoch(self._epoch, self._position, self.seed):
            count += len(batch[-1]) if isinstance(batch, tuple | list) else 0
            yield batch
        if num_samples is not None and count > num_samples:
            warnings.warn(
                f"the stream has {num_samples} samples and gave {count}: every worker reads all of "
                "a stream that does not take its part, by torch.utils.data.get_worker_info()",
                HubWarning,
                stacklevel=2,
            )


class MultiEpochsDataLoader(DataLoader[Any]):
    """torch's loader, with workers that begin the next epoch while one ends.

    `create_loader(use_multi_epochs_loader=True)` does the same with this package's loaders; this
    class is for code that makes loaders itself. Takes what `torch.utils.data.DataLoader` takes.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.batch_sampler is None:
            raise ValueError("MultiEpochsDataLoader needs batches: give batch_size")
        self._epoch_length = len(self.batch_sampler)  # type: ignore[arg-type]
        # torch forbids to change it once made, but reads it only when it begins to iterate.
        object.__setattr__(self, "batch_sampler", _Again(self.batch_sampler))
        self._endless: Iterator[Any] | None = None

    def __len__(self) -> int:
        return self._epoch_length

    def __iter__(self) -> Any:
        """Yield the batches of one epoch."""
        if self._endless is None:
            self._endless = super().__iter__()
        return islice(self._endless, self._epoch_length)


class _Again:
    """The batches of an epoch, and of the next, for ever."""

    def __init__(self, batch_sampler: Any) -> None:
        self.batch_sampler = batch_sampler

    def __iter__(self) -> Iterator[Any]:
        sampler = getattr(self.batch_sampler, "sampler", None)
        epoch = getattr(sampler, "epoch", None)
        while True:
            if epoch is not None and sampler is not None and hasattr(sampler, "set_epoch"):
                sampler.set_epoch(epoch)  # the caller's set_epoch would come too late
                epoch += 1
            yield from self.batch_sampler
