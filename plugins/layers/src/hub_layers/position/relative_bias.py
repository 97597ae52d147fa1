"""Relative-position bias of windows in three kinds, added to the logits of an attention.

The window can change after construction; learned tables are resampled, indices made anew.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..mlp.mlp import Mlp
from ..tuples import to_2tuple
from .relative_tables import gen_relative_position_index, resize_rel_pos_bias_table

Window = Sequence[int]


def gen_relative_log_coords(
    win_size: Window,
    pretrained_win_size: Window = (0, 0),
    mode: str = "swin",
    device: Any = None,
    dtype: Any = None,
) -> Tensor:
    """Distances of a window, small ones spread and large ones pressed together by a logarithm.

    Args:
        win_size: (height h, width w) of the window, in tokens.
        pretrained_win_size: the window whose largest distance becomes 8 in mode "swin"; `win_size`
            where it is 0.
        mode: "swin" (Swin V2, arXiv:2111.09883, equation 4), or "cr", without scaling.
        device: where the table lives.
        dtype: type of the table.

    Returns:
        (2h - 1, 2w - 1, 2).

    Raises:
        ValueError: another mode.
    """
    if mode not in ("swin", "cr"):
        raise ValueError(f"mode={mode!r}: it can be 'swin' or 'cr'")
    axes = [torch.arange(1 - n, n, device=device, dtype=torch.float32) for n in win_size]
    coords = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)  # (2h - 1, 2w - 1, 2)
    if mode == "cr":
        return (coords.sign() * coords.abs().log1p()).to(dtype)
    window = pretrained_win_size if pretrained_win_size[0] > 0 else win_size
    reach = torch.tensor([n - 1 for n in window], device=device, dtype=torch.float32)
    coords = 8 * coords / reach
    return (coords.sign() * coords.abs().log1p() / math.log(8)).to(dtype)


class _WindowBias(nn.Module):
    """What the kinds share: a window, and that their bias is added."""

    window_size: tuple[int, int]

    def set_window_size(self, window_size: Window) -> None:
        """Take windows of another size.

        Args:
            window_size: (height, width), in tokens.
        """
        window = to_2tuple(window_size)
        if window != self.window_size:
            self._resize(window)
            self.window_size = window
            self._index()

    def _resize(self, window: tuple[int, int]) -> None:
        """Bring what is learned to another window."""

    def _index(self) -> None:
        """Make the buffers of the present window."""
        raise NotImplementedError

    def get_bias(self) -> Tensor:
        """(1, heads, N, N), or (heads, N, N); N the tokens of a window."""
        raise NotImplementedError

    def init_non_persistent_buffers(self) -> None:
        """Make the buffers anew that no checkpoint holds."""
        self._index()

    def forward(self, attn: Tensor, shared_rel_pos: Tensor | None = None) -> Tensor:
        """attn: (B, heads, N, N), logits. Returns: the same shape."""
        return attn + self.get_bias()


class RelPosBias(_WindowBias):
    """One learned number per head and distance (Swin V1, BEiT).

    Args:
        window_size: (height, width) of the window, in tokens.
        num_heads: heads of the attention.
        prefix_tokens: class tokens before the window's, none or one; the table has three entries
            more for it.

    Raises:
        ValueError: more prefix tokens.
    """

    relative_position_index: Tensor

    def __init__(self, window_size: Window, num_heads: int, prefix_tokens: int = 0) -> None:
        super().__init__()
        if prefix_tokens > 1:
            raise ValueError(f"prefix_tokens={prefix_tokens}: the table knows none or one")
        self.window_size = to_2tuple(window_size)
        self.prefix_tokens = prefix_tokens
        self.num_heads = num_heads
        entries = self._entries(self.window_size)
        self.relative_position_bias_table = nn.Parameter(torch.empty(entries, num_heads))
        self._index()
        self.reset_parameters()

    def _entries(self, window: tuple[int, int]) -> int:
        return (2 * window[0] - 1) * (2 * window[1] - 1) + 3 * self.prefix_tokens

    def reset_parameters(self) -> None:
        """Draw the table from a truncated normal."""
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)

    def _index(self) -> None:
        device = self.relative_position_bias_table.device
        index = gen_relative_position_index(
            self.window_size, class_token=self.prefix_tokens > 0, device=device
        )
        self.register_buffer("relative_position_index", index, persistent=False)

    def _resize(self, window: tuple[int, int]) -> None:
        old, shape = self.relative_position_bias_table, (self._entries(window), self.num_heads)
        with torch.no_grad():
            table = resize_rel_pos_bias_table(old, window, shape, self.window_size)
        self.relative_position_bias_table = nn.Parameter(table, requires_grad=old.requires_grad)

    def get_bias(self) -> Tensor:
        """(1, heads, N, N); N the tokens of a window and its class token."""
        bias = self.relative_position_bias_table[self.relative_position_index]  # (N, N, heads)
        return bias.permute(2, 0, 1)[None].contiguous()


class RelPosBiasTf(_WindowBias):
    """One learned number per head and distance, as (heads, 2h - 1, 2w - 1) (MaxViT's TF weights).

    Args:
        window_size: (height h, width w) of the window, in tokens.
        num_heads: heads of the attention.
        prefix_tokens: kept for the order of arguments; only 0 is known.

    Raises:
        ValueError: prefix tokens.
    """

    relative_position_index: Tensor

    def __init__(self, window_size: Window, num_heads: int, prefix_tokens: int = 0) -> None:
        super().__init__()
        if prefix_tokens:
            raise ValueError(f"prefix_tokens={prefix_tokens}: the table has no entries for them")
        self.window_size = to_2tuple(window_size)
        self.num_heads = num_heads
        shape = (num_heads, *(2 * n - 1 for n in self.window_size))
        self.relative_position_bias_table = nn.Parameter(torch.empty(shape))
        self._index()
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the table from a normal."""
        nn.init.normal_(self.relative_position_bias_table, std=0.02)

    def _index(self) -> None:
        device = self.relative_position_bias_table.device
        # The distance is the key's place less the query's here, the other way round elsewhere.
        index = gen_relative_position_index(self.window_size, device=device).T.contiguous()
        self.register_buffer("relative_position_index", index, persistent=False)

    def _resize(self, window: tuple[int, int]) -> None:
        old, shape = self.relative_position_bias_table, [2 * n - 1 for n in window]
        with torch.no_grad():
            table = resize_rel_pos_bias_table(old, window, (self.num_heads, *shape))
        self.relative_position_bias_table = nn.Parameter(table, requires_grad=old.requires_grad)

    def get_bias(self) -> Tensor:
        """(heads, N, N); N the tokens of a window."""
        return self.relative_position_bias_table.flatten(1)[:, self.relative_position_index]


class RelPosMlp(_WindowBias):
    """A small MLP from the logarithm of a distance to a number per head (Swin V2).

    Args:
        window_size: (height, width) of the window, in tokens.
        num_heads: heads of the attention.
        hidden_dim: width of the MLP.
        prefix_tokens: tokens before the window's, whose bias is zero.
        mode: "swin" as published, with 16 * sigmoid; "cr" without it, see
            `gen_relative_log_coords`.
        pretrained_window_size: see `gen_relative_log_coords`.
    """

    relative_position_index: Tensor
    rel_coords_log: Tensor

    def __init__(
        self,
        window_size: Window,
        num_heads: int = 8,
        hidden_dim: int = 128,
        prefix_tokens: int = 0,
        mode: str = "cr",
        pretrained_window_size: Window = (0, 0),
    ) -> None:
        super().__init__()
        self.window_size = to_2tuple(window_size)
        self.num_heads = num_heads
        self.prefix_tokens = prefix_tokens
        self.mode = mode
        self.pretrained_window_size = tuple(pretrained_window_size)
        bias = (True, mode != "swin")
        self.mlp = Mlp(2, hidden_dim, num_heads, act_layer=nn.ReLU, bias=bias, drop=(0.125, 0.0))
        self._index()

    def _index(self) -> None:
        like = next(self.mlp.parameters())
        index = gen_relative_position_index(self.window_size, device=like.device)
        coords = gen_relative_log_coords(
            self.window_size, self.pretrained_window_size, self.mode, like.device, like.dtype
        )
        self.register_buffer("relative_position_index", index, persistent=False)
        self.register_buffer("rel_coords_log", coords, persistent=False)

    def get_bias(self) -> Tensor:
        """(1, heads, N, N); N the tokens of a window and those before them."""
        table = self.mlp(self.rel_coords_log).flatten(0, 1)  # (distances, heads)
        bias = table[self.relative_position_index].permute(2, 0, 1)  # (heads, N, N)
        if self.mode == "swin":
            bias = 16 * bias.sigmoid()
        before = self.prefix_tokens
        return F.pad(bias, (before, 0, before, 0))[None].contiguous()
