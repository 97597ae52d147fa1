"""Values of levels, maps, norms and cuts."""

from __future__ import annotations

import copy
from typing import Any

import hub
import torch
from hub import Backbone
from hub.features import to_layout
from torch import Tensor, nn

from hub_kit.checks.training import gradients
from hub_kit.promise import expect_close, expect_equal, promise
from hub_kit.subject import images, perturbed

_VALUES = ("check_builds", "check_levels", "check_table", "check_intermediates")


@promise("levels", rests_on=_VALUES)
def check_intermediates_values(name: str) -> None:
    """Maps are the outputs of the modules in the table, untouched by what runs after them."""
    model = perturbed(name)
    x = images(model)
    outputs: dict[str, Tensor] = {}
    handles = []
    for row in model.feature_info:
        if row["module"]:
            keep = _keeper(outputs, row["module"])
            handles.append(model.get_submodule(row["module"]).register_forward_hook(keep))
    levels, features = model.run_levels(x)
    final, maps = model.forward_intermediates(x)
    for handle in handles:
        handle.remove()
    if isinstance(final, Tensor):
        expect_close(final, model.forward_features(x), "features and forward_features")
        expect_close(final, features, "features and run_levels")
    for i, (row, level) in enumerate(zip(model.feature_info, maps, strict=True)):
        patches = levels[i]
        if row["layout"] == "NLC":
            patches = patches[:, row["num_prefix_tokens"] :]
        size = (level.shape[-2], level.shape[-1])
        expect_close(level, to_layout(patches, row["layout"], "NCHW", size), f"map {i} and level")
        given = outputs.get(row["module"])
        if given is not None and given.shape == levels[i].shape:
            expect_close(levels[i], given, f"level {i} and what {row['module']} gave")


def _keeper(outputs: dict[str, Tensor], path: str) -> Any:
    def keep(_module: nn.Module, _args: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            outputs[path] = output.detach().clone()

    return keep


@promise("features", rests_on=_VALUES)
def check_layouts(name: str) -> None:
    """All layouts hold the same values; a level is the same when the pass is stopped early."""
    model = perturbed(name)
    x = images(model)
    maps = model.forward_intermediates(x, intermediates_only=True)
    for layout in ("NHWC", "NLC"):
        others = model.forward_intermediates(x, intermediates_only=True, output_fmt=layout)
        for i, (level, other) in enumerate(zip(maps, others, strict=True)):
            back = to_layout(other, layout, "NCHW", (level.shape[-2], level.shape[-1]))
            expect_close(back, level, f"level {i} as {layout} and as NCHW")
    _, early = model.forward_intermediates(x, [0], stop_early=True)
    expect_close(early[0], maps[0], "the first level when stopped early and when not")


@promise("after-the-last-level", rests_on=(*_VALUES, "check_final"))
def check_norms(name: str) -> None:
    """`norm=True` changes exactly the levels whose rows name a norm, and keeps their width."""
    model = perturbed(name)
    x = images(model)
    plain = model.forward_intermediates(x, intermediates_only=True)
    normed = model.forward_intermediates(x, norm=True, intermediates_only=True)
    for i, (row, a, b) in enumerate(zip(model.feature_info, plain, normed, strict=True)):
        expect_equal(tuple(b.shape), tuple(a.shape), f"shape of level {i} with norm=True")
        norm = model.get_submodule(row["norm"]) if row["norm"] else nn.Identity()
        changes = not isinstance(norm, nn.Identity)
        expect_equal(not torch.equal(a, b), changes, f"norm=True changes level {i}")
    features = copy.deepcopy(model).as_features(norm=True)
    wanted = [normed[i] for i in features.feature_info.out_indices]
    for i, (found, due) in enumerate(zip(features(x), wanted, strict=True)):
        expect_close(found, due, f"map {i} of features_only with norm=True, and norm=True")


@promise("cuts", rests_on=(*_VALUES, "check_cuts", "check_gradients"))
def check_cut_values(name: str) -> None:
    """Cut at any level, a network gives the maps of the whole one, and needs each parameter left.

    So it is with `features_only`.
    """
    whole = perturbed(name)
    x = images(whole)
    maps = whole.forward_intermediates(x, intermediates_only=True)
    levels, _ = whole.run_levels(x)
    for last in range(len(maps)):
        model = copy.deepcopy(whole)
        model.prune_intermediate_layers([last], prune_norm=True)
        (found,) = model.forward_intermediates(x, [last], intermediates_only=True)
        hint = (
            ": forward_levels may not look at what comes later (self.blocks[-1], len(self.blocks), "
            "a last block that is treated apart)"
        )
        what = f"level {last} of a network cut there and of the whole one"
        expect_close(found, maps[last], what, hint=hint)
        expect_close(model(x), levels[last], f"output of a network cut at level {last} and it")
        where = f"cut at level {last}, it keeps what only later levels or the head need: "
        levels_left = [p for row in model.levels_left for p in row.get("modules", [row["module"]])]
        # The last level of a network of branches leaves some of its own parameters without use.
        gradients(model, model(x), where, but=[p for p in levels_left if p])
    for indices in (None, (0,), (0, -1)):
        features = hub.create_model(name, features_only=True, out_indices=indices).eval()
        assert isinstance(features, Backbone)
        state = whole.state_dict()
        features.load_state_dict({k: state[k] for k in features.state_dict()})
        for i, found in zip(features.feature_info.out_indices, features(x), strict=True):
            expect_close(found, maps[i], f"level {i} of features_only and of the whole network")
