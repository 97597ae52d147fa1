"""Batches to the device, normalised and erased there, while the network works on those before."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch

from hub_data.config import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, as_channels
from hub_data.draws import mix, seeded
from hub_data.erasing import RandomErasing
from hub_data.fast.normalize import Normalizer
from hub_data.loader import Passes

_logger = logging.getLogger(__name__)
_ERASING = 0x45524153  # sets its draws apart from those of the samples


class PrefetchLoader:
    """Move the batches of a loader to a device and normalise them there.

    On devices with streams the next batch is under way while the last one is used; use batches on
    the stream that is current when the loader is advanced.

    Args:
        loader: gives (images, targets); images of 8 bits, or already normalised by it.
        mean: of images in [0, 1], one number or one per channel.
        std: of images in [0, 1], one number or one per channel.
        channels: of the images, None for any; another number of values in mean and std is averaged.
        device: where to.
        img_dtype: of the images then.
        fp16: the same as `img_dtype=torch.float16`.
        re_prob: probability of random erasing, see `RandomErasing`.
        re_mode: what erased parts are filled with: const, rand, pixel.
        re_count: most parts erased in an image.
        re_num_splits: parts of a batch of which the first stays clean.
        fused: see `Normalizer`.
        memory_format: of the images: `torch.channels_last` where the network wants it.
    """

    def __init__(
        self,
        loader: Iterable[Any],
        mean: float | Sequence[float] = IMAGENET_DEFAULT_MEAN,
        std: float | Sequence[float] = IMAGENET_DEFAULT_STD,
        channels: int | None = 3,
        device: torch.device | str = "cuda",
        img_dtype: torch.dtype | None = None,
        fp16: bool = False,
        re_prob: float = 0.0,
        re_mode: str = "const",
        re_count: int = 1,
        re_num_splits: int = 0,
        *,
        fused: bool = False,
        memory_format: torch.memory_format = torch.contiguous_format,
    ) -> None:
        self.loader: Any = loader
        self.device = torch.device(device)
        self.img_dtype = torch.float16 if fp16 else img_dtype or torch.float32
        self.normalizer = Normalizer(
            per_channel("mean", mean, channels),
            per_channel("std", std, channels),
            dtype=self.img_dtype,
            fused=fused,
            device=self.device,
        )
        self.memory_format = memory_format
        self.random_erasing = None
        if re_prob > 0:
            self.random_erasing = RandomErasing(
                re_prob, mode=re_mode, max_count=re_count, num_splits=re_num_splits
            )
        self._stream: Any = None
        self._state: dict[str, Any] | None = None

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        batches = self._finished()
        return batches if self.device.type in ("cpu", "mps") else self._ahead(batches)

    def __len__(self) -> int:
        return len(self.loader)

    def __getattr__(self, name: str) -> Any:
        """Return what the loader below has: sampler, batch_sampler, dataset, backend ..."""
        if name.startswith("_") or name == "loader":
            raise AttributeError(name)
        return getattr(self.loader, name)

    @property
    def mixup_enabled(self) -> bool:
        """Whether a `collate_fn` that mixes samples does so; may be set between batches."""
        return bool(getattr(self.loader, "mixup_enabled", False))

    @mixup_enabled.setter
    def mixup_enabled(self, enabled: bool) -> None:
        self.loader.mixup_enabled = enabled

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next pass; not needed where passes follow each other."""
        self._state = None
        self.loader.set_epoch(epoch)

    def state_dict(self) -> dict[str, Any]:
        """Return what `load_state_dict` needs to go on after the last batch that was handed out."""
        return dict(self._state or self.loader.state_dict())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken; see `Passes.load_state_dict`."""
        self.loader.load_state_dict(state)
        self._state = None

    def _finished(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield normalised batches on the device; the state becomes that after each of them."""
        resumable = isinstance(self.loader, Passes)
        for images, targets in self.loader:
            state = self.loader.state_dict() if resumable else None
            with self._on_stream():
                finished = self._normalized(images)
                targets = targets.to(self.device, non_blocking=True)
                if self.random_erasing is not None:
                    finished = self._erased(finished, state)
            self._state = state
            yield finished, targets
        self._state = None

    def _normalized(self, images: torch.Tensor) -> torch.Tensor:
        images = images.to(self.device, non_blocking=True)
        if images.dtype == torch.uint8:
            out = torch.empty(
                images.shape,
                dtype=self.img_dtype,
                device=self.device,
                memory_format=self.memory_format,
            )
            return self.normalizer.batch(images, out)
        return images.to(self.img_dtype, memory_format=self.memory_format)

    def _erased(self, images: torch.Tensor, state: dict[str, Any] | None) -> torch.Tensor:
        assert self.random_erasing is not None
        if state is None:
            return self.random_erasing(images)
        place = (state["rank"], state["epoch"], state["position"])
        with seeded(mix(state["seed"], _ERASING, *place)):
            return self.random_erasing(images)

    def _on_stream(self) -> Any:
        """Return a context whose work runs beside that of the current stream."""
        if self.device.type in ("cpu", "mps"):
            return _Nothing()
        backend = torch.get_device_module(self.device)
        if self._stream is None:
            # One for all epochs: memory is cached per stream.
            self._stream = backend.Stream(device=self.device)
        # Memory that was freed while the consumer's work is queued must not be written to yet.
        self._stream.wait_stream(backend.current_stream(self.device))
        return backend.stream(self._stream)

    def _ahead(
        self, batches: Iterator[tuple[torch.Tensor, torch.Tensor]]
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield each batch when the next one is under way; the state is that of the former."""
        backend = torch.get_device_module(self.device)
        batch: tuple[torch.Tensor, torch.Tensor] | None = next(batches, None)
        state, self._state = self._state, None
        following_state: dict[str, Any] | None
        while batch is not None:
            # The consumer waits for this batch only: the next is not queued yet.
            backend.current_stream(self.device).wait_stream(self._stream)
            following = next(batches, None)
            following_state = self._state
            self._state = state
            yield batch
            batch, state = following, following_state
        self._state = None


class _Nothing:
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


def per_channel(name: str, values: Any, channels: int | None) -> tuple[float, ...]:
    """Return a value per channel; another number of values is averaged, with a warning.

    Args:
        name: of the argument.
        values: one number, or several.
        channels: of the images; None where that is not known.
    """
    given = as_channels(name, values)
    if channels is None or len(given) in (1, channels):
        return as_channels(name, given, channels)
    average = sum(given) / len(given)
    _logger.warning(
        "%s has %d values for %d channels: their average %.4g serves for all",
        name,
        len(given),
        channels,
        average,
    )
    return (average,) * channels
