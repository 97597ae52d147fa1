"""What hub-resnet declares to hub."""

from hub import Family, hookimpl

from hub_resnet.variants import RENAMED, VARIANTS, WEIGHTS


@hookimpl
def hub_models() -> list[Family]:
    """Return the residual networks."""
    return [
        Family(
            name="resnet",
            model="hub_resnet.model:ResNet",
            variants=VARIANTS,
            weights=WEIGHTS,
            renamed=RENAMED,
        )
    ]
