"""Blocks of positions as channels, and back (TResNet, arXiv:2003.13630)."""

import torch
from torch import nn


class SpaceToDepth(nn.Module):
    """(B, C, H, W) -> (B, s * s * C, H / s, W / s); channels are ordered row, column, C.

    Args:
        block_size: s, the side of a block.
    """

    def __init__(self, block_size: int = 4) -> None:
        super().__init__()
        self.block_size = block_size

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (B, C, H, W), H and W multiples of s. Returns: (B, s * s * C, H / s, W / s)."""
        side = self.block_size
        batch, channels, height, width = x.shape
        rows, columns = height // side, width // side
        blocks = x.reshape(batch, channels, rows, side, columns, side)
        return blocks.permute(0, 3, 5, 1, 2, 4).flatten(1, 3)


class DepthToSpace(nn.Module):
    """Undo `SpaceToDepth`.

    Args:
        block_size: s, the side of a block.
    """

    def __init__(self, block_size: int = 4) -> None:
        super().__init__()
        self.block_size = block_size

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (B, s * s * C, H, W). Returns: (B, C, s * H, s * W)."""
        side = self.block_size
        batch, _, height, width = x.shape
        blocks = x.reshape(batch, side, side, -1, height, width)  # (B, row, column, C, H, W)
        return blocks.permute(0, 3, 4, 1, 5, 2).flatten(4).flatten(2, 3)
