"""Data sets made on the spot: pictures that differ, in folders, archives and tables."""

import io
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("bird", "cat", "dog")


def picture(seed: int, size: tuple[int, int] = (24, 18), mode: str = "RGB") -> Image.Image:
    """Return a smooth picture that no other seed gives."""
    generator = np.random.default_rng(seed)
    small = Image.fromarray(generator.integers(0, 256, (3, 4, 3), dtype=np.uint8))
    return small.resize(size, Image.Resampling.BICUBIC).convert(mode)


def encoded(seed: int, kind: str = "JPEG", **options) -> bytes:
    file = io.BytesIO()
    picture(seed, **options).save(file, kind)
    return file.getvalue()


def make_folder(root: Path, classes=CLASSES, count: int = 3, first: int = 0) -> Path:
    """Write `count` JPEG files per class: file n of class c is `encoded(first + c*count + n)`."""
    for c, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for n in range(count):
            (root / name / f"{n}.jpg").write_bytes(encoded(first + c * count + n))
    return root


def make_tar(path: Path, files: dict[str, bytes], mode: str = "w") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def pixels(image) -> np.ndarray:
    return np.asarray(image)
