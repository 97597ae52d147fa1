"""Networks made ready for inference: the same outputs in less time.

    import hub_inference

    fast = hub_inference.optimize(model)

`hub.optimize` and the others are the same functions. Importing hub_inference loads no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from hub_inference.errors import OptimizationError

if TYPE_CHECKING:
    from hub_inference.fusing import fuse
    from hub_inference.optimizing import Optimization, optimize
    from hub_inference.reparameterizing import Reparameterizable, reparameterize_model

# What needs torch, by module; imported when first asked for.
_LAZY = {
    "Optimization": "optimizing",
    "Reparameterizable": "reparameterizing",
    "fuse": "fusing",
    "optimize": "optimizing",
    "reparameterize_model": "reparameterizing",
}

__all__ = [
    "Optimization",
    "OptimizationError",
    "Reparameterizable",
    "fuse",
    "optimize",
    "reparameterize_model",
]


if not TYPE_CHECKING:  # a type checker would take any name for right

    def __getattr__(name: str) -> Any:
        if name in _LAZY:
            return getattr(importlib.import_module(f"hub_inference.{_LAZY[name]}"), name)
        raise AttributeError(f"module 'hub_inference' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
