"""From JPEG files to normalised batches, hub against timm: images per second and the first batch.

    uv run --group reference python tests/benchmarks/loader.py
    uv run --group reference --with simplejpeg python tests/benchmarks/loader.py --workers 0 2 8

The files are made for the run: 500 x 375 pixels with the spectrum and the sharp edges of
photographs. Both sides read them in turn, in one process, on the CPU; a round is a whole epoch.
Ratios are medians of ratios round by round. `first` is the time from `iter` to the first batch.
"""

import argparse
import logging
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import hub_data
import numpy as np
import timm.data
import torch
from PIL import Image, ImageDraw, ImageFilter, ImageOps

WIDTH, HEIGHT, CLASSES = 500, 375, 10
EVALUATION = dict(interpolation="bicubic", crop_pct=0.875)
TRAINING = dict(
    is_training=True, auto_augment="rand-m9-mstd0.5-inc1", re_prob=0.25, interpolation="random"
)


class Epoch(NamedTuple):
    rate: float
    first: float


def make_images(root: Path, count: int) -> None:
    rng = np.random.default_rng(0)
    for number in range(count):
        folder = root / f"class_{number % CLASSES}"
        folder.mkdir(exist_ok=True)
        quality = int(rng.integers(80, 96))
        photograph(rng).save(folder / f"{number:04d}.jpg", quality=quality)


def photograph(rng: np.random.Generator) -> Image.Image:
    """Return noise of a 1/f spectrum under coloured shapes: about 60 KiB as a JPEG file."""
    frequency = np.hypot(np.fft.fftfreq(HEIGHT)[:, None], np.fft.rfftfreq(WIDTH)[None])
    frequency[0, 0] = 1
    planes = []
    for exponent in (1.2, 1.5, 1.5, 1.5):
        phases = rng.normal(size=frequency.shape) + 1j * rng.normal(size=frequency.shape)
        plane = np.fft.irfft2(phases / frequency**exponent, s=(HEIGHT, WIDTH))
        planes.append(plane / plane.std())
    light, *tints = planes
    values = np.stack([light + 0.35 * tint for tint in tints], axis=-1)
    image = Image.fromarray((values * 45 + 120).clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image, "RGBA")
    for _ in range(8):
        x, y, radius = rng.uniform(0, WIDTH), rng.uniform(0, HEIGHT), rng.uniform(10, 120)
        color = tuple(map(int, rng.integers(0, 256, 4)))
        draw.ellipse([x - radius, y - radius / 2, x + radius, y + radius / 2], fill=color)
    image = image.filter(ImageFilter.GaussianBlur(0.6))
    grain = rng.normal(0, 3, (HEIGHT, WIDTH, 1))
    return Image.fromarray((np.asarray(image) + grain).clip(0, 255).astype(np.uint8))


def mend_timm() -> None:
    """Let timm draw 0 bits of Posterize (black), which Pillow 13 refuses."""
    posterize = ImageOps.posterize
    ImageOps.posterize = lambda image, bits: (
        posterize(image, bits) if bits > 0 else Image.new(image.mode, image.size)
    )


def epoch(loader: Iterable) -> Epoch:
    start, images, first = time.perf_counter(), 0, 0.0
    for batch, _ in loader:
        first = first or time.perf_counter() - start
        images += len(batch)
    assert batch.shape[1:] == (3, 224, 224) and batch.dtype == torch.float32
    return Epoch(images / (time.perf_counter() - start), first)


def compare(title: str, loaders: dict[str, Iterable], rounds: int) -> None:
    for loader in loaders.values():
        epoch(loader)
    runs: dict[str, list[Epoch]] = {name: [] for name in loaders}
    for _ in range(rounds):
        for name, loader in loaders.items():
            runs[name].append(epoch(loader))
    for name, rows in runs.items():
        rate, first = (statistics.median(column) for column in zip(*rows, strict=True))
        pairs = list(zip(rows, runs["timm"], strict=True))
        faster = statistics.median(own.rate / timm.rate for own, timm in pairs)
        sooner = statistics.median(timm.first / own.first for own, timm in pairs)
        print(
            f"{title:<22} {name:<16} {rate:8.0f} images/s {faster:5.2f}x"
            f"   first {1e3 * first:6.0f} ms {sooner:5.2f}x",
            flush=True,
        )


def loaders(
    root: Path, workers: int, batch_size: int, training: bool, persistent: bool
) -> dict[str, Iterable]:
    options: dict = dict(TRAINING if training else EVALUATION)
    options |= dict(num_workers=workers, device=torch.device("cpu"), persistent_workers=persistent)

    def make(data, **more) -> Iterable:
        dataset = data.create_dataset("", root)
        return data.create_loader(dataset, (3, 224, 224), batch_size, **options, **more)

    found = {"timm": make(timm.data)}
    for backend in ("fast",) if training else ("fast", "exact"):
        found[f"hub {backend}"] = make(hub_data, backend=backend)
        if workers:
            found[f"hub {backend} proc."] = make(hub_data, backend=backend, workers_as="processes")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--restart", action="store_true", help="workers start with each epoch")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    mend_timm()
    print(hub_data.explain_backends())
    with tempfile.TemporaryDirectory() as folder:
        make_images(Path(folder), options.images)
        for training in (False, True):
            for workers in options.workers:
                name = f"{'training' if training else 'evaluation'}, {workers} workers"
                persistent = not options.restart
                made = loaders(Path(folder), workers, options.batch_size, training, persistent)
                compare(name, made, options.rounds)
                del made


if __name__ == "__main__":
    sys.exit(main())
