"""Heads: classifiers, pools, dropout, and what a reset or a cut makes of them."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hub_kit.promise import expect, expect_close, expect_equal, expect_error, promise
from hub_kit.subject import (
    BATCH,
    features_of,
    images,
    is_below,
    num_parameters,
    paths_of,
    perturbed,
    pools_of,
    shared,
    spare,
    spare_head,
)

_RESET = ("check_builds", "check_levels", "check_attributes")


def _on_16_bits(features: Any) -> Any:
    if isinstance(features, Tensor):
        return features.to(torch.bfloat16)
    return type(features)(map(_on_16_bits, features))


@promise("classifiers", rests_on=_RESET)
def check_reset_classifier(name: str) -> None:
    """`reset_classifier(n)` gives n outputs and changes nothing else; device, dtype, mode stay."""
    model = spare(name).to(torch.bfloat16)
    paths = set(paths_of(model))
    if not paths:
        what = "reset_classifier(7) of an encoder"
        expect_error((ValueError,), what, model.reset_classifier, 7)
        return
    features, pool = _on_16_bits(features_of(name)), model.pool_name
    before = dict(model.named_parameters())
    for num_classes in (7, 0, 5):
        model.reset_classifier(num_classes)
        expect_equal(model.num_classes, num_classes, "num_classes")
        expect_equal(model.pool_name, pool or model.pool_name, "pool, when none is named")
        wanted = (BATCH, num_classes or model.head_hidden_size)
        found = model.forward_head(features)
        if num_classes or model.pool_name:
            shape = tuple(found.shape) if num_classes else (found.shape[0], found.shape[-1])
            expect_equal(shape, wanted, f"output after reset_classifier({num_classes})")
        layers: Any = model.get_classifier()
        layers = layers if isinstance(layers, tuple) else (layers,)
        for path, layer in zip(paths_of(model), layers, strict=True):
            same = model.get_submodule(path)
            expect(layer is same, f"get_classifier() is not what stands at {path!r}")
        after = dict(model.named_parameters())
        others = [n for n, p in after.items() if not is_below(n, paths) and before.get(n) is not p]
        gone = [n for n in before.keys() - after.keys() if not is_below(n, paths)]
        expect(
            not others and not gone,
            f"reset_classifier({num_classes}) makes anew, or loses, {sorted(others + gone)[:3]}, "
            "which is not in classifier_path",
        )
    kept = {(p.device.type, p.dtype) for p in model.parameters()}
    expect_equal(kept, {("meta", torch.bfloat16)}, "devices and dtypes of parameters")
    modes = [path for path, m in model.named_modules() if m.training]
    expect(not modes, f"modules in training mode in a network that is not: {modes[:3]}")


@promise("pools", rests_on=("check_builds", "check_levels", "check_reset_classifier"))
def check_pools(name: str) -> None:
    """Each legal pool runs, others are refused; after "" the network's own pool comes back."""
    model, features = spare_head(name), features_of(name)
    own = model.pool_name
    refuses: Any = model.reset_classifier
    what = "the pool 'no_such'"
    if model.pools is None:
        what += " (a network with a forward_pool of its own states `pools`, the legal names)"
    expect_error((ValueError,), what, refuses, model.num_classes, "no_such")
    for pool in model.pools or ():
        model = spare_head(name)
        model.reset_classifier(0, pool)
        expect_equal(model.pool_name, pool, f"pool_name after reset_classifier(0, {pool!r})")
        model.forward_head(features)
    if not paths_of(model) or (model.pools is not None and "" not in model.pools):
        return
    model = spare_head(name)
    model.reset_classifier(0, "")
    expect_equal(model.pool_name, "", "pool_name after reset_classifier(0, '')")
    model.forward_head(features)
    model.reset_classifier(3)
    if own and (model.pools is None or own in model.pools):
        expect_equal(model.pool_name, own, "pool that comes back after ''")
    shape = tuple(model.forward_head(features).shape)
    expect_equal(shape, (BATCH, 3), "output after reset_classifier(3), which brings a pool back")


@promise("heads", rests_on=_RESET)
def check_head(name: str) -> None:
    """`pre_logits` is what the classifiers get; a head object can be stripped, and come back."""
    model, features = shared(name), features_of(name)
    if paths_of(model) and model.num_classes:
        given: list[Tensor] = []
        layers = [model.get_submodule(path) for path in paths_of(model)]
        handles = [
            m.register_forward_pre_hook(lambda _, args: given.append(args[0])) for m in layers
        ]
        try:
            model.forward_head(features)
        finally:
            for handle in handles:
                handle.remove()
        expect_equal(len(given), len(layers), "calls of classifiers in forward_head")
        width = model.forward_head(features, pre_logits=True).flatten(1).shape[1]
        if len(given) == 1:
            expect_equal(given[0].flatten(1).shape[1], width, "width that the classifier gets")
    model = spare_head(name)
    for root in model.head_names:
        head: Any = model._modules.get(root)
        if not (hasattr(head, "reset") and hasattr(head, "strip")):
            continue
        for attribute in ("pool_type", "num_features"):
            expect(hasattr(head, attribute), f"the head {root!r} has no {attribute}")
        head.strip(8)
        left = num_parameters(model.get_submodule(root))
        expect_equal(left, 0, f"parameters of {root!r} after strip(8)")
        expect_equal((head.num_features, head.pool_type), (8, ""), f"{root!r} after strip(8)")
        x = torch.empty(2, 8, 4, 4, device="meta")
        expect_equal(tuple(head(x).shape), tuple(x.shape), f"output of {root!r} after strip(8)")


@promise("heads", rests_on=("check_builds", "check_levels", "check_head"))
def check_forward(name: str) -> None:
    """`forward` is `forward_head` of `forward_features`: pool, then the classifier."""
    model = perturbed(name)
    x = images(model)
    logits = model(x)
    expect(bool(logits.isfinite().all()), "the output is not finite")
    features = model.forward_features(x)
    expect_close(logits, model.forward_head(features), "logits and forward_head")
    pooled = model.forward_head(features, pre_logits=True)
    if not paths_of(model):
        return
    if len(paths_of(model)) == 1 and model.num_classes:
        layer = model.get_classifier()
        if isinstance(layer, nn.Linear):
            expect_close(logits, layer(pooled), "logits and classified pre_logits")
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    model.reset_classifier(0)
    expect_close(model(x), pooled, "output without a classifier and pre_logits")
    changed = [n for n, p in model.named_parameters() if not torch.equal(p, before[n])]
    expect(not changed, f"reset_classifier(0) changed {changed[:3]}")


@promise("pools", rests_on=("check_builds", "check_levels", "check_pools"))
def check_pool_values(name: str) -> None:
    """Each pool that `reset_classifier` takes gives its own result."""
    model = perturbed(name)
    features = model.forward_features(images(model))
    found: dict[str, Tensor] = {}
    for pool in pools_of(name):
        twin = copy.deepcopy(model)
        twin.reset_classifier(0, pool)
        found[pool] = twin.forward_head(features)
    for pool, other in ((a, b) for a in found for b in found if a < b):
        same = found[pool].shape == found[other].shape and torch.equal(found[pool], found[other])
        expect(not same, f"the pools {pool!r} and {other!r} give the same")


@promise("several-classifiers", rests_on=_RESET)
def check_classifiers(name: str) -> None:
    """In training as in evaluation `forward` returns one tensor; several only where asked for."""
    model = perturbed(name)
    x = images(model)
    single = model(x)
    expect(isinstance(single, Tensor), f"in evaluation forward returns a {type(single).__name__}")
    trained = model.train()(x)
    expect(
        isinstance(trained, Tensor),
        f"in training forward returns a {type(trained).__name__}: a tuple comes only after "
        "set_distilled_training(True), or where auxiliary heads were asked for",
    )
    enable = model.set_distilled_training
    if len(paths_of(model)) < 2:
        expect_error((ValueError,), "set_distilled_training() with one classifier", enable)
        return
    enable()
    model.eval()
    features = model.forward_features(x)
    expect(isinstance(model.forward_head(features), Tensor), "in evaluation it is still one tensor")
    for module in model.modules():
        module.training = module is model  # the network alone: dropout and norms stand still
    each = model.forward_head(features)
    expect(isinstance(each, tuple), f"in distilled training forward returns {type(each).__name__}")
    expect_equal(len(each), len(paths_of(model)), "logits in distilled training, per classifier")
    first = model.get_submodule(paths_of(model)[0])
    with torch.no_grad():
        for parameter in first.parameters():
            parameter.zero_()
    after = model.forward_head(features)
    expect(
        not torch.equal(after[0], each[0]) and torch.equal(after[1], each[1]),
        "the first logits of the tuple are not those of the first classifier of classifier_path",
    )


@promise("heads", rests_on=("check_builds", "check_levels", "check_keywords", "check_head"))
def check_dropout(name: str) -> None:
    """With `drop_rate` something is dropped once between pool and classifier, in training only."""
    try:
        model = perturbed(name, drop_rate=0.5)
    except TypeError:
        return  # it has no such keyword
    expect_equal(model.drop_rate, 0.5, "attribute drop_rate of a network built with drop_rate=0.5")
    features = model.forward_features(images(model))
    with _dropouts() as calls:
        model.forward_head(features)
    expect_equal(len(calls), 0, "dropouts of the head in evaluation")
    model.train()
    with _dropouts() as calls:
        model.forward_head(features)
    due = {1, len(paths_of(model))}
    expect(
        len(calls) in due or not paths_of(model),
        f"the head drops {len(calls)} times in training, where once is due: Backbone drops before "
        "the classifier unless a module of the head is an nn.Dropout",
    )
    model.drop_rate = 0.0
    with _dropouts() as calls:
        model.forward_head(features)
    expect_equal(len(calls), 0, "dropouts of the head after drop_rate = 0")


@contextmanager
def _dropouts() -> Iterator[list[float]]:
    """Collect the rates of the dropouts that do something."""
    calls: list[float] = []
    functional: Any = F
    function = functional.dropout

    def counted(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        if training and p:
            calls.append(p)
        dropped: Tensor = function(x, p, training, inplace)
        return dropped

    functional.dropout = counted
    try:
        yield calls
    finally:
        functional.dropout = function
