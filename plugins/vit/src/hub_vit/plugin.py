"""What hub-vit declares to hub."""

from hub import Family, hookimpl

from hub_vit.variants import RENAMED, VARIANTS, WEIGHTS


@hookimpl
def hub_models() -> list[Family]:
    """Return the plain vision transformers."""
    return [
        Family(
            name="vision_transformer",
            model="hub_vit.model:VisionTransformer",
            variants=VARIANTS,
            weights=WEIGHTS,
            renamed=RENAMED,
            converter="hub_vit.convert:convert",
            # Sizes: those with dynamic_img_size, a few here, take any whole number of patches.
        )
    ]
