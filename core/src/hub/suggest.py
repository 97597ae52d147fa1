"""Near misses, for error messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(given: str, allowed: Iterable[str], *, most: int = 3) -> str:
    """Return the end of a sentence: ". Did you mean a, b?", or "." where nothing is near."""
    names = list(allowed)
    near = difflib.get_close_matches(given, names, n=most, cutoff=0.6)
    near += [name for name in names if given and name.startswith(given) and name not in near]
    return f". Did you mean {' or '.join(near[:most])}?" if near else "."
