"""How networks of this notation are initialized, by name."""

import math
from collections.abc import Callable

from torch import nn

from hub_layers import CondConv2d, NameTable

InitWeights = Callable[[nn.Module], None]


def init_weights_goog(network: nn.Module, fix_group_fanout: bool = True) -> None:
    """Initialize as TensorFlow's implementations of MNASNet and EfficientNet do.

    Convolutions are normal of variance 2 / fan_out, linear layers uniform in +-1 / sqrt(fan_out)
    (of fan_in + fan_out where they weigh experts), norms start as the identity, biases at 0.
    Then a module that has `init_weights` decides for itself.

    Args:
        network: changed in place.
        fix_group_fanout: count the outputs of a group, as TensorFlow does, instead of all.
    """
    for name, module in network.named_modules():
        _init_goog(module, name, fix_group_fanout)
    init_own_weights(network)


def _init_goog(module: nn.Module, name: str, fix_group_fanout: bool) -> None:
    if isinstance(module, nn.Conv2d | CondConv2d):
        groups = module.groups if fix_group_fanout else 1
        fan_out = math.prod(module.kernel_size) * module.out_channels // groups
        kernels = [module.weight] if isinstance(module, nn.Conv2d) else module.expert_weights()
        for weight in kernels:
            nn.init.normal_(weight, 0, math.sqrt(2 / fan_out))
    elif isinstance(module, nn.BatchNorm2d):
        if module.affine:
            nn.init.ones_(module.weight)
    elif isinstance(module, nn.Linear):
        routing = name.rpartition(".")[2] == "routing_fn"
        fan = module.out_features + (module.in_features if routing else 0)
        nn.init.uniform_(module.weight, -1 / math.sqrt(fan), 1 / math.sqrt(fan))
    else:
        return
    if module.bias is not None:
        nn.init.zeros_(module.bias)


def init_weights_default(network: nn.Module) -> None:
    """Initialize every layer as torch does when it creates it.

    Args:
        network: changed in place.
    """
    for module in network.modules():
        if callable(reset := getattr(module, "reset_parameters", None)):
            reset()
    init_own_weights(network)


def init_own_weights(network: nn.Module) -> None:
    """Call `init_weights` of the modules inside `network` that have it, those inside first."""
    for module in network.children():
        init_own_weights(module)
        if callable(own := getattr(module, "init_weights", None)):
            own()


INIT_WEIGHTS: NameTable[InitWeights] = NameTable(
    "weight initialization",
    {"goog": init_weights_goog, "default": init_weights_default},
)


def get_init_weights(name: str = "goog") -> InitWeights:
    """The initialization of this name: `"goog"`, or `"default"` for torch's.

    Raises:
        UnknownLayerError: another name.
    """
    return INIT_WEIGHTS[name]
