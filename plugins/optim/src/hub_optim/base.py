"""The base of hub's own optimizers: options are checked, saved states taken over or refused.

A state is what the present optimizer needs, name for name and shape for shape, or it is refused
before anything is changed. Those that timm wrote are understood: each class says in `adopt_group`
and `adopt_state` what it is called there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim import Optimizer

from hub_optim.arguments import check_options
from hub_optim.arithmetic import Number
from hub_optim.sharding import distributed_as, is_distributed, whole

Group = dict[str, Any]
State = dict[str, Any]

# How a step is run; that is for the optimizer at hand to say, not for the one that was saved.
FORMS = ("foreach", "fused", "capturable", "differentiable", "compile")


class CheckedOptimizer(Optimizer):
    """Base of `BlockedOptimizer` and `WholeOptimizer`.

    Args:
        params: parameters or groups of them, as torch.optim takes them.
        defaults: hyper-parameters of a group. `lr`, `weight_decay`, `eps`, `momentum` and `betas`
            are checked, here and in each group; `corrected_weight_decay` keeps the rate given here
            as the highest one.

    Raises:
        TypeError: for text in place of a number.
        ValueError: for a hyper-parameter out of its range, or parameters that are sharded where
            the optimizer cannot step these.
    """

    #: Why sharded parameters cannot be stepped; nothing if they can.
    unsharded_only: ClassVar[str] = ""

    def __init__(self, params: Any, defaults: dict[str, Any]) -> None:
        check_options(type(self), defaults)
        if defaults.get("corrected_weight_decay"):
            defaults["max_lr"] = highest_rate(defaults["lr"])
        # torch's schedulers cycle what is among the defaults by these names, be it None.
        absent = {name for name in ("betas", "momentum") if defaults.get(name) is None}
        super().__init__(params, {n: v for n, v in defaults.items() if n not in absent})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, with its own options checked like those of all groups."""
        if isinstance(param_group, dict):
            check_options(type(self), param_group)
        super().add_param_group(param_group)
        if self.unsharded_only and any(map(is_distributed, self.param_groups[-1]["params"])):
            self.param_groups.pop()
            raise ValueError(
                f"{type(self).__name__} cannot step sharded parameters: {self.unsharded_only}"
            )

    # What a subclass says of its states.

    def needed_state(self, p: Tensor, group: Group) -> State:
        """Return what the state of a parameter like `p`, which has no data, begins as."""
        raise NotImplementedError

    def keeps_precision(self, name: str, value: Any, p: Tensor) -> bool:
        """Return whether a saved value has a precision of its own, and not that of `p`."""
        raise NotImplementedError

    def counts_steps(self, group: Group) -> bool:
        """Return whether it matters how many steps there have been before the next."""
        return True

    def adopt_group(self, group: Group) -> None:
        """Give the options of a saved group, in place, the names that they have here."""
        if "max_lr_snapshot" in group:
            group.setdefault("max_lr", group.pop("max_lr_snapshot"))

    def adopt_state(self, state: State, group: Group) -> None:
        """Give the saved state of a parameter, in place, the names and the form it has here."""
        step = state.get("step", group.get("step"))  # timm has it in the group for some
        if step is None and not self.counts_steps(group):
            step = 1
        if step is not None:
            state["step"] = torch.tensor(float(step))

    # What is saved.

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            for name, value in self.defaults.items():
                group.setdefault(name, value)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take a copy of the state of an equal optimizer, be it hub's or timm's.

        What says how steps are run (`foreach`, `capturable`, `compile`) stays as it is.

        Raises:
            ValueError: it is of another optimizer, or of other parameters; nothing has changed.
        """
        state_dict = in_own_form(self, state_dict)
        if fits_groups(self, state_dict):  # otherwise torch says what is wrong
            state_dict = self._taken_over(state_dict)
        super().load_state_dict(state_dict)
        for index, p, _ in entries(self, state_dict):
            for name, value in state_dict["state"].get(index, {}).items():
                if self.keeps_precision(name, value, p):  # torch gives it that of p
                    self.state[p][name] = moved(value, p.device)

    def _taken_over(self, state_dict: dict[str, Any]) -> dict[str, Any]:
        """Return a state dict with the names, forms and shapes that this class needs."""
        groups, states = state_dict["param_groups"], state_dict["state"].copy()
        for group in groups:
            self.adopt_group(group)
        for index, p, group in entries(self, state_dict):
            if states.get(index):
                states[index] = self._adopted(index, p, {**states[index]}, self.defaults | group)
        for group in groups:
            group.pop("step", None)
        return {**state_dict, "state": states}

    def _adopted(self, index: int, p: Tensor, state: State, group: Group) -> State:
        """Return a copy of a parameter's state, in the form of this class; raise if there is none.

        Args:
            index: of the parameter, for the error.
            p: the parameter.
            state: as saved; changed in place.
            group: the saved options of its group.
        """
        self.adopt_state(state, group)
        like = torch.empty(p.shape, dtype=p.dtype, device="meta")
        needed = {"step": torch.zeros((), device="meta"), **self.needed_state(like, group)}
        for name, first in needed.items():
            state[name] = _in_parts(state.get(name), first)
        if not all(_fits(state[name], first) for name, first in needed.items()):
            raise wrong_state(self, index, p, state, needed)
        return {name: copied(value, p) for name, value in state.items()}


def in_own_form(optimizer: Optimizer, state_dict: dict[str, Any]) -> dict[str, Any]:
    """Return a state dict with groups of its own, which say how an optimizer runs what it said."""
    saved = [dict(group) for group in state_dict["param_groups"]]
    for own, group in zip(optimizer.param_groups, saved, strict=False):
        group.update((name, own[name]) for name in FORMS if name in own)
    return {**state_dict, "param_groups": saved}


def fits_groups(optimizer: Optimizer, state_dict: Mapping[str, Any]) -> bool:
    """Return whether a state dict has the groups of an optimizer, each of the same size."""
    own, saved = (
        [len(g["params"]) for g in groups]
        for groups in (optimizer.param_groups, state_dict["param_groups"])
    )
    return own == saved


def entries(
    optimizer: Optimizer, state_dict: Mapping[str, Any]
) -> Iterator[tuple[int, Tensor, Group]]:
    """Yield the number of each parameter in a state dict, the parameter, and its saved group."""
    for own, group in zip(optimizer.param_groups, state_dict["param_groups"], strict=True):
        for index, p in zip(group["params"], own["params"], strict=True):
            yield index, p, group


def wrong_state(
    optimizer: Optimizer, index: int, p: Tensor, state: State, needed: State
) -> ValueError:
    """Return what to raise where a parameter's saved state is not what the optimizer needs."""
    name = type(optimizer).__name__
    return ValueError(
        f"this is no state for {name}: of parameter {index}, of shape {tuple(p.shape)}, it has "
        f"{_described(state)}, but {name} needs {_described(needed)}; load what the same optimizer "
        "has saved of the same parameters, or begin without a state"
    )


def _in_parts(value: Any, first: Any) -> Any:
    """Return complex numbers as real ones where these are due."""
    if isinstance(value, Tensor) and value.is_complex() and not first.is_complex():
        return torch.view_as_real(value)
    return value


def _fits(value: Any, first: Any) -> bool:
    """Return whether a value is of the kind, and a tensor of the shape, of the first one."""
    if isinstance(first, list):
        return (
            isinstance(value, list) and len(value) == len(first) and all(map(_fits, value, first))
        )
    if isinstance(first, Tensor):
        return isinstance(value, Tensor) and value.shape == first.shape
    return value is not None and not isinstance(value, Tensor)


def _described(state: State) -> str:
    """Return the names in a state, with the shapes of tensors."""
    return ", ".join(f"{n} {_shown(v)}" for n, v in state.items() if v is not None) or "nothing"


def _shown(value: Any) -> object:
    if isinstance(value, list):
        return [_shown(item) for item in value]
    return tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__


def copied(value: Any, p: Tensor) -> Any:
    """Return a state in memory of its own, distributed as `p` where it has its shape."""
    if isinstance(value, list):
        return [whole(item).clone() for item in value]
    if not isinstance(value, Tensor):
        return value
    if not is_distributed(p) or value.shape != p.shape:
        return whole(value.detach().clone())
    return distributed_as(value.detach().clone().to(p.device), p)


def moved(value: Any, device: torch.device) -> Any:
    """Return tensors, or lists of them, on a device, in their own precision."""
    if isinstance(value, list):
        return [moved(item, device) for item in value]
    return value.to(device) if isinstance(value, Tensor) else value


def highest_rate(lr: Number) -> float:
    """Return the rate that corrected weight decay compares with."""
    if float(lr) > 0:
        return float(lr)
    raise ValueError(
        f"corrected_weight_decay compares each rate with the highest one, which is lr={lr}; build "
        f"the optimizer with the highest rate of the schedule"
    )
