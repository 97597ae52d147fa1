"""How the images of a model are prepared: one dict, from the request, the weights, the defaults.

Differences from timm, all where timm fails or passes a mistake on: `img_size` may be (H, W), `mean`
and `std` may be single numbers, a `hub.Weights` may stand for the dict, a model that has only
`default_cfg` is read too, lists from JSON and arrays become tuples, one `mean` value is repeated to
the channels of the resolved `input_size`, and errors name the value.
"""

from __future__ import annotations

import logging
import operator
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any

from hub import (
    CLIP_MEAN,
    CLIP_STD,
    IMAGENET_MEAN,
    IMAGENET_STD,
    INCEPTION_MEAN,
    INCEPTION_STD,
    Weights,
)

if TYPE_CHECKING:
    from torch import nn

_logger = logging.getLogger(__name__)

DEFAULT_CROP_PCT = 0.875
DEFAULT_CROP_MODE = "center"
IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD = IMAGENET_MEAN, IMAGENET_STD
IMAGENET_INCEPTION_MEAN, IMAGENET_INCEPTION_STD = INCEPTION_MEAN, INCEPTION_STD
IMAGENET_DPN_MEAN = (124 / 255, 117 / 255, 104 / 255)
IMAGENET_DPN_STD = (1 / (0.0167 * 255),) * 3
OPENAI_CLIP_MEAN, OPENAI_CLIP_STD = CLIP_MEAN, CLIP_STD


def resolve_model_data_config(
    model: nn.Module,
    args: Mapping[str, Any] | None = None,
    pretrained_cfg: Mapping[str, Any] | Weights | None = None,
    use_test_size: bool = False,
    verbose: bool = False,
) -> dict[str, Any]:
    """Return how images for `model` are prepared: `resolve_data_config` with the model first."""
    return resolve_data_config(args, pretrained_cfg, model, use_test_size, verbose)


def resolve_data_config(
    args: Mapping[str, Any] | None = None,
    pretrained_cfg: Mapping[str, Any] | Weights | None = None,
    model: nn.Module | None = None,
    use_test_size: bool = False,
    verbose: bool = False,
) -> dict[str, Any]:
    """Return how images are prepared, ready for `create_transform(**config)`.

    Each value comes from the first of these that has it: `args`, the weights, the default.

    Args:
        args: what the user asked for; None means not asked. Read are input_size (C, H, W),
            img_size (side or (H, W)), in_chans or chans, interpolation, mean, std (one number, or
            one per channel), crop_pct, crop_mode; other keys are ignored.
        pretrained_cfg: description of the weights; goes before the one that `model` carries.
        model: a network with `pretrained_cfg` or `default_cfg`.
        use_test_size: prefer the evaluation size and crop where the weights name them.
        verbose: log the result.

    Returns:
        input_size, interpolation, mean, std, crop_pct, crop_mode.

    Raises:
        ValueError: nothing was given, or a size, mean or std has the wrong form.
    """
    if model is None and not args and not pretrained_cfg:
        raise ValueError("resolve_data_config needs at least one of args, pretrained_cfg, model")
    args = args or {}
    weights = _weights_config(pretrained_cfg, model)

    def first(name: str, default: Any) -> Any:
        return args.get(name) or weights.get(name) or default

    input_size = _input_size(args, weights, use_test_size)
    channels = args.get("in_chans") or args.get("chans") or input_size[0]
    if args.get("input_size") is not None:
        channels = input_size[0]
    crop_pct = weights.get("test_crop_pct") if use_test_size else None
    config = {
        "input_size": input_size,
        "interpolation": first("interpolation", "bicubic"),
        "mean": _per_channel("mean", args, weights, channels) or IMAGENET_DEFAULT_MEAN,
        "std": _per_channel("std", args, weights, channels) or IMAGENET_DEFAULT_STD,
        "crop_pct": args.get("crop_pct") or crop_pct or first("crop_pct", DEFAULT_CROP_PCT),
        "crop_mode": first("crop_mode", DEFAULT_CROP_MODE),
    }
    if verbose:
        _logger.info("data configuration: %s", config)
    return config


def _weights_config(
    pretrained_cfg: Mapping[str, Any] | Weights | None, model: nn.Module | None
) -> Mapping[str, Any]:
    for found in (
        pretrained_cfg,
        getattr(model, "pretrained_cfg", None),
        getattr(model, "default_cfg", None),
    ):
        if found:
            return found if isinstance(found, Mapping) else found.to_dict()
    return {}


def _input_size(
    args: Mapping[str, Any], weights: Mapping[str, Any], use_test_size: bool
) -> tuple[int, int, int]:
    if (asked := args.get("input_size")) is not None:
        return _three("input_size", asked)
    in_chans = args.get("in_chans") or args.get("chans") or 3
    if (img_size := args.get("img_size")) is not None:
        sides = as_whole_numbers(img_size)
        return _three("img_size", img_size, (in_chans, *(sides * 2 if len(sides) == 1 else sides)))
    size = (use_test_size and weights.get("test_input_size")) or weights.get("input_size")
    return _three("input_size", size or (in_chans, 224, 224))


def _three(name: str, given: Any, sizes: Sequence[int] | None = None) -> tuple[int, int, int]:
    sizes = as_whole_numbers(given if sizes is None else sizes)
    if len(sizes) != 3 or min(sizes) < 1:
        raise ValueError(
            f"{name} gives {given!r}: write input_size=(channels, height, width) or "
            "img_size=side, in whole positive numbers"
        )
    return sizes[0], sizes[1], sizes[2]


def as_whole_numbers(value: Any) -> tuple[int, ...]:
    """Return one whole number, or several in a list, tuple, array or tensor; () for others."""
    try:
        return tuple(map(operator.index, _flat(value)))
    except TypeError:
        return ()


def as_channels(name: str, value: Any, channels: int | None = None) -> tuple[float, ...]:
    """Return numbers per channel as a tuple: one stands for all of them.

    Args:
        name: of the argument.
        value: one number, or several in a list, tuple, array or tensor.
        channels: how many; None where that is not known, then one number stays one.

    Raises:
        ValueError: they are no numbers, or fewer or more.
    """
    values = tuple(_flat(value))
    if not values or not all(isinstance(number, Real) for number in values):
        raise ValueError(f"{name}={value!r}: give one number, or one per channel")
    if len(values) == 1:
        values *= channels or 1
    if len(values) != (channels or len(values)):
        raise ValueError(
            f"{name}={value!r} has {len(values)} values for {channels} channels: give one, or "
            "one per channel"
        )
    return values


def _flat(value: Any) -> Sequence[Any]:
    value = value.tolist() if hasattr(value, "tolist") else value  # of numpy, of torch
    return value if isinstance(value, Sequence) and not isinstance(value, str) else (value,)


def _per_channel(
    name: str, args: Mapping[str, Any], weights: Mapping[str, Any], channels: int
) -> tuple[float, ...] | None:
    if (asked := args.get(name)) is not None:
        return as_channels(name, asked, channels)
    given = weights.get(name)
    return None if given is None else as_channels(name, given)
