"""Sizes of images, and strides."""

from __future__ import annotations

from typing import Any

import torch

from hub_kit import ConformanceError
from hub_kit.promise import expect, expect_close, expect_equal, expect_error, promise
from hub_kit.subject import (
    BATCH,
    arguments,
    bare,
    image_size,
    images,
    is_small,
    on_meta,
    perturbed,
    run_of,
    shared,
)


@promise("sizes")
def check_output_stride(name: str) -> None:
    """What takes `output_stride` honours 8 and 16: strides beyond it become dilation."""
    if "output_stride" not in arguments(name):
        return
    whole = shared(name)
    for stride in (8, 16) if is_small(whole) else (8,):  # one is enough where a build takes long
        model = on_meta(name, output_stride=stride) if is_small(whole) else bare(name)
        wanted = [min(row["reduction"], stride) for row in whole.feature_info]
        expect_equal(model.feature_info.reduction(), wanted, f"reductions at {stride}")
        if is_small(whole):
            x = run_of(name).x
            maps = model.forward_intermediates(x, intermediates_only=True)
            found = [x.shape[-1] // m.shape[-1] for m in maps]
            expect_equal(found, wanted, f"reductions of the maps at output_stride={stride}")


@promise("sizes")
def check_image_size(name: str) -> None:
    """A network with `img_size` builds for others, square or not, with the same parameters."""
    if "img_size" not in arguments(name):
        return
    whole = shared(name)
    height, width = image_size(whole)
    for size in ((2 * height, 2 * width), (height, 2 * width)):
        model = on_meta(name, img_size=size)
        expect_equal(image_size(model), size, "attribute img_size")
        x = images(model)
        expect_equal(tuple(model(x).shape[:1]), (BATCH,), "batch of the output")
        maps = model.forward_intermediates(x, intermediates_only=True)
        for i, (level, row) in enumerate(zip(maps, whole.feature_info, strict=True)):
            wanted = [-(-side // row["reduction"]) for side in size]
            expect_equal([*level.shape[-2:]], wanted, f"map {i} at img_size={size}")
        names = [n for n, _ in model.named_parameters()]
        expect_equal(names, [n for n, _ in whole.named_parameters()], "parameters")


@promise("sizes")
def check_set_input_size(name: str) -> None:
    """`set_input_size` makes a network take images of another size, or says which it takes.

    A network without `img_size` takes all that `size_divisibility` divides.
    """
    model = perturbed(name)
    height, width = image_size(model)
    unit = model.size_divisibility
    if model.img_size is None:
        model.set_input_size((height, width))
        if unit > 1:
            what = f"set_input_size of {height + 1}, with size_divisibility={unit}"
            expect_error((ValueError,), what, model.set_input_size, (height + 1, width))
        odd = (height + unit, width + unit)
        x = torch.randn(BATCH, model.in_chans, *odd)
        try:
            model(x)
        except RuntimeError as e:
            raise ConformanceError(
                f"images of {odd} do not run ({e}): state size_divisibility, or img_size"
            ) from e
        try:
            model.forward_intermediates(x, intermediates_only=True)
        except RuntimeError as e:
            raise ConformanceError(
                f"levels of tokens for images of {odd} do not fit their grid ({e}): feature_size "
                "says how many there are"
            ) from e
        return
    x = images(model)
    before = model(x)
    model.set_input_size(img_size=(height, width))
    expect_close(model(x), before, "output after set_input_size to the size it had")
    wider = (height, 2 * width)
    resize: Any = model.set_input_size
    try:
        resize(img_size=wider)
    except ValueError as e:
        expect(
            str(height) in str(e), f"set_input_size refuses without saying which sizes work: {e}"
        )
        return
    expect_equal(tuple(model.img_size), wider, "img_size after set_input_size")
    x = images(model)
    expect_equal(tuple(x.shape[-2:]), wider, "size of its images")
    try:
        output = model(x)
        model.forward_intermediates(x, intermediates_only=True)
    except RuntimeError as e:
        raise ConformanceError(
            f"after set_input_size(img_size={wider}) it cannot run ({e}): make anew there what "
            "depends on the size (positions, masks, tables)"
        ) from e
    expect(bool(output.isfinite().all()), "output after set_input_size is not finite")
