"""The plain vision transformers of hub-vit as data: variants, weights, renamed models.

In a name, 224 is the image size, reg1 one register token, gap the mean of the patch tokens in
place of the class token.
"""

from __future__ import annotations

from typing import Any

from hub import (
    CLIP_MEAN,
    CLIP_STD,
    IMAGENET_MEAN,
    IMAGENET_STD,
    INCEPTION_MEAN,
    INCEPTION_STD,
    Weights,
)

# fmt: off
GAP: dict[str, Any] = dict(class_token=False, reg_tokens=1, global_pool="avg", init_values=1e-5)

VARIANTS: dict[str, dict[str, Any]] = {
    # ViT (arXiv:2010.11929), table 1: base and large; small is of DeiT (arXiv:2012.12877), table 1, as is tiny.
    "vit_tiny_patch16_224":            dict(patch_size=16, embed_dim=192,  depth=12, num_heads=3),   # 5.7M
    "vit_small_patch16_224":           dict(patch_size=16, embed_dim=384,  depth=12, num_heads=6),   # 22.1M
    "vit_base_patch16_224":            dict(patch_size=16, embed_dim=768,  depth=12, num_heads=12),  # 86.6M
    "vit_large_patch16_224":           dict(patch_size=16, embed_dim=1024, depth=24, num_heads=16),  # 304.3M
    # Registers (arXiv:2309.16588) without a class token, as in timm's search for better baselines.
    "vit_medium_patch16_reg1_gap_256": dict(patch_size=16, embed_dim=512,  depth=12, num_heads=8, **GAP, no_embed_class=True),  # 38.9M
    # For tests.
    "test_vit":                        dict(patch_size=16, embed_dim=64,   depth=6,  num_heads=2, mlp_ratio=3, dynamic_img_size=True),  # 0.4M
    "test_vit2":                       dict(patch_size=16, embed_dim=64,   depth=8,  num_heads=2, mlp_ratio=3, dynamic_img_size=True, **GAP),  # 0.5M
    "test_vit4":                       dict(patch_size=16, embed_dim=96,   depth=9,  num_heads=3, mlp_ratio=3, dynamic_img_size=True, **GAP, norm_layer="rmsnorm"),  # 1.0M
}
# fmt: on

AUGREG = "https://storage.googleapis.com/vit_models/augreg/"
SAM = "https://storage.googleapis.com/vit_models/sam/"
RW_VITJX = "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-vitjx/"
DINO = "https://dl.fbaipublicfiles.com/dino/"
MAE = "https://dl.fbaipublicfiles.com/mae/pretrain/"


def imagenet(
    url: str = "",
    *,
    crop: float = 0.9,
    mean: tuple[float, ...] = INCEPTION_MEAN,
    std: tuple[float, ...] = INCEPTION_STD,
    **fields: Any,
) -> Weights:
    """What all weights of this family share; an empty address means: only on the Hub."""
    return Weights.imagenet(
        url,
        crop=crop,
        mean=mean,
        std=std,
        custom_load=url.endswith(".npz"),
        fixed_input_size=True,
        first_conv="patch_embed.proj",
        classifier="head",
        **fields,
    )


def augreg_in21k(run: str) -> Weights:
    """Pretrained on the 21,843 classes of ImageNet-21k (arXiv:2106.10270)."""
    return imagenet(f"{AUGREG}{run}.npz", num_classes=21843)


def augreg_in1k(run: str, lr: str) -> Weights:
    """The same, or pretrained on ImageNet-1k, after 20,000 steps on ImageNet-1k at 224 pixels."""
    return imagenet(f"{AUGREG}{run}--imagenet2012-steps_20k-lr_{lr}-res_224.npz")


def headless(url: str = "", **fields: Any) -> Weights:
    """Weights without a classifier."""
    return imagenet(url, num_classes=0, **fields)


def dino(file: str) -> Weights:
    """Self-distillation (arXiv:2104.14294)."""
    return headless(DINO + file, mean=IMAGENET_MEAN, std=IMAGENET_STD)


def mae(file: str) -> Weights:
    """Masked autoencoders (arXiv:2111.06377)."""
    return headless(MAE + file, mean=IMAGENET_MEAN, std=IMAGENET_STD, license="cc-by-nc-4.0")


TINY = "Ti_16-i21k-300ep-lr_0.001-aug_none-wd_0.03-do_0.0-sd_0.0"
SMALL = "S_16-i21k-300ep-lr_0.001-aug_light1-wd_0.03-do_0.0-sd_0.0"
BASE = "B_16-i21k-300ep-lr_0.001-aug_medium1-wd_0.1-do_0.0-sd_0.0"
LARGE = "L_16-i21k-300ep-lr_0.001-aug_medium1-wd_0.1-do_0.1-sd_0.1"
SMALL_1K = "S_16-i1k-300ep-lr_0.001-aug_medium2-wd_0.1-do_0.0-sd_0.0"
BASE_1K = "B_16-i1k-300ep-lr_0.001-aug_strong2-wd_0.1-do_0.1-sd_0.1"

# fmt: off
WEIGHTS: dict[str, Weights] = {
    "vit_tiny_patch16_224.augreg_in21k_ft_in1k":   augreg_in1k(TINY, "0.03"),
    "vit_tiny_patch16_224.augreg_in21k":           augreg_in21k(TINY),
    "vit_small_patch16_224.augreg_in21k_ft_in1k":  augreg_in1k(SMALL, "0.03"),
    "vit_small_patch16_224.augreg_in1k":           augreg_in1k(SMALL_1K, "0.01"),
    "vit_small_patch16_224.augreg_in21k":          augreg_in21k(SMALL),
    "vit_small_patch16_224.dino":                  dino("dino_deitsmall16_pretrain/dino_deitsmall16_pretrain.pth"),
    "vit_base_patch16_224.augreg2_in21k_ft_in1k":  imagenet(),
    "vit_base_patch16_224.augreg_in21k_ft_in1k":   augreg_in1k(BASE, "0.01"),
    "vit_base_patch16_224.orig_in21k_ft_in1k":     imagenet(RW_VITJX + "jx_vit_base_p16_224-80ecf9dd.pth"),
    "vit_base_patch16_224.augreg_in1k":            augreg_in1k(BASE_1K, "0.01"),
    "vit_base_patch16_224.orig_in21k":             headless(),
    "vit_base_patch16_224.augreg_in21k":           augreg_in21k(BASE),
    "vit_base_patch16_224.sam_in1k":               imagenet(SAM + "ViT-B_16.npz"),
    "vit_base_patch16_224.bamboo":                 imagenet(crop=1.0, mean=CLIP_MEAN, std=CLIP_STD, num_classes=115217, license=None, origin="https://github.com/ZhangYuanhan-AI/Bamboo", paper="arXiv:2203.07845"),
    "vit_base_patch16_224.dino":                   dino("dino_vitbase16_pretrain/dino_vitbase16_pretrain.pth"),
    "vit_base_patch16_224.mae":                    mae("mae_pretrain_vit_base.pth"),
    "vit_large_patch16_224.augreg_in21k_ft_in1k":  augreg_in1k(LARGE, "0.01"),
    "vit_large_patch16_224.orig_in21k":            headless(),
    "vit_large_patch16_224.augreg_in21k":          augreg_in21k(LARGE),
    "vit_large_patch16_224.mae":                   mae("mae_pretrain_vit_large.pth"),
    "vit_medium_patch16_reg1_gap_256.sbb_in1k":    imagenet(size=256, crop=0.95),
    "test_vit.r160_in1k":                          imagenet(size=160, crop=0.95),
    "test_vit2.r160_in1k":                         imagenet(size=160, crop=0.95),
    "test_vit4.r160_in1k":                         imagenet(hub=None, size=160, crop=0.95),
}

# As in timm, where vit_base_patch16_224_sam leads to a tag that is not there.
RENAMED: dict[str, str] = {
    "vit_tiny_patch16_224_in21k":  "vit_tiny_patch16_224.augreg_in21k",
    "vit_small_patch16_224_in21k": "vit_small_patch16_224.augreg_in21k",
    "vit_small_patch16_224_dino":  "vit_small_patch16_224.dino",
    "vit_base_patch16_224_in21k":  "vit_base_patch16_224.augreg_in21k",
    "vit_base_patch16_224_sam":    "vit_base_patch16_224.sam_in1k",
    "vit_base_patch16_224_dino":   "vit_base_patch16_224.dino",
    "vit_large_patch16_224_in21k": "vit_large_patch16_224.augreg_in21k",
}
# fmt: on
