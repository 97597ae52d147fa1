"""Perceptrons whose hidden layer is multiplied by a gate (arXiv:1612.08083, arXiv:2002.05202)."""

from functools import partial
from typing import Any

import torch
from torch import nn

from ..names import LayerFactory, LayerType
from ..tuples import to_2tuple
from .mlp import Pair, create_act


class GluMlp(nn.Module):
    """A gated MLP whose value and gate are the two halves of one layer.

    Args:
        in_features: D of the input.
        hidden_features: width of value and gate together; `in_features` if not given.
        out_features: D of the output; `in_features` if not given.
        act_layer: activation of the gate by name, class or partial.
        norm_layer: class or partial of a norm before the second layer; none if not given.
        bias: of both layers, or a pair.
        drop: dropout rate of both layers, or a pair.
        use_conv: 1x1 convolutions on (B, D, H, W) instead of linear layers on (..., D).
        gate_last: the second half is the gate, else the first.
        device: where the parameters live.
        dtype: type of the parameters.

    Raises:
        ValueError: an odd width.
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: int | None = None,
        out_features: int | None = None,
        act_layer: LayerType = nn.Sigmoid,
        norm_layer: LayerFactory | None = None,
        bias: bool | Pair = True,
        drop: float | Pair = 0.0,
        use_conv: bool = False,
        gate_last: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        hidden = hidden_features or in_features
        if hidden % 2:
            raise ValueError(f"hidden_features={hidden}: half of it is the gate, give an even one")
        factory: dict[str, Any] = dict(device=device, dtype=dtype)
        linear: LayerFactory = partial(nn.Conv2d, kernel_size=1) if use_conv else nn.Linear
        (bias1, bias2), (drop1, drop2) = to_2tuple(bias), to_2tuple(drop)
        self.chunk_dim = 1 if use_conv else -1
        self.gate_last = gate_last
        self.fc1 = linear(in_features, hidden, bias=bias1, **factory)
        self.act = create_act(act_layer)
        self.drop1 = nn.Dropout(drop1)
        self.norm = nn.Identity() if norm_layer is None else norm_layer(hidden // 2, **factory)
        self.fc2 = linear(hidden // 2, out_features or in_features, bias=bias2, **factory)
        self.drop2 = nn.Dropout(drop2)

    def init_weights(self) -> None:
        """Open the gate: its weights are nearly zero and its biases one."""
        # As in timm the second half, also where the gate is the first.
        open_gate(*(t[t.shape[0] // 2 :] for t in self.fc1.parameters()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (..., in_features). Returns: (..., out_features)."""
        value, gate = self.fc1(x).chunk(2, dim=self.chunk_dim)
        if not self.gate_last:
            value, gate = gate, value
        return self.drop2(self.fc2(self.norm(self.drop1(value * self.act(gate)))))


SwiGLUPacked = partial(GluMlp, act_layer=nn.SiLU, gate_last=False)


class SwiGLU(nn.Module):
    """A gated MLP with a layer for the gate and one for the value, as DINOv2's and EVA02's.

    Args:
        in_features: D of the input.
        hidden_features: width of value and of gate; `in_features` if not given.
        out_features: D of the output; `in_features` if not given.
        act_layer: activation of the gate by name, class or partial.
        norm_layer: class or partial of a norm before the last layer; none if not given.
        bias: of the first and the last layers, or a pair.
        drop: dropout rate, or a pair.
        align_to: round the width up to a multiple of it; 0 leaves it.
        device: where the parameters live.
        dtype: type of the parameters.
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: int | None = None,
        out_features: int | None = None,
        act_layer: LayerType = nn.SiLU,
        norm_layer: LayerFactory | None = None,
        bias: bool | Pair = True,
        drop: float | Pair = 0.0,
        align_to: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        factory: dict[str, Any] = dict(device=device, dtype=dtype)
        hidden = hidden_features or in_features
        if align_to:
            hidden = -(-hidden // align_to) * align_to
        (bias1, bias2), (drop1, drop2) = to_2tuple(bias), to_2tuple(drop)
        self.fc1_g = nn.Linear(in_features, hidden, bias=bias1, **factory)
        self.fc1_x = nn.Linear(in_features, hidden, bias=bias1, **factory)
        self.act = create_act(act_layer)
        self.drop1 = nn.Dropout(drop1)
        self.norm = nn.Identity() if norm_layer is None else norm_layer(hidden, **factory)
        self.fc2 = nn.Linear(hidden, out_features or in_features, bias=bias2, **factory)
        self.drop2 = nn.Dropout(drop2)

    def init_weights(self) -> None:
        """Open the gate: its weights are nearly zero and its biases one."""
        open_gate(self.fc1_g.weight, self.fc1_g.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (..., in_features). Returns: (..., out_features)."""
        x = self.act(self.fc1_g(x)) * self.fc1_x(x)
        return self.drop2(self.fc2(self.norm(self.drop1(x))))


class GatedMlp(nn.Module):
    """The MLP of gMLP (arXiv:2105.08050): a gate that mixes tokens stands in the hidden layer.

    Args:
        in_features: D of the input.
        hidden_features: width between the layers; `in_features` if not given.
        out_features: D of the output; `in_features` if not given.
        act_layer: activation by name, class or partial.
        norm_layer: class or partial of a norm before the second layer; none if not given.
        gate_layer: class or partial of the gate, which halves the width; none if not given.
        bias: of both layers, or a pair.
        drop: dropout rate of both layers, or a pair.
        device: where the parameters live.
        dtype: type of the parameters.

    Raises:
        ValueError: an odd width before a gate.
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: int | None = None,
        out_features: int | None = None,
        act_layer: LayerType = nn.GELU,
        norm_layer: LayerFactory | None = None,
        gate_layer: LayerFactory | None = None,
        bias: bool | Pair = True,
        drop: float | Pair = 0.0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        factory: dict[str, Any] = dict(device=device, dtype=dtype)
        hidden = hidden_features or in_features
        (bias1, bias2), (drop1, drop2) = to_2tuple(bias), to_2tuple(drop)
        self.fc1 = nn.Linear(in_features, hidden, bias=bias1, **factory)
        self.act = create_act(act_layer)
        self.drop1 = nn.Dropout(drop1)
        self.gate: nn.Module = nn.Identity()
        if gate_layer is not None:
            if hidden % 2:
                raise ValueError(f"hidden_features={hidden}: a gate halves it, give an even one")
            self.gate = gate_layer(hidden, **factory)
            hidden //= 2
        self.norm = nn.Identity() if norm_layer is None else norm_layer(hidden, **factory)
        self.fc2 = nn.Linear(hidden, out_features or in_features, bias=bias2, **factory)
        self.drop2 = nn.Dropout(drop2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (B, N, in_features). Returns: (B, N, out_features)."""
        x = self.gate(self.drop1(self.act(self.fc1(x))))
        return self.drop2(self.fc2(self.norm(x)))


def open_gate(weight: torch.Tensor, bias: torch.Tensor | None = None) -> None:
    """Initialise the rows of a gate so that it begins open."""
    nn.init.normal_(weight, std=1e-6)
    if bias is not None:
        nn.init.ones_(bias)
