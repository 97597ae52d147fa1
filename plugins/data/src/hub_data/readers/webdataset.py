"""WebDataset: tar archives ("shards") of samples, files of one stem: 0001.jpg, 0001.cls, ...

Local shards are read without the webdataset library, by the places of their files: in evaluation
all workers share every shard evenly; the buffer that training shuffles in holds places, not images;
and the number of samples is counted where nobody says it. Shards elsewhere ("https:", "s3:",
"pipe:") are opened by webdataset, if it is installed.
"""

from __future__ import annotations

import json
import logging
import os
import random
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from glob import glob
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from hub import natural_key

from hub_data.class_map import ClassMap, UnlistedClassError
from hub_data.extensions import IMAGE_EXTENSIONS, is_hidden
from hub_data.readers.archive import ArchiveFile, list_members
from hub_data.readers.streamed import Share, StreamedReader, shuffled
from hub_data.targets import TargetField

_logger = logging.getLogger(__name__)

_USUAL = ("jpg", "jpeg", "png", "webp")  # taken first, of a sample with several images
IMAGE_KEYS = ";".join(dict.fromkeys((*_USUAL, *(e[1:] for e in IMAGE_EXTENSIONS), "npy")))
INFO_FILES = ("_info.json", "info.json", "_info.yaml", "info.yaml")
SHUFFLE_SIZE = int(os.environ.get("WDS_SHUFFLE_SIZE", 8192))

Parts = Mapping[str, Callable[[], bytes]]


class Shards(NamedTuple):
    """The archives of a split, the number of samples in them (0: unknown), the field of labels."""

    paths: tuple[str, ...]
    num_samples: int = 0
    label: str = ""


class Record(NamedTuple):
    """A sample: its name, and its files by extension, read when called."""

    key: str
    parts: Parts


class WebDatasetReader(StreamedReader):
    """Samples in shards.

    Args:
        name: folder below `root`; usually empty.
        root: folder of the shards, or where they are ("https://...").
        split: a split that `_info.json` in the folder states; without such a file, the shards
            whose names begin with it; or names of shards with ranges, and after "|" the number of
            samples: "train-{0000..0099}.tar|100000".
        is_training: shuffle shards and samples, see `StreamedReader`.
        num_samples: samples in the split, where neither it nor the file says.
        batch_size: see `StreamedReader`.
        repeats: see `StreamedReader`.
        seed: see `StreamedReader`.
        class_map: see `load_class_map`.
        input_key: extensions of the image, of which the first that a sample has is taken.
        target_key: field of the `.json` file of a sample, see `TargetField`; None: the number in
            its `.cls` file.
        target_format: see `TargetField`.
        sample_shuffle_size: samples among which the next is drawn (WDS_SHUFFLE_SIZE).

    Raises:
        ValueError: there is no such split.
        FileNotFoundError: there is no such shard.
    """

    def __init__(
        self,
        name: str = "",
        *,
        root: str | Path | None = None,
        split: str = "train",
        is_training: bool = False,
        num_samples: int | None = None,
        batch_size: int = 1,
        repeats: int = 0,
        seed: int = 42,
        class_map: ClassMap | str | Path | None = None,
        input_key: str = IMAGE_KEYS,
        target_key: str | None = None,
        target_format: str | None = None,
        sample_shuffle_size: int | None = None,
    ) -> None:
        self.root = _root(name, root)
        shards = find_shards(self.root, split)
        self.paths = shards.paths
        self.input_keys = input_key.lower().split(";")
        self.target_key = target_key or shards.label or None
        self.target = TargetField(
            self.target_key or "cls",
            target_format=target_format,
            class_map=class_map,
            root=self.root,
        )
        self.class_to_idx = self.target.class_to_idx
        self.shuffle_size = sample_shuffle_size or SHUFFLE_SIZE
        known = num_samples or shards.num_samples
        if not known and not any(map(_is_remote, self.paths)):
            known = sum(1 for path in self.paths for _ in _local_records(path))
        super().__init__(
            num_samples=known,
            is_training=is_training,
            batch_size=batch_size,
            repeats=repeats,
            seed=seed,
        )

    def read(self, share: Share, epoch: int) -> Iterator[tuple[Any, ...]]:
        """Yield (content of the image file, target)."""
        records = self._records(share, epoch)
        if self.is_training:
            records = shuffled(records, self.shuffle_size, self.random(share, epoch))
        for record in records:
            for image, target in self.sample(self._sample, record):
                if target != -1:  # how some data sets mark samples to leave out
                    yield image, target

    def _sample(self, record: Record) -> tuple[Any, ...]:
        target = self._target(record)
        return self._image(record), target

    def _records(self, share: Share, epoch: int) -> Iterator[Record]:
        paths = list(self.paths)
        if not self.is_training:
            whole = any(map(_is_remote, paths)) and len(paths) >= share.total
        else:
            random.Random(f"{self.seed}/{epoch}").shuffle(paths)  # the same order on all ranks
            whole = len(paths) >= share.total
        if whole:
            for path in share.of(paths):
                yield from _records(path)
        else:
            yield from share.of(record for path in paths for record in _records(path))

    def _image(self, record: Record) -> bytes:
        for key in self.input_keys:
            if key in record.parts:
                return record.parts[key]()
        raise ValueError(f"sample {record.key!r} has no image: it has {', '.join(record.parts)}")

    def _target(self, record: Record) -> Any:
        source = "json" if self.target_key else "cls"
        if source not in record.parts:
            raise ValueError(
                f"sample {record.key!r} has no .{source} file, which the target is read from: it "
                f"has {', '.join(record.parts)} (target_key names a field of a .json file)"
            )
        try:
            text = record.parts[source]().decode("utf-8").strip()
            return self.target(json.loads(text) if self.target_key else {"cls": _label(text)})
        except UnlistedClassError:
            raise
        except (KeyError, ValueError) as error:
            reason = error.args[0] if isinstance(error, KeyError) else error
            raise ValueError(f"sample {record.key!r}: {reason}") from error

    def filenames(self, basename: bool = False, absolute: bool = False) -> list[str]:
        """Return the names of the samples in the order of evaluation; all shards are read."""
        keys = [record.key for path in self.paths for record in _records(path)]
        return [os.path.basename(key) for key in keys] if basename else keys


def find_shards(root: str, split: str) -> Shards:
    """Return the shards of a split, see `WebDatasetReader`.

    Raises:
        ValueError: there is no such split.
        FileNotFoundError: there is no such shard.
    """
    info = _load_info(root)
    splits: Mapping[str, Any] = info.get("splits", {})
    pattern, _, number = split.partition("|")
    if ".tar" in pattern or ".." in pattern:
        names = tuple(expand_ranges(pattern))
        shards = Shards(names, int(number or 0) or _count_listed(names, splits))
    elif pattern in splits:
        found = splits[pattern]
        names = tuple(found["filenames"])
        shards = Shards(names, found["num_samples"], found.get("alt_label", ""))
    elif splits:
        raise ValueError(f"no split {split!r} in {root!r}: there are {', '.join(splits)}")
    else:
        names = tuple(_matching_shards(root, pattern))
        shards = Shards(names, int(number or 0))
    paths = tuple(n if _is_remote(n) else os.path.join(root, n) for n in shards.paths)
    for path in paths:
        if not _is_remote(path) and not os.path.exists(path):
            raise FileNotFoundError(f"there is no shard {path!r}")
    return shards._replace(paths=paths)


def expand_ranges(pattern: str) -> Iterator[str]:
    """Yield what a pattern with ranges and choices stands for; "::" stands between patterns.

    >>> list(expand_ranges("{train,val}-{08..10}.tar"))[2:4]
    ['train-10.tar', 'val-08.tar']
    """
    if "::" in pattern:
        for part in pattern.split("::"):
            yield from expand_ranges(part)
        return
    match = re.search(r"\{([^{}]*)\}", pattern)
    if match is None:
        yield pattern
        return
    bounds = re.fullmatch(r"(\d+)\.\.(\d+)", match[1])
    if bounds:
        width = len(bounds[1]) if bounds[1].startswith("0") else 0
        choices = [f"{i:0{width}}" for i in range(int(bounds[1]), int(bounds[2]) + 1)]
    else:
        choices = match[1].split(",")
    for choice in choices:
        yield from expand_ranges(pattern[: match.start()] + choice + pattern[match.end() :])


def _root(name: str, root: str | Path | None) -> str:
    parts = [os.fspath(part) for part in (root, name) if part]
    if not parts:
        raise ValueError("wds/ needs root: the folder of the shards")
    joined = os.path.join(*parts)
    # timm lets any name follow "wds/" and reads `root`; a name counts here if it is a folder.
    return joined if root is None or os.path.isdir(joined) else os.fspath(root)


def _load_info(root: str) -> Mapping[str, Any]:
    for name in INFO_FILES:
        path = os.path.join(root, name)
        if _is_remote(root):
            continue
        if os.path.exists(path):
            text = Path(path).read_text(encoding="utf-8")
            if name.endswith(".json"):
                return json.loads(text)
            import yaml  # type: ignore[import-untyped]

            return yaml.safe_load(text)
    return {}


def _count_listed(names: Iterable[str], splits: Mapping[str, Any]) -> int:
    """Return the number of samples in shards whose lengths the information file lists."""
    lengths: dict[str, int] = {}
    for found in splits.values():
        lengths |= dict(zip(found["filenames"], found.get("shard_lengths", ()), strict=False))
    counts = [lengths.get(name, 0) for name in names]
    return sum(counts) if all(counts) else 0


def _matching_shards(root: str, split: str) -> list[str]:
    if _is_remote(root):
        raise ValueError(
            f"{root} cannot be searched: name the shards, split='train-{{0000..0099}}.tar|100000'"
        )
    for pattern in (f"{split}*.tar", os.path.join(split, "*.tar")):
        if found := glob(pattern, root_dir=root):
            return sorted(found, key=natural_key)
    raise ValueError(
        f"no split {split!r} in {root!r}: there is no _info.json and no {split}*.tar; or name the "
        f"shards, split='{split}-{{0000..0099}}.tar'"
    )


def _is_remote(path: str) -> bool:
    return "://" in path or path.startswith("pipe:")


def _records(path: str) -> Iterator[Record]:
    """Yield the samples of a shard; one that breaks off ends with a sample without image."""
    try:
        yield from _remote_records(path) if _is_remote(path) else _local_records(path)
    except (tarfile.TarError, ValueError, OSError) as error:
        _logger.warning("the rest of shard %s cannot be read: %s", path, error)


def _local_records(path: str) -> Iterator[Record]:
    file = ArchiveFile(path)
    for key, members in groupby(list_members(path), key=lambda m: _key(m.name)[0]):
        parts = {_key(m.name)[1]: partial(file.read, m.start, m.size) for m in members}
        if not _is_left_out(key):
            yield Record(key, parts)


def _remote_records(path: str) -> Iterator[Record]:
    try:
        import webdataset
    except ImportError as error:
        raise ImportError(f"{path} needs webdataset: pip install webdataset") from error
    with (
        webdataset.gopen(path, mode="rb") as file,
        tarfile.open(fileobj=file, mode="r|*") as archive,
    ):
        files = ((_key(m.name), archive.extractfile(m)) for m in archive if m.isfile())
        for key, group in groupby(files, key=lambda found: found[0][0]):
            contents = {suffix: f.read() for (_, suffix), f in group if f}
            if not _is_left_out(key):
                yield Record(key, {s: partial(bytes, c) for s, c in contents.items()})


def _label(text: str) -> Any:
    """Return the label that a .cls file holds: a number, or a name that is no JSON."""
    try:
        label = json.loads(text)
    except json.JSONDecodeError:
        return text
    return int(label) if isinstance(label, float) and label.is_integer() else label


def _is_left_out(key: str) -> bool:
    """Return whether a sample is of hidden files, or of what macOS leaves in archives."""
    return key.endswith("/") or is_hidden(key)


def _key(name: str) -> tuple[str, str]:
    """Return the stem and the extensions of a file: ("a/0001", "seg.png")."""
    folder, _, base = name.rpartition("/")
    stem, _, suffix = base.partition(".")
    return (f"{folder}/{stem}" if folder or not stem else stem), suffix.lower()
