"""What builds an architecture. Torch is imported when it is called."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from hub.builder.weights import resolve_weights
from hub.family import Weights
from hub.importing import load_object
from hub.registry import Architecture

if TYPE_CHECKING:
    from torch import nn


@functools.cache
def entrypoint(architecture: Architecture) -> Callable[..., nn.Module]:
    """Return the function that builds an architecture: `fn(pretrained=False, **kwargs)`.

    A function that was registered is its own; a class, and what a family declares, is built by
    `build_model_with_cfg`.
    """
    registered, family = architecture.registered, architecture.family
    if registered is not None and not isinstance(registered, type):
        return registered

    def build(
        pretrained: bool = False,
        pretrained_cfg: Weights | Mapping[str, Any] | str | None = None,
        **kwargs: Any,
    ) -> nn.Module:
        from hub.builder.build import build_model_with_cfg

        model_cls = registered
        if family is not None:
            model_cls = load_object(family.model)
            kwargs = {**family.variants[architecture.name], **kwargs}
            if family.converter is not None:
                kwargs.setdefault("pretrained_filter_fn", load_object(family.converter))
        assert model_cls is not None
        # By name another plugin's weights might be found.
        weights = resolve_weights(architecture, pretrained_cfg)
        name = architecture.name
        model: nn.Module = build_model_with_cfg(model_cls, name, pretrained, weights, **kwargs)
        return model

    build.__name__ = build.__qualname__ = architecture.name
    build.__doc__ = f"Build {architecture.name} of {architecture.module}; see `hub.create_model`."
    return build
