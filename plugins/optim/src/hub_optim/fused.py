"""torch's fused kernels, safe for any memory format.

A fused kernel walks through a parameter, its gradient and its states as they lie in memory, and
does not look at strides: a channels-last weight with a contiguous gradient, or with the states of a
checkpoint from before `model.to(memory_format=...)`, is silently updated with the wrong elements
(torch 2.15, CPU). So what does not lie as its parameter does is laid out anew before a step.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils._foreach_utils import _get_fused_kernels_supported_devices

from hub_optim.lanes import is_dense


class AlignedOptimizer(Optimizer):
    """Mixed into an optimizer of torch: gradients and states lie like their parameters."""

    def __init_subclass__(cls) -> None:
        cls.__signature__ = inspect.signature(cls.__bases__[1])  # type: ignore[attr-defined]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.register_step_pre_hook(align_before_step)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        # On unpickling there are no hooks; on loading a checkpoint there are.
        if align_before_step not in self._optimizer_step_pre_hooks.values():
            self.register_step_pre_hook(align_before_step)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group.

        Raises:
            ValueError: a parameter has gaps in memory, where no kernel must write.
        """
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        for parameter in group["params"] if group.get("fused") else ():
            if not is_dense(parameter):
                raise ValueError(
                    f"a parameter of shape {tuple(parameter.shape)} and strides "
                    f"{parameter.stride()} has gaps in memory, which no fused kernel can step: "
                    "pass fused=False, or make it contiguous"
                )


class Adagrad(AlignedOptimizer, torch.optim.Adagrad):
    """`torch.optim.Adagrad` for the fused kernel."""


class Adam(AlignedOptimizer, torch.optim.Adam):
    """`torch.optim.Adam` for the fused kernel."""


class AdamW(AlignedOptimizer, torch.optim.AdamW):
    """`torch.optim.AdamW` for the fused kernel."""


class SGD(AlignedOptimizer, torch.optim.SGD):
    """`torch.optim.SGD` for the fused kernel."""


#: The optimizers of torch with a fused kernel, and those to take in their place.
ALIGNED: dict[Any, type[AlignedOptimizer]] = {
    torch.optim.Adagrad: Adagrad,
    torch.optim.Adam: Adam,
    torch.optim.AdamW: AdamW,
    torch.optim.SGD: SGD,
}


def has_kernel(cls: Any, parameters: list[Tensor]) -> bool:
    """Return whether torch has a fused kernel that steps all these parameters.

    Args:
        cls: a class of torch.
        parameters: plain tensors; none of another kind has a kernel.
    """
    devices = set(_get_fused_kernels_supported_devices())
    if cls is torch.optim.Adagrad:
        devices = {"cpu"}
    return cls in ALIGNED and all(
        type(p) in (Tensor, nn.Parameter)
        and p.is_floating_point()
        and p.device.type in devices
        and is_dense(p)
        for p in parameters
    )


def align_before_step(
    optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """Align what there is now or, given a closure, what there is when it has been called."""
    closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
    if closure is None:
        align(optimizer)
        return None

    def aligned_closure() -> Any:
        loss = closure()
        align(optimizer)
        return loss

    return (args[0], aligned_closure), {}


@torch.no_grad()
def align(optimizer: Optimizer) -> None:
    """Lay out gradients and states like their parameters, where they are not."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            gradient = parameter.grad
            if gradient is None or gradient.is_sparse:
                continue
            strides = parameter.stride()
            if gradient.stride() != strides:
                parameter.grad = _like(parameter, gradient)
            state = optimizer.state.get(parameter) or {}
            for name, value in state.items():
                if isinstance(value, Tensor) and value.dim() and value.stride() != strides:
                    state[name] = _like(parameter, value)


def _like(parameter: Tensor, value: Tensor) -> Tensor:
    """Return `value` with the strides of `parameter`."""
    same = value.shape == parameter.shape and all(
        a == b or size <= 1
        for a, b, size in zip(value.stride(), parameter.stride(), value.shape, strict=True)
    )
    if same or value.shape != parameter.shape:
        return value  # the strides of an axis of length 1 mean nothing
    return torch.empty_like(parameter, dtype=value.dtype).copy_(value)
