"""Two-layer perceptrons on tokens and maps, layer scale, global response normalization."""

from typing import Any

import torch
from torch import nn

from ..act.activations import create_act_layer
from ..layout import get_channel_dim, get_spatial_dim
from ..names import LayerFactory, LayerType
from ..tuples import to_2tuple

Pair = tuple[Any, Any]


def create_act(layer: LayerType) -> nn.Module:
    """Build an activation; no name builds an identity."""
    return create_act_layer(layer) or nn.Identity()


class GlobalResponseNorm(nn.Module):
    """Global response normalization of ConvNeXt V2 (arXiv:2301.00808, algorithm 1).

    Args:
        dim: C of the input.
        eps: added to the mean norm.
        channels_last: the input is (B, H, W, C), not (B, C, H, W).
        device: where the parameters live.
        dtype: type of the parameters.
    """

    def __init__(
        self,
        dim: int,
        eps: float = 1e-6,
        channels_last: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        fmt = "NHWC" if channels_last else "NCHW"
        self.eps = eps
        self.spatial_dim = get_spatial_dim(fmt)
        self.channel_dim = get_channel_dim(fmt)
        self.wb_shape = (-1,) if channels_last else (-1, 1, 1)
        self.weight = nn.Parameter(torch.zeros(dim, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.zeros(dim, device=device, dtype=dtype))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: a map. Returns: the same shape."""
        size = x.norm(p=2, dim=self.spatial_dim, keepdim=True)  # one number per channel
        relative = size / (size.mean(self.channel_dim, keepdim=True) + self.eps)
        weight, bias = self.weight.view(self.wb_shape), self.bias.view(self.wb_shape)
        return x + torch.addcmul(bias, weight, x * relative)


class Mlp(nn.Module):
    """Linear, activation, dropout, norm, linear, dropout: the MLP of a transformer block.

    Args:
        in_features: D of the input.
        hidden_features: width between the layers; `in_features` if not given.
        out_features: D of the output; `in_features` if not given.
        act_layer: activation by name, class or partial.
        norm_layer: class or partial of a norm before the second layer; none if not given.
        bias: of both layers, or a pair.
        drop: dropout rate of both layers, or a pair.
        use_conv: 1x1 convolutions on (B, D, H, W) instead of linear layers on (..., D).
        device: where the parameters live.
        dtype: type of the parameters.
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: int | None = None,
        out_features: int | None = None,
        act_layer: LayerType = nn.GELU,
        norm_layer: LayerFactory | None = None,
        bias: bool | Pair = True,
        drop: float | Pair = 0.0,
        use_conv: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        factory: dict[str, Any] = dict(device=device, dtype=dtype)
        hidden = hidden_features or in_features
        options: dict[str, Any] = factory | (dict(kernel_size=1) if use_conv else {})
        linear: LayerFactory = nn.Conv2d if use_conv else nn.Linear
        (bias1, bias2), (drop1, drop2) = to_2tuple(bias), to_2tuple(drop)
        self.fc1 = linear(in_features, hidden, bias=bias1, **options)
        self.act = create_act(act_layer)
        self.drop1 = nn.Dropout(drop1)
        self.norm = nn.Identity() if norm_layer is None else norm_layer(hidden, **factory)
        self.fc2 = linear(hidden, out_features or in_features, bias=bias2, **options)
        self.drop2 = nn.Dropout(drop2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (..., in_features). Returns: (..., out_features)."""
        x = self.norm(self.drop1(self.act(self.fc1(x))))
        return self.drop2(self.fc2(x))


class GlobalResponseNormMlp(nn.Module):
    """`Mlp` with global response normalization between the layers; see it for the arguments.

    x is (B, H, W, D), or (B, D, H, W) with `use_conv`.
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: int | None = None,
        out_features: int | None = None,
        act_layer: LayerType = nn.GELU,
        bias: bool | Pair = True,
        drop: float | Pair = 0.0,
        use_conv: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        factory: dict[str, Any] = dict(device=device, dtype=dtype)
        outer = Mlp(
            in_features,
            hidden_features,
            out_features,
            act_layer,
            None,
            bias,
            drop,
            use_conv,
            **factory,
        )
        self.fc1, self.act, self.drop1 = outer.fc1, outer.act, outer.drop1
        hidden = hidden_features or in_features
        self.grn = GlobalResponseNorm(hidden, channels_last=not use_conv, **factory)
        self.fc2, self.drop2 = outer.fc2, outer.drop2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (B, H, W, in_features). Returns: (B, H, W, out_features)."""
        x = self.grn(self.drop1(self.act(self.fc1(x))))
        return self.drop2(self.fc2(x))


class ConvMlp(nn.Module):
    """Two 1x1 convolutions with norm, activation and dropout between them.

    Args:
        in_features: C of the input (B, C, H, W).
        hidden_features: width between the layers; `in_features` if not given.
        out_features: C of the output; `in_features` if not given.
        act_layer: activation by name, class or partial.
        norm_layer: class or partial of a norm after the first layer; none if not given.
        bias: of both layers, or a pair.
        drop: dropout rate.
        device: where the parameters live.
        dtype: type of the parameters.
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: int | None = None,
        out_features: int | None = None,
        act_layer: LayerType = nn.ReLU,
        norm_layer: LayerFactory | None = None,
        bias: bool | Pair = True,
        drop: float = 0.0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        factory: dict[str, Any] = dict(device=device, dtype=dtype)
        hidden = hidden_features or in_features
        bias1, bias2 = to_2tuple(bias)
        self.fc1 = nn.Conv2d(in_features, hidden, 1, bias=bias1, **factory)
        self.norm = nn.Identity() if norm_layer is None else norm_layer(hidden, **factory)
        self.act = create_act(act_layer)
        self.drop = nn.Dropout(drop)
        self.fc2 = nn.Conv2d(hidden, out_features or in_features, 1, bias=bias2, **factory)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (B, in_features, H, W). Returns: (B, out_features, H, W)."""
        return self.fc2(self.drop(self.act(self.norm(self.fc1(x)))))


class LayerScale(nn.Module):
    """A learned factor per channel on a residual branch (CaiT, arXiv:2103.17239).

    Args:
        dim: D of the input (..., D).
        init_values: the factor at the start.
        inplace: overwrite the input.
        device: where the parameter lives.
        dtype: type of the parameter.
    """

    def __init__(
        self,
        dim: int,
        init_values: float = 1e-5,
        inplace: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.init_values = init_values
        self.inplace = inplace
        self.gamma = nn.Parameter(torch.empty(dim, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the factors to `init_values`."""
        nn.init.constant_(self.gamma, self.init_values)

    def scale(self) -> torch.Tensor:
        """The factors in the shape that multiplies the input."""
        return self.gamma

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (..., D), or (B, D, H, W) for the 2d kind. Returns: the same shape."""
        return x.mul_(self.scale()) if self.inplace else x * self.scale()

    def extra_repr(self) -> str:
        """What `repr` shows."""
        return f"{self.gamma.numel()}, init_values={self.init_values}"


class LayerScale2d(LayerScale):
    """`LayerScale` of (B, D, H, W)."""

    def scale(self) -> torch.Tensor:
        """The factors as (D, 1, 1)."""
        return self.gamma[:, None, None]
