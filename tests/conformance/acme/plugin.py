"""A plugin as a third party would write it, and one whose networks each break one promise."""

from hub.family import Family
from hub.hookspecs import hookimpl
from hub_acme.broken import BROKEN


@hookimpl
def hub_models():
    good = [
        Family(name="tiny_conv", model="hub_acme.model:TinyConv", variants={"tiny_conv": {}}),
        Family(
            name="tiny_tokens",
            model="hub_acme.model:TinyTokens",
            variants={"tiny_tokens": {}, "tiny_tokens_gap": dict(global_pool="avg")},
        ),
    ]
    bad = [
        Family(name=name, model=f"hub_acme.mutations:{name}", variants={name: {}})
        for name in BROKEN
    ]
    return good + bad
