"""How a network is built, and with which values it starts."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from hub import Backbone, registry
from torch import Tensor, nn

from hub_kit import ConformanceError
from hub_kit.promise import expect, expect_equal, expect_error, promise
from hub_kit.subject import (
    BATCH,
    arguments,
    bare,
    create,
    features_of,
    images,
    is_below,
    on_meta,
    paths_of,
    plainly,
    poisoned_memory,
    shared,
)


@promise("construction", rests_on=())
def check_builds(name: str) -> None:
    """A network builds on the meta device, all of its tensors there."""
    model = shared(name)
    tensors = (*model.named_parameters(), *model.named_buffers())
    elsewhere = [n for n, tensor in tensors if not tensor.is_meta]
    expect(not elsewhere, f"not on the default device: {elsewhere[:3]}")


@promise("what-may-be-replaced", rests_on=("check_builds",))
def check_derived(name: str) -> None:
    """What `hub.Backbone` derives from the statements is overridden by nobody."""
    cls = type(shared(name))
    own = [c for c in cls.__mro__ if c is not Backbone and issubclass(c, Backbone)]
    found = [
        f"{c.__name__}.{key}" for c in own for key in vars(c) if _is_final(vars(Backbone).get(key))
    ]
    expect(
        not found,
        f"{', '.join(found)} replaces what follows from the statements: state what differs instead",
    )


def _is_final(member: Any) -> bool:
    """Return whether a member of a class is marked by `typing.final`."""
    member = member.fget if isinstance(member, property) else member
    return bool(getattr(member, "__final__", False))


@promise("construction")
def check_keywords(name: str) -> None:
    """Constructors take `num_classes` (0: none) and `in_chans`, and refuse what they don't know.

    A network built without classes and for images of one channel stands for both.
    """
    cls = type(shared(name))
    expect_error((TypeError,), "no_such_keyword=1", on_meta, name, no_such_keyword=1)
    for key in ("num_classes", "in_chans", "global_pool"):
        expect(key in arguments(name), f"{cls.__name__} has no keyword {key}")
    model = bare(name)
    expect_equal((model.num_classes, model.in_chans), (0, 1), "num_classes and in_chans")
    layers = [model.get_submodule(path) for path in paths_of(model)]
    kinds = {type(layer).__name__ for layer in layers} - {"Identity"}
    expect(not kinds, f"with num_classes=0 the classifier is {', '.join(sorted(kinds))}, not gone")
    try:
        level = next(iter(model.forward_levels(images(model))))
    except RuntimeError as e:
        raise ConformanceError(
            f"built with in_chans=1, it takes no images of one channel ({e}): hand in_chans to the "
            "layers that see the image"
        ) from e
    expect_equal(level.shape[0], BATCH, "batch of the first level with in_chans=1")


@promise("pools", rests_on=("check_builds", "check_levels", "check_keywords"))
def check_unpooled(name: str) -> None:
    """With `global_pool=""` and no classes `forward` ends before the pool; or "" is refused."""
    model = shared(name)
    if model.pools is not None and "" not in model.pools:
        expect_error((ValueError,), "global_pool=''", on_meta, name, num_classes=0, global_pool="")
        return
    model = bare(name)
    expect_equal(model.pool_name, "", "pool_name of a network built with global_pool=''")
    features, found = features_of(name), model.forward_head(features_of(name))
    if torch.is_tensor(features) and torch.is_tensor(found):
        expect_equal(found.ndim, features.ndim, "axes of the output with global_pool=''")


@promise("training")
def check_modes(name: str) -> None:
    """`train` and `eval` reach every module, and from the start every parameter learns."""
    model = shared(name)
    asleep = [path for path, m in model.train().named_modules() if not m.training]
    awake = [path for path, m in model.eval().named_modules() if m.training]
    expect(not asleep, f"not in training mode after train(): {asleep[:3]}")
    expect(not awake, f"in training mode after eval(): {awake[:3]}")
    frozen = [n for n, p in model.named_parameters() if not p.requires_grad]
    expect(not frozen, f"parameters that do not learn from the start: {frozen[:3]}")


@promise("loading")
def check_layers_to_adapt(name: str) -> None:
    """`first_conv` sees the channels of the image, `classifier_layers` have a row per class.

    What the weights of the architecture state of them is what the network says.
    """
    model = shared(name)
    if model.in_chans != 1:
        shaped = _shaped_by_channels(name)
        expect(
            shaped == set(model.first_conv),
            f"first_conv is {model.first_conv}, and what another number of channels shapes is "
            f"{tuple(sorted(shaped))}",
        )
    if paths_of(model) and model.num_classes:
        layers = model.classifier_layers
        expect(bool(layers), f"no layer in {paths_of(model)} has {model.num_classes} rows")
        for path in layers:
            rows = model.get_submodule(path).weight
            assert isinstance(rows, Tensor)
            expect_equal(rows.shape[0], model.num_classes, f"rows of {path}")
    for tag, weights in registry.find(name)[0].weights.items():
        for field, found in (
            ("first_conv", model.first_conv),
            ("classifier", model.classifier_layers),
        ):
            stated = getattr(weights, field)
            if stated is not None and (field == "first_conv" or model.num_classes):
                stated = (stated,) if isinstance(stated, str) else tuple(stated)
                unknown = [p for p in stated if not _has(model, p)]
                expect(not unknown, f"weights {tag!r} state {field}={unknown}, which is not there")
                expect(bool(found), f"weights {tag!r} state {field}, and the network says {found}")


def _shaped_by_channels(name: str) -> set[str]:
    """Return the paths of the layers whose weights have other shapes with in_chans=1."""
    whole, other = shared(name), bare(name)
    shapes = {n: p.shape for n, p in other.named_parameters()}
    head = set(whole.head_names)
    return {
        n.rpartition(".")[0]
        for n, p in whole.named_parameters()
        if n.endswith(".weight") and p.ndim > 1 and not is_below(n, head)
        if n in shapes and shapes[n] != p.shape
    }


def _has(model: nn.Module, path: str) -> bool:
    try:
        model.get_submodule(path)
    except AttributeError:
        return False
    return True


@promise("keywords")
def check_forward_keywords(name: str) -> None:
    """What `forward_levels` takes besides images has a default; the unknown is refused."""
    model = shared(name)
    extra = list(inspect.signature(model.forward_levels).parameters.values())[1:]
    open_ended = [p.name for p in extra if p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    expect(
        not open_ended, f"forward_levels swallows any keyword by {open_ended}: name those it takes"
    )
    without = [p.name for p in extra if p.default is p.empty]
    expect(not without, f"forward_levels takes {without} without a default: forward(x) cannot run")
    expect_error((TypeError,), "forward(x, no_such=1)", model, images(model), no_such=1)


@promise("construction")
def check_deferred_init(name: str) -> None:
    """Built by `create_model`, a network starts with the same values as by its constructor alone.

    Random values have the same mean and spread; no tensor is left uninitialised.
    """
    with poisoned_memory():
        model = create(name)
        plain, again = plainly(model), plainly(model)
    _expect_same_start(_tensors(model), _tensors(plain), _tensors(again))


@promise("initialisation", rests_on=("check_builds", "check_deferred_init"))
def check_init_again(name: str) -> None:
    """`init_weights` starts a network anew, as the constructor did; unknown schemes are refused."""
    model, first, again = create(name), create(name), create(name)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(3.25)
    model.init_weights(arguments(name).get("weight_init", ""))
    left = [
        n
        for n, p in model.named_parameters()
        if bool((p == 3.25).any()) and not bool((first.get_parameter(n) == 3.25).any())
    ]
    expect(not left, f"init_weights leaves as they were: {left[:5]}")
    found, one, two = (dict(m.named_parameters()) for m in (model, first, again))
    _expect_same_start(found, one, two)
    expect_error((ValueError,), "init_weights('no such scheme')", model.init_weights, "no such")


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def _expect_same_start(found: Any, plain: Any, again: Any) -> None:
    """Raise unless values are as in one of two networks that were built alike."""
    for key, wanted in plain.items():
        value = found[key].detach()
        expect_equal(tuple(value.shape), tuple(wanted.shape), f"shape of {key}")
        if not value.is_floating_point():
            expect(torch.equal(value, wanted), f"{key} has another value")
            continue
        finite = bool(value.isfinite().all()) or not bool(wanted.isfinite().all())
        expect(finite, f"{key} is not initialised")
        if torch.equal(wanted, again[key]):  # not random
            expect(torch.equal(value, wanted), f"{key} has another value")
        elif value.numel() > 1:
            _expect_alike(value.double(), wanted.detach().double(), key)


def _expect_alike(found: Tensor, wanted: Tensor, key: str) -> None:
    """Raise unless mean and spread of two samples are near, in units of their own uncertainty."""
    count = wanted.numel()
    spread = float(wanted.std())
    mean = abs(float(found.mean() - wanted.mean()))
    expect(mean <= 7 * spread * (2 / count) ** 0.5, f"{key} has a mean off by {mean:.2g}")
    ratio = float(found.std()) / spread
    expect(
        abs(ratio - 1) <= 7 / count**0.5 or (count < 64 and ratio > 0),
        f"{key} has {ratio:.2g} times the spread",
    )
