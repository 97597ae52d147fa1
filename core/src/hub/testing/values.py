"""Promises about values, held on the CPU for small networks."""

from __future__ import annotations

import copy
import pickle
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import hub
from hub.backbone import Backbone, freeze, group_parameters, unfreeze
from hub.features import to_layout
from hub.testing.subject import (
    create,
    expect,
    expect_close,
    expect_equal,
    head_parameters,
    image_size,
    images,
    is_below,
    lacks,
    perturb,
    perturbed,
    plainly,
    poisoned_memory,
    promise,
    watched,
)


@promise("forward")
def check_forward(name: str) -> None:
    """`forward` is `forward_head` of `forward_features`: pool, then the classifier."""
    model = perturbed(name)
    x = images(model)
    logits = model(x)
    expect(bool(logits.isfinite().all()), "logits are not finite")
    features = model.forward_features(x)
    expect_close(logits, model.forward_head(features), "logits and forward_head")
    pooled = model.forward_head(features, pre_logits=True)
    expect_close(logits, model.get_classifier()(pooled), "logits and classified pre_logits")
    model.reset_classifier(0)
    expect_close(model(x), pooled, "output without a classifier and pre_logits")
    model.reset_classifier(0, "")
    # A norm of the head (ViT's fc_norm) stays, so that values may differ; shapes may not.
    expect_equal(model(x).shape, features.shape, "output without a pool and forward_features")


@promise("forward_pool")
def check_pools(name: str) -> None:
    """Each pool that `reset_classifier` takes gives its own result."""
    model = perturbed(name)
    features = model.forward_features(images(model))
    found: dict[str, Tensor] = {}
    for pool in ("avg", "max"):
        try:
            model.reset_classifier(0, pool)
        except ValueError:
            continue
        found[pool] = model.forward_head(features)
    if len(found) == 2:
        expect(not torch.equal(found["avg"], found["max"]), "avg and max give the same")


@promise("forward")
def check_eval(name: str) -> None:
    """In evaluation an image has one result, whatever else is in the batch; nothing changes."""
    model = perturbed(name)
    x = images(model)
    before = copy.deepcopy(model.state_dict())
    first = model(x)
    expect(torch.equal(first, model(x)), "the same images give two results")
    expect_close(model(x[:1]), first[:1], "results of an image alone and in a batch")
    changed = [k for k, v in model.state_dict().items() if not torch.equal(v, before[k])]
    expect(not changed, f"a forward pass changed {changed[:3]}")


@promise("forward_intermediates")
def check_intermediates_values(name: str) -> None:
    """Maps are the outputs of the modules in the table, untouched by what runs after them."""
    model = perturbed(name)
    x = images(model)
    outputs: dict[str, Tensor] = {}
    handles = []
    for row in model.feature_info:
        keep = _keeper(outputs, row["module"])
        handles.append(model.get_submodule(row["module"]).register_forward_hook(keep))
    final, maps = model.forward_intermediates(x)
    for handle in handles:
        handle.remove()
    expect_close(final, model.forward_features(x), "final features and forward_features")
    for i, (row, level) in enumerate(zip(model.feature_info, maps, strict=True)):
        expect(row["module"] in outputs, f"{row['module']} did not run")
        patches = model._split(outputs[row["module"]])[1]
        size = model.feature_size(x.shape[-2], x.shape[-1], i)
        own = to_layout(patches, model.layout, "NCHW", size)
        expect_close(level, own, f"level {i} and what {row['module']} gave")


def _keeper(outputs: dict[str, Tensor], path: str) -> Any:
    def keep(_module: nn.Module, _args: Any, output: Tensor) -> None:
        outputs[path] = output.detach().clone()

    return keep


@promise("forward_intermediates")
def check_layouts(name: str) -> None:
    """All layouts hold the same values; `norm` and `stop_early` end as `forward_features` does."""
    model = perturbed(name)
    x = images(model)
    maps = model.forward_intermediates(x, intermediates_only=True)
    for layout in ("NHWC", "NLC"):
        others = model.forward_intermediates(x, intermediates_only=True, output_fmt=layout)
        for i, (level, other) in enumerate(zip(maps, others, strict=True)):
            back = to_layout(other, layout, "NCHW", (level.shape[-2], level.shape[-1]))
            expect_close(back, level, f"level {i} as {layout} and as NCHW")
    final, normed = model.forward_intermediates(x, 1, norm=True, return_prefix_tokens=True)
    level = normed[-1][0] if model.num_prefix_tokens else normed[-1]
    prefix, patches = model._split(final)
    size = (level.shape[-2], level.shape[-1])
    expect_close(level, to_layout(patches, model.layout, "NCHW", size), "last level with norm")
    if model.num_prefix_tokens:
        expect_close(normed[-1][1], prefix, "prefix tokens with norm")
    final, early = model.forward_intermediates(x, [0], stop_early=True)
    expect_close(early[0], maps[0], "the first level when stopped early and when not")


@promise("prune_intermediate_layers")
def check_pruned_values(name: str) -> None:
    """A pruned network, or one with `features_only`, gives the maps of the whole one.

    Of what is left each parameter is needed.
    """
    whole = perturbed(name)
    x = images(whole)
    maps = whole.forward_intermediates(x, intermediates_only=True)
    for last in range(len(maps)):
        model = copy.deepcopy(whole)
        model.prune_intermediate_layers([last], prune_norm=True)
        (found,) = model.forward_intermediates(x, [last], intermediates_only=True)
        expect_close(found, maps[last], f"level {last} of the pruned and of the whole network")
        _gradients(model, found)
    for indices in (None, (0,), (0, -1)):
        features = hub.create_model(name, features_only=True, out_indices=indices).eval()
        assert isinstance(features, Backbone)
        state = whole.state_dict()
        features.load_state_dict({k: state[k] for k in features.state_dict()})
        for i, found in zip(features.feature_info.out_indices, features(x), strict=True):
            expect_close(found, maps[i], f"level {i} of features_only and of the whole network")


def _gradients(model: Backbone, output: Tensor) -> dict[str, Tensor]:
    """Return the gradients of all parameters, each of which must have one."""
    model.zero_grad()
    torch.autograd.backward((output * torch.randn_like(output)).sum())
    without = [n for n, p in model.named_parameters() if p.grad is None]
    expect(not without, f"no gradient reaches {without[:3]}")
    found = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    infinite = [n for n, gradient in found.items() if not gradient.isfinite().all()]
    expect(not infinite, f"gradients are not finite: {infinite[:3]}")
    return found


@promise("forward_levels")
def check_gradients(name: str) -> None:
    """In training a gradient reaches every parameter, and the image."""
    model = perturbed(name).train()
    x = images(model).requires_grad_()
    _gradients(model, model(x))
    expect(x.grad is not None and bool(x.grad.any()), "no gradient reaches the image")


@promise("set_grad_checkpointing")
def check_grad_checkpointing(name: str) -> None:
    """With gradient checkpointing blocks run again in the backward pass, and that changes nothing.

    Gradients, and the statistics that a step moves, are those of a step without it.
    """
    if lacks(name, "grad_checkpointing"):
        return
    model = perturbed(name).train()
    x = images(model)
    calls: list[int] = []
    found: list[dict[str, Tensor]] = []
    before = copy.deepcopy(model.state_dict())
    moved: list[dict[str, Tensor]] = []
    for enable in (False, True):
        model.load_state_dict(before)
        model.set_grad_checkpointing(enable)
        torch.manual_seed(0)
        with watched(model) as (begun, _):
            found.append(_gradients(model, model(x)))
        calls.append(len(begun))
        moved.append(copy.deepcopy(model.state_dict()))
    for key, value in moved[0].items():
        expect_close(moved[1][key], value, f"{key} after a step with checkpointing and without")
    expect(calls[1] > calls[0], f"{calls[0]} calls of modules without, {calls[1]} with it")
    for key, gradient in found[0].items():
        scale = float(gradient.norm())
        error = float((found[1][key] - gradient).norm())
        expect(error <= 1e-3 * scale + 1e-6, f"gradients of {key} differ by {error:.2g}")
    model.set_grad_checkpointing(False)
    with watched(model) as (begun, _):
        torch.autograd.backward(model(x).sum())
    expect_equal(len(begun), calls[0], "calls of modules after it is switched off")


@promise("run_each")
def check_hooks(name: str) -> None:
    """A forward hook of each top module fires in a forward pass, checkpointing or not.

    Lists of modules (`nn.ModuleList`) cannot be called, and have none.
    """
    model = perturbed(name).train()
    lists = (nn.ModuleList, nn.ModuleDict)
    tops = {path for path, m in model.named_children() if not isinstance(m, lists)}
    for enable in (False, True):
        if not (enable and lacks(name, "grad_checkpointing")):
            model.set_grad_checkpointing(enable)
            with watched(model) as (begun, ended):
                model(images(model))
            silent = sorted(tops - {*begun} | tops - {*ended})
            expect(not silent, f"hooks of {silent} never fire; checkpointing: {enable}")


@promise("train")
def check_freeze(name: str) -> None:
    """Training leaves alone what `freeze` holds, statistics included; `unfreeze` undoes it."""
    first = _first_level(create(name))
    cases: tuple[tuple[str | None, dict[str, Any]], ...] = (
        (first, {}),
        (None, {}),
        (None, {"num_classes": 0}),
    )
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
    paths = [row["module"] for row in model.feature_info]
    return next((p for p in paths if [*model.get_submodule(p).parameters()]), None)


@promise("state_dict")
def check_copies(name: str) -> None:
    """A deep copy, a pickled one and one that took the state dict give the same, independently."""
    model = perturbed(name)
    x = images(model)
    wanted = model(x)
    loaded = create(name)
    loaded.load_state_dict(copy.deepcopy(model.state_dict()))
    twins = {
        "deep copy": copy.deepcopy(model),
        "pickled": pickle.loads(pickle.dumps(model)),
        "loaded from a state dict": loaded,
    }
    for how, twin in twins.items():
        expect_close(twin(x), wanted, f"outputs of the network and one {how}")
        with torch.no_grad():
            for parameter in twin.parameters():
                parameter.zero_()
        expect(torch.equal(model(x), wanted), f"zeroing one {how} changed the network")


@promise("__init__")
def check_deferred_init(name: str) -> None:
    """Built by `create_model`, a network starts with the same values as by its constructor alone.

    Random values have the same mean and spread; no tensor is left uninitialised.
    """
    with poisoned_memory():
        model = create(name)
        plain, again = plainly(model), plainly(model)
    found = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    other = {**dict(again.named_parameters()), **dict(again.named_buffers())}
    for key, wanted in (*plain.named_parameters(), *plain.named_buffers()):
        value = found[key].detach()
        expect_equal(tuple(value.shape), tuple(wanted.shape), f"shape of {key}")
        if not value.is_floating_point():
            expect(torch.equal(value, wanted), f"{key} has another value")
        else:
            expect(
                bool(value.isfinite().all()) or not bool(wanted.isfinite().all()),
                f"{key} is not initialised",
            )
            if torch.equal(wanted, other[key]):  # not random
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


@promise("__init__")
def check_loading(name: str) -> None:
    """Weights loaded by `create_model` give what a constructor and `load_state_dict` give.

    Tensors that no file holds (`persistent=False`) are compared as well.
    """
    from safetensors.torch import save_model

    source = perturbed(name)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.safetensors"
        save_model(source, str(file))
        overlay: dict[str, Any] = {"file": str(file), "custom_load": False}
        with poisoned_memory():
            fast = create(name, pretrained=True, pretrained_cfg_overlay=overlay)
    slow = plainly(source).eval()
    slow.load_state_dict(source.state_dict())
    found = {**dict(fast.named_parameters()), **dict(fast.named_buffers())}
    for key, wanted in (*slow.named_parameters(), *slow.named_buffers()):
        expect(torch.equal(found[key], wanted), f"{key} has another value")
        expect_equal(found[key].dtype, wanted.dtype, f"dtype of {key}")
    x = images(source)
    expect_close(fast(x), slow(x), "outputs")
    still = [n for n, p in fast.named_parameters() if not p.requires_grad]
    expect(not still, f"parameters that do not learn: {still[:3]}")


@promise("pretrained_cfg")
def check_saving(name: str) -> None:
    """What `hub.save_pretrained` writes builds the network as it is: its classes, pool and size."""
    model = perturbed(name, num_classes=5)
    _expect_saved(model, "a network built for 5 classes")
    for pool in ("avg", "max", "avgmax", "token", ""):
        try:
            model.reset_classifier(3 if pool else 0, pool)
        except ValueError:
            continue  # a network may refuse a pool that it does not have
        _expect_saved(perturb(model), f"a network after reset_classifier with the pool {pool!r}")
    resize: Any = getattr(model, "set_input_size", None)
    if resize is not None:
        height, width = image_size(model)
        resize(img_size=(height, 2 * width))
        _expect_saved(model, "a network after set_input_size")


def _expect_saved(model: Backbone, what: str) -> None:
    x = images(model)
    with tempfile.TemporaryDirectory() as folder:
        hub.save_pretrained(model, folder)
        again = create(f"local-dir:{folder}", pretrained=True)
        expect_close(again(x), model(x), f"outputs of {what} and of the one loaded")
    for attribute in ("num_classes", "in_chans", "drop_rate", "pool_name"):
        expect_equal(getattr(again, attribute), getattr(model, attribute), attribute)


@promise("forward")
def check_memory_format(name: str) -> None:
    """Images in channels_last give the same logits."""
    model = perturbed(name)
    x = images(model)
    wanted = model(x)
    model.to(memory_format=torch.channels_last)
    found = model(x.contiguous(memory_format=torch.channels_last))
    expect_close(found, wanted, "logits in channels_last and not")


@promise("forward")
def check_bfloat16(name: str) -> None:
    """In bfloat16 features and logits are bfloat16, and near those of float32."""
    model = create(name)  # as initialised: random offsets would drown what is compared
    x = images(model)
    wanted = model.forward_features(x)
    model.to(torch.bfloat16)
    found = model.forward_features(x.bfloat16())
    expect_equal(found.dtype, torch.bfloat16, "dtype of the features")
    expect_close(found, wanted, "features in bfloat16 and float32", torch.bfloat16)
    expect_equal(model(x.bfloat16()).dtype, torch.bfloat16, "dtype of the logits")


@promise("forward")
def check_optimize(name: str) -> None:
    """`hub.optimize` makes a copy with equal logits and maps, at another batch size too."""
    if not hasattr(hub, "optimize"):  # hub-inference is not installed
        return
    model = perturbed(name)
    x = images(model)
    more = torch.cat([x, x.flip(0)])
    features = copy.deepcopy(model).as_features()
    with torch.no_grad():
        expect_close(hub.optimize(model, x)(more), model(more), "logits of the optimised copy")
        maps = hub.optimize(features, x)(more)
        for level, wanted in zip(maps, features(more), strict=True):
            expect_close(level, wanted, "maps of the optimised copy")


@promise("forward")
def check_export(name: str) -> None:
    """`torch.export` takes a network with a dynamic batch."""
    if lacks(name, "export"):
        return
    model = perturbed(name)
    x = images(model)
    batch = torch.export.Dim("batch", min=1)
    program = torch.export.export(model, (x,), dynamic_shapes=({0: batch},), strict=False)
    more = torch.cat([x, x.flip(0), x])
    expect_close(program.module()(more), model(more), "outputs of the exported network and of it")


@promise("forward")
def check_compile(name: str) -> None:
    """`torch.compile(fullgraph=True)` takes `forward`, also of a network with `features_only`."""
    if lacks(name, "compile"):
        return
    model = perturbed(name)
    x = images(model)
    features = copy.deepcopy(model).as_features()
    torch._dynamo.reset()
    try:
        found = torch.compile(model, fullgraph=True, backend="eager")(x)
        expect_close(found, model(x), "outputs of the compiled network and of it")
        maps = torch.compile(features, fullgraph=True, backend="eager")(x)
        for level, wanted in zip(maps, features(x), strict=True):
            expect_close(level, wanted, "maps of the compiled network and of it")
    finally:
        torch._dynamo.reset()
