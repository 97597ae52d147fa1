"""Parameter groups: which parameters decay, and how fast each layer learns.

Works on any `nn.Module`. What a network says about itself is used: `no_weight_decay()` names
parameters that are not to decay, `group_matcher()` tells depths, in hub's form (a function) and in
timm's (a table of patterns).
"""

from __future__ import annotations

import re
import warnings
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from hub import HubWarning
from torch import Tensor, nn

Group = dict[str, Any]
#: In timm's tables of patterns this rank says: of one depth with the group before.
WITH_PREVIOUS = 99999


class Member(NamedTuple):
    """A parameter that learns, and what decides its group."""

    name: str
    parameter: Tensor
    decays: bool
    fallback: bool


def param_groups_weight_decay(
    model: nn.Module,
    weight_decay: float | None = 1e-5,
    weight_decay_exclude_1d: bool = True,
    no_weight_decay_list: Collection[str] = (),
    fallback_list: Collection[str] = (),
    fallback_no_weight_decay: bool = False,
) -> list[Group]:
    """Split the parameters that learn into those that decay and those that do not.

    Args:
        model: the network.
        weight_decay: of those that decay; with 0 or None none does.
        weight_decay_exclude_1d: spare biases and parameters of one axis, as norms have.
        no_weight_decay_list: patterns of names to spare as well.
        fallback_list: patterns of names that get groups with `use_fallback=True`.
        fallback_no_weight_decay: those of `no_weight_decay_list` get them too.

    Returns:
        Two groups, or four where some are for the fallback; empty ones are left out.

    Raises:
        ValueError: every parameter is frozen.
    """
    found = list(
        members(
            model,
            exclude_1d=weight_decay_exclude_1d,
            spared=no_weight_decay_list,
            fallback=_fallbacks(fallback_list, no_weight_decay_list, fallback_no_weight_decay),
        )
    )
    groups = []
    for fallback in (False, True):
        for decays in (False, True):
            rate = weight_decay if decays and weight_decay else 0.0
            params = [
                m.parameter
                for m in found
                if m.fallback == fallback and bool(m.decays and weight_decay) == decays
            ]
            group: Group = dict(params=params, weight_decay=rate)
            groups += [group | dict(use_fallback=True) if fallback else group] * bool(params)
    return groups


def param_groups_layer_decay(
    model: nn.Module,
    weight_decay: float = 0.05,
    no_weight_decay_list: Collection[str] = (),
    fallback_list: Collection[str] = (),
    fallback_no_weight_decay: bool = False,
    weight_decay_exclude_1d: bool = True,
    layer_decay: float = 0.75,
    min_scale: float = 0.0,
    no_opt_scale: float | None = None,
) -> list[Group]:
    """Group the parameters that learn by depth, with a scale of the learning rate (2106.08254).

    The head has scale 1, each layer below it `layer_decay` times that of the layer above. The
    scale is the `lr_scale` of a group; hub's schedulers apply it (`constant` does nothing else).

    Args:
        model: the network; depths are those of its `group_matcher()`, else `auto_group_layers`.
        weight_decay: of those that decay.
        no_weight_decay_list: patterns of names that do not.
        fallback_list: patterns of names that get groups with `use_fallback=True`.
        fallback_no_weight_decay: those of `no_weight_decay_list` get them too.
        weight_decay_exclude_1d: spare biases and parameters of one axis, as norms have.
        layer_decay: factor per layer.
        min_scale: lowest scale.
        no_opt_scale: layers with a lower scale than this are frozen and in no group.

    Raises:
        ValueError: every parameter is frozen.
    """
    depths = depths_of(model)
    top = max(depths.values(), default=0)
    groups: dict[tuple[int, bool, bool], Group] = {}
    for member in members(
        model,
        exclude_1d=weight_decay_exclude_1d,
        spared=no_weight_decay_list,
        fallback=_fallbacks(fallback_list, no_weight_decay_list, fallback_no_weight_decay),
    ):
        depth = depths.get(member.name, top)
        scale = max(min_scale, layer_decay ** (top - depth))
        if no_opt_scale and scale < no_opt_scale:
            member.parameter.requires_grad_(False)
            continue
        key = (depth, member.decays, member.fallback)
        if key not in groups:
            rate = weight_decay if member.decays else 0.0
            groups[key] = dict(lr_scale=scale, weight_decay=rate, params=[])
            groups[key] |= dict(use_fallback=True) if member.fallback else {}
        groups[key]["params"].append(member.parameter)
    return list(groups.values())


def auto_group_layers(
    model: nn.Module, layers_per_group: int = 12, num_groups: int | None = None
) -> dict[str, int]:
    """Guess the depth of parameters from the order in which they were registered.

    The head is what `model.pretrained_cfg["classifier"]` names. Where that is not known, the last
    parameters are the deepest.

    Args:
        model: any network.
        layers_per_group: tensors that share a depth.
        num_groups: how many depths the trunk has, instead.

    Returns:
        Name to depth, from 0; the head comes last.
    """
    heads = _classifiers(model)
    trunk: list[str] = []
    head: list[str] = []
    for name, _ in model.named_parameters():
        (head if name.startswith(heads) else trunk).append(name)
    if num_groups is not None:
        layers_per_group = max(1, -(-len(trunk) // num_groups))
    depths = {name: i // layers_per_group for i, name in enumerate(trunk)}
    return depths | dict.fromkeys(head, max(depths.values(), default=-1) + 1)


def members(
    model: nn.Module, *, exclude_1d: bool, spared: Collection[str], fallback: Collection[str]
) -> Iterator[Member]:
    """Yield the parameters that learn, in order of registration, each once.

    A parameter that the network holds under two names is spared if either name is.

    Raises:
        ValueError: there is none.
    """
    network = unwrap(model)
    aliases: dict[Tensor, list[str]] = defaultdict(list)
    for name, parameter in network.named_parameters(remove_duplicate=False):
        if parameter.requires_grad:
            aliases[parameter].append(name)
    if not aliases:
        raise ValueError(
            f"no parameter of this {type(network).__name__} learns: all are frozen, or it has none "
            "(hub.unfreeze(model) undoes hub.freeze)"
        )
    for tensor, names in aliases.items():
        bias = exclude_1d and (
            tensor.ndim <= 1 or any(n.rpartition(".")[2] == "bias" for n in names)
        )
        yield Member(
            name=names[0],
            parameter=tensor,
            decays=not bias and not any(_matches(n, spared) for n in names),
            fallback=any(_matches(n, fallback) for n in names),
        )


def depths_of(model: nn.Module) -> dict[str, int]:
    """Return the depth of each parameter by name, from 0 at the stem to the head."""
    network = unwrap(model)
    matcher = getattr(network, "group_matcher", None)
    if matcher is None:
        depths = auto_group_layers(network)
    else:
        ranks = _ranks(matcher(coarse=False))
        depths = _dense({name: ranks(name) for name, _ in network.named_parameters()})
    if len(set(depths.values())) == 1:
        warnings.warn(
            f"layer decay has no effect: all parameters of this {type(network).__name__} are of "
            "one depth; give it a group_matcher(), or pass param_group_fn",
            HubWarning,
            stacklevel=4,
        )
    return depths


def spared_by(model: nn.Module) -> set[str]:
    """Return the names of parameters that a network says are not to decay."""
    return set(getattr(model, "no_weight_decay", set)())


def unwrap(model: nn.Module) -> nn.Module:
    """Return the network inside of `torch.compile`'s and the data-parallel wrappers."""
    while True:
        if isinstance(getattr(model, "_orig_mod", None), nn.Module):
            model = model._orig_mod  # type: ignore[assignment]
        elif isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            model = model.module
        else:
            return model


def check_groups(model: nn.Module, groups: Iterable[Any]) -> list[Any]:
    """Return groups as a list, checked: each parameter that learns is in exactly one.

    Args:
        model: the network; groups may hold parameters of others too.
        groups: parameters, pairs of name and parameter, or dicts with `params`.

    Raises:
        ValueError: a parameter is in none or in several; the message names it.
    """
    checked = [_listed(entry) for entry in groups]
    counts: dict[Tensor, int] = defaultdict(int)
    for entry in checked:
        for item in entry["params"] if isinstance(entry, dict) else [entry]:
            counts[item[1] if isinstance(item, tuple) else item] += 1
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    missing = [name for name, p in named if counts[p] == 0]
    twice = [name for name, p in named if counts[p] > 1]
    if missing:
        raise ValueError(
            f"param_group_fn leaves out {_some(missing)}; put it into a group, or freeze it with "
            "requires_grad_(False) if it is not to learn"
        )
    if twice:
        raise ValueError(f"param_group_fn puts {_some(twice)} into several groups; one is allowed")
    return checked


def _listed(entry: Any) -> Any:
    if not isinstance(entry, dict):
        return entry
    params = entry["params"]
    return entry | dict(params=[params] if isinstance(params, Tensor) else list(params))


def _some(names: list[str], most: int = 8) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _fallbacks(
    fallback: Collection[str], spared: Collection[str], with_spared: bool
) -> Collection[str]:
    return {*fallback, *spared} if with_spared else fallback


def _matches(name: str, patterns: Collection[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _classifiers(model: nn.Module) -> tuple[str, ...]:
    cfg: Any = getattr(model, "pretrained_cfg", None) or {}
    named = cfg.get("classifier") if isinstance(cfg, Mapping) else getattr(cfg, "classifier", None)
    named = (named,) if isinstance(named, str) else tuple(named or ())
    return tuple(f"{name}." for name in named)


def _ranks(matcher: Any) -> Callable[[str], tuple[float, ...]]:
    """Return a function from the name of a parameter to something that sorts by depth.

    Args:
        matcher: a function to a number or to several, or timm's table: name of a group to a
            pattern, or to pairs of a pattern and the numbers to append. What the pattern's
            brackets catch are numbers too. What no pattern matches is the head.
    """
    if callable(matcher):

        def call(name: str) -> tuple[float, ...]:
            rank = matcher(name)
            return tuple(rank) if isinstance(rank, Iterable) else (rank,)

        return call
    rows: list[tuple[re.Pattern[str], int, tuple[float, ...]]] = []
    for order, patterns in enumerate(matcher.values()):
        pairs = [(patterns, None)] if isinstance(patterns, str) else patterns or ()
        rows += [(re.compile(pattern), order, tuple(tail or ())) for pattern, tail in pairs]

    def look_up(name: str) -> tuple[float, ...]:
        for pattern, order, tail in rows:
            if found := pattern.match(name):
                caught = [float(number) for number in found.groups() if number is not None]
                return (order, *caught, *tail)
        return (float("inf"),)

    return look_up


def _dense(ranks: Mapping[str, tuple[float, ...]]) -> dict[str, int]:
    """Return ranks as depths 0, 1, 2 ..., by name."""
    depth, depths = -1, {}
    for rank in sorted(set(ranks.values())):
        if depth < 0 or rank[-1] != WITH_PREVIOUS:
            depth += 1
        depths[rank] = depth
    return {name: depths[rank] for name, rank in ranks.items()}
