"""Optimizers, learning-rate schedules and parameter groups, by the names that timm gives them.

    import hub_optim

    optimizer = hub_optim.create_optimizer_v2(model, "adamw", lr=1e-3, weight_decay=0.05)
    scheduler, num_epochs = hub_optim.create_scheduler_v2(optimizer, "cosine", num_epochs=300)

Importing hub_optim, and listing what there is, loads no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hub_optim.adabelief import AdaBelief
    from hub_optim.adafactor import Adafactor
    from hub_optim.adafactor_bv import AdafactorBigVision
    from hub_optim.adahessian import Adahessian
    from hub_optim.adam import AdamWLegacy, NAdamLegacy, NAdamW, RAdamLegacy
    from hub_optim.adan import Adan
    from hub_optim.adopt import Adopt
    from hub_optim.factory import (
        create_optimizer,
        create_optimizer_v2,
        get_optimizer_class,
        optimizer_kwargs,
    )
    from hub_optim.groups import (
        auto_group_layers,
        param_groups_layer_decay,
        param_groups_weight_decay,
    )
    from hub_optim.hookspecs import OptimInfo, Schedule, ScheduleInfo, ScheduleRequest
    from hub_optim.kron import Kron
    from hub_optim.lamb import Lamb
    from hub_optim.laprop import LaProp
    from hub_optim.lars import Lars
    from hub_optim.lion import Lion
    from hub_optim.lookahead import Lookahead
    from hub_optim.madgrad import MADGRAD
    from hub_optim.mars import Mars
    from hub_optim.muon import Muon
    from hub_optim.novograd import NvNovoGrad
    from hub_optim.projected import SGDP, AdamP
    from hub_optim.registry import get_optimizer_info, list_optimizers, register_optimizer
    from hub_optim.rmsprop import RMSpropTF
    from hub_optim.schedule_options import add_schedule_arguments, scheduler_kwargs
    from hub_optim.schedule_registry import create_schedule, get_schedule_info, list_schedules
    from hub_optim.scheduler_factory import create_scheduler, create_scheduler_v2
    from hub_optim.schedulers import (
        CosineLRScheduler,
        MultiStepLRScheduler,
        PlateauLRScheduler,
        PolyLRScheduler,
        Scheduler,
        StepLRScheduler,
        TanhLRScheduler,
        WSDLRScheduler,
    )
    from hub_optim.sgdw import SGDW

# Public names by module, imported when first asked for.
_LAZY = {
    "AdaBelief": "adabelief",
    "Adafactor": "adafactor",
    "AdafactorBigVision": "adafactor_bv",
    "Adahessian": "adahessian",
    "AdamP": "projected",
    "AdamWLegacy": "adam",
    "Adan": "adan",
    "Adopt": "adopt",
    "CosineLRScheduler": "schedulers",
    "Kron": "kron",
    "LaProp": "laprop",
    "Lamb": "lamb",
    "Lars": "lars",
    "Lion": "lion",
    "Lookahead": "lookahead",
    "MADGRAD": "madgrad",
    "Mars": "mars",
    "MultiStepLRScheduler": "schedulers",
    "Muon": "muon",
    "NAdamLegacy": "adam",
    "NAdamW": "adam",
    "NvNovoGrad": "novograd",
    "OptimInfo": "hookspecs",
    "PlateauLRScheduler": "schedulers",
    "PolyLRScheduler": "schedulers",
    "RAdamLegacy": "adam",
    "RMSpropTF": "rmsprop",
    "SGDP": "projected",
    "SGDW": "sgdw",
    "Schedule": "hookspecs",
    "ScheduleInfo": "hookspecs",
    "ScheduleRequest": "hookspecs",
    "Scheduler": "schedulers",
    "StepLRScheduler": "schedulers",
    "TanhLRScheduler": "schedulers",
    "WSDLRScheduler": "schedulers",
    "add_schedule_arguments": "schedule_options",
    "auto_group_layers": "groups",
    "create_optimizer": "factory",
    "create_optimizer_v2": "factory",
    "create_schedule": "schedule_registry",
    "create_scheduler": "scheduler_factory",
    "create_scheduler_v2": "scheduler_factory",
    "get_optimizer_class": "factory",
    "get_optimizer_info": "registry",
    "get_schedule_info": "schedule_registry",
    "list_optimizers": "registry",
    "list_schedules": "schedule_registry",
    "optimizer_kwargs": "factory",
    "param_groups_layer_decay": "groups",
    "param_groups_weight_decay": "groups",
    "register_optimizer": "registry",
    "scheduler_kwargs": "schedule_options",
}

__all__ = [
    "MADGRAD",
    "SGDP",
    "SGDW",
    "AdaBelief",
    "Adafactor",
    "AdafactorBigVision",
    "Adahessian",
    "AdamP",
    "AdamWLegacy",
    "Adan",
    "Adopt",
    "CosineLRScheduler",
    "Kron",
    "LaProp",
    "Lamb",
    "Lars",
    "Lion",
    "Lookahead",
    "Mars",
    "MultiStepLRScheduler",
    "Muon",
    "NAdamLegacy",
    "NAdamW",
    "NvNovoGrad",
    "OptimInfo",
    "PlateauLRScheduler",
    "PolyLRScheduler",
    "RAdamLegacy",
    "RMSpropTF",
    "Schedule",
    "ScheduleInfo",
    "ScheduleRequest",
    "Scheduler",
    "StepLRScheduler",
    "TanhLRScheduler",
    "WSDLRScheduler",
    "add_schedule_arguments",
    "auto_group_layers",
    "create_optimizer",
    "create_optimizer_v2",
    "create_schedule",
    "create_scheduler",
    "create_scheduler_v2",
    "get_optimizer_class",
    "get_optimizer_info",
    "get_schedule_info",
    "list_optimizers",
    "list_schedules",
    "optimizer_kwargs",
    "param_groups_layer_decay",
    "param_groups_weight_decay",
    "register_optimizer",
    "scheduler_kwargs",
]


if not TYPE_CHECKING:  # a type checker would take any name for right

    def __getattr__(name: str) -> Any:
        if name in _LAZY:
            return getattr(importlib.import_module(f"hub_optim.{_LAZY[name]}"), name)
        raise AttributeError(f"module 'hub_optim' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
