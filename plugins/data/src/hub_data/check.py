"""`hub data check`: read a whole data set once, and report what training on it would meet.

Every image is opened and decoded. Reported are sizes, modes and formats, images that a camera noted
as turned, damaged files, copies (also between splits, where they are leaks, and between classes,
where one label is wrong), classes that splits do not share, and files that are not read.
"""

from __future__ import annotations

import io
import json
import os
import sys
from argparse import ArgumentParser, Namespace
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from statistics import median_low
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hub_data.dataset import ImageDataset

_ORIENTATION = 0x0112  # tag of EXIF; 1 is upright
_BATCH = 512  # samples handed to the threads at once
_SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "MPO": (".jpg", ".jpeg", ".mpo"),  # JPEG files of cameras that hold a second picture
    "PNG": (".png",),
    "WEBP": (".webp",),
    "GIF": (".gif",),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "AVIF": (".avif",),
    "HEIF": (".heic", ".heif", ".hif"),
    "PPM": (".ppm", ".pgm", ".pnm"),
}


@dataclass(frozen=True, slots=True)
class Examined:
    """What was found out about one image.

    Args:
        name: path below the root of its split.
        target: class index, or whatever the reader gives.
        width: in pixels, as stored.
        height: in pixels, as stored.
        mode: PIL's name for its channels.
        format: of the file: JPEG, PNG, ...
        turned: a camera noted that it is not upright.
        digest: of the content; equal for copies.
        problem: why it cannot be read; empty where it can.
    """

    name: str
    target: Any
    width: int = 0
    height: int = 0
    mode: str = ""
    format: str = ""
    turned: bool = False
    digest: str = ""
    problem: str = ""


@dataclass
class SplitReport:
    """What was found in one split; counts by name, most first; names of images as lists.

    Args:
        split: its name.
        classes: class name to number of images.
        modes: channels to number of images.
        formats: file format to number of images.
        sizes: "WxH" of the smallest, the median and the largest image, by area.
        turned: images that a camera noted as turned.
        misnamed: images whose extension is that of another format.
        damaged: image to why it cannot be read.
        copies: groups of equal images.
        contradictions: groups of equal images in different classes.
        unread: extension to number of files that are not read.
        unlisted: class that the class map lacks to number of images, which are left out.
    """

    split: str
    num_images: int = 0
    classes: dict[str, int] = field(default_factory=dict)
    modes: dict[str, int] = field(default_factory=dict)
    formats: dict[str, int] = field(default_factory=dict)
    sizes: list[str] = field(default_factory=list)
    turned: list[str] = field(default_factory=list)
    misnamed: list[str] = field(default_factory=list)
    damaged: dict[str, str] = field(default_factory=dict)
    copies: list[list[str]] = field(default_factory=list)
    contradictions: list[list[str]] = field(default_factory=list)
    unread: dict[str, int] = field(default_factory=dict)
    unlisted: dict[str, int] = field(default_factory=dict)


@dataclass
class Report:
    """What was found in a data set.

    Args:
        splits: of each split.
        leaks: groups of equal images in different splits, as "split/name".
        unequal_classes: split to classes of other splits that it lacks.
    """

    splits: list[SplitReport]
    leaks: list[list[str]] = field(default_factory=list)
    unequal_classes: dict[str, list[str]] = field(default_factory=dict)

    @property
    def is_sound(self) -> bool:
        """Whether every image can be read, and class indices mean the same in all splits."""
        return not self.unequal_classes and not any(split.damaged for split in self.splits)

    def to_dict(self) -> dict[str, Any]:
        """Return the report, JSON-able."""
        return {"sound": self.is_sound, **asdict(self)}


def check_datasets(datasets: Mapping[str, ImageDataset], threads: int = 0) -> Report:
    """Return what is found in the splits of a data set.

    Args:
        datasets: split to data set.
        threads: that decode at once; 0 for one per core.
    """
    reports, places = [], defaultdict(list)
    for split, dataset in datasets.items():
        examined = list(examine(dataset, threads))
        reports.append(summarize(split, dataset, examined))
        for image in examined:
            if image.digest:
                places[image.digest].append((split, image.name))
    leaks = [
        sorted(f"{split}/{name}" for split, name in group)
        for group in places.values()
        if len({split for split, _ in group}) > 1
    ]
    return Report(reports, sorted(leaks), _unequal_classes(reports))


def examine(dataset: ImageDataset, threads: int = 0) -> Iterator[Examined]:
    """Yield what is found out about each image, in order."""
    indices = iter(range(len(dataset)))
    with ThreadPoolExecutor(threads or None) as pool:
        while batch := list(islice(indices, _BATCH)):
            yield from pool.map(lambda index: examine_image(dataset, index), batch)


def examine_image(dataset: ImageDataset, index: int) -> Examined:
    """Return what is found out about an image; nothing that it holds makes this raise."""
    from PIL import Image

    from hub_data.dataset import read_bytes
    from hub_data.decode import decode_image
    from hub_data.faults import sample_name

    name, target = sample_name(index, dataset.filename), None
    try:
        source, target, *_ = dataset.reader[index]
        if not isinstance(source, str | Path | bytes) and not hasattr(source, "read"):
            image = decode_image(source, "")
            return Examined(name, target, **_properties(image), digest=_digest(_raw(image)))
        content = read_bytes(source)
        image = decode_image(content, "")
        decode_image(
            image,
            dataset.input_img_mode,
            upright=dataset.upright,
            input_range=dataset.input_range,
        )
        kind, turned = "NPY", False
        if isinstance(image, Image.Image):
            with Image.open(io.BytesIO(content)) as file:
                kind = file.format or ""
                turned = file.getexif().get(_ORIENTATION, 1) != 1
        found = _properties(image)
        return Examined(name, target, **found, format=kind, turned=turned, digest=_digest(content))
    except Exception as error:  # decoders raise whatever a damaged file provokes in them
        problem = " ".join(f"{type(error).__name__}: {error}".split())
        return Examined(name, target, problem=problem)


def summarize(split: str, dataset: ImageDataset, examined: Iterable[Examined]) -> SplitReport:
    """Return the report of a split from what was found out about its images."""
    images = list(examined)
    good = [image for image in images if not image.problem]
    sizes = sorted((i.width * i.height, i.width, i.height) for i in good)
    groups = defaultdict(list)
    for image in good:
        groups[image.digest].append(image)
    copies = [group for group in groups.values() if len(group) > 1]
    return SplitReport(
        split=split,
        num_images=len(images),
        classes=_class_counts(dataset, images),
        modes=_counts(image.mode for image in good),
        formats=_counts(image.format for image in good if image.format),
        sizes=[f"{w}x{h}" for _, w, h in (sizes[0], median_low(sizes), sizes[-1])] if sizes else [],
        turned=[image.name for image in good if image.turned],
        misnamed=[image.name for image in good if _is_misnamed(image)],
        damaged={image.name: image.problem for image in images if image.problem},
        copies=[[image.name for image in group] for group in copies],
        contradictions=[
            [image.name for image in group]
            for group in copies
            if len({repr(image.target) for image in group}) > 1
        ],
        unread=getattr(dataset.reader, "left_out", {}),
        unlisted={str(k): n for k, n in getattr(dataset.reader, "unlisted", {}).items()},
    )


def _properties(image: Any) -> dict[str, Any]:
    from PIL import Image

    if isinstance(image, Image.Image):
        return dict(width=image.width, height=image.height, mode=image.mode)
    height, width, channels = image.shape
    return dict(width=width, height=height, mode=f"{channels} channels of {image.dtype}")


def _raw(image: Any) -> bytes:
    return image.tobytes()


def _digest(content: bytes) -> str:
    return blake2b(content, digest_size=16).hexdigest()


def _counts(values: Iterable[str]) -> dict[str, int]:
    return dict(Counter(values).most_common())


def _class_counts(dataset: ImageDataset, images: Iterable[Examined]) -> dict[str, int]:
    class_to_idx = getattr(dataset.reader, "class_to_idx", {})
    names = {index: str(name) for name, index in class_to_idx.items()}
    counts = Counter(
        label
        for image in images
        if image.target is not None
        for label in (image.target if isinstance(image.target, list) else [image.target])
    )
    return {names.get(label, str(label)): count for label, count in counts.most_common()}


def _is_misnamed(image: Examined) -> bool:
    suffix = os.path.splitext(image.name)[1].lower()
    known = _SUFFIXES.get(image.format)
    return bool(suffix and known and suffix not in known)


def _unequal_classes(reports: Iterable[SplitReport]) -> dict[str, list[str]]:
    classes = {report.split: set(report.classes) for report in reports}
    everything = set().union(*classes.values())
    return {split: sorted(everything - own) for split, own in classes.items() if everything - own}


def find_splits(root: str | Path) -> list[str]:
    """Return the folders of splits in a folder; one empty name where there are none."""
    from hub_data.readers.folder import ALL_SPLITS

    if not os.path.isdir(root):
        return [""]
    found = [name for name in ALL_SPLITS if os.path.isdir(os.path.join(root, name))]
    return found or [""]


def add_check_arguments(parser: ArgumentParser) -> None:
    """Add the options of `hub data check`."""
    parser.add_argument("root", help="folder or file of the data set")
    parser.add_argument(
        "--reader", default="", metavar="NAME", help="csv:labels.csv, tar/, hfds/org/name, ..."
    )
    parser.add_argument("--split", help="only this one (default: all that there are)")
    parser.add_argument("--class-map", metavar="FILE", help="class names, .txt or .json")
    parser.add_argument("--input-key", metavar="KEY", help="extensions, or field of the image")
    parser.add_argument(
        "--input-range",
        type=float,
        nargs=2,
        metavar=("BLACK", "WHITE"),
        help="of images of other types than 8 bits, such as 0 4095",
    )
    parser.add_argument("--target-key", metavar="KEY", help="field of the target")
    parser.add_argument(
        "--threads", type=int, default=0, metavar="N", help="that decode (default: one per core)"
    )
    parser.add_argument("--all", action="store_true", help="name every image, not the first few")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of lines")


def run_check(args: Namespace) -> int:
    """Run `hub data check`; return 0 for a sound data set, 1 otherwise."""
    from hub import HubError

    from hub_data.dataset import ImageDataset, create_dataset

    splits = [args.split] if args.split else find_splits(args.root) if not args.reader else [""]
    options = {k: getattr(args, k) for k in ("class_map", "input_key", "target_key", "input_range")}
    try:
        datasets: dict[str, ImageDataset] = {}
        for split in splits:
            dataset = create_dataset(args.reader, args.root, split or "train", **options)
            if not isinstance(dataset, ImageDataset):
                raise HubError(f"{args.reader} is a stream: only readers with an index are checked")
            datasets[split or "all"] = dataset
    except (HubError, OSError, ValueError, TypeError) as error:
        print(f"hub: error: {error}", file=sys.stderr)
        return 1
    report = check_datasets(datasets, args.threads)
    if args.json:
        print(json.dumps(report.to_dict(), indent=2, ensure_ascii=False))
    else:
        print("\n".join(report_lines(report, sys.maxsize if args.all else 5)))
    return 0 if report.is_sound else 1


def report_lines(report: Report, most: int = 5) -> Iterator[str]:
    """Yield a report as lines, naming at most so many images of a kind."""
    for split in report.splits:
        yield from _split_lines(split, most)
    if report.leaks:
        yield f"{len(report.leaks)} images are in several splits"
        yield from _indented((" = ".join(group) for group in report.leaks), len(report.leaks), most)
    for name, classes in report.unequal_classes.items():
        yield f"{name} lacks classes of other splits, and so numbers them differently: " + _some(
            classes, most
        )


def _split_lines(split: SplitReport, most: int) -> Iterator[str]:
    yield f"{split.split}: {split.num_images} images in {len(split.classes)} classes"
    if split.classes:
        counts = list(split.classes.items())
        (most_name, most_count), (least_name, least_count) = counts[0], counts[-1]
        yield f"  classes     {least_count} ({least_name}) to {most_count} ({most_name}) images"
    if split.sizes:
        smallest, middle, largest = split.sizes
        yield f"  sizes       {smallest} to {largest}, median {middle}"
    for title, counted in (
        ("modes", split.modes),
        ("formats", split.formats),
        ("not read", split.unread),
        ("left out", split.unlisted),
    ):
        if counted:
            yield f"  {title:12}" + ", ".join(f"{key} {n}" for key, n in counted.items())
    for title, names in (
        ("turned", split.turned),
        ("misnamed", split.misnamed),
        ("copies", [" = ".join(group) for group in split.copies]),
        ("two classes", [" = ".join(group) for group in split.contradictions]),
        ("damaged", [f"{name}: {problem}" for name, problem in split.damaged.items()]),
    ):
        if names:
            yield f"  {title:12}{len(names)}"
            yield from _indented(names, len(names), most)


def _indented(lines: Iterable[str], count: int, most: int) -> Iterator[str]:
    for line in islice(lines, most):
        yield f"    {line}"
    if count > most:
        yield f"    and {count - most} more: --all names them"


def _some(names: list[str], most: int) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" * (len(names) > most))
