"""Freeze a network, or a part of it, and undo that."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

from torch import nn

from hub.backbone.backbone import Backbone
from hub.backbone.wrappers import FeatureGraphNet
from hub.suggest import did_you_mean


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
    if isinstance(model, FeatureGraphNet):  # it has maps and no head
        return lambda name: True
    heads = {prefix: net.head_names for prefix, net in _backbones(model).items()}

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
            levels = [row["module"] for row in net.levels_left if row["module"]]
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
