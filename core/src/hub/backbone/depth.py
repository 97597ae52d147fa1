"""Depth of parameters: for layer-wise learning rates, for freezing, for optimizer groups."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any, Literal, overload

from torch import nn

from hub.backbone.blocks import BlockSequence

Matcher = Callable[[str], int]


def depth_of_parameters(
    model: nn.Module, levels: Iterable[str], head: Collection[str], coarse: bool
) -> Matcher:
    """Return a function from the name of a parameter to its depth.

    Depth grows in the order of registration. What stands before the first unit is the stem, 0; each
    unit begins a new depth, what follows one belongs to it, and the head is the last. A unit is a
    level and, unless `coarse`, each child of a sequence that is a level, that levels lie in, or
    whose blocks can be checkpointed.

    Args:
        model: the network.
        levels: paths of what the levels consist of.
        head: names of the head's modules.
        coarse: a depth per level instead of one per block.
    """
    units = set(levels)
    if not coarse:
        units |= _blocks(model, units)
    depths: dict[str, int] = {}
    last: list[str] = []
    depth, current = 0, ""
    for name, _ in model.named_parameters(remove_duplicate=False):
        if name.partition(".")[0] in head:
            last.append(name)
            continue
        unit = _innermost(name, units) or current
        if unit != current and depths:
            depth += 1
        current, depths[name] = unit, depth
    depths |= dict.fromkeys(last, depth + 1)

    def matcher(name: str) -> int:
        if name in depths:
            return depths[name]
        within = [d for n, d in depths.items() if n.startswith(f"{name}.")]
        if not within:
            raise KeyError(f"{name!r} is no parameter of this network, and holds none")
        return min(within)

    return matcher


def _innermost(name: str, units: Collection[str]) -> str:
    """Return the unit that a parameter lies in, the innermost of several; empty for none."""
    path = name
    while path and path not in units:
        path = path.rpartition(".")[0]
    return path


def _blocks(model: nn.Module, levels: Collection[str]) -> set[str]:
    """Return the paths of what the sequences of a network hold, where levels have to do with it."""
    around = {path.rpartition(".")[0] for path in levels} | set(levels)
    return {
        f"{path}.{name}"
        for path, module in model.named_modules()
        if isinstance(module, BlockSequence)
        or (path and path in around and isinstance(module, nn.Sequential | nn.ModuleList))
        for name, _ in module.named_children()
    }


@overload
def group_parameters(
    module: nn.Module,
    group_matcher: Matcher,
    return_values: Literal[False] = False,
    reverse: Literal[False] = False,
) -> dict[int, list[str]]: ...
@overload
def group_parameters(
    module: nn.Module,
    group_matcher: Matcher,
    return_values: Literal[True],
    reverse: Literal[False] = False,
) -> dict[int, list[nn.Parameter]]: ...
@overload
def group_parameters(
    module: nn.Module,
    group_matcher: Matcher,
    return_values: bool = False,
    *,
    reverse: Literal[True],
) -> dict[str, int]: ...
def group_parameters(
    module: nn.Module,
    group_matcher: Matcher,
    return_values: bool = False,
    reverse: bool = False,
) -> dict[Any, Any]:
    """Group the parameters of a network by depth.

    Args:
        module: the network.
        group_matcher: `model.group_matcher()`.
        return_values: give the parameters instead of their names.
        reverse: map names to depths instead of depths to names.

    Returns:
        Depth to list of names (or parameters), from the stem on; or name to depth.
    """
    depths = {name: group_matcher(name) for name, _ in module.named_parameters()}
    if reverse:
        return depths
    groups: dict[int, list[Any]] = {depth: [] for depth in sorted(set(depths.values()))}
    for name, parameter in module.named_parameters():
        groups[depths[name]].append(parameter if return_values else name)
    return groups
