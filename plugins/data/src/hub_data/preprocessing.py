"""The preprocessing of a model as a specification that other programs can follow.

`preprocessing(model)` gives plain values, ready for `json.dumps`. They are read off the very steps
that `create_transform` runs, so they cannot say something else. `preprocessing_reference` carries
them out with numpy and Pillow alone, in one file to copy; it says what each step means.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from hub import Weights

from hub_data.config import resolve_data_config

if TYPE_CHECKING:
    from torch import nn

    from hub_data.image_steps import Compose

FORMAT = "hub-preprocessing"
VERSION = 1
_COLORS = {1: "L", 3: "RGB"}


def preprocessing(
    model: nn.Module | Mapping[str, Any] | Weights,
    *,
    use_test_size: bool = False,
    crop_border_pixels: int | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Return how images for a model are prepared, as plain values.

    Args:
        model: a network that carries `pretrained_cfg`, or the description of weights.
        use_test_size: prefer the size and crop that the weights were evaluated with.
        crop_border_pixels: pixels to cut off on each side before anything else.
        options: what goes before the weights: img_size, crop_pct, interpolation ...; see
            `resolve_data_config`.

    Returns:
        format, version, input (colour mode, or number of channels), steps in order, output
        (shape, layout, dtype).

    Raises:
        ValueError: an option has the wrong form.

    >>> specification = preprocessing({"input_size": (3, 160, 160), "crop_pct": 1.0})
    >>> [step["op"] for step in specification["steps"]]
    ['resize', 'center_crop_or_pad', 'divide', 'normalize', 'to_chw']
    >>> specification["output"]["shape"]
    [3, 160, 160]
    """
    from hub_data.image_steps import Compose
    from hub_data.transforms import create_transform

    if isinstance(model, Mapping | Weights):
        config = resolve_data_config(options, model, use_test_size=use_test_size)
        in_chans = config["input_size"][0]
    else:
        config = resolve_data_config(options, model=model, use_test_size=use_test_size)
        in_chans = getattr(model, "in_chans", config["input_size"][0])
    config = with_channels(config, in_chans)
    transform = create_transform(**config, crop_border_pixels=crop_border_pixels)
    assert isinstance(transform, Compose)
    return specification(transform, config["input_size"])


def with_channels(config: Mapping[str, Any], in_chans: int) -> dict[str, Any]:
    """Return a data configuration for images of `in_chans` channels.

    Where the weights are of RGB images and the network was fitted to others, all channels get the
    average of `mean` and of `std`.
    """
    fitted = {**config, "input_size": (in_chans, *config["input_size"][-2:])}
    for name in ("mean", "std"):
        values = config[name]
        if len(values) != in_chans:
            fitted[name] = (sum(values) / len(values),) * in_chans
    return fitted


def specification(transform: Compose, input_size: tuple[int, int, int]) -> dict[str, Any]:
    """Return the specification of an evaluation transform.

    Args:
        transform: of `create_transform`.
        input_size: (channels, height, width) of its result.

    Raises:
        ValueError: a step is random, or of another kind: there is no specification of it.
    """
    steps = []
    for step in transform.transforms:
        name = type(step).__name__
        if name not in _STEPS:
            known = ", ".join(_STEPS)
            raise ValueError(f"{step!r} has no specification; these steps have one: {known}")
        steps += _STEPS[name](step)
    channels, height, width = input_size
    color = {"color": _COLORS[channels]} if channels in _COLORS else {}
    return {
        "format": FORMAT,
        "version": VERSION,
        "input": {**color, "channels": channels, "dtype": "uint8", "layout": "HWC"},
        "steps": [*steps, {"op": "to_chw"}],
        "output": {
            "shape": [channels, height, width],
            "layout": "CHW",
            "dtype": "float32" if any(step["op"] == "divide" for step in steps) else "uint8",
        },
    }


def _resize(step: Any) -> list[dict[str, Any]]:
    if isinstance(step.size, int):
        target: dict[str, Any] = {"mode": "shorter_side", "length": step.size, "rounding": "down"}
    else:
        target = {"mode": "exact", "size": list(step.size)}
    return [{"op": "resize", **target, "filter": step.interpolation, "antialias": True}]


def _resize_keep_ratio(step: Any) -> list[dict[str, Any]]:
    modes = {0.0: "cover", 1.0: "fit"}
    if step.random_scale_prob or step.random_aspect_prob or step.longest not in modes:
        raise ValueError(f"{step!r} is random or between cover and fit: it has no specification")
    size = [step.size] * 2 if isinstance(step.size, int) else list(step.size)
    mode = {"mode": modes[step.longest], "size": size, "rounding": "half_even"}
    return [{"op": "resize", **mode, "filter": step.interpolation, "antialias": True}]


def _center(step: Any) -> list[dict[str, Any]]:
    size = [step.size] * 2 if isinstance(step.size, int) else list(step.size)
    fill = step.fill if isinstance(step.fill, int) else list(step.fill)
    padding = {"fill": fill, "padding": step.padding_mode}
    return [{"op": "center_crop_or_pad", "size": size, **padding}]


def _normalize(step: Any) -> list[dict[str, Any]]:
    return [{"op": "normalize", "mean": list(step.mean), "std": list(step.std)}]


def _to_image(step: Any) -> list[dict[str, Any]]:
    if step.input_range is not None:
        raise ValueError(f"{step!r} scales values: it has no specification, which is for 8 bits")
    return []


_STEPS: Mapping[str, Callable[[Any], list[dict[str, Any]]]] = {
    "ToImage": _to_image,
    "TrimBorder": lambda step: [{"op": "trim_border", "pixels": step.border_size}],
    "Resize": _resize,
    "ResizeKeepRatio": _resize_keep_ratio,
    "CenterCropOrPad": _center,
    "MaybeToTensor": lambda step: [{"op": "divide", "by": 255}],
    "MaybePILToTensor": lambda step: [],
    "Normalize": _normalize,
}
