"""The steps of preprocessing, each a callable on PIL images.

They give, bit for bit, what torchvision's give. They are written here
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

from hub_data.config import as_channels
from hub_data.draws import python_draws as random
from hub_data.to_image import BandedImage

if TYPE_CHECKING:
    from torchvision.transforms import InterpolationMode  # type: ignore[import-untyped]

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
        require_pil(image)
        if not isinstance(self.size, int):
            return _resize(image, *self.size, self.interpolation)
        shorter = min(image.size)
        width, height = (self.size * side // shorter for side in image.size)
        return _resize(image, height, width, self.interpolation)


@dataclass(frozen=True)
class ResizeKeepRatio:
    """Resize an image, with its ratio, to cover or to fit a size; both may vary at random.

    Args:
        size: (height, width), or one number for both.
        longest: 0 covers `size`, 1 fits into it, values between mix the two scales.
        interpolation: name of the filter; "random" draws bilinear or bicubic for each image.
        random_scale_prob: probability that the scale varies.
        random_scale_range: least and largest factor on the sides of the result.
        random_scale_area: the range is of the part of the image's area that `size` then shows, as
            in a random resized crop: below 1 enlarges.
        random_aspect_prob: probability that the ratio varies.
        random_aspect_range: least and largest factor on width / height.
    """

    size: int | tuple[int, int]
    longest: float = 0.0
    interpolation: str = "bilinear"
    random_scale_prob: float = 0.0
    random_scale_range: tuple[float, float] = (0.85, 1.05)
    random_scale_area: bool = False
    random_aspect_prob: float = 0.0
    random_aspect_range: tuple[float, float] = (0.9, 1.11)

    def __post_init__(self) -> None:
        check_range("random_scale_range", self.random_scale_range)
        check_range("random_aspect_range", self.random_aspect_range)

    def __call__(self, image: Image.Image) -> Image.Image:
        """Return the resized image."""
        require_pil(image)
        height, width = pair(self.size)
        shrink_h, shrink_w = image.height / height, image.width / width
        cover, fit = min(shrink_w, shrink_h), max(shrink_w, shrink_h)
        shrink = fit * self.longest + cover * (1.0 - self.longest)
        factor_h, factor_w = self._draw_factors()
        new_height = max(1, round(image.height * factor_h / shrink))
        new_width = max(1, round(image.width * factor_w / shrink))
        return image.resize((new_width, new_height), draw_filter(self.interpolation))

    def _draw_factors(self) -> tuple[float, float]:
        """Return what height and width are multiplied with."""
        factor_h = factor_w = 1.0
        if self.random_scale_prob > 0 and random.random() < self.random_scale_prob:
            factor = random.uniform(*self.random_scale_range)
            factor_h = factor_w = 1.0 / math.sqrt(factor) if self.random_scale_area else factor
        if self.random_aspect_prob > 0 and random.random() < self.random_aspect_prob:
            low, high = map(math.log, self.random_aspect_range)
            stretch = math.sqrt(math.exp(random.uniform(low, high)))
            factor_h, factor_w = factor_h / stretch, factor_w * stretch
        return factor_h, factor_w


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
class ToNumpy:
    """Turn an image into an array."""

    def __call__(self, image: Image.Image) -> np.ndarray:
        """Return (C, H, W), uint8."""
        pixels = np.array(image, dtype=np.uint8)
        if pixels.ndim == 2:
            pixels = pixels[:, :, None]
        return pixels.transpose(2, 0, 1)  # (H, W, C) -> (C, H, W)


@dataclass(frozen=True)
class ToTensor:
    """Turn an image into a tensor of its values, not scaled.

    Args:
        dtype: type of the tensor.
    """

    dtype: torch.dtype = torch.float32

    def __call__(self, image: Image.Image) -> torch.Tensor:
        """Return (C, H, W), 0 to 255 for 8-bit images."""
        return MaybePILToTensor()(image).to(self.dtype)


@dataclass(frozen=True)
class Normalize:
    """Subtract the mean and divide by the standard deviation, channel by channel.

    Args:
        mean: of images in [0, 1], one number or one per channel.
        std: of images in [0, 1], one number or one per channel.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        mean, std = mean_and_std(self.mean, self.std)
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "std", std)

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


@dataclass(frozen=True)
class Output:
    """How an image becomes a tensor: the end of every pipeline.

    Args:
        mean: mean per channel of images in [0, 1].
        std: standard deviation per channel.
        keep_bytes: stop at uint8; the loader normalises.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    keep_bytes: bool

    def steps(self) -> list[Callable[[Any], Any]]:
        """Return the steps."""
        if self.keep_bytes:
            return [MaybePILToTensor()]
        return [MaybeToTensor(), Normalize(self.mean, self.std)]


def mean_and_std(
    mean: Any, std: Any, channels: int | None = None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and std as tuples, one number repeated to the number of channels.

    Raises:
        ValueError: they are no numbers, differ in length or from `channels`, or std has a 0.
    """
    means, stds = as_channels("mean", mean, channels), as_channels("std", std, channels)
    most = max(len(means), len(stds))
    if 1 in (len(means), len(stds)):
        means, stds = as_channels("mean", means, most), as_channels("std", stds, most)
    if len(means) != len(stds) or 0 in stds:
        raise ValueError(
            f"mean={means!r} and std={stds!r}: give as many values in each, and no 0 in std"
        )
    return means, stds


def scale_bytes(values: torch.Tensor) -> torch.Tensor:
    """Return 8-bit values as float32 in [0, 1]."""
    return values.float().div_(255)


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
    height, width = pair(output_size)
    top, left = _offset(image.height, height), _offset(image.width, width)
    return crop_or_pad(image, top, left, height, width, fill, padding_mode)


def crop_or_pad(
    image: Image.Image,
    top: int,
    left: int,
    height: int,
    width: int,
    fill: int | tuple[int, ...] = 0,
    padding_mode: str = "constant",
) -> Image.Image:
    """Return a window of `image`, padded where it reaches over the border.

    Args:
        image: what is cut from.
        top: first row of the window, negative where it begins above the image.
        left: first column of the window.
        height: rows of the window.
        width: columns of the window.
        fill: value of padded pixels, one number or one per channel, 0 to 255.
        padding_mode: constant, edge, reflect or symmetric.

    Raises:
        ValueError: `padding_mode` is unknown.
    """
    if padding_mode not in PADDING_MODES:
        raise ValueError(
            f"unknown padding_mode {padding_mode!r}: choose from {', '.join(PADDING_MODES)}"
        )
    if isinstance(image, BandedImage):
        fills = as_channels("fill", fill, len(image.bands))
        window = (top, left, height, width)
        return BandedImage(
            [
                crop_or_pad(band, *window, int(value), padding_mode)
                for band, value in zip(image.bands, fills, strict=True)
            ]
        )
    window = (left, top, left + width, top + height)
    after = max(0, top + height - image.height), max(0, left + width - image.width)
    before = max(0, -top), max(0, -left)
    if not any(before + after):
        return image.crop(window)
    if padding_mode == "constant":
        bands = len(image.getbands())
        color = (fill,) if isinstance(fill, int) else tuple(fill)
        canvas = Image.new(image.mode, (width, height), color * bands if len(color) == 1 else color)
        canvas.paste(image, (-left, -top))
        return canvas
    pixels = np.asarray(image)
    pads = [*zip(before, after, strict=True), (0, 0)][: pixels.ndim]
    padded = Image.fromarray(np.pad(pixels, pads, mode=padding_mode))  # type: ignore[call-overload]
    left, top = max(0, left), max(0, top)
    return padded.crop((left, top, left + width, top + height))


def draw_filter(interpolation: str) -> Image.Resampling:
    """Return PIL's filter of this name; for "random", bilinear or bicubic."""
    if interpolation == "random":
        return random.choice((Image.Resampling.BILINEAR, Image.Resampling.BICUBIC))
    return str_to_pil_interp(interpolation)


def check_range(name: str, values: Sequence[float]) -> None:
    """Check that `values` are a least and a largest value above 0.

    Raises:
        ValueError: they are not.
    """
    if len(values) != 2 or not 0 < values[0] <= values[1]:
        raise ValueError(f"{name}={values!r}: give two numbers, 0 < least <= most")


def pair(size: int | Sequence[int]) -> tuple[int, int]:
    """Return (height, width) of a size; one number stands for both."""
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


def require_pil(image: object) -> None:
    """Check that a step got a PIL image.

    Raises:
        TypeError: it did not.
    """
    if not isinstance(image, Image.Image):
        raise TypeError(
            f"the step takes PIL images and got {type(image).__name__}: convert it first, "
            "hub_data.ToImage()(image), as the transforms of create_transform do"
        )
