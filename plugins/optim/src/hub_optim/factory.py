"""Optimizers by name, in the form that is fastest where the parameters are.

What computes a step fastest differs by device. Where torch has one fused kernel for an algorithm
(Adam, AdamW, SGD and Adagrad) it is taken; hub's own optimizers choose for themselves. Say
`fused=False`, `foreach=True` or the like to choose instead.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import Any, cast

from hub import did_you_mean
from torch import Tensor, nn
from torch.optim import Optimizer

from hub_optim import fused
from hub_optim.arguments import keywords, refuse_text
from hub_optim.compiling import compile_step
from hub_optim.groups import (
    check_groups,
    param_groups_layer_decay,
    param_groups_weight_decay,
    spared_by,
    unwrap,
)
from hub_optim.hookspecs import OptimInfo
from hub_optim.lookahead import Lookahead
from hub_optim.registry import get_optimizer_info, split_lookahead

Params = Iterable[Tensor] | Iterable[dict[str, Any]] | Iterable[tuple[str, Tensor]]

#: What to take where a package is missing.
INSTEAD = {
    "apex.optimizers:FusedLAMB": "lamb",
    "apex.optimizers:FusedNovoGrad": "novograd",
}


def create_optimizer_v2(
    model_or_params: nn.Module | Params,
    opt: str = "sgd",
    lr: float | Tensor | None = None,
    weight_decay: float = 0.0,
    momentum: float = 0.9,
    foreach: bool | None = None,
    filter_bias_and_bn: bool = True,
    *,
    fallback_list: Collection[str] = (),
    fallback_no_weight_decay: bool = False,
    layer_decay: float | None = None,
    layer_decay_min_scale: float = 0.0,
    layer_decay_no_opt_scale: float | None = None,
    param_group_fn: Callable[[nn.Module], Params] | None = None,
    **kwargs: Any,
) -> Optimizer:
    """Create an optimizer by name.

    Of a network, every parameter that learns gets into exactly one group; frozen ones into none.
    Parameters and groups are taken as they are.

    Args:
        model_or_params: a network, its parameters, or groups of them.
        opt: one of `list_optimizers()`; `lookahead_` before it wraps it in `Lookahead`.
        lr: learning rate; None for that of the optimizer.
        weight_decay: of the groups that decay.
        momentum: for optimizers that have momentum.
        foreach: whether to step many tensors at once; None for what is fastest.
        filter_bias_and_bn: no decay for biases and for parameters of one axis, as norms have.
        fallback_list: patterns of parameters that optimizers with two algorithms, such as Muon,
            are to treat with the simpler one.
        fallback_no_weight_decay: treat so what `model.no_weight_decay()` names, too.
        layer_decay: factor of the learning rate per layer, counted from the head.
        layer_decay_min_scale: lowest scale that this leads to.
        layer_decay_no_opt_scale: layers with a scale below this are frozen.
        param_group_fn: makes the groups itself; the three arguments above then do nothing.
        **kwargs: for the optimizer: `betas`, `eps`, `fused`, `compile` and what else it takes.
            `eps` and `betas` are dropped where it has none.

    Raises:
        TypeError: a number is given as text.
        ValueError: the name is unknown, the optimizer does not take a keyword, a parameter is in
            no group or in two.
        ImportError: the optimizer is of a package that is not installed.
    """
    own = dict(
        lr=lr,
        weight_decay=weight_decay,
        momentum=momentum,
        layer_decay=layer_decay,
        layer_decay_min_scale=layer_decay_min_scale,
        layer_decay_no_opt_scale=layer_decay_no_opt_scale,
    )
    refuse_text(opt, own, keywords(create_optimizer_v2)[0])
    name, lookahead = split_lookahead(opt)
    info = get_optimizer_info(name)
    groups = cast("Params", model_or_params)
    if isinstance(model_or_params, nn.Module):
        common = dict(
            weight_decay=weight_decay,
            weight_decay_exclude_1d=filter_bias_and_bn,
            no_weight_decay_list=spared_by(unwrap(model_or_params)),
            fallback_list=fallback_list,
            fallback_no_weight_decay=fallback_no_weight_decay,
        )
        by_layer = dict(
            layer_decay=layer_decay,
            min_scale=layer_decay_min_scale,
            no_opt_scale=layer_decay_no_opt_scale,
        )
        groups = _grouped(model_or_params, param_group_fn, common, by_layer)
        weight_decay = weight_decay if param_group_fn else 0.0  # each group has its own
        kwargs = _without_fused_if_sparse(model_or_params) | kwargs
    if lr is not None:
        kwargs["lr"] = lr
    if foreach is not None:
        kwargs.setdefault("foreach", foreach)
    kwargs = dict(info.defaults) | dict(weight_decay=weight_decay) | kwargs
    if info.has_momentum:
        kwargs.setdefault("momentum", momentum)
    optimizer = _construct(info, cast("Params", list(groups)), kwargs)
    return Lookahead(optimizer) if lookahead else optimizer


def create_optimizer(
    args: Any, model: nn.Module | Params, filter_bias_and_bn: bool = True
) -> Optimizer:
    """Create an optimizer from parsed arguments; see `optimizer_kwargs` for their names."""
    return create_optimizer_v2(
        model, **optimizer_kwargs(args), filter_bias_and_bn=filter_bias_and_bn
    )


def optimizer_kwargs(cfg: Any) -> dict[str, Any]:
    """Return the keywords of `create_optimizer_v2` from parsed arguments.

    Args:
        cfg: has `opt`, `lr`, `weight_decay` and `momentum`; may have `opt_eps`, `opt_betas`,
            `layer_decay`, `layer_decay_min_scale`, `layer_decay_no_opt_scale`, `opt_foreach`, and
            as `opt_args` a mapping of more. None counts as absent.
    """
    kwargs = {name: getattr(cfg, name) for name in ("opt", "lr", "weight_decay", "momentum")}
    optional = dict(
        eps="opt_eps",
        betas="opt_betas",
        layer_decay="layer_decay",
        layer_decay_min_scale="layer_decay_min_scale",
        layer_decay_no_opt_scale="layer_decay_no_opt_scale",
        foreach="opt_foreach",
    )
    for keyword, attribute in optional.items():
        value = getattr(cfg, attribute, None)
        if value is not None:
            kwargs[keyword] = value
    return kwargs | dict(getattr(cfg, "opt_args", None) or {})


def get_optimizer_class(name: str, bind_defaults: bool = True) -> Callable[..., Optimizer]:
    """Return the class of an optimizer, imported.

    Args:
        name: one of `list_optimizers()`.
        bind_defaults: with the keywords that the name stands for, as a `functools.partial`.

    Raises:
        ValueError: nothing goes by that name.
        ImportError: it is of a package that is not installed.
    """
    info = get_optimizer_info(name)
    cls = _class_of(info)
    return partial(cls, **info.defaults) if bind_defaults and info.defaults else cls


def _grouped(
    model: nn.Module,
    param_group_fn: Callable[[nn.Module], Params] | None,
    common: dict[str, Any],
    by_layer: dict[str, Any],
) -> Params:
    """Group the parameters of a network, in the way that the arguments ask for."""
    if param_group_fn is not None:
        return check_groups(model, param_group_fn(model))
    if by_layer["layer_decay"] is None:
        return param_groups_weight_decay(model, **common)
    return param_groups_layer_decay(model, **common, **by_layer)


def _without_fused_if_sparse(model: nn.Module) -> dict[str, Any]:
    """Return keywords for a network whose gradients may be sparse, as no fused kernel has them."""
    embeddings = (m for m in model.modules() if isinstance(m, nn.Embedding | nn.EmbeddingBag))
    return dict(fused=False) if any(m.sparse for m in embeddings) else {}


def _construct(info: OptimInfo, groups: Params, kwargs: dict[str, Any]) -> Optimizer:
    """Construct an optimizer, in the fastest form unless the keywords choose one."""
    cls = _class_of(info)
    known, takes_any = keywords(cls)
    allowed = None if takes_any else list(known)[1:]  # without the parameters
    compiles_itself = allowed is None or "compile" in allowed
    compiled = not compiles_itself and kwargs.pop("compile", False)
    for options in (kwargs, *groups):
        if isinstance(options, dict):
            refuse_text(info.name, options, known)
    optimizer = fused.OF_TORCH.get(cls, cls)(groups, **_fit(info, kwargs, allowed))
    # A fused kernel is as good as a compiled one, and there at once.
    if compiled and not all(group.get("fused") for group in optimizer.param_groups):
        compile_step(optimizer)
    return optimizer


def _fit(
    info: OptimInfo, kwargs: dict[str, Any], allowed: Collection[str] | None
) -> dict[str, Any]:
    """Drop what everyone may pass and this optimizer has no use for; refuse what it does not know.

    Args:
        info: the optimizer.
        kwargs: keywords for it.
        allowed: keywords of its constructor; None if it takes any.
    """
    absent = {"eps": not info.has_eps, "betas": not info.has_betas}
    kwargs = {key: value for key, value in kwargs.items() if not absent.get(key)}
    betas = kwargs.get("betas")
    if betas is not None:
        kwargs["betas"] = tuple(betas)  # on a command line they are a list
        if len(betas) != info.num_betas:
            raise ValueError(f"{info.name} takes {info.num_betas} betas, not {tuple(betas)}")
    if allowed is None:
        return kwargs
    harmless: Mapping[str, Any] = dict(foreach=False, fused=False, weight_decay=0.0)
    for key in sorted(kwargs.keys() - set(allowed)):
        value = kwargs.pop(key)
        if key not in harmless or value != harmless[key]:
            raise ValueError(
                f"the optimizer {info.name} takes no {key!r} (given {value!r})"
                f"{did_you_mean(key, allowed)} It takes {', '.join(sorted(allowed))}"
            )
    return kwargs


def _class_of(info: OptimInfo) -> Callable[..., Optimizer]:
    """Import the class of an optimizer."""
    if not isinstance(info.opt_class, str):
        return info.opt_class
    module, _, name = info.opt_class.partition(":")
    package = module.partition(".")[0]
    try:
        cls: Callable[..., Optimizer] = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as e:
        if e.name != package:
            raise
        instead = INSTEAD.get(info.opt_class)
        hint = f"take {instead!r}, which is hub's own" if instead else f"pip install {package}"
        raise ModuleNotFoundError(
            f"the optimizer {info.name} is of the package {package}, which is not installed: "
            f"{hint}",
            name=e.name,
        ) from e
    return fused.OF_TORCH.get(cls, cls) if info.defaults.get("fused") else cls
