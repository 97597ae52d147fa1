"""What a check is: a promise, what it is found to be, and where the author can read of it."""

from __future__ import annotations

import functools
import gc
import importlib
import inspect
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
from hub import registry
from torch import Tensor

from hub_kit import ConformanceError

#: Largest relative error (of the norm) between two ways of computing the same.
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 1e-1}


class Check(Protocol):
    """A function of an architecture's name that raises `ConformanceError`."""

    __name__: str
    #: Names of the checks without which it says nothing of its own.
    rests_on: tuple[str, ...]

    def __call__(self, name: str) -> None:
        """Hold a network to the promise."""


def promise(
    section: str, *, rests_on: tuple[str, ...] = ("check_builds", "check_levels")
) -> Callable[[Callable[[str], None]], Check]:
    """Make a check of a function whose docstring states the promise that it holds a network to.

    Whatever the function raises becomes a `ConformanceError` that says what was found, what the
    promise is, where in the author's code it came to light, and which section of docs/contract.md
    describes it. Random numbers are seeded.
    """

    def make(function: Callable[[str], None]) -> Check:
        contract = " ".join((function.__doc__ or "").partition("\n\n")[0].split())

        @functools.wraps(function)
        def check(name: str) -> None:
            with torch.random.fork_rng(devices=[]), _uncollected():
                torch.manual_seed(0)
                try:
                    function(name)
                except Exception as e:
                    known = isinstance(e, ConformanceError)
                    lines = [str(e) if known else f"{type(e).__name__}: {e}"]
                    lines.append(f"contract: {contract}")
                    lines += [f"at: {place}" for place in [_place(name, e)] if place]
                    lines.append(f"see: docs/contract.md#{section}")
                    raise ConformanceError(f"{name}: " + "\n  ".join(lines)) from e

        check.rests_on = rests_on  # type: ignore[attr-defined]
        return check  # type: ignore[return-value]

    return make


@contextmanager
def _uncollected() -> Iterator[None]:
    """Put off garbage collection: networks are many objects, and walking them takes a quarter."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def _place(name: str, error: BaseException) -> str:
    """Return file and line of the author's code where an error came from, else of the class."""
    family = registry.find(name)[0].family
    if family is None:
        return ""
    module, _, attribute = family.model.partition(":")
    cls = getattr(importlib.import_module(module), attribute)
    top = importlib.import_module(module.partition(".")[0])
    package = Path(inspect.getfile(top)).parent
    cause: BaseException | None = error
    while cause is not None:
        frames = traceback.extract_tb(cause.__traceback__)
        own = [frame for frame in frames if package in Path(frame.filename).parents]
        if own:
            called = f", called from {_line(own[0])}" if len(own) > 1 else ""
            return _line(own[-1]) + called
        cause = cause.__cause__
    file, line = inspect.getsourcefile(cls), inspect.getsourcelines(cls)[1]
    return f"{_short(str(file))}:{line}, class {cls.__name__}"


def _line(frame: traceback.FrameSummary) -> str:
    return f"{_short(frame.filename)}:{frame.lineno}, in {frame.name}"


def _short(path: str) -> str:
    """Return a path as it is seen from the working directory, if it lies below."""
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except ValueError:
        return path


def expect(condition: bool, found: str) -> None:
    """Raise unless a condition holds; `found` says what was seen instead."""
    if not condition:
        raise ConformanceError(found)


def expect_equal(found: Any, wanted: Any, what: str) -> None:
    """Raise unless two plain values are equal."""
    expect(found == wanted, f"{what}: {found!r}, where {wanted!r} is due")


def expect_close(
    found: Tensor, wanted: Tensor, what: str, dtype: Any = torch.float32, hint: str = ""
) -> None:
    """Raise unless two tensors are equal up to the rounding of `dtype`; `hint` says why not."""
    expect_equal(tuple(found.shape), tuple(wanted.shape), f"shape of {what}")
    found, wanted = found.detach().float(), wanted.detach().float()
    scale = wanted.norm().clamp(min=1e-12)
    error = float((found - wanted).norm() / scale)
    expect(
        error <= TOLERANCE[dtype],
        f"{what} differ by {error:.2g} of their norm, more than {TOLERANCE[dtype]:.0e}{hint}",
    )


def expect_error(
    kinds: tuple[type[Exception], ...],
    what: str,
    call: Callable[..., Any],
    *args: Any,
    **kwargs: Any,
) -> None:
    """Raise unless a call is refused with one of these errors."""
    names = " or ".join(kind.__name__ for kind in kinds)
    try:
        call(*args, **kwargs)
    except kinds:
        return
    except Exception as e:
        raise ConformanceError(f"{what} raises {type(e).__name__} ({e}) in place of {names}") from e
    raise ConformanceError(f"{what} is accepted, where {names} is due")
