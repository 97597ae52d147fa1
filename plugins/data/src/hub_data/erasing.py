"""Random erasing (https://arxiv.org/abs/1708.04896) of normalised images, one or a batch, in place.

Differences from timm: values are drawn where the images are, whatever the device; what cannot be
erased with normal values (uint8) and unknown modes raise.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

from hub_data.draws import python_draws as random
from hub_data.draws import torch_generator

MODES = ("const", "rand", "pixel")
_ATTEMPTS = 10


class Box(NamedTuple):
    """A rectangle of pixels."""

    top: int
    left: int
    height: int
    width: int


class RandomErasing:
    """Replace rectangles of images by zeros or noise.

    Args:
        probability: share of images that are erased in.
        min_area: smallest erased share of an image, all its rectangles together.
        max_area: largest one.
        min_aspect: smallest height / width of a rectangle.
        max_aspect: largest one; None for 1 / min_aspect.
        mode: "const" (zeros), "rand" (normal values, one per channel) or "pixel" (normal values).
        min_count: fewest rectangles in an image.
        max_count: most; None for min_count.
        num_splits: where above 1, the first of as many parts of a batch stays clean.
        device: where values are drawn; None for the device of the images.

    Raises:
        ValueError: the mode is unknown or a range is empty.
    """

    def __init__(
        self,
        probability: float = 0.5,
        min_area: float = 0.02,
        max_area: float = 1 / 3,
        min_aspect: float = 0.3,
        max_aspect: float | None = None,
        mode: str = "const",
        min_count: int = 1,
        max_count: int | None = None,
        num_splits: int = 0,
        device: str | torch.device | None = None,
    ) -> None:
        self.mode = mode.lower() or "const"
        if self.mode not in MODES:
            raise ValueError(f"unknown mode {mode!r} of erasing: choose from {', '.join(MODES)}")
        self.probability = probability
        self.area = (min_area, max_area)
        self.aspect = (min_aspect, max_aspect or 1 / min_aspect)
        self.count = (min_count, max_count or min_count)
        self.num_splits = num_splits
        self.device = device
        for name, (low, high) in dict(area=self.area, aspect=self.aspect, count=self.count).items():
            if not 0 < low <= high:
                raise ValueError(f"erasing: {name} from {low} to {high}: give 0 < least <= most")

    def draw(self, height: int, width: int) -> list[Box]:
        """Return the rectangles to erase in the next image of this size; often none."""
        if random.random() > self.probability:
            return []
        least, most = self.count
        count = least if least == most else random.randint(least, most)
        boxes = (self._box(height, width, count) for _ in range(count))
        return [box for box in boxes if box is not None]

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Erase in `images`, in place, and return them.

        Args:
            images: (C, H, W) or (B, C, H, W), normalised.

        Raises:
            TypeError: normal values were asked for in images of whole numbers.
        """
        if self.mode != "const" and not images.is_floating_point():
            raise TypeError(
                f"mode={self.mode!r} erases with normal values and got {images.dtype}: erase after "
                "normalisation, or use mode='const'"
            )
        if images.ndim == 3:
            self._erase(images)
            return images
        clean = len(images) // self.num_splits if self.num_splits > 1 else 0
        for image in images[clean:]:
            self._erase(image)
        return images

    def __repr__(self) -> str:
        return f"RandomErasing(p={self.probability}, mode={self.mode}, count={self.count})"

    def _box(self, height: int, width: int, count: int) -> Box | None:
        """Return a rectangle that fits into the image, or None where none of the draws does."""
        low, high = map(math.log, self.aspect)
        for _ in range(_ATTEMPTS):
            area = random.uniform(*self.area) * height * width / count
            aspect = math.exp(random.uniform(low, high))
            tall, wide = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if tall < height and wide < width:
                top = random.randint(0, height - tall)
                return Box(top, random.randint(0, width - wide), tall, wide)
        return None

    def _erase(self, image: torch.Tensor) -> None:
        chans, height, width = image.shape
        for top, left, tall, wide in self.draw(height, width):
            inside = image[:, top : top + tall, left : left + wide]
            if self.mode == "const":
                inside.zero_()
                continue
            shape = (chans, tall, wide) if self.mode == "pixel" else (chans, 1, 1)
            noise = torch.empty(shape, dtype=image.dtype, device=self.device or image.device)
            own = torch_generator() if noise.device.type == "cpu" else None
            inside.copy_(noise.normal_(generator=own))
