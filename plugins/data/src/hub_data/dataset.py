"""Data sets of images: by name, over readers, for the loaders of torch.

Differences from timm: what damaged files do is a choice (`on_error`) and is counted; decoding is
strict about unusual images (see `hub_data.decode`); a keyword that nobody reads is an error;
torchvision's data sets come as `ImageDataset` too, and so obey `input_img_mode`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset, IterableDataset

from hub_data.class_map import ClassMap
from hub_data.decode import Source, decode_image
from hub_data.faults import (
    NOT_DAMAGE,
    DamagedSampleError,
    FaultReport,
    Faults,
    OnError,
    SkippedSampleError,
    num_ranks,
)
from hub_data.hookspecs import Reader, Stream
from hub_data.pixel_range import as_range
from hub_data.readers import create_reader, find_reader, keep_known, load_reader
from hub_data.readers.folder import search_split as find_split

Transform = Callable[[Any], Any]
Decode = Callable[..., Any]
_WITH_SPLIT_FOLDERS = ("folder", "tar")


def create_dataset(
    name: str,
    root: str | Path | None = None,
    split: str = "validation",
    search_split: bool = True,
    class_map: ClassMap | str | Path | None = None,
    load_bytes: bool = False,
    is_training: bool = False,
    download: bool = False,
    batch_size: int = 1,
    num_samples: int | None = None,
    seed: int = 42,
    repeats: int = 0,
    input_img_mode: str = "RGB",
    trust_remote_code: bool = False,
    *,
    on_error: OnError = "substitute",
    upright: bool = False,
    input_range: Sequence[float] | None = None,
    **kwargs: Any,
) -> ImageDataset | IterableImageDataset:
    """Return the data set that `name` stands for.

    Args:
        name: "scheme/name" or "scheme:name", see `hub_data.readers.list_readers`; empty for the
            folder or tar archive `root`.
        root: folder or file of the data set, or where downloads are kept.
        split: part of the data set.
        search_split: look for the split in folders below `root` (train, val, ...).
        class_map: class name to index, see `load_class_map`; samples of other classes are left out.
        load_bytes: return files as they are, undecoded.
        is_training: shuffle, and fill the last batch up; streams only.
        download: fetch what is missing, where the reader can.
        batch_size: samples per batch, for streams to fill the last one up.
        num_samples: samples in an epoch, for streams that do not know.
        seed: of the order of streams; the same on all ranks.
        repeats: passes over a stream per epoch.
        input_img_mode: PIL's name for the channels of the images: "RGB", "L"; "" for the file's.
        trust_remote_code: run the loading script of a Hugging Face data set; refused.
        on_error: what a sample does that cannot be read, or has no label: "substitute" (its
            successor takes its place), "skip" (it is left out of its batch) or "raise".
        upright: turn images as the camera's EXIF entry says; off, as published accuracies were
            measured without.
        input_range: the numbers that are black and white, such as (0, 4095), where the type of
            the pixels does not say it; see `hub_data.decode_image`.
        kwargs: keywords of the data set (transform, target_transform) and of the reader
            (input_key, target_key, ...).

    Raises:
        ValueError: there is no such reader or split, or `root` is needed.
        TypeError: a keyword is not known.
        FileNotFoundError: there is no such file or folder.
        HubError: a library that the reader needs is not installed.
    """
    if trust_remote_code:
        raise ValueError("trust_remote_code: code of data sets is never run; use its parquet files")
    info, _ = find_reader(name, root)
    if info.scheme in _WITH_SPLIT_FOLDERS:
        if root is None:
            raise ValueError(f"create_dataset({name!r}) needs root: the folder of the images")
        if search_split and Path(root).is_dir():
            root = find_split(root, split)
            info, _ = find_reader(name, root)
    common: dict[str, Any] = {key: value for key, value in kwargs.items() if value is not None}
    common |= dict(
        on_error=on_error, upright=upright, input_range=input_range, input_img_mode=input_img_mode
    )
    if class_map not in (None, ""):
        common["class_map"] = class_map
    reader_class = load_reader(info)
    options: dict[str, Any] = dict(download=download)
    if not info.streams:
        return ImageDataset(
            root, name, split, load_bytes=load_bytes, **common, **keep_known(reader_class, options)
        )
    options |= dict(
        is_training=is_training,
        batch_size=batch_size,
        num_samples=num_samples,
        seed=seed,
        repeats=repeats,
    )
    return IterableImageDataset(root, name, split, **common, **keep_known(reader_class, options))


class ImageDataset(Dataset[Any]):
    """Samples of a reader with random access: (transformed image, target).

    Args:
        root: see `create_reader`.
        reader: a reader, or a name for `create_reader`.
        split: see `create_reader`.
        class_map: see `create_dataset`.
        load_bytes: return files as they are, undecoded.
        input_img_mode: PIL's name for the channels; "" for those of the file.
        transform: applied to the image. May be set later; `create_loader` does.
        target_transform: applied to the target, unless there is none (then it is -1).
        additional_features: names of fields that follow image and target.
        on_error: see `create_dataset`; the account is `faults`.
        upright: see `create_dataset`.
        input_range: see `create_dataset`.
        kwargs: keywords of the reader.
    """

    def __init__(
        self,
        root: str | Path | None,
        reader: Reader | str | None = None,
        split: str = "train",
        class_map: ClassMap | str | Path | None = None,
        load_bytes: bool = False,
        input_img_mode: str = "RGB",
        transform: Transform | None = None,
        target_transform: Transform | None = None,
        additional_features: Sequence[str] | str | None = None,
        *,
        on_error: OnError = "substitute",
        upright: bool = False,
        input_range: Sequence[float] | None = None,
        **kwargs: Any,
    ) -> None:
        if isinstance(additional_features, str):
            additional_features = (additional_features,)
        if reader is None or isinstance(reader, str):
            kwargs |= dict(class_map=class_map, additional_features=additional_features)
            reader = _indexed(create_reader(reader or "", root, split, **kwargs))
        self.reader: Any = reader  # readers have more than the protocol: class_to_idx, ...
        self.load_bytes = load_bytes
        self.input_img_mode = input_img_mode
        self.transform = transform
        self.target_transform = target_transform
        self.additional_features = additional_features
        self.upright = upright
        self.input_range = as_range(input_range)
        self.decode: Decode = decode_image  # `create_loader` sets that of its backend
        self.faults = Faults(on_error)

    def __len__(self) -> int:
        return len(self.reader)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        """Return (image, target), transformed.

        Raises:
            IndexError: there is no such sample.
            DamagedSampleError: it cannot be read, and the policy provides no other; for "skip" it
                is a `SkippedSampleError`, on which loaders leave the sample out.
        """
        sample = self._finished(self.load(index))
        if sample is None:
            raise SkippedSampleError(
                f"sample {index} ({self.filename(index)}) cannot be read and is to be skipped: "
                "only a batch can leave a sample out"
            )
        return sample

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Any, ...]]:
        """Return the samples of a batch, but for those that are skipped.

        Raises:
            DamagedSampleError: none is left.
        """
        return require_samples([self._finished(self.load(index)) for index in indices], indices)

    def load(self, index: int) -> tuple[Any, ...] | None:
        """Return (decoded image, target) before any transform; None for one that is skipped."""
        length = len(self)
        if not -length <= index < length:
            raise IndexError(f"no sample {index}: there are {length}")
        return self.faults.load(index % length, self._read, length, self.filename)

    def _read(self, index: int) -> tuple[Any, ...]:
        source, *rest = self.reader[index]
        if self.load_bytes:
            return (read_bytes(source), *rest)
        image = self.decode(
            source, self.input_img_mode, upright=self.upright, input_range=self.input_range
        )
        return (image, *rest)

    def _finished(self, sample: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
        if sample is None:
            return None
        image, target, *features = sample
        if self.transform is not None:
            image = self.transform(image)
        return (image, finish_target(target, self.target_transform), *features)

    def filename(self, index: int, basename: bool = False, absolute: bool = False) -> str:
        """Return the name of a sample: its path below the root, its last part, or in full."""
        return self.reader.filename(index, basename, absolute)

    def filenames(self, basename: bool = False, absolute: bool = False) -> list[str]:
        """Return the names of all samples, in their order."""
        return [self.filename(i, basename, absolute) for i in range(len(self))]

    def report_faults(self, *, gather: bool = True) -> FaultReport:
        """Return what could not be read since the last call; see `Faults.end_epoch`."""
        return self.faults.end_epoch(len(self), self.filename, gather=gather)


class IterableImageDataset(IterableDataset[Any]):
    """Samples of a reader that streams: (transformed image, target).

    Args:
        root: see `create_reader`.
        reader: a stream, or a name for `create_reader`.
        split: see `create_reader`.
        class_map: see `create_dataset`.
        is_training: shuffle, and fill the last batch of each worker up.
        batch_size: samples per batch.
        num_samples: samples in an epoch, where the reader does not know.
        seed: of the order; the same on all ranks.
        repeats: passes per epoch.
        download: fetch the data set first.
        input_img_mode: PIL's name for the channels; "" for those of the file.
        input_key: name of the image in a sample.
        target_key: name of the target in a sample.
        transform: applied to the image. May be set later; `create_loader` does.
        target_transform: applied to the target, unless there is none (then it is -1).
        max_steps: not used; timm has it.
        on_error: see `create_dataset`. In a stream "substitute" repeats the sample before, or
            the first that can be read. "skip" would bring ranks out of step in training.
        upright: see `create_dataset`.
        input_range: see `create_dataset`.
        kwargs: keywords of the reader.
    """

    def __init__(
        self,
        root: str | Path | None,
        reader: Stream | str,
        split: str = "train",
        class_map: ClassMap | str | Path | None = None,
        is_training: bool = False,
        batch_size: int = 1,
        num_samples: int | None = None,
        seed: int = 42,
        repeats: int = 0,
        download: bool = False,
        input_img_mode: str = "RGB",
        input_key: str | None = None,
        target_key: str | None = None,
        transform: Transform | None = None,
        target_transform: Transform | None = None,
        max_steps: int | None = None,
        *,
        on_error: OnError = "substitute",
        upright: bool = False,
        input_range: Sequence[float] | None = None,
        **kwargs: Any,
    ) -> None:
        if isinstance(reader, str):
            info, _ = find_reader(reader, root)
            options: dict[str, Any] = dict(
                is_training=is_training,
                batch_size=batch_size,
                num_samples=num_samples,
                seed=seed,
                repeats=repeats,
                download=download,
            )
            options = keep_known(load_reader(info), options)
            options |= dict(class_map=class_map, input_key=input_key, target_key=target_key)
            reader = _stream(create_reader(reader, root, split, **options, **kwargs))
        self.reader: Any = reader  # readers have more than the protocol: class_to_idx, ...
        self.input_img_mode = input_img_mode
        self.transform = transform
        self.target_transform = target_transform
        self.upright = upright
        self.input_range = as_range(input_range)
        self.decode: Decode = decode_image
        if is_training and on_error == "skip" and num_ranks() > 1:
            raise ValueError(
                "on_error='skip' with a stream in training would bring ranks out of step: use "
                "'substitute' or 'raise'"
            )
        self.faults = Faults(on_error)

    def __len__(self) -> int:
        return len(self.reader)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        """Yield what this process and worker is to see of one epoch."""
        good: tuple[Any, ...] | None = None
        owed = 0  # to be made up for by samples that can be read
        for position, (source, *rest) in enumerate(self.reader):
            try:
                if isinstance(source, Exception):
                    raise source
                image = self.decode(
                    source,
                    self.input_img_mode,
                    upright=self.upright,
                    input_range=self.input_range,
                )
            except NOT_DAMAGE:
                raise
            except Exception as error:  # as in Faults.load
                self.faults.note(position, error, "sample {} of the stream".format)
                owed += self.faults.on_error == "substitute"
            else:
                self.faults.passed()
                good = (image, *rest)
                yield self._finished(good)
            if good is not None:
                for _ in range(owed):
                    yield self._finished(good)
                owed = 0

    def _finished(self, sample: tuple[Any, ...]) -> tuple[Any, ...]:
        image, target, *features = sample
        if self.transform is not None:
            image = self.transform(image)
        return (image, finish_target(target, self.target_transform), *features)

    def set_epoch(self, count: int) -> None:
        """Say which epoch comes next; the order of samples depends on it."""
        self.reader.set_epoch(count)

    def set_loader_cfg(self, num_workers: int | None = None) -> None:
        """Say how many workers the loader will have, before they start."""
        self.reader.set_loader_cfg(num_workers=num_workers)

    def filename(self, index: int, basename: bool = False, absolute: bool = False) -> str:
        """Raise: the samples of a stream have no index."""
        raise TypeError("a stream has no access by index: use filenames()")

    def filenames(self, basename: bool = False, absolute: bool = False) -> list[str]:
        """Return the names of all samples, where the reader has them.

        Raises:
            TypeError: it has not.
        """
        if not hasattr(self.reader, "filenames"):
            raise TypeError(f"{type(self.reader).__name__} has no names of samples")
        return list(self.reader.filenames(basename, absolute))

    def report_faults(self, *, gather: bool = True) -> FaultReport:
        """Return what could not be read since the last call; see `Faults.end_epoch`."""
        return self.faults.end_epoch(len(self), None, gather=gather)


def require_samples(
    samples: Sequence[tuple[Any, ...] | None], indices: Sequence[int]
) -> list[tuple[Any, ...]]:
    """Return the samples of a batch without those that are skipped (None).

    Raises:
        DamagedSampleError: none is left; an empty batch would bring ranks out of step.
    """
    kept = [sample for sample in samples if sample is not None]
    if indices and not kept:
        raise DamagedSampleError(
            f"none of the {len(indices)} samples of a batch can be read; `hub data check` finds "
            "the damaged files"
        )
    return kept


def read_bytes(source: Source) -> bytes:
    """Return the content of a file that a reader names or has opened.

    Raises:
        TypeError: the reader gives images, not files.
    """
    if isinstance(source, bytes):
        return source
    if isinstance(source, str | Path):
        with open(source, "rb", buffering=0) as file:
            return file.readall()
    if hasattr(source, "read"):
        return source.read()
    raise TypeError(f"load_bytes: this reader gives {type(source).__name__}, not files")


def finish_target(target: Any, transform: Transform | None) -> Any:
    """Return the target of a sample: transformed, or -1 where there is none."""
    if target is None:
        return -1
    return target if transform is None else transform(target)


def _indexed(reader: Reader | Stream) -> Reader:
    if not hasattr(reader, "__getitem__"):
        raise TypeError(f"{type(reader).__name__} is a stream: use IterableImageDataset")
    return reader  # type: ignore[return-value]


def _stream(reader: Reader | Stream) -> Stream:
    if not hasattr(reader, "set_epoch"):
        raise TypeError(f"{type(reader).__name__} has access by index: use ImageDataset")
    return reader  # type: ignore[return-value]
