"""Building blocks that model families share: activations, norms, attention, pooling, heads.

Names, arguments and state-dict keys are those of `timm.layers` 1.0.31, so that published
checkpoints load unchanged. Differences from timm:

* Factories explain an unknown name with `UnknownLayerError`, a `ValueError`, which suggests the
nearest.
* One implementation per activation, chosen by torch; no global switches for scripting, exporting
or fast norms.
* A batch norm that was frozen comes back with its momentum.
"""

from .act.activations import (
    GELU,
    GELUTanh,
    HardMish,
    HardSigmoid,
    HardSwish,
    Mish,
    PReLU,
    QuickGELU,
    Sigmoid,
    Swish,
    Tanh,
    create_act_layer,
    gelu,
    gelu_tanh,
    get_act_fn,
    get_act_layer,
    hard_mish,
    hard_sigmoid,
    hard_swish,
    mish,
    quick_gelu,
    sigmoid,
    swish,
    tanh,
)
from .attention.attention import (
    Attention,
)
from .attention.attention2d import (
    Attention2d,
    MultiQueryAttention2d,
)
from .attention.by_name import (
    get_attention_layer,
)
from .attention.class_attention import (
    ClassAttention,
    ClassAttn,
)
from .attention.pool2d import (
    AttentionPool2d,
    RotAttentionPool2d,
)
from .attention.pool_latent import (
    AttentionPoolLatent,
)
from .attention.rope import (
    AttentionRope,
    EvaAttention,
)
from .attention.window import (
    window_partition,
    window_reverse,
)
from .block.class_attention import (
    ClassBlock,
    LayerScaleBlockClassAttn,
)
from .block.eva import (
    EvaBlock,
)
from .block.transformer import (
    TransformerBlock,
)
from .channel_attention.by_name import (
    create_attn,
    get_attn,
)
from .channel_attention.cbam import (
    CbamModule,
    ChannelAttn,
    LightCbamModule,
    LightChannelAttn,
    LightSpatialAttn,
    SpatialAttn,
)
from .channel_attention.eca import (
    CecaModule,
    CircularEfficientChannelAttn,
    EcaModule,
    EfficientChannelAttn,
)
from .channel_attention.gather_excite import (
    GatherExcite,
)
from .channel_attention.global_context import (
    GlobalContext,
)
from .channel_attention.selective_kernel import (
    SelectiveKernel,
    SelectiveKernelAttn,
)
from .channel_attention.split_attn import (
    RadixSoftmax,
    SplitAttn,
)
from .channel_attention.squeeze_excite import (
    EffectiveSEModule,
    EffectiveSqueezeExcite,
    SEModule,
    SqueezeExcite,
)
from .conv.cond_conv import (
    CondConv2d,
)
from .conv.conv import (
    ConvBnAct,
    ConvNormAct,
    SeparableConv2d,
    SeparableConvBnAct,
    SeparableConvNormAct,
    create_conv2d,
)
from .conv.conv2d_same import (
    Conv2dSame,
    conv2d_same,
)
from .conv.mixed_conv import (
    MixedConv2d,
)
from .conv.space_to_depth import (
    DepthToSpace,
    SpaceToDepth,
)
from .conv.std_conv import (
    ScaledStdConv2d,
    ScaledStdConv2dSame,
    StdConv2d,
    StdConv2dSame,
)
from .drop import (
    DropBlock2d,
    DropPath,
    PatchDropout,
    calculate_drop_path_rates,
    create_drop_path,
    drop_block_2d,
    drop_path,
)
from .embed.patch_embed import (
    PatchEmbed,
)
from .embed.patch_merging import (
    PatchMerging,
)
from .heads import (
    ClassifierHead,
    ClNormMlpClassifierHead,
    NormMlpClassifierHead,
    create_classifier,
)
from .init import (
    lecun_normal_,
    trunc_normal_,
    trunc_normal_tf_,
    variance_scaling_,
)
from .init_vit import (
    init_weights_vit,
)
from .layout import (
    Format,
    get_channel_dim,
    get_spatial_dim,
    nchw_to,
    nhwc_to,
)
from .mlp.by_name import (
    get_mlp_layer,
)
from .mlp.gated import (
    GatedMlp,
    GluMlp,
    SwiGLU,
    SwiGLUPacked,
)
from .mlp.mlp import (
    ConvMlp,
    GlobalResponseNorm,
    GlobalResponseNormMlp,
    LayerScale,
    LayerScale2d,
    Mlp,
)
from .names import (
    LayerFactory,
    LayerType,
    NameTable,
    UnknownLayerError,
    accepts,
    normalize_name,
    resolve_layer,
)
from .norm.norm_act import (
    BatchNormAct2d,
    FrozenBatchNormAct2d,
    GroupNorm1Act,
    GroupNormAct,
    LayerNormAct,
    LayerNormAct2d,
    LayerNormAct2dFp32,
    LayerNormActFp32,
    NormAct,
    RmsNormAct,
    RmsNormAct2d,
    RmsNormAct2dFp32,
    RmsNormActFp32,
    SyncBatchNormAct,
    convert_sync_batchnorm,
    create_norm_act_layer,
    freeze_batch_norm_2d,
    get_norm_act_layer,
    unfreeze_batch_norm_2d,
)
from .norm.norms import (
    FrozenBatchNorm2d,
    GroupNorm,
    GroupNorm1,
    LayerNorm,
    LayerNorm2d,
    LayerNorm2dFp32,
    LayerNormFp32,
    RmsNorm,
    RmsNorm2d,
    RmsNorm2dFp32,
    RmsNormFp32,
    SimpleNorm,
    SimpleNorm2d,
    SimpleNorm2dFp32,
    SimpleNormFp32,
    create_norm_layer,
    get_norm_layer,
    get_norm_name,
)
from .padding import (
    PadType,
    get_padding,
    get_same_padding,
    pad_same,
)
from .pool.anti_alias import (
    BlurPool2d,
    create_aa,
)
from .pool.pooling import (
    AdaptiveAvgMaxPool2d,
    AdaptiveCatAvgMaxPool2d,
    AvgPool2dSame,
    FastAdaptivePool2d,
    MaxPool2dSame,
    SelectAdaptivePool2d,
    adaptive_avgmax_pool2d,
    adaptive_pool_feat_mult,
    create_pool2d,
    global_pool_nlc,
    select_adaptive_pool2d,
)
from .position.by_name import (
    create_rope_embed,
)
from .position.grid import (
    augment_coordinates,
    freq_bands,
    grid_coordinates,
    pixel_freq_bands,
)
from .position.relative_bias import (
    RelPosBias,
    RelPosBiasTf,
    RelPosMlp,
    gen_relative_log_coords,
)
from .position.relative_tables import (
    gen_relative_position_index,
    resize_rel_pos_bias_table,
    resize_rel_pos_bias_table_levit,
    resize_rel_pos_bias_table_simple,
)
from .position.resample import (
    resample_abs_pos_embed,
    resample_abs_pos_embed_nhwc,
    resample_patch_embed,
)
from .position.rotary import (
    RotaryEmbedding,
    RotaryEmbeddingCat,
    RotaryEmbeddingDinoV3,
    RotaryEmbeddingMixed,
    apply_keep_indices_nlc,
    apply_rot_embed,
    apply_rot_embed_cat,
    apply_rot_embed_list,
    build_rotary_pos_embed,
    get_mixed_freqs,
)
from .strides import (
    StageStride,
    stage_strides,
)
from .tuples import (
    make_divisible,
    to_2tuple,
    to_3tuple,
    to_4tuple,
    to_ntuple,
)

__all__ = [
    "GELU",
    "AdaptiveAvgMaxPool2d",
    "AdaptiveCatAvgMaxPool2d",
    "Attention",
    "Attention2d",
    "AttentionPool2d",
    "AttentionPoolLatent",
    "AttentionRope",
    "AvgPool2dSame",
    "BatchNormAct2d",
    "BlurPool2d",
    "CbamModule",
    "CecaModule",
    "ChannelAttn",
    "CircularEfficientChannelAttn",
    "ClNormMlpClassifierHead",
    "ClassAttention",
    "ClassAttn",
    "ClassBlock",
    "ClassifierHead",
    "CondConv2d",
    "Conv2dSame",
    "ConvBnAct",
    "ConvMlp",
    "ConvNormAct",
    "DepthToSpace",
    "DropBlock2d",
    "DropPath",
    "EcaModule",
    "EffectiveSEModule",
    "EffectiveSqueezeExcite",
    "EfficientChannelAttn",
    "EvaAttention",
    "EvaBlock",
    "FastAdaptivePool2d",
    "Format",
    "FrozenBatchNorm2d",
    "FrozenBatchNormAct2d",
    "GELUTanh",
    "GatedMlp",
    "GatherExcite",
    "GlobalContext",
    "GlobalResponseNorm",
    "GlobalResponseNormMlp",
    "GluMlp",
    "GroupNorm",
    "GroupNorm1",
    "GroupNorm1Act",
    "GroupNormAct",
    "HardMish",
    "HardSigmoid",
    "HardSwish",
    "LayerFactory",
    "LayerNorm",
    "LayerNorm2d",
    "LayerNorm2dFp32",
    "LayerNormAct",
    "LayerNormAct2d",
    "LayerNormAct2dFp32",
    "LayerNormActFp32",
    "LayerNormFp32",
    "LayerScale",
    "LayerScale2d",
    "LayerScaleBlockClassAttn",
    "LayerType",
    "LightCbamModule",
    "LightChannelAttn",
    "LightSpatialAttn",
    "MaxPool2dSame",
    "Mish",
    "MixedConv2d",
    "Mlp",
    "MultiQueryAttention2d",
    "NameTable",
    "NormAct",
    "NormMlpClassifierHead",
    "PReLU",
    "PadType",
    "PatchDropout",
    "PatchEmbed",
    "PatchMerging",
    "QuickGELU",
    "RadixSoftmax",
    "RelPosBias",
    "RelPosBiasTf",
    "RelPosMlp",
    "RmsNorm",
    "RmsNorm2d",
    "RmsNorm2dFp32",
    "RmsNormAct",
    "RmsNormAct2d",
    "RmsNormAct2dFp32",
    "RmsNormActFp32",
    "RmsNormFp32",
    "RotAttentionPool2d",
    "RotaryEmbedding",
    "RotaryEmbeddingCat",
    "RotaryEmbeddingDinoV3",
    "RotaryEmbeddingMixed",
    "SEModule",
    "ScaledStdConv2d",
    "ScaledStdConv2dSame",
    "SelectAdaptivePool2d",
    "SelectiveKernel",
    "SelectiveKernelAttn",
    "SeparableConv2d",
    "SeparableConvBnAct",
    "SeparableConvNormAct",
    "Sigmoid",
    "SimpleNorm",
    "SimpleNorm2d",
    "SimpleNorm2dFp32",
    "SimpleNormFp32",
    "SpaceToDepth",
    "SpatialAttn",
    "SplitAttn",
    "SqueezeExcite",
    "StageStride",
    "StdConv2d",
    "StdConv2dSame",
    "SwiGLU",
    "SwiGLUPacked",
    "Swish",
    "SyncBatchNormAct",
    "Tanh",
    "TransformerBlock",
    "UnknownLayerError",
    "accepts",
    "adaptive_avgmax_pool2d",
    "adaptive_pool_feat_mult",
    "apply_keep_indices_nlc",
    "apply_rot_embed",
    "apply_rot_embed_cat",
    "apply_rot_embed_list",
    "augment_coordinates",
    "build_rotary_pos_embed",
    "calculate_drop_path_rates",
    "conv2d_same",
    "convert_sync_batchnorm",
    "create_aa",
    "create_act_layer",
    "create_attn",
    "create_classifier",
    "create_conv2d",
    "create_drop_path",
    "create_norm_act_layer",
    "create_norm_layer",
    "create_pool2d",
    "create_rope_embed",
    "drop_block_2d",
    "drop_path",
    "freeze_batch_norm_2d",
    "freq_bands",
    "gelu",
    "gelu_tanh",
    "gen_relative_log_coords",
    "gen_relative_position_index",
    "get_act_fn",
    "get_act_layer",
    "get_attention_layer",
    "get_attn",
    "get_channel_dim",
    "get_mixed_freqs",
    "get_mlp_layer",
    "get_norm_act_layer",
    "get_norm_layer",
    "get_norm_name",
    "get_padding",
    "get_same_padding",
    "get_spatial_dim",
    "global_pool_nlc",
    "grid_coordinates",
    "hard_mish",
    "hard_sigmoid",
    "hard_swish",
    "init_weights_vit",
    "lecun_normal_",
    "make_divisible",
    "mish",
    "nchw_to",
    "nhwc_to",
    "normalize_name",
    "pad_same",
    "pixel_freq_bands",
    "quick_gelu",
    "resample_abs_pos_embed",
    "resample_abs_pos_embed_nhwc",
    "resample_patch_embed",
    "resize_rel_pos_bias_table",
    "resize_rel_pos_bias_table_levit",
    "resize_rel_pos_bias_table_simple",
    "resolve_layer",
    "select_adaptive_pool2d",
    "sigmoid",
    "stage_strides",
    "swish",
    "tanh",
    "to_2tuple",
    "to_3tuple",
    "to_4tuple",
    "to_ntuple",
    "trunc_normal_",
    "trunc_normal_tf_",
    "unfreeze_batch_norm_2d",
    "variance_scaling_",
    "window_partition",
    "window_reverse",
]
