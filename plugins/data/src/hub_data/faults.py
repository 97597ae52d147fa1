"""What happens to samples that cannot be read: raise, substitute, or skip; counted in each case.

Loader workers are processes, so each notes what it met in its own row of a table in shared memory;
at the end of an epoch the rows of all workers become one report, and those of all ranks on request.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar, get_args

import torch
import torch.distributed
from hub import HubError
from torch.utils.data import get_worker_info

from hub_data.pixel_range import PixelRangeError
from hub_data.readers.indexed import natural_key

_logger = logging.getLogger(__name__)

#: What is wrong with the code, the machine or a setting, not with a sample: never passed over.
NOT_DAMAGE = (MemoryError, ImportError, PixelRangeError)
OnError = Literal["substitute", "skip", "raise"]
MAX_CONSECUTIVE = 10  # damaged samples in a row: by then it is the disk, or the code
_ROWS = 129  # the main process and 128 workers
_REMEMBERED = 31  # samples that a row can name; all are counted

Sample = TypeVar("Sample")


class DamagedSampleError(HubError):
    """A sample could not be read, and the policy does not, or no longer, pass over it."""


class SkippedSampleError(DamagedSampleError):
    """A sample could not be read and is to be left out of its batch."""


@dataclass(frozen=True)
class FaultReport:
    """What could not be read in an epoch, on all ranks together.

    Args:
        count: how often a sample could not be read.
        samples: names of those samples, each once, in order; of very many, some.
        policy: what was done about it.
        num_samples: length of the data set.
    """

    count: int
    samples: tuple[str, ...]
    policy: OnError
    num_samples: int

    def __str__(self) -> str:
        done = {"substitute": "replaced by their successors", "skip": "left out"}
        names = ", ".join(self.samples[:5]) + (", ..." if len(self.samples) > 5 else "")
        return (
            f"{self.count} of {self.num_samples} samples could not be read and were "
            f"{done.get(self.policy, 'raised')}{names and ': '}{names} (`hub data check` finds all)"
        )


class Faults:
    """The policy of a data set and the account of what it met.

    Args:
        on_error: "substitute" takes the next sample that can be read, "skip" leaves the sample
            out of its batch (the number of batches stays, so ranks stay in step), "raise" ends.
        max_consecutive: so many damaged samples in a row raise in any case.

    Raises:
        ValueError: there is no such policy.
    """

    def __init__(
        self, on_error: OnError = "substitute", max_consecutive: int = MAX_CONSECUTIVE
    ) -> None:
        if on_error not in get_args(OnError):
            allowed = ", ".join(get_args(OnError))
            raise ValueError(f"on_error={on_error!r}: choose from {allowed}")
        self.on_error = on_error
        self.max_consecutive = max_consecutive
        # Row of a process: how many were damaged, then the indices of the first of them.
        self._table = torch.zeros(_ROWS, 1 + _REMEMBERED, dtype=torch.int64)
        self._table.share_memory_()  # type: ignore[no-untyped-call]
        self._in_a_row = 0
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _lock=threading.Lock())

    def load(
        self,
        index: int,
        load: Callable[[int], Sample],
        length: int,
        name: Callable[[int], str] = str,
    ) -> Sample | None:
        """Return `load(index)`, or what the policy puts in its place: None for nothing.

        Args:
            index: the sample.
            load: reads a sample; whatever it raises counts as damage, but for `NOT_DAMAGE`.
            length: number of samples; the successor of the last is the first.
            name: index to name, for messages.

        Raises:
            DamagedSampleError: the policy is to raise, or too many in a row are damaged.
        """
        for attempt in range(self.max_consecutive):
            current = (index + attempt) % length
            try:
                sample = load(current)
            except NOT_DAMAGE as error:
                error.add_note(f"while {sample_name(current, name)} was read")
                raise
            except Exception as error:  # decoders raise whatever a damaged file provokes in them
                self.note(current, error, name)
                if self.on_error == "skip":
                    return None
            else:
                self.passed()
                return sample
        # Where threads share this account, `note` may have been told of others in between.
        raise DamagedSampleError(
            f"{self.max_consecutive} samples in a row, from {sample_name(index, name)} on, could "
            "not be read"
        )

    def passed(self) -> None:
        """Say that a sample could be read: the damaged ones before it were no series."""
        self._in_a_row = 0

    def note(self, index: int, error: Exception, name: Callable[[int], str] = str) -> None:
        """Count a damaged sample; return if the policy is to go on.

        Raises:
            DamagedSampleError: the policy is to raise, or too many in a row were damaged.
        """
        worker = get_worker_info()
        row = self._table[(worker.id + 1) % _ROWS if worker else 0]
        with self._lock:  # against threads; another worker has another row
            row[0] += 1
            seen = int(row[0])
            if seen <= _REMEMBERED:
                row[seen] = index
            self._in_a_row += 1
        what = f"{sample_name(index, name)} cannot be read: {type(error).__name__}: {error}"
        if self.on_error == "raise":
            raise DamagedSampleError(
                f"{what} (on_error='substitute' or 'skip' passes over it; `hub data check` finds "
                "all damaged files)"
            ) from error
        if self._in_a_row >= self.max_consecutive:
            raise DamagedSampleError(
                f"{self._in_a_row} samples in a row could not be read, the last: {what}"
            ) from error
        _logger.warning("sample %d: %s", index, what)

    def end_epoch(
        self, num_samples: int, name: Callable[[int], str] | None = str, *, gather: bool = True
    ) -> FaultReport:
        """Return what happened since the last call, the same on all ranks, and start anew.

        A count above 0 is logged, once. Call it in the main process, when the workers are done.

        Args:
            num_samples: length of the data set.
            name: index to name; None where samples have none to find them by.
            gather: ask the other ranks, if there are any; all have to call it then.
        """
        count, indices = int(self._table[:, 0].sum()), self._table[:, 1:]
        filled = torch.arange(_REMEMBERED) < self._table[:, :1]
        seen = sorted(set(indices[filled].tolist()))
        self._table.zero_()
        self._in_a_row = 0
        names = tuple(sample_name(index, name) for index in seen) if name else ()
        report = FaultReport(count, names, self.on_error, num_samples)
        if gather:
            report = over_ranks(report)
        if report.count and (not gather or num_ranks() == 1 or torch.distributed.get_rank() == 0):
            _logger.warning("%s", report)
        return report


def sample_name(index: int, name: Callable[[int], str]) -> str:
    """Return the name of a sample, or its number where the damage reaches its name."""
    try:
        return name(index)
    except Exception:
        return f"sample {index}"


def joined(reports: Sequence[FaultReport]) -> FaultReport:
    """Return one report of several on one data set, or on parts of it."""
    names = {name: None for report in reports for name in report.samples}
    count = sum(report.count for report in reports)
    return replace(reports[0], count=count, samples=tuple(sorted(names, key=natural_key)))


def over_ranks(report: FaultReport) -> FaultReport:
    """Return what happened on all ranks together, the same on each; all have to call it."""
    if num_ranks() == 1:
        return report
    reports: list[Any] = [None] * num_ranks()
    torch.distributed.all_gather_object(reports, report)
    return joined(reports)


def num_ranks() -> int:
    """Return the number of processes that train together; 1 without torch.distributed."""
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_world_size()
    return 1
