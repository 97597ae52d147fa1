"""Data sets of the Hugging Face hub, with access by index (`hfds/`) or streamed (`hfids/`).

Differences from timm: a folder that `save_to_disk` wrote is read, too; data sets without labels
are read with target_key=""; a field that is missing is named at once, with those there are.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hub_data.class_map import ClassMap
from hub_data.readers.indexed import IndexedReader, report_unlisted
from hub_data.readers.streamed import Share, StreamedReader
from hub_data.targets import TargetField, class_names, get_field, require_fields

SHUFFLE_SIZE = int(os.environ.get("HFIDS_SHUFFLE_SIZE", 4096))
_NAME_FIELDS = ("file_name", "filename", "id", "image_id")


class HuggingFaceReader(IndexedReader):
    """A data set with access by index.

    Args:
        name: "org/name" on the hub; or a folder: of files that `datasets.load_dataset` reads, or
            one that `save_to_disk` wrote.
        root: where downloads are kept; None for the place of the library.
        split: any that the library understands, such as "train[:10%]".
        class_map: see `load_class_map`.
        input_key: field of the image.
        target_key: field of the target, see `TargetField`; empty for none.
        target_format: see `TargetField`.
        additional_features: fields that follow image and target.

    Raises:
        ValueError: there is no such split or field.
    """

    def __init__(
        self,
        name: str,
        *,
        root: str | Path | None = None,
        split: str = "train",
        class_map: ClassMap | str | Path | None = None,
        input_key: str = "image",
        target_key: str = "label",
        target_format: str | None = None,
        additional_features: Sequence[str] | None = None,
        download: bool = False,
    ) -> None:
        import datasets

        self.dataset = _load(name, root, split)
        features = self.dataset.features
        self.additional_features = tuple(additional_features or ())
        keys = target_key.split(",") if target_key else []
        require_fields(features, input_key, *map(str.strip, keys), *self.additional_features)
        # Images stay files: they are decoded where damage is counted.
        self.dataset = self.dataset.cast_column(input_key, datasets.Image(decode=False))
        self.input_key = input_key
        self.target = TargetField(
            target_key,
            target_format=target_format,
            names=class_names(features, target_key),
            class_map=class_map,
        )
        self.class_to_idx = self.target.class_to_idx
        if class_map and self.target.keys:
            self._leave_out(name)
        self.unlisted = dict(self.target.unlisted)

    def _leave_out(self, name: str) -> None:
        """Keep the samples of classes of the class map."""
        kept = self.target.listed(self._without_images())
        if not kept:
            raise ValueError(
                f"no sample of {name} is of a class of the class map: it has "
                f"{[*self.class_to_idx][:5]}; the labels are {[*self.target.unlisted][:5]}"
            )
        report_unlisted(name, self.target.unlisted)
        if len(kept) < len(self.dataset):
            self.dataset = self.dataset.select(kept)

    def _without_images(self) -> Any:
        fields = [k if k in self.dataset.features else k.split("/")[0] for k in self.target.keys]
        return self.dataset.select_columns(list(dict.fromkeys(fields)))

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        """Return (file or path, target, *additional features)."""
        record = self.dataset[index]
        features = (record[name] for name in self.additional_features)
        return (_image_file(record[self.input_key]), self.target(record), *features)

    def path(self, index: int) -> str:
        """Return the file that an image came from, or its number."""
        return (self.dataset[index][self.input_key] or {}).get("path") or str(index)

    def iter_targets(self) -> Iterator[Any]:
        """Yield the targets, None where there is none; no image is read."""
        for record in self._without_images() if self.target.keys else [{}] * len(self):
            try:
                yield self.target(record)
            except ValueError:
                yield None


class HuggingFaceStream(StreamedReader):
    """A data set that is streamed from the hub.

    Args:
        name: "org/name" on the hub, or a folder of files.
        root: where downloads are kept.
        split: a split of the data set.
        is_training: shuffle, see `StreamedReader`.
        num_samples: samples in the split, where the data set does not state it.
        batch_size: see `StreamedReader`.
        repeats: see `StreamedReader`.
        seed: see `StreamedReader`.
        download: fetch the data set first, and stream it from here.
        class_map: see `load_class_map`.
        input_key: field of the image.
        target_key: field of the target, see `TargetField`; empty for none.
        target_format: see `TargetField`.
        shuffle_size: samples among which the next is drawn (HFIDS_SHUFFLE_SIZE).

    Raises:
        ValueError: there is no such split or field, or the number of samples is not known.
    """

    def __init__(
        self,
        name: str,
        *,
        root: str | Path | None = None,
        split: str = "train",
        is_training: bool = False,
        num_samples: int | None = None,
        batch_size: int = 1,
        repeats: int = 0,
        seed: int = 42,
        download: bool = False,
        class_map: ClassMap | str | Path | None = None,
        input_key: str = "image",
        target_key: str = "label",
        target_format: str | None = None,
        shuffle_size: int | None = None,
    ) -> None:
        import datasets

        builder = datasets.load_dataset_builder(name, cache_dir=root and os.fspath(root))
        if download:
            builder.download_and_prepare()
        splits: Mapping[str, Any] = builder.info.splits or {}
        if splits and split not in splits:
            raise ValueError(f"{name} has no split {split!r}: there are {', '.join(splits)}")
        known = num_samples or (splits[split].num_examples if splits else 0)
        if not known:
            raise ValueError(f"{name} does not state the number of samples: give num_samples")
        super().__init__(
            num_samples=known,
            is_training=is_training,
            batch_size=batch_size,
            repeats=repeats,
            seed=seed,
        )
        self.builder, self.split, self.download = builder, split, download
        self.input_key = input_key
        self.shuffle_size = shuffle_size or SHUFFLE_SIZE
        require_fields(builder.info.features, input_key, *filter(None, [target_key.split(",")[0]]))
        self.target = TargetField(
            target_key,
            target_format=target_format,
            names=class_names(builder.info.features, target_key),
            class_map=class_map,
        )
        self.class_to_idx = self.target.class_to_idx

    def read(self, share: Share, epoch: int) -> Iterator[tuple[Any, ...]]:
        """Yield (file or path, target)."""
        for record in self._open(share, epoch):
            yield from self.sample(self._sample, record)

    def _sample(self, record: Mapping[str, Any]) -> tuple[Any, ...]:
        return _image_file(get_field(record, self.input_key)), self.target(record)

    def _open(self, share: Share, epoch: int) -> Any:
        import datasets
        from datasets.distributed import split_dataset_by_node

        if self.download:
            whole = self.builder.as_dataset(split=self.split)  # cut so that all have a part
            stream = whole.to_iterable_dataset(num_shards=min(share.total, len(whole)))
        else:
            stream = self.builder.as_streaming_dataset(split=self.split)
        stream = stream.cast_column(self.input_key, datasets.Image(decode=False))
        if self.is_training:
            # The same order of files on all ranks: the seed must not depend on the share.
            stream = stream.shuffle(seed=self.seed + epoch, buffer_size=self.shuffle_size)
        # Among the workers of a rank the library itself divides, file by file.
        return split_dataset_by_node(stream, rank=self.rank, world_size=self.num_ranks)

    def filenames(self, basename: bool = False, absolute: bool = False) -> list[str]:
        """Return the names of all samples; the data set is read through.

        Raises:
            TypeError: it has no field for them.
        """
        names = []
        for record in self._open(Share(0, 1), 0):
            field = next((name for name in _NAME_FIELDS if name in record), None)
            path = (record[self.input_key] or {}).get("path")
            if field is None and not path:
                raise TypeError(f"no names: none of the fields {', '.join(_NAME_FIELDS)}")
            names.append(str(record[field]) if field else str(path))
        return [os.path.basename(name) for name in names] if basename else names


def _load(name: str, root: str | Path | None, split: str) -> Any:
    import datasets

    if os.path.exists(os.path.join(name, "dataset_dict.json")):
        saved = datasets.load_from_disk(name)
        if split not in saved:
            raise ValueError(f"{name} has no split {split!r}: there are {', '.join(saved)}")
        return saved[split]
    if os.path.exists(os.path.join(name, "state.json")):
        return datasets.load_from_disk(name)
    return datasets.load_dataset(name, split=split, cache_dir=root and os.fspath(root))


def _image_file(image: Any) -> Any:
    """Return the content of an image field that is not decoded: a file, or its path.

    Raises:
        ValueError: there is no image in it.
    """
    if not isinstance(image, Mapping):
        found = image
    else:
        found = io.BytesIO(image["bytes"]) if image.get("bytes") else image["path"]
    if not found:
        raise ValueError("no image: the field is null")
    return found
