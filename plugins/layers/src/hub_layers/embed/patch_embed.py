"""From an image to tokens: one vector per patch (ViT, arXiv:2010.11929, equation 1)."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ..layout import nchw_to
from ..names import LayerFactory
from ..position.resample import resample_patch_embed
from ..tuples import to_2tuple

Size = int | tuple[int, int]


class PatchEmbed(nn.Module):
    """A convolution whose stride is its kernel: each patch of the image becomes a token.

    Args:
        img_size: (height, width) of the images; None for any.
        patch_size: (height, width) of a patch.
        in_chans: channels of the images.
        embed_dim: D of the tokens.
        norm_layer: class or partial of a norm of the tokens; none if not given.
        flatten: give (B, N, D) rather than (B, D, H, W), where `output_fmt` is not given.
        output_fmt: layout of the output: "NCHW", "NHWC", "NCL" or "NLC".
        bias: learn a bias.
        strict_img_size: take only images of `img_size`.
        dynamic_img_pad: fill the image with zeros at the bottom and the right up to whole patches.
        device: where the parameters live.
        dtype: type of the parameters.

    Raises:
        ValueError: `img_size` is not a whole number of patches, and nothing pads it.
    """

    def __init__(
        self,
        img_size: Size | None = 224,
        patch_size: Size = 16,
        in_chans: int = 3,
        embed_dim: int = 768,
        norm_layer: LayerFactory | None = None,
        flatten: bool = True,
        output_fmt: str | None = None,
        bias: bool = True,
        strict_img_size: bool = True,
        dynamic_img_pad: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        factory: dict[str, Any] = dict(device=device, dtype=dtype)
        self.patch_size: tuple[int, int] = to_2tuple(patch_size)
        self.output_fmt = output_fmt or ("NLC" if flatten else "NCHW")
        self.strict_img_size = strict_img_size
        self.dynamic_img_pad = dynamic_img_pad
        self._set_img_size(img_size)
        self.proj = nn.Conv2d(
            in_chans, embed_dim, self.patch_size, self.patch_size, bias=bias, **factory
        )
        self.norm = nn.Identity() if norm_layer is None else norm_layer(embed_dim, **factory)

    def _set_img_size(self, img_size: Size | None) -> None:
        size = grid = None
        if img_size is not None:
            size = to_2tuple(img_size)
            self._check_divisible(size, "img_size")
            grid = self.dynamic_feat_size(size)
        self.img_size: tuple[int, int] | None = size
        self.grid_size: tuple[int, int] | None = grid
        self.num_patches: int | None = grid and grid[0] * grid[1]

    def _check_divisible(self, size: tuple[int, int], what: str) -> None:
        if self.dynamic_img_pad:
            return
        for axis, length, patch in zip(("height", "width"), size, self.patch_size, strict=True):
            if length < patch or length % patch:
                below = max(length // patch * patch, patch)
                nearest = f"{below} or {below + patch}" if below < length else f"{below}"
                raise ValueError(
                    f"{what}={tuple(size)}: the {axis} {length} is not a multiple of the patch "
                    f"size {patch}; the nearest are {nearest}, or give dynamic_img_pad=True"
                )

    def set_input_size(self, img_size: Size | None = None, patch_size: Size | None = None) -> None:
        """Take images and patches of another size; the kernels are resampled.

        Args:
            img_size: (height, width) of the images; None keeps it.
            patch_size: (height, width) of a patch; None keeps it.

        Raises:
            ValueError: the image is not a whole number of patches, and nothing pads it.
        """
        before = self.patch_size
        try:
            self.patch_size = before if patch_size is None else to_2tuple(patch_size)
            self._set_img_size(self.img_size if img_size is None else img_size)
        except ValueError:
            self.patch_size = before
            raise
        if self.patch_size != before:
            old = self.proj.weight
            self.proj.kernel_size = self.proj.stride = self.patch_size
            with torch.no_grad():
                kernels = resample_patch_embed(old, self.patch_size, verbose=True)
            self.proj.weight = nn.Parameter(kernels, requires_grad=old.requires_grad)

    def feat_ratio(self, as_scalar: bool = True) -> int | tuple[int, int]:
        """Return the stride of the tokens: the larger of both axes, or (height, width)."""
        return max(self.patch_size) if as_scalar else self.patch_size

    def dynamic_feat_size(self, img_size: tuple[int, int]) -> tuple[int, int]:
        """Return (height, width) of the grid of tokens of an image of this size."""
        (height, width), (rows, columns) = img_size, self.patch_size
        if self.dynamic_img_pad:
            return -(-height // rows), -(-width // columns)
        return height // rows, width // columns

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (B, in_chans, H, W). Returns: (B, N, D), or the layout `output_fmt`."""
        x = self._fitted(x)
        return self.norm(nchw_to(self.proj(x), self.output_fmt))

    def _fitted(self, x: torch.Tensor) -> torch.Tensor:
        """Return the image padded to whole patches.

        Raises:
            ValueError: its size is not one that this layer takes.
        """
        height, width = x.shape[-2:]
        if self.strict_img_size and self.img_size is not None:
            if (height, width) != self.img_size:
                raise ValueError(
                    f"an image of {height}x{width}, but the network takes "
                    f"{self.img_size[0]}x{self.img_size[1]}: resize it, call "
                    "set_input_size(img_size=...), or build with img_size=... or "
                    "dynamic_img_size=True"
                )
        else:
            self._check_divisible((height, width), "image size")
        if self.dynamic_img_pad:
            rows, columns = self.patch_size
            x = F.pad(x, (0, -width % columns, 0, -height % rows))
        return x
