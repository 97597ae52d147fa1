"""Two ways to prepare images, chosen by name; pipelines and loaders are the same for both.

exact (default of evaluation): to the bit what PIL's pipeline gives, with which published accuracies
were measured. JPEG files are decoded by simplejpeg where it gives PIL's pixels, and what an
evaluation crop cuts off is not computed.

fast (default of training): resizing by torch's SIMD kernels on uint8 arrays, within 2 of 255 levels
of the other; crops and flips on arrays. What is drawn at random is drawn by the same code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from hub_data.dataset import read_bytes
from hub_data.decode import Source, decode_image
from hub_data.deferred_resize import to_deferring_image
from hub_data.fast.array_image import to_array_image
from hub_data.fast.decode import decode_jpeg, turbo, turbo_status
from hub_data.pixel_range import Range

EVALUATION, TRAINING = "exact", "fast"


@dataclass(frozen=True, kw_only=True, slots=True)
class Backend:
    """How images are opened and resized.

    Args:
        name: what `create_loader(backend=...)` takes.
        summary: one line.
        wrap: pixels (H, W, 3) or a PIL image to the image that the transform gets.
        fused: normalise by one multiplication and addition; see `Normalizer`.
    """

    name: str
    summary: str
    wrap: Callable[[np.ndarray | Image.Image], Image.Image]
    fused: bool

    def decode(
        self,
        source: Source,
        mode: str | None = "RGB",
        *,
        upright: bool = False,
        input_range: Range | None = None,
    ) -> Any:
        """Return an image as `hub_data.decode.decode_image` does, ready for this backend."""
        plain = mode == "RGB" and not upright and input_range is None and turbo() is not None
        if plain and not isinstance(source, np.ndarray | Image.Image):
            source = read_bytes(source)
            pixels = decode_jpeg(source)
            if pixels is not None:
                return self.wrap(pixels)
        image = decode_image(source, mode, upright=upright, input_range=input_range)
        return self.wrap(image) if isinstance(image, Image.Image) else image

    def __reduce__(self) -> tuple[Callable[[str], Backend], tuple[str]]:
        return get_backend, (self.name,)  # so that datasets can be sent to worker processes


BACKENDS = {
    "exact": Backend(
        name="exact",
        summary="to the bit PIL's pipeline",
        wrap=to_deferring_image,
        fused=False,
    ),
    "fast": Backend(
        name="fast",
        summary="SIMD resize, within 2 of 255 levels",
        wrap=to_array_image,
        fused=True,
    ),
}


def get_backend(name: str | None = None, *, is_training: bool = False) -> Backend:
    """Return a backend by name; None for the default of training or evaluation.

    Raises:
        ValueError: there is none of this name.
    """
    name = name or (TRAINING if is_training else EVALUATION)
    if name not in BACKENDS:
        raise ValueError(f"unknown backend {name!r}: choose from {', '.join(BACKENDS)}")
    return BACKENDS[name]


def explain_backends() -> str:
    """Say in one line which backend runs when, and which decoder, and why."""
    parts = (
        f"{use}: {name} ({BACKENDS[name].summary})"
        for use, name in (("evaluation", EVALUATION), ("training", TRAINING))
    )
    return "; ".join((*parts, turbo_status()))
