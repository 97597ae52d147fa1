"""oneDNN's packed convolutions and linear layers, for inference on CPUs.

The one module that calls private operators of torch (`torch.ops.mkldnn`, those that torch.compile
generates). They have no promise to stay as they are, so `unavailable` compares their signatures
with those that this was written for, and whoever asks does without where they differ.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Layer = nn.Conv2d | nn.Linear

_POINTWISE = "str attr, Scalar?[] scalars, str? algorithm) -> Tensor Y"
_SHAPE = "int[] padding, int[] stride, int[] dilation, int groups"
#: The operators, by the arguments that they had when this was written (torch 2.8 to 2.15).
_SCHEMAS = {
    "_reorder_convolution_weight": "(Tensor self, int[2] padding=0, int[2] stride=1, "
    "int[2] dilation=1, int groups=1, int[]? input_size=None) -> Tensor Y",
    "_reorder_linear_weight": "(Tensor self, int? batch_size=None) -> Tensor Y",
    "_convolution_pointwise": f"(Tensor X, Tensor W, Tensor? B, {_SHAPE}, {_POINTWISE}",
    "_linear_pointwise": f"(Tensor X, Tensor W, Tensor? B, {_POINTWISE}",
    "_get_mkldnn_serialized_md": "(Tensor mkldnn_tensor) -> Tensor",
}
#: Shapes of inputs that a layer is packed for; further ones are computed with the first layout.
CASES = 8


class Activation(NamedTuple):
    """An activation that oneDNN applies while it writes the output of a layer."""

    name: str = "none"
    scalars: tuple[float, ...] = ()
    algorithm: str = ""


NO_ACTIVATION = Activation()
_ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    Activation("relu"): F.relu,
    Activation("sigmoid"): torch.sigmoid,
    Activation("tanh"): torch.tanh,
    Activation("swish"): F.silu,
    Activation("hardswish"): F.hardswish,
    Activation("hardtanh", (0.0, 6.0)): F.relu6,
    Activation("gelu", (), "none"): F.gelu,
    Activation("gelu", (), "tanh"): functools.partial(F.gelu, approximate="tanh"),
}


@functools.cache
def unavailable() -> str:
    """Return why layers cannot be packed here; empty where they can."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return "this torch is built without oneDNN"
    for name, signature in _SCHEMAS.items():
        operator = getattr(torch.ops.mkldnn, name, None)
        if operator is None:
            return f"this torch has no mkldnn::{name}"
        found = str(operator.default._schema).removeprefix(f"mkldnn::{name}")
        if found != signature:
            return f"mkldnn::{name} has other arguments than hub knows: {found}"
    return ""


def activation(module: nn.Module) -> Activation | None:
    """Return the activation that a module without parameters computes, None where it is no known.

    It is told by what the module returns, so that it may be of any class.
    """
    x = torch.linspace(-9, 9, 720, dtype=torch.float64).view(2, 3, 10, 12)
    try:
        found = module(x.clone())
    except Exception:  # what is no activation may refuse such a tensor in any way
        return None
    for known, function in _ACTIVATIONS.items():
        same = isinstance(found, Tensor) and found.shape == x.shape
        if same and torch.allclose(found, function(x), rtol=0, atol=1e-12):
            return known
    return None


def refusal(layer: Layer) -> str:
    """Return why this convolution or linear layer cannot be packed; empty where it can."""
    weight = layer.weight
    plain_conv = getattr(type(layer), "_conv_forward", None) is nn.Conv2d._conv_forward
    if type(layer).forward is not nn.Linear.forward and not (
        type(layer).forward is nn.Conv2d.forward and plain_conv
    ):
        return f"{type(layer).__name__} is no plain Conv2d or Linear"
    if type(weight) not in (Tensor, nn.Parameter) or weight.layout is not torch.strided:
        return f"its weight is a {type(weight).__name__}"
    if weight.device.type != "cpu":
        return f"its weight is on {weight.device}"
    if not _is_supported(weight.dtype):
        return f"oneDNN does not compute in {weight.dtype} on this CPU"
    if isinstance(layer, nn.Conv2d) and layer.padding_mode != "zeros":
        return f"it pads with {layer.padding_mode}"
    if isinstance(layer, nn.Conv2d) and _padding(layer) is None:
        return "it pads one side more than the other"
    return ""


def _is_supported(dtype: torch.dtype) -> bool:
    checks = {
        torch.bfloat16: torch.ops.mkldnn._is_mkldnn_bf16_supported,
        torch.float16: torch.ops.mkldnn._is_mkldnn_fp16_supported,
    }
    return dtype is torch.float32 or (dtype in checks and bool(checks[dtype]()))


def _padding(conv: nn.Conv2d) -> list[int] | None:
    """Return the padding in numbers, None where the sides differ."""
    if conv.padding == "valid":
        return [0, 0]
    if isinstance(conv.padding, str):
        spans = zip(conv.dilation, conv.kernel_size, strict=True)
        total = [dilation * (size - 1) for dilation, size in spans]
        return None if any(t % 2 for t in total) else [t // 2 for t in total]
    return list(conv.padding)


class _Packed(nn.Module):
    """A layer whose weight lies in memory as oneDNN wants it.

    Which layout that is depends on the shape of the input and on torch's number of threads, and
    with another one the weight is reordered at every call. So it is packed again for each of the
    first `CASES` of these, and held once per layout. The layer has no gradients and no state dict,
    it copies and pickles, and it stays on the CPU in its dtype.

    Args:
        layer: what it stands for; `refusal` must be empty.
        shape: shape of an input.
        after: activation applied to the output.
    """

    bias: Any

    def __init__(self, layer: Layer, shape: Sequence[int], after: Activation) -> None:
        nn.Module.__init__(self)
        for name in layer.__constants__:
            setattr(self, name, getattr(layer, name))
        bias = layer.bias
        held = None if bias is None else nn.Parameter(bias.detach(), requires_grad=False)
        self.register_parameter("bias", held)
        self.after, self.shape = after, tuple(shape)
        self._set(layer.weight.detach().contiguous())
        self.training = False

    def _set(self, weight: Tensor) -> None:
        self._packed = self._pack(weight, self.shape)
        self._layouts = {(torch.get_num_threads(), self.shape): self._packed}

    def _pack(self, weight: Tensor, shape: Sequence[int]) -> Tensor:
        """Return the weight in the layout that is fastest with an input of this shape."""
        raise NotImplementedError

    def _packed_for(self, x: Tensor) -> Tensor:
        """Return the weight in the layout that is fastest with this input."""
        if x.dtype is not self._packed.dtype:
            raise TypeError(
                f"the input is {x.dtype}, and the network was optimised for {self._packed.dtype}: "
                "convert the input, or call hub.optimize with another dtype"
            )
        case = torch.get_num_threads(), x.shape
        known = self._layouts.get(case)
        if known is not None:
            return known
        if len(self._layouts) >= CASES:
            return self._packed
        with torch.inference_mode(mode=False), torch.no_grad():
            new = self._pack(self.weight, x.shape)
        same = (held for held in self._layouts.values() if _lie_alike(held, new))
        return self._layouts.setdefault(case, next(same, new))

    @property
    def weight(self) -> Tensor:
        """The weight, unpacked: a copy."""
        weight: Tensor = self._packed.to_dense()
        return weight

    def __getstate__(self) -> dict[str, Any]:
        # What is packed has no storage to copy.
        return {**self.__dict__, "_packed": self.weight, "_layouts": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._set(self._packed)

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        probe = torch.empty(0, dtype=self._packed.dtype)
        moved = fn(probe)
        if (moved.dtype, moved.device) != (probe.dtype, probe.device):
            raise RuntimeError(
                f"an optimised network stays {probe.dtype} on {probe.device}: convert or move the "
                "network that it was made from, and call hub.optimize again"
            )
        return self

    def _save_to_state_dict(self, *_: Any) -> None:
        raise RuntimeError(
            "an optimised network has no state dict: save the network that it was made from"
        )

    def _load_from_state_dict(self, *_: Any) -> None:
        raise RuntimeError(
            "an optimised network loads no state dict: load it into the network that it was made "
            "from, and call hub.optimize again"
        )


class PackedConv2d(_Packed, nn.Conv2d):  # type: ignore[override]
    """A packed 2-d convolution, with the activation after it."""

    def _pack(self, weight: Tensor, shape: Sequence[int]) -> Tensor:
        padding = _padding(self)
        assert padding is not None
        self._steps = (padding, list(self.stride), list(self.dilation), self.groups)
        packed: Tensor = torch.ops.mkldnn._reorder_convolution_weight(
            weight, *self._steps, (1, *shape)[-4:]
        )
        return packed

    def forward(self, input: Tensor) -> Tensor:
        """input: (B, C, H, W) or (C, H, W). Returns (B, C', H', W') or (C', H', W')."""
        if input.dim() == 3:
            return self.forward(input[None])[0]
        packed = self._packed_for(input)
        x = input.contiguous(memory_format=torch.channels_last)
        y: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, packed, self.bias, *self._steps, *self.after
        )
        return y


class PackedLinear(_Packed, nn.Linear):  # type: ignore[override]
    """A packed linear layer, with the activation after it."""

    def _pack(self, weight: Tensor, shape: Sequence[int]) -> Tensor:
        rows = math.prod(shape[:-1])
        packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, rows)
        return packed

    def forward(self, input: Tensor) -> Tensor:
        """input: (..., C). Returns (..., C')."""
        packed = self._packed_for(input)
        y: Tensor = torch.ops.mkldnn._linear_pointwise(input, packed, self.bias, *self.after)
        return y


def pack(layer: Layer, shape: Sequence[int], after: Activation = NO_ACTIVATION) -> nn.Module:
    """Return a packed layer that computes the same as `after` of `layer`.

    Args:
        layer: a convolution or linear layer for which `refusal` is empty.
        shape: shape of its input.
        after: an activation to apply to its output.
    """
    kind = PackedConv2d if isinstance(layer, nn.Conv2d) else PackedLinear
    return kind(layer, shape, after)


def _lie_alike(a: Tensor, b: Tensor) -> bool:
    """Return whether two packed weights have the same layout."""
    describe = torch.ops.mkldnn._get_mkldnn_serialized_md
    return torch.equal(describe(a), describe(b))
