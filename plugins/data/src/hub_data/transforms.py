"""`create_transform`: from an image to the input of a network.

Differences from timm: arrays and tensors of any number of channels are images too; unknown names
and impossible sizes raise; `tf_preprocessing` needs no TensorFlow and holds without a prefetching
loader too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, ParamSpec, Protocol, cast, overload

from hub_data.config import (
    DEFAULT_CROP_MODE,
    DEFAULT_CROP_PCT,
    IMAGENET_DEFAULT_MEAN,
    IMAGENET_DEFAULT_STD,
    as_channels,
    as_whole_numbers,
)
from hub_data.image_steps import (
    CenterCropOrPad,
    Compose,
    Output,
    Resize,
    ResizeKeepRatio,
    TrimBorder,
    mean_and_std,
    scale_bytes,
    str_to_pil_interp,
)
from hub_data.pixel_range import as_range
from hub_data.to_image import ToImage

CROP_MODES = ("center", "squash", "border")
_P = ParamSpec("_P")


class _Created(Protocol[_P]):
    """The type of `create_transform`: three transforms where `separate`, else one."""

    @overload
    def __call__(  # type: ignore[overload-overlap]  # `_P` has a `separate` too
        self, *args: Any, separate: Literal[True], **kwargs: Any
    ) -> tuple[Compose, Compose, Compose]: ...
    @overload
    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> Compose: ...


def _typed(create: Callable[_P, Any]) -> _Created[_P]:
    return cast(_Created[_P], create)


@_typed
def create_transform(
    input_size: int | Sequence[int] = 224,
    is_training: bool = False,
    no_aug: bool = False,
    train_crop_mode: str | None = None,
    scale: tuple[float, float] | None = None,
    ratio: tuple[float, float] | None = None,
    hflip: float = 0.5,
    vflip: float = 0.0,
    color_jitter: float | Sequence[float] | None = 0.4,
    color_jitter_prob: float | None = None,
    grayscale_prob: float = 0.0,
    gaussian_blur_prob: float = 0.0,
    auto_augment: str | None = None,
    interpolation: str = "bilinear",
    mean: float | Sequence[float] = IMAGENET_DEFAULT_MEAN,
    std: float | Sequence[float] = IMAGENET_DEFAULT_STD,
    re_prob: float = 0.0,
    re_mode: str = "const",
    re_count: int = 1,
    re_num_splits: int = 0,
    crop_pct: float | None = None,
    crop_mode: str | None = None,
    crop_border_pixels: int | None = None,
    tf_preprocessing: bool = False,
    use_prefetcher: bool = False,
    normalize: bool = True,
    separate: bool = False,
    naflex: bool = False,
    patch_size: int | tuple[int, int] = 16,
    max_seq_len: int = 576,
    patchify: bool = False,
    patchify_channels_last: bool = True,
    patchify_flatten: bool = True,
    *,
    input_range: Sequence[float] | None = None,
) -> Compose | tuple[Compose, Compose, Compose]:
    """Return what turns an image into the input of a network: `create_transform(**config)`.

    For evaluation the image is resized so that `input_size` is `crop_pct` of it, the centre is cut
    out, and its values are normalised. For training a random part is cut out, flipped, augmented,
    normalised and erased in. The arguments and their order are timm's, and so are, from the same
    seeds of `random`, numpy and torch, the results.

    Args:
        input_size: side in pixels, (height, width) or (channels, height, width).
        is_training: augment at random.
        no_aug: train without augmentation: resize and crop the centre.
        train_crop_mode: "rrc" (default) resizes a part of random area and ratio; "rkrc" and "rkrr"
            keep the ratio, up to `ratio`, and crop the centre or at random.
        scale: least and largest area of the part; None for (0.08, 1), or (0.8, 1) with rkrc, rkrr.
        ratio: least and largest width / height of the part, or factor on it with rkrc and rkrr.
        hflip: probability of mirroring left and right.
        vflip: probability of mirroring top and bottom.
        color_jitter: amount of brightness, contrast and saturation, one number, or one for each
            and one for hue; None for none. Off with `auto_augment`, but for 3a.
        color_jitter_prob: probability of jitter; None for always.
        grayscale_prob: probability of taking the colour out.
        gaussian_blur_prob: probability of a blur of 0.1 to 2 pixels.
        auto_augment: rand-..., augmix-..., original, originalr, v0, v0r, 3a: see `rand_augment`,
            `augmix` and `auto_augment` of this package.
        interpolation: resize filter: nearest, bilinear, bicubic, box, hamming, lanczos; "random"
            in training draws bilinear or bicubic.
        mean: mean of images in [0, 1], one number or one per channel.
        std: standard deviation, in the same form.
        re_prob: probability of random erasing; with `use_prefetcher` the loader erases.
        re_mode: fill of what is erased: const, rand, pixel; see `RandomErasing`.
        re_count: most rectangles erased in an image.
        re_num_splits: parts of a batch of which the first stays clean.
        crop_pct: share of the resized image that the crop keeps; None or 0 for 0.875.
        crop_mode: "center" (default) covers the crop and cuts off what sticks out, "squash"
            changes the ratio of the image, "border" shows all of it and pads with `mean`.
        crop_border_pixels: pixels to cut off on each side before anything else.
        tf_preprocessing: crop and resize as TensorFlow's code for EfficientNet does; the transform
            then takes the bytes of a file too.
        use_prefetcher: return uint8 values; the loader normalises on the device.
        normalize: False returns uint8 values too.
        separate: return three transforms, for training on splits (AugMix): crop and flip, augment,
            to tensor.
        naflex: patches of variable-size images; so are the arguments after it. They come with
            hub's NaFlex family, True raises.
        patch_size: see `naflex`.
        max_seq_len: see `naflex`.
        patchify: see `naflex`.
        patchify_channels_last: see `naflex`.
        patchify_flatten: see `naflex`.
        input_range: the numbers that are black and white in images that are no 8-bit ones, where
            their type does not say it; see `hub_data.decode_image`.

    Returns:
        A callable with the list `.transforms`, three of them if `separate`; it takes an image of
        PIL, an array (H, W) or (H, W, C) or a tensor (C, H, W), of any size and of the channels
        that `input_size` or `mean` names, and returns (C, H, W) float32, or uint8.

    Raises:
        ValueError: an argument is out of range, or does not go with another.
    """
    _refuse_patches(naflex, patchify)
    augmented = is_training and not no_aug
    if separate and (tf_preprocessing or not augmented):
        raise ValueError(
            "separate=True splits the augmentation of training: pass is_training=True, and neither "
            "no_aug nor tf_preprocessing"
        )
    size, channels = split_size(input_size)
    output = Output(*mean_and_std(mean, std), use_prefetcher or not normalize)
    entry = ToImage(_expected_channels(channels, output), as_range(input_range))
    if tf_preprocessing:
        from hub_data.tf_preprocessing import TfPreprocessTransform

        if channels not in (None, 3) or input_range is not None:
            raise ValueError(
                "tf_preprocessing takes 8-bit images of 3 channels, as TensorFlow's code does: "
                f"input_size has {channels}, input_range is {input_range}; leave it out"
            )
        ported = TfPreprocessTransform(is_training, size[0], interpolation)
        scaled = [] if output.keep_bytes else [scale_bytes]
        return Compose([ported, *scaled, *output.steps()])
    if not is_training:
        border = [TrimBorder(crop_border_pixels)] if crop_border_pixels else []
        crop = _evaluation_crop(size, crop_pct, crop_mode, interpolation, output.mean)
        return Compose([entry, *border, *crop, *output.steps()])
    from hub_data import training_transforms as training

    if no_aug:
        side = size[0] if len(as_whole_numbers(input_size)) == 1 else size
        return Compose([entry, *training.plain_steps(side, interpolation, output)])
    stages = training.training_stages(
        size,
        entry=entry,
        channels=channels or entry.channels,
        crop=training.Crop(
            train_crop_mode=train_crop_mode, scale=scale, ratio=ratio, hflip=hflip, vflip=vflip
        ),
        augment=training.Augment(
            auto_augment=auto_augment,
            color_jitter=color_jitter,
            color_jitter_prob=color_jitter_prob,
            grayscale_prob=grayscale_prob,
            gaussian_blur_prob=gaussian_blur_prob,
        ),
        erase=training.Erase(
            re_prob=re_prob, re_mode=re_mode, re_count=re_count, re_num_splits=re_num_splits
        ),
        interpolation=interpolation,
        output=output,
    )
    if separate:
        first, second, third = map(Compose, stages)
        return first, second, third
    return Compose([step for stage in stages for step in stage])


def _refuse_patches(naflex: bool, patchify: bool) -> None:
    for name, given in dict(naflex=naflex, patchify=patchify).items():
        if given:
            raise ValueError(
                f"{name}=True makes patches of variable-size images; that comes with hub's NaFlex "
                "family, which is not part of this version: leave it out for images of one size"
            )


def _evaluation_crop(
    size: tuple[int, int],
    crop_pct: float | None,
    crop_mode: str | None,
    interpolation: str,
    mean: Sequence[float],
) -> list[Callable[[Any], Any]]:
    resize = _resize_step(
        size, crop_pct or DEFAULT_CROP_PCT, crop_mode or DEFAULT_CROP_MODE, interpolation
    )
    grey = tuple(round(255 * value) for value in mean)  # becomes about 0 when normalised
    return [resize, CenterCropOrPad(size, fill=grey if crop_mode == "border" else 0)]


def _resize_step(
    size: tuple[int, int], crop_pct: float, crop_mode: str, interpolation: str
) -> Resize | ResizeKeepRatio:
    str_to_pil_interp(interpolation)
    if crop_mode not in CROP_MODES:
        raise ValueError(f"unknown crop_mode {crop_mode!r}: choose from {', '.join(CROP_MODES)}")
    if crop_pct < 0:
        raise ValueError(f"crop_pct={crop_pct!r}: give the kept share, such as 0.875")
    height, width = (math.floor(side / crop_pct) for side in size)
    if crop_mode == "squash":
        return Resize((height, width), interpolation)
    if crop_mode == "border":
        return ResizeKeepRatio((height, width), 1.0, interpolation)
    # torchvision and timm round the longer side differently: the square case is torchvision's.
    if height == width:
        return Resize(height, interpolation)
    return ResizeKeepRatio((height, width), 0.0, interpolation)


def _expected_channels(channels: int | None, output: Output) -> int | None:
    """Return the channels that images have to have; None where any number is right.

    One number for `mean` serves images of any number, whatever `input_size` says, as in timm.

    Raises:
        ValueError: `mean` is not for that number.
    """
    if len(output.mean) == 1:
        return 1 if channels == 1 else None
    return channels if output.keep_bytes else len(as_channels("mean", output.mean, channels))


def split_size(input_size: Any) -> tuple[tuple[int, int], int | None]:
    """Return (height, width) and channels, where it has them, of an `input_size`.

    Raises:
        ValueError: it is neither a side, nor (height, width), nor (channels, height, width).
    """
    sizes = as_whole_numbers(input_size)
    given = sizes * 2 if len(sizes) == 1 and not hasattr(input_size, "__len__") else sizes
    if len(given) not in (2, 3) or min(given) < 1:
        raise ValueError(
            f"input_size={input_size!r}: give a side, (height, width) or "
            "(channels, height, width), in pixels"
        )
    return (given[-2], given[-1]), given[0] if len(given) == 3 else None
