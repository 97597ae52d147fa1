"""Attention of convolutional blocks by name; what only one family needs stays with that family."""

import functools
from typing import Any

from torch import nn

from ..names import LayerFactory, LayerType, NameTable, resolve_layer
from .cbam import CbamModule, LightCbamModule
from .eca import CecaModule, EcaModule
from .gather_excite import GatherExcite
from .global_context import GlobalContext
from .squeeze_excite import EffectiveSEModule, SEModule

ATTENTIONS: NameTable[LayerFactory] = NameTable(
    "attention",
    {
        "se": SEModule,
        "ese": EffectiveSEModule,
        "eca": EcaModule,
        "ecam": functools.partial(EcaModule, use_mlp=True),
        "ceca": CecaModule,
        "ge": GatherExcite,
        "gc": GlobalContext,
        "gca": functools.partial(GlobalContext, fuse_add=True, fuse_scale=False),
        "cbam": CbamModule,
        "lcbam": LightCbamModule,
    },
)


def get_attn(attn_type: LayerType | bool | None) -> LayerFactory | None:
    """Attention class of this name.

    Args:
        attn_type: a name; a class or partial stays; True is `"se"`; None, False and `""` are None.

    Raises:
        UnknownLayerError: no attention has this name.
    """
    if isinstance(attn_type, bool):
        return SEModule if attn_type else None
    return resolve_layer(ATTENTIONS, attn_type)


def create_attn(
    attn_type: LayerType | bool | None, channels: int, **kwargs: Any
) -> nn.Module | None:
    """Build an attention for `channels` channels; `kwargs` are its own options. See `get_attn`."""
    layer = get_attn(attn_type)
    return None if layer is None else layer(channels, **kwargs)
