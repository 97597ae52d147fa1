"""torch's optimizers, with fused kernels that are right for any memory format and order of events.

A fused kernel walks through a parameter, its gradient and its states as they lie in memory, and
does not look at strides: a channels-last weight with a contiguous gradient, or with the states of a
checkpoint from before `model.to(memory_format=...)`, is silently updated with the wrong elements
(torch 2.15, CPU). So what does not lie as its parameter does is laid out anew before a step.
"""

from __future__ import annotations

import inspect
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.utils._foreach_utils import _get_fused_kernels_supported_devices

from hub_optim.base import FORMS, copied, entries, fits_groups, in_own_form, wrong_state
from hub_optim.lanes import HALF, is_dense
from hub_optim.sharding import is_plain

SCALARS = ("step", "mu_product")
MOMENTS = dict.fromkeys(("step", "exp_avg", "exp_avg_sq"), "")


class TorchOptimizer(Optimizer):
    """Mixed into an optimizer of torch: loads a copy of what it needs, or nothing."""

    #: What a state must hold, each with the option that asks for it; nothing if it always must.
    needs: ClassVar[dict[str, str]]

    def __init_subclass__(cls) -> None:
        cls.__signature__ = inspect.signature(cls.__bases__[-1])  # type: ignore[attr-defined]

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take a copy of a state; what says how steps are run (`fused`, `foreach`) stays as it is.

        Raises:
            ValueError: it is of another optimizer, or of other parameters; nothing has changed.
        """
        state_dict = in_own_form(self, state_dict)
        if fits_groups(self, state_dict):  # otherwise torch says what is wrong
            states = dict(state_dict["state"])
            for index, p, group in entries(self, state_dict):
                for name, value in self.defaults.items():
                    group.setdefault(name, value)
                if states.get(index):
                    self._check(index, p, states[index], group)
                    states[index] = {n: copied(value, p) for n, value in states[index].items()}
            state_dict["state"] = states
        super().load_state_dict(state_dict)

    def _check(self, index: int, p: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        needed = {
            name: torch.empty(() if name in SCALARS else p.shape, device="meta")
            for name, option in self.needs.items()
            if not option or group.get(option)
        }
        for name, first in needed.items():
            value = state.get(name)
            if value is None or torch.as_tensor(value).shape != first.shape:
                raise wrong_state(self, index, p, state, needed)


class AlignedOptimizer(TorchOptimizer):
    """Mixed into an optimizer of torch: fused where it can be, right whatever comes in what order.

    A group that says nothing of its form is fused if torch has a kernel for all of its parameters.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.register_step_pre_hook(align_before_step)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        # On unpickling there are no hooks; on loading a checkpoint there are.
        if align_before_step not in self._optimizer_step_pre_hooks.values():
            self.register_step_pre_hook(align_before_step)

    @property
    def _step_supports_amp_scaling(self) -> bool:
        """Whether a GradScaler leaves it to the kernels to unscale gradients and to skip steps."""
        return all(g["fused"] and not misled(self, g) for g in self.param_groups)

    @_step_supports_amp_scaling.setter
    def _step_supports_amp_scaling(self, value: bool) -> None:
        """Take no notice of torch's constructors, which do not know the groups to come."""

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group.

        Raises:
            ValueError: a parameter has gaps in memory, where no kernel must write.
        """
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        if group["fused"] is None and not any(map(group.get, FORMS)) and group["foreach"] is None:
            group["fused"] = has_kernel(self, group)
        for parameter in group["params"] if group["fused"] else ():
            if not is_dense(parameter):
                self.param_groups.pop()
                raise ValueError(
                    f"a parameter of shape {tuple(parameter.shape)} and strides "
                    f"{parameter.stride()} has gaps in memory, which no fused kernel can step: "
                    "pass fused=False, or make it contiguous"
                )


class Adagrad(AlignedOptimizer, torch.optim.Adagrad):
    """`torch.optim.Adagrad`."""

    needs = dict.fromkeys(("step", "sum"), "")


class Adam(AlignedOptimizer, torch.optim.Adam):
    """`torch.optim.Adam`."""

    needs = MOMENTS | {"max_exp_avg_sq": "amsgrad"}


class AdamW(AlignedOptimizer, torch.optim.AdamW):
    """`torch.optim.AdamW`."""

    needs = Adam.needs


class SGD(AlignedOptimizer, torch.optim.SGD):
    """`torch.optim.SGD`.

    Its kernel leaves momentum as memory happens to be if a GradScaler skips the first step, and
    fails where the first gradient of one parameter comes later than that of another. Here it begins
    as zeros. That is the same but for dampening, which must not touch the first gradient: groups
    with it are not fused. Neither are 16-bit parameters on a CPU before torch 2.14, which stay
    nearly where they are.
    """

    needs = {"momentum_buffer": "momentum"}  # noqa: RUF012


class Adadelta(TorchOptimizer, torch.optim.Adadelta):
    """`torch.optim.Adadelta`."""

    needs = dict.fromkeys(("step", "square_avg", "acc_delta"), "")


class Adamax(TorchOptimizer, torch.optim.Adamax):
    """`torch.optim.Adamax`."""

    needs = dict.fromkeys(("step", "exp_avg", "exp_inf"), "")


class NAdam(TorchOptimizer, torch.optim.NAdam):
    """`torch.optim.NAdam`."""

    needs = MOMENTS | {"mu_product": ""}


class RAdam(TorchOptimizer, torch.optim.RAdam):
    """`torch.optim.RAdam`."""

    needs = MOMENTS


class RMSprop(TorchOptimizer, torch.optim.RMSprop):
    """`torch.optim.RMSprop`."""

    needs = {  # noqa: RUF012
        "step": "",
        "square_avg": "",
        "momentum_buffer": "momentum",
        "grad_avg": "centered",
    }


#: The optimizers of torch, and those to take in their place.
OF_TORCH: dict[Any, type[TorchOptimizer]] = {
    cls.__bases__[-1]: cls
    for cls in (Adagrad, Adam, AdamW, SGD, Adadelta, Adamax, NAdam, RAdam, RMSprop)
}


def has_kernel(optimizer: AlignedOptimizer, group: dict[str, Any]) -> bool:
    """Return whether torch has a fused kernel that steps all parameters of a group."""
    devices = set(_get_fused_kernels_supported_devices())
    if isinstance(optimizer, Adagrad):
        devices = {"cpu"}
    return not misled(optimizer, group) and all(
        is_plain(p) and p.is_floating_point() and p.device.type in devices and is_dense(p)
        for p in group["params"]
    )


def misled(optimizer: Optimizer, group: dict[str, Any]) -> bool:
    """Return whether the kernel for SGD would step a group wrongly."""
    if not isinstance(optimizer, SGD):
        return False
    halves = torch.__version__ < "2.14" and any(
        p.device.type == "cpu" and p.dtype in HALF for p in group["params"]
    )
    return halves or bool(group["dampening"])


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
    """Lay out gradients and states like their parameters where they are not; begin momentum."""
    for group in optimizer.param_groups:
        if misled(optimizer, group):
            group["fused"] = False
        for parameter in group["params"] if group["fused"] else ():
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
            if group.get("momentum") and state.get("momentum_buffer") is None:
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)


def _like(parameter: Tensor, value: Tensor) -> Tensor:
    """Return `value` with the strides of `parameter`."""
    same = value.shape == parameter.shape and all(
        a == b or size <= 1
        for a, b, size in zip(value.stride(), parameter.stride(), value.shape, strict=True)
    )
    if same or value.shape != parameter.shape:
        return value  # the strides of an axis of length 1 mean nothing
    return torch.empty_like(parameter, dtype=value.dtype).copy_(value)
