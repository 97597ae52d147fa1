"""Muon: momentum whose matrices are orthogonalised, and Adam for what is no matrix.

Muon (Jordan et al., https://kellerjordan.github.io/posts/muon), its scaling to Adam's step size
(2502.16982), and AdaMuon (2507.11005), which divides the orthogonal direction by its own second
moment. Convolutions are flattened to (out, in * height * width) or seen as one matrix per place of
the kernel. Biases, norms, embeddings of one row and depthwise kernels go by AdamW, with Nesterov
momentum by NAdamW.
"""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from typing import Any

import torch
from torch import Tensor

from hub_optim.adam import AdamConstants, AdamWLegacy
from hub_optim.arguments import check_options
from hub_optim.arithmetic import Number, add_, scale_
from hub_optim.base import Group, State
from hub_optim.engine import dense_gradient
from hub_optim.lanes import LIST_ELEMENTS, Lane, adapted, lane_of, run_blocks, run_lists
from hub_optim.orthogonal import Coefficients, coefficients, orthogonalized
from hub_optim.whole import WholeOptimizer, given, like, steps_taken

LEAST_SIZE = 4  # of the smaller side of a matrix
LARGEST_ASPECT = 128
ALGORITHMS = ("muon", "adamuon")
CONV_MODES = ("flatten", "batched")
SCALINGS = {
    "muon": ("original", "match_rms_adamw", "rms_to_rms"),
    "adamuon": ("match_rms_adamw", "rms_to_rms", "rsqrt_in"),
}

_log = logging.getLogger(__name__)


class Muon(WholeOptimizer):
    """Muon and AdaMuon for matrices, AdamW or NAdamW for all else.

    A group may say which of both its parameters take: `use_muon=True` or False, `use_fallback=True`
    for Adam. Otherwise shapes decide, see `is_matrix`.

    Args:
        params: parameters or groups of them.
        lr: step size; of Adam's parameters too, times `fallback_lr_scale`.
        weight_decay: decoupled.
        momentum: share of the old momentum.
        nesterov: look ahead by one step.
        ns_steps: steps of the Newton-Schulz iteration.
        ns_coefficients: a preset of `hub_optim.orthogonal`, a triple, or a triple per step.
        eps: least norm to divide by, and added to the denominators of AdaMuon and Adam.
        safety_factor: norms are taken larger by this before the iteration.
        adjust_lr_fn: how the step grows with the matrix: "match_rms_adamw" (2502.16982) as Adam's,
            "rms_to_rms" (2502.07529) keeps activations of equal size, "original" (Muon only) as
            Jordan's, "rsqrt_in" (AdaMuon only), or None.
        conv_mode: "flatten" or "batched": see the module.
        normalize_spatial: divide by the root of the number of places where batched.
        adamw_lr: rate of Adam's parameters; use `fallback_lr_scale`, which follows schedules.
        fallback_lr_scale: rate of Adam's parameters in parts of `lr`.
        betas: of Adam; the second also of AdaMuon.
        algo: "muon" or "adamuon".
        scale_eps: damp in proportion to the width (2512.05620).
        capturable: keep the step counters on the device: for CUDA graphs.
        verbose: log once which parameters take Adam, and why.
        maximize: go up the gradient.
        ns_dtype: precision of the iteration; None for the parameter's.
    """

    def __init__(
        self,
        params: Any,
        lr: Number = 0.02,
        weight_decay: float = 0.0,
        momentum: float = 0.95,
        *,
        nesterov: bool = False,
        ns_steps: int = 5,
        ns_coefficients: Coefficients = "quintic",
        eps: float = 1e-7,
        safety_factor: float = 1.0,
        adjust_lr_fn: str | None = "match_rms_adamw",
        conv_mode: str = "flatten",
        normalize_spatial: bool = True,
        adamw_lr: float | None = None,
        fallback_lr_scale: float = 1.0,
        betas: tuple[float, float] = (0.9, 0.95),
        algo: str = "muon",
        scale_eps: bool = False,
        capturable: bool = False,
        verbose: bool = False,
        maximize: bool = False,
        ns_dtype: torch.dtype | None = torch.bfloat16,
    ) -> None:
        defaults = given(locals())
        check_options(Muon, defaults)
        del defaults["adamw_lr"]
        check_choice("algo", algo, ALGORITHMS)
        check_choice("conv_mode", conv_mode, CONV_MODES)
        check_choice("adjust_lr_fn", adjust_lr_fn, (*SCALINGS[algo], None))
        coefficients(ns_coefficients)
        if adamw_lr is not None:
            if not float(lr):
                raise ValueError("adamw_lr needs an lr above 0; give fallback_lr_scale instead")
            defaults["fallback_lr_scale"] = adamw_lr / float(lr)
        super().__init__(params, defaults)

    def counts_steps(self, group: Group) -> bool:
        """Return whether directions are corrected for the beginning of their second moment."""
        return bool(group["algo"] != "muon")

    def adopt_group(self, group: Group) -> None:
        """Take the rate of Adam's parameters, which older groups have, in parts of `lr`."""
        super().adopt_group(group)
        rate = group.pop("adamw_lr", None)
        if rate is not None and "fallback_lr_scale" not in group:
            base = float(group["initial_lr"] if "initial_lr" in group else group["lr"])
            group["fallback_lr_scale"] = rate / base if base else 1.0

    def begin(self, p: Tensor, group: Group) -> State:
        """Return momentum for a matrix, with a second moment for AdaMuon; else Adam's moments."""
        reason = why_fall_back(p, group)
        if group["verbose"] and not p.is_meta:
            _log.info("%s: %s", tuple(p.shape), f"Adam: {reason}" if reason else "Muon")
        if reason:
            return {"use_muon": False, "exp_avg": like(p), "exp_avg_sq": like(p)}
        state = {"use_muon": True, "momentum_buffer": like(p)}
        return state | ({"exp_avg_sq": like(p)} if group["algo"] == "adamuon" else {})

    def update_group(self, params: list[Tensor], group: Group, lr: Any) -> None:
        """Update matrices one by one and the others together."""
        others = []
        for p in params:
            if self.state_of(p, group)["use_muon"]:
                self.update_one(p, group, lr)
            else:
                others.append(p)
        if others:
            self._fall_back(others, group, lr * group["fallback_lr_scale"])

    def update(self, p: Tensor, g: Tensor, state: State, group: Group, lr: Any) -> None:
        """Move the momentum, orthogonalise it, step."""
        buffer, beta = state["momentum_buffer"], group["momentum"]
        buffer.lerp_(g, 1 - beta)
        u = g.lerp(buffer, beta) if group["nesterov"] else buffer
        matrix = as_matrices(u, group["conv_mode"])
        u = orthogonalized(
            matrix,
            steps=group["ns_steps"],
            triples=coefficients(group["ns_coefficients"]),
            eps=group["eps"],
            safety_factor=group["safety_factor"],
            scale_eps=group["scale_eps"],
            dtype=group["ns_dtype"],
        )
        scale, shape = step_scale(matrix.shape, group), u.shape
        u = (u.permute(1, 2, 0) if len(shape) > 2 else u).reshape(p.shape)
        if group["algo"] == "adamuon":
            u = self._divided(u, state, group)
        scale_(p, 1 - lr * group["weight_decay"])
        add_(p, u.to(p.dtype), -lr * scale)

    def _divided(self, u: Tensor, state: State, group: Group) -> Tensor:
        """Return a direction divided by the root of its second moment, in AdaMuon's size."""
        v, beta2, eps = state["exp_avg_sq"], group["betas"][1], group["eps"]
        u = u.to(v.dtype)
        scale_(v, beta2)
        v.add_(u.abs().square_() if u.is_complex() else u.square(), alpha=1 - beta2)
        if group["adjust_lr_fn"] == "match_rms_adamw":  # the norm takes the correction out again
            u = u / v.sqrt().add_(eps)
            return u / (u.norm() + eps)
        return u / (v / (1 - beta2 ** steps_taken(state, group))).sqrt_().add_(eps)

    def _fall_back(self, params: list[Tensor], group: Group, lr: Any) -> None:
        """Update by AdamW, or NAdamW: in blocks on a CPU, as lists elsewhere."""
        together: dict[Any, list[Lane]] = defaultdict(list)
        for p in params:
            state = self.state[p]
            state["step"] += 1
            step = steps_taken(state, group)
            dense_gradient(self, p)
            lane = lane_of(p, state, ("exp_avg", "exp_avg_sq"))
            together[step, p.device, p.dtype].append(lane)
        for (step, device, _), lanes in together.items():
            k = adam_constants(group, lr, step)
            update = adapted(AdamWLegacy.update, lanes[0].p, group["maximize"])
            if device.type == "cpu" and not torch.compiler.is_compiling():
                run_blocks(update, lanes, k)
            else:
                run_lists(update, lanes, k, LIST_ELEMENTS)


def why_fall_back(p: Tensor, group: Group) -> str:
    """Return why a parameter goes by Adam; nothing if it goes by Muon."""
    if group.get("use_fallback"):
        return "the group says use_fallback"
    if "use_muon" in group:
        return "" if group["use_muon"] else "the group says use_muon=False"
    return "" if is_matrix(p.shape) else "its shape is no matrix's"


def is_matrix(shape: torch.Size) -> bool:
    """Return whether orthogonalising is worth it: (64, 128) and (96, 3, 4, 4) are matrices.

    Not so what has one row or column (embeddings of positions, depthwise kernels), fewer than
    `LEAST_SIZE` of them once flattened, or a longer side above `LARGEST_ASPECT` times the shorter.
    """
    if len(shape) < 2 or shape[0] <= 1 or shape[1] <= 1:
        return False
    short, long = sorted((shape[0], math.prod(shape[1:])))
    return short >= LEAST_SIZE and long <= LARGEST_ASPECT * short


def as_matrices(u: Tensor, conv_mode: str) -> Tensor:
    """Return (out, in, *places) as (out, in * places), or as (places, out, in) where batched."""
    if u.ndim == 2:
        return u
    if conv_mode == "flatten":
        return u.flatten(1)
    return u.flatten(2).permute(2, 0, 1)


def step_scale(shape: torch.Size, group: Group) -> float:
    """Return what multiplies the learning rate for matrices of this shape."""
    rows, columns = shape[-2:]
    how = group["adjust_lr_fn"]
    if how is None:
        scale = 1.0
    elif how == "rms_to_rms":
        scale = math.sqrt(rows / columns)
    elif how == "original":
        scale = math.sqrt(max(1, rows / columns))
    elif how == "rsqrt_in":
        scale = 1 / math.sqrt(columns)
    else:  # "match_rms_adamw"; AdaMuon's direction has norm one, Muon's a root mean square
        norm = math.prod(shape) if group["algo"] == "adamuon" else max(rows, columns)
        scale = 0.2 * math.sqrt(norm)
    return scale / math.sqrt(shape[0]) if len(shape) > 2 and group["normalize_spatial"] else scale


def adam_constants(group: Group, lr: Any, step: Number) -> AdamConstants:
    """Return the numbers of one step of Adam."""
    beta1, beta2 = group["betas"]
    correction2 = (1 - beta2**step) ** 0.5
    return AdamConstants(
        keep=1 - lr * group["weight_decay"],
        weight1=1 - beta1,
        beta2=beta2,
        weight2=1 - beta2,
        eps=group["eps"] * correction2,
        rate=lr * correction2 / (1 - beta1**step),
        correction2=correction2,
        clip=None,
        nesterov=group["nesterov"],
        caution=False,
        amsgrad=False,
    )


def check_choice(name: str, value: object, allowed: tuple[object, ...]) -> None:
    """Raise ValueError for a value that is none of those allowed."""
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}; it takes {', '.join(map(repr, allowed))}")
