"""Efficient channel attention: a small convolution along the channels of the pooled map."""

import math
from typing import Any

import torch
from torch import nn

from ..act.activations import create_act_layer
from ..names import LayerType
from .squeeze_excite import create_gate, reduced_channels


def eca_kernel_size(channels: int, gamma: float = 2, beta: float = 1) -> int:
    """Odd kernel size for a number of channels (arXiv:1910.03151, section 3.2.3), at least 3."""
    size = int(abs(math.log2(channels) + beta) / gamma)
    return max(size + (size + 1) % 2, 3)


class EcaModule(nn.Module):
    """Efficient channel attention (ECA-Net, arXiv:1910.03151).

    Args:
        channels: C of the input, which decides the kernel size.
        kernel_size: odd; used where `channels` is not given.
        gamma: slope of the rule for the kernel size.
        beta: offset of the rule for the kernel size.
        act_layer: activation between the two convolutions of the MLP form; ReLU if not given.
        gate_layer: activation that gates.
        rd_ratio: width of the MLP form as a share of C.
        rd_channels: width of the MLP form, which then decides instead of `rd_ratio`.
        rd_divisor: the width is rounded to a multiple of it.
        use_mlp: widen by a 1-tap convolution first (timm's `ecam`).
        device: where the parameters live.
        dtype: type of the parameters.

    Raises:
        ValueError: even `kernel_size`, or `use_mlp` without `channels`.
    """

    padding_mode = "zeros"

    def __init__(
        self,
        channels: int | None = None,
        kernel_size: int = 3,
        gamma: float = 2,
        beta: float = 1,
        act_layer: LayerType | None = None,
        gate_layer: LayerType = "sigmoid",
        rd_ratio: float = 1 / 8,
        rd_channels: int | None = None,
        rd_divisor: int = 8,
        use_mlp: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if channels is not None:
            kernel_size = eca_kernel_size(channels, gamma, beta)
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size={kernel_size}: give an odd number")
        options: dict[str, Any] = dict(device=device, dtype=dtype, bias=use_mlp)
        window: dict[str, Any] = dict(padding=kernel_size // 2, padding_mode=self.padding_mode)
        self.act: nn.Module | None = None
        self.conv2: nn.Conv1d | None = None
        if not use_mlp:
            self.conv = nn.Conv1d(1, 1, kernel_size, **window, **options)
        elif channels is None:
            raise ValueError("use_mlp=True takes its width from the channels: give channels")
        else:
            width = reduced_channels(channels, rd_ratio, rd_channels, rd_divisor)
            self.conv = nn.Conv1d(1, width, 1, **options)
            self.act = create_act_layer(act_layer or nn.ReLU)
            self.conv2 = nn.Conv1d(width, 1, kernel_size, **window, **options)
        self.gate = create_gate(gate_layer)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (B, C, H, W). Returns: the same shape."""
        y = self.conv(x.mean((2, 3))[:, None])  # (B, 1, C)
        if self.conv2 is not None and self.act is not None:
            y = self.conv2(self.act(y))
        return x * self.gate(y)[:, 0, :, None, None]


class CecaModule(EcaModule):
    """ECA with circular padding: the first and the last channels are neighbours.

    Args:
        channels: see `EcaModule`, as for all others.
        kernel_size: likewise.
        gamma: likewise.
        beta: likewise.
        act_layer: unused; kept for the order of arguments.
        gate_layer: activation that gates.
        device: where the parameters live.
        dtype: type of the parameters.
    """

    padding_mode = "circular"

    def __init__(
        self,
        channels: int | None = None,
        kernel_size: int = 3,
        gamma: float = 2,
        beta: float = 1,
        act_layer: LayerType | None = None,
        gate_layer: LayerType = "sigmoid",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        rule = kernel_size, gamma, beta, act_layer, gate_layer
        super().__init__(channels, *rule, device=device, dtype=dtype)


EfficientChannelAttn = EcaModule
CircularEfficientChannelAttn = CecaModule
