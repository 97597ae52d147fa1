"""The operations that augmentation policies are made of, on 8-bit PIL images (L or RGB).

Each has a name (timm's), a range of strengths, and works without randomness of its own: what is
random is drawn first, as a `Drawn`, so that another backend can carry out the same draw.

Papers: AutoAugment (https://arxiv.org/abs/1805.09501), RandAugment (https://arxiv.org/abs/1909.13719),
three-augment of DeiT III (https://arxiv.org/abs/2204.07118). The ranges are those of the published
TPU code of AutoAugment and RandAugment; "Increasing" ones begin at no change, "Original" is the
paper's.

Differences from timm: Posterize to no bits is black with any Pillow (13 refuses it); a fill colour
whose channels are not those of the image is averaged or repeated instead of failing; modes other
than L and RGB raise an error that names the mode.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from hub_data.draws import python_draws as random

Options = Mapping[str, Any]
Color = int | tuple[int, ...]
MODES = ("L", "RGB")


class Drawn(NamedTuple):
    """What was drawn for one image: everything that is needed to carry the operation out.

    Args:
        name: of the operation, a key of `OPERATIONS`.
        argument: degrees, factor, bits, threshold, pixels ...; None where there is none.
        resample: filter of operations that move pixels, None for the others.
    """

    name: str
    argument: float | None
    resample: Image.Resampling | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Operation:
    """One operation: how strong it may be, and what it does.

    Args:
        draw: share of the full strength (0 to 1; more where a policy allows it) and the options of
            the policy to the argument. May draw a sign from `random`.
        change: image and argument to image, for operations on values.
        move: image, argument, filter and fill colour to image, for operations that move pixels.
    """

    draw: Callable[[float, Options], float | None]
    change: Callable[[Image.Image, Any], Image.Image] | None = None
    move: Callable[[Image.Image, Any, Image.Resampling, Color], Image.Image] | None = None


def apply(image: Image.Image, drawn: Drawn, fill: int | Sequence[int] = 128) -> Image.Image:
    """Return a new image, changed as `drawn` says.

    Args:
        image: of mode L or RGB.
        drawn: operation, argument and filter.
        fill: colour, 0 to 255, of what moves in from outside.

    Raises:
        ValueError: the mode of the image is another.
    """
    if image.mode not in MODES:
        raise ValueError(
            f"{drawn.name} works on images of mode L or RGB and got {image.mode}: convert it "
            "first, image.convert('RGB'), or leave out auto_augment"
        )
    operation = OPERATIONS[drawn.name]
    if operation.change is not None:
        return operation.change(image, drawn.argument)
    assert operation.move is not None and drawn.resample is not None
    return operation.move(image, drawn.argument, drawn.resample, _fitting(fill, image.mode))


def solarize_add(image: Image.Image, add: int, threshold: int = 128) -> Image.Image:
    """Return `image` with `add` added to the values below `threshold`."""
    table = [min(255, value + add) if value < threshold else value for value in range(256)]
    return image.point(table * len(image.getbands()))


def posterize(image: Image.Image, bits: int) -> Image.Image:
    """Return `image` with the highest `bits` of each value: all of them from 8 on, black at 0."""
    if bits >= 8:
        return image
    if bits <= 0:  # Pillow has refused this since 13
        return Image.new(image.mode, image.size)
    return ImageOps.posterize(image, bits)


def desaturate(image: Image.Image, amount: float) -> Image.Image:
    """Return `image` mixed with its grey version: 0 no change, 1 grey."""
    return ImageEnhance.Color(image).enhance(min(1.0, max(0.0, 1.0 - amount)))


def blur(image: Image.Image, radius: float) -> Image.Image:
    """Return `image` blurred by a Gaussian of `radius` pixels."""
    return image.filter(ImageFilter.GaussianBlur(radius))


def _fitting(fill: int | Sequence[int], mode: str) -> Color:
    values = (fill,) if isinstance(fill, int) else tuple(fill)
    if mode == "L":
        return round(sum(values) / len(values))
    return values * 3 if len(values) == 1 else values


def _enhance(kind: Callable[[Image.Image], Any]) -> Callable[[Image.Image, float], Image.Image]:
    return lambda image, factor: kind(image).enhance(factor)


def _affine(
    matrix: Callable[[Image.Image, float], tuple[float, ...]],
) -> Callable[[Image.Image, float, Image.Resampling, Color], Image.Image]:
    def move(
        image: Image.Image, argument: float, resample: Image.Resampling, fill: Color
    ) -> Image.Image:
        return image.transform(
            image.size,
            Image.Transform.AFFINE,
            matrix(image, argument),
            resample=resample,
            fillcolor=fill,
        )

    return move


def _rotate(
    image: Image.Image, degrees: float, resample: Image.Resampling, fill: Color
) -> Image.Image:
    return image.rotate(degrees, resample=resample, fillcolor=fill)


def _signed(value: float) -> float:
    return -value if random.random() > 0.5 else value


def _both_ways(full: float) -> Callable[[float, Options], float]:
    return lambda share, _: _signed(share * full)


def _between(low: float, high: float) -> Callable[[float, Options], float]:
    return lambda share, _: max(low, min(high, low + (high - low) * share))


def _stronger(share: float, _: Options) -> float:
    """Return a factor at increasing distance from 1 (no change), at least 0.1."""
    return max(0.1, 1.0 + _signed(share * 0.9))


def _any_radius(share: float, _: Options) -> float:
    return random.uniform(0.1, 2.0 * max(0.0, min(1.0, share)))


def _bits(share: float, _: Options) -> int:
    return int(share * 4)


def _threshold(share: float, _: Options) -> int:
    return min(256, int(share * 256))


def _pixels(share: float, options: Options) -> float:
    return _signed(share * float(options["translate_const"]))


def _part_of_side(share: float, options: Options) -> float:
    return _signed(share * options.get("translate_pct", 0.45))


def _factors(name: str, kind: Callable[[Image.Image], Any]) -> dict[str, Operation]:
    change = _enhance(kind)
    return {
        name: Operation(draw=lambda share, _: share * 1.8 + 0.1, change=change),  # 0.1 to 1.9
        f"{name}Increasing": Operation(draw=_stronger, change=change),
    }


def _plain(change: Callable[[Image.Image], Image.Image]) -> Operation:
    return Operation(draw=lambda share, _: None, change=lambda image, _: change(image))


_SHEAR = _both_ways(0.3)

#: Name to operation.
OPERATIONS: Mapping[str, Operation] = {
    "AutoContrast": _plain(ImageOps.autocontrast),
    "Equalize": _plain(ImageOps.equalize),
    "Invert": _plain(ImageOps.invert),
    "Rotate": Operation(draw=_both_ways(30.0), move=_rotate),
    "Posterize": Operation(draw=_bits, change=posterize),
    "PosterizeIncreasing": Operation(draw=lambda s, o: 4 - _bits(s, o), change=posterize),
    "PosterizeOriginal": Operation(draw=lambda s, o: 4 + _bits(s, o), change=posterize),
    "Solarize": Operation(draw=_threshold, change=ImageOps.solarize),
    "SolarizeIncreasing": Operation(
        draw=lambda s, o: 256 - _threshold(s, o), change=ImageOps.solarize
    ),
    "SolarizeAdd": Operation(draw=lambda s, _: min(128, int(s * 110)), change=solarize_add),
    **_factors("Color", ImageEnhance.Color),
    **_factors("Contrast", ImageEnhance.Contrast),
    **_factors("Brightness", ImageEnhance.Brightness),
    **_factors("Sharpness", ImageEnhance.Sharpness),
    "ShearX": Operation(draw=_SHEAR, move=_affine(lambda _, f: (1, f, 0, 0, 1, 0))),
    "ShearY": Operation(draw=_SHEAR, move=_affine(lambda _, f: (1, 0, 0, f, 1, 0))),
    "TranslateX": Operation(draw=_pixels, move=_affine(lambda _, p: (1, 0, p, 0, 1, 0))),
    "TranslateY": Operation(draw=_pixels, move=_affine(lambda _, p: (1, 0, 0, 0, 1, p))),
    "TranslateXRel": Operation(
        draw=_part_of_side, move=_affine(lambda image, p: (1, 0, p * image.width, 0, 1, 0))
    ),
    "TranslateYRel": Operation(
        draw=_part_of_side, move=_affine(lambda image, p: (1, 0, 0, 0, 1, p * image.height))
    ),
    "Desaturate": Operation(draw=_between(0.5, 1.0), change=desaturate),
    "GaussianBlur": Operation(draw=_between(0.1, 2.0), change=blur),
    "GaussianBlurRand": Operation(draw=_any_radius, change=blur),
}
