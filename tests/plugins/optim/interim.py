"""Stands in for the catalog until it has landed; to be removed then."""

import functools
import importlib
import inspect

import timm.optim

MODULES = dict(
    AdaBelief="adabelief", AdamWLegacy="adam", NAdamW="adam", NAdamLegacy="adam", RAdamLegacy="adam",
    Adan="adan", Adopt="adopt", LaProp="laprop", Lion="lion", MADGRAD="madgrad", Mars="mars",
    RMSpropTF="rmsprop", NvNovoGrad="novograd", SGDW="sgdw", Lamb="lamb", Lars="lars",
    Adafactor="adafactor", AdafactorBigVision="adafactor_bv", Adahessian="adahessian",
    AdamP="projected", SGDP="projected", Muon="muon", Kron="kron",
)  # fmt: skip


def get_optimizer_class(name, bind_defaults=True):
    info = timm.optim.get_optimizer_info(name)
    cls = timm.optim.get_optimizer_class(name, False)
    if cls.__module__.startswith("timm"):
        cls = getattr(importlib.import_module(f"hub_optim.{MODULES[cls.__name__]}"), cls.__name__)
    return functools.partial(cls, **(info.defaults or {})) if bind_defaults else cls


def create_optimizer_v2(params, opt, lr, weight_decay, momentum=0.9, **options):
    look = opt.startswith("lookahead_")
    opt = opt.removeprefix("lookahead_")
    info = timm.optim.get_optimizer_info(opt)
    cls = get_optimizer_class(opt, False)
    kwargs = dict(info.defaults or {}) | {"weight_decay": weight_decay} | options
    if "lr" not in options:
        kwargs["lr"] = lr
    if info.has_momentum:
        kwargs.setdefault("momentum", momentum)
    if opt.endswith("lion"[-4:]) and opt == "lion" and "foreach" not in kwargs:
        kwargs["foreach"] = True
    if "ns_dtype" in inspect.signature(cls).parameters:
        kwargs["ns_dtype"] = None
    optimizer = cls(params, **kwargs)
    return timm.optim.Lookahead(optimizer) if look else optimizer
