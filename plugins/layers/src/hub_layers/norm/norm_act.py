"""Normalization, dropout and activation in one module.

The affine parameters and statistics keep the keys of the plain norm (`weight`, `bias`,
`running_mean`, ...), because `drop` and `act` own no state: a checkpoint fits whether the network
wrote norm and activation together or apart.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from ..act.activations import create_act_layer
from ..names import LayerFactory, LayerType, NameTable, accepts, resolve_layer
from .norms import (
    Fp32,
    FrozenBatchNorm2d,
    GroupNorm,
    GroupNorm1,
    LayerNorm,
    LayerNorm2d,
    LayerNorm2dFp32,
    LayerNormFp32,
    RmsNorm,
    RmsNorm2d,
    RmsNorm2dFp32,
    RmsNormFp32,
    Shape,
)

ActKwargs = dict[str, Any] | None


class NormAct(nn.Module):
    """Mixin, written before a norm: `forward` becomes norm, drop, act.

    The constructors of all kinds end with the same arguments:

    Args:
        apply_act: False leaves the activation out, whatever `act_layer` says.
        act_layer: name, class or partial; `None`/`""` for none.
        act_kwargs: options of the activation.
        inplace: let the activation overwrite the output of the norm.
        drop_layer: class or partial of a module between norm and activation, for example
            `DropBlock2d`.
    """

    drop: nn.Module
    act: nn.Module

    def add_act(
        self,
        apply_act: bool,
        act_layer: LayerType | None,
        act_kwargs: ActKwargs,
        inplace: bool,
        drop_layer: LayerFactory | None,
    ) -> None:
        """Create `drop` and `act`; what is not wanted is an identity."""
        act = None
        if apply_act:
            act = create_act_layer(act_layer, **{"inplace": inplace, **(act_kwargs or {})})
        self.drop = nn.Identity() if drop_layer is None else drop_layer()
        self.act = nn.Identity() if act is None else act

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: what the norm takes. Returns: the same shape."""
        return self.act(self.drop(super().forward(x)))


class BatchNormAct2d(NormAct, nn.BatchNorm2d):
    """Batch normalization (arXiv:1502.03167) of (B, C, H, W) + drop + activation; see `NormAct`."""

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        apply_act: bool = True,
        act_layer: LayerType | None = nn.ReLU,
        act_kwargs: ActKwargs = None,
        inplace: bool = True,
        drop_layer: LayerFactory | None = None,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        factory = dict(device=device, dtype=dtype)
        super().__init__(num_features, eps, momentum, affine, track_running_stats, **factory)
        self.add_act(apply_act, act_layer, act_kwargs, inplace, drop_layer)


class SyncBatchNormAct(NormAct, nn.SyncBatchNorm):
    """`BatchNormAct2d` with statistics over all processes; made by `convert_sync_batchnorm`."""

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        process_group: Any = None,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        flags = affine, track_running_stats
        super().__init__(
            num_features, eps, momentum, *flags, process_group, device=device, dtype=dtype
        )
        self.add_act(False, None, None, False, None)  # the conversion moves the real ones here


class FrozenBatchNormAct2d(NormAct, FrozenBatchNorm2d):
    """`FrozenBatchNorm2d` + drop + activation; see `NormAct`."""

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        apply_act: bool = True,
        act_layer: LayerType | None = nn.ReLU,
        act_kwargs: ActKwargs = None,
        inplace: bool = True,
        drop_layer: LayerFactory | None = None,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(num_features, eps, device=device, dtype=dtype)
        self.add_act(apply_act, act_layer, act_kwargs, inplace, drop_layer)


class GroupNormAct(NormAct, GroupNorm):
    """`GroupNorm` + drop + activation; see `NormAct`.

    Args:
        group_size: channels per group, which then decides instead of `num_groups`.

    Raises:
        ValueError: `num_channels` is no multiple of `group_size`.
    """

    def __init__(
        self,
        num_channels: int,
        num_groups: int = 32,
        eps: float = 1e-5,
        affine: bool = True,
        group_size: int | None = None,
        apply_act: bool = True,
        act_layer: LayerType | None = nn.ReLU,
        act_kwargs: ActKwargs = None,
        inplace: bool = True,
        drop_layer: LayerFactory | None = None,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if group_size:
            num_groups, rest = divmod(num_channels, group_size)
            if rest:
                raise ValueError(
                    f"{num_channels} channels do not divide into groups of {group_size}"
                )
        super().__init__(num_channels, num_groups, eps, affine, device=device, dtype=dtype)
        self.add_act(apply_act, act_layer, act_kwargs, inplace, drop_layer)


class GroupNorm1Act(NormAct, GroupNorm1):
    """`GroupNorm1` + drop + activation; see `NormAct`."""

    def __init__(
        self,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        apply_act: bool = True,
        act_layer: LayerType | None = nn.ReLU,
        act_kwargs: ActKwargs = None,
        inplace: bool = True,
        drop_layer: LayerFactory | None = None,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(num_channels, eps, affine, device=device, dtype=dtype)
        self.add_act(apply_act, act_layer, act_kwargs, inplace, drop_layer)


class LayerNormAct(NormAct, LayerNorm):
    """`LayerNorm` + drop + activation; see `NormAct`. The eps is not `LayerNorm`'s."""

    def __init__(
        self,
        normalization_shape: Shape,
        eps: float = 1e-5,
        affine: bool = True,
        apply_act: bool = True,
        act_layer: LayerType | None = nn.ReLU,
        act_kwargs: ActKwargs = None,
        inplace: bool = True,
        drop_layer: LayerFactory | None = None,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(normalization_shape, eps, affine, device=device, dtype=dtype)
        self.add_act(apply_act, act_layer, act_kwargs, inplace, drop_layer)


class LayerNormAct2d(NormAct, LayerNorm2d):
    """`LayerNorm2d` + drop + activation; see `NormAct`. The eps is not `LayerNorm2d`'s."""

    def __init__(
        self,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        apply_act: bool = True,
        act_layer: LayerType | None = nn.ReLU,
        act_kwargs: ActKwargs = None,
        inplace: bool = True,
        drop_layer: LayerFactory | None = None,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(num_channels, eps, affine, device=device, dtype=dtype)
        self.add_act(apply_act, act_layer, act_kwargs, inplace, drop_layer)


class RmsNormAct(NormAct, RmsNorm):
    """`RmsNorm` + drop + activation; see `NormAct`."""

    def __init__(
        self,
        num_channels: Shape,
        eps: float = 1e-6,
        affine: bool = True,
        apply_act: bool = True,
        act_layer: LayerType | None = nn.ReLU,
        act_kwargs: ActKwargs = None,
        inplace: bool = True,
        drop_layer: LayerFactory | None = None,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(num_channels, eps, affine, device=device, dtype=dtype)
        self.add_act(apply_act, act_layer, act_kwargs, inplace, drop_layer)


class RmsNormAct2d(NormAct, RmsNorm2d):
    """`RmsNorm2d` + drop + activation; see `NormAct`."""

    def __init__(
        self,
        num_channels: int,
        eps: float = 1e-6,
        affine: bool = True,
        apply_act: bool = True,
        act_layer: LayerType | None = nn.ReLU,
        act_kwargs: ActKwargs = None,
        inplace: bool = True,
        drop_layer: LayerFactory | None = None,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(num_channels, eps, affine, device=device, dtype=dtype)
        self.add_act(apply_act, act_layer, act_kwargs, inplace, drop_layer)


class LayerNormActFp32(Fp32, LayerNormAct):
    """`LayerNormAct` with the norm in float32."""


class LayerNormAct2dFp32(Fp32, LayerNormAct2d):
    """`LayerNormAct2d` with the norm in float32."""


class RmsNormActFp32(Fp32, RmsNormAct):
    """`RmsNormAct` with the norm in float32."""


class RmsNormAct2dFp32(Fp32, RmsNormAct2d):
    """`RmsNormAct2d` with the norm in float32."""


NORM_ACTS: NameTable[LayerFactory] = NameTable(
    "norm+act",
    {
        "batchnorm": BatchNormAct2d,
        "batchnorm2d": BatchNormAct2d,
        "groupnorm": GroupNormAct,
        "groupnorm1": GroupNorm1Act,
        "layernorm": LayerNormAct,
        "layernorm2d": LayerNormAct2d,
        "layernormfp32": LayerNormActFp32,
        "layernorm2dfp32": LayerNormAct2dFp32,
        "rmsnorm": RmsNormAct,
        "rmsnorm2d": RmsNormAct2d,
        "rmsnormfp32": RmsNormActFp32,
        "rmsnorm2dfp32": RmsNormAct2dFp32,
        "frozenbatchnorm2d": FrozenBatchNormAct2d,
    },
)

# A plain norm class given where norm+act is wanted stands for its counterpart.
NORM_ACT_OF: dict[object, LayerFactory] = {
    nn.BatchNorm2d: BatchNormAct2d,
    nn.GroupNorm: GroupNormAct,
    nn.LayerNorm: LayerNormAct,
    GroupNorm: GroupNormAct,
    GroupNorm1: GroupNorm1Act,
    LayerNorm: LayerNormAct,
    LayerNorm2d: LayerNormAct2d,
    LayerNormFp32: LayerNormActFp32,
    LayerNorm2dFp32: LayerNormAct2dFp32,
    RmsNorm: RmsNormAct,
    RmsNorm2d: RmsNormAct2d,
    RmsNormFp32: RmsNormActFp32,
    RmsNorm2dFp32: RmsNormAct2dFp32,
    FrozenBatchNorm2d: FrozenBatchNormAct2d,
}


def get_norm_act_layer(
    norm_layer: LayerType | None, act_layer: LayerType | None = None
) -> LayerFactory | None:
    """Norm+act factory for a norm, with the activation bound to it.

    Args:
        norm_layer: a name; a norm class, which stands for its norm+act counterpart; a norm+act
            class (known by its `apply_act` argument); a partial of these, whose keywords are kept;
            or a function, returned as it is.
        act_layer: the activation, where the layer takes one and a partial does not already say;
            `None` for none.

    Raises:
        UnknownLayerError: no norm+act layer has this name.
        ValueError: a class without norm+act counterpart.
    """
    layer = resolve_layer(NORM_ACTS, norm_layer)
    if layer is None:
        return None
    given: dict[str, Any] = {}
    if isinstance(layer, functools.partial):
        given, layer = layer.keywords, layer.func
    if not isinstance(layer, type):
        return functools.partial(layer, **given) if given else layer
    layer = NORM_ACT_OF.get(layer, layer)
    if not accepts(layer, "apply_act"):
        raise ValueError(
            f"{layer} has no norm+act counterpart: give a class with an `apply_act` argument, "
            f"a function, or one of {', '.join(NORM_ACTS)}"
        )
    if accepts(layer, "act_layer"):
        given = {"act_layer": act_layer, **given}
    return functools.partial(layer, **given) if given else layer


def create_norm_act_layer(
    layer_name: LayerType,
    num_features: int,
    act_layer: LayerType | None = None,
    apply_act: bool = True,
    **kwargs: Any,
) -> nn.Module:
    """Build norm+act for `num_features` channels; see `get_norm_act_layer`.

    Args:
        layer_name: name, class or partial of the norm or norm+act.
        num_features: C of the input.
        act_layer: the activation; `None` for none.
        apply_act: False leaves the activation out.
        **kwargs: the layer's own options (`eps`, `drop_layer`, `device`, ...).

    Raises:
        ValueError: no such layer.
    """
    layer = get_norm_act_layer(layer_name, act_layer)
    if layer is None:
        raise ValueError(f"no norm to build: got {layer_name!r}. Known: {', '.join(NORM_ACTS)}")
    return layer(num_features, apply_act=apply_act, **kwargs)


def _replace(module: nn.Module, new: Callable[[nn.Module], nn.Module | None]) -> nn.Module:
    """Put `new(m)` in the place of every module m, the root included, for which it is not None."""
    replacement = new(module)
    if replacement is not None:
        return replacement.train(module.training)
    for name, child in module.named_children():
        converted = _replace(child, new)
        if converted is not child:
            setattr(module, name, converted)
    return module


def _move_act(source: nn.Module, target: nn.Module) -> None:
    if isinstance(source, NormAct):
        target.drop, target.act = source.drop, source.act


def _frozen(module: nn.Module) -> nn.Module | None:
    if not isinstance(module, nn.BatchNorm2d | nn.SyncBatchNorm):
        return None
    if module.running_mean is None or module.running_var is None:
        return None  # without running statistics there is nothing to freeze to
    kind = FrozenBatchNormAct2d if isinstance(module, NormAct) else FrozenBatchNorm2d
    mean = module.running_mean
    frozen = kind(module.num_features, module.eps, device=mean.device, dtype=mean.dtype)
    frozen.momentum = module.momentum
    _move_act(module, frozen)
    frozen.running_mean.copy_(mean)
    frozen.running_var.copy_(module.running_var)
    if module.affine:
        frozen.weight.copy_(module.weight.detach())
        frozen.bias.copy_(module.bias.detach())
    return frozen


def _unfrozen(module: nn.Module) -> nn.Module | None:
    if not isinstance(module, FrozenBatchNorm2d):
        return None
    kind = BatchNormAct2d if isinstance(module, NormAct) else nn.BatchNorm2d
    like: dict[str, Any] = dict(device=module.weight.device, dtype=module.weight.dtype)
    norm = kind(module.num_features, module.eps, module.momentum, **like)
    _move_act(module, norm)
    norm.load_state_dict(module.state_dict(), strict=False)  # lacks num_batches_tracked
    return norm


def _synchronized(process_group: Any) -> Callable[[nn.Module], nn.Module | None]:
    def convert(module: nn.Module) -> nn.Module | None:
        if not isinstance(module, nn.modules.batchnorm._BatchNorm):
            return None
        if isinstance(module, nn.SyncBatchNorm):
            return module
        if not isinstance(module, NormAct):
            return nn.SyncBatchNorm.convert_sync_batchnorm(module, process_group)  # type: ignore[no-untyped-call]
        state = module.state_dict(keep_vars=True)
        like = next((dict(device=t.device, dtype=t.dtype) for t in state.values()), {})
        flags = module.affine, module.track_running_stats
        sync = SyncBatchNormAct(
            module.num_features, module.eps, module.momentum, *flags, process_group, **like
        )
        sync.load_state_dict(state, assign=True)
        _move_act(module, sync)
        return sync

    return convert


def freeze_batch_norm_2d(module: nn.Module) -> nn.Module:
    """Replace every BatchNorm2d, SyncBatchNorm and BatchNormAct2d in `module` by its frozen kind.

    Works in place on the children; use the returned module, since `module` itself may be a batch
    norm. Batch norms without running statistics stay as they are.
    """
    return _replace(module, _frozen)


def unfreeze_batch_norm_2d(module: nn.Module) -> nn.Module:
    """The way back from `freeze_batch_norm_2d`; a SyncBatchNorm comes back as BatchNorm2d."""
    return _replace(module, _unfrozen)


def convert_sync_batchnorm(module: nn.Module, process_group: Any = None) -> nn.Module:
    """Replace every batch norm below `module` by its synchronized kind, activation included.

    Like `torch.nn.SyncBatchNorm.convert_sync_batchnorm`, which would lose the activation of
    `BatchNormAct2d`. Parameters stay the same objects, so an optimizer made before still holds
    them.
    """
    return _replace(module, _synchronized(process_group))
