"""The network under test: how the kit builds it, feeds it and compares what it returns."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import hub
import torch
from hub import registry
from hub.backbone import Backbone
from torch import Tensor, nn

from hub_kit import ConformanceError

Check = Callable[[str], None]

#: Largest relative error (of the norm) between two ways of computing the same.
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 1e-1}
#: Images in a batch.
BATCH = 2


def promise(member: str) -> Callable[[Check], Check]:
    """Make a check of a function whose docstring states the promise that it holds a network to.

    Whatever the function raises becomes a `ConformanceError` that names network, promise and
    `member`, the attribute of `hub.Backbone` where it is described. Random numbers are seeded.
    """

    def make(function: Check) -> Check:
        contract = (function.__doc__ or "").partition("\n\n")[0].strip()

        @functools.wraps(function)
        def check(name: str) -> None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                try:
                    function(name)
                except Exception as e:
                    known = isinstance(e, ConformanceError)
                    found = str(e) if known else f"{type(e).__name__}: {e}"
                    raise ConformanceError(
                        f"{name}: {found}\n  contract: {contract}\n  see: hub.Backbone.{member}"
                    ) from e

        return check

    return make


def expect(condition: bool, found: str) -> None:
    """Raise unless a condition holds; `found` says what was seen instead."""
    if not condition:
        raise ConformanceError(found)


def expect_equal(found: Any, wanted: Any, what: str) -> None:
    """Raise unless two plain values are equal."""
    expect(found == wanted, f"{what}: {found!r}, where {wanted!r} is due")


def expect_close(found: Tensor, wanted: Tensor, what: str, dtype: Any = torch.float32) -> None:
    """Raise unless two tensors are equal up to the rounding of `dtype`."""
    expect_equal(tuple(found.shape), tuple(wanted.shape), f"shape of {what}")
    found, wanted = found.detach().float(), wanted.detach().float()
    scale = wanted.norm().clamp(min=1e-12)
    error = float((found - wanted).norm() / scale)
    expect(
        error <= TOLERANCE[dtype],
        f"{what} differ by {error:.2g} of their norm, more than {TOLERANCE[dtype]:.0e}",
    )


def expect_error(
    kinds: tuple[type[Exception], ...],
    what: str,
    call: Callable[..., Any],
    *args: Any,
    **kwargs: Any,
) -> None:
    """Raise unless a call is refused with one of these errors."""
    names = " or ".join(kind.__name__ for kind in kinds)
    try:
        call(*args, **kwargs)
    except kinds:
        return
    except Exception as e:
        raise ConformanceError(f"{what} raises {type(e).__name__} ({e}) in place of {names}") from e
    raise ConformanceError(f"{what} is accepted, where {names} is due")


# --- building -----------------------------------------------------------------------------------


def create(name: str, **kwargs: Any) -> Backbone:
    """Build a network in evaluation mode."""
    model = hub.create_model(name, **kwargs)
    expect(isinstance(model, Backbone), f"{type(model).__name__} is no hub.Backbone")
    assert isinstance(model, Backbone)
    return model.eval()


def on_meta(name: str, **kwargs: Any) -> Backbone:
    """Build a network without values, of which a check may change what it likes."""
    with torch.device("meta"):
        return create(name, **kwargs)


def shared(name: str) -> Backbone:
    """Return a network without values, the same to all checks: they must leave it as it is."""
    return _shared(registry.find(name)[0].entrypoint, name)


@functools.lru_cache(maxsize=1)
def _shared(entrypoint: Callable[..., nn.Module], name: str) -> Backbone:
    del entrypoint  # part of the key: another network may come by the same name
    return on_meta(name)


def shared_features(name: str) -> Tensor:
    """Return what the head of `shared` sees."""
    return _shared_features(registry.find(name)[0].entrypoint, name)


@functools.lru_cache(maxsize=1)
def _shared_features(entrypoint: Callable[..., nn.Module], name: str) -> Tensor:
    model = _shared(entrypoint, name)
    features: Tensor = model.forward_features(images(model))
    return features


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
    size = getattr(model, "img_size", None)
    if size is not None:
        return (size, size) if isinstance(size, int) else (size[0], size[1])
    cfg = model.pretrained_cfg
    if cfg.get("fixed_input_size"):
        return cfg["input_size"][1], cfg["input_size"][2]
    unit = max(row["reduction"] for row in model.feature_info)
    least = max((64, 2 * unit, *(cfg.get("min_input_size") or ())[1:]))
    least += -least % (2 * unit)
    return least, least + least // 2


def images(model: Backbone, batch: int = BATCH) -> Tensor:
    """Return (B, in_chans, H, W) images on the device and in the dtype of a network."""
    first = next(model.parameters())
    size = (batch, model.in_chans, *image_size(model))
    return torch.randn(size, device=first.device).to(first.dtype)


def map_shape(model: Backbone, index: int, x: Tensor) -> tuple[int, ...]:
    """Return the (B, C, H, W) that the table announces of a level."""
    height, width = model.feature_size(x.shape[-2], x.shape[-1], index)
    return x.shape[0], model.feature_info[index]["num_chs"], height, width


def is_below(name: str, paths: set[str]) -> bool:
    """Return whether a dotted name is one of these paths, or below one."""
    return any(name == path or name.startswith(f"{path}.") for path in paths)


def head_parameters(model: Backbone) -> list[str]:
    """Return the names of the parameters of the head."""
    roots = set(model.head_names)
    return [n for n, _ in model.named_parameters(remove_duplicate=False) if is_below(n, roots)]


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
