"""Keywords that the networks of this notation share, and what their numbers mean in TensorFlow."""

from collections.abc import MutableMapping
from typing import Any

from hub_layers import LayerFactory, LayerType, get_act_layer

# TensorFlow counts the share that is kept, torch the share that is replaced.
BN_MOMENTUM_TF_DEFAULT = 1 - 0.99
BN_EPS_TF_DEFAULT = 1e-3


def get_bn_args_tf() -> dict[str, float]:
    """Options of batch norms as TensorFlow trained the published weights."""
    return dict(momentum=BN_MOMENTUM_TF_DEFAULT, eps=BN_EPS_TF_DEFAULT)


def resolve_bn_args(kwargs: MutableMapping[str, Any]) -> dict[str, float]:
    """Take `bn_momentum` and `bn_eps` out of `kwargs`: the options of a norm, without the unset.

    >>> options = dict(bn_eps=1e-3, bn_momentum=None, width=32)
    >>> resolve_bn_args(options), options
    ({'eps': 0.001}, {'width': 32})
    """
    given = {name: kwargs.pop(f"bn_{name}", None) for name in ("momentum", "eps")}
    return {name: value for name, value in given.items() if value is not None}


def resolve_act_layer(
    kwargs: MutableMapping[str, Any], default: LayerType = "relu"
) -> LayerFactory | None:
    """Take `act_layer` out of `kwargs`: the activation it names, or that of `default`.

    Raises:
        UnknownLayerError: no activation has this name.
    """
    return get_act_layer(kwargs.pop("act_layer", default))
