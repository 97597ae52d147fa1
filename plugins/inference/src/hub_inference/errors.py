"""What hub-inference raises beside ValueError."""

from __future__ import annotations

from hub import HubError


class OptimizationError(HubError):
    """An optimised copy of a network would have other outputs than the network."""
