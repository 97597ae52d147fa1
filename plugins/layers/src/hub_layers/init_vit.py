"""How the layers of a vision transformer are initialised, by name.

"" truncated normals of deviation 0.02 without bias; "jax" as ViT's original code, "jax_nlhb" with
a classifier that begins at a probability of 1 / classes; "moco" as MoCo v3 (arXiv:2104.02057);
"reset" or "skip" as torch initialises them.
"""

import math
from collections.abc import Callable

from torch import nn

from .init import lecun_normal_

Init = Callable[[nn.Module, str], None]


def init_weights_vit(model: nn.Module, mode: str = "") -> None:
    """Initialise linear layers and convolutions.

    Args:
        model: a network whose classifier is called head.
        mode: "", "jax", "jax_nlhb", "moco", "reset" or "skip".

    Raises:
        ValueError: another mode.
    """
    if mode not in _MODES:
        raise ValueError(f"weight_init={mode!r}: it can be {', '.join(map(repr, _MODES))}")
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            _MODES[mode](module, name)


def _small(module: nn.Module, name: str) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        _constant_bias(module)


def _jax(module: nn.Module, name: str) -> None:
    assert isinstance(module, nn.Linear | nn.Conv2d)
    if isinstance(module, nn.Conv2d):
        lecun_normal_(module.weight)
        _constant_bias(module)
    elif name == "head":
        nn.init.zeros_(module.weight)
        _constant_bias(module)
    else:
        nn.init.xavier_uniform_(module.weight)
        if ".mlp." in name and module.bias is not None:
            nn.init.normal_(module.bias, std=1e-6)
        else:
            _constant_bias(module)


def _jax_nlhb(module: nn.Module, name: str) -> None:
    _jax(module, name)
    if name == "head" and isinstance(module, nn.Linear):
        _constant_bias(module, -math.log(module.out_features))


def _moco(module: nn.Module, name: str) -> None:
    if not isinstance(module, nn.Linear):
        return
    if name.endswith(".qkv"):  # three layers in one: each with its own fan
        bound = math.sqrt(6 / (module.out_features // 3 + module.in_features))
        nn.init.uniform_(module.weight, -bound, bound)
    else:
        nn.init.xavier_uniform_(module.weight)
    _constant_bias(module)


def _as_torch(module: nn.Module, name: str) -> None:
    """Leave what the constructor of the layer did."""


def _constant_bias(module: nn.Linear | nn.Conv2d, value: float = 0.0) -> None:
    if module.bias is not None:
        nn.init.constant_(module.bias, value)


_MODES: dict[str, Init] = {
    "": _small,
    "jax": _jax,
    "jax_nlhb": _jax_nlhb,
    "moco": _moco,
    "reset": _as_torch,
    "skip": _as_torch,
}
