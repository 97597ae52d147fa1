"""Regularization by leaving things out: residual branches, blocks of a map, patches."""

from collections.abc import Sequence
from itertools import islice
from typing import Literal, overload

import torch
import torch.nn.functional as F
from torch import nn


def drop_path(
    x: torch.Tensor, drop_prob: float = 0.0, training: bool = False, scale_by_keep: bool = True
) -> torch.Tensor:
    """Zero whole samples of a residual branch (stochastic depth, arXiv:1603.09382).

    Args:
        x: (B, ...), the output of the branch.
        drop_prob: share of samples to zero.
        training: False returns `x`.
        scale_by_keep: divide the others by the share that is kept, so that the expectation stays.
    """
    if not training or drop_prob == 0.0:
        return x
    keep = 1.0 - drop_prob
    mask = x.new_empty((x.shape[0],) + (1,) * (x.ndim - 1)).bernoulli_(keep)  # (B, 1, ...)
    return x * (mask / keep if scale_by_keep and keep > 0.0 else mask)


class DropPath(nn.Module):
    """`drop_path` while training.

    Args:
        drop_prob: share of samples to zero.
        scale_by_keep: divide the others by the share that is kept.
    """

    def __init__(self, drop_prob: float = 0.0, scale_by_keep: bool = True) -> None:
        super().__init__()
        self.drop_prob = drop_prob
        self.scale_by_keep = scale_by_keep

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (B, ...). Returns: the same shape."""
        return drop_path(x, self.drop_prob, self.training, self.scale_by_keep)

    def extra_repr(self) -> str:
        """What `repr` shows."""
        return f"drop_prob={self.drop_prob:.3f}"


def create_drop_path(rate: float) -> nn.Module:
    """`DropPath` of this rate; an identity for 0, so that graphs and hooks see no empty layer."""
    return DropPath(rate) if rate else nn.Identity()


@overload
def calculate_drop_path_rates(
    drop_path_rate: float, depths: int | Sequence[int], stagewise: Literal[False] = ...
) -> list[float]: ...
@overload
def calculate_drop_path_rates(
    drop_path_rate: float, depths: Sequence[int], stagewise: Literal[True]
) -> list[list[float]]: ...
def calculate_drop_path_rates(
    drop_path_rate: float, depths: int | Sequence[int], stagewise: bool = False
) -> list[float] | list[list[float]]:
    """Rates that grow from 0 at the first block to `drop_path_rate` at the last.

    Args:
        drop_path_rate: the highest rate.
        depths: number of blocks, or blocks per stage.
        stagewise: one list per stage instead of one for all blocks.

    Raises:
        ValueError: `stagewise` without blocks per stage.
    """
    total = depths if isinstance(depths, int) else sum(depths)
    if not drop_path_rate:  # FakeTensorMode gives no values out
        rates = [0.0] * total
    else:
        # float32, as published recipes computed them; on the CPU even inside `with
        # torch.device("meta")`.
        rates = torch.linspace(0, drop_path_rate, total, dtype=torch.float32, device="cpu").tolist()
    if not stagewise:
        return rates
    if isinstance(depths, int):
        raise ValueError(f"stagewise rates need the blocks per stage, got depths={depths}")
    in_turn = iter(rates)
    return [list(islice(in_turn, depth)) for depth in depths]


def drop_block_2d(
    x: torch.Tensor,
    drop_prob: float = 0.1,
    block_size: int = 7,
    gamma_scale: float = 1.0,
    with_noise: bool = False,
    inplace: bool = False,
    couple_channels: bool = True,
    scale_by_keep: bool = True,
) -> torch.Tensor:
    """Zero square blocks of a feature map (DropBlock, arXiv:1810.12890); always, training or not.

    Args:
        x: (B, C, H, W).
        drop_prob: share of positions to drop.
        block_size: side of a block; clipped to the map.
        gamma_scale: factor on the rate of block centres.
        with_noise: fill the blocks with normal noise instead of zeros; nothing is rescaled then.
        inplace: overwrite `x`.
        couple_channels: one mask for all channels of a sample.
        scale_by_keep: rescale what is left, so that the mean stays.
    """
    batch, channels, height, width = x.shape
    side = min(block_size, height, width)
    # The rate is the paper's, for centres whose block fits into the map. As in timm, centres are
    # drawn everywhere, so that blocks nearly as large as the map drop more than drop_prob.
    centres = (height - side + 1) * (width - side + 1)
    gamma = gamma_scale * drop_prob * height * width / side**2 / centres
    seeds = x.new_empty((batch, 1 if couple_channels else channels, height, width)).bernoulli_(
        gamma
    )
    grown = F.max_pool2d(seeds, side, stride=1, padding=side // 2)
    dropped = grown[..., -height:, -width:]  # an even side yields one more row and column
    keep = 1 - dropped
    if with_noise:
        fill = torch.randn_like(keep) * dropped
        return x.mul_(keep).add_(fill) if inplace else x * keep + fill
    if scale_by_keep:
        keep = keep * (keep.numel() / (keep.sum(dtype=torch.float32) + 1e-7)).to(x.dtype)
    return x.mul_(keep) if inplace else x * keep


class DropBlock2d(nn.Module):
    """`drop_block_2d` while training; see it for the arguments."""

    def __init__(
        self,
        drop_prob: float = 0.1,
        block_size: int = 7,
        gamma_scale: float = 1.0,
        with_noise: bool = False,
        inplace: bool = False,
        couple_channels: bool = True,
        scale_by_keep: bool = True,
    ) -> None:
        super().__init__()
        self.drop_prob = drop_prob
        self.block_size = block_size
        self.gamma_scale = gamma_scale
        self.with_noise = with_noise
        self.inplace = inplace
        self.couple_channels = couple_channels
        self.scale_by_keep = scale_by_keep

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (B, C, H, W). Returns: the same shape."""
        if not self.training or not self.drop_prob:
            return x
        what = self.drop_prob, self.block_size, self.gamma_scale, self.with_noise
        return drop_block_2d(x, *what, self.inplace, self.couple_channels, self.scale_by_keep)

    def extra_repr(self) -> str:
        """What `repr` shows."""
        return f"drop_prob={self.drop_prob:.3f}, block_size={self.block_size}"


class PatchDropout(nn.Module):
    """Keep a random subset of the patch tokens while training (FLIP, arXiv:2212.00794).

    Args:
        prob: share of patch tokens to leave out, in [0, 1).
        num_prefix_tokens: tokens at the start that always stay.
        ordered: keep the tokens in their order.

    Raises:
        ValueError: `prob` outside [0, 1).
    """

    def __init__(
        self, prob: float = 0.5, num_prefix_tokens: int = 1, ordered: bool = False
    ) -> None:
        super().__init__()
        if not 0.0 <= prob < 1.0:
            raise ValueError(f"prob={prob}: the share of dropped patches lies in [0, 1)")
        self.prob = prob
        self.num_prefix_tokens = num_prefix_tokens
        self.ordered = ordered

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (B, N, D). Returns: (B, N', D), N' <= N."""
        if not self.training or self.prob == 0.0:
            return x
        prefix, patches = x[:, : self.num_prefix_tokens], x[:, self.num_prefix_tokens :]
        batch, tokens, width = patches.shape
        num_keep = max(1, int(tokens * (1.0 - self.prob)))
        keep = torch.rand(batch, tokens, device=x.device).argsort(dim=-1)[:, :num_keep]
        if self.ordered:
            keep = keep.sort(dim=-1).values
        kept = patches.gather(1, keep[..., None].expand(-1, -1, width))  # (B, num_keep, D)
        return torch.cat((prefix, kept), dim=1)
