"""Levels, the table that describes them, and what follows the last; without values."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hub.features import LAYOUTS
from torch import Tensor

from hub_kit.promise import expect, expect_equal, expect_error, promise
from hub_kit.subject import (
    BATCH,
    features_of,
    is_below,
    is_small,
    map_shape,
    num_parameters,
    parameters_below,
    run_of,
    shared,
    spare,
)


@promise("levels", rests_on=("check_builds",))
def check_levels(name: str) -> None:
    """`forward_levels` yields one level per row, each when it has it, and nothing runs after.

    What computes ahead cannot stop early; what runs behind the last yield runs, too, where only
    maps are asked for.
    """
    run, rows = run_of(name), shared(name).feature_info
    expect_equal(run.yields, len(rows), "levels that forward_levels yields, against rows")
    paths = [row["module"] for row in rows]
    for i, ended in enumerate(run.ended):
        own = paths[i]
        expect(own is None or own in ended, f"level {i} is yielded before its module {own} ran")
        early = [p for p in paths[i + 1 :] if p in ended and p not in paths[: i + 1]]
        expect(
            not early,
            f"{early} ran before level {i} was yielded: compute a level, yield it, then the next "
            "(a list of finished levels cannot be left early)",
        )
    expect(
        not run.ran_on,
        f"{run.ran_on[:3]} ran after the last yield: what follows the last level is `final_norm`, "
        "`final_modules` or forward_final",
    )


@promise("table", rests_on=("check_builds", "check_levels"))
def check_table(name: str) -> None:
    """Each row has the width, layout, prefix tokens and reduction of its level."""
    model, run = shared(name), run_of(name)
    for i, (row, level) in enumerate(zip(model.feature_info, run.levels, strict=True)):
        expect_equal(row["index"], i, "index of a row")
        layout, prefix = row["layout"], row["num_prefix_tokens"]
        expect(layout in LAYOUTS, f"layout of row {i} is {layout!r}, none of {LAYOUTS}")
        axes = 3 if layout == "NLC" else 4
        expect_equal(level.ndim, axes, f"axes of level {i}, whose layout is {layout}")
        width = level.shape[1 if layout == "NCHW" else -1]
        expect_equal(width, row["num_chs"], f"channels of level {i} as {layout}, against num_chs")
        _, _, height, wide = map_shape(model, i, level, run.x)
        if layout == "NLC":
            due = prefix + height * wide
            what = f"tokens of level {i}, against {prefix} prefix tokens and {height} x {wide}"
            expect_equal(level.shape[1], due, what)
        strides = [-(-a // b) for a, b in zip(run.x.shape[-2:], (height, wide), strict=True)]
        expect_equal(strides, [row["reduction"]] * 2, f"reductions of level {i}")


@promise("table")
def check_modules(name: str) -> None:
    """What rows state as `modules` covers the network with stem, final modules and head, once."""
    model = shared(name)
    rows = model.feature_info
    if "modules" not in rows[0]:
        return
    stated = Counter(path for row in rows for path in row["modules"])
    nested = [p for p in stated if any(is_below(p, {q}) for q in stated if q != p)]
    expect(not nested, f"`modules` names {nested[:3]} and what they lie in")
    final = {p for p in (*model.final_modules, model.final_norm) if p}
    norms = {row["norm"] for row in rows} - {None}
    covered = {*stated, *final, *norms, *model.head_names}
    begun = {path for path in run_of(name).begun if path}
    loose = [
        n
        for n, _ in model.named_parameters()
        if not is_below(n, covered) and n.rpartition(".")[0] in begun - _before_levels(name)
    ]
    expect(not loose, f"no row, and nothing after the last level, names {loose[:3]}")


def _before_levels(name: str) -> set[str]:
    """Return the modules that run before the first level: its stem, which every level needs."""
    run = run_of(name)
    return set(run.begun[: run.marks[0]])


@promise("after-the-last-level", rests_on=("check_builds", "check_levels"))
def check_final(name: str) -> None:
    """`final_norm` and `final_modules` run after the last level, and forward_final runs them."""
    model, run = shared(name), run_of(name)
    later = set(run.begun[run.marks[-1] :])
    first = set(run.begun[: run.marks[-1]])
    for path in (*([model.final_norm] if model.final_norm else []), *model.final_modules):
        modules = dict(model.named_modules())
        if path not in modules:
            continue  # a bare parameter
        below = {p for p in modules if is_below(p, {path})}
        expect(bool(below & later), f"{path!r} does not run after the last level")
        expect(not below & first, f"{path!r} runs before the last level is yielded")
    named = {p for p in (*model.final_modules, model.final_norm) if p} | {
        row["norm"] for row in model.feature_info if row["norm"]
    }
    strays = [
        path
        for path in later
        if path and not is_below(path, named) and parameters_below(model, {path})
    ]
    expect(
        not strays,
        f"{sorted(strays)[:3]} run after the last level and are neither `final_norm` nor in "
        "`final_modules`: a cut would keep them",
    )


@promise("widths", rests_on=("check_builds", "check_levels"))
def check_attributes(name: str) -> None:
    """`num_features`, `head_hidden_size` and `num_classes` are what tensors have."""
    model, features = shared(name), features_of(name)
    if isinstance(features, Tensor):
        axis = 1 if model.layout == "NCHW" else -1
        found = features.shape[axis]
        expect_equal(found, model.num_features, "channels of forward_features, layout considered")
    pooled = model.forward_head(features, pre_logits=True)
    if model.pool_name:
        width = pooled.shape[-1]
        expect_equal(width, model.head_hidden_size, "width of pre_logits, against head_hidden_size")
    if model.num_classes:
        logits = model.forward_head(features)
        expect_equal(tuple(logits.shape), (BATCH, model.num_classes), "shape of the logits")


@promise("features")
def check_intermediates(name: str) -> None:
    """`forward_intermediates` takes indices of all kinds and returns the layout asked for."""
    model, run = shared(name), run_of(name)
    x, rows = run.x, model.feature_info
    num = len(rows)
    # Where a pass takes long the first two levels stand for all.
    asked = sorted({0, num - 1 if is_small(model) else min(1, num - 1)})
    given = model.forward_intermediates(
        x,
        [0, asked[-1] - num],
        output_dict=True,
        return_prefix_tokens=True,
        norm=True,
        stop_early=not is_small(model),
    )
    wanted = [map_shape(model, i, run.levels[i], x) for i in asked]
    found = [tuple(m.shape) for m in given["image_intermediates"]]
    expect_equal(found, wanted, f"maps of [0, {asked[-1] - num}]")
    keys = {"image_features", "image_intermediates"}
    if any(row["num_prefix_tokens"] for row in rows):
        keys |= {"image_intermediates_prefix"}
        for i, prefix in zip(asked, given["image_intermediates_prefix"], strict=True):
            due = rows[i]["num_prefix_tokens"]
            expect_equal(prefix.shape[1], due, f"prefix tokens of level {i}")
    expect_equal(set(given), keys, "keys of output_dict")
    b, c, h, w = map_shape(model, 0, run.levels[0], x)
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


@promise("cuts", rests_on=("check_builds", "check_levels", "check_table"))
def check_cuts(name: str) -> None:
    """A cut at the first, middle or last level drops what comes after; what is left runs."""
    whole, run = shared(name), run_of(name)
    rows, x = whole.feature_info, run.x
    model = spare(name)
    for last in sorted({0, len(rows) // 2, len(rows) - 1}, reverse=True):
        # Copies of a large network take long: one is cut again and again, from the end.
        model, where = spare(name) if is_small(whole) else model, f"cut at level {last}"
        expect_equal(model.prune_intermediate_layers([last], True), [last], "levels returned")
        norms = {row["norm"] for row in rows if row["norm"]}
        left = parameters_below(model, {*norms, *whole.final_modules, *whole.head_names})
        expect(not left, f"{where}, of norm, final modules and head are left {left[:3]}")
        if last + 1 == len(rows):
            continue  # it runs what the one pass of all checks has run
        try:
            found = model(x)
        except (AttributeError, IndexError, KeyError) as e:
            expect(
                False,
                f"{where}, the network cannot run ({type(e).__name__}: {e}): forward_levels looks "
                "at what the cut has taken (self.stages[-1], len(self.blocks))",
            )
        expect_equal(tuple(found.shape), tuple(run.levels[last].shape), f"{where}, the output")
        stated = (model.num_features, model.layout, model.num_prefix_tokens)
        due = tuple(rows[last][key] for key in ("num_chs", "layout", "num_prefix_tokens"))
        expect_equal(stated, due, f"{where}, num_features, layout and num_prefix_tokens")
        what = f"level {last + 1}, which was cut,"
        expect_error((ValueError,), what, model.forward_intermediates, x, [last + 1])
        fewer = num_parameters(model) < num_parameters(whole)
        expect(fewer, f"{where}, it has as many parameters as before")
    if is_small(whole):
        model = spare(name)
        model.prune_intermediate_layers([0])
    try:
        model.reset_classifier(3)
    except ValueError:
        return  # and says why
    expect_equal(tuple(model(x).shape), (BATCH, 3), "a new classifier on a cut network")


@promise("features", rests_on=("check_builds", "check_levels", "check_table", "check_cuts"))
def check_features_only(name: str) -> None:
    """With `features_only` forward returns the maps that `feature_info` names, without a head."""
    whole, run = shared(name), run_of(name)
    defaults = whole.feature_info.from_other(whole.default_indices).out_indices
    for indices in (tuple(defaults), (0,)) if is_small(whole) else ((0,),):
        model = spare(name)
        features = model.as_features(indices)
        info = model.feature_info
        wanted = [map_shape(whole, i, run.levels[i], run.x) for i in info.out_indices]
        expect_equal(info.channels(), [shape[1] for shape in wanted], "feature_info.channels()")
        maps = features(run.x)
        expect_equal([tuple(m.shape) for m in maps], wanted, f"maps of out_indices={indices}")
        expect_equal(len(info.reduction()), len(maps), "number of feature_info.reduction()")
        left = parameters_below(model, set(whole.head_names))
        expect(not left, f"parameters of the head are left: {left[:3]}")
