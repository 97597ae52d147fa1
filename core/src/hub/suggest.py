"""Near misses, for error messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(given: str, allowed: Iterable[str], *, most: int = 3) -> str:
    """Return the end of a sentence: ". Did you mean a, b?", or "." where nothing is near.

    Case and blanks around a word do not count.
    """
    names = {name.casefold(): name for name in allowed}
    given = given.strip().casefold()
    near = difflib.get_close_matches(given, names, n=most, cutoff=0.6)
    near += [name for name in names if given and name.startswith(given) and name not in near]
    return f". Did you mean {' or '.join(names[n] for n in near[:most])}?" if near else "."
