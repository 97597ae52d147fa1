"""Networks saved as they are, and shared on the Hugging Face Hub.

    import hub_publish

    hub_publish.save_pretrained(model, "folder")

`hub.save_pretrained` and `hub.push_to_hub` are the same functions. Importing hub_publish loads no
torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hub_publish.pushing import push_to_hub
    from hub_publish.saving import save_pretrained

# Both need torch; imported when first asked for.
_LAZY = {"push_to_hub": "pushing", "save_pretrained": "saving"}

__all__ = ["push_to_hub", "save_pretrained"]


if not TYPE_CHECKING:  # a type checker would take any name for right

    def __getattr__(name: str) -> Any:
        if name in _LAZY:
            return getattr(importlib.import_module(f"hub_publish.{_LAZY[name]}"), name)
        raise AttributeError(f"module 'hub_publish' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
