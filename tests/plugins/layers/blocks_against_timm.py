# ruff: noqa: E501
"""Hold the blocks that families share against timm's, on equal weights; `against_timm.py` runs it."""

import itertools
from functools import partial

import hub_layers as ours
import timm.layers as theirs
import torch
from timm.models import (
    cait,
    davit,
    eva,
    maxxvit,
    swin_transformer,
    swin_transformer_v2,
    vision_transformer,
    vision_transformer_sam,
    volo,
)
from torch import nn

TOKENS, MAP, LAST = (2, 13, 24), (2, 16, 12, 10), (2, 11, 14, 16)


def mlps(modules):
    norm = dict(norm_layer=nn.LayerNorm)
    for name, kwargs in itertools.product(
        ("GluMlp", "SwiGLU", "SwiGLUPacked"),
        ({}, norm, dict(bias=(True, False)), dict(hidden_features=32, out_features=8)),
    ):
        modules(
            name, getattr(ours, name)(24, **kwargs), getattr(theirs, name)(24, **kwargs), TOKENS
        )
    for kwargs in (dict(use_conv=True), dict(gate_last=False, act_layer=nn.SiLU)):
        modules("GluMlp", ours.GluMlp(24, **kwargs), theirs.GluMlp(24, **kwargs), (2, 24, 24, 24))
    modules("SwiGLU", ours.SwiGLU(24, 33, align_to=8), theirs.SwiGLU(24, 33, align_to=8), TOKENS)
    modules("GatedMlp", ours.GatedMlp(24, 48, **norm), theirs.GatedMlp(24, 48, **norm), TOKENS)


def convolutions(modules):
    for name, kernel, kwargs in itertools.product(
        ("StdConv2d", "StdConv2dSame", "ScaledStdConv2d", "ScaledStdConv2dSame"),
        (1, 3, 7),
        ({}, dict(stride=2), dict(stride=2, dilation=2), dict(groups=4, bias=True), dict(eps=1e-3)),
    ):
        pair = (getattr(lib, name)(16, 8, kernel, **kwargs) for lib in (ours, theirs))
        modules(f"{name} {kernel} {kwargs}", *pair, MAP)
    modules("SpaceToDepth", ours.SpaceToDepth(4), theirs.SpaceToDepth(4), (2, 3, 8, 12))
    modules("DepthToSpace", ours.DepthToSpace(2), theirs.DepthToSpace(2), (2, 12, 3, 4))
    cases = [{}, dict(stride=2), dict(groups=2), dict(keep_3x3=False), dict(split_input=False)]
    for kwargs in (*cases, dict(kernel_size=[3, 5, 7, 9], out_channels=32), dict(rd_channels=8)):
        modules(
            f"SelectiveKernel {kwargs}",
            ours.SelectiveKernel(16, **kwargs),
            theirs.SelectiveKernel(16, **kwargs),
            MAP,
        )
    cases = [
        {},
        dict(radix=1),
        dict(radix=4, groups=2),
        dict(norm_layer=nn.BatchNorm2d),
        dict(stride=2),
    ]
    for kwargs in (*cases, dict(rd_channels=8, groups=2), dict(out_channels=32, bias=True)):
        modules(
            f"SplitAttn {kwargs}", ours.SplitAttn(16, **kwargs), theirs.SplitAttn(16, **kwargs), MAP
        )


class Roped(nn.Module):
    """Give rope, mask and causality to a layer that is called with tokens alone."""

    def __init__(self, layer, **kwargs):
        super().__init__()
        self.layer, self.kwargs = layer, kwargs

    def forward(self, x):
        return self.layer(x, **self.kwargs)


def attentions(modules):
    rope = torch.randn(12, 16)
    calls = [
        {},
        dict(rope=rope),
        dict(attn_mask=torch.ones(13, 13, dtype=torch.bool).tril()),
        dict(rope=rope, is_causal=True),
    ]
    norm = dict(norm_layer=nn.LayerNorm)
    shared = [
        {},
        dict(qkv_bias=False),
        dict(qkv_fused=False),
        dict(rotate_half=True, gated=True),
        norm | dict(qk_norm=True, scale_norm=True),
    ]
    for kwargs, call in itertools.product(
        [*shared, dict(qkv_fused=False, num_kv_heads=1), dict(dim_out=8, attn_head_dim=8)], calls
    ):
        pair = (Roped(lib.AttentionRope(24, 3, **kwargs), **call) for lib in (ours, theirs))
        modules(f"AttentionRope {kwargs} {list(call)}", *pair, TOKENS)
    for kwargs, call in itertools.product([*shared, dict(qkv_bias_separate=True)], calls):
        kwargs = dict(scale_norm=False) | kwargs
        pair = (
            Roped(lib(24, 3, **kwargs), **call) for lib in (ours.EvaAttention, eva.EvaAttention)
        )
        modules(f"EvaAttention {kwargs} {list(call)}", *pair, TOKENS)
    for kwargs in ({}, dict(qkv_bias=True)):
        modules(
            "ClassAttn", ours.ClassAttn(24, 3, **kwargs), cait.ClassAttn(24, 3, **kwargs), TOKENS
        )
        modules(
            "ClassAttention",
            ours.ClassAttention(24, 3, **kwargs),
            volo.ClassAttention(24, 3, **kwargs),
            TOKENS,
        )
    modules("ClassAttention", ours.ClassAttention(24, 3, 4), volo.ClassAttention(24, 3, 4), TOKENS)
    cases = [
        {},
        dict(out_features=0),
        dict(out_features=8),
        dict(q_proj=False),
        norm | dict(qk_norm=True),
        dict(latent_len=3, pool_type="avg"),
    ]
    for kwargs in (
        *cases,
        dict(latent_dim=8, pool_type="", latent_len=2),
        dict(pos_embed="abs", feat_size=13),
    ):
        pair = (lib.AttentionPoolLatent(24, num_heads=3, **kwargs) for lib in (ours, theirs))
        modules(f"AttentionPoolLatent {kwargs}", *pair, TOKENS)
    cases = [
        {},
        dict(qkv_separate=True),
        dict(pool_type=""),
        dict(class_token=True),
        dict(out_features=0),
        dict(num_heads=2, out_features=5),
    ]
    for kwargs, shape in itertools.product(cases, ((2, 16, 7, 7), (2, 16, 5, 8))):
        kwargs = dict(head_dim=4) | kwargs
        for name in ("AttentionPool2d", "RotAttentionPool2d"):
            modules(
                f"{name} {kwargs}",
                getattr(ours, name)(16, **kwargs),
                getattr(theirs, name)(16, **kwargs),
                shape,
            )


def blocks(modules):
    modules = partial(modules, tolerance=1e-5)  # several layers on top of each other
    base = [
        {},
        dict(qkv_bias=True, init_values=0.1),
        dict(qk_norm=True),
        dict(drop_path=0.5),
        dict(proj_bias=False),
    ]
    for kwargs in base:
        pair = ours.TransformerBlock(24, 3, **kwargs), vision_transformer.Block(24, 3, **kwargs)
        modules(f"TransformerBlock {kwargs}", *pair, TOKENS)
    pair = (
        ours.TransformerBlock(24, 3, mlp_layer="swiglu"),
        vision_transformer.Block(24, 3, mlp_layer=theirs.SwiGLU),
    )
    modules("TransformerBlock swiglu", *pair, TOKENS)
    rope = torch.randn(12, 16)
    kinds = [
        {},
        dict(attn_type="rope"),
        dict(swiglu_mlp=True),
        dict(swiglu_mlp=True, scale_mlp=True),
        dict(swiglu_mlp=True, swiglu_align_to=32),
    ]
    more = [
        dict(init_values=0.1),
        dict(init_values=0.1, attn_only_layer_scale=True),
        dict(scale_attn_inner=True, qkv_fused=False),
    ]
    more += [
        dict(attn_type="rope", qkv_fused=False, num_kv_heads=1),
        dict(rotate_half=True, gated_attn=True, qk_norm=True),
        dict(drop_path=0.5),
    ]
    for kwargs in (*kinds, *more):
        pair = (Roped(lib(24, 3, **kwargs), rope=rope) for lib in (ours.EvaBlock, eva.EvaBlock))
        modules(f"EvaBlock {kwargs}", *pair, TOKENS)
    modules("ClassBlock", ours.ClassBlock(24, 3), volo.ClassBlock(24, 3), TOKENS)
    pair = (
        Roped(lib(24, 3), x_cls=torch.ones(2, 1, 24))
        for lib in (ours.LayerScaleBlockClassAttn, cait.LayerScaleBlockClassAttn)
    )
    modules("LayerScaleBlockClassAttn", *pair, TOKENS)
    for out in (None, 40):
        modules(
            "PatchMerging", ours.PatchMerging(16, out), swin_transformer.PatchMerging(16, out), LAST
        )
        modules(
            "PatchMerging, norm last",
            ours.PatchMerging(16, out, norm_last=True),
            swin_transformer_v2.PatchMerging(16, out),
            LAST,
        )


def windows(compare):
    x = torch.randn(2, 12, 15, 4)
    for label, other in (("swin", swin_transformer), ("davit", davit), ("maxxvit", maxxvit)):
        a, b = ours.window_partition(x, (4, 5)), other.window_partition(x, (4, 5))
        compare(f"window_partition {label}", a, b, 0)
    compare(
        "window_reverse",
        ours.window_reverse(a, (4, 5), 12, 15),
        swin_transformer.window_reverse(b, (4, 5), 12, 15),
        0,
    )
    a, (b, size) = ours.window_partition(x, 7), vision_transformer_sam.window_partition(x, 7)
    compare("window_partition, padded", a, b, 0)
    b = vision_transformer_sam.window_unpartition(b, 7, (12, 15), size)
    compare("window_reverse, padded", ours.window_reverse(a, 7, 12, 15), b, 0)


def relative_biases(modules, compare):
    for window, prefix in itertools.product([(4, 4), (3, 5), (7, 2)], (0, 1)):
        n = window[0] * window[1] + prefix
        shape = (2, 3, n, n)
        kinds = [
            (name, {})
            for name in ("RelPosBias", "RelPosMlp", *([] if prefix else ["RelPosBiasTf"]))
        ]
        kinds += [
            ("RelPosMlp", dict(mode="swin")),
            ("RelPosMlp", dict(mode="swin", pretrained_window_size=(8, 8))),
        ]
        for name, kwargs in kinds:
            mine, other = (
                getattr(lib, name)(window, 3, prefix_tokens=prefix, **kwargs)
                for lib in (ours, theirs)
            )
            modes = (False,) if name == "RelPosMlp" else (False, True)
            modules(f"{name} {window} {prefix} {kwargs}", mine, other, shape, modes)
            for m in (mine, other):
                m.eval().set_window_size((6, 3))
            compare(f"{name} {window} resized", mine.get_bias(), other.get_bias())


def rotary(compare):
    x = torch.randn(2, 3, 24, 16)
    emb = torch.randn(24, 32)
    for half in (False, True):
        compare(
            "apply_rot_embed_cat",
            ours.apply_rot_embed_cat(x, emb, half),
            theirs.apply_rot_embed_cat(x, emb, half),
        )
    keep = torch.stack([torch.randperm(24)[:7] for _ in range(2)])
    for embed, batch in (
        (emb, False),
        (emb.expand(3, 24, 32), False),
        (emb.expand(2, 4, 3, 24, 32), True),
    ):
        compare(
            "apply_keep_indices_nlc",
            *(lib.apply_keep_indices_nlc(x, embed, keep, batch) for lib in (ours, theirs)),
            0,
        )
    grids = [
        {},
        dict(in_pixels=False),
        dict(linear_bands=True),
        dict(in_pixels=False, ref_feat_shape=(14, 16)),
        dict(in_pixels=False, grid_offset=1.0, grid_indexing="xy"),
    ]
    grids += [
        dict(in_pixels=False, grid_type="centered", normalize_coords=m)
        for m in ("separate", "min", "max")
    ]
    for kwargs, half, shape in itertools.product(grids, (False, True), ((4, 6), (9, 3))):
        for kept in (False, True):
            both = [
                lib.RotaryEmbeddingCat(
                    16, rotate_half=half, feat_shape=shape if kept else None, **kwargs
                )
                for lib in (ours, theirs)
            ]
            compare(
                f"RotaryEmbeddingCat {kwargs}",
                *(m.get_embed(None if kept else shape) for m in both),
            )
            if kept:
                for m in both:
                    m.update_feat_shape((5, 5))
                compare(f"RotaryEmbeddingCat {kwargs}, updated", *(m.get_embed() for m in both))
        both = [lib.RotaryEmbedding(16, rotate_half=half, **kwargs) for lib in (ours, theirs)]
        for a, b in zip(*(m.get_embed(shape) for m in both), strict=True):
            compare(f"RotaryEmbedding {kwargs}", a, b)
        image = torch.randn(2, 16, *shape)
        compare(f"RotaryEmbedding {kwargs} forward", *(m(image) for m in both))
    for kwargs in (*grids[:2], grids[3]):
        both = [lib.RotaryEmbeddingCat(16, **kwargs) for lib in (ours, theirs)]
        compare("get_batch_embeds", *(m.get_batch_embeds([(4, 6), (2, 3)], 30) for m in both))
    for kwargs in (
        {},
        dict(temperature=None, min_period=0.1, max_period=10.0),
        dict(rotate_half=False, grid_indexing="xy"),
        dict(normalize_coords="max", grid_offset=0.25),
    ):
        both = [lib.RotaryEmbeddingDinoV3(16, **kwargs) for lib in (ours, theirs)]
        compare(f"RotaryEmbeddingDinoV3 {kwargs}", *(m.get_embed((5, 8)) for m in both))
    augment = dict(shift_coords=0.3, jitter_coords=1.2, rescale_coords=2.0)
    both = []
    for lib in (ours, theirs):
        torch.manual_seed(3)
        both.append(lib.RotaryEmbeddingDinoV3(16, **augment).train().get_embed((5, 8)))
    compare("RotaryEmbeddingDinoV3, augmented", *both)
    for indexing in ("xy", "ij"):
        mine, other = (
            lib.RotaryEmbeddingMixed(24, 2, 3, grid_indexing=indexing) for lib in (ours, theirs)
        )
        mine.load_state_dict(other.state_dict())
        compare("RotaryEmbeddingMixed", mine.get_embed((4, 6)), other.get_embed((4, 6)))
        compare(
            "RotaryEmbeddingMixed, batch",
            *(m.get_batch_embeds([(4, 6), (5, 2)], 24) for m in (mine, other)),
        )
    both = []
    for lib in (ours, theirs):
        torch.manual_seed(3)
        both.append(lib.RotaryEmbeddingMixed(24, 2, 3).freqs)
    compare("RotaryEmbeddingMixed, start", *both)
