"""Preprocessing of images: `create_transform` and its steps.

The steps work on PIL images and give, bit for bit, what torchvision's give. They are written here
because importing torchvision takes longer than importing torch (4.2 s on top of 2.9 s, measured
with torch 2.15 and torchvision 0.29), and `hub predict` would wait for it on every call.

Differences from timm: images must be PIL images; unknown names and impossible sizes raise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from hub_data.config import (
    DEFAULT_CROP_MODE,
    DEFAULT_CROP_PCT,
    IMAGENET_DEFAULT_MEAN,
    IMAGENET_DEFAULT_STD,
)

if TYPE_CHECKING:
    from torchvision.transforms import InterpolationMode  # type: ignore[import-untyped]

CROP_MODES = ("center", "squash", "border")
PADDING_MODES = ("constant", "edge", "reflect", "symmetric")
INTERPOLATIONS = {mode.name.lower(): mode for mode in Image.Resampling}


def str_to_pil_interp(mode_str: str) -> Image.Resampling:
    """Return PIL's resize filter of this name.

    Raises:
        ValueError: there is none.
    """
    if mode_str not in INTERPOLATIONS:
        known = ", ".join(sorted(INTERPOLATIONS))
        raise ValueError(f"unknown interpolation {mode_str!r}: choose from {known}")
    return INTERPOLATIONS[mode_str]


def str_to_interp_mode(mode_str: str) -> InterpolationMode:
    """Return torchvision's name for a resize filter (imports torchvision).

    Raises:
        ValueError: there is none.
    """
    from torchvision.transforms import InterpolationMode

    return InterpolationMode(str_to_pil_interp(mode_str).name.lower())


def interp_mode_to_str(mode: InterpolationMode | Image.Resampling) -> str:
    """Return the name of a resize filter of torchvision or PIL."""
    return mode.name.lower()


@dataclass
class Compose:
    """Steps applied one after another.

    Args:
        transforms: the steps, each called with the result of the one before.
    """

    transforms: list[Callable[[Any], Any]]

    def __call__(self, image: Any) -> Any:
        """Return `image` after the last step."""
        for transform in self.transforms:
            image = transform(image)
        return image

    def __repr__(self) -> str:
        return "Compose(\n" + "".join(f"    {step!r}\n" for step in self.transforms) + ")"


@dataclass(frozen=True)
class Resize:
    """Resize an image.

    Args:
        size: length of the shorter side, the ratio stays; or (height, width), the ratio changes.
        interpolation: name of the filter.
    """

    size: int | tuple[int, int]
    interpolation: str = "bilinear"

    def __call__(self, image: Image.Image) -> Image.Image:
        """Return the resized image."""
        _require_pil(image)
        if not isinstance(self.size, int):
            return _resize(image, *self.size, self.interpolation)
        shorter = min(image.size)
        width, height = (self.size * side // shorter for side in image.size)
        return _resize(image, height, width, self.interpolation)


@dataclass(frozen=True)
class ResizeKeepRatio:
    """Resize an image, with its ratio, to cover or to fit a size.

    Args:
        size: (height, width), or one number for both.
        longest: 0 covers `size`, 1 fits into it, values between mix the two scales.
        interpolation: name of the filter.
    """

    size: int | tuple[int, int]
    longest: float = 0.0
    interpolation: str = "bilinear"

    def __call__(self, image: Image.Image) -> Image.Image:
        """Return the resized image."""
        _require_pil(image)
        height, width = _pair(self.size)
        shrink_w, shrink_h = image.width / width, image.height / height
        cover, fit = min(shrink_w, shrink_h), max(shrink_w, shrink_h)
        shrink = fit * self.longest + cover * (1.0 - self.longest)
        new_width, new_height = (max(1, round(side / shrink)) for side in image.size)
        return _resize(image, new_height, new_width, self.interpolation)


@dataclass(frozen=True)
class CenterCropOrPad:
    """Cut out the centre; where the image is smaller, pad around it.

    Args:
        size: (height, width), or one number for both.
        fill: value of padded pixels, one number or one per channel, 0 to 255.
        padding_mode: constant, edge, reflect or symmetric.
    """

    size: int | tuple[int, int]
    fill: int | tuple[int, ...] = 0
    padding_mode: str = "constant"

    def __call__(self, image: Image.Image) -> Image.Image:
        """Return the crop, of exactly `size`."""
        return center_crop_or_pad(image, self.size, self.fill, self.padding_mode)


@dataclass(frozen=True)
class TrimBorder:
    """Cut off the border.

    Args:
        border_size: pixels to cut off on each side.
    """

    border_size: int

    def __call__(self, image: Image.Image) -> Image.Image:
        """Return the inner part."""
        border = self.border_size
        if min(image.size) <= 2 * border:
            raise ValueError(
                f"nothing is left of an image of {image.width} x {image.height} pixels when "
                f"{border} are cut off on each side"
            )
        return image.crop((border, border, image.width - border, image.height - border))


@dataclass(frozen=True)
class MaybePILToTensor:
    """Turn an image into a tensor of its values; leave a tensor alone."""

    def __call__(self, image: Image.Image | torch.Tensor) -> torch.Tensor:
        """Return (C, H, W), uint8 for 8-bit images."""
        if isinstance(image, torch.Tensor):
            return image
        pixels = np.array(image, dtype=np.uint8 if image.mode == "1" else None)
        if pixels.ndim == 2:
            pixels = pixels[:, :, None]
        return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()  # (H, W, C) -> (C, H, W)


@dataclass(frozen=True)
class MaybeToTensor:
    """Turn an image into a float tensor, 8-bit values scaled to [0, 1]; leave a tensor alone."""

    def __call__(self, image: Image.Image | torch.Tensor) -> torch.Tensor:
        """Return (C, H, W), float32 for 8-bit images."""
        if isinstance(image, torch.Tensor):
            return image
        pixels = MaybePILToTensor()(image)
        if image.mode == "1":
            return pixels.float()
        return pixels.float().div_(255) if pixels.dtype == torch.uint8 else pixels


@dataclass(frozen=True)
class Normalize:
    """Subtract the mean and divide by the standard deviation, channel by channel.

    Args:
        mean: one value per channel, of images in [0, 1].
        std: one value per channel, of images in [0, 1].
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std) or 0 in self.std:
            raise ValueError(
                f"mean={self.mean!r} and std={self.std!r}: give as many values in each, and no 0 "
                "in std"
            )

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        """Return the normalised (C, H, W) tensor; the given one is not changed."""
        channels = image.shape[-3]
        if not image.is_floating_point() or len(self.mean) not in (1, channels):
            raise ValueError(
                f"the image has {channels} channels of {image.dtype}, mean has {len(self.mean)} "
                "values: convert the image first, image.convert('RGB') for 3 channels, 'L' for 1"
            )
        mean, std = (torch.tensor(v, dtype=image.dtype) for v in (self.mean, self.std))
        return image.sub(mean[:, None, None]).div_(std[:, None, None])


def center_crop_or_pad(
    image: Image.Image,
    output_size: int | tuple[int, int],
    fill: int | tuple[int, ...] = 0,
    padding_mode: str = "constant",
) -> Image.Image:
    """Return the centre of `image`, padded where the image is smaller; see `CenterCropOrPad`.

    Raises:
        ValueError: `padding_mode` is unknown.
    """
    if padding_mode not in PADDING_MODES:
        raise ValueError(
            f"unknown padding_mode {padding_mode!r}: choose from {', '.join(PADDING_MODES)}"
        )
    height, width = _pair(output_size)
    left, top = _offset(image.width, width), _offset(image.height, height)
    if left >= 0 and top >= 0:
        return image.crop((left, top, left + width, top + height))
    if padding_mode == "constant":
        bands = len(image.getbands())
        color = (fill,) if isinstance(fill, int) else tuple(fill)
        canvas = Image.new(image.mode, (width, height), color * bands if len(color) == 1 else color)
        canvas.paste(image, (-left, -top))
        return canvas
    before = max(0, -top), max(0, -left)
    missing = height - image.height, width - image.width
    pads = [(first, max(0, total - first)) for first, total in zip(before, missing, strict=True)]
    pixels = np.asarray(image)
    if pixels.ndim == 3:
        pads.append((0, 0))
    padded = np.pad(pixels, pads, mode=padding_mode)  # type: ignore[call-overload]
    return center_crop_or_pad(Image.fromarray(padded), output_size)


def create_transform(  # noqa: D417 (what does nothing here is not described)
    input_size: int | Sequence[int] = 224,
    is_training: bool = False,
    no_aug: bool = False,
    train_crop_mode: str | None = None,
    scale: tuple[float, float] | None = None,
    ratio: tuple[float, float] | None = None,
    hflip: float = 0.5,
    vflip: float = 0.0,
    color_jitter: float | tuple[float, ...] = 0.4,
    color_jitter_prob: float | None = None,
    grayscale_prob: float = 0.0,
    gaussian_blur_prob: float = 0.0,
    auto_augment: str | None = None,
    interpolation: str = "bilinear",
    mean: Sequence[float] = IMAGENET_DEFAULT_MEAN,
    std: Sequence[float] = IMAGENET_DEFAULT_STD,
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
) -> Compose:
    """Return what turns a PIL image into the input of a network: `create_transform(**config)`.

    The image is resized so that `input_size` is `crop_pct` of it, the centre is cut out, and its
    values are normalised. The arguments and their order are timm's; those of the training half
    are accepted and do nothing here.

    Args:
        input_size: side in pixels, (height, width) or (channels, height, width).
        is_training: must be False in this version.
        interpolation: resize filter: nearest, bilinear, bicubic, box, hamming, lanczos.
        mean: mean per channel of images in [0, 1].
        std: standard deviation per channel of images in [0, 1].
        crop_pct: share of the resized image that the crop keeps; None or 0 for 0.875.
        crop_mode: "center" (default) covers the crop and cuts off what sticks out, "squash"
            changes the ratio of the image, "border" shows all of it and pads with `mean`.
        crop_border_pixels: pixels to cut off on each side before anything else.
        use_prefetcher: return uint8 values; the loader normalises on the device.
        normalize: False returns uint8 values too.

    Returns:
        A callable with the list `.transforms`; it takes an image of any size whose mode matches
        `mean` (RGB for 3 values, L for 1) and returns (C, H, W) float32.

    Raises:
        ValueError: an argument is out of range, or belongs to what this version lacks.
    """
    if is_training:
        raise ValueError(
            "is_training=True: this version of hub-data has the evaluation transform only, the "
            "training half arrives with a later one; pass is_training=False"
        )
    for name, given in dict(
        tf_preprocessing=tf_preprocessing, separate=separate, naflex=naflex
    ).items():
        if given:
            raise ValueError(f"{name}=True is not supported by the evaluation transform")
    size = _image_size(input_size)
    steps: list[Callable[[Any], Any]] = []
    if crop_border_pixels:
        steps.append(TrimBorder(crop_border_pixels))
    resize = _resize_step(
        size, crop_pct or DEFAULT_CROP_PCT, crop_mode or DEFAULT_CROP_MODE, interpolation
    )
    grey = tuple(round(255 * value) for value in mean)  # becomes about 0 when normalised
    steps += [resize, CenterCropOrPad(size, fill=grey if crop_mode == "border" else 0)]
    if use_prefetcher or not normalize:
        steps.append(MaybePILToTensor())
    else:
        steps += [MaybeToTensor(), Normalize(tuple(mean), tuple(std))]
    return Compose(steps)


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


def _image_size(input_size: int | Sequence[int]) -> tuple[int, int]:
    """Return (height, width) of what `create_transform` accepts as `input_size`."""
    sizes = tuple(input_size) if isinstance(input_size, Sequence) else (input_size,) * 2
    if len(sizes) not in (2, 3) or min(sizes) < 1:
        raise ValueError(
            f"input_size={input_size!r}: give a side, (height, width) or "
            "(channels, height, width), in pixels"
        )
    return int(sizes[-2]), int(sizes[-1])


def _pair(size: int | Sequence[int]) -> tuple[int, int]:
    height, width = (size, size) if isinstance(size, int) else size
    return height, width


def _offset(length: int, wanted: int) -> int:
    """Return where a centred window of `wanted` pixels begins; negative where it sticks out.

    The roundings are torchvision's: half to even for a crop, down for padding.
    """
    spare = length - wanted
    return round(spare / 2) if spare >= 0 else -(-spare // 2)


def _resize(image: Image.Image, height: int, width: int, interpolation: str) -> Image.Image:
    return image.resize((width, height), str_to_pil_interp(interpolation))


def _require_pil(image: object) -> None:
    if not isinstance(image, Image.Image):
        raise TypeError(
            f"the transform takes PIL images and got {type(image).__name__}: convert it first, "
            "PIL.Image.fromarray(array) or torchvision's to_pil_image(tensor)"
        )
