"""Blocks that are trained in one form and run in another: one protocol for all of them.

RepVGG (arXiv:2101.03697), MobileOne, RepViT, FastViT and others train several branches, each with a
BatchNorm, whose sum is one convolution once the statistics of the norms stand still.
"""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from hub_inference.tracing import is_watched

Module = TypeVar("Module", bound=nn.Module)

#: The methods that ask a block for the form that it runs in; of several a block's first counts.
METHODS = {
    "reparameterize": "the protocol, timm's byobnet, fastvit, ghostnet, lcnetv2, nextvit, ...",
    "fuse": "an alias, of LeViT and those after it: RepViT, EfficientViT, SHViT, iFormer, TinyViT",
    "switch_to_deploy": "an alias, of the authors of RepVGG and of what is built on their code",
}


@runtime_checkable
class Reparameterizable(Protocol):
    """A block that is trained in one form and runs in another, with equal outputs.

    A block need neither inherit from this class nor import it: to have the method is enough, so
    the families and hub-layers need no hub-inference. What the method promises:

    * The outputs afterwards are those of evaluation mode before, up to rounding.
    * What ran only in training is no longer registered, so the state dict holds what is left.
    * A second call changes nothing.
    * It may ask blocks that it holds; each is asked once, the outermost first.

    It is called in evaluation mode and without gradients. `isinstance` tells who has the method;
    `hub.fuse`, `hub.optimize` and `hub.reparameterize_model` ask those whose class defines it
    without further arguments, and know the other names in `METHODS`.

    Example:
        >>> import hub, torch
        >>> class Twofold(torch.nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.a, self.b = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)
        ...     def forward(self, x):
        ...         return self.a(x) + self.b(x)
        ...     def reparameterize(self):
        ...         self.a.weight += self.b.weight
        ...         self.a.bias += self.b.bias
        ...         return self.a
        >>> hub.reparameterize_model(torch.nn.Sequential(Twofold()).eval())
        Sequential(
          (0): Linear(in_features=4, out_features=4, bias=True)
        )
    """

    def reparameterize(self) -> nn.Module | None:
        """Take the form to run in; return what goes in the block's place, None: it stays there."""


class Asked(NamedTuple):
    """Paths of the blocks that were asked for the form they run in, and of those left alone."""

    changed: list[str]
    left: list[str]


def reparameterize_model(model: Module, inplace: bool = False) -> Module:
    """Return a network whose blocks have the form that they run in, with equal outputs.

    This is timm's function of that name. Norms outside such blocks stay: `hub.fuse` folds them too.
    Blocks with hooks on them or inside are left as they are.

    Args:
        model: any network, in evaluation mode.
        inplace: change the network itself instead of a copy. A network that is a block itself may
            still be replaced: use what is returned.

    Raises:
        ValueError: the network, or a norm in it, is in training mode.
    """
    refuse_training(model, "re-parameterised")
    if not inplace:
        model = copy.deepcopy(model)
    with torch.no_grad():
        model, asked = reparameterize(model)
    if asked.changed:
        model._is_fused = True  # type: ignore[assignment]
    return model


def refuse_training(model: nn.Module, done: str) -> None:
    """Refuse a network whose statistics are not those that it will run with.

    Raises:
        ValueError: the network, or a norm in it, is in training mode.
    """
    if model.training or any(m.training for m in model.modules() if isinstance(m, _BatchNorm)):
        raise ValueError(
            f"a network in training mode cannot be {done}: the statistics of its norms still "
            "change; call model.eval() first"
        )


def reparameterize(model: Module) -> tuple[Module, Asked]:
    """Ask each block of a network once, in place, the outermost first; return it and their paths.

    The network comes back as another module where it is itself a block that another replaces.
    """
    asked = Asked([], [])
    calls: dict[Any, str] = {}
    for path, module in model.named_modules():
        method = _method(module)
        if method and any(map(is_watched, module.modules())):
            asked.left.append(path)
        elif method:
            calls[module] = method
            # An outer block may ask an inner one, which then must not be asked again.
            setattr(module, method, _once(getattr(module, method), path, asked.changed))
    try:
        for module, method in calls.items():
            if module in set(model.modules()):
                made = getattr(module, method)()
                if isinstance(made, nn.Module) and made is not module:
                    model = replace(model, module, made.train(module.training))
    finally:
        for module, method in calls.items():
            vars(module).pop(method, None)
    return model, asked


def replace(model: Any, old: nn.Module, new: nn.Module) -> Any:
    """Put a module in the place of another, wherever that is registered; return the network."""
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            if child is old:
                parent._modules[name] = new
    return new if model is old else model


def _once(method: Callable[[], Any], path: str, called: list[str]) -> Callable[[], Any]:
    """Return the method, to be carried out at its first call, which is noted."""

    @functools.cache
    def call() -> Any:
        called.append(path)
        return method()

    return call


def _method(module: nn.Module) -> str | None:
    """Return the name of the method that asks this block; None where it is no such block."""
    return next((name for name in METHODS if _has_method(module, name)), None)


def _has_method(module: nn.Module, name: str) -> bool:
    """Return whether the class has such a method (not a layer of that name) without arguments."""
    if not inspect.isfunction(getattr(type(module), name, None)):
        return False
    parameters = inspect.signature(getattr(module, name)).parameters.values()
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return all(p.default is not p.empty or p.kind in variadic for p in parameters)
