"""How the images of a model are prepared: one dict, from the request, the weights, the defaults.

Differences from timm, all where timm fails or passes a mistake on: `img_size` may be (H, W), `mean`
and `std` may be single numbers, a `hub.Weights` may stand for the dict, a model that has only
`default_cfg` is read too, lists from JSON become tuples, one `mean` value is repeated to the
channels of the resolved `input_size`, and errors name the value.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hub.family import Weights

if TYPE_CHECKING:
    from torch import nn

_logger = logging.getLogger(__name__)

DEFAULT_CROP_PCT = 0.875
DEFAULT_CROP_MODE = "center"
IMAGENET_DEFAULT_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEFAULT_STD = (0.229, 0.224, 0.225)
IMAGENET_INCEPTION_MEAN = (0.5, 0.5, 0.5)
IMAGENET_INCEPTION_STD = (0.5, 0.5, 0.5)
IMAGENET_DPN_MEAN = (124 / 255, 117 / 255, 104 / 255)
IMAGENET_DPN_STD = (1 / (0.0167 * 255),) * 3
OPENAI_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


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
    if args.get("input_size"):
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
    if asked := args.get("input_size"):
        return _sizes("input_size", asked)
    in_chans = args.get("in_chans") or args.get("chans") or 3
    img_size = args.get("img_size")
    if img_size is not None:
        sides = img_size if isinstance(img_size, Sequence) else (img_size, img_size)
        return _sizes("img_size", (in_chans, *sides))
    size = (use_test_size and weights.get("test_input_size")) or weights.get("input_size")
    return _sizes("input_size", size or (in_chans, 224, 224))


def _sizes(name: str, value: Any) -> tuple[int, int, int]:
    sizes = tuple(value) if isinstance(value, Sequence) else ()
    if len(sizes) != 3 or not all(isinstance(side, int) and side > 0 for side in sizes):
        raise ValueError(
            f"{name} gives {value!r}: write input_size=(channels, height, width) or "
            "img_size=side, in whole positive numbers"
        )
    return sizes


def _per_channel(
    name: str, args: Mapping[str, Any], weights: Mapping[str, Any], channels: int
) -> tuple[float, ...] | None:
    asked = args.get(name)
    if asked is None:
        given = weights.get(name)
        return tuple(given) if isinstance(given, Sequence) else given and (given,)
    values = tuple(asked) if isinstance(asked, Sequence) else (asked,)
    if len(values) == 1:
        values *= channels
    if len(values) != channels:
        raise ValueError(
            f"{name}={asked!r} has {len(values)} values for {channels} channels: give one, or "
            "one per channel"
        )
    return values
