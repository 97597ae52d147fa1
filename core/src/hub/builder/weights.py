"""Which weights a build goes by: the one place where a tag, a dict or nothing becomes `Weights`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hub import registry
from hub.errors import UnknownModelError
from hub.family import Weights


def resolve_weights(
    variant: registry.Architecture | str,
    pretrained_cfg: Weights | Mapping[str, Any] | str | None = None,
    pretrained_cfg_overlay: Mapping[str, Any] | None = None,
) -> Weights:
    """Return the one description of weights that a build goes by.

    timm calls it `resolve_pretrained_cfg`.

    Args:
        variant: an architecture, or its name, with or without a tag.
        pretrained_cfg: a complete description, or the tag of a registered one; default: that of
            the name, or else the first of the architecture.
        pretrained_cfg_overlay: fields that replace those of the description.

    Raises:
        TypeError: the overlay has a field that `Weights` has not.
        UnknownModelError: there is no such tag.
    """
    if isinstance(pretrained_cfg, Mapping):
        pretrained_cfg = Weights.from_dict(pretrained_cfg)
    if not isinstance(pretrained_cfg, Weights):
        pretrained_cfg = _declared(variant, pretrained_cfg or "")
    return pretrained_cfg.with_fields(pretrained_cfg_overlay or {})


def _declared(variant: registry.Architecture | str, tag: str) -> Weights:
    """Return the weights that an architecture declares, or what stands in for them."""
    if isinstance(variant, registry.Architecture):
        architecture, own = variant, ""
    else:
        try:
            architecture, own = registry.find(variant)
        except UnknownModelError:
            return Weights.undeclared(variant.partition(".")[0])
    return architecture.weights_for(tag or own) or Weights.undeclared(architecture.name)
