"""One arithmetic for a tensor and for a list of tensors, so that an update is written once.

Lanes are what an update works on: one tensor (a block of a parameter, or all of it), or a list of
tensors that `torch._foreach_*` treats together. Numbers are what it works with: Python floats,
tensors of no dimension, or, where a list has one number per tensor, a vector of them. Names follow
torch: a trailing underscore changes the first argument in place.
"""

from __future__ import annotations

from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from hub_optim.sharding import is_plain

Lanes = TypeVar("Lanes", Tensor, list[Tensor])
Number = float | Tensor

LATE = torch.tensor(1e30)  # a step so late that the moments need no correction any more
NEXT_TO_NONE = 2.0**-53  # the lowest weight below that of nothing: 1 - 2**-53 is not 1


def each(number: Number, x: list[Tensor]) -> Any:
    """Return a number as what `_foreach` functions take beside a list."""
    if not isinstance(number, Tensor):
        return number
    return list(number.unbind()) if number.ndim else [number] * len(x)


def scale_(x: Lanes, a: Number) -> None:
    """X *= a."""
    if isinstance(x, list):
        torch._foreach_mul_(x, each(a, x))
    else:
        x.mul_(a)


def scale(x: Lanes, a: Number) -> Lanes:
    """Return x * a."""
    if isinstance(x, list):
        return list(torch._foreach_mul(x, each(a, x)))
    return x * a


def shift(x: Lanes, a: Number) -> Lanes:
    """Return x + a."""
    if isinstance(x, list):
        return list(torch._foreach_add(x, each(a, x)))
    return x + a


def shift_(x: Lanes, a: Number) -> None:
    """X += a."""
    if isinstance(x, list):
        torch._foreach_add_(x, each(a, x))
    else:
        x.add_(a)


def add_(x: Lanes, y: Lanes, a: Number = 1.0) -> None:
    """X += a * y."""
    if isinstance(a, Tensor):
        y, a = scale(y, a), 1.0
    if isinstance(x, list):
        torch._foreach_add_(x, y, alpha=a)
    else:
        x.add_(y, alpha=a)


def add(x: Lanes, y: Lanes, a: Number = 1.0) -> Lanes:
    """Return x + a * y."""
    if isinstance(a, Tensor):
        y, a = scale(y, a), 1.0
    if isinstance(x, list):
        return list(torch._foreach_add(x, y, alpha=a))
    return torch.add(x, y, alpha=a)


def sub(x: Lanes, y: Lanes) -> Lanes:
    """Return x - y."""
    return list(torch._foreach_sub(x, y)) if isinstance(x, list) else x - y


def mul_(x: Lanes, y: Lanes) -> None:
    """X *= y, element by element."""
    if isinstance(x, list):
        torch._foreach_mul_(x, y)
    else:
        x.mul_(y)


def mul(x: Lanes, y: Lanes) -> Lanes:
    """Return x * y, element by element."""
    return list(torch._foreach_mul(x, y)) if isinstance(x, list) else x * y


def div_(x: Lanes, y: Lanes) -> None:
    """X /= y, element by element."""
    if isinstance(x, list):
        torch._foreach_div_(x, y)
    else:
        x.div_(y)


def div(x: Lanes, y: Lanes) -> Lanes:
    """Return x / y, element by element."""
    return list(torch._foreach_div(x, y)) if isinstance(x, list) else x / y


def lerp_(x: Lanes, y: Lanes, w: Number) -> None:
    """X += w * (y - x): a moving average of y in x."""
    if isinstance(w, Tensor):
        add_(x, sub(y, x), w)
    elif isinstance(x, list):
        torch._foreach_lerp_(x, y, w)
    else:
        x.lerp_(y, w)


def lerp(x: Lanes, y: Lanes, w: Number) -> Lanes:
    """Return x + w * (y - x)."""
    if isinstance(w, Tensor):
        return add(x, sub(y, x), w)
    if isinstance(x, list):
        return list(torch._foreach_lerp(x, y, w))
    return torch.lerp(x, y, w)


def addcmul_(x: Lanes, y: Lanes, z: Lanes, a: Number = 1.0) -> None:
    """X += a * y * z."""
    if isinstance(a, Tensor):
        add_(x, mul(y, z), a)
    elif isinstance(x, list):
        torch._foreach_addcmul_(x, y, z, value=a)
    else:
        x.addcmul_(y, z, value=a)


def addcdiv_(x: Lanes, y: Lanes, z: Lanes, a: Number = 1.0) -> None:
    """X += a * y / z."""
    if isinstance(a, Tensor):
        add_(x, div(y, z), a)
    elif isinstance(x, list):
        torch._foreach_addcdiv_(x, y, z, value=a)
    else:
        x.addcdiv_(y, z, value=a)


def sqrt(x: Lanes) -> Lanes:
    """Return the square root."""
    return list(torch._foreach_sqrt(x)) if isinstance(x, list) else x.sqrt()


def root(v: Lanes, eps: Number) -> Lanes:
    """Return the square root of v, plus eps: what Adam and its relatives divide by."""
    result = sqrt(v)
    shift_(result, eps)
    return result


def adam_(
    p: Lanes,
    g: Lanes,
    m: Lanes,
    v: Lanes,
    keep: Number,
    weight1: Number,
    beta2: Number,
    weight2: Number,
    eps: Number,
    rate: Number,
) -> None:
    """Move both moments by g, and p to keep * p - rate * m / (sqrt(v) + eps)."""
    if fusible(rate, p, g, m, v):
        fused_adam_(p, g, m, v, (1 - keep) / rate, weight1, beta2, eps, rate)
        return
    scale_(p, keep)
    lerp_(m, g, weight1)
    scale_(v, beta2)
    addcmul_(v, g, g, weight2)
    addcdiv_(p, m, root(v, eps), -rate)


def normalised_step_(
    p: Lanes,
    r: Lanes,
    u: Lanes,
    v: Lanes,
    keep: Number,
    beta2: Number,
    weight2: Number,
    eps: Number,
    rate: Number,
) -> None:
    """Move the second moment by r, and p to keep * p - rate * u / (sqrt(v) + eps)."""
    if fusible(rate, p, r, u, v):
        fused_adam_(p, r, u, v, (1 - keep) / rate, NEXT_TO_NONE, beta2, eps, rate)
        return
    scale_(p, keep)
    scale_(v, beta2)
    addcmul_(v, r, r, weight2)
    addcdiv_(p, u, root(v, eps), -rate)


def descend_(p: Lanes, u: Lanes, keep: Number, rate: Number) -> None:
    """Move p to keep * p - rate * u."""
    if isinstance(keep, float) and fusible(rate, p, u):
        fused_sgd_(p, u, [], (1 - keep) / cast(float, rate), 0.0, 1.0, rate, nesterov=False)
        return
    scale_(p, keep)
    add_(p, u, -rate)


def momentum_(
    p: Lanes,
    g: Lanes,
    m: Lanes,
    decay: Number,
    momentum: float,
    weight: float,
    rate: Number,
    nesterov: bool,
) -> None:
    """Move m to momentum * m + weight * (g + decay * p), and p along it by rate."""
    if isinstance(decay, float) and fusible(rate, p, g, m):
        fused_sgd_(p, g, m, decay, momentum, weight, rate, nesterov)
        return
    if isinstance(decay, Tensor) or decay != 0:
        g = add(g, p, decay)
    scale_(m, momentum)
    add_(m, g, weight)
    add_(p, add(g, m, momentum) if nesterov else m, -rate)


def fusible(rate: Number, *lanes: Lanes) -> bool:
    """Return whether torch's fused kernels for a CPU take this rate and these lanes."""
    if torch.compiler.is_compiling() or isinstance(rate, Tensor) or rate == 0:
        return False
    return all(
        is_plain(t)
        and t.device.type == "cpu"
        and t.dtype in (torch.float32, torch.float64)
        and t.is_contiguous()
        for x in lanes
        for t in listed(x)
    )


def listed(x: Lanes) -> list[Tensor]:
    """Return lanes as a list."""
    return x if isinstance(x, list) else [x]


def fused_sgd_(
    p: Any, g: Any, m: Any, decay: Any, momentum: Any, weight: Any, rate: Any, nesterov: Any
) -> None:
    """Run torch's fused SGD."""
    torch._fused_sgd_(
        listed(p),
        listed(g),
        listed(m),
        lr=rate,
        momentum=momentum,
        weight_decay=decay,
        dampening=1 - weight,
        nesterov=nesterov,
        maximize=False,
        is_first_step=False,
    )


def fused_adam_(
    p: Any, g: Any, m: Any, v: Any, decay: Any, weight1: Any, beta2: Any, eps: Any, rate: Any
) -> None:
    """Run torch's fused AdamW without its own corrections of the moments."""
    torch._fused_adamw_(
        listed(p),
        listed(g),
        listed(m),
        listed(v),
        [],
        [LATE] * len(listed(p)),
        lr=rate,
        beta1=1 - weight1,
        beta2=beta2,
        weight_decay=decay,
        eps=eps,
        amsgrad=False,
        maximize=False,
    )


def cube_root(x: Lanes) -> Lanes:
    """Return the cube root of what is not negative, by logarithms: in 2/3 of the time of pow."""
    if not isinstance(x, list):
        return x.log().div_(3).exp_()
    result = list(torch._foreach_log(x))
    torch._foreach_div_(result, 3)
    torch._foreach_exp_(result)
    return result


def sign_(x: Lanes) -> None:
    """X = -1, 0 or 1."""
    if isinstance(x, list):
        torch._foreach_sign_(x)
    else:
        x.sign_()


def negative(x: Lanes) -> Lanes:
    """Return -x."""
    return list(torch._foreach_neg(x)) if isinstance(x, list) else -x


def floor_(x: Lanes, lowest: Number) -> None:
    """Raise what is below `lowest` to it."""
    if isinstance(x, list):
        torch._foreach_maximum_(x, each(lowest, x))
    else:
        x.clamp_(min=cast(Any, lowest))


def clamp_(x: Lanes, bound: Number) -> None:
    """Keep x between -bound and bound."""
    if isinstance(x, list):
        torch._foreach_maximum_(x, each(-bound, x))
        torch._foreach_minimum_(x, each(bound, x))
    else:
        x.clamp_(min=cast(Any, -bound), max=cast(Any, bound))


def maximum_(x: Lanes, y: Lanes) -> None:
    """X = the larger of x and y, element by element."""
    if isinstance(x, list):
        torch._foreach_maximum_(x, y)
    else:
        torch.maximum(x, y, out=x)


def zeros(x: Lanes) -> Lanes:
    """Return zeros of the same form."""
    return [torch.zeros_like(t) for t in x] if isinstance(x, list) else torch.zeros_like(x)


def copy_(x: Lanes, y: Lanes) -> None:
    """X = y."""
    if isinstance(x, list):
        torch._foreach_copy_(x, y)
    else:
        x.copy_(y)


def clone(x: Lanes) -> Lanes:
    """Return a copy."""
    return [t.clone() for t in x] if isinstance(x, list) else x.clone()


def total(x: Lanes) -> Tensor:
    """Return the sum over a tensor; a vector of them for a list."""
    return torch.stack([t.sum() for t in x]) if isinstance(x, list) else x.sum()


def square_sum(x: Lanes) -> Tensor:
    """Return the sum of squares over a tensor; a vector of them for a list."""
    if isinstance(x, list):
        return torch.stack(list(torch._foreach_norm(x))).square_()
    if is_plain(x) and x.is_contiguous():  # on a CPU dot takes half the time of norm
        return torch.dot(x.view(-1), x.view(-1))
    return torch.linalg.vector_norm(x).square()


def count(x: Lanes) -> Number:
    """Return the number of elements; a vector of them for a list."""
    if not isinstance(x, list):
        return x.numel()
    return torch.tensor([t.numel() for t in x], dtype=x[0].dtype, device=x[0].device)


def agreeing(x: Lanes, y: Lanes) -> Lanes:
    """Return 1 where x and y have the same sign and neither is 0, and 0 elsewhere."""
    same = mul(x, y)
    for t in listed(same):
        t.gt_(0)  # in place it takes a third of the time of a comparison that makes booleans
    return same


def at_least(number: Number, lowest: float) -> Number:
    """Return the larger of both."""
    return number.clamp(min=lowest) if isinstance(number, Tensor) else max(number, lowest)


def at_most(number: Number, highest: float) -> Number:
    """Return the smaller of both."""
    return number.clamp(max=highest) if isinstance(number, Tensor) else min(number, highest)


def choose(condition: bool | Tensor, yes: Number, no: Number) -> Number:
    """Return one number or the other."""
    if isinstance(condition, Tensor):
        return torch.where(condition, yes, no)
    return yes if condition else no


def divide(x: Number, y: Number, otherwise: float) -> Number:
    """Return x / y, and what is said otherwise where y is 0."""
    if isinstance(x, Tensor) or isinstance(y, Tensor):
        return torch.where(torch.as_tensor(y) != 0, x / y, otherwise)
    return x / y if y != 0 else otherwise


def stacked(x: Lanes) -> Tensor:
    """Return tensors of one element each as a vector; a single one as it is."""
    return torch.stack([t.reshape(()) for t in x]) if isinstance(x, list) else x


def store_(x: Lanes, values: Tensor) -> None:
    """Undo `stacked`: X = values."""
    if isinstance(x, list):
        torch._foreach_copy_(x, [v.reshape(t.shape) for t, v in zip(x, values, strict=True)])
    else:
        x.copy_(values)
