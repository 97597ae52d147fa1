"""MLPs of tokens by name, so that a table of variants can say which."""

from ..names import LayerFactory, LayerType, NameTable
from .gated import GatedMlp, GluMlp, SwiGLU, SwiGLUPacked
from .mlp import ConvMlp, GlobalResponseNormMlp, Mlp

MLPS: NameTable[LayerFactory] = NameTable(
    "MLP",
    {
        "mlp": Mlp,
        "glu": GluMlp,
        "swiglu": SwiGLU,
        "swiglu_packed": SwiGLUPacked,
        "gated": GatedMlp,
        "grn": GlobalResponseNormMlp,
        "conv": ConvMlp,
    },
)


def get_mlp_layer(mlp: LayerType) -> LayerFactory:
    """MLP class of this name; a class or partial stays.

    Raises:
        UnknownLayerError: no MLP has this name.
    """
    return MLPS[mlp] if isinstance(mlp, str) else mlp
