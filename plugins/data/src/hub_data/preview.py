"""`hub data preview`: a contact sheet of what a pipeline does to images.

A row per image: the image itself, then what the pipeline made of it in each draw, denormalised.
Importing this module is cheap; what draws is imported when the command runs.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from PIL import Image

_GAP = 4
_LABEL_HEIGHT = 14
_PAPER = (24, 24, 24)
_INK = (220, 220, 220)
# Options of `create_transform` that the command takes as they are: name, type, help.
_OPTIONS: tuple[tuple[str, Callable[[str], Any], str], ...] = (
    ("train_crop_mode", str, "rrc, rkrc or rkrr"),
    ("hflip", float, "probability of mirroring left and right"),
    ("vflip", float, "probability of mirroring top and bottom"),
    ("color_jitter_prob", float, "probability of colour jitter"),
    ("grayscale_prob", float, "probability of taking the colour out"),
    ("gaussian_blur_prob", float, "probability of blurring"),
    ("auto_augment", str, "rand-m9-mstd0.5-inc1, augmix-m5, v0, original, 3a ..."),
    ("interpolation", str, "resize filter, or random"),
    ("re_prob", float, "probability of random erasing"),
    ("re_mode", str, "const, rand or pixel"),
    ("re_count", int, "most rectangles erased in an image"),
    ("crop_pct", float, "share of the image in the evaluation crop"),
    ("crop_mode", str, "center, squash or border"),
)
_SEQUENCES = (
    ("scale", 2, "least and largest area of the crop"),
    ("ratio", 2, "least and largest width / height of the crop"),
    ("color_jitter", "+", "brightness, contrast, saturation, hue; or one number"),
    ("mean", "+", "mean per channel of images in [0, 1]"),
    ("std", "+", "standard deviation per channel"),
)


def add_preview_arguments(parser: ArgumentParser) -> None:
    """Add the options of `hub data preview`."""
    parser.add_argument("images", nargs="+", help="files, folders (searched in depth), patterns")
    parser.add_argument(
        "--output", default="preview.png", metavar="FILE", help="the sheet (default preview.png)"
    )
    parser.add_argument(
        "--model", help="prepare images for its weights: resnet50.a1_in1k (no weights are loaded)"
    )
    parser.add_argument("--img-size", type=int, metavar="N", help="side of the result in pixels")
    parser.add_argument(
        "--eval", action="store_true", help="the pipeline of evaluation, not that of training"
    )
    parser.add_argument("--draws", type=int, default=8, metavar="N", help="columns (default 8)")
    parser.add_argument("--rows", type=int, default=8, metavar="N", help="most images (default 8)")
    parser.add_argument("--seed", type=int, default=0, help="of all draws (default 0)")
    parser.add_argument("--mixup", type=float, default=0.0, metavar="ALPHA", help="mix images")
    parser.add_argument("--cutmix", type=float, default=0.0, metavar="ALPHA", help="mix parts")
    for name, kind, text in _OPTIONS:
        parser.add_argument(_flag(name), type=kind, help=text)
    for name, nargs, text in _SEQUENCES:
        parser.add_argument(_flag(name), type=float, nargs=nargs, help=text)


def run_preview(args: Namespace) -> int:
    """Run `hub data preview` and return its exit code: 1 where no sheet was written."""
    from hub import HubError

    try:
        images, problems = _read(args.images, args.rows)
        for problem in problems:
            print(f"hub: error: {problem}", file=sys.stderr)
        if not images or args.draws < 1:
            print("hub: error: there is nothing to preview", file=sys.stderr)
            return 1
        sheet, pipeline = preview(images, args)
        sheet.save(args.output)
    except (HubError, ValueError, OSError) as error:
        print(f"hub: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    print(pipeline)
    print(f"{args.output}: {len(images)} images, {args.draws} draws each")
    return int(bool(problems))


def preview(images: Sequence[Image.Image], args: Namespace) -> tuple[Image.Image, str]:
    """Return the sheet, and the pipeline in words.

    Raises:
        ValueError: an option is out of range.
        UnknownModelError: there is no such model.
    """
    from hub_data.transforms import create_transform

    config = _config(args)
    transform: Any = create_transform(is_training=not args.eval, **config)
    _seed(args.seed)
    mix = _mixing(args.mixup, args.cutmix)
    columns = [mix(_batch(transform, images)) for _ in range(args.draws)]
    height, width = config["input_size"][-2:]
    tiles = [[_fitted(image, height, width)] for image in images]
    for column in columns:
        for row, values in zip(tiles, column, strict=True):
            row.append(_picture(values, config["mean"], config["std"]))
    titles = ["image", *(str(number) for number in range(1, args.draws + 1))]
    return contact_sheet(tiles, titles), str(transform)


def contact_sheet(tiles: Sequence[Sequence[Image.Image]], titles: Sequence[str]) -> Image.Image:
    """Return rows of images of one size on one sheet, under the titles of the columns."""
    from PIL import Image, ImageDraw

    width, height = tiles[0][0].size
    size = len(titles) * (width + _GAP) + _GAP, len(tiles) * (height + _GAP) + _GAP + _LABEL_HEIGHT
    sheet = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(sheet)
    for column, title in enumerate(titles):
        left = _GAP + column * (width + _GAP)
        draw.text((left, 1), title, fill=_INK)
        for row, images in enumerate(tiles):
            sheet.paste(images[column], (left, _LABEL_HEIGHT + _GAP + row * (height + _GAP)))
    return sheet


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _config(args: Namespace) -> dict[str, Any]:
    """Return the arguments of `create_transform`: of the weights, then of the command line."""
    import hub

    from hub_data.config import resolve_data_config

    names = [name for name, *_ in (*_OPTIONS, *_SEQUENCES)]
    asked = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    weights = hub.get_pretrained_cfg(args.model, allow_unregistered=False) if args.model else None
    request: dict[str, Any] = {"img_size": args.img_size} if args.img_size else {}
    request |= {name: asked[name] for name in ("mean", "std") if name in asked}
    if not weights and not request:
        request = {"img_size": 224}
    config = resolve_data_config(request, weights, use_test_size=args.eval and not args.img_size)
    config["interpolation"] = "bilinear" if not args.model else config["interpolation"]
    for name, *_ in _SEQUENCES:
        if name in asked:
            values = asked[name]
            asked[name] = values[0] if len(values) == 1 else tuple(values)
    return config | {name: value for name, value in asked.items() if name not in ("mean", "std")}


def _read(requests: Sequence[str], limit: int) -> tuple[list[Image.Image], list[str]]:
    from hub_data.images import find_images, load_image

    images: list[Image.Image] = []
    problems = []
    for found in find_images(requests):
        if len(images) == limit:
            break
        if found.problem:
            problems.append(f"{found.path}: {found.problem}")
            continue
        try:
            images.append(load_image(found.path))
        except Exception as error:  # PIL raises whatever a damaged file provokes in its decoders
            problems.append(f"{found.path}: not a readable image: {error}")
    return images, problems


def _seed(seed: int) -> None:
    import random

    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def _batch(transform: Any, images: Sequence[Image.Image]) -> torch.Tensor:
    import torch

    return torch.stack([transform(image) for image in images])  # (B, 3, H, W)


def _mixing(mixup: float, cutmix: float) -> Callable[[torch.Tensor], torch.Tensor]:
    if not mixup and not cutmix:
        return lambda batch: batch
    import torch

    from hub_data.mixup import Mixup

    mix = Mixup(mixup, cutmix, mode="elem", num_classes=1)
    return lambda batch: mix(batch, torch.zeros(len(batch), dtype=torch.long))[0]


def _fitted(image: Image.Image, height: int, width: int) -> Image.Image:
    """Return the whole image inside a tile."""
    from hub_data.image_steps import ResizeKeepRatio, center_crop_or_pad

    shown = ResizeKeepRatio((height, width), longest=1.0, interpolation="bicubic")(image)
    return center_crop_or_pad(shown, (height, width), fill=_PAPER)


def _picture(values: torch.Tensor, mean: Sequence[float], std: Sequence[float]) -> Image.Image:
    """Return normalised (3, H, W) as an image."""
    import torch
    from PIL import Image

    scale, shift = (torch.tensor(v).view(-1, 1, 1) for v in (std, mean))
    pixels = (values * scale + shift).mul(255).round().clamp(0, 255).to(torch.uint8)
    return Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())
