"""`create_loader`: from a data set to batches on the device, by timm's arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.utils.data import IterableDataset, default_collate
from torch.utils.data.distributed import DistributedSampler

from hub_data.backends import get_backend
from hub_data.collate import fast_collate
from hub_data.config import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, as_channels
from hub_data.dataset import ImageDataset, IterableImageDataset
from hub_data.fast.normalize import Normalizer
from hub_data.loader import Loader, StreamLoader
from hub_data.prefetch import PrefetchLoader, per_channel
from hub_data.recipe import Recipe
from hub_data.samplers import (
    EpochSampler,
    OrderedDistributedSampler,
    RepeatAugSampler,
    seed_of_rank_0,
)
from hub_data.scheduled import ScheduledBatchSampler, ScheduledTransformDataset
from hub_data.transforms import create_transform, split_size
from hub_data.workers import NoWorkers, Processes, Streaming, Threads, Workers, seeding
from hub_data.wrapping import AugMixDataset, fitted, leaves

WORKER_KINDS = ("auto", "threads", "processes")


def create_loader(  # noqa: D417 (what create_transform describes is not described again)
    dataset: Any,
    input_size: int | Sequence[int],
    batch_size: int,
    is_training: bool = False,
    no_aug: bool = False,
    re_prob: float = 0.0,
    re_mode: str = "const",
    re_count: int = 1,
    re_split: bool = False,
    train_crop_mode: str | None = None,
    scale: tuple[float, float] | None = None,
    ratio: tuple[float, float] | None = None,
    hflip: float = 0.5,
    vflip: float = 0.0,
    color_jitter: float | tuple[float, ...] = 0.4,
    color_jitter_prob: float | None = None,
    grayscale_prob: float = 0.0,
    gaussian_blur_prob: float = 0.0,
    auto_augment: str | None = None,
    num_aug_repeats: int = 0,
    num_aug_splits: int = 0,
    interpolation: str = "bilinear",
    mean: float | Sequence[float] = IMAGENET_DEFAULT_MEAN,
    std: float | Sequence[float] = IMAGENET_DEFAULT_STD,
    num_workers: int = 1,
    distributed: bool = False,
    crop_pct: float | None = None,
    crop_mode: str | None = None,
    crop_border_pixels: int | None = None,
    collate_fn: Callable[..., Any] | None = None,
    pin_memory: bool = False,
    fp16: bool = False,
    img_dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
    use_prefetcher: bool = True,
    use_multi_epochs_loader: bool = False,
    persistent_workers: bool = True,
    worker_seeding: str | Callable[[Any], int] = "all",
    tf_preprocessing: bool = False,
    input_size_choices: Sequence[int | Sequence[int]] | None = None,
    batch_size_choices: Sequence[int] | None = None,
    batch_choice_weights: Sequence[float] | None = None,
    batch_choice_seed: int = 0,
    batch_choice_schedule: str = "constant",
    batch_schedule_epochs: int | None = None,
    batch_schedule_spread: float = 0.65,
    batch_schedule_random_mix: float = 0.1,
    num_batches: int | None = None,
    *,
    backend: str | None = None,
    workers_as: str = "auto",
    seed: int | None = None,
    num_classes: int | None = None,
    memory_format: torch.memory_format = torch.contiguous_format,
    input_range: Sequence[float] | None = None,
) -> PrefetchLoader | Loader | StreamLoader:
    """Return a loader of batches (images, targets), transformed.

    The arguments up to `num_batches` are timm's; those that are not described here are those
    of `create_transform`. A pass over the loader is an epoch. `state_dict` and `load_state_dict`
    save its place and take it up again, exactly.

    Args:
        dataset: of `create_dataset`; or any of (image, target) samples, images of PIL, arrays
            (H, W, C) or tensors (C, H, W), also in a `Subset` or `ConcatDataset`. It stays as it
            is: the loader works on a shallow copy, `loader.dataset`, whose `transform` it sets.
        input_size: side in pixels, (height, width) or (channels, height, width).
        batch_size: samples per batch.
        is_training: draw an order and augmentations, leave out a last, smaller batch.
        no_aug: no augmentation in training.
        re_prob: probability of random erasing, see `RandomErasing`.
        re_mode: what erased parts are filled with: const, rand, pixel.
        re_count: most parts erased in an image.
        re_split: leave the first of `num_aug_splits` (or 2) parts of a batch clean.
        num_aug_repeats: repeated augmentation, in distributed training.
        num_aug_splits: AugMix splits: `dataset` is an `AugMixDataset`.
        mean: of images in [0, 1], one number or one per channel; another number of values is
            averaged.
        std: of images in [0, 1], in the same form.
        num_workers: threads or processes that make batches; 0 for none.
        distributed: each rank gets its own part of the samples.
        collate_fn: makes a batch of samples, such as `FastCollateMixup`; None for a plain one.
        pin_memory: keep batches where a device reads faster; done in any case for threads.
        fp16: the same as `img_dtype=torch.float16`.
        img_dtype: of the images.
        device: where batches go; None for "cuda" if there is one, else "cpu".
        use_prefetcher: normalise and erase on `device`, ahead; False leaves both to the transform
            and the batches on the CPU.
        use_multi_epochs_loader: begin the next epoch while the last batches of one are used.
        persistent_workers: keep the workers between epochs.
        worker_seeding: what worker processes seed besides: "all" global generators, "part" (not
            numpy's), or a function from torch's worker info to a seed, then once per worker.
        input_size_choices: sizes of which each batch has one, see `ScheduledBatchSampler`.
        batch_size_choices: samples per batch for each of them; `batch_size` if None.
        batch_choice_weights: how often each is chosen.
        batch_choice_seed: of the choices.
        batch_choice_schedule: "constant", or "progressive" from the first size to the last.
        batch_schedule_epochs: epochs from the first to the last.
        batch_schedule_spread: see `ScheduledBatchSampler`, as the next.
        batch_schedule_random_mix: share of batches whose size is any of them.
        num_batches: batches in an epoch, with `input_size_choices`.
        backend: "exact" or "fast"; None for exact in evaluation and fast in training.
        workers_as: "threads", "processes", or "auto": threads where data set, transform and
            collation are known to be safe in them.
        seed: of order and augmentations; None draws one from torch's generator. In distributed
            training that of rank 0 holds for all.
        num_classes: labels have to be whole and below; None for no check.
        memory_format: of batches from the prefetcher: `torch.channels_last` for networks in it.
        input_range: see `create_transform`; images of `create_dataset` have their own.

    Raises:
        ValueError: an argument is out of range, or does not go with another.
    """
    arguments = dict(locals())
    is_stream = isinstance(dataset, IterableDataset)
    _check(arguments, is_stream)
    chosen = get_backend(backend, is_training=is_training)
    channels = _channels(input_size, mean)
    for name in ("mean", "std"):
        arguments[name] = per_channel(name, arguments[name], channels)
    transform = {name: arguments[name] for name in _OF_THE_TRANSFORM}
    transform["re_num_splits"] = (num_aug_splits or 2) if re_split else 0
    if input_size_choices is None:
        made: Any = create_transform(**transform, separate=num_aug_splits > 0)
        dataset = fitted(dataset, made, chosen.decode)
    else:
        sizes = [_with_channels(size, channels) for size in input_size_choices]
        made = [create_transform(**(transform | dict(input_size=s))) for s in sizes]
        dataset = ScheduledTransformDataset(fitted(dataset, None, chosen.decode), made)
    arguments["dataset"] = dataset
    if is_stream and hasattr(dataset, "set_loader_cfg"):
        dataset.set_loader_cfg(num_workers=num_workers)
    if seed is None:
        seed = int(torch.empty((), dtype=torch.int64).random_())
    if distributed and is_training:
        seed = seed_of_rank_0(seed)
    target = _Target(
        device=torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu")),
        dtype=torch.float16 if fp16 else img_dtype,
        mean=arguments["mean"],
        std=arguments["std"],
        channels=channels,
        fused=chosen.fused,
        memory_format=memory_format,
    )
    make = _stream_loader if is_stream else _map_loader
    loader = make(arguments, target, seed)
    if not use_prefetcher:
        return loader
    return target.prefetch(
        loader,
        re_prob=re_prob if is_training and not no_aug else 0.0,
        re_mode=re_mode,
        re_count=re_count,
        re_num_splits=transform["re_num_splits"],
    )


_OF_THE_TRANSFORM = (
    "input_size is_training no_aug train_crop_mode scale ratio hflip vflip color_jitter "
    "color_jitter_prob grayscale_prob gaussian_blur_prob auto_augment interpolation mean std "
    "re_prob re_mode re_count crop_pct crop_mode crop_border_pixels tf_preprocessing "
    "use_prefetcher input_range"
).split()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Target:
    """What batches are to be in the end."""

    device: torch.device
    dtype: torch.dtype
    mean: Sequence[float]
    std: Sequence[float]
    channels: int | None
    fused: bool
    memory_format: torch.memory_format

    def row_normalizer(self) -> Normalizer | None:
        """Return what normalises each image where it is made: on the CPU only."""
        if self.device.type != "cpu" or self.memory_format != torch.contiguous_format:
            return None
        return Normalizer(self.mean, self.std, dtype=self.dtype, fused=self.fused)

    def prefetch(self, loader: Loader | StreamLoader, **erasing: Any) -> PrefetchLoader:
        return PrefetchLoader(
            loader,
            self.mean,
            self.std,
            self.channels,
            self.device,
            self.dtype,
            fused=self.fused,
            memory_format=self.memory_format,
            **erasing,
        )


def _map_loader(arguments: Mapping[str, Any], target: _Target, seed: int) -> Loader:
    dataset, is_training = arguments["dataset"], arguments["is_training"]
    eight_bit, collate_fn = arguments["use_prefetcher"], arguments["collate_fn"]
    own = _draws_by_itself(dataset, collate_fn)
    recipe = Recipe(
        dataset=dataset,
        collate_fn=collate_fn,
        eight_bit=eight_bit,
        normalizer=target.row_normalizer() if eight_bit else None,
        num_classes=arguments["num_classes"],
        own_draws=own or callable(arguments["worker_seeding"]) or not arguments["num_workers"],
        seed_numpy=arguments["worker_seeding"] != "part",
    )
    sampler = _sampler(arguments, seed)
    if is_training and len(sampler) < arguments["batch_size"]:
        raise ValueError(
            f"{len(sampler)} samples make no batch of batch_size={arguments['batch_size']}, and "
            "training leaves out smaller ones: lower batch_size"
        )
    return Loader(
        dataset,
        sampler=sampler,
        batch_size=arguments["batch_size"],
        drop_last=is_training,
        batch_sampler=_batch_sampler(sampler, arguments),
        workers=_workers(recipe, arguments, target.device, own and is_thread_safe(dataset)),
        seed=seed,
        collate_fn=collate_fn,
        endless=arguments["use_multi_epochs_loader"],
        distributed=arguments["distributed"],
    )


def _stream_loader(arguments: Mapping[str, Any], _: _Target, seed: int) -> StreamLoader:
    plain = fast_collate if arguments["use_prefetcher"] else default_collate
    num_workers = arguments["num_workers"]
    streaming = Streaming(
        arguments["dataset"],
        batch_size=arguments["batch_size"],
        drop_last=arguments["is_training"],
        collate_fn=arguments["collate_fn"] or plain,
        options=dict(
            num_workers=num_workers,
            pin_memory=arguments["pin_memory"],
            persistent_workers=arguments["persistent_workers"] and num_workers > 0,
            worker_init_fn=seeding(arguments["worker_seeding"]),
        ),
    )
    return StreamLoader(
        arguments["dataset"],
        streaming,
        batch_size=arguments["batch_size"],
        seed=seed,
        collate_fn=arguments["collate_fn"],
        distributed=arguments["distributed"],
    )


def _workers(
    recipe: Recipe, arguments: Mapping[str, Any], device: torch.device, safe_in_threads: bool
) -> Workers:
    num_workers, kind = arguments["num_workers"], arguments["workers_as"]
    seeding(arguments["worker_seeding"])
    on_device = device.type == "cuda" and arguments["use_prefetcher"]
    if num_workers == 0:
        return NoWorkers(replace(recipe, memory="pinned") if on_device else recipe)
    persistent = arguments["persistent_workers"]
    if kind == "threads" or (kind == "auto" and safe_in_threads):
        recipe = replace(recipe, memory="pinned") if on_device else recipe
        return Threads(recipe, num_workers, persistent=persistent)
    return Processes(
        recipe,
        num_workers,
        pin_memory=arguments["pin_memory"],
        persistent=persistent,
        worker_seeding=arguments["worker_seeding"],
    )


def _sampler(arguments: Mapping[str, Any], seed: int) -> Any:
    dataset, is_training = arguments["dataset"], arguments["is_training"]
    if not arguments["distributed"]:
        return EpochSampler(dataset, shuffle=is_training, seed=seed % 2**31)
    if not is_training:
        return OrderedDistributedSampler(dataset)
    if repeats := arguments["num_aug_repeats"]:
        return RepeatAugSampler(dataset, num_repeats=repeats, seed=seed % 2**31)
    return DistributedSampler(dataset, seed=seed % 2**31)


def _batch_sampler(sampler: Any, arguments: Mapping[str, Any]) -> ScheduledBatchSampler | None:
    choices = arguments["input_size_choices"]
    if choices is None:
        return None
    return ScheduledBatchSampler(
        sampler,
        arguments["batch_size_choices"] or [arguments["batch_size"]] * len(choices),
        arguments["batch_choice_weights"],
        arguments["batch_choice_seed"],
        num_batches=arguments["num_batches"],
        choice_schedule=arguments["batch_choice_schedule"],
        schedule_epochs=arguments["batch_schedule_epochs"],
        schedule_spread=arguments["batch_schedule_spread"],
        schedule_random_mix=arguments["batch_schedule_random_mix"],
    )


def _check(arguments: Mapping[str, Any], is_stream: bool) -> None:
    for name, least in dict(batch_size=1, num_workers=0).items():
        if arguments[name] < least:
            raise ValueError(f"{name}={arguments[name]!r}: give {least} or more")
    if arguments["workers_as"] not in WORKER_KINDS:
        raise ValueError(
            f"workers_as={arguments['workers_as']!r}: choose from {', '.join(WORKER_KINDS)}"
        )
    if arguments["num_aug_repeats"] and (is_stream or not arguments["distributed"]):
        raise ValueError(
            "num_aug_repeats shows a sample to several ranks at once: it needs distributed=True "
            "and a data set with access by index"
        )
    if arguments["input_range"] is not None and any(
        isinstance(leaf, ImageDataset | IterableImageDataset)
        for leaf in leaves(arguments["dataset"])
    ):
        raise ValueError(
            "input_range: the images of this data set are scaled when they are read; give it "
            "there, create_dataset(..., input_range=...)"
        )
    _check_choices(arguments, is_stream)
    splits = arguments["num_aug_splits"]
    if (splits > 0) != isinstance(arguments["dataset"], AugMixDataset):
        raise ValueError(
            f"num_aug_splits={splits} with a {type(arguments['dataset']).__name__}: AugMix splits "
            "need both, AugMixDataset(dataset, num_splits=N) and num_aug_splits=N"
        )


def _check_choices(arguments: Mapping[str, Any], is_stream: bool) -> None:
    sizes, batch_sizes = arguments["input_size_choices"], arguments["batch_size_choices"]
    if sizes is None:
        return
    if batch_sizes is not None and len(batch_sizes) != len(sizes):
        raise ValueError(f"{len(sizes)} input_size_choices and {len(batch_sizes)} batch sizes")
    for name, against in dict(
        is_training=not arguments["is_training"],
        num_aug_splits=arguments["num_aug_splits"],
        use_multi_epochs_loader=arguments["use_multi_epochs_loader"],
    ).items():
        if against:
            raise ValueError(f"input_size_choices does not go with {name}={arguments[name]}")
    if is_stream or not sizes:
        raise ValueError("input_size_choices needs a size, and a data set with access by index")


def _channels(input_size: Any, mean: Any) -> int | None:
    """Return the channels of the images; None where neither argument says it."""
    _, channels = split_size(input_size)
    count = len(as_channels("mean", mean))
    return channels or (count if count > 1 else None)


def _with_channels(size: int | Sequence[int], channels: int | None) -> tuple[int, ...]:
    """Return (channels, height, width) of a size, where the channels are known."""
    sides, own = split_size(size)
    return sides if own is None and channels is None else (own or channels or 0, *sides)


def is_thread_safe(dataset: Any) -> bool:
    """Return whether several threads may read the data set at once, as far as known."""
    return all(
        type(leaf) is ImageDataset and getattr(leaf.reader, "thread_safe", False)
        for leaf in leaves(dataset)
    )


def _draws_by_itself(dataset: Any, collate_fn: Any) -> bool:
    """Return whether all that is drawn for samples comes from `hub_data.draws`."""
    if any(type(leaf) is not ImageDataset for leaf in leaves(dataset)):
        return False
    return collate_fn is None or type(collate_fn).__module__.startswith("hub_data.")
