"""Depth, weight decay, gradients, recomputation, hooks, freezing."""

from __future__ import annotations

import copy
import fnmatch
from collections.abc import Collection
from typing import Any

import torch
from hub import Backbone, freeze, group_parameters, unfreeze
from torch import Tensor, nn

from hub_kit.promise import expect, expect_close, expect_equal, expect_error, promise
from hub_kit.subject import (
    create,
    head_parameters,
    images,
    is_below,
    perturbed,
    run_of,
    shared,
    watched,
)


@promise("depth")
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
            paths = {p for p in row.get("modules", (row["module"],)) if p}
            level = [d for n, d in depths.items() if is_below(n, paths)]
            if level and "modules" not in row:
                expect(
                    max(level) >= above,
                    f"{what} gives {row['module']} the depth {max(level)}, and the level before "
                    f"it {above}: register modules in the order in which they run",
                )
                above = max(level)


@promise("depth", rests_on=("check_builds", "check_levels", "check_depths"))
def check_order(name: str) -> None:
    """Modules are registered in the order in which they run: deeper ones never run before."""
    model, run = shared(name), run_of(name)
    if "modules" in model.feature_info[0]:
        return  # registration is not run order here, and the rows say so
    depth_of = model.group_matcher()
    deepest, before = 0, ""
    for path in dict.fromkeys(run.begun):
        own = [n for n, _ in model.get_submodule(path).named_parameters(recurse=False)]
        depths = [depth_of(f"{path}.{n}".lstrip(".")) for n in own]
        if depths and path:
            expect(
                max(depths) >= deepest,
                f"{path} (depth {max(depths)}) runs after {before} (depth {deepest}): it is "
                "registered in the wrong place",
            )
            deepest, before = max(depths), path


@promise("weight-decay")
def check_no_weight_decay(name: str) -> None:
    """Each pattern of `no_decay` matches a parameter, where the network has all its parts."""
    model = shared(name)
    names = [n for n, _ in model.named_parameters()]
    unknown = model.no_weight_decay() - set(names)
    expect(not unknown, f"it names {sorted(unknown)}, which are no parameters")
    bare = {n for n, p in model._parameters.items() if p is None}
    dead = [p for p in model.no_decay if not fnmatch.filter(names, p) and p not in bare]
    known = {n.rpartition(".")[2] for n in names} | bare
    typos = [p for p in dead if p.lstrip("*.") not in known and not hasattr(model, p)]
    expect(not typos, f"no_decay={typos} matches no parameter")


@promise("training")
def check_gradients(name: str) -> None:
    """In training a gradient reaches every parameter, and the image."""
    model = perturbed(name).train()
    x = images(model).requires_grad_()
    gradients(model, model(x))
    expect(x.grad is not None and bool(x.grad.any()), "no gradient reaches the image")


def gradients(
    model: Backbone, output: Tensor, where: str = "", but: Collection[str] = ()
) -> dict[str, Tensor]:
    """Return the gradients of all parameters, each of which must have one.

    Args:
        model: the network.
        output: what it gave.
        where: what is said of the network where one has none.
        but: paths of modules whose parameters need none.
    """
    model.zero_grad()
    torch.autograd.backward((output * torch.randn_like(output)).sum())
    without = [n for n, p in model.named_parameters() if p.grad is None]
    without = [n for n in without if not is_below(n, set(but))]
    expect(not without, f"{where}no gradient reaches {without[:3]}")
    found = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    infinite = [n for n, gradient in found.items() if not gradient.isfinite().all()]
    expect(not infinite, f"gradients are not finite: {infinite[:3]}")
    return found


@promise("checkpointing", rests_on=("check_builds", "check_levels", "check_gradients"))
def check_grad_checkpointing(name: str) -> None:
    """With gradient checkpointing blocks run again in the backward pass, and that changes nothing.

    Gradients, and the statistics that a step moves, are those of a step without it. A network with
    `can_checkpoint = False` refuses.
    """
    model = perturbed(name).train()
    x = images(model)
    if not model.can_checkpoint:
        what = "set_grad_checkpointing() with can_checkpoint = False"
        expect_error((ValueError,), what, model.set_grad_checkpointing)
        model.can_checkpoint = True
        model.set_grad_checkpointing()
        with watched(model) as (begun, _):
            output = model(x)
            forward = len(begun)
            torch.autograd.backward(output.sum())
        expect(
            len(begun) == forward,
            "it states can_checkpoint = False, and blocks do run again: take that out",
        )
        return
    calls: list[int] = []
    found: list[dict[str, Tensor]] = []
    before = copy.deepcopy(model.state_dict())
    moved: list[dict[str, Tensor]] = []
    for enable in (False, True):
        model.load_state_dict(before)
        model.set_grad_checkpointing(enable)
        torch.manual_seed(0)
        with watched(model) as (begun, _):
            found.append(gradients(model, model(x)))
        calls.append(len(begun))
        moved.append(copy.deepcopy(model.state_dict()))
    for key, value in moved[0].items():
        expect_close(moved[1][key], value, f"{key} after a step with checkpointing and without")
    expect(
        calls[1] > calls[0],
        f"{calls[0]} calls of modules without checkpointing, {calls[1]} with it: nothing runs "
        "again. Make stages of hub.BlockSequence, run the blocks of a loop by self.apply_block, or "
        "state can_checkpoint = False",
    )
    for key, gradient in found[0].items():
        scale = float(gradient.norm())
        error = float((found[1][key] - gradient).norm())
        expect(error <= 1e-3 * scale + 1e-6, f"gradients of {key} differ by {error:.2g}")
    model.set_grad_checkpointing(False)
    with watched(model) as (begun, _):
        torch.autograd.backward(model(x).sum())
    expect_equal(len(begun), calls[0], "calls of modules after it is switched off")


@promise("hooks")
def check_hooks(name: str) -> None:
    """A forward hook of each module that a row names, and of each top module, fires once.

    So it is with checkpointing and without. Lists of modules (`nn.ModuleList`) cannot be called.
    """
    model = perturbed(name).train()
    lists = (nn.ModuleList, nn.ModuleDict)
    reached = {path for path in run_of(name).begun if path}
    tops = {p for p, m in model.named_children() if not isinstance(m, lists)}
    tops = {p for p in tops if p in reached or any(r.startswith(f"{p}.") for r in reached)}
    rows = {row["module"] for row in model.feature_info if row["module"]}
    for enable in (False, True):
        if enable and not model.can_checkpoint:
            continue
        model.set_grad_checkpointing(enable)
        with watched(model) as (begun, ended):
            model(images(model))
        idle = [p for p, m in model.named_children() if p not in begun and _is_bare(m)]
        expect(
            not idle,
            f"{idle} are registered, and never run: name them in head_modules, or call them",
        )
        silent = sorted(p for p in tops | rows if p not in begun or p not in ended)
        expect(
            not silent,
            f"hooks of {silent} never fire (checkpointing: {enable}): call the module itself; the "
            "blocks of a BlockSequence that are levels come by `yield from self.blocks.each(x)`",
        )
        twice = sorted(p for p in rows if begun.count(p) > 1)
        expect(not twice, f"hooks of {twice} fire more than once (checkpointing: {enable})")


def _is_bare(module: nn.Module) -> bool:
    """Return whether a module has nothing that learns, and does something."""
    empty = (nn.Identity, nn.Dropout, nn.ModuleList, nn.ModuleDict)
    return not isinstance(module, empty) and not [*module.parameters()]


@promise("freezing")
def check_freeze(name: str) -> None:
    """Training leaves alone what `freeze` holds, statistics included; `unfreeze` undoes it."""
    first = _first_level(create(name))
    cases: list[tuple[str | None, dict[str, Any]]] = [(None, {}), (None, {"num_classes": 0})]
    if first is not None:
        cases.insert(0, (first, {}))
    for upto, options in cases:
        model = perturbed(name, **options)
        frozen = set(freeze(model, upto=upto))
        depths = group_parameters(model, model.group_matcher(), reverse=True)
        wanted = depths.keys() - set(head_parameters(model))
        if upto is not None:
            limit = max(d for n, d in depths.items() if is_below(n, {upto}))
            wanted = {n for n, depth in depths.items() if depth <= limit}
        expect_equal(sorted(frozen), sorted(wanted), f"frozen by upto={upto!r}, {options}")
        before = copy.deepcopy(model.state_dict())
        model.train()
        learning = [p for p in model.parameters() if p.requires_grad]
        if learning:
            optimizer = torch.optim.SGD(learning, lr=0.1)
            torch.autograd.backward(model(images(model)).square().sum())
            optimizer.step()
        owners = {n.rpartition(".")[0] for n in frozen if "." in n}
        for key, tensor in model.state_dict().items():
            held = key in frozen or ("." in key and key.rpartition(".")[0] in owners)
            if held and not torch.equal(tensor, before[key]):
                expect(False, f"a training step changed {key}, frozen by upto={upto!r}")
        unfreeze(model)
        still = [n for n, p in model.named_parameters() if not p.requires_grad]
        asleep = [path for path, m in model.train().named_modules() if not m.training]
        expect(not still and not asleep, f"still frozen after unfreeze: {(still + asleep)[:3]}")


def _first_level(model: Backbone) -> str | None:
    paths = [row["module"] for row in model.feature_info if row["module"]]
    return next((p for p in paths if [*model.get_submodule(p).parameters()]), None)
