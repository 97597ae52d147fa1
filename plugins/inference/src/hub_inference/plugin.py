"""What hub-inference adds to hub: `hub.optimize`, `hub.fuse` and what belongs to them."""

from __future__ import annotations

from hub import hookimpl


@hookimpl
def hub_attributes() -> dict[str, str]:
    """Offer what makes a network ready for inference."""
    return {
        "OptimizationError": "hub_inference.errors:OptimizationError",
        "fuse": "hub_inference.fusing:fuse",
        "optimize": "hub_inference.optimizing:optimize",
        "reparameterize_model": "hub_inference.reparameterizing:reparameterize_model",
    }
