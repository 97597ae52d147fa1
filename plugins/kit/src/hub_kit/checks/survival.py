"""What a network survives: batches, layouts of memory, 16 bits, graphs, faster forms."""

from __future__ import annotations

import contextlib
import copy
import logging
from collections.abc import Callable, Iterator

import hub
import torch

from hub_kit.promise import expect, expect_close, expect_equal, promise
from hub_kit.subject import create, images, lacks, perturbed


@promise("survival")
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


@promise("survival")
def check_memory_format(name: str) -> None:
    """Images in channels_last give the same logits."""
    model = perturbed(name)
    x = images(model)
    wanted = model(x)
    model.to(memory_format=torch.channels_last)
    found = model(x.contiguous(memory_format=torch.channels_last))
    expect_close(found, wanted, "logits in channels_last and not")


@promise("survival")
def check_bfloat16(name: str) -> None:
    """In bfloat16 features and logits are bfloat16, and near those of float32."""
    model = create(name)  # as initialised: random offsets would drown what is compared
    x = images(model)
    wanted = model.forward_features(x)
    model.to(torch.bfloat16)
    found = model.forward_features(x.bfloat16())
    if isinstance(found, torch.Tensor):
        expect_equal(found.dtype, torch.bfloat16, "dtype of the features")
        expect_close(found, wanted, "features in bfloat16 and float32", torch.bfloat16)
    expect_equal(model(x.bfloat16()).dtype, torch.bfloat16, "dtype of the logits")


@promise("faster-forms")
def check_optimize(name: str) -> None:
    """`hub.optimize` makes a copy with equal logits and maps, at another batch size too.

    Blocks that can become one convolution (`reparameterize`) give the same as one.
    """
    if not hasattr(hub, "optimize"):
        return  # hub-inference is not installed
    model = perturbed(name)
    x = images(model)
    more = torch.cat([x, x.flip(0)])
    features = copy.deepcopy(model).as_features()
    with torch.no_grad(), _quiet():
        fused = hub.reparameterize_model(model)
        expect_close(fused(more), model(more), "outputs of the re-parameterised copy")
        expect_close(hub.optimize(model, x)(more), model(more), "logits of the optimised copy")
        maps = hub.optimize(features, x)(more)
        for level, wanted in zip(maps, features(more), strict=True):
            expect_close(level, wanted, "maps of the optimised copy")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep to itself what optimising has to say: it is no fault of the network."""
    logger = logging.getLogger("hub")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def _or_lacking(name: str, capability: str, works: Callable[[], None]) -> None:
    """Hold a network to a capability, or to what its family says it lacks."""
    if not lacks(name, capability):
        works()
        return
    try:
        works()
    except Exception:  # as declared
        return
    expect(False, f"its family declares lacks={{{capability!r}}}, and it works: take that out")


@promise("survival")
def check_export(name: str) -> None:
    """`torch.export` takes a network with a dynamic batch."""

    def works() -> None:
        model = perturbed(name)
        x = images(model)
        batch = torch.export.Dim("batch", min=1)
        program = torch.export.export(model, (x,), dynamic_shapes=({0: batch},), strict=False)
        more = torch.cat([x, x.flip(0), x])
        expect_close(program.module()(more), model(more), "outputs of the exported network and it")

    _or_lacking(name, "export", works)


@promise("survival")
def check_compile(name: str) -> None:
    """`torch.compile(fullgraph=True)` takes `forward`, also of a network with `features_only`.

    A pass that is stopped early leaves the levels in the middle.
    """

    def works() -> None:
        model = perturbed(name)
        x = images(model)
        features = copy.deepcopy(model).as_features()
        first = copy.deepcopy(model)
        torch._dynamo.reset()
        try:
            found = torch.compile(model, fullgraph=True, backend="eager")(x)
            expect_close(found, model(x), "outputs of the compiled network and of it")
            maps = torch.compile(features, fullgraph=True, backend="eager")(x)
            for level, wanted in zip(maps, features(x), strict=True):
                expect_close(level, wanted, "maps of the compiled network and of it")
            early = torch.compile(
                lambda x: first.forward_intermediates(x, [0], intermediates_only=True),
                fullgraph=True,
                backend="eager",
            )
            (level,) = first.forward_intermediates(x, [0], intermediates_only=True)
            expect_close(early(x)[0], level, "the first map of the compiled network and of it")
        finally:
            torch._dynamo.reset()

    _or_lacking(name, "compile", works)
