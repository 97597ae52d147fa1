"""Initializations that torch lacks under these names; in place, without gradients."""

import math

import torch
from torch import nn

# Standard deviation of a standard normal truncated to [-2, 2]: dividing by it restores the wished
# one.
TRUNCATED_STD = 0.87962566103423978

trunc_normal_ = nn.init.trunc_normal_


def trunc_normal_tf_(
    tensor: torch.Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0
) -> torch.Tensor:
    """Truncated normal with the bounds in units of `std` around `mean`, as in TensorFlow and JAX.

    `trunc_normal_` takes `a` and `b` as absolute values instead.
    """
    with torch.no_grad():
        return nn.init.trunc_normal_(tensor, 0.0, 1.0, a, b).mul_(std).add_(mean)


def variance_scaling_(
    tensor: torch.Tensor,
    scale: float = 1.0,
    mode: str = "fan_in",
    distribution: str = "normal",
) -> torch.Tensor:
    """Variance `scale / fan`, as in TensorFlow and JAX.

    Args:
        tensor: a weight with two axes or more.
        scale: factor on the variance.
        mode: `"fan_in"`, `"fan_out"` or `"fan_avg"`.
        distribution: `"truncated_normal"`, `"normal"` or `"uniform"`.

    Raises:
        ValueError: another mode or distribution.
    """
    fan_in, fan_out = nn.init._calculate_fan_in_and_fan_out(tensor)
    fans = dict(fan_in=fan_in, fan_out=fan_out, fan_avg=(fan_in + fan_out) / 2)
    if mode not in fans:
        raise ValueError(f"unknown mode {mode!r}. Known: {', '.join(fans)}")
    std = math.sqrt(scale / fans[mode])
    match distribution:
        case "truncated_normal":
            return trunc_normal_tf_(tensor, std=std / TRUNCATED_STD)
        case "normal":
            return nn.init.normal_(tensor, std=std)
        case "uniform":
            return nn.init.uniform_(tensor, -math.sqrt(3) * std, math.sqrt(3) * std)
    raise ValueError(
        f"unknown distribution {distribution!r}. Known: truncated_normal, normal, uniform"
    )


def lecun_normal_(tensor: torch.Tensor) -> torch.Tensor:
    """Truncated normal of variance 1 / fan_in."""
    return variance_scaling_(tensor, mode="fan_in", distribution="truncated_normal")
