"""Orthogonalisation of matrices by products alone: the Newton-Schulz iteration of Muon.

Each step replaces X by aX + b(XX*)X + c(XX*)(XX*)X, which sends all singular values towards one.
Coefficients: Jordan's (https://kellerjordan.github.io/posts/muon), Cesista's per-step quintic
(https://leloykun.github.io/ponder/muon-opt-coeffs) and Polar Express (2505.16932).
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import cast

import torch
from torch import Tensor

Triple = tuple[float, float, float]
Coefficients = str | Sequence[float] | Sequence[Sequence[float]]

# One triple per step; the last one goes on where there are more steps than triples.
PRESETS: dict[str, tuple[Triple, ...]] = {
    "original": ((3.4445, -4.7750, 2.0315),),
    "quintic": (
        (4.0848, -6.8946, 2.9270),
        (3.9505, -6.3029, 2.6377),
        (3.7418, -5.5913, 2.3037),
        (2.8769, -3.1427, 1.2046),
        (2.8366, -3.0525, 1.2012),
    ),
    "polar_express": (  # scaled for safety by 1.01
        (8.237312490495555, -23.157747414558198, 16.680568411445915),
        (4.082441999064835, -2.893047735332586, 0.5252849256975648),
        (3.9263479922546582, -2.8547468034765298, 0.5318022422894988),
        (3.2982187133085143, -2.424541981026706, 0.48632008358844075),
        (2.2970369434552573, -1.63662558125903, 0.4002628455953627),
        (1.8763805351440397, -1.2347896577722228, 0.35891887501668385),
        (1.8564423485617974, -1.2132449880935525, 0.3568003487825883),
        (1.8749994008682747, -1.2499988017229169, 0.3749994008546422),
    ),
    "polar_express_safer": (  # scaled for safety by 1.02
        (8.156554524902461, -22.48329292557795, 15.878769915207462),
        (4.0429299351667245, -2.808917465908704, 0.5000178451051299),
        (3.8916678022926563, -2.7724841532176825, 0.5060648178503389),
        (3.285753657755658, -2.3681294933425394, 0.46449024233003117),
        (2.3005307116270983, -1.6111665557258408, 0.3833374427545273),
        (1.8631210546382593, -1.2042160621002727, 0.3421879560523383),
        (1.8382572152247512, -1.1779263289537742, 0.3396513038637379),
        (1.8749999923301852, -1.2499999836060613, 0.374999991275876),
    ),
}


def coefficients(value: Coefficients) -> tuple[Triple, ...]:
    """Return triples of an iteration: those of a preset, or what is given, checked.

    Args:
        value: a name of `PRESETS`, one triple for all steps, or a triple per step.

    Raises:
        ValueError: for an unknown preset or what are no triples of numbers.
    """
    if isinstance(value, str):
        if value not in PRESETS:
            raise ValueError(f"no coefficients {value!r}; there are {', '.join(sorted(PRESETS))}")
        return PRESETS[value]
    triples = (value,) if value and isinstance(value[0], Real) else value
    for triple in triples:
        if not isinstance(triple, Sequence) or len(triple) != 3:
            break
        if not all(isinstance(x, Real) and not isinstance(x, bool) for x in triple):
            break
    else:
        if triples:
            return tuple(cast(Triple, tuple(map(float, cast(Sequence[float], t)))) for t in triples)
    raise ValueError(
        f"coefficients are {value!r}; give a preset ({', '.join(sorted(PRESETS))}), three numbers "
        f"(a, b, c), or three for each step"
    )


def orthogonalized(
    matrix: Tensor,
    *,
    steps: int,
    triples: Sequence[Triple],
    eps: float,
    safety_factor: float = 1.0,
    scale_eps: bool = False,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Return the matrix with its singular values moved near one: (..., M, N), M and N as given.

    Args:
        matrix: (M, N), or (B, M, N) for several at once.
        steps: of the iteration.
        triples: (a, b, c) of each step; the last goes on.
        eps: least norm to divide by.
        safety_factor: the norm is taken larger by this.
        scale_eps: add eps * sqrt(N / M) to the norm instead: damping that carries over from width
            to width (2512.05620).
        dtype: to compute in and to return; None for the matrix's. A complex matrix is computed
            with as it is, since complex numbers have no bfloat16.
    """
    x = matrix if matrix.is_complex() else matrix.to(dtype or matrix.dtype)
    tall = x.size(-2) > x.size(-1)
    if tall:
        x = x.mH
    norm = torch.linalg.matrix_norm(x, keepdim=True) * safety_factor
    if scale_eps:
        norm = norm + eps * (matrix.size(-1) / matrix.size(-2)) ** 0.5
    else:
        norm = norm.clamp(min=eps)
    x = (x / norm).contiguous()
    product = torch.addmm if x.ndim == 2 else torch.baddbmm
    for a, b, c in list(triples[:steps]) + [triples[-1]] * (steps - len(triples)):
        gram = x @ x.mH
        mixed = product(gram, gram, gram, beta=b, alpha=c)
        x = product(x, mixed, x, beta=a)
    return x.mH if tall else x
