"""What hub-acme declares to hub. Nothing here imports torch, so that listing stays fast."""

from __future__ import annotations

from hub import Family, hookimpl

from hub_acme.variants import VARIANTS, WEIGHTS


@hookimpl
def hub_models() -> list[Family]:
    """Return the families of this plugin."""
    return [
        Family(
            name="acme",
            model="hub_acme.model:AcmeNet",
            variants=VARIANTS,
            weights=WEIGHTS,
        )
    ]
