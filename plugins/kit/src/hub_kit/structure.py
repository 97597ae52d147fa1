"""Promises that can be held on the meta device, where a network has shapes and no values."""

from __future__ import annotations

from operator import attrgetter
from typing import Any

import torch
from hub.features import LAYOUTS

from hub_kit.subject import (
    BATCH,
    arguments,
    expect,
    expect_equal,
    expect_error,
    head_parameters,
    image_size,
    images,
    is_below,
    lacks,
    map_shape,
    num_parameters,
    on_meta,
    promise,
    shared,
    shared_features,
    watched,
)


@promise("__init__")
def check_builds(name: str) -> None:
    """A network builds on the meta device, all of its tensors there."""
    model = shared(name)
    tensors = (*model.named_parameters(), *model.named_buffers())
    elsewhere = [n for n, tensor in tensors if not tensor.is_meta]
    expect(not elsewhere, f"not on the default device: {elsewhere[:3]}")


@promise("num_features")
def check_attributes(name: str) -> None:
    """`num_features`, `head_hidden_size`, `num_classes` and `in_chans` are what tensors have."""
    model = shared(name)
    features = shared_features(name)
    expect(model.layout in LAYOUTS, f"layout is {model.layout!r}, none of {LAYOUTS}")
    axis = 1 if model.layout == "NCHW" else -1
    expect_equal(features.shape[axis], model.num_features, "channels of forward_features")
    pooled = model.forward_head(features, pre_logits=True)
    width = (BATCH, model.head_hidden_size)
    expect_equal(tuple(pooled.shape[:2]), width, "shape of pre_logits, against head_hidden_size")
    if model.num_classes:
        logits = model.forward_head(features)
        expect_equal(tuple(logits.shape), (BATCH, model.num_classes), "shape of the logits")
    for key in ("num_classes", "in_chans"):
        if key in arguments(name):
            expect_equal(getattr(model, key), arguments(name)[key], key)


@promise("__init__")
def check_keywords(name: str) -> None:
    """Constructors take `num_classes` (0: none) and `in_chans`, and refuse what they don't know."""
    expect_error((TypeError,), "no_such_keyword=1", on_meta, name, no_such_keyword=1)
    model = on_meta(name, num_classes=0, in_chans=1)
    expect_equal((model.num_classes, model.in_chans), (0, 1), "num_classes and in_chans")
    headless = type(model.get_classifier()).__name__
    expect_equal(headless, "Identity", "get_classifier() with num_classes=0")
    level = next(iter(model.forward_levels(images(model))))  # takes images of one channel
    expect_equal(level.shape[0], BATCH, "batch of the first level with in_chans=1")
    shape = tuple(model.forward_head(shared_features(name)).shape)
    expect_equal(shape, (BATCH, model.head_hidden_size), "output with num_classes=0")


@promise("feature_info")
def check_table(name: str) -> None:
    """The feature table has a row per level: its index, module, channels and reduction."""
    model = shared(name)
    x = images(model)
    table = list(model.feature_info)
    found = model.forward_intermediates(x, intermediates_only=True)
    expect_equal(len(found), len(table), "levels that the network yields, against rows")
    for i, (row, level) in enumerate(zip(table, found, strict=True)):
        expect_equal(row["index"], i, "index of a row")
        model.get_submodule(row["module"])
        expect_equal(tuple(level.shape), map_shape(model, i, x), f"map of level {i}")
        strides = [round(a / b) for a, b in zip(x.shape[-2:], level.shape[-2:], strict=True)]
        expect_equal(strides, [row["reduction"]] * 2, f"reductions of level {i}")


@promise("forward_levels")
def check_order(name: str) -> None:
    """Modules are registered in the order in which they run: levels as in the table, head last.

    A level is yielded when its module has run, and before the next one does.
    """
    model = shared(name)
    x = images(model)
    paths = [row["module"] for row in model.feature_info]
    with watched(model) as (begun, ended):
        for i, level in enumerate(model.forward_levels(x)):
            x = level
            late = [path for path in paths[: i + 1] if path not in ended]
            expect(not late, f"level {i} is yielded before {late} ran")
            early = [path for path in paths[i + 1 :] if path in ended]
            expect(not early, f"{early} ran before level {i} was yielded")
        model.forward_head(model.forward_final(x))
    last = ended.index(paths[-1])
    for path in model.final_modules:
        ran = path in ended and ended.index(path) > last
        expect(ran, f"{path!r} of `final_modules` does not run after the last level")
    depth_of = model.group_matcher()
    deepest, before = 0, ""
    for path in dict.fromkeys(begun):
        own = [n for n, _ in model.get_submodule(path).named_parameters(recurse=False)]
        depths = [depth_of(f"{path}.{n}".lstrip(".")) for n in own]
        if depths:
            expect(
                max(depths) >= deepest,
                f"{path} (depth {max(depths)}) runs after {before} (depth {deepest}): it is "
                "registered in the wrong place",
            )
            deepest, before = max(depths), path


@promise("group_matcher")
def check_depths(name: str) -> None:
    """Every parameter has one depth: 0 the stem, then levels in order, last and alone the head."""
    model = shared(name)
    names = [n for n, _ in model.named_parameters()]
    head = set(head_parameters(model))
    for coarse in (False, True):
        what = f"group_matcher(coarse={coarse})"
        matcher = model.group_matcher(coarse=coarse)
        depths = {n: matcher(n) for n in names}
        found = sorted(set(depths.values()))
        expect_equal(found, list(range(len(found))), f"depths of {what}")
        tops = {depths[n] for n in head & depths.keys()}
        rest = [depths[n] for n in names if n not in head]
        expect(
            not tops or tops == {max(rest) + 1},
            f"{what} gives the head {sorted(tops)}, and others up to {max(rest)}",
        )
        above = -1
        for row in model.feature_info:
            level = [d for n, d in depths.items() if is_below(n, {row["module"]})]
            if level:
                expect(
                    min(level) > above,
                    f"{what} gives {row['module']} the depth {min(level)}, not above {above}",
                )
                above = max(level)


@promise("no_weight_decay")
def check_no_weight_decay(name: str) -> None:
    """`no_weight_decay` returns names of parameters."""
    model = shared(name)
    unknown = model.no_weight_decay() - {n for n, _ in model.named_parameters()}
    expect(not unknown, f"it names {sorted(unknown)}, which are no parameters")


@promise("reset_classifier")
def check_reset_classifier(name: str) -> None:
    """`reset_classifier(n, pool)` gives n outputs of that pool; device, dtype and mode stay."""
    features = shared_features(name).to(torch.bfloat16)
    model = on_meta(name).to(torch.bfloat16)
    pool = model.pool_name
    for num_classes in (7, 0, 5):
        model.reset_classifier(num_classes)
        expect_equal(model.num_classes, num_classes, "num_classes")
        expect_equal(model.pool_name, pool or model.pool_name, "pool, when none is named")
        wanted = (BATCH, num_classes or model.head_hidden_size)
        found = tuple(model.forward_head(features).shape)
        expect_equal(found, wanted, f"output after reset_classifier({num_classes})")
        same = attrgetter(str(model.classifier_path))(model)
        expect(model.get_classifier() is same, f"get_classifier() is not {model.classifier_path!r}")
    kept = {(p.device.type, p.dtype) for p in model.parameters()}
    expect_equal(kept, {("meta", torch.bfloat16)}, "devices and dtypes of parameters")
    modes = [path for path, m in model.named_modules() if m.training]
    expect(not modes, f"modules in training mode in a network that is not: {modes[:3]}")
    for other in ("max", "avg"):
        try:
            model.reset_classifier(3, other)
        except ValueError:
            continue  # a network may refuse a pool that it does not have
        expect_equal(model.pool_name, other, f"pool after reset_classifier(3, {other!r})")
        found = tuple(model.forward_head(features).shape)
        expect_equal(found, (BATCH, 3), f"output with the pool {other!r}")
    model.reset_classifier(0, "")
    found = tuple(model.forward_head(features).shape)
    expect_equal(found, tuple(features.shape), "output after reset_classifier(0, '')")
    model.reset_classifier(3)
    found = tuple(model.forward_head(features).shape)
    expect_equal(found, (BATCH, 3), "output after reset_classifier(3), which brings a pool back")


@promise("forward_pool")
def check_unpooled(name: str) -> None:
    """With `global_pool=""` and no classifier, `forward` returns what `forward_features` does."""
    if "global_pool" not in arguments(name):
        return
    model = on_meta(name, num_classes=0, global_pool="")
    features = shared_features(name)
    found = tuple(model.forward_head(features).shape)
    expect_equal(found, tuple(features.shape), "output with global_pool=''")


@promise("forward_intermediates")
def check_intermediates(name: str) -> None:
    """`forward_intermediates` takes indices of all kinds and returns the layout asked for."""
    model = shared(name)
    x = images(model)
    num = len(model.feature_info)
    given = model.forward_intermediates(
        x, [0, -1], output_dict=True, return_prefix_tokens=True, norm=True
    )
    wanted = [map_shape(model, i, x) for i in sorted({0, num - 1})]
    expect_equal([tuple(m.shape) for m in given["image_intermediates"]], wanted, "maps of [0, -1]")
    keys = {"image_features", "image_intermediates"}
    if model.num_prefix_tokens:
        keys |= {"image_intermediates_prefix"}
        for row, prefix in zip((0, -1), given["image_intermediates_prefix"], strict=False):
            channels = model.feature_info[row]["num_chs"]
            due = (x.shape[0], model.num_prefix_tokens, channels)
            expect_equal(tuple(prefix.shape), due, f"prefix tokens of level {row}")
    expect_equal(set(given), keys, "keys of output_dict")
    b, c, h, w = map_shape(model, 0, x)
    layouts = {"NCHW": (b, c, h, w), "NHWC": (b, h, w, c), "NLC": (b, h * w, c)}
    for layout, shape in layouts.items():
        (only,) = model.forward_intermediates(
            x, [0], output_fmt=layout, intermediates_only=True, stop_early=True
        )
        expect_equal(tuple(only.shape), shape, f"map in output_fmt={layout!r}")
    wrong: tuple[dict[str, Any], ...] = (
        {"indices": [num]},
        {"indices": [-num - 1]},
        {"output_fmt": "CHW"},
    )
    for kwargs in wrong:
        expect_error((ValueError,), str(kwargs), model.forward_intermediates, x, **kwargs)


@promise("prune_intermediate_layers")
def check_prune(name: str) -> None:
    """Pruning drops what comes after the last level asked for, and the head; the rest works."""
    whole = shared(name)
    last = len(whole.feature_info) // 2
    model = on_meta(name)
    expect_equal(model.prune_intermediate_layers([last]), [last], "levels returned")
    expect(not head_parameters(model), "parameters of the head are left")
    expect(
        num_parameters(model) < num_parameters(whole),
        f"pruned to level {last} it has {num_parameters(model):,} parameters, as before",
    )
    x = images(whole)
    (level,) = model.forward_intermediates(x, [last], intermediates_only=True)
    expect_equal(tuple(level.shape), map_shape(whole, last, x), f"map of level {last}")
    model(x)
    if last + 1 < len(whole.feature_info):
        expect_error(
            (ValueError,),
            f"level {last + 1}, which was pruned,",
            model.forward_intermediates,
            x,
            [last + 1],
        )


@promise("as_features")
def check_features_only(name: str) -> None:
    """With `features_only` forward returns the maps that `feature_info` names, without a head."""
    whole = shared(name)
    x = images(whole)
    for indices in (None, (0,)):
        model = on_meta(name, features_only=True, out_indices=indices)
        maps = model(x)
        info = model.feature_info
        wanted = [map_shape(whole, i, x) for i in info.out_indices]
        expect_equal([tuple(m.shape) for m in maps], wanted, f"maps of out_indices={indices}")
        expect_equal(info.channels(), [m.shape[1] for m in maps], "feature_info.channels()")
        expect_equal(len(info.reduction()), len(maps), "number of feature_info.reduction()")
        expect(not head_parameters(model), "parameters of the head are left")
    expect(
        num_parameters(model) < num_parameters(whole),
        f"out_indices=(0,) has {num_parameters(model):,} parameters, as the whole network",
    )


@promise("feature_info")
def check_output_stride(name: str) -> None:
    """`output_stride` 8 or 16 is taken, and strides beyond it go; or it is refused, and lacking."""
    if lacks(name, "output_stride") or "output_stride" not in arguments(name):
        expect_error((TypeError, ValueError), "output_stride=8", on_meta, name, output_stride=8)
        return
    for stride in (8, 16):
        model = on_meta(name, output_stride=stride)
        wanted = [min(row["reduction"], stride) for row in shared(name).feature_info]
        expect_equal(model.feature_info.reduction(), wanted, f"reductions at {stride}")
        if stride > 8:
            continue
        x = images(shared(name))
        maps = model.forward_intermediates(x, intermediates_only=True)
        found = [x.shape[-1] // m.shape[-1] for m in maps]
        expect_equal(found, wanted, f"reductions of the maps at output_stride={stride}")


@promise("feature_size")
def check_image_size(name: str) -> None:
    """A network with `img_size` builds for others, square or not, with the same parameters."""
    if "img_size" not in arguments(name) or lacks(name, "img_size"):
        return
    height, width = image_size(shared(name))
    for size in ((2 * height, 2 * width), (height, 2 * width)):
        model = on_meta(name, img_size=size)
        expect_equal(image_size(model), size, "attribute img_size")
        x = images(model)
        expect_equal(tuple(model(x).shape[:1]), (BATCH,), "batch of the output")
        maps = model.forward_intermediates(x, intermediates_only=True)
        wanted = [map_shape(model, i, x) for i in range(len(maps))]
        expect_equal([tuple(m.shape) for m in maps], wanted, f"maps at img_size={size}")
        names = [n for n, _ in model.named_parameters()]
        expect_equal(names, [n for n, _ in shared(name).named_parameters()], "parameters")


@promise("train")
def check_modes(name: str) -> None:
    """`train` and `eval` reach every module, and from the start every parameter learns."""
    model = shared(name)
    asleep = [path for path, m in model.train().named_modules() if not m.training]
    awake = [path for path, m in model.eval().named_modules() if m.training]
    expect(not asleep, f"not in training mode after train(): {asleep[:3]}")
    expect(not awake, f"in training mode after eval(): {awake[:3]}")
    learning = [n for n, p in model.named_parameters() if not p.requires_grad]
    expect(not learning, f"parameters that do not learn from the start: {learning[:3]}")
