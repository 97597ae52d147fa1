"""What a head is, and which layers of a network loading adapts to other classes and channels."""

from __future__ import annotations

from typing import Any, Protocol, TypeGuard

from torch import Tensor, nn


class Head(Protocol):
    """A head that keeps its own layers: pool, norm, hidden layer, dropout, classifier.

    The heads of `hub_layers` are such. A network whose `classifier_path` lies in one ("head.fc")
    writes no code for its head. `forward(x, pre_logits=False)` gives (B, num_classes), or with
    `pre_logits` (B, num_features), what the classifier sees.
    """

    #: Width of what the classifier sees.
    num_features: int

    @property
    def pool_type(self) -> str:
        """Name of the pool; empty for none."""

    def __call__(self, x: Any, pre_logits: bool = False) -> Any:
        """Run it."""

    def reset(self, num_classes: int, pool_type: str | None = None) -> None:
        """Make the classifier anew, with another pool if one is named; keep all other layers."""

    def strip(self, in_features: int) -> None:
        """Drop every layer: what is given, of `in_features` channels, comes out as it is."""


def is_head(module: object) -> TypeGuard[Head]:
    """Return whether a module keeps the protocol of a head."""
    return hasattr(module, "reset") and hasattr(module, "strip")


def layers_of_classes(model: nn.Module, paths: tuple[str, ...], num_classes: int) -> list[str]:
    """Return the paths of the layers in `paths` whose rows are classes."""
    return [
        ".".join(filter(None, (path, name)))
        for path in paths
        for name, layer in model.get_submodule(path).named_modules()
        if isinstance(layer, nn.Linear | nn.Conv2d) and layer.weight.shape[0] == num_classes
    ]


def layers_of_image(model: nn.Module, in_chans: int) -> list[str]:
    """Return the paths of what sees the image: the first convolution, and others of its stem.

    Empty where the first convolution sees something else than the channels of the image.
    """
    convs = [(path, m) for path, m in model.named_modules() if isinstance(m, nn.Conv2d)]
    if not convs or convs[0][1].in_channels != in_chans:
        return []
    stem = convs[0][0].partition(".")[0]
    return [
        path
        for path, m in convs
        if path.partition(".")[0] == stem and m.in_channels == in_chans and m.groups == 1
    ]


#: Pools that need no module; "" is none.
POOLS = ("token", "avg", "max", "avgmax", "")


def pool_by_name(x: Tensor, name: str, layout: str, num_prefix_tokens: int) -> Tensor:
    """Reduce features to (B, C).

    Args:
        x: features in `layout`.
        name: "token" (the first), "avg", "max" or "avgmax" (of the patches).
        layout: "NCHW", "NHWC" or "NLC".
        num_prefix_tokens: how many tokens in front are no patches.

    Raises:
        ValueError: there is no such pool.
    """
    if name not in POOLS:
        raise ValueError(
            f"global_pool={name!r}: it can be {', '.join(map(repr, POOLS))}; a network computes a "
            "pool of its own in forward_pool"
        )
    if name == "token":
        return x[:, 0]
    axes = {"NCHW": (2, 3), "NHWC": (1, 2), "NLC": (1,)}[layout]
    patches = x[:, num_prefix_tokens:] if layout == "NLC" else x
    if name == "avg":
        return patches.mean(axes)
    if name == "max":
        return patches.amax(axes)
    return 0.5 * (patches.mean(axes) + patches.amax(axes))
