"""AdamP and SGDP (2006.08217): steps that do not lengthen weights whose length means nothing.

Before a norm only a weight's direction counts, and momentum lengthens it, which lowers the rate at
which it turns. Where gradients are nearly at right angles to the weight, as they are there, the
part of the step along the weight is taken out: u - w <w, u> / |w|^2, for each output channel, else
for the whole layer. All of it is one pass for the step and its products with the weight, and a
second one, w * (1 - decay + rate * <w, u> / |w|^2) - rate * u, in blocks of rows on a CPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from hub_optim.arithmetic import Number, add_, scale_
from hub_optim.base import Group, State
from hub_optim.lanes import BLOCK_BYTES, at_host
from hub_optim.whole import WholeOptimizer, given, like, steps_taken

Rows = Mapping[str, Tensor]
Direct = Callable[[Tensor, Rows, Tensor], None]  # of a gradient, the moments, and what to write


class Projection(NamedTuple):
    """What is taken out of a direction: per channel, over the layer, or nothing.

    Args:
        by_channel: each channel is projected by itself: a bool tensor of no dimension.
        by_layer: the layer is projected as one.
        squares: (out,), squared lengths of channels.
        square: squared length of the layer.
    """

    by_channel: Tensor
    by_layer: Tensor
    squares: Tensor
    square: Tensor

    def along(self, products: Tensor) -> Tensor:
        """Return multiples of the weight to take out, (out,), from products with it, (out,)."""
        layer = torch.where(self.by_layer, products.sum() / self.square, 0.0)
        return torch.where(self.by_channel, products / self.squares, layer)


class Projected(WholeOptimizer):
    """What AdamP and SGDP share: the projection and the step; a subclass has the direction."""

    moments: ClassVar[tuple[str, ...]]

    def begin(self, p: Tensor, group: Group) -> State:
        """Return zeros for the moments."""
        return {name: like(p) for name in self.moments}

    def directing(self, group: Group, step: Number) -> Direct:
        """Return a function that moves the moments by a gradient and writes where to go."""
        raise NotImplementedError

    def rates(self, group: Group, lr: Any, step: Number) -> tuple[Any, Any]:
        """Return the rate of the step, and that of the decay."""
        raise NotImplementedError

    def update(self, p: Tensor, g: Tensor, state: State, group: Group, lr: Any) -> None:
        """Compute the direction, take out what lengthens, decay, step."""
        step = steps_taken(state, group)
        tensors = {"p": p, **{name: state[name] for name in self.moments}}
        rows, g = {n: as_rows(t, p) for n, t in tensors.items()}, as_rows(g, p)
        w, u = rows["p"], torch.empty_like(rows["p"])
        direct, sums = self.directing(group, step), w.new_zeros(3, w.shape[0])
        for i in row_blocks(w):
            direct(g[i], {name: t[i] for name, t in rows.items()}, u[i])
            if p.ndim > 1:
                _products(sums[:, i], w[i], g[i])
        projection = projecting(sums, w.shape[1], group) if p.ndim > 1 else None
        _apply(w, g, u, sums[0], projection, group, *self.rates(group, lr, step))
        for name, t in tensors.items():
            restore(t, rows[name], p)


class AdamP(Projected):
    """AdamP: Adam with the projection.

    Args:
        params: parameters or groups of them.
        lr: step size.
        betas: of the first and of the second moment.
        eps: added to denominators and lengths.
        weight_decay: decoupled.
        delta: gradients count as at right angles below this / sqrt(elements).
        wd_ratio: share of the decay that a projected weight has.
        nesterov: look ahead by one step.
        caution: leave out what disagrees with the gradient (2411.16085), on the sphere.
        maximize: go up the gradient.
        capturable: keep the step counters on the device: for CUDA graphs.
    """

    moments = "exp_avg", "exp_avg_sq"

    def __init__(
        self,
        params: Any,
        lr: Number = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        *,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        delta: float = 0.1,
        wd_ratio: float = 0.1,
        nesterov: bool = False,
        caution: bool = False,
        maximize: bool = False,
        capturable: bool = False,
    ) -> None:
        defaults = given(locals())
        super().__init__(params, defaults)

    def rates(self, group: Group, lr: Any, step: Number) -> tuple[Any, Any]:
        """Return the rate with the first moment's correction, and the decay's."""
        return lr / (1 - group["betas"][0] ** step), lr * group["weight_decay"]

    def directing(self, group: Group, step: Number) -> Direct:
        """Return Adam's direction, without the correction of the first moment."""
        (beta1, beta2), eps = group["betas"], group["eps"]
        correction = (1 - beta2**step) ** -0.5

        def direct(g: Tensor, rows: Rows, u: Tensor) -> None:
            m, v = rows["exp_avg"], rows["exp_avg_sq"]
            m.lerp_(g, 1 - beta1)
            v.mul_(beta2).addcmul_(g, g, value=1 - beta2)
            root = v.sqrt().mul_(correction).add_(eps)
            ahead = torch.lerp(g, m, beta1, out=u) if group["nesterov"] else m
            torch.div(ahead, root, out=u)

        return direct


class SGDP(Projected):
    """SGDP: SGD with momentum and the projection.

    Args:
        params: parameters or groups of them.
        lr: step size.
        momentum: share of the old momentum.
        dampening: share of a gradient that is left out of the momentum.
        weight_decay: decoupled.
        nesterov: look ahead by one step.
        eps: added to lengths.
        delta: gradients count as at right angles below this / sqrt(elements).
        wd_ratio: share of the decay that a projected weight has.
        caution: leave out what disagrees with the gradient (2411.16085), on the sphere.
        maximize: go up the gradient.
        capturable: keep the step counters on the device: for CUDA graphs.
    """

    moments = ("momentum",)

    def __init__(
        self,
        params: Any,
        lr: Number = 1e-3,
        momentum: float = 0.0,
        *,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        eps: float = 1e-8,
        delta: float = 0.1,
        wd_ratio: float = 0.1,
        caution: bool = False,
        maximize: bool = False,
        capturable: bool = False,
    ) -> None:
        defaults = given(locals())
        super().__init__(params, defaults)

    def counts_steps(self, group: Group) -> bool:
        """Return False: no step differs from another."""
        return False

    def rates(self, group: Group, lr: Any, step: Number) -> tuple[Any, Any]:
        """Return the rate, and that of the decay, which grows with momentum as steps do."""
        return lr, lr * group["weight_decay"] / (1 - group["momentum"])

    def directing(self, group: Group, step: Number) -> Direct:
        """Return the momentum, or what lies one step ahead of it."""
        beta, weight = group["momentum"], 1 - group["dampening"]

        def direct(g: Tensor, rows: Rows, u: Tensor) -> None:
            m = rows["momentum"].mul_(beta).add_(g, alpha=weight)
            if group["nesterov"]:
                torch.add(g, m, alpha=beta, out=u)
            else:
                u.copy_(m)

        return direct


def projecting(sums: Tensor, columns: int, group: Group) -> Projection:
    """Return what to project.

    Args:
        sums: (3, out), of each channel: weight times gradient, and the lengths of both.
        columns: elements of a channel.
        group: has `eps` and `delta`.
    """
    eps, delta = group["eps"], group["delta"]
    wg, w, g = sums
    cosines = wg.abs() / (w.clamp(min=eps) * g.clamp(min=eps))
    by_channel = cosines.amax() < delta / math.sqrt(columns)
    whole_w, whole_g = w.norm(), g.norm()
    cosine = wg.sum().abs() / (whole_w.clamp(min=eps) * whole_g.clamp(min=eps))
    by_layer = (cosine < delta / math.sqrt(columns * len(w))) & ~by_channel
    return Projection(by_channel, by_layer, (w + eps).square(), (whole_w + eps).square())


def as_rows(t: Tensor, like: Tensor) -> Tensor:
    """Return (out, rest): a view where t lies in memory as `like` does, else a copy.

    A complex tensor gives its real and imaginary parts as columns; a vector gives one row.
    """
    t = torch.view_as_real(t) if t.is_complex() else t
    return t.reshape(1, -1) if like.ndim < 2 else t.permute(_order(t, like)).flatten(1)


def restore(t: Tensor, rows: Tensor, like: Tensor) -> None:
    """Write rows back where `as_rows` had to copy."""
    t = torch.view_as_real(t) if t.is_complex() else t
    # What torch.compile traces has no address.
    if torch.compiler.is_compiling() or rows.data_ptr() != t.data_ptr():
        target = t.permute(_order(t, like)) if like.ndim > 1 else t
        target.copy_(rows.view(target.shape))


def row_blocks(rows: Tensor) -> Iterator[slice]:
    """Cut rows into blocks that fit a CPU's cache; an accelerator takes all at once."""
    total = rows.shape[0]
    size = max(total, 1)
    if rows.device.type == "cpu" and not torch.compiler.is_compiling():
        bytes_of_row = max(rows.shape[1] * rows.element_size(), 1)
        size = max(BLOCK_BYTES * torch.get_num_threads() // bytes_of_row, 1)
    for start in range(0, total, size):
        yield slice(start, min(start + size, total))


def _order(t: Tensor, like: Tensor) -> list[int]:
    """Return dimensions as `like` has them in memory, channels first; t may have one more."""
    inner = sorted(range(1, like.ndim), key=like.stride, reverse=True)
    return [0, *inner, *range(like.ndim, t.ndim)]


def _products(sums: Tensor, w: Tensor, g: Tensor) -> None:
    sums[0] = torch.linalg.vecdot(w, g)
    sums[1] = torch.linalg.vector_norm(w, dim=1)
    sums[2] = torch.linalg.vector_norm(g, dim=1)


def _apply(
    w: Tensor,
    g: Tensor,
    u: Tensor,
    products: Tensor,
    projection: Projection | None,
    group: Group,
    rate: Any,
    decay: Any,
) -> None:
    """Change the weight: decay, and step along what the projection leaves of `u`.

    Args:
        w: (out, rest), the weight.
        g: (out, rest), its gradient.
        u: (out, rest), the direction; overwritten.
        products: (out,), of weight and gradient.
        projection: what to take out; None for a vector.
        group: has `caution` and `wd_ratio`.
        rate: of the step.
        decay: share of the weight that decays.
    """
    on_host = w.device.type == "cpu" and not torch.compiler.is_compiling()
    if projection is None or (on_host and not projection.by_channel | projection.by_layer):
        if group["caution"]:
            rate = rate * _masked(u, g)
        for i in row_blocks(w):
            scale_(w[i], 1 - decay)
            add_(w[i], u[i], -rate)
        return
    projected = (projection.by_channel | projection.by_layer).to(w.dtype)
    decay = decay * (1 - projected * (1 - group["wd_ratio"]))
    along = projection.along(_rows_dot(w, u))
    if group["caution"]:
        for i in row_blocks(w):
            u[i].sub_(w[i] * along[i].unsqueeze(1))
        across = g - w * projection.along(products).unsqueeze(1)
        rate = rate * _masked(u, across)
        along = projection.along(_rows_dot(w, u))
    keep = (1 - decay + rate * along).unsqueeze(1)
    for i in row_blocks(w):
        w[i].mul_(keep[i])
        add_(w[i], u[i], -rate)


def _rows_dot(w: Tensor, u: Tensor) -> Tensor:
    """Return the products of rows: (out,)."""
    return torch.cat([torch.linalg.vecdot(w[i], u[i]) for i in row_blocks(w)])


def _masked(u: Tensor, g: Tensor) -> Number:
    """Set to zero, in place, what disagrees with the gradient; return what makes up for it."""
    kept: Any = 0
    for i in row_blocks(u):
        agrees = (u[i] * g[i] > 0).to(u.dtype)
        u[i].mul_(agrees)
        kept = kept + agrees.sum()
    return 1 / at_host((kept / u.numel()).clamp(min=1e-3))
