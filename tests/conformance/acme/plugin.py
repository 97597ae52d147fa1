"""A plugin as a third party would write it, and one whose networks each break one promise."""

from hub import Family, hookimpl
from hub_acme.broken import BROKEN


def family(name, model, lacks=(), **variant):
    """Return a family of one network."""
    model = f"hub_acme.{model}"
    return Family(name=name, model=model, variants={name: variant}, lacks=frozenset(lacks))


@hookimpl
def hub_models():
    return [
        family("tiny_conv", "model:TinyConv"),
        family("tiny_tokens", "model:TinyTokens"),
        family("tiny_tokens_gap", "model:TinyTokens", global_pool="avg"),
        family("tiny_head", "kinds:TinyHead"),
        family("tiny_wide", "kinds:TinyWide"),
        family("tiny_pair", "kinds:TinyPair"),
        family("tiny_fused", "kinds:TinyFused"),
        family("tiny_encoder", "kinds:TinyEncoder"),
        family("tiny_twofold", "kinds:TinyTwofold"),
        family("tiny_any_size", "kinds:TinyAnySize"),
        family("tiny_mixed", "kinds:TinyMixed"),
        family("no_export", "mutations.construction:FixedBatch", lacks={"export"}),
        family("says_no_export", "model:TinyConv", lacks={"export"}),
        family("says_no_compile", "model:TinyConv", lacks={"compile"}),
        *(
            family(name, f"mutations.{module}:{name}")
            for module, faults in BROKEN.items()
            for name in faults
        ),
    ]
