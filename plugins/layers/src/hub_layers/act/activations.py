"""Activations by name.

Each class takes `inplace`, also where the operation cannot use it, so that a network may swap one
for another without asking. The fused kernels of torch are used wherever there is one.
"""

from collections.abc import Callable
from typing import Any, overload

import torch
import torch.nn.functional as F
from torch import nn

from ..names import LayerFactory, LayerType, NameTable, accepts, resolve_layer

ActFn = Callable[..., torch.Tensor]

swish = F.silu
mish = F.mish
hard_swish = F.hardswish
hard_sigmoid = F.hardsigmoid
Swish = nn.SiLU
Mish = nn.Mish
HardSwish = nn.Hardswish
HardSigmoid = nn.Hardsigmoid


def sigmoid(x: torch.Tensor, inplace: bool = False) -> torch.Tensor:
    """Logistic function."""
    return x.sigmoid_() if inplace else x.sigmoid()


def tanh(x: torch.Tensor, inplace: bool = False) -> torch.Tensor:
    """Hyperbolic tangent."""
    return x.tanh_() if inplace else x.tanh()


def gelu(x: torch.Tensor, inplace: bool = False) -> torch.Tensor:
    """Gaussian error linear unit, exact (arXiv:1606.08415); never in place."""
    return F.gelu(x)


def gelu_tanh(x: torch.Tensor, inplace: bool = False) -> torch.Tensor:
    """GELU by the tanh approximation of arXiv:1606.08415; never in place."""
    return F.gelu(x, approximate="tanh")


def quick_gelu(x: torch.Tensor, inplace: bool = False) -> torch.Tensor:
    """GELU by the sigmoid approximation that the original CLIP uses; never in place."""
    return x * torch.sigmoid(1.702 * x)


def hard_mish(x: torch.Tensor, inplace: bool = False) -> torch.Tensor:
    """Piecewise quadratic stand-in for mish: `x / 2 * clamp(x + 2, 0, 2)`."""
    gate = (x + 2).clamp(0, 2) / 2
    return x.mul_(gate) if inplace else x * gate


def identity(x: torch.Tensor, inplace: bool = False) -> torch.Tensor:
    """Return `x`."""
    return x


class _Activation(nn.Module):
    """A function as a module."""

    fn: ActFn

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: any shape. Returns: the same shape."""
        return type(self).fn(x, inplace=self.inplace)

    def extra_repr(self) -> str:
        """What `repr` shows."""
        return "inplace=True" if self.inplace else ""


class Sigmoid(_Activation):
    """Logistic function."""

    fn = staticmethod(sigmoid)


class Tanh(_Activation):
    """Hyperbolic tangent."""

    fn = staticmethod(tanh)


class GELU(_Activation):
    """Exact GELU (arXiv:1606.08415)."""

    fn = staticmethod(gelu)


class GELUTanh(_Activation):
    """GELU, tanh approximation."""

    fn = staticmethod(gelu_tanh)


class QuickGELU(_Activation):
    """GELU, sigmoid approximation of the original CLIP."""

    fn = staticmethod(quick_gelu)


class HardMish(_Activation):
    """Piecewise quadratic stand-in for mish."""

    fn = staticmethod(hard_mish)


class PReLU(nn.PReLU):
    """PReLU (arXiv:1502.01852) that tolerates `inplace`."""

    def __init__(
        self,
        num_parameters: int = 1,
        init: float = 0.25,
        inplace: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(num_parameters, init, device=device, dtype=dtype)


ACTIVATIONS: NameTable[LayerFactory] = NameTable(
    "activation",
    {
        "silu": nn.SiLU,
        "swish": nn.SiLU,
        "mish": nn.Mish,
        "relu": nn.ReLU,
        "relu6": nn.ReLU6,
        "leaky_relu": nn.LeakyReLU,
        "elu": nn.ELU,
        "prelu": PReLU,
        "celu": nn.CELU,
        "selu": nn.SELU,
        "gelu": GELU,
        "gelu_tanh": GELUTanh,
        "quick_gelu": QuickGELU,
        "sigmoid": Sigmoid,
        "tanh": Tanh,
        "hard_sigmoid": nn.Hardsigmoid,
        "hard_swish": nn.Hardswish,
        "hard_mish": HardMish,
        "identity": nn.Identity,
    },
)

# prelu is missing: it owns a parameter.
ACTIVATION_FNS: NameTable[ActFn] = NameTable(
    "activation function",
    {
        "silu": F.silu,
        "swish": F.silu,
        "mish": F.mish,
        "relu": F.relu,
        "relu6": F.relu6,
        "leaky_relu": F.leaky_relu,
        "elu": F.elu,
        "celu": F.celu,
        "selu": F.selu,
        "gelu": gelu,
        "gelu_tanh": gelu_tanh,
        "quick_gelu": quick_gelu,
        "sigmoid": sigmoid,
        "tanh": tanh,
        "hard_sigmoid": F.hardsigmoid,
        "hard_swish": F.hardswish,
        "hard_mish": hard_mish,
        "identity": identity,
    },
)


@overload
def get_act_layer(name: LayerType = ...) -> LayerFactory: ...
@overload
def get_act_layer(name: None) -> None: ...
@overload
def get_act_layer(name: LayerType | None) -> LayerFactory | None: ...
def get_act_layer(name: LayerType | None = "relu") -> LayerFactory | None:
    """Activation class of this name; a class or partial stays as it is, `None`/`""` -> `None`.

    Raises:
        UnknownLayerError: no activation has this name.
    """
    return resolve_layer(ACTIVATIONS, name)


def get_act_fn(name: str | ActFn | None = "relu") -> ActFn | None:
    """Activation function of this name; callables stay as they are, `None`/`""` -> `None`.

    Raises:
        UnknownLayerError: no activation function has this name.
    """
    return ACTIVATION_FNS[name] if name and isinstance(name, str) else (name or None)


def create_act_layer(
    name: LayerType | None, inplace: bool | None = None, **kwargs: Any
) -> nn.Module | None:
    """Build an activation.

    Args:
        name: a name, class or partial; `None`/`""` -> `None`.
        inplace: passed on where the activation knows it; `None` leaves its own default.
        **kwargs: the activation's own options, for example `negative_slope`.

    Raises:
        UnknownLayerError: no activation has this name.
    """
    layer = get_act_layer(name)
    if layer is None:
        return None
    if inplace is not None and accepts(layer, "inplace"):
        kwargs["inplace"] = inplace
    return layer(**kwargs)
