"""Fold norms into convolutions, for inference.

What may be folded is read from the graph of the network (`tracing`), not from the order of its
modules. Whatever cannot be proven is left as it is.
"""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from hub_inference.reparameterizing import refuse_training, reparameterize, replace
from hub_inference.tracing import followers, is_watched

Module = TypeVar("Module", bound=nn.Module)

_CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
#: The forward methods of torch itself; a subclass with another is tried out before it is folded.
_KNOWN = {cls.forward for cls in (*_CONVS, *_TRANSPOSED, nn.Linear)}
_KNOWN_NORMS = {_BatchNorm.forward, nn.SyncBatchNorm.forward}


def fuse(model: Module, inplace: bool = False) -> Module:
    """Return a network for inference with fewer steps and equal outputs.

    Blocks that are `Reparameterizable` take the form that they run in. Then each BatchNorm that
    only follows a convolution (or a linear layer of which the graph shows that its input is (B, C))
    is folded into it, and an Identity, or the activation that belonged to it, takes its place:
    names of modules stay. Left alone are norms without running statistics, blocks and layers with
    hooks, layers with parametrizations, and what is shared.

    Args:
        model: any network, in evaluation mode; of a `Backbone` its levels keep their values too.
        inplace: change the network itself instead of a copy.

    Raises:
        ValueError: the network, or a norm in it, is in training mode.

    Example:
        >>> import hub, torch
        >>> model = hub.create_model("test_resnet").eval()
        >>> fused = hub.fuse(model)
        >>> x = torch.rand(1, 3, 64, 64)
        >>> torch.allclose(fused(x), model(x), atol=1e-5)
        True
        >>> fused.layer1[0].bn1
        Identity()
    """
    refuse_training(model, "fused")
    if not inplace:
        model = copy.deepcopy(model)
    with torch.no_grad():
        model, _ = reparameterize(model)
        fold_norms(model)
    model._is_fused = True  # type: ignore[assignment]
    return model


def fold_norms(model: nn.Module) -> list[tuple[str, str]]:
    """Fold what may be folded, in place; return the path of each norm and of its layer."""
    names = {module: name for name, module in model.named_modules()}
    folded = []
    for norm, layer in followers(model):
        if not isinstance(norm, _BatchNorm) or not _fits(norm, layer):
            continue
        rest = _after(norm)
        if rest is not None and _is_known(layer, norm):
            _fold(layer, norm)
            replace(model, norm, rest)
            folded.append((names[norm], names[layer]))
    return folded


# --- folding ------------------------------------------------------------------------------------


def _fits(norm: _BatchNorm, conv: nn.Module) -> bool:
    """Return whether a norm is one of a layer's channels, and both compute what they seem to."""
    channels = conv.out_features if isinstance(conv, nn.Linear) else conv.out_channels
    fits = norm.num_features == channels and norm.running_mean is not None and not norm.training
    return fits and is_plain(norm) and is_plain(conv)


def is_plain(module: nn.Module) -> bool:
    """Return whether nothing stands between a call of the module and its parameters."""
    weight = module._parameters.get("weight")
    if is_watched(module) or "bias" not in module._parameters or "weight" not in module._parameters:
        return False
    return weight is not None or isinstance(module, _BatchNorm)


def _is_known(conv: nn.Module, norm: _BatchNorm) -> bool:
    """Return whether a layer computes what torch's does, or at least folds like it."""
    if type(conv).forward in _KNOWN:
        return True
    assert isinstance(conv, _ConvNd | nn.Linear)
    conv, norm = _sample(conv), _sample(_bare(norm))
    if isinstance(conv, nn.Linear):
        x = _random(2, conv.in_features)
    else:
        spans = zip(conv.dilation, conv.kernel_size, strict=True)
        x = _random(2, conv.in_channels, *(2 * dilation * size + 1 for dilation, size in spans))
    expected = norm(conv(x))
    _fold(conv, norm)
    return torch.allclose(conv(x), expected)


def _after(norm: _BatchNorm) -> nn.Module | None:
    """Return what a norm does after normalising, or None where that is not known."""
    if type(norm).forward in _KNOWN_NORMS:
        return nn.Identity().eval()
    # A subclass that runs its children after the norm, in order, as a norm with activation does.
    whole = _sample(norm)
    x = _random(2, norm.num_features, *_spatial(norm))
    expected = whole(x.clone())
    found = _children_in_turn(whole)(_bare(whole)(x))
    return _children_in_turn(norm) if torch.allclose(found, expected) else None


def _children_in_turn(module: nn.Module) -> nn.Module:
    children = [child for child in module.children() if not isinstance(child, nn.Identity)]
    return children[0] if len(children) == 1 else nn.Sequential(*children).eval()


def _fold(conv: nn.Module, norm: _BatchNorm) -> None:
    """Let a layer return what the norm makes of its output."""
    weight = conv._parameters["weight"]
    bias = conv._parameters["bias"]
    assert weight is not None and norm.running_mean is not None and norm.running_var is not None
    dtype = torch.promote_types(weight.dtype, torch.float32)
    scale = (norm.running_var.to(dtype) + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight
    shift = -norm.running_mean.to(dtype) * scale
    if norm.bias is not None:
        shift = shift + norm.bias
    if bias is not None:
        shift = shift + bias * scale
    wide = weight.to(dtype)
    if isinstance(conv, _ConvTransposeNd):  # (in, out / groups, ...), groups side by side in `in`
        spread = scale.view(conv.groups, 1, -1, *[1] * (weight.dim() - 2))
        scaled = (wide.reshape(conv.groups, -1, *wide.shape[1:]) * spread).flatten(0, 1)
    else:
        scaled = wide * scale.view(-1, *[1] * (weight.dim() - 1))  # (out, in / groups, ...)
    learns = weight.requires_grad
    conv.weight = nn.Parameter(scaled.to(weight.dtype), requires_grad=learns)
    conv.bias = nn.Parameter(shift.to(weight.dtype), requires_grad=learns)


def _bare(norm: _BatchNorm) -> _BatchNorm:
    """Return a norm with the same parameters that only normalises."""
    bare = nn.BatchNorm1d(norm.num_features, norm.eps, affine=norm.affine)
    bare._parameters, bare._buffers = norm._parameters, norm._buffers
    bare._check_input_dim = lambda input: None  # type: ignore[method-assign]
    return bare.eval()


def _spatial(norm: _BatchNorm) -> list[int]:
    """Return a small size in as many dimensions as the norm wants behind the channels."""
    if isinstance(norm, nn.BatchNorm1d):
        return []
    return [3, 3, 3] if isinstance(norm, nn.BatchNorm3d) else [3, 3]


def _sample(module: Module) -> Module:
    """Return a copy with other parameters, on the CPU and in double precision."""
    twin = copy.deepcopy(module)
    tensors = [*twin.parameters(), *twin.buffers()]
    twin = twin.to_empty(device="cpu") if any(t.is_meta for t in tensors) else twin.cpu()
    for value in (*twin.double().parameters(), *twin.buffers()):
        if value.is_floating_point():
            value.copy_(_random(*value.shape) + 0.5)
    return twin


def _random(*size: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(size, generator=generator, dtype=torch.float64)
