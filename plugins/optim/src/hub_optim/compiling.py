"""`compile=True` for optimizers that cannot compile themselves: torch's and those of others."""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


def compile_step(optimizer: Optimizer) -> None:
    """Make an optimizer step in compiled kernels, from the next step on.

    A rate that is a number becomes a constant of the kernel, and every change of it another
    compilation; so each group gets its rate as a tensor, and keeps it if a number is written.
    A copy of the optimizer, by pickle or `deepcopy`, is not compiled.
    """
    step = type(optimizer).step
    run = torch.compile(lambda: step(optimizer))
    rates: list[Tensor] = []

    def compiled(self: Optimizer, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        hold_rates(self, rates)
        run()
        return loss

    # A bound method, because torch's schedulers look for the function inside of it.
    optimizer.step = MethodType(compiled, optimizer)  # type: ignore[method-assign]


def hold_rates(optimizer: Optimizer, rates: list[Tensor]) -> None:
    """Let every group have its rate in its tensor of `rates`, which grows with the groups."""
    for i, group in enumerate(optimizer.param_groups):
        if i == len(rates):
            device = group["params"][0].device if group["params"] else torch.device("cpu")
            # Elsewhere double precision may not exist, and costs more than it gives.
            dtype = torch.float64 if device.type == "cpu" else torch.float32
            rates.append(torch.zeros((), dtype=dtype, device=device))
        if group["lr"] is not rates[i]:
            rates[i].fill_(float(group["lr"]))
            group["lr"] = rates[i]
