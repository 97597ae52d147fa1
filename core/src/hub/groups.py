"""Parameters by depth: for layer-wise learning rates, for freezing, for optimizer groups."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, Literal, overload

from torch import nn

if TYPE_CHECKING:
    from hub.backbone import Backbone

Matcher = Callable[[str], int]


def depth_of_parameters(
    model: nn.Module, paths: Sequence[str], head: Collection[str], coarse: bool
) -> Matcher:
    """Return a function from the name of a parameter to its depth.

    Depth grows in the order of registration: what stands before the first level is the stem, 0;
    each level begins a new depth, and unless `coarse` each of its blocks; what follows a level
    belongs to it; the head is the last.

    Args:
        model: the network.
        paths: modules of the levels, in order.
        head: names of the head's modules.
        coarse: a depth per level instead of one per block.
    """
    starts = []
    for path in paths:
        blocks = [] if coarse else _blocks(model.get_submodule(path), path)
        starts += [path, *blocks[1:]]  # a level begins with its first block
    depths: dict[str, int] = {}
    last: list[str] = []
    depth = 0
    for name, _ in model.named_parameters(remove_duplicate=False):
        if name.partition(".")[0] in head:
            last.append(name)
            continue
        begun = [start for start in starts if name.startswith(f"{start}.")]
        if begun:
            starts = [start for start in starts if start not in begun]
            depth += 1 if depths else 0
        depths[name] = depth
    depths |= dict.fromkeys(last, depth + 1)

    def matcher(name: str) -> int:
        if name in depths:
            return depths[name]
        within = [d for n, d in depths.items() if n.startswith(f"{name}.")]
        if not within:
            raise KeyError(f"{name!r} is no parameter of this network, and holds none")
        return min(within)

    return matcher


def _blocks(module: nn.Module, path: str) -> list[str]:
    """Return the paths of the blocks of a level: its children, or those of its `blocks`."""
    inner = getattr(module, "blocks", None)
    if isinstance(inner, nn.Sequential | nn.ModuleList):
        module, path = inner, f"{path}.blocks"
    if not isinstance(module, nn.Sequential | nn.ModuleList):
        return []
    return [f"{path}.{name}" for name, _ in module.named_children()]


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


def freeze(model: Backbone, upto: str | None = None) -> list[str]:
    """Freeze a network from the image up to a module: its parameters, its batch statistics.

    Args:
        model: the network.
        upto: path of the last module to freeze ("layer3", "blocks.5"); None for all but the head.

    Returns:
        Names of the frozen parameters.

    Raises:
        ValueError: the network has no such module with parameters.
    """
    depths = group_parameters(model, model.group_matcher(), reverse=True)
    if upto is None:
        limit = max(depths.values()) - 1
    else:
        within = [d for name, d in depths.items() if name.startswith(f"{upto}.")]
        if not within:
            levels = [row["module"] for row in model.feature_info]
            raise ValueError(
                f"upto={upto!r} names no module with parameters; levels are {', '.join(levels)}"
            )
        limit = max(within)
    frozen = [name for name, depth in depths.items() if depth <= limit]
    owners = {name.rpartition(".")[0] for name in frozen}
    for name in frozen:
        model.get_parameter(name).requires_grad_(False)
    for owner in owners:
        module = model.get_submodule(owner)
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module._frozen_statistics = True  # type: ignore[assignment]
            module.training = False
    return frozen


def unfreeze(model: nn.Module) -> None:
    """Undo `freeze`: every parameter learns again, every norm follows the mode of the network."""
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    for module in model.modules():
        if getattr(module, "_frozen_statistics", False):
            del module._frozen_statistics
            module.training = model.training
