"""Lookahead: slow weights that follow the fast ones (arXiv 1907.08610)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from hub_optim.arguments import check_options
from hub_optim.sharding import local


class Lookahead(Optimizer):
    """An optimizer around an optimizer: every `k` steps the weights go back part of the way.

    Groups and state are those of the inner optimizer, which also keeps the slow weights: one
    checkpoint holds everything, and one that was written without lookahead can be continued.

    As in timm, the slow weights begin where the fast ones are after the first `k` steps, so the
    first synchronisation changes nothing.

    Args:
        base_optimizer: takes the fast steps.
        alpha: how far the slow weights go towards the fast ones, 0 to 1.
        k: fast steps between two slow ones.
    """

    _base_optimizer: Optimizer
    _settings: dict[str, Any]

    def __init__(self, base_optimizer: Optimizer, alpha: float = 0.5, k: int = 6) -> None:
        check_options(Lookahead, dict(alpha=alpha, k=k))
        if not 0.0 <= alpha <= 1.0:
            raise ValueError(f"alpha={alpha}: the slow weights go a share between 0 and 1")
        if k < 1:
            raise ValueError(f"k={k}: at least 1 fast step lies between two slow ones")
        settings = dict(lookahead_alpha=alpha, lookahead_k=k, lookahead_step=0)
        base_optimizer.defaults.update(settings)
        # The constructor of Optimizer would make groups and state of its own; what else it sets
        # up, the hooks of a step among it, it also sets up on unpickling.
        self.__setstate__(dict(_base_optimizer=base_optimizer, _settings=settings))

    def __getstate__(self) -> dict[str, Any]:
        return dict(_base_optimizer=self._base_optimizer, _settings=self._settings)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.defaults = state["_base_optimizer"].defaults
        super().__setstate__(state)
        self._complete_groups()

    @property
    def base_optimizer(self) -> Optimizer:
        """The optimizer that takes the fast steps."""
        return self._base_optimizer

    @property
    def param_groups(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """The groups of the inner optimizer."""
        return self._base_optimizer.param_groups

    @property
    def state(self) -> dict[Any, Any]:  # type: ignore[override]
        """The state of the inner optimizer."""
        return self._base_optimizer.state

    @property
    def is_second_order(self) -> bool:
        """Whether a step needs `loss.backward(create_graph=True)`."""
        return bool(getattr(self._base_optimizer, "is_second_order", False))

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take a fast step, and the slow one when it is due; return what `closure` returns."""
        loss = self._base_optimizer.step(closure)
        for group in self.param_groups:
            group["lookahead_step"] += 1
            if group["lookahead_step"] % group["lookahead_k"] == 0:
                self.update_slow(group)
        return loss

    @torch.no_grad()
    def update_slow(self, group: dict[str, Any]) -> None:
        """Move the slow weights of a group towards the fast ones, and these onto them."""
        fast = [p for p in group["params"] if p.grad is not None]
        if not fast:
            return
        slow = [local(self._slow_weights(p)) for p in fast]
        here = list(map(local, fast))
        torch._foreach_lerp_(slow, here, group["lookahead_alpha"])
        torch._foreach_copy_(here, slow)

    def sync_lookahead(self) -> None:
        """Take a slow step now, as before an evaluation."""
        for group in self.param_groups:
            self.update_slow(group)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group to the inner optimizer."""
        self._base_optimizer.add_param_group(param_group)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the inner optimizer, in which the slow weights are."""
        return self._base_optimizer.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what `state_dict` returned, of this class or of the inner optimizer alone."""
        self._base_optimizer.load_state_dict(state_dict)
        self._complete_groups()

    def _slow_weights(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        if "lookahead_slow_buff" not in state:
            state["lookahead_slow_buff"] = parameter.detach().clone()
        slow: Tensor = state["lookahead_slow_buff"]
        return slow

    def _complete_groups(self) -> None:
        for group in self.param_groups:
            for key, value in self._settings.items():
                group.setdefault(key, value)
