"""Conditional convolution: every sample has its own kernel, mixed from those of experts."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ..padding import PadType, Size, resolve_padding
from ..tuples import to_2tuple
from .conv2d_same import conv2d_same


class CondConv2d(nn.Module):
    """CondConv (arXiv:1904.04971): the kernel is a weighted sum of `num_experts` kernels.

    `weight` is (num_experts, numbers of one kernel), `bias` (num_experts, out_channels).

    Args:
        in_channels: C of the input.
        out_channels: C of the output.
        kernel_size: a number or a pair.
        stride: a number or a pair.
        padding: see `create_conv2d`.
        dilation: a number or a pair.
        groups: of channels.
        bias: learn a bias per expert.
        num_experts: kernels to mix.
        device: where the parameters live.
        dtype: type of the parameters.

    Raises:
        ValueError: unknown padding.
    """

    bias: nn.Parameter | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size = 3,
        stride: Size = 1,
        padding: PadType | None = "",
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = False,
        num_experts: int = 4,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        factory: dict[str, Any] = dict(device=device, dtype=dtype)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = to_2tuple(kernel_size)
        self.stride = to_2tuple(stride)
        self.dilation = to_2tuple(dilation)
        self.groups = groups
        self.num_experts = num_experts
        static = resolve_padding(padding, kernel_size, stride, dilation)
        self.padding = None if static is None else to_2tuple(static)  # None: by the input's size
        self.weight_shape = (out_channels, in_channels // groups, *self.kernel_size)
        numbers = math.prod(self.weight_shape)
        self.weight = nn.Parameter(torch.empty(num_experts, numbers, **factory))
        self.bias = (
            nn.Parameter(torch.empty(num_experts, out_channels, **factory)) if bias else None
        )
        self.reset_parameters()

    def expert_weights(self) -> list[torch.Tensor]:
        """The kernels as views of `weight`, each (out_channels, in_channels / groups, kh, kw)."""
        return [weight.view(self.weight_shape) for weight in self.weight.detach()]

    def reset_parameters(self) -> None:
        """Draw every expert as `nn.Conv2d` draws its kernel and bias."""
        for weight in self.expert_weights():
            nn.init.kaiming_uniform_(weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(math.prod(self.weight_shape[1:]))
            nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: torch.Tensor, routing_weights: torch.Tensor) -> torch.Tensor:
        """Convolve each sample with its own kernel.

        Args:
            x: (B, C, H, W).
            routing_weights: (B, num_experts), the weight of each expert.

        Returns:
            (B, out_channels, H', W').
        """
        batch, channels, height, width = x.shape
        _, *kernel = self.weight_shape
        weight = (routing_weights @ self.weight).view(batch * self.out_channels, *kernel)
        bias = None if self.bias is None else (routing_weights @ self.bias).flatten()
        # Samples become groups of one convolution: (1, B * C, H, W), whatever the memory format.
        x = x.reshape(1, batch * channels, height, width)
        geometry: dict[str, Any] = dict(stride=self.stride, dilation=self.dilation)
        geometry |= dict(groups=batch * self.groups)
        if self.padding is None:
            out = conv2d_same(x, weight, bias, **geometry)
        else:
            out = F.conv2d(x, weight, bias, padding=self.padding, **geometry)
        return out.view(batch, self.out_channels, *out.shape[-2:])

    def extra_repr(self) -> str:
        """What `repr` shows."""
        shape = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}"
        return f"{shape}, stride={self.stride}, num_experts={self.num_experts}"
