"""Take away what a network does not need any more."""

from __future__ import annotations

from typing import Any

from torch import nn

from hub.features import FeatureInfo


def parts_after(model: nn.Module, table: FeatureInfo, last: int) -> list[str]:
    """Return the paths of what no level up to `last` needs.

    That is what `modules` of the later rows name and no earlier row does; where rows do not state
    it, all that is registered after the module of the level, at each depth of its path.

    Args:
        model: the network.
        table: all of its levels.
        last: the last level that is left.
    """
    if "modules" in table[0]:
        needed = {path for row in table[: last + 1] for path in row["modules"]}
        return sorted({path for row in table[last + 1 :] for path in row["modules"]} - needed)
    if last + 1 == len(table):
        return []
    found: list[str] = []
    module, prefix = model, ""
    for name in table[last]["module"].split("."):
        names = list(module._modules)
        found += [f"{prefix}{later}" for later in names[names.index(name) + 1 :]]
        module, prefix = module.get_submodule(name), f"{prefix}{name}."
    return found


def drop(root: nn.Module, path: str, gone: bool = False) -> None:
    """Put an identity in the place of a module, None in that of a parameter.

    Args:
        root: the network.
        path: of the module or parameter; what is not there any more is passed over.
        gone: leave nothing in the place of a module.
    """
    owner, _, name = path.rpartition(".")
    parent: Any = root
    for part in filter(None, owner.split(".")):
        parent = getattr(parent, "_modules", {}).get(part)
    if parent is None:
        return
    if name in parent._parameters:
        parent._parameters[name] = None
    elif name in parent._modules:
        if gone:
            del parent._modules[name]
        else:
            parent._modules[name] = nn.Identity()
