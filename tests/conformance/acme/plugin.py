"""A plugin as a third party would write it, and one whose networks each break one promise."""

from hub import Family, hookimpl
from hub_acme.broken import BROKEN


def family(name, model, **variant):
    """Return a family of one network; `lacks` goes to the family."""
    lacks = variant.pop("lacks", frozenset())
    return Family(name=name, model=f"hub_acme.{model}", variants={name: variant}, lacks=lacks)


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
        *(
            family(name, f"mutations.{module}:{name}")
            for module, faults in BROKEN.items()
            for name in faults
        ),
    ]
