"""Downsampling that filters before it subsamples, by name."""

import functools
import math
from typing import Any, overload

import torch
import torch.nn.functional as F
from torch import nn

from ..names import LayerFactory, LayerType, NameTable, accepts, resolve_layer
from ..padding import get_padding


class BlurPool2d(nn.Module):
    """Binomial blur and subsampling (Making CNNs Shift-Invariant Again, arXiv:1904.11486).

    Args:
        channels: C of the input (B, C, H, W), or None to take any.
        filt_size: taps per axis, 2 or more; 3 is [1, 2, 1] / 4.
        stride: subsampling factor.
        pad_mode: mode of `F.pad`; `"reflect"` keeps the mean at the border.
        device: where the filter lives.
        dtype: type of the filter.

    Raises:
        ValueError: `filt_size` below 2, which would blur nothing.
    """

    filt: torch.Tensor

    def __init__(
        self,
        channels: int | None = None,
        filt_size: int = 3,
        stride: int = 2,
        pad_mode: str = "reflect",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if filt_size < 2:
            raise ValueError(f"filt_size={filt_size}: a blur needs 2 taps or more")
        self.channels = channels
        self.filt_size = filt_size
        self.stride = stride
        self.pad_mode = pad_mode
        pad = get_padding(filt_size, stride)
        assert isinstance(pad, int)
        self.padding = [pad] * 4
        filt = torch.empty(channels or 1, 1, filt_size, filt_size, device=device, dtype=dtype)
        # Not persistent: published checkpoints do not hold the filter.
        self.register_buffer("filt", filt, persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Compute the filter, again after `to_empty` on a network built on the meta device."""
        n = self.filt_size - 1
        taps = torch.tensor([math.comb(n, k) / 2**n for k in range(n + 1)], device="cpu")
        self.filt.copy_(taps[:, None] * taps)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (B, C, H, W). Returns: (B, C, ceil(H / stride), ceil(W / stride)) for odd filters."""
        channels = x.shape[1]
        filt = self.filt if self.channels else self.filt.expand(channels, -1, -1, -1)
        x = F.pad(x, self.padding, self.pad_mode)
        return F.conv2d(x, filt, stride=self.stride, groups=channels)

    def extra_repr(self) -> str:
        """What `repr` shows."""
        size = f"filt_size={self.filt_size}, stride={self.stride}"
        return f"{self.channels}, {size}, pad_mode={self.pad_mode!r}"


ANTI_ALIAS: NameTable[LayerFactory] = NameTable(
    "anti-aliasing layer",
    {
        "avg": nn.AvgPool2d,
        "avgpool": nn.AvgPool2d,
        "blur": BlurPool2d,
        "blurpc": functools.partial(BlurPool2d, pad_mode="constant"),
    },
)


@overload
def create_aa(
    aa_layer: LayerType | None,
    channels: int | None = ...,
    stride: int = ...,
    enable: bool = ...,
    noop: LayerFactory = ...,
    device: Any = ...,
    dtype: Any = ...,
) -> nn.Module: ...
@overload
def create_aa(
    aa_layer: LayerType | None,
    channels: int | None = ...,
    stride: int = ...,
    enable: bool = ...,
    *,
    noop: None,
    device: Any = ...,
    dtype: Any = ...,
) -> nn.Module | None: ...
def create_aa(
    aa_layer: LayerType | None,
    channels: int | None = None,
    stride: int = 2,
    enable: bool = True,
    noop: LayerFactory | None = nn.Identity,
    device: Any = None,
    dtype: Any = None,
) -> nn.Module | None:
    """Build an anti-aliasing layer.

    Args:
        aa_layer: name, class or partial; a class without `channels` argument is called as pooling
            (kernel = stride).
        channels: C of the input.
        stride: subsampling factor.
        enable: False gives `noop`, as `aa_layer=None` does.
        noop: what stands for no layer: a class, or None for None.
        device: where the filter lives.
        dtype: type of the filter.

    Raises:
        UnknownLayerError: no anti-aliasing layer has this name.
    """
    layer = resolve_layer(ANTI_ALIAS, aa_layer)
    if layer is None or not enable:
        return noop() if noop else None
    if not accepts(layer, "channels"):
        if isinstance(layer, functools.partial) and "kernel_size" in layer.keywords:
            return layer(stride=stride)
        return layer(stride)
    options: dict[str, Any] = dict(channels=channels, stride=stride)
    options |= {k: v for k, v in dict(device=device, dtype=dtype).items() if accepts(layer, k)}
    return layer(**options)
