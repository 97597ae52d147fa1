"""Numbers that stand for several: sizes, strides, channel counts."""

from collections.abc import Callable, Iterable
from itertools import repeat
from typing import Any


def to_ntuple(n: int) -> Callable[[Any], tuple[Any, ...]]:
    """Return a function that repeats a scalar `n` times; an iterable is made a tuple as it is."""

    def broadcast(x: Any) -> tuple[Any, ...]:
        if isinstance(x, Iterable) and not isinstance(x, str):
            return tuple(x)
        return tuple(repeat(x, n))

    return broadcast


to_2tuple = to_ntuple(2)
to_3tuple = to_ntuple(3)
to_4tuple = to_ntuple(4)


def make_divisible(
    v: float, divisor: int = 8, min_value: int | None = None, round_limit: float = 0.9
) -> int:
    """Round a channel count to the nearest multiple of `divisor` (MobileNet's rule).

    Args:
        v: the wished number of channels.
        divisor: the result is a multiple of it.
        min_value: smallest result; `divisor` if not given.
        round_limit: a result below this share of `v` is raised by one `divisor`.
    """
    nearest = int(v + divisor / 2) // divisor * divisor
    rounded = max(min_value or divisor, nearest)
    return rounded + divisor if rounded < round_limit * v else rounded
