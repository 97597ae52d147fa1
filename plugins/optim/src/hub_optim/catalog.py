"""The optimizers that come with hub-optim, by name; data only, no torch.

A row of `CATALOG` is a class and the names under which it is known, each with the keywords that it
stands for. The names are timm's. Letters have a meaning where a name has them: a leading `c` is a
cautious update, a leading `n` Nesterov momentum, a trailing `w` decoupled weight decay, a trailing
`c` decoupled decay that follows the square of the rate (after `lamb` and `lar` it clips the trust
ratio instead, as these names did before the other use came up).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hub_optim.hookspecs import OptimInfo

#: What a keyword of a name adds to the description of its class.
PHRASES = {
    ("caution", True): "cautious updates",
    ("corrected_weight_decay", True): "corrected weight decay",
    ("decoupled", True): "decoupled weight decay",
    ("decoupled_decay", True): "decoupled weight decay",
    ("decoupled_weight_decay", True): "decoupled weight decay",
    ("fused", True): "by torch's fused kernel",
    ("nesterov", True): "Nesterov momentum",
    ("no_prox", True): "decoupled weight decay",
    ("rectify", True): "rectified",
    ("trust_clip", True): "trust ratio clipped at 1",
    ("algo", "adamuon"): "second moments (AdaMuon)",
}

CAUTIOUS: dict[str, Any] = dict(caution=True)  # arXiv 2411.16085
CORRECTED: dict[str, Any] = dict(corrected_weight_decay=True)  # arXiv 2506.02285
DECOUPLED: dict[str, Any] = dict(decoupled_decay=True)  # arXiv 1711.05101
NESTEROV: dict[str, Any] = dict(nesterov=True)
# Unlike torch's AdamW, which decays by 0.01 unless told otherwise, apex's does not decay.
FUSED: dict[str, Any] = dict(fused=True, weight_decay=0.0)


def names_of(
    opt_class: str, takes: str, description: str, **names: Mapping[str, Any]
) -> Iterator[OptimInfo]:
    """Yield the optimizers that one class serves.

    Args:
        opt_class: "package.module:Class".
        takes: which of `eps`, `momentum`, `betas` (`betas3`: three) its constructor takes.
        description: what the class does, for all names.
        names: name to the keywords that it stands for.
    """
    for name, defaults in names.items():
        phrases = [PHRASES[item] for item in _hashable(defaults) if item in PHRASES]
        yield OptimInfo(
            name=name,
            opt_class=opt_class,
            description="; ".join([description, *[", ".join(phrases)] * bool(phrases)]),
            has_eps="eps" in takes,
            has_momentum="momentum" in takes,
            has_betas="betas" in takes,
            num_betas=3 if "betas3" in takes else 2,
            second_order="second_order" in takes,
            defaults=defaults,
        )


def _hashable(defaults: Mapping[str, Any]) -> Iterator[tuple[str, bool | str]]:
    for key, value in defaults.items():
        if isinstance(value, bool | str):
            yield key, value


_ROWS = (
    # --- torch's own: they compute what timm's of the same name do, because timm takes them too --
    names_of(
        "torch.optim:SGD",
        "momentum",
        "stochastic gradient descent",
        sgd=NESTEROV,
        nesterov=NESTEROV,
        momentum=dict(nesterov=False),
    ),
    names_of("torch.optim:Adam", "eps betas", "Adam (arXiv 1412.6980)", adam={}),
    names_of(
        "torch.optim:AdamW",
        "eps betas",
        "Adam, decoupled weight decay (arXiv 1711.05101)",
        adamw={},
    ),
    names_of("torch.optim:Adamax", "eps betas", "Adam with the infinity norm", adamax={}),
    names_of("torch.optim:NAdam", "eps betas", "Adam with Nesterov momentum", nadam={}),
    names_of(
        "torch.optim:RAdam",
        "eps betas",
        "rectified Adam (arXiv 1908.03265)",
        radam={},
        radamw=dict(decoupled_weight_decay=True),
    ),
    names_of("torch.optim:Adadelta", "eps", "rates from a window (arXiv 1212.5701)", adadelta={}),
    names_of("torch.optim:Adagrad", "eps", "rates from all gradients", adagrad=dict(eps=1e-8)),
    names_of("torch.optim:RMSprop", "eps momentum", "RMSprop", rmsprop=dict(alpha=0.9)),
    # --- stochastic gradient descent and its kin -------------------------------------------------
    names_of(
        "hub_optim.sgdw:SGDW",
        "momentum",
        "stochastic gradient descent, decoupled weight decay",
        sgdw=NESTEROV,
        nesterovw=NESTEROV,
        sgdc=NESTEROV | CORRECTED,
        csgdw=NESTEROV | CAUTIOUS,
        csgdc=NESTEROV | CAUTIOUS | CORRECTED,
    ),
    names_of(
        "hub_optim.projected:SGDP",
        "eps momentum",
        "SGD that projects out radial updates (arXiv 2006.08217)",
        sgdp=NESTEROV,
        csgdp=NESTEROV | CAUTIOUS,
    ),
    names_of(
        "hub_optim.lars:Lars",
        "eps momentum",
        "a rate for each layer from the norms of its weights and gradients (arXiv 1708.03888)",
        lars={},
        larc=dict(trust_clip=True),
        nlars=NESTEROV,
        nlarc=NESTEROV | dict(trust_clip=True),
    ),
    names_of(
        "hub_optim.rmsprop:RMSpropTF",
        "eps momentum",
        "RMSprop as TensorFlow has it: eps in the root, accumulator of ones",
        rmsproptf=dict(alpha=0.9),
        rmsproptfw=dict(alpha=0.9) | DECOUPLED,
        rmsproptfc=dict(alpha=0.9) | DECOUPLED | CORRECTED,
        crmsproptf=dict(alpha=0.9) | CAUTIOUS,
    ),
    names_of(
        "hub_optim.madgrad:MADGRAD",
        "eps momentum",
        "dual averaging with momentum (arXiv 2101.11075)",
        madgrad={},
        madgradw=DECOUPLED,
    ),
    names_of(
        "hub_optim.lion:Lion",
        "betas",
        "the sign of momentum (arXiv 2302.06675)",
        lion={},
        lionc=CORRECTED,
        clion=CAUTIOUS,
        clionc=CAUTIOUS | CORRECTED,
    ),
    # --- Adam's kin ------------------------------------------------------------------------------
    names_of(
        "hub_optim.adam:AdamWLegacy",
        "eps betas",
        "AdamW of our own, with more options than torch's",
        adamwlegacy={},
        adamc=CORRECTED,
        cadamw=CAUTIOUS,
        cadamc=CAUTIOUS | CORRECTED,
    ),
    names_of(
        "hub_optim.adam:NAdamW",
        "eps betas",
        "Adam with Nesterov momentum and decoupled weight decay",
        nadamw={},
        nadamc=CORRECTED,
        cnadamw=CAUTIOUS,
        cnadamc=CAUTIOUS | CORRECTED,
    ),
    names_of("hub_optim.adam:NAdamLegacy", "eps betas", "NAdam before torch's", nadamlegacy={}),
    names_of("hub_optim.adam:RAdamLegacy", "eps betas", "RAdam before torch's", radamlegacy={}),
    names_of(
        "hub_optim.adabelief:AdaBelief",
        "eps betas",
        "steps as large as the gradient was expected (arXiv 2010.07468)",
        adabelief=dict(rectify=False),
        radabelief=dict(rectify=True),
    ),
    names_of(
        "hub_optim.projected:AdamP",
        "eps betas",
        "Adam that projects out radial updates (arXiv 2006.08217)",
        adamp=dict(wd_ratio=0.01) | NESTEROV,
        cadamp=dict(wd_ratio=0.01) | NESTEROV | CAUTIOUS,
    ),
    names_of(
        "hub_optim.adan:Adan",
        "eps betas3",
        "Nesterov momentum from differences of gradients (arXiv 2208.06677)",
        adan=dict(no_prox=False),
        adanw=dict(no_prox=True),
        cadan=CAUTIOUS | dict(no_prox=False),
        cadanw=CAUTIOUS | dict(no_prox=True),
    ),
    names_of(
        "hub_optim.adopt:Adopt",
        "eps betas",
        "Adam that converges for any beta2 (arXiv 2411.02853)",
        adopt={},
        adoptw=dict(decoupled=True),
        adoptc=dict(decoupled=True) | CORRECTED,
        cadopt=CAUTIOUS,
        cadoptw=dict(decoupled=True) | CAUTIOUS,
        cadoptc=dict(decoupled=True) | CAUTIOUS | CORRECTED,
    ),
    names_of(
        "hub_optim.laprop:LaProp",
        "eps betas",
        "momentum of normalised gradients (arXiv 2002.04839)",
        laprop={},
        lapropc=CORRECTED,
        claprop=CAUTIOUS,
    ),
    names_of(
        "hub_optim.mars:Mars",
        "eps betas",
        "gradients of reduced variance (arXiv 2411.10438)",
        mars={},
        cmars=CAUTIOUS,
    ),
    names_of(
        "hub_optim.lamb:Lamb",
        "eps betas",
        "Adam with a trust ratio for each layer, for large batches (arXiv 1904.00962)",
        lamb={},
        lambc=dict(trust_clip=True),
        lambw=DECOUPLED,
        lambcw=dict(trust_clip=True) | DECOUPLED,
        lambcd=DECOUPLED | CORRECTED,
        clamb=CAUTIOUS,
        clambw=CAUTIOUS | DECOUPLED,
    ),
    names_of(
        "hub_optim.novograd:NvNovoGrad",
        "eps betas",
        "gradients normalised by layer (arXiv 1905.11286)",
        novograd={},
        novogradw=DECOUPLED,
        novogradc=DECOUPLED | CORRECTED,
    ),
    # --- factored second moments -----------------------------------------------------------------
    names_of(
        "hub_optim.adafactor:Adafactor",
        "eps betas",
        "second moments as rows times columns (arXiv 1804.04235)",
        adafactor={},
        cadafactor=CAUTIOUS | dict(betas=(0.9, 0.999)),
    ),
    names_of(
        "hub_optim.adafactor_bv:AdafactorBigVision",
        "eps momentum",
        "Adafactor as Big Vision trains with, momentum in half precision (arXiv 2106.04560)",
        adafactorbv={},
        adafactorbvc=CORRECTED,
        cadafactorbv=CAUTIOUS,
        cadafactorbvc=CAUTIOUS | CORRECTED,
    ),
    # --- beyond the diagonal ---------------------------------------------------------------------
    names_of(
        "hub_optim.adahessian:Adahessian",
        "eps betas second_order",
        "Adam on an estimate of the Hessian's diagonal (arXiv 2006.00719)",
        adahessian={},
    ),
    names_of(
        "hub_optim.muon:Muon",
        "eps momentum betas",
        "momentum made orthogonal, AdamW where that makes no sense (arXiv 2502.16982)",
        muon={},
        nmuon=NESTEROV,
        adamuon=dict(algo="adamuon"),
        nadamuon=dict(algo="adamuon") | NESTEROV,
    ),
    names_of(
        "hub_optim.kron:Kron",
        "momentum",
        "PSGD with a Kronecker-factored preconditioner (arXiv 1512.04202)",
        kron={},
        kronw=DECOUPLED,
        kronc=DECOUPLED | CORRECTED,
    ),
    # --- apex: torch's fused kernels where they compute the same, else apex itself ---------------
    names_of("torch.optim:Adam", "eps betas", "Adam", fusedadam=FUSED),
    names_of("torch.optim:AdamW", "eps betas", "AdamW", fusedadamw=FUSED),
    names_of("torch.optim:SGD", "momentum", "SGD", fusedsgd=FUSED | NESTEROV),
    names_of("apex.optimizers:FusedLAMB", "eps betas", "LAMB of NVIDIA apex", fusedlamb={}),
    names_of(
        "apex.optimizers:FusedNovoGrad",
        "eps betas",
        "NovoGrad of NVIDIA apex",
        fusednovograd=dict(betas=(0.95, 0.98)),
    ),
    # --- bitsandbytes: states of 8 bits ----------------------------------------------------------
    names_of("bitsandbytes.optim:SGD", "momentum", "SGD of bitsandbytes", bnbsgd=NESTEROV),
    names_of("bitsandbytes.optim:SGD8bit", "momentum", "SGD, 8-bit momentum", bnbsgd8bit=NESTEROV),
    names_of("bitsandbytes.optim:Adam", "eps betas", "Adam of bitsandbytes", bnbadam={}),
    names_of("bitsandbytes.optim:Adam8bit", "eps betas", "Adam, 8-bit states", bnbadam8bit={}),
    names_of("bitsandbytes.optim:AdamW", "eps betas", "AdamW of bitsandbytes", bnbadamw={}),
    names_of("bitsandbytes.optim:AdamW8bit", "eps betas", "AdamW, 8-bit states", bnbadamw8bit={}),
    names_of("bitsandbytes.optim:Lion", "betas", "Lion of bitsandbytes", bnblion={}),
    names_of("bitsandbytes.optim:Lion8bit", "betas", "Lion, 8-bit momentum", bnblion8bit={}),
    names_of(
        "bitsandbytes.optim:AdEMAMix",
        "eps betas3",
        "Adam with two momenta, of bitsandbytes (arXiv 2409.03137)",
        bnbademamix={},
    ),
    names_of(
        "bitsandbytes.optim:AdEMAMix8bit",
        "eps betas3",
        "Adam with two momenta, 8-bit states (arXiv 2409.03137)",
        bnbademamix8bit={},
    ),
)

#: Name to optimizer.
CATALOG: Mapping[str, OptimInfo] = {
    info.name: info for info in sorted((i for row in _ROWS for i in row), key=lambda i: i.name)
}
