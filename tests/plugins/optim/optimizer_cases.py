"""Which optimizers are recorded and tested, and with which options."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

# The registry's names without those of bitsandbytes and apex, which need their packages.
NAMES = """
    adabelief adadelta adafactor adafactorbv adafactorbvc adagrad adahessian adam adamax adamc adamp
    adamuon adamw adamwlegacy adan adanw adopt adoptc adoptw
    cadafactor cadafactorbv cadafactorbvc cadamc cadamp cadamw cadan cadanw cadopt cadoptc cadoptw
    clamb clambw claprop clion clionc cmars cnadamc cnadamw crmsproptf csgdc csgdp csgdw
    kron kronc kronw lamb lambc lambcd lambcw lambw laprop lapropc larc lars lion lionc
    madgrad madgradw mars momentum muon nadam nadamc nadamlegacy nadamuon nadamw nesterov nesterovw
    nlarc nlars nmuon novograd novogradc novogradw radabelief radam radamlegacy radamw
    rmsprop rmsproptf rmsproptfc rmsproptfw sgd sgdc sgdp sgdw
""".split()

# Rates at which 50 steps go somewhere without going astray; 0.01 for all others.
RATES = {
    "adadelta": 1.0,
    **dict.fromkeys(("lars", "larc", "nlars", "nlarc"), 0.1),
    **dict.fromkeys(("lion", "lionc", "clion", "clionc"), 2e-3),
    "adahessian": 5e-3,
    **dict.fromkeys(("sgd", "sgdp", "sgdw", "sgdc", "csgdp", "csgdw", "csgdc"), 0.05),
    **dict.fromkeys(("momentum", "nesterov", "nesterovw"), 0.05),
}
WEIGHT_DECAY = 0.05


@dataclass(frozen=True)
class Case:
    """One optimizer with its options.

    Args:
        opt: a name of the registry, which may have the prefix `lookahead_`.
        options: keywords of `create_optimizer_v2` beside lr and weight_decay.
        falling: the learning rate falls from step to step; not so where the optimizer sets it.
        tracks: what it is recorded on; options only in float64.
    """

    opt: str
    options: dict[str, Any] = field(default_factory=dict)
    falling: bool = True
    tracks: tuple[str, ...] = ("float64", "float32")

    def arguments(self) -> dict[str, Any]:
        """Return all keywords of `create_optimizer_v2`."""
        rate = RATES.get(self.opt.removeprefix("lookahead_"), 0.01)
        return {"opt": self.opt, "lr": rate, "weight_decay": WEIGHT_DECAY, **self.options}

    def precise(self) -> dict[str, Any]:
        """Return options by which hub's optimizer computes in the parameters' precision."""
        return {"ns_dtype": None} if "muon" in self.opt else {}


def _case_id(opt: str, options: dict[str, Any]) -> str:
    return " ".join([opt, *(f"{key}={value}" for key, value in options.items())])


def _cases() -> dict[str, Case]:
    listed = [(name, {}) for name in NAMES]
    listed += [(f"lookahead_{name}", {}) for name in ("sgd", "adamw", "lion", "lamb", "kron")]
    listed += [(name, options) for name, several in OPTIONS.items() for options in several]
    return {
        _case_id(opt, options): Case(
            opt,
            options,
            falling=options.get("lr", 1) is not None,
            tracks=("float64",) if options else ("float64", "float32"),
        )
        for opt, options in listed
    }


_COEFFICIENTS = ("original", "polar_express", "polar_express_safer", (2.0, -1.5, 0.5))
_MEMORY_MODES = ("one_diag", "smart_one_diag", "all_diag")

OPTIONS: dict[str, list[dict[str, Any]]] = {
    "adabelief": [
        {"amsgrad": True},
        {"decoupled_decay": False},
        {"fixed_decay": True},
        {"eps": 1e-8, "betas": (0.8, 0.95)},
    ],
    "radabelief": [{"degenerated_to_sgd": False}, {"amsgrad": True}],
    "adafactor": [
        {"lr": None},
        {"lr": None, "warmup_init": True, "betas": (0.9, 0.999)},
        {"lr": None, "scale_parameter": False},
        {"min_dim_size_to_factor": 4, "clip_threshold": 0.5, "decay_rate": -0.6},
        {"betas": (0.8, 0.999), "eps": 1e-6},
    ],
    "adafactorbv": [
        {"momentum_dtype": "float32"},
        {"momentum": None, "clipping_threshold": 0.5},
        {"min_dim_size_to_factor": 4, "decay_rate": 0.6, "decay_offset": 5},
        {"beta2_cap": 0.7, "eps": 1e-6},
        {"unscaled_wd": True, "weight_decay": 1e-3},
    ],
    "adafactorbvc": [{"unscaled_wd": True, "weight_decay": 1e-3}],
    "adahessian": [
        {"update_each": 3, "n_samples": 2},
        {"avg_conv_kernel": True},
        {"hessian_power": 0.5, "eps": 1e-4, "betas": (0.8, 0.9)},
    ],
    "adamp": [{"nesterov": False, "delta": 3.0}, {"delta": 1e-3, "wd_ratio": 0.5}],
    "cadamp": [{"delta": 3.0}, {"delta": 1e-3}],
    "sgdp": [{"nesterov": False, "dampening": 0.3, "delta": 3.0}, {"momentum": 0.0}],
    "csgdp": [{"delta": 3.0}, {"delta": 1e-3}],
    "adamwlegacy": [
        {"amsgrad": True},
        {"maximize": True},
        {"clipping_threshold": 0.7},
        {"eps": 1e-4, "betas": (0.8, 0.95)},
    ],
    "adan": [{"betas": (0.9, 0.8, 0.95), "eps": 1e-4}],
    "adopt": [{"clip_exp": None}, {"maximize": True}, {"betas": (0.8, 0.9), "eps": 1e-3}],
    "kron": [
        *({"memory_save_mode": mode} for mode in _MEMORY_MODES),
        {"momentum_into_precond_update": False, "precond_lr": 0.3, "precond_init_scale": 0.5},
        {"preconditioner_update_probability": 0.3},
        {"max_size_triangular": 17, "min_ndim_triangular": 3},
        {"min_ndim_triangular": 1},
        {"flatten": True},
        {"stochastic_weight_decay": True},
        {"momentum": 0.5, "deterministic": True},
    ],
    "kronw": [{"stochastic_weight_decay": True}],
    "lamb": [
        {"bias_correction": False},
        {"grad_averaging": False},
        {"max_grad_norm": None},
        {"max_grad_norm": 1e-2},
        {"always_adapt": True},
        {"eps": 1e-3, "betas": (0.8, 0.9)},
    ],
    "laprop": [{"eps": 1e-4, "betas": (0.8, 0.9)}],
    "lars": [
        {"dampening": 0.2},
        {"trust_coeff": 0.05, "always_adapt": True},
        {"momentum": 0.0, "eps": 1e-3},
    ],
    "larc": [{"trust_coeff": 0.01}],
    "lion": [{"maximize": True}, {"betas": (0.8, 0.9)}],
    "madgrad": [{"momentum": 0.0}, {"momentum": 0.5, "eps": 1e-3}],
    "mars": [
        {"mars_type": "lion", "lr": 2e-3},
        {"optimize_1d": True, "lr_1d_factor": 0.5},
        {"betas_1d": (0.8, 0.9), "gamma": 0.1},
        {"eps": 1e-3, "betas": (0.8, 0.9)},
    ],
    "muon": [
        *({"ns_coefficients": value} for value in _COEFFICIENTS),
        *({"adjust_lr_fn": value} for value in ("original", "rms_to_rms", None)),
        {"conv_mode": "batched"},
        {"conv_mode": "batched", "normalize_spatial": False, "ns_steps": 8},
        {"scale_eps": True, "eps": 1e-2, "safety_factor": 1.1, "ns_steps": 3},
        {"fallback_lr_scale": 0.3, "betas": (0.8, 0.9), "momentum": 0.8},
    ],
    "adamuon": [
        *({"adjust_lr_fn": value} for value in ("rms_to_rms", "rsqrt_in", None)),
        {"conv_mode": "batched"},
        {"conv_mode": "batched", "normalize_spatial": False, "eps": 1e-3},
    ],
    "nadamlegacy": [{"schedule_decay": 0.01, "betas": (0.8, 0.9), "eps": 1e-4}],
    "nadamw": [
        {"maximize": True},
        {"clipping_threshold": 0.7},
        {"eps": 1e-4, "betas": (0.8, 0.9)},
    ],
    "novograd": [{"grad_averaging": True}, {"amsgrad": True}, {"eps": 1e-3, "betas": (0.8, 0.9)}],
    "radamlegacy": [{"betas": (0.8, 0.9), "eps": 1e-4}],
    "rmsproptf": [
        {"centered": True},
        {"momentum": 0.0},
        {"lr_in_momentum": False, "alpha": 0.8, "eps": 1e-4},
    ],
    "sgdw": [
        {"maximize": True},
        {"momentum": 0.0, "nesterov": False},
        {"nesterov": False, "dampening": 0.3},
    ],
    "sgd": [{"momentum": 0.0, "nesterov": False}],
    "adam": [{"amsgrad": True}, {"maximize": True}],
    "adamw": [{"amsgrad": True}, {"maximize": True}],
    "nadam": [{"decoupled_weight_decay": True}, {"momentum_decay": 0.01}],
}
CASES = _cases()
