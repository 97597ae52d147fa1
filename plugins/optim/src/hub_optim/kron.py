"""Kron: PSGD with a preconditioner that is a Kronecker product (1512.04202, 2211.04422).

A parameter of shape (N1, N2, ...) has a factor Q1, Q2, ... for each of its dimensions, triangular,
or diagonal where that is too large. The factors are learned so that Q1 x Q2 x ... whitens the
momentum; the step is momentum times the product's square. Every product runs over one dimension at
a time, so nothing larger than the parameter or a factor is ever made.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor

from hub_optim.arithmetic import Number, add_, scale_
from hub_optim.base import Group, State
from hub_optim.draws import DrawingOptimizer
from hub_optim.engine import decay_rate
from hub_optim.whole import given, like

Factors = list[Tensor]  # (N,) for a diagonal, (N, N) for an upper triangle

MEMORY_SAVE_MODES = (None, "one_diag", "smart_one_diag", "all_diag")
HIGHEST_RMS = 1.1  # of a step; preconditioned momentum has 1 where the preconditioner fits
BALANCED = 0.01  # share of the steps that make the factors equally large
TINY = torch.finfo(torch.bfloat16).tiny


class Kron(DrawingOptimizer):
    """PSGD Kron.

    Args:
        params: parameters or groups of them.
        lr: step size.
        momentum: share of the old momentum.
        weight_decay: added to the step, unless `decoupled_decay`.
        preconditioner_update_probability: share of the steps that learn the factors, or a function
            from the step number to it; None for `update_probability`.
        max_size_triangular: dimensions longer than this have a diagonal factor.
        min_ndim_triangular: parameters of fewer dimensions have diagonal factors.
        memory_save_mode: make diagonal "one_diag", the longest dimension's factor;
            "smart_one_diag", that only if no other is as long; "all_diag", all.
        momentum_into_precond_update: learn from momentum, not from the gradient.
        precond_lr: step size of the factors.
        precond_init_scale: what their product begins as, times the identity.
        mu_dtype: of the momentum; None for the parameter's.
        precond_dtype: of the factors; None for the parameter's, or float32 if that is half.
        decoupled_decay: let weights decay by themselves, as in AdamW.
        corrected_weight_decay: let decoupled decay fall as lr**2 (2506.02285).
        flatten: see some dimensions as one:
        flatten_start_dim: from this one
        flatten_end_dim: to this one.
        stochastic_weight_decay: multiply the decay by a random number between 0 and 2.
        deterministic: draw from a generator seeded for each draw, as timm does under this name.
            The results differ; both ways resume exactly.
        maximize: go up the gradient.

    Raises:
        ValueError: for an unknown memory_save_mode.
    """

    seed = 1337
    own_precision: ClassVar[tuple[str, ...]] = ("momentum_buffer", "Q")

    def __init__(
        self,
        params: Any,
        lr: Number = 1e-3,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        preconditioner_update_probability: Callable[[int], float] | float | None = None,
        *,
        max_size_triangular: int = 2048,
        min_ndim_triangular: int = 2,
        memory_save_mode: str | None = None,
        momentum_into_precond_update: bool = True,
        precond_lr: float = 0.1,
        precond_init_scale: float = 1.0,
        mu_dtype: torch.dtype | None = None,
        precond_dtype: torch.dtype | None = None,
        decoupled_decay: bool = False,
        corrected_weight_decay: bool = False,
        flatten: bool = False,
        flatten_start_dim: int = 2,
        flatten_end_dim: int = -1,
        stochastic_weight_decay: bool = False,
        deterministic: bool = False,
        maximize: bool = False,
    ) -> None:
        defaults = given(locals())
        if memory_save_mode not in MEMORY_SAVE_MODES:
            allowed = ", ".join(map(repr, MEMORY_SAVE_MODES))
            raise ValueError(f"memory_save_mode is {memory_save_mode!r}; it takes {allowed}")
        self._choices = random.Random(self.seed)
        super().__init__(params, defaults)

    def adopt_state(self, state: State, group: Group) -> None:
        """Take the factor of a scalar as a vector; timm has a scalar."""
        super().adopt_state(state, group)
        if isinstance(state.get("Q"), list):
            state["Q"] = [as_array(q) for q in state["Q"]]

    def begin(self, p: Tensor, group: Group) -> State:
        """Return zeros for the momentum, and factors that are multiples of the identity."""
        momentum = like(flattened(p, group))
        factors = first_factors(like(momentum, wide=True), group)
        return {
            "momentum_buffer": momentum.to(group["mu_dtype"] or momentum.dtype),
            "Q": [q.to(group["precond_dtype"] or q.dtype) for q in factors],
            "update_counter": 0,
        }

    def update(self, p: Tensor, g: Tensor, state: State, group: Group, lr: Any) -> None:
        """Move the momentum, learn the factors where that is due, step."""
        step, factors, beta = int(state["step"].item()), state["Q"], group["momentum"]
        g = flattened(g, group)
        m = state["momentum_buffer"].mul_(beta).add_(g, alpha=1 - beta)
        target = (m / (1 - beta**step)).to(factors[0].dtype)
        due = self._is_due(state, group, step - 1)
        if self._choices.random() < BALANCED and due and g.ndim > 1:
            balance(factors)
        if due:
            seen = target if group["momentum_into_precond_update"] else g.to(target.dtype)
            learn(factors, as_array(seen), as_array(self._noise(target, group)), group)
        u = whitened_twice(factors, as_array(target)).to(p.dtype).reshape(p.shape)
        u.mul_((HIGHEST_RMS / (u.norm() / math.sqrt(u.numel()) + 1e-8)).clamp_(max=1.0))
        self._decay(p, u, group, lr)
        add_(p, u, -lr)

    def _is_due(self, state: State, group: Group, steps: int) -> bool:
        """Return whether to learn now: every 1 / probability steps."""
        share = group["preconditioner_update_probability"]
        share = update_probability if share is None else share
        state["update_counter"] += 1
        due = state["update_counter"] >= 1 / (share(steps) if callable(share) else share)
        if due:
            state["update_counter"] = 0
        return bool(due)

    def _noise(self, target: Tensor, group: Group) -> Tensor:
        """Return what the factors are to leave white: normal numbers."""
        device = target.device
        if group["deterministic"]:
            seed = self._choices.randint(0, 2**31)
            generator = torch.Generator(device).manual_seed(seed)
        else:
            generator = self.generator(device)
        return torch.randn(target.shape, generator=generator, dtype=target.dtype, device=device)

    def _decay(self, p: Tensor, u: Tensor, group: Group, lr: Any) -> None:
        if not group["weight_decay"]:
            return
        chance = 2 * self._choices.random() if group["stochastic_weight_decay"] else 1.0
        if group["decoupled_decay"]:
            scale_(p, 1 - chance * decay_rate(group, lr))
        else:
            u.add_(p, alpha=chance * group["weight_decay"])

    def drawn(self) -> dict[str, Any]:
        """Return how far the generators have come, that of choices among them."""
        choices = self.__dict__.setdefault("_choices", random.Random(self.seed))
        return {**super().drawn(), "choices": choices.getstate()}

    def resume(self, drawn: dict[str, Any]) -> None:
        """Let the generators go on from what `drawn` returned."""
        self.__dict__.setdefault("_choices", random.Random(self.seed))
        if "choices" in drawn:
            version, numbers, rest = drawn["choices"]
            self._choices.setstate((version, tuple(numbers), rest))
        super().resume({device: state for device, state in drawn.items() if device != "choices"})


def update_probability(step: int) -> float:
    """Return the share of steps that learn the factors: all of 500, then down to 3% by 4,000."""
    return min(max(math.exp(-0.001 * (step - 500)), 0.03), 1.0)


def flattened(t: Tensor, group: Group) -> Tensor:
    """Return a tensor with the group's range of dimensions as one, if it has them."""
    if not group["flatten"]:
        return t
    start, end = group["flatten_start_dim"], group["flatten_end_dim"]
    end = min(end if end >= 0 else t.ndim + end, t.ndim - 1)
    return t if t.ndim <= start or start > end else t.flatten(start, end)


def as_array(t: Tensor) -> Tensor:
    """Return a scalar as a vector, and anything else as it is."""
    return t.reshape(1) if t.ndim == 0 else t


def first_factors(t: Tensor, group: Group) -> Factors:
    """Return the factors of a parameter like `t` before it has learned."""
    shape = as_array(t).shape
    scale = group["precond_init_scale"] ** (1 / len(shape))
    diagonal = spared(shape, group["memory_save_mode"])
    factors = []
    for i, size in enumerate(shape):
        flat = size == 1 or size > group["max_size_triangular"] or i in diagonal
        q = t.new_full((size,), scale)
        factors.append(q if flat or len(shape) < group["min_ndim_triangular"] else q.diag())
    return factors


def spared(shape: torch.Size, mode: str | None) -> set[int]:
    """Return the dimensions that a memory_save_mode makes diagonal."""
    if mode is None:
        return set()
    if mode == "all_diag":
        return set(range(len(shape)))
    longest = max(range(len(shape)), key=lambda i: (shape[i], i))
    alone = len(shape) > 1 and sorted(shape)[-1] > sorted(shape)[-2]
    return {longest} if mode == "one_diag" or alone else set()


def balance(factors: Factors) -> None:
    """Make the largest element of all factors the same, without a change to their product."""
    sizes = torch.stack([q.abs().amax() for q in factors])
    mean = sizes.prod() ** (1 / len(factors))
    for q, size in zip(factors, sizes.unbind(), strict=True):
        q.mul_(mean / size)


def learn(factors: Factors, seen: Tensor, noise: Tensor, group: Group) -> None:
    """Move the factors so that they whiten `seen`: towards Qgg*Q* = Q^-*vv*Q^-1 (2211.04422).

    Args:
        factors: one for each dimension, changed in place.
        seen: gradient or momentum g.
        noise: v, normal numbers of the same shape.
        group: has `precond_lr`.
    """
    white, inverse = seen, noise.conj()
    for i, q in enumerate(factors):
        white, inverse = multiplied(q, white, i), divided(q, inverse, i)
    for i, q in enumerate(factors):
        have, want = gram(white, i, q.ndim), gram(inverse.conj(), i, q.ndim)
        change, size = (have - want).mul_(group["precond_lr"]), have + want
        if q.ndim == 1:
            q.sub_(change * q / (size.abs().amax() + TINY))
        else:
            q.sub_(change.triu_().div_(spectral_norm_bound(size) + TINY) @ q)


def whitened_twice(factors: Factors, t: Tensor) -> Tensor:
    """Return Q*Qt: momentum times the preconditioner."""
    for i, q in enumerate(factors):
        if q.ndim == 1:
            t = multiplied(q.abs().square() if q.is_complex() else q * q, t, i)
        else:
            t = multiplied(q.mH, multiplied(q, t, i), i)
    return t


def multiplied(q: Tensor, t: Tensor, dim: int) -> Tensor:
    """Return a factor times a tensor along a dimension."""
    moved = t.movedim(dim, -1)
    return (moved * q if q.ndim == 1 else moved @ q.mT).movedim(-1, dim)


def divided(q: Tensor, t: Tensor, dim: int) -> Tensor:
    """Return a tensor times the inverse of a factor, from the right, along a dimension."""
    moved = t.movedim(dim, -1)
    if q.ndim == 1:
        return (moved / q).movedim(-1, dim)
    exact = torch.promote_types(q.dtype, torch.float32)  # LAPACK has nothing less
    rows = moved.reshape(-1, moved.shape[-1]).to(exact)
    solved = torch.linalg.solve_triangular(q.to(exact), rows, upper=True, left=False)
    return solved.to(t.dtype).reshape(moved.shape).movedim(-1, dim)


def gram(t: Tensor, dim: int, ndim: int) -> Tensor:
    """Return the products of a tensor's slices along a dimension: (N, N), or their diagonal."""
    slices = t.movedim(dim, 0).reshape(t.shape[dim], -1)
    if ndim == 2:
        return slices @ slices.mH
    return torch.linalg.vector_norm(slices, dim=1).square()


def spectral_norm_bound(a: Tensor) -> Tensor:
    """Return a lower bound of the spectral norm of a Hermitian matrix, by one power iteration.

    It begins with the row or column of the largest norm.
    """
    largest = a.abs().amax()
    scaled = a / largest
    squares = scaled.abs().square()
    column, row = squares.sum(0).max(0), squares.sum(1).max(0)
    by_column = scaled.index_select(1, column.indices.view(1)).mH @ scaled
    by_row = scaled.index_select(0, row.indices.view(1)) @ scaled.mH
    start = torch.where(column.values > row.values, by_column, by_row)
    bound = ((start / start.norm()) @ scaled.mH).norm() * largest
    return torch.where(largest > 0, bound, largest)
