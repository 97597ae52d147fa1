"""Normalization layers by name.

`2d` kinds take (B, C, H, W) and normalize over C at each position; the plain kinds take (..., C).
`Fp32` kinds compute in float32 whatever comes in and return the input's dtype. The first argument
is always the number of channels, unlike in `torch.nn.GroupNorm`, so that a network can call any of
them.
"""

from collections.abc import Sequence
from typing import Any, overload

import torch
import torch.nn.functional as F
from torch import nn

from ..names import LayerFactory, LayerType, NameTable, resolve_layer

Shape = int | Sequence[int]


class GroupNorm(nn.GroupNorm):
    """Group normalization (arXiv:1803.08494), channels first.

    Args:
        num_channels: C of the input (B, C, ...).
        num_groups: groups that C is divided into.
        eps: added to the variance.
        affine: learn a scale and a shift per channel.
        device: where the parameters live.
        dtype: type of the parameters.
    """

    def __init__(
        self,
        num_channels: int,
        num_groups: int = 32,
        eps: float = 1e-5,
        affine: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(num_groups, num_channels, eps, affine, device=device, dtype=dtype)


class GroupNorm1(nn.GroupNorm):
    """Group normalization with one group: over C, H and W of each sample."""

    def __init__(
        self,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(1, num_channels, eps, affine, device=device, dtype=dtype)


class LayerNorm(nn.LayerNorm):
    """Layer normalization (arXiv:1607.06450) over the last axis, with the eps of ViT.

    Args:
        num_channels: C of the input (..., C), or the trailing shape to normalize over.
        eps: added to the variance.
        affine: learn a scale and a shift per channel.
        device: where the parameters live.
        dtype: type of the parameters.
    """

    def __init__(
        self,
        num_channels: Shape,
        eps: float = 1e-6,
        affine: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        shape = num_channels if isinstance(num_channels, int) else list(num_channels)
        super().__init__(shape, eps, affine, device=device, dtype=dtype)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """input: (..., C), or (B, C, H, W) for the 2d kinds. Returns: the same shape."""
        return self.normalize(input, self.weight, self.bias)

    def normalize(
        self, x: torch.Tensor, weight: torch.Tensor | None, bias: torch.Tensor | None
    ) -> torch.Tensor:
        """What `forward` does, with the affine parameters given, so that they can be cast first."""
        return F.layer_norm(x, self.normalized_shape, weight, bias, self.eps)


class LayerNorm2d(LayerNorm):
    """Layer normalization over the channels of (B, C, H, W), at each position."""

    def normalize(
        self, x: torch.Tensor, weight: torch.Tensor | None, bias: torch.Tensor | None
    ) -> torch.Tensor:
        """`LayerNorm.normalize` on the channels-last view."""
        return super().normalize(x.permute(0, 2, 3, 1), weight, bias).permute(0, 3, 1, 2)


class RmsNorm(nn.Module):
    """Root mean square normalization (arXiv:1910.07467) over the last axis.

    Args:
        channels: C of the input (..., C), or the trailing shape to normalize over.
        eps: added to the mean square.
        affine: learn a scale per channel.
        device: where the parameters live.
        dtype: type of the parameters.
    """

    weight: nn.Parameter | None

    def __init__(
        self,
        channels: Shape,
        eps: float = 1e-6,
        affine: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.normalized_shape = (channels,) if isinstance(channels, int) else tuple(channels)
        self.eps = eps
        self.elementwise_affine = affine
        weight = torch.empty(self.normalized_shape, device=device, dtype=dtype) if affine else None
        self.register_parameter("weight", None if weight is None else nn.Parameter(weight))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the scale to one."""
        if self.weight is not None:
            nn.init.ones_(self.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (..., C), or (B, C, H, W) for the 2d kinds. Returns: the same shape."""
        return self.normalize(x, self.weight, None)

    def normalize(
        self, x: torch.Tensor, weight: torch.Tensor | None, bias: torch.Tensor | None
    ) -> torch.Tensor:
        """What `forward` does, with the scale given, so that it can be cast first; no shift."""
        return F.rms_norm(x, self.normalized_shape, weight, self.eps)

    def extra_repr(self) -> str:
        """What `repr` shows."""
        return f"{self.normalized_shape}, eps={self.eps}, affine={self.elementwise_affine}"


class RmsNorm2d(RmsNorm):
    """Root mean square normalization over the channels of (B, C, H, W), at each position."""

    def normalize(
        self, x: torch.Tensor, weight: torch.Tensor | None, bias: torch.Tensor | None
    ) -> torch.Tensor:
        """Reduce over dim 1 directly, which keeps the memory format of `x`."""
        y = x * torch.rsqrt(x.square().mean(1, keepdim=True) + self.eps)
        return y if weight is None else y * weight[:, None, None]


class SimpleNorm(RmsNorm):
    """Division by the standard deviation without centring: `x * rsqrt(var(x) + eps) * weight`."""

    def normalize(
        self, x: torch.Tensor, weight: torch.Tensor | None, bias: torch.Tensor | None
    ) -> torch.Tensor:
        """Over the last axes."""
        dims = tuple(range(-len(self.normalized_shape), 0))
        y = x * torch.rsqrt(x.var(dims, keepdim=True) + self.eps)
        return y if weight is None else y * weight


class SimpleNorm2d(RmsNorm):
    """`SimpleNorm` over the channels of (B, C, H, W), at each position."""

    def normalize(
        self, x: torch.Tensor, weight: torch.Tensor | None, bias: torch.Tensor | None
    ) -> torch.Tensor:
        """Over dim 1."""
        y = x * torch.rsqrt(x.var(1, keepdim=True) + self.eps)
        return y if weight is None else y * weight[:, None, None]


class Fp32:
    """Mixin, written before a norm with `normalize`: input and parameters are taken to float32."""

    def normalize(
        self, x: torch.Tensor, weight: torch.Tensor | None, bias: torch.Tensor | None
    ) -> torch.Tensor:
        """`normalize` of the next class, in float32; returns the dtype of `x`."""
        weight = None if weight is None else weight.float()
        bias = None if bias is None else bias.float()
        y: torch.Tensor = super().normalize(x.float(), weight, bias)  # type: ignore[misc]
        return y.to(x.dtype)


class LayerNormFp32(Fp32, LayerNorm):
    """`LayerNorm` computed in float32."""


class LayerNorm2dFp32(Fp32, LayerNorm2d):
    """`LayerNorm2d` computed in float32."""


class RmsNormFp32(Fp32, RmsNorm):
    """`RmsNorm` computed in float32."""


class RmsNorm2dFp32(Fp32, RmsNorm2d):
    """`RmsNorm2d` computed in float32."""


class SimpleNormFp32(Fp32, SimpleNorm):
    """`SimpleNorm` computed in float32."""


class SimpleNorm2dFp32(Fp32, SimpleNorm2d):
    """`SimpleNorm2d` computed in float32."""


class FrozenBatchNorm2d(nn.Module):
    """Batch normalization with fixed statistics and affine parameters, all of them buffers.

    Keys are those of `torch.nn.BatchNorm2d` without `num_batches_tracked`, which is dropped when
    such a state is loaded.

    Args:
        num_features: C of the input (B, C, H, W).
        eps: added to the variance.
        momentum: unused here; kept for the way back to a trainable layer.
        device: where the buffers live.
        dtype: type of the buffers.
    """

    weight: torch.Tensor
    bias: torch.Tensor
    running_mean: torch.Tensor
    running_var: torch.Tensor

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        for name, value in dict(weight=1.0, bias=0.0, running_mean=0.0, running_var=1.0).items():
            self.register_buffer(
                name, torch.full((num_features,), value, device=device, dtype=dtype)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (B, C, H, W). Returns: the same shape."""
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        shift = self.bias - self.running_mean * scale
        # The sums above are over C numbers only; the cast keeps a bf16 network in bf16.
        return x * scale.to(x.dtype)[:, None, None] + shift.to(x.dtype)[:, None, None]

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        state_dict.pop(f"{prefix}num_batches_tracked", None)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def extra_repr(self) -> str:
        """What `repr` shows."""
        return f"{self.num_features}, eps={self.eps}"


NORMS: NameTable[LayerFactory] = NameTable(
    "norm",
    {
        "batchnorm": nn.BatchNorm2d,
        "batchnorm2d": nn.BatchNorm2d,
        "batchnorm1d": nn.BatchNorm1d,
        "groupnorm": GroupNorm,
        "groupnorm1": GroupNorm1,
        "layernorm": LayerNorm,
        "layernorm2d": LayerNorm2d,
        "layernormfp32": LayerNormFp32,
        "layernorm2dfp32": LayerNorm2dFp32,
        "rmsnorm": RmsNorm,
        "rmsnorm2d": RmsNorm2d,
        "rmsnormfp32": RmsNormFp32,
        "rmsnorm2dfp32": RmsNorm2dFp32,
        "simplenorm": SimpleNorm,
        "simplenorm2d": SimpleNorm2d,
        "simplenormfp32": SimpleNormFp32,
        "simplenorm2dfp32": SimpleNorm2dFp32,
        "frozenbatchnorm2d": FrozenBatchNorm2d,
    },
)


@overload
def get_norm_layer(norm_layer: LayerType) -> LayerFactory: ...
@overload
def get_norm_layer(norm_layer: None) -> None: ...
@overload
def get_norm_layer(norm_layer: LayerType | None) -> LayerFactory | None: ...
def get_norm_layer(norm_layer: LayerType | None) -> LayerFactory | None:
    """Norm class of this name; a class or partial is returned as it is, `None`/`""` -> `None`.

    Raises:
        UnknownLayerError: no norm has this name.
    """
    return resolve_layer(NORMS, norm_layer)


def get_norm_name(norm: nn.Module) -> str | None:
    """Return the name, of several the longest, by which `get_norm_layer` knows a norm's class."""
    names = [name for name, cls in NORMS.items() if cls is type(norm)]
    return max(names, key=len, default=None)


def create_norm_layer(layer_name: LayerType, num_features: Shape, **kwargs: Any) -> nn.Module:
    """Build a norm for `num_features` channels; `kwargs` are its own options (`eps`, ...).

    Raises:
        UnknownLayerError: no norm has this name.
    """
    layer = get_norm_layer(layer_name)
    if layer is None:
        raise ValueError(f"no norm to build: got {layer_name!r}. Known: {', '.join(NORMS)}")
    return layer(num_features, **kwargs)
