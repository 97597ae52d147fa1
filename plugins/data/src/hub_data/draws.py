"""Where augmentations draw from: the generators of the sample at hand, else the global ones.

A loader binds a seed to each sample before it is transformed. What is drawn then depends on that
seed alone: not on the number of workers, on whether they are threads or processes, on what other
samples drew, or on where training was resumed. Threads share the global generators of `random` and
numpy; these ones they do not share.

Transforms use `python_draws` as they would the module `random`, and `numpy_draws` as they would
`numpy.random`, and give `torch_generator()` to torch's functions. Outside of a loader these are the
global generators, so `random.seed` and `torch.manual_seed` work as ever.

>>> with seeded(7):
...     first = python_draws.random(), numpy_draws.randint(100)
>>> with seeded(7):
...     first == (python_draws.random(), numpy_draws.randint(100))
True
"""

from __future__ import annotations

import random
import threading
from types import TracebackType
from typing import Any

import numpy as np
import torch

_MASK = 2**64 - 1


class _Thread(threading.local):
    """The generators of one thread; None where the global ones are to be used."""

    def __init__(self) -> None:
        self.seed: int | None = None
        self.python: random.Random | None = None
        self.numpy: np.random.RandomState | None = None
        self._made_python = random.Random()
        self.torch: torch.Generator | None = None
        self._made_numpy: np.random.RandomState | None = None
        self._made_torch: torch.Generator | None = None

    def bind(self, seed: int | None) -> None:
        self.seed, self.python, self.numpy, self.torch = seed, None, None, None

    def python_generator(self) -> random.Random:
        if self.python is None:
            self._made_python.seed(self.seed)
            self.python = self._made_python
        return self.python

    def numpy_generator(self) -> np.random.RandomState:
        if self.numpy is None:
            assert self.seed is not None
            value = (self.seed ^ self.seed >> 32) & 0xFFFFFFFF
            if self._made_numpy is None:
                self._made_numpy = np.random.RandomState(value)
            else:
                self._made_numpy.seed(value)
            self.numpy = self._made_numpy
        return self.numpy

    def torch_generator(self) -> torch.Generator:
        if self.torch is None:
            assert self.seed is not None
            if self._made_torch is None:
                self._made_torch = torch.Generator()
            self.torch = self._made_torch.manual_seed(self.seed >> 1)  # torch takes 63 bits
        return self.torch


_thread = _Thread()


class _PythonDraws:
    """The functions of the module `random`, for the sample at hand."""

    def __getattr__(self, name: str) -> Any:
        return getattr(random if _thread.seed is None else _thread.python_generator(), name)


class _NumpyDraws:
    """The functions of `numpy.random`, for the sample at hand."""

    def __getattr__(self, name: str) -> Any:
        return getattr(np.random if _thread.seed is None else _thread.numpy_generator(), name)


python_draws: Any = _PythonDraws()
numpy_draws: Any = _NumpyDraws()


def torch_generator() -> torch.Generator | None:
    """Return torch's generator on the CPU for the sample at hand; None for the global one."""
    return None if _thread.seed is None else _thread.torch_generator()


class seeded:
    """Let what this thread draws inside the `with` block depend on `seed` alone.

    Args:
        seed: a whole number of up to 64 bits.
    """

    __slots__ = ("_before", "_seed")

    def __init__(self, seed: int) -> None:
        self._seed = seed & _MASK

    def __enter__(self) -> None:
        self._before = _thread.seed
        _thread.bind(self._seed)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _thread.bind(self._before)


def current_seed() -> int | None:
    """Return the seed that is bound in this thread, or None."""
    return _thread.seed


def mix(*parts: int) -> int:
    """Return a 64-bit seed that depends on all `parts` and their order.

    Neighbouring parts give unrelated seeds (the finaliser of SplitMix64, Steele et al. 2014).
    """
    state = 0
    for part in parts:
        state = (state ^ part & _MASK) + 0x9E3779B97F4A7C15 & _MASK
        state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & _MASK
        state = (state ^ state >> 27) * 0x94D049BB133111EB & _MASK
        state ^= state >> 31
    return state
