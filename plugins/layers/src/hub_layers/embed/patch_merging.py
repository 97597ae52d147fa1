"""Four neighbouring tokens become one of twice the width (Swin, arXiv:2103.14030)."""

import torch
import torch.nn.functional as F
from torch import nn

from ..names import LayerFactory


class PatchMerging(nn.Module):
    """Tokens of 2x2 blocks side by side, norm, linear; an odd map is padded with zeros.

    Args:
        dim: C of the input.
        out_dim: C of the output; `2 * dim` if not given.
        norm_layer: class or partial of the norm.
        norm_last: the norm comes after the linear layer (Swin V2, arXiv:2111.09883).
    """

    def __init__(
        self,
        dim: int,
        out_dim: int | None = None,
        norm_layer: LayerFactory = nn.LayerNorm,
        norm_last: bool = False,
    ) -> None:
        super().__init__()
        self.dim = dim
        self.out_dim = out_dim or 2 * dim
        self.norm_last = norm_last
        reduction = nn.Linear(4 * dim, self.out_dim, bias=False)
        if norm_last:  # layers are named in the order in which they run
            self.reduction, self.norm = reduction, norm_layer(self.out_dim)
        else:
            self.norm, self.reduction = norm_layer(4 * dim), reduction

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (B, H, W, C). Returns: (B, ceil(H / 2), ceil(W / 2), out_dim)."""
        bottom, right = x.shape[1] % 2, x.shape[2] % 2
        if bottom or right:
            x = F.pad(x, (0, 0, 0, right, 0, bottom))
        batch, height, width, channels = x.shape
        blocks = x.reshape(batch, height // 2, 2, width // 2, 2, channels)
        x = blocks.permute(0, 1, 3, 4, 2, 5).flatten(3)  # column, row, C: as in Swin's checkpoints
        if self.norm_last:
            return self.norm(self.reduction(x))
        return self.reduction(self.norm(x))
