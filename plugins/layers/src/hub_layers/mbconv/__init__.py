"""Mobile networks from strings: the notation, its blocks, and the builder of their stages.

    from hub_layers.mbconv import build_blocks, decode_arch_def

    arch = decode_arch_def([["ds_r1_k3_s1_e1_c16_se0.25"], ["ir_r2_k3_s2_e6_c24_se0.25"]])
    trunk = build_blocks(32, arch, act_layer="silu", drop_path_rate=0.2)
    network.blocks = nn.Sequential(*trunk.stages)

`notation` says what the strings mean; `residual`, `blocks` and `universal` hold the blocks;
`builder` makes stages and the table of their levels, `init` the weights; `options` has the keywords
and constants of TensorFlow's networks. `SqueezeExcite` and `ConvBnAct` here are those of these
networks, with the names in their checkpoints; `hub_layers` has others of the same names.
"""

from .blocks import (
    CondConvResidual,
    ConvBnAct,
    DepthwiseSeparableConv,
    EdgeResidual,
    InvertedResidual,
)
from .builder import (
    PlacedBlock,
    Trunk,
    TrunkFeature,
    block_class,
    block_options,
    build_blocks,
    place_blocks,
)
from .init import (
    get_init_weights,
    init_weights_default,
    init_weights_goog,
)
from .notation import (
    Arch,
    BlockArgs,
    BlockStringError,
    decode_arch_def,
    decode_block_str,
    round_channels,
    scale_repeats,
)
from .options import (
    BN_EPS_TF_DEFAULT,
    BN_MOMENTUM_TF_DEFAULT,
    get_bn_args_tf,
    resolve_act_layer,
    resolve_bn_args,
)
from .residual import (
    ResidualBlock,
    SqueezeExcite,
    num_groups,
)
from .universal import (
    MobileAttention,
    UniversalInvertedResidual,
)

__all__ = [
    "BN_EPS_TF_DEFAULT",
    "BN_MOMENTUM_TF_DEFAULT",
    "Arch",
    "BlockArgs",
    "BlockStringError",
    "CondConvResidual",
    "ConvBnAct",
    "DepthwiseSeparableConv",
    "EdgeResidual",
    "InvertedResidual",
    "MobileAttention",
    "PlacedBlock",
    "ResidualBlock",
    "SqueezeExcite",
    "Trunk",
    "TrunkFeature",
    "UniversalInvertedResidual",
    "block_class",
    "block_options",
    "build_blocks",
    "decode_arch_def",
    "decode_block_str",
    "get_bn_args_tf",
    "get_init_weights",
    "init_weights_default",
    "init_weights_goog",
    "num_groups",
    "place_blocks",
    "resolve_act_layer",
    "resolve_bn_args",
    "round_channels",
    "scale_repeats",
]
