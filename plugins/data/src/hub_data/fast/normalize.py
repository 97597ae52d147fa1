"""From uint8 pixels to the normalised input of a network, in one place and in two roundings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from hub_data.image_steps import mean_and_std


class Normalizer:
    """Turn values of 0 to 255 into `(value - 255 * mean) / (255 * std)`.

    Args:
        mean: of images in [0, 1], one number or one per channel.
        std: of images in [0, 1], one number or one per channel.
        dtype: of the result.
        fused: a multiplication and an addition (the last bit may differ), instead of a subtraction
            and a division (three times slower; to the bit what timm's loader gives).
        device: where `batch` runs.
    """

    def __init__(
        self,
        mean: float | Sequence[float],
        std: float | Sequence[float],
        *,
        dtype: torch.dtype = torch.float32,
        fused: bool = False,
        device: torch.device | str = "cpu",
    ) -> None:
        self.mean, self.std = mean_and_std(mean, std)
        self.dtype, self.fused = dtype, fused
        exact = torch.tensor([self.mean, self.std], dtype=torch.float64) * 255
        subtract, divide = exact.to(device=device, dtype=dtype)[:, :, None, None]  # 2x (C, 1, 1)
        self._subtract, self._divide = subtract, divide
        wide = (1 / exact[1], -exact[0] / exact[1])
        self._scale, self._shift = (v.to(device=device, dtype=dtype)[:, None, None] for v in wide)

    def row(self, pixels: np.ndarray, out: torch.Tensor) -> None:
        """Write one image into its place in the batch.

        Args:
            pixels: (H, W, C) uint8.
            out: (C, H, W) of `dtype`, on the CPU.

        Raises:
            ValueError: there are other channels.
        """
        self._require(pixels.shape[2])
        out.copy_(torch.from_numpy(pixels).permute(2, 0, 1))  # (H, W, C) -> (C, H, W)
        self._inplace(out)

    def batch(self, pixels: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
        """Return the normalised batch, on the device of `pixels`.

        Args:
            pixels: (B, C, H, W), uint8 of any strides.
            out: where to write to; new memory if None.

        Raises:
            ValueError: there are other channels.
        """
        self._require(pixels.shape[1])
        if out is None:
            out = torch.empty(pixels.shape, dtype=self.dtype, device=pixels.device)
        return self._inplace(out.copy_(pixels, non_blocking=True))

    def _require(self, channels: int) -> None:
        if len(self.mean) not in (1, channels):
            raise ValueError(
                f"the images have {channels} channels, mean and std of the loader have "
                f"{len(self.mean)} values: give input_size=({channels}, height, width), mean and "
                "std for them, or read the images with another input_img_mode, such as 'RGB'"
            )

    def _inplace(self, values: torch.Tensor) -> torch.Tensor:
        if self.fused:
            # Not addcmul: with values that broadcast it is ten times slower than these two.
            return values.mul_(self._scale).add_(self._shift)
        return values.sub_(self._subtract).div_(self._divide)
