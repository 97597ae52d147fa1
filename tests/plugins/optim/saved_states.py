"""States of optimizers as text, and the small parameters that they are of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from trajectory import FormulaTrack, phase, wave

RECORDED = Path(__file__).with_name("states.json")
SHAPES = {"weight": (5, 4), "bias": (3,), "temperature": ()}
SAVED, AFTER = 3, 6  # steps before the state was saved, and those at the end
# One name for each form of state that timm writes, by class and option.
OPTIONS: dict[str, dict[str, Any]] = {
    "adafactor": {"min_dim_size_to_factor": 2},
    "cadafactor": {"min_dim_size_to_factor": 2},
    "adafactorbv": {"min_dim_size_to_factor": 2},
}
FORMS = """
    adabelief radabelief adafactor cadafactor adafactorbv adahessian adamp adamuon adamwlegacy
    cadamc adan adopt adoptc kron lamb lambcd laprop lars lion lionc madgrad mars muon
    nadamlegacy nadamw novograd radamlegacy rmsproptf sgdp sgdw csgdc sgd adam adamw nadam radam
    adamax adadelta adagrad rmsprop lookahead_lion lookahead_lamb lookahead_sgd
""".split()


class SmallTrack(FormulaTrack):
    """A track of few elements, in float64."""

    def __init__(self) -> None:
        self.params = {
            name: nn.Parameter(0.1 + 0.2 * wave(shape, phase(name)))
            for name, shape in SHAPES.items()
        }

    def values(self) -> dict[str, Any]:
        """Return all parameters as lists."""
        return {name: p.detach().tolist() for name, p in self.params.items()}

    def set(self, values: dict[str, Any]) -> None:
        """Undo `values`."""
        for name, p in self.params.items():
            p.data = torch.tensor(values[name], dtype=p.dtype)


def encoded(value: Any) -> Any:
    """Return what JSON can hold of a state."""
    if isinstance(value, torch.Tensor):
        return {"tensor": value.tolist(), "dtype": str(value.dtype)}
    if isinstance(value, torch.dtype):
        return {"dtype": str(value)}
    if isinstance(value, dict):
        return {"items": [[key, encoded(item)] for key, item in value.items()]}
    return list(map(encoded, value)) if isinstance(value, list | tuple) else value


def decoded(value: Any) -> Any:
    """Undo `encoded`; tuples come back as lists."""
    if isinstance(value, list):
        return list(map(decoded, value))
    if not isinstance(value, dict):
        return value
    if "items" in value:
        return {key: decoded(item) for key, item in value["items"]}
    dtype = getattr(torch, value["dtype"].removeprefix("torch."))
    return torch.tensor(value["tensor"], dtype=dtype) if "tensor" in value else dtype
