"""`hub lr`: what a schedule will do, as a sketch in the terminal, a picture, or numbers.

Nothing here needs torch but noise, and nothing needs Pillow but a PNG.
"""

from __future__ import annotations

import json
import math
import shutil
import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from hub import HubError

from hub_optim.hookspecs import ScheduleRequest
from hub_optim.schedule_options import scheduler_kwargs
from hub_optim.schedule_registry import create_schedule, total_epochs
from hub_optim.schedules import Constant, noise_of

BLOCKS = " ▁▂▃▄▅▆▇█"
BLOCKS_ASCII = "    ..###"
ROWS = 12
WIDTH, HEIGHT = 960, 480  # of a picture, in pixels
LEFT, RIGHT, TOP, BOTTOM = 80, 24, 40, 48  # its margins
INK, FAINT, LINE = "#333333", "#dddddd", "#1f6fb2"


@dataclass(frozen=True)
class Curve:
    """The rate at every step of a training.

    Args:
        rates: by step, from 0.
        steps_per_epoch: 1 where a step is an epoch.
        title: what is drawn.
    """

    rates: Sequence[float]
    steps_per_epoch: int
    title: str

    @property
    def epochs(self) -> float:
        """Length, in epochs."""
        return len(self.rates) / self.steps_per_epoch

    @property
    def highest(self) -> float:
        """Highest rate."""
        return max(self.rates)

    def epoch(self, step: int) -> float:
        """Return when a step is."""
        return step / self.steps_per_epoch


class Point(NamedTuple):
    """A point of a picture, in pixels from its upper left corner."""

    x: float
    y: float


def draw_curve(request: ScheduleRequest, base: float) -> Curve:
    """Compute the rates of a training.

    Args:
        request: the schedule.
        base: rate of the optimizer.

    Raises:
        ValueError: the schedule is unknown, makes no sense, or depends on more than time.
    """
    schedule = Constant() if request.sched == "none" else create_schedule(request)
    epochs = total_epochs(request, None if request.sched == "none" else schedule)
    noise = noise_of(
        request.noise_range_t, pct=request.noise_pct, std=request.noise_std, seed=request.noise_seed
    )
    rates = [
        schedule(base, t) * (1.0 + (noise(t) if noise else 0.0))
        for t in range(epochs * request.steps_per_epoch)
    ]
    if not rates:
        raise ValueError(f"num_epochs={request.num_epochs}: there is no epoch to draw")
    return Curve(rates, request.steps_per_epoch, f"{request.sched}, {epochs} epochs")


def run(args: Namespace) -> int:
    """Run `hub lr`.

    Raises:
        HubError: the schedule cannot be drawn, or not into such a file.
    """
    try:
        request = ScheduleRequest(
            **scheduler_kwargs(args), updates_per_epoch=args.updates_per_epoch
        )
        curve = draw_curve(request, args.lr)
    except ValueError as e:
        raise HubError(str(e)) from e
    if args.plot:
        save(curve, Path(args.plot))
    if args.json:
        print(json.dumps(dict(steps_per_epoch=curve.steps_per_epoch, rates=list(curve.rates))))
    else:
        encoding = sys.stdout.encoding or "ascii"
        print(sketch(curve, columns=shutil.get_terminal_size().columns, encoding=encoding))
    return 0


# --- in the terminal ----------------------------------------------------------------------------


def sketch(curve: Curve, *, columns: int = 80, encoding: str = "utf-8") -> str:
    """Return a curve as lines of text.

    Args:
        curve: what to draw.
        columns: width that there is.
        encoding: of the terminal; one without block characters gets "#".
    """
    width = max(20, min(columns, 100) - 12)
    plain = not _encodes(BLOCKS, encoding)
    lines = [f"{curve.title}: {_summary(curve)}", ""]
    heights = [8 * ROWS * rate / (curve.highest or 1.0) for rate in _columns(curve, width)]
    for row in reversed(range(ROWS)):
        cells = [max(0, min(8, math.ceil(height - 8 * row))) for height in heights]
        label = f"{curve.highest * (row + 1) / ROWS:.3g}" if row % 3 == 2 else ""
        axis = "|" if plain else "│"
        blocks = BLOCKS_ASCII if plain else BLOCKS
        lines.append(f"{label:>9} {axis}" + "".join(blocks[cell] for cell in cells).rstrip())
    lines.append(" " * 10 + ("+" + "-" * width if plain else "└" + "─" * width))
    lines.append(" " * 11 + _time_labels(curve, width))
    return "\n".join(lines)


def _encodes(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _summary(curve: Curve) -> str:
    top = curve.rates.index(curve.highest)
    return (
        f"from {curve.rates[0]:.3g} to {curve.highest:.3g} (epoch {curve.epoch(top):g}) "
        f"to {curve.rates[-1]:.3g}"
    )


def _columns(curve: Curve, width: int) -> list[float]:
    """Return the highest rate within each column, so that no peak is lost between two."""
    total = len(curve.rates)
    edges = [i * total // width for i in range(width + 1)]
    return [max(curve.rates[a : max(b, a + 1)]) for a, b in pairwise(edges)]


def _time_labels(curve: Curve, width: int) -> str:
    line = ""
    for epoch in ticks(curve.epochs):
        column = round(epoch / curve.epochs * width)
        if column >= len(line) + bool(line):
            line = line.ljust(column) + f"{epoch:g}"
    return f"{line} epochs"


# --- as a picture -------------------------------------------------------------------------------


def save(curve: Curve, path: Path) -> None:
    """Draw a curve into a file, by its ending.

    Raises:
        HubError: the ending is neither .svg nor .png, Pillow is missing for the latter, or the
            file cannot be written.
    """
    try:
        if path.suffix == ".svg":
            path.write_text(to_svg(curve), encoding="utf-8")
        elif path.suffix == ".png":
            _save_png(curve, path)
        else:
            raise HubError(f"cannot draw into {path}: the name must end in .png or .svg")
    except OSError as e:
        raise HubError(f"cannot write {path}: {e.strerror}") from e


def to_svg(curve: Curve) -> str:
    """Return a curve as an SVG document."""
    font = 'font-family="sans-serif" font-size="14"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" {font}>',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for start, end in grid(curve):
        ends = f'x1="{start.x:.1f}" y1="{start.y:.1f}" x2="{end.x:.1f}" y2="{end.y:.1f}"'
        parts.append(f'<line {ends} stroke="{FAINT}"/>')
    for point, text, anchor in labels(curve):
        where = f'x="{point.x:.1f}" y="{point.y:.1f}" text-anchor="{ANCHORS[anchor]}"'
        parts.append(f'<text {where} dominant-baseline="middle" fill="{INK}">{text}</text>')
    line = " ".join(f"{point.x:.1f},{point.y:.1f}" for point in polyline(curve))
    parts.append(f'<polyline points="{line}" fill="none" stroke="{LINE}" stroke-width="2"/>')
    return "\n".join([*parts, "</svg>", ""])


def _save_png(curve: Curve, path: Path) -> None:
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ModuleNotFoundError as e:
        raise HubError(
            f"drawing {path} needs Pillow: pip install pillow, or draw into a .svg instead"
        ) from e
    zoom = 2  # drawn larger and reduced, for smooth lines
    image = Image.new("RGB", (WIDTH * zoom, HEIGHT * zoom), "white")
    pen = ImageDraw.Draw(image)
    for start, end in grid(curve):
        pen.line([start.x * zoom, start.y * zoom, end.x * zoom, end.y * zoom], FAINT, zoom)
    line = [(point.x * zoom, point.y * zoom) for point in polyline(curve)]
    pen.line(line, LINE, 2 * zoom, joint="curve")
    font = ImageFont.load_default(14 * zoom)
    for point, text, anchor in labels(curve):
        pen.text((point.x * zoom, point.y * zoom), text, INK, font, anchor=anchor)
    image.reduce(zoom).save(path)


#: What SVG calls Pillow's anchors.
ANCHORS = {"lm": "start", "mm": "middle", "rm": "end"}


def polyline(curve: Curve) -> list[Point]:
    """Return the points of a curve: level lines, for a rate lasts until the next step.

    Where there are more steps than pixels, the lowest and the highest rate within each pixel.
    """
    total = len(curve.rates)
    if total <= WIDTH:
        return [_place(curve, t + i, r) for t, r in enumerate(curve.rates) for i in (0, 1)]
    corners = []
    for begin, end in pairwise(i * total // WIDTH for i in range(WIDTH + 1)):
        steps = range(begin, end)
        lowest = min(steps, key=curve.rates.__getitem__)
        highest = max(steps, key=curve.rates.__getitem__)
        corners += [_place(curve, t, curve.rates[t]) for t in sorted((lowest, highest))]
    return corners


def grid(curve: Curve) -> list[tuple[Point, Point]]:
    """Return the lines behind a curve."""
    level = [(_place(curve, 0, r), _place(curve, len(curve.rates), r)) for r in _rate_ticks(curve)]
    upright = [(_place(curve, t, 0.0), _place(curve, t, curve.highest)) for t in _time_ticks(curve)]
    return level + upright


def labels(curve: Curve) -> list[tuple[Point, str, str]]:
    """Return texts, each with its place and with what of it is there, in Pillow's letters."""
    found = [(Point(LEFT, TOP / 2), f"{curve.title}: {_summary(curve)}", "lm")]
    for rate in _rate_ticks(curve):
        found.append((Point(LEFT - 8, _place(curve, 0, rate).y), f"{rate:g}", "rm"))
    for t in _time_ticks(curve):
        place = Point(_place(curve, t, 0.0).x, HEIGHT - BOTTOM + 16)
        found.append((place, f"{t / curve.steps_per_epoch:g}", "mm"))
    return [*found, (Point((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12), "epoch", "mm")]


def ticks(highest: float, most: int = 6) -> list[float]:
    """Return round numbers from 0 to `highest`: multiples of 1, 2 or 5 times a power of ten."""
    if highest <= 0:
        return [0.0]
    power = 10.0 ** math.floor(math.log10(highest / most))
    width = next(n * power for n in (1, 2, 5, 10, 20) if highest / (n * power) <= most)
    # By way of text, so that 3 * 0.1 is 0.3.
    return [float(f"{i * width:.12g}") for i in range(math.floor(highest / width + 1e-9) + 1)]


def _rate_ticks(curve: Curve) -> list[float]:
    return ticks(curve.highest)


def _time_ticks(curve: Curve) -> list[float]:
    return [epoch * curve.steps_per_epoch for epoch in ticks(curve.epochs, most=10)]


def _place(curve: Curve, t: float, rate: float) -> Point:
    x = LEFT + (WIDTH - LEFT - RIGHT) * t / len(curve.rates)
    y = HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * rate / (curve.highest or 1.0)
    return Point(x, y)
