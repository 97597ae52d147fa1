"""Parameters by depth: for layer-wise learning rates, for freezing, for optimizer groups."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, Literal, overload

from torch import nn

from hub.suggest import did_you_mean

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


def freeze(
    model: nn.Module,
    submodules: str | Sequence[str] = (),
    include_bn_running_stats: bool = True,
    *,
    upto: str | None = None,
) -> list[str]:
    """Freeze a network: parameters learn no more, running statistics of norms stand still.

    Without `submodules` and `upto`, all but the head of the network is frozen: all of a feature
    extractor, which has none. What a wrapper (a detector, DistributedDataParallel) has beside the
    network goes on learning.

    Args:
        model: a network, or a module that holds one.
        submodules: paths of modules or parameters, as in timm: freeze these and what is in them.
        include_bn_running_stats: False lets the statistics of frozen norms move in training.
        upto: freeze from the image up to this module of the network ("layer3", "blocks.5").

    Returns:
        Names of the frozen parameters.

    Raises:
        TypeError: there is no `Backbone` in `model`, and `submodules` names nothing.
        ValueError: there is no such module.
    """
    if submodules:
        is_frozen = _named_by(model, submodules)
    else:
        is_frozen = _before_the_head(model) if upto is None else _reached(model, upto)
    frozen = [name for name, _ in model.named_parameters() if is_frozen(name)]
    for name in frozen:
        model.get_parameter(name).requires_grad_(False)
    if include_bn_running_stats:
        for path, module in model.named_modules():
            if is_frozen(path) and any(name.startswith("running_") for name in module._buffers):
                module.train = functools.partial(_train_without_statistics, module)
                module.training = False
    return frozen


def unfreeze(
    model: nn.Module, submodules: str | Sequence[str] = (), include_bn_running_stats: bool = True
) -> None:
    """Undo `freeze`: parameters learn again, norms follow the mode of the network.

    Args:
        model: a network, or any module.
        submodules: paths of modules or parameters; default: all.
        include_bn_running_stats: False leaves the statistics of frozen norms where they are.

    Raises:
        ValueError: there is no such module.
    """
    is_meant = _named_by(model, submodules or "")
    for name, parameter in model.named_parameters():
        if is_meant(name):
            parameter.requires_grad_(True)
    for path, module in model.named_modules():
        held = getattr(vars(module).get("train"), "func", None) is _train_without_statistics
        if include_bn_running_stats and held and is_meant(path):
            del module.train
            module.training = model.training


def _train_without_statistics(norm: nn.Module, mode: bool = True) -> nn.Module:
    """Stands for `train` of a norm that is frozen: whatever holds it, it stays as it is."""
    type(norm).train(norm, mode)
    norm.training = False
    return norm


def _named_by(model: nn.Module, submodules: str | Sequence[str]) -> Callable[[str], bool]:
    """Return whether a path lies in one of the modules named."""
    paths = (submodules,) if isinstance(submodules, str) else tuple(submodules)
    known = {name for name, _ in (*model.named_modules(), *model.named_parameters())}
    for path in paths:
        if path not in known:
            raise ValueError(
                f"{path!r} is no module and no parameter of this {type(model).__name__}"
                f"{did_you_mean(str(path), known)} Give paths as in model.named_modules()"
            )
    return lambda name: any(not p or f"{name}.".startswith(f"{p}.") for p in paths)


def _backbones(model: nn.Module) -> dict[str, Backbone]:
    """Return the outermost networks in a module, by what their paths begin with."""
    from hub.backbone import Backbone

    found: dict[str, Backbone] = {}
    for path, module in model.named_modules():
        if isinstance(module, Backbone) and not any(path.startswith(p) for p in found):
            found[f"{path}." if path else ""] = module
    if not found:
        raise TypeError(
            f"there is no hub.Backbone in this {type(model).__name__}, so nobody knows where its "
            'head begins: name what to freeze, freeze(model, ["stem", "layer1"])'
        )
    return found


def _before_the_head(model: nn.Module) -> Callable[[str], bool]:
    from hub.wrappers import FeatureGraphNet

    if isinstance(model, FeatureGraphNet):  # it has maps and no head
        return lambda name: True
    heads = {prefix: net._head_roots() for prefix, net in _backbones(model).items()}

    def is_frozen(name: str) -> bool:
        inside = [p for p in heads if name.startswith(p)]
        return any(name.removeprefix(p).partition(".")[0] not in heads[p] for p in inside)

    return is_frozen


def _reached(model: nn.Module, upto: str) -> Callable[[str], bool]:
    reached: set[str] = set()
    for prefix, net in _backbones(model).items():
        own = _depths_of_all(net)
        path = str(upto).removeprefix(prefix)
        if path not in own:
            levels = [row["module"] for row in net.feature_info[: net._num_levels]]
            raise ValueError(
                f"upto={upto!r} is no module of the network{did_you_mean(path, own)} Its levels "
                f"are {', '.join(levels)}; any path of model.named_modules() will do"
            )
        limit = max(d for n, d in own.items() if f"{n}.".startswith(f"{path}."))
        reached |= {f"{prefix}{name}" for name, depth in own.items() if depth <= limit}
    return lambda name: name in reached


def _depths_of_all(model: Backbone) -> dict[str, int]:
    """Return the depth of each parameter and module; without parameters, that of what precedes."""
    matcher = model.group_matcher()
    depths: dict[str, int] = {}
    latest = 0
    for path, module in model.named_modules():
        own = [f"{path}.{name}".lstrip(".") for name, _ in module.named_parameters(recurse=False)]
        depths |= {name: matcher(name) for name in own}
        latest = max((latest, *(depths[name] for name in own)))
        if path:
            depths[path] = latest
    return depths
