"""The data sets of torchvision: `torch/cifar10`, `torch/imagenet` ..."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hub import did_you_mean

from hub_data.extensions import extension_of, is_hidden, is_img_extension
from hub_data.readers.folder import SPLITS, search_split
from hub_data.readers.indexed import IndexedReader

_TRAIN, _EVAL = SPLITS
_WITH_TRAIN_FLAG = {
    "cifar10": "CIFAR10",
    "cifar100": "CIFAR100",
    "fashion_mnist": "FashionMNIST",
    "kmnist": "KMNIST",
    "mnist": "MNIST",
    "qmnist": "QMNIST",
}
_OTHERS = {
    "folder": "image_folder",
    "image_folder": "image_folder",
    "imagenet": "imagenet",
    "inat": "inaturalist",
    "inaturalist": "inaturalist",
    "places365": "places365",
}


class TorchvisionReader(IndexedReader):
    """A data set of torchvision, by its name in small letters.

    Args:
        name: cifar10, cifar100, fashion_mnist, image_folder, imagenet, inaturalist, kmnist, mnist,
            places365 or qmnist.
        root: where it lies, or is downloaded to.
        split: train or training, val or its synonyms; where torchvision has more splits, their
            names too. For inaturalist "kind/split", with kind such as "class" or
            "kingdom_class" for other targets than the species.
        download: fetch it if it is not there.
        small: places365: images of 256x256.
        what: qmnist: a part of it, instead of the split.
        compat: qmnist: targets are digits, as in MNIST; False for all that is known of them.

    Raises:
        ValueError: there is no such data set or split.
        FileNotFoundError: it is not there, and `download` does not say to fetch it.
    """

    def __init__(
        self,
        name: str,
        *,
        root: str | Path | None,
        split: str,
        download: bool = False,
        small: bool | None = None,
        what: str | None = None,
        compat: bool | None = None,
    ) -> None:
        if root is None:
            raise ValueError(f"torch/{name} needs root: the folder of the data set")
        given = dict(small=small, what=what, compat=compat)
        options = {key: value for key, value in given.items() if value is not None}
        self.root = os.fspath(root)
        self.dataset = _open(name.lower(), self.root, split, download, options)
        self.class_to_idx = dict(getattr(self.dataset, "class_to_idx", {}) or {})

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        """Return (image, target)."""
        image, target = self.dataset[index]
        return image, target

    def path(self, index: int) -> str:
        """Return the file of an image; its number, where all are in one file."""
        for listing in ("samples", "imgs"):
            if rows := getattr(self.dataset, listing, None):
                return str(rows[index][0])
        return str(index)

    def root_of(self, index: int) -> str:
        """Return the folder of the data set, where images are files."""
        has_files = hasattr(self.dataset, "samples") or hasattr(self.dataset, "imgs")
        return self.root if has_files else ""

    def iter_targets(self) -> Iterator[Any]:
        """Yield the targets; no image is decoded where torchvision lists them."""
        targets = getattr(self.dataset, "targets", None)
        if targets is None or getattr(targets, "ndim", 1) > 1:  # QMNIST lists more than digits
            yield from super().iter_targets()
        else:
            yield from (int(target) for target in targets)


class _ImageFolder:
    """What torchvision's ImageFolder lists, without what is hidden, which it takes for classes."""

    def __init__(self, root: str) -> None:
        from torchvision.datasets.folder import find_classes, make_dataset  # type: ignore[import-untyped]

        names = [name for name in find_classes(root)[0] if not is_hidden(name)]
        self.class_to_idx = {name: index for index, name in enumerate(names)}

        def is_image(path: str) -> bool:
            hidden = is_hidden(os.path.relpath(path, root))
            return not hidden and is_img_extension(extension_of(path))

        self.samples = make_dataset(root, self.class_to_idx, is_valid_file=is_image)
        self.targets = [target for _, target in self.samples]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[str, int]:
        return self.samples[index]


def _open(name: str, root: str, split: str, download: bool, options: dict[str, Any]) -> Any:
    from torchvision import datasets  # type: ignore[import-untyped]

    known = (*_WITH_TRAIN_FLAG, *_OTHERS)
    if name not in known:
        near = did_you_mean(name, known)
        raise ValueError(f"torchvision has no {name!r} here{near} There are {', '.join(known)}")
    try:
        if name in _WITH_TRAIN_FLAG:
            flag = _flag(name, split)
            dataset = getattr(datasets, _WITH_TRAIN_FLAG[name])
            return dataset(root, train=flag, download=download, **options)
        match _OTHERS[name]:
            case "image_folder":
                return _ImageFolder(search_split(root, split), **options)
            case "imagenet":
                return datasets.ImageNet(
                    root, _named(split, "train", "val"), loader=_path, **options
                )
            case "places365":
                split = _named(split, "train-standard", "val")
                return datasets.Places365(root, split, download=download, loader=_path, **options)
            case _:
                kind, _, split = split.rpartition("/")
                kinds = kind.split("_") if kind else ["full"]
                return datasets.INaturalist(
                    root,
                    _named(split, "2021_train", "2021_valid"),
                    kinds[0] if len(kinds) == 1 else kinds,
                    download=download,
                    loader=_path,
                    **options,
                )
    except RuntimeError as error:
        text = str(error).lower()
        if "not found" in text or "corrupted" in text or "not exist" in text:
            raise FileNotFoundError(
                f"torch/{name} is not, or not complete, in {root!r}: download=True fetches it, "
                "where torchvision can"
            ) from error
        raise


def _path(path: Any) -> str:
    """Stand in for torchvision's loader: images are decoded where damage is counted."""
    return os.fspath(path)


def _flag(name: str, split: str) -> bool:
    if split not in (*_TRAIN, *_EVAL, "test", "testing"):
        raise ValueError(f"torch/{name} has no split {split!r}: choose from train, val, test")
    return split in _TRAIN


def _named(split: str, train: str, evaluation: str) -> str:
    return train if split in _TRAIN else evaluation if split in _EVAL else split
