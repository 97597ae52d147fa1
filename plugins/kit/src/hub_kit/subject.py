"""The network under test: how the kit builds it, feeds it and looks into it."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import hub
import torch
from hub import Backbone, registry
from torch import Tensor, nn

from hub_kit.promise import expect

#: Images in a batch.
BATCH = 2
#: Parameters of the largest network that counts as small.
SMALL = 2_000_000


# --- building -----------------------------------------------------------------------------------


def create(name: str, **kwargs: Any) -> Backbone:
    """Build a network in evaluation mode."""
    model = hub.create_model(name, **kwargs)
    expect(isinstance(model, Backbone), f"{type(model).__name__} is no hub.Backbone")
    assert isinstance(model, Backbone)
    return model.eval()


def on_meta(name: str, **kwargs: Any) -> Backbone:
    """Build a network without values."""
    with torch.device("meta"):
        return create(name, **kwargs)


def shared(name: str) -> Backbone:
    """Return a network without values, the same to all checks: they must leave it as it is."""
    return _shared(registry.find(name)[0].entrypoint, name)


@functools.lru_cache(maxsize=1)
def _shared(entrypoint: Callable[..., nn.Module], name: str) -> Backbone:
    del entrypoint  # part of the key: another network may come by the same name
    return on_meta(name)


def spare(name: str) -> Backbone:
    """Return a copy of `shared` of which a check may change what it likes."""
    return copy.deepcopy(shared(name))


def spare_head(name: str) -> Backbone:
    """Return a copy of `shared` whose head alone a check may change: all else is that of `shared`.

    Copying all of a large network takes as long as building it.
    """
    model = shared(name)
    same = [m for n, m in model.named_children() if n not in model.head_names]
    return copy.deepcopy(model, {id(module): module for module in same})


def bare(name: str) -> Backbone:
    """Return a network without values, without classes, for images of one channel, and unpooled.

    Unpooled where that is legal; a large one at output stride 8 where it takes that. It is the same
    to all checks: they must leave it as it is.
    """
    return _bare(registry.find(name)[0].entrypoint, name)


@functools.lru_cache(maxsize=1)
def _bare(entrypoint: Callable[..., nn.Module], name: str) -> Backbone:
    model = _shared(entrypoint, name)
    options: dict[str, Any] = {}
    if model.pools is None or "" in model.pools:
        options["global_pool"] = ""
    if "output_stride" in arguments(name) and not is_small(model):  # a build takes long
        options["output_stride"] = 8
    return on_meta(name, num_classes=0, in_chans=1, **options)


def perturbed(name: str, **kwargs: Any) -> Backbone:
    """Build a network in which no constant at initialisation hides a part from view."""
    return perturb(create(name, **kwargs))


def perturb(model: Backbone) -> Backbone:
    """Move the values that an initialisation leaves constant, and those of norms' statistics."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.numel() == 1 or parameter.std() < 1e-3:
                parameter.add_(torch.randn_like(parameter), alpha=0.2)
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer.add_(torch.randn_like(buffer), alpha=0.1)
            elif name.endswith("running_var"):
                buffer.mul_(torch.rand_like(buffer) + 0.5)
    return model


def arguments(name: str) -> dict[str, Any]:
    """Return the arguments of the constructor, with the values it was called with."""
    build = _constructor(shared(name))
    defaults = inspect.signature(build.func).parameters
    return {key: p.default for key, p in defaults.items()} | dict(build.keywords)


def plainly(model: Backbone) -> Backbone:
    """Build the network once more, by calling its class and nothing else."""
    twin = _constructor(model)()
    assert isinstance(twin, Backbone)
    return twin


def _constructor(model: Backbone) -> functools.partial[nn.Module]:
    build = getattr(model, "_built_by", None)
    expect(build is not None, "it is not built by hub.build_model_with_cfg")
    assert isinstance(build, functools.partial)
    return build


def lacks(name: str, capability: str) -> bool:
    """Return whether a network's family declares that it lacks a capability."""
    family = registry.find(name)[0].family
    return capability in getattr(family, "lacks", frozenset())


# --- feeding ------------------------------------------------------------------------------------


def image_size(model: Backbone) -> tuple[int, int]:
    """Return a small (height, width) that a network takes; not square if it need not be."""
    if model.img_size is not None:
        return model.img_size[0], model.img_size[1]
    cfg = model.pretrained_cfg
    if cfg.get("fixed_input_size"):
        return cfg["input_size"][1], cfg["input_size"][2]
    unit = max(*(row["reduction"] for row in model.feature_info), model.size_divisibility)
    least = max((64, 2 * unit, *(cfg.get("min_input_size") or ())[1:]))
    least += -least % (2 * unit)
    return least, least + least // 2


def images(model: Backbone, batch: int = BATCH) -> Tensor:
    """Return (B, in_chans, H, W) images on the device and in the dtype of a network."""
    first = next(model.parameters())
    size = (batch, model.in_chans, *image_size(model))
    return torch.randn(size, device=first.device).to(first.dtype)


# --- looking into it ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """One pass of a network without values up to its head, and who was called when.

    Args:
        x: the images.
        levels: what each level is, as the network computes it.
        features: what the head sees.
        marks: how many of `begun` had begun when each level was yielded.
        begun: paths of modules, in the order in which they were called.
        ended: how many times each had ended when a level was yielded.
        yields: how many levels came.
        ran_on: modules that ran between the last yield and the end of `forward_levels`.
    """

    x: Tensor
    levels: list[Tensor]
    features: Any
    marks: list[int]
    begun: list[str]
    ended: list[set[str]]
    yields: int
    ran_on: list[str]


def run_of(name: str) -> Run:
    """Return the one pass that the structural checks of a network share."""
    return _run_of(registry.find(name)[0].entrypoint, name)


@functools.lru_cache(maxsize=1)
def _run_of(entrypoint: Callable[..., nn.Module], name: str) -> Run:
    model = _shared(entrypoint, name)
    x = images(model)
    levels: list[Tensor] = []
    marks: list[int] = []
    ended_at: list[set[str]] = []
    with watched(model) as (begun, ended):
        steps: Any = model.forward_levels(x)
        while True:
            try:
                levels.append(next(steps))
            except StopIteration as stop:
                final = levels[-1] if stop.value is None and levels else stop.value
                break
            marks.append(len(begun))
            ended_at.append(set(ended))
        ran_on = begun[marks[-1] :] if marks else []
        features = model.forward_final(final) if levels else None
    return Run(x, levels, features, marks, [*begun], ended_at, len(levels), ran_on)


def features_of(name: str) -> Any:
    """Return what the head of `shared` sees."""
    return run_of(name).features


def map_shape(model: Backbone, index: int, level: Tensor, x: Tensor) -> tuple[int, ...]:
    """Return the (B, C, H, W) that the table announces of a level."""
    row = model.feature_info[index]
    if row["layout"] == "NLC":
        size = model.feature_size(x.shape[-2], x.shape[-1], index)
    else:
        first = 2 if row["layout"] == "NCHW" else 1
        size = level.shape[first], level.shape[first + 1]
    return x.shape[0], row["num_chs"], *size


def paths_of(model: Backbone) -> tuple[str, ...]:
    """Return the paths of the classifiers."""
    path = model.classifier_path
    return (path,) if isinstance(path, str) else path


def pools_of(name: str) -> list[str]:
    """Return the names of the pools that a network takes, its own first."""
    model = spare_head(name)
    own = model.pool_name
    found = [own] if own else []
    for pool in dict.fromkeys((*(model.pools or ()), "avg", "max", "avgmax", "token")):
        try:
            model.reset_classifier(0, pool)
        except ValueError:
            continue
        if pool and pool not in found:
            found.append(pool)
    return found


def is_below(name: str, paths: set[str]) -> bool:
    """Return whether a dotted name is one of these paths, or below one."""
    return any(name == path or name.startswith(f"{path}.") for path in paths)


def parameters_below(model: Backbone, paths: set[str]) -> list[str]:
    """Return the names of the parameters that are, or lie in, one of these paths."""
    return [n for n, _ in model.named_parameters(remove_duplicate=False) if is_below(n, paths)]


def head_parameters(model: Backbone) -> list[str]:
    """Return the names of the parameters of the head."""
    return parameters_below(model, set(model.head_names))


def is_small(model: nn.Module) -> bool:
    """Return whether a network is small enough to compare values."""
    return num_parameters(model) <= SMALL


def num_parameters(model: nn.Module) -> int:
    """Return how many values the parameters of a network hold."""
    return sum(p.numel() for p in model.parameters())


@contextmanager
def watched(model: nn.Module) -> Iterator[tuple[list[str], list[str]]]:
    """Record the paths of the modules that begin, and of those that end, in order."""
    begun: list[str] = []
    ended: list[str] = []
    handles = []
    for path, module in model.named_modules():
        begin, end = functools.partial(_note, begun, path), functools.partial(_note, ended, path)
        handles += [module.register_forward_pre_hook(begin), module.register_forward_hook(end)]
    try:
        yield begun, ended
    finally:
        for handle in handles:
            handle.remove()


def _note(calls: list[str], path: str, *_: Any) -> None:
    calls.append(path)


@contextmanager
def poisoned_memory() -> Iterator[None]:
    """Fill new memory with NaN, so that a tensor that nothing initialises shows."""
    before = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    switches: Any = torch.utils.deterministic
    filled = switches.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    switches.fill_uninitialized_memory = True
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn_only)
        switches.fill_uninitialized_memory = filled
