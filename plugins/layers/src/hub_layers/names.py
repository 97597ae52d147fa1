"""How a name becomes a layer: one mechanism for activations, norms, attentions and anti-aliasing.

A variant says `"act_layer": "silu"`; the network asks the table of activations. A class, a
`functools.partial` or any other factory passes through, so that whoever brings an own layer needs
no registration.
"""

import difflib
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Generic, TypeVar, overload

from torch import nn

LayerFactory = Callable[..., nn.Module]
LayerType = str | LayerFactory
Entry = TypeVar("Entry")


def normalize_name(name: str) -> str:
    """`"Layer_Norm-2d"` -> `"layernorm2d"`: case, underscores and hyphens carry no meaning."""
    return name.lower().replace("_", "").replace("-", "")


class UnknownLayerError(ValueError, KeyError):
    """No layer of this kind has this name. A KeyError too, because timm raises one here."""

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError would show the repr of the message


class NameTable(Mapping[str, Entry], Generic[Entry]):
    """Names of one kind of layer.

    Args:
        kind: what the entries are, in the singular; used in error messages.
        entries: name -> entry.
    """

    def __init__(self, kind: str, entries: Mapping[str, Entry]) -> None:
        self.kind = kind
        self.entries = dict(entries)
        self._index = {normalize_name(name): entry for name, entry in entries.items()}

    def __getitem__(self, name: str) -> Entry:
        try:
            return self._index[normalize_name(name)]
        except KeyError:
            raise UnknownLayerError(self.explain(name)) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def explain(self, name: object) -> str:
        """The message for a name that this table lacks: what was given, the nearest, all names."""
        close = difflib.get_close_matches(str(name).lower(), self.entries, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        return f"unknown {self.kind} {name!r}.{hint} Known: {', '.join(self.entries)}"


@overload
def resolve_layer(table: Mapping[str, LayerFactory], layer: LayerType) -> LayerFactory: ...
@overload
def resolve_layer(table: Mapping[str, LayerFactory], layer: None) -> None: ...
@overload
def resolve_layer(
    table: Mapping[str, LayerFactory], layer: LayerType | None
) -> LayerFactory | None: ...
def resolve_layer(
    table: Mapping[str, LayerFactory], layer: LayerType | None
) -> LayerFactory | None:
    """A name becomes its table entry, a factory stays itself, `None` and `""` mean no layer.

    Raises:
        UnknownLayerError: the name is not in the table.
        TypeError: `layer` is neither a name nor callable.
    """
    if layer is None or layer == "":
        return None
    if isinstance(layer, str):
        return table[layer]
    if not callable(layer):
        raise TypeError(f"expected a name, a class or a partial, got {layer!r}")
    return layer


@functools.lru_cache(maxsize=256)
def accepts(factory: LayerFactory, parameter: str) -> bool:
    """Whether `factory(..., parameter=...)` is valid; a catch-all `**kwargs` does not count."""
    try:
        return parameter in inspect.signature(factory).parameters
    except (TypeError, ValueError):  # builtins without a signature
        return False
