"""TensorFlow Datasets (`tfds/name`), for most of them without TensorFlow.

Data sets that are kept as array_record (`builder.info.file_format`) have access by index: they are
read without TensorFlow, shuffled over their whole length, and shared evenly. Those kept as tfrecord
are streamed by tf.data, and need tensorflow. Images leave either undecoded, and are decoded where
those of all other readers are. A process that has read array_record itself cannot fork workers that
do, because the threads of that library do not survive it: let the workers be the first to read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hub_data.class_map import ClassMap
from hub_data.readers.streamed import Share, StreamedReader, shuffled
from hub_data.targets import TargetField, class_names, get_field, require_fields

SHUFFLE_SIZE = int(os.environ.get("TFDS_SHUFFLE_SIZE", 8192))
_NAME_FIELDS = ("file_name", "filename", "image/filename", "id")


class TfdsReader(StreamedReader):
    """A data set of TensorFlow Datasets.

    Args:
        name: as `tfds.builder` takes it: "imagenet2012", "cifar10:3.0.2", ...
        root: folder of all data sets; None for that of the library.
        split: any that the library understands, such as "train[:10%]".
        is_training: shuffle, see `StreamedReader`.
        num_samples: not needed; if given, an epoch has so many.
        batch_size: see `StreamedReader`.
        repeats: see `StreamedReader`.
        seed: see `StreamedReader`.
        download: fetch and prepare it first; as array_record if it is not there yet.
        class_map: see `load_class_map`.
        input_key: field of the image, or a path to it.
        target_key: field of the target, see `TargetField`; empty for none.
        target_format: see `TargetField`.
        shuffle_size: samples among which the next is drawn, where tf.data reads.

    Raises:
        ValueError: there is no such split or field.
        ImportError: it is kept as tfrecord, and tensorflow is not installed.
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
        import tensorflow_datasets

        folder = root and os.fspath(root)
        builder = tensorflow_datasets.builder(name, data_dir=folder)
        if download:
            if not builder.info.splits:  # nothing is prepared yet: the format is free
                builder = tensorflow_datasets.builder(
                    name, data_dir=folder, file_format="array_record"
                )
            builder.download_and_prepare()
        if not builder.info.splits:
            raise FileNotFoundError(
                f"tfds/{name} is not prepared in {builder.data_dir}: download=True prepares it"
            )
        base = split.partition("[")[0]
        if "+" not in split and base not in builder.info.splits:
            there = ", ".join(builder.info.splits)
            raise ValueError(f"tfds/{name} has no split {split!r}: there are {there}")
        self.has_index = builder.info.file_format.value == "array_record"
        if not self.has_index:
            _require_tensorflow(name)
        super().__init__(
            num_samples=num_samples or builder.info.splits[split].num_examples,
            is_training=is_training,
            batch_size=batch_size,
            repeats=repeats,
            seed=seed,
        )
        self.builder, self.split, self.input_key = builder, split, input_key
        self.shuffle_size = shuffle_size or SHUFFLE_SIZE
        features = dict(builder.info.features.items())
        keys = [key.strip() for key in target_key.split(",")] if target_key else []
        require_fields(features, input_key, *keys)
        self.target = TargetField(
            target_key,
            target_format=target_format,
            names=class_names(features, target_key),
            class_map=class_map,
        )
        self.class_to_idx = self.target.class_to_idx

    def read(self, share: Share, epoch: int) -> Iterator[tuple[Any, ...]]:
        """Yield (content of the image file, target)."""
        records = self._by_index if self.has_index else self._by_tensorflow
        for record in records(share, epoch):
            yield from self.sample(self._sample, record)

    def _sample(self, record: Mapping[str, Any]) -> tuple[Any, ...]:
        return bytes(get_field(record, self.input_key)), self.target(record)

    def _by_index(self, share: Share, epoch: int) -> Iterator[Mapping[str, Any]]:
        source = self.builder.as_data_source(split=self.split, decoders=self._decoders())
        order = list(range(len(source)))
        if self.is_training:
            self.random(Share(0, 1), epoch).shuffle(order)  # the same order in all shares
        for index in share.of(order):
            yield source[index]

    def _by_tensorflow(self, share: Share, epoch: int) -> Iterator[Mapping[str, Any]]:
        import tensorflow_datasets

        parts = tensorflow_datasets.even_splits(self.split, share.total)
        stream = self.builder.as_dataset(
            split=parts[share.index],
            shuffle_files=self.is_training,
            decoders=self._decoders(),
            read_config=tensorflow_datasets.ReadConfig(shuffle_seed=self.seed + epoch),
        )
        records = tensorflow_datasets.as_numpy(stream)
        if self.is_training:
            records = shuffled(records, self.shuffle_size, self.random(share, epoch))
        yield from records

    def _decoders(self) -> Any:
        """Return what keeps the image a file, at the end of the path to it."""
        import tensorflow_datasets

        decoders: Any = tensorflow_datasets.decode.SkipDecoding()
        is_nested = self.input_key not in self.builder.info.features
        for part in reversed(self.input_key.split("/") if is_nested else [self.input_key]):
            decoders = {part: decoders}
        return decoders

    def filenames(self, basename: bool = False, absolute: bool = False) -> list[str]:
        """Return the names of all samples; the data set is read through.

        Raises:
            TypeError: it has no field for them.
        """
        field = next((name for name in _NAME_FIELDS if name in self.builder.info.features), None)
        if field is None:
            raise TypeError(f"no names: none of the fields {', '.join(_NAME_FIELDS)}")
        everything = self._by_index if self.has_index else self._by_tensorflow
        names = [record[field] for record in everything(Share(0, 1), 0)]
        texts = [name.decode() if isinstance(name, bytes) else str(name) for name in names]
        return [os.path.basename(text) for text in texts] if basename else texts


def _require_tensorflow(name: str) -> None:
    """Raise if tensorflow is missing; keep it from taking the memory of the accelerators."""
    try:
        import tensorflow
    except ImportError as error:
        raise ImportError(
            f"tfds/{name} is kept as tfrecord, which needs tensorflow: pip install tensorflow, or "
            "prepare it anew with file_format='array_record'"
        ) from error
    tensorflow.config.set_visible_devices([], "GPU")
