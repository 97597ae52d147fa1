"""Who makes the batches: the process itself, its threads, or worker processes.

Threads need no transport, no second copy of the data set and no start-up, and the first batch is
made by all of them together; decoding and resizing leave Python's lock free. Processes serve what
is not known to be safe in threads, and machines whose many cores one Python cannot feed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import current_process
from threading import Barrier
from typing import Any, Protocol

import torch
from hub import HubError
from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info

from hub_data.draws import mix, seeded
from hub_data.recipe import Batch, Job, Recipe, Request


class LoaderError(HubError, RuntimeError):
    """A loader cannot go on: a worker died, or what it was told does not fit its data set."""


class Workers(Protocol):
    """Makes batches in the order of the requests."""

    def run(self, requests: Iterable[Request]) -> Iterator[Batch]:
        """Yield a batch for each request."""

    def close(self) -> None:
        """Stop; a later `run` starts anew."""


class NoWorkers:
    """Make each batch when it is asked for, in the thread that asks.

    Args:
        recipe: how.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe

    def run(self, requests: Iterable[Request]) -> Iterator[Batch]:
        """Yield a batch for each request."""
        return map(self.recipe.make, requests)

    def close(self) -> None:
        """Do nothing."""


class Threads:
    """Make batches ahead, several threads at each.

    Args:
        recipe: how.
        num_workers: threads.
        ahead: batches in the making or waiting.
        persistent: keep the threads between epochs.
    """

    def __init__(
        self, recipe: Recipe, num_workers: int, *, ahead: int = 3, persistent: bool = True
    ) -> None:
        self.recipe, self.num_workers = recipe, num_workers
        self.ahead, self.persistent = ahead, persistent
        self._executor: ThreadPoolExecutor | None = None

    def run(self, requests: Iterable[Request]) -> Iterator[Batch]:
        """Yield a batch for each request."""
        waiting = iter(requests)
        flight: deque[Job] = deque()
        try:
            while True:
                while len(flight) < self.ahead and (request := next(waiting, None)) is not None:
                    flight.append(self._start(request))
                if not flight:
                    return
                batch = flight[0].result()
                flight.popleft()
                if (request := next(waiting, None)) is not None:  # before the batch is used
                    flight.append(self._start(request))
                yield batch
        finally:
            for job in flight:
                job.cancel()
            if not self.persistent:
                self.close()

    def close(self) -> None:
        """Let the threads end."""
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)
            self._executor = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_executor": None}

    def _start(self, request: Request) -> Job:
        job = Job(self.recipe, request)
        executor = self._executor or self._open()
        for _ in range(min(self.num_workers, len(request.indices))):
            executor.submit(job.work)
        return job

    def _open(self) -> ThreadPoolExecutor:
        before, all_there = torch.get_num_threads(), Barrier(self.num_workers)
        self._executor = ThreadPoolExecutor(
            self.num_workers, "hub-data", initializer=torch.set_num_threads, initargs=(1,)
        )
        for started in [self._executor.submit(all_there.wait) for _ in range(self.num_workers)]:
            started.result()
        # In these threads the number stays 1; elsewhere they changed it in passing.
        torch.set_num_threads(before)
        return self._executor


class Processes:
    """Make batches in processes, each batch in one.

    Args:
        recipe: how.
        num_workers: processes.
        pin_memory: copy batches to memory from which a device reads faster.
        persistent: keep the processes between epochs.
        prefetch_factor: batches ahead, per process.
        worker_seeding: "all", "part" (numpy's generator not), or what is called with torch's
            worker info and returns the seed of a worker.
        context: how processes start: "fork", "spawn", "forkserver", or None for torch's default.
        timeout: seconds to wait for a batch; 0 for ever.
    """

    def __init__(
        self,
        recipe: Recipe,
        num_workers: int,
        *,
        pin_memory: bool = False,
        persistent: bool = True,
        prefetch_factor: int = 2,
        worker_seeding: str | Callable[[Any], int] = "all",
        context: str | None = None,
        timeout: float = 0,
    ) -> None:
        self._requests = _Requests()
        self._loader: DataLoader[Any] = DataLoader(
            _Made(recipe.for_process()),
            batch_size=None,
            sampler=self._requests,
            num_workers=num_workers,
            collate_fn=_unchanged,
            pin_memory=pin_memory,
            persistent_workers=persistent,
            prefetch_factor=prefetch_factor,
            worker_init_fn=seeding(worker_seeding),
            multiprocessing_context=context,
            timeout=timeout,
        )

    def run(self, requests: Iterable[Request]) -> Iterator[Batch]:
        """Yield a batch for each request."""
        self._requests.current = requests
        yield from batches_of(self._loader)

    def close(self) -> None:
        """End the processes."""
        iterator, self._loader._iterator = self._loader._iterator, None
        if iterator is not None:
            iterator._shutdown_workers()  # type: ignore[attr-defined]


class Streaming:
    """Batches of a data set without access by index; torch's own loader makes them.

    Args:
        dataset: iterable.
        batch_size: samples per batch.
        drop_last: leave out a last batch that is smaller.
        collate_fn: makes a batch of samples.
        options: of torch's `DataLoader`.
    """

    def __init__(
        self,
        dataset: Any,
        *,
        batch_size: int,
        drop_last: bool,
        collate_fn: Callable[..., Any],
        options: dict[str, Any],
    ) -> None:
        self._dataset = SeededStream(dataset)
        self._batch_size, self._drop_last = batch_size, drop_last
        self._collate = _Switched(collate_fn)
        self._loader: DataLoader[Any] = DataLoader(
            self._dataset,
            batch_size=batch_size,
            drop_last=drop_last,
            collate_fn=self._collate,
            **options,
        )

    def epoch(self, epoch: int, skip: int, seed: int) -> Iterator[Batch]:
        """Yield the batches of an epoch, but for the first ones; those are made and left."""
        self._dataset.set_epoch(epoch, seed)
        for number, batch in enumerate(batches_of(self._loader)):
            self._collate.follow()
            if number >= skip:
                yield batch
                self._collate.follow()

    def __len__(self) -> int:
        """Return the number of batches; each worker ends its part with one of its own."""
        num_workers = max(1, self._loader.num_workers)
        parts = [len(range(i, len(self._dataset), num_workers)) for i in range(num_workers)]
        more = 0 if self._drop_last else self._batch_size - 1
        return sum((part + more) // self._batch_size for part in parts)


class SeededStream(IterableDataset[Any]):
    """A stream in which what is drawn depends on the epoch, the worker and the place alone.

    Args:
        dataset: the stream.
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset
        # Epoch and seed. Workers that stay from epoch to epoch see them, in shared memory.
        self._drawn_from = torch.zeros(2, dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]

    def set_epoch(self, epoch: int, seed: int) -> None:
        """Choose the order and the draws of this epoch."""
        self._drawn_from[0], self._drawn_from[1] = epoch, seed
        if hasattr(self.dataset, "set_epoch"):
            self.dataset.set_epoch(epoch)

    def __iter__(self) -> Iterator[Any]:
        worker = get_worker_info()
        base = mix(*self._drawn_from.tolist(), worker.id if worker else 0)
        samples, place = iter(self.dataset), 0
        while True:
            with seeded(mix(base, place)):
                sample = next(samples, self)
            if sample is self:
                return
            yield sample
            place += 1

    def __len__(self) -> int:
        return len(self.dataset)


class _Switched:
    """A `collate_fn` whose mixing can be switched while worker processes have copies of it."""

    def __init__(self, collate_fn: Callable[..., Any]) -> None:
        self.collate_fn: Any = collate_fn
        self._mixing = torch.ones((), dtype=torch.bool).share_memory_()  # type: ignore[no-untyped-call]

    def follow(self) -> None:
        """Tell the copies how the `collate_fn` of this process is switched."""
        self._mixing.fill_(getattr(self.collate_fn, "mixup_enabled", True))

    def __call__(self, samples: Any) -> Batch:
        if hasattr(self.collate_fn, "mixup_enabled") and get_worker_info() is not None:
            self.collate_fn.mixup_enabled = bool(self._mixing)
        return self.collate_fn(samples)


def batches_of(loader: DataLoader[Any]) -> Iterator[Batch]:
    """Yield the batches of an epoch that worker processes make, or none of them.

    Raises:
        LoaderError: a worker process ended, or this process may not start any.
    """
    if loader.num_workers and current_process().daemon:
        raise LoaderError(
            f"{current_process().name} is a daemonic process, as those of Celery are, and may not "
            f"start num_workers={loader.num_workers} processes: create the loader with "
            "workers_as='threads' or num_workers=0"
        )
    batches = iter(loader)
    while True:
        try:
            batch = next(batches)
        except StopIteration:
            return
        except RuntimeError as error:
            if not str(error).startswith("DataLoader worker (pid"):
                raise  # an error of the data set: it names itself
            raise LoaderError(
                f"a worker process of the loader ended: {str(error).splitlines()[0]} Most often "
                "the system ran out of memory: lower num_workers or batch_size (in containers, "
                "raise the size of /dev/shm)"
            ) from error
        yield batch


def seeding(worker_seeding: str | Callable[[Any], int]) -> Callable[[int], None]:
    """Return what a worker process runs first; see `Processes`.

    Raises:
        ValueError: the name is unknown.
    """
    if not callable(worker_seeding) and worker_seeding not in ("all", "part"):
        raise ValueError(
            f"worker_seeding={worker_seeding!r}: give 'all', 'part', or a function from torch's "
            "worker info to a seed"
        )
    return _Seeding(worker_seeding)


class _Seeding:
    """What a worker process runs first; a class, to be sent to it."""

    def __init__(self, chosen: str | Callable[[Any], int]) -> None:
        self.chosen = chosen

    def __call__(self, worker_id: int) -> None:
        import random

        import numpy as np

        info = get_worker_info()
        assert info is not None
        if callable(self.chosen):
            seed = self.chosen(info)
            random.seed(seed)
            torch.manual_seed(seed)
            np.random.seed(seed % (2**32 - 1))
        elif self.chosen == "all":
            np.random.seed(info.seed % (2**32 - 1))


class _Made(Dataset[Any]):
    """The batches as a data set whose index is a request."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe

    def __getitem__(self, request: Request) -> Batch:
        return self.recipe.make(request)


class _Requests:
    """The requests of the epoch that is to begin."""

    def __init__(self) -> None:
        self.current: Iterable[Request] = ()

    def __iter__(self) -> Iterator[Request]:
        return iter(self.current)

    def __len__(self) -> int:
        raise TypeError("the loader knows its length")


def _unchanged(batch: Batch) -> Batch:
    return batch
