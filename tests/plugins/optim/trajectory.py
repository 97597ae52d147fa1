"""Optimizers at work, told in a few numbers: what is recorded of the reference and what is tested.

Nothing here knows timm; `record.py` writes `digests.json`, `test_numerics.py` reads it. Two tracks:

* **network**, float64: a small network under cross-entropy, gradients by autograd. It holds what
  optimizers tell apart: convolutions (dense, depthwise, 1x1), a weight before a norm (which the
  loss does not scale with), matrices, vectors and a scalar.
* **formula**, float32: gradients are waves of the step number, so that rounding of a convolution,
  which differs by processor, stays out of what is compared.

Learning rates fall as they do in training; half of the parameters have no weight decay.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

DIGESTS = Path(__file__).with_name("digests.json")
CHECKPOINTS = (1, 2, 10, 25, 50)
STEPS = CHECKPOINTS[-1]
# The generator from which an optimizer may draw is set to this first: the same draws on both sides.
SEED = 1337
SHAPES = {
    "conv": (6, 5, 3, 3),
    "pointwise": (5, 6, 1, 1),
    "depthwise": (6, 1, 3, 3),
    "linear": (17, 18),
    "scale": (6,),
    "bias": (17,),
    "temperature": (),
}

Make = Callable[[list[dict[str, Any]]], torch.optim.Optimizer]


class Network(nn.Module):
    """A network of 5,000 parameters: (B, 3, H, W) pictures to (B, 17) logits."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 18, 3, bias=False)
        self.norm = nn.GroupNorm(3, 18)
        self.depthwise = nn.Conv2d(18, 18, 3, groups=18, padding=1, bias=False)
        self.pointwise = nn.Conv2d(18, 20, 1)
        self.conv = nn.Conv2d(20, 18, 3, padding=1)
        self.linear = nn.Linear(18, 17)
        self.temperature = nn.Parameter(torch.ones(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.gelu(self.norm(self.stem(x)))
        x = F.gelu(self.pointwise(self.depthwise(x)))
        x = self.conv(x).tanh().mean((2, 3))
        return self.linear(x) * self.temperature


def wave(shape: tuple[int, ...] | torch.Size, phase: float) -> torch.Tensor:
    """Return values of unit variance that look like noise and are none: float64 of `shape`."""
    index = torch.arange(math.prod(shape), dtype=torch.float64)
    return torch.sin(index * index * 0.7 + index * 1.9 + phase).mul_(math.sqrt(2)).reshape(shape)


def phase(name: str) -> float:
    """Return an angle for a name, the same on every machine."""
    return zlib.crc32(name.encode()) % 1000 / 7


class NetworkTrack:
    """The float64 track: parameters by name and the gradients that autograd gives."""

    dtype = torch.float64

    def __init__(self) -> None:
        self.model = Network().double()
        self.params = dict(self.model.named_parameters())
        with torch.no_grad():
            for name, p in self.params.items():
                fan_in = p[0].numel() if p.ndim > 1 else 25
                base = float(p.ndim < 2 and not name.endswith("bias"))
                p.copy_(base + wave(p.shape, phase(name)) / math.sqrt(fan_in))
        self.images = wave((5, 3, 6, 6), 0.3)
        self.labels = torch.tensor([0, 3, 7, 11, 16])

    def loss(self, step: int) -> torch.Tensor:
        """Return the loss at the present parameters, the same at every step."""
        return F.cross_entropy(self.model(self.images), self.labels)

    def backward(self, step: int, *, create_graph: bool) -> None:
        """Set the gradients; with their graph for optimizers of second order."""
        params = list(self.params.values())
        grads = torch.autograd.grad(self.loss(step), params, create_graph=create_graph)
        for p, grad in zip(params, grads, strict=True):
            p.grad = grad


class FormulaTrack:
    """The float32 track: gradients that are waves of the step number, pulled towards zero."""

    dtype = torch.float32

    def __init__(self, dtype: torch.dtype = torch.float32, device: str = "cpu") -> None:
        self.params = {
            name: nn.Parameter((0.1 + 0.2 * wave(shape, phase(name))).to(device, dtype))
            for name, shape in SHAPES.items()
        }

    def loss(self, step: int) -> torch.Tensor:
        """Return a loss whose gradient by a parameter is a wave plus a tenth of the parameter."""
        total = torch.zeros((), dtype=torch.float64)
        for name, p in self.params.items():
            linear = wave(p.shape, phase(name) + 0.9 * step).to(p) * (1 + 0.5 * math.cos(step))
            total = total + (p * linear + 0.05 * p * p).sum()
        return total

    def backward(self, step: int, *, create_graph: bool) -> None:
        """Set the gradients; with their graph for optimizers of second order."""
        params = list(self.params.values())
        grads = torch.autograd.grad(self.loss(step), params, create_graph=create_graph)
        for p, grad in zip(params, grads, strict=True):
            p.grad = grad


Track = NetworkTrack | FormulaTrack
TRACKS: dict[str, type[Track]] = {"float64": NetworkTrack, "float32": FormulaTrack}


def groups(track: Track) -> list[dict[str, Any]]:
    """Return two groups as training makes them: what is decayed, and vectors, which are not."""
    params = track.params.values()
    return [
        {"params": [p for p in params if p.ndim > 1]},
        {"params": [p for p in params if p.ndim <= 1], "weight_decay": 0.0},
    ]


def advance(
    track: Track,
    optimizer: torch.optim.Optimizer,
    steps: Iterator[int] | range,
    *,
    falling: bool = True,
) -> None:
    """Take steps, whose numbers count from one, with a learning rate that falls by 1% each."""
    second_order = getattr(optimizer, "is_second_order", False)
    for step in steps:
        if falling:
            for group in optimizer.param_groups:
                first = group.setdefault("first_lr", group["lr"])
                group["lr"] = first * (1 - 0.01 * (step - 1))
        track.backward(step, create_graph=second_order)
        optimizer.step()


def trajectory(track: Track, make: Make, *, falling: bool = True) -> dict[str, dict[str, tuple]]:
    """Return how far parameters have moved at the checkpoints: {step: {name: (value, scale)}}.

    The value is the displacement seen through a wave, one number that every element enters; the
    scale is the displacement's root mean square, against which the value is to be compared.
    """
    start = {name: p.detach().double().clone() for name, p in track.params.items()}
    torch.manual_seed(SEED)
    optimizer = make(groups(track))
    told = {}
    for before, after in zip((0, *CHECKPOINTS), CHECKPOINTS, strict=False):
        advance(track, optimizer, range(before + 1, after + 1), falling=falling)
        told[str(after)] = {
            name: _seen(p.detach().double() - start[name], phase(name) + 1)
            for name, p in track.params.items()
        }
    return told


def _seen(moved: torch.Tensor, angle: float) -> tuple[float, float]:
    root = math.sqrt(moved.numel())
    value = (moved * wave(moved.shape, angle)).sum().item() / root
    return value, moved.norm().item() / root
