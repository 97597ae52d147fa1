"""Images that tests of readers, loaders and backends make for themselves."""

import io
from pathlib import Path

import numpy as np
import PIL
import pytest
from PIL import Image

#: Of tests of recorded pixels, a few of which are one level off.
PIXELS_OF_PILLOW_13 = pytest.mark.xfail(
    int(PIL.__version__.partition(".")[0]) < 13,
    reason="Pillow rounded resized pixels otherwise before 13",
    strict=False,
)


def pixels(width: int, height: int, seed: int = 0) -> np.ndarray:
    """Return (height, width, 3) uint8: soft shapes, hard edges and noise, another per seed."""
    y, x, c = np.mgrid[:height, :width, :3]
    waves = 120 + 70 * np.sin(x / (5 + c + seed % 7)) * np.cos(y / (7 + seed % 5))
    edges = 60 * ((x // 9 + y // 11 + seed) % 2)
    noise = np.random.RandomState(seed).randint(-40, 40, (height, width, 3))
    return (waves + edges + noise).clip(0, 255).astype(np.uint8)


def jpeg(width: int, height: int, seed: int = 0, mode: str = "RGB", **options: int) -> bytes:
    file = io.BytesIO()
    options = {"quality": 90, **options}
    Image.fromarray(pixels(width, height, seed)).convert(mode).save(file, "JPEG", **options)
    return file.getvalue()


def folder(root: Path, count: int = 12, classes: int = 3, size: tuple[int, int] = (50, 40)) -> Path:
    """Write `count` JPEG files into class folders a, b, c, ... and return the root."""
    for number in range(count):
        place = root / "abcdefgh"[number % classes]
        place.mkdir(exist_ok=True, parents=True)
        (place / f"{number:03d}.jpg").write_bytes(jpeg(*size, seed=number))
    return root
