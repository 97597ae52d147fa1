"""The residual networks of hub-resnet as data: variants, weights, renamed models.

Letters at the end of a name say which stem and shortcuts it has: none is the 7x7 stem of the paper,
c the deep stem, d the deep stem with average-pooled shortcuts, s a c with a wider stem, t a d with
a tiered stem. aa and blur are kinds of anti-aliasing, se and eca kinds of channel attention.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hub import INCEPTION_MEAN, INCEPTION_STD, Weights

# fmt: off
C: dict[str, Any] = dict(stem_type="deep", stem_width=32)
D: dict[str, Any] = dict(stem_type="deep", stem_width=32, avg_down=True)
S: dict[str, Any] = dict(stem_type="deep")
T: dict[str, Any] = dict(stem_type="deep_tiered", stem_width=32, avg_down=True)
SE: dict[str, Any] = dict(block_args=dict(attn_layer="se"))
ECA: dict[str, Any] = dict(block_args=dict(attn_layer="eca"))
RS: dict[str, Any] = dict(**D, replace_stem_pool=True, block_args=dict(attn_layer="se", attn_args=dict(rd_ratio=0.25)))

# Widths left by pruning: the three stem convolutions; then for each stage its output width and, for
# each of its blocks, the output widths of conv1 and conv2. The attention's kernel size is still that
# of the unpruned width.
ECARESNET50D_WIDTHS = (
    (32, 32, 64),
    (
        (  19, ((47, 18), (52, 22), (64, 35))),
        ( 171, ((85, 37), (107, 80), (120, 85), (125, 87))),
        ( 818, ((198, 126), (255, 232), (256, 233), (253, 235), (256, 225), (256, 239))),
        (2022, ((492, 237), (512, 500), (512, 490))),
    ),
)
ECARESNET101D_WIDTHS = (
    (32, 32, 64),
    (
        (  26, ((45, 25), (53, 20), (60, 27))),
        ( 142, ((81, 24), (93, 49), (102, 54), (122, 78))),
        ( 278, (
            (101, 25), (239, 160), (234, 156), (250, 176), (253, 191), (251, 175), (230, 128), (244, 154),
            (244, 159), (238, 97), (244, 149), (253, 181), (245, 119), (255, 216), (256, 201), (253, 149),
            (254, 141), (256, 190), (256, 217), (255, 156), (256, 155), (256, 232), (256, 214),
        )),
        (2042, ((499, 289), (512, 512), (512, 502))),
    ),
)

VARIANTS: dict[str, dict[str, Any]] = {
    # ResNet (arXiv:1512.03385), table 1; 26 is timm's, 200 has the depths of arXiv:1603.05027.
    "resnet18":               dict(block="basic",      layers=(2, 2, 2, 2)),    # 11.7M
    "resnet26":               dict(block="bottleneck", layers=(2, 2, 2, 2)),    # 16.0M
    "resnet34":               dict(block="basic",      layers=(3, 4, 6, 3)),    # 21.8M
    "resnet50":               dict(block="bottleneck", layers=(3, 4, 6, 3)),    # 25.6M
    "resnet101":              dict(block="bottleneck", layers=(3, 4, 23, 3)),   # 44.5M
    "resnet152":              dict(block="bottleneck", layers=(3, 8, 36, 3)),   # 60.2M
    "resnet200":              dict(block="bottleneck", layers=(3, 24, 36, 3)),  # 64.7M
    # GroupNorm (arXiv:1803.08494).
    "resnet50_gn":            dict(block="bottleneck", layers=(3, 4, 6, 3),   norm_layer="groupnorm"),  # 25.6M
    # Bag of tricks (arXiv:1812.01187), section 4: C and D; S is Gluon's wider C, T is timm's tiered D.
    "resnet10t":              dict(block="basic",      layers=(1, 1, 1, 1),   **T),  # 5.4M
    "resnet14t":              dict(block="bottleneck", layers=(1, 1, 1, 1),   **T),  # 10.1M
    "resnet18d":              dict(block="basic",      layers=(2, 2, 2, 2),   **D),  # 11.7M
    "resnet26d":              dict(block="bottleneck", layers=(2, 2, 2, 2),   **D),  # 16.0M
    "resnet26t":              dict(block="bottleneck", layers=(2, 2, 2, 2),   **T),  # 16.0M
    "resnet34d":              dict(block="basic",      layers=(3, 4, 6, 3),   **D),  # 21.8M
    "resnet50c":              dict(block="bottleneck", layers=(3, 4, 6, 3),   **C),  # 25.6M
    "resnet50d":              dict(block="bottleneck", layers=(3, 4, 6, 3),   **D),  # 25.6M
    "resnet50s":              dict(block="bottleneck", layers=(3, 4, 6, 3),   **S),  # 25.7M
    "resnet50t":              dict(block="bottleneck", layers=(3, 4, 6, 3),   **T),  # 25.6M
    "resnet101c":             dict(block="bottleneck", layers=(3, 4, 23, 3),  **C),  # 44.6M
    "resnet101d":             dict(block="bottleneck", layers=(3, 4, 23, 3),  **D),  # 44.6M
    "resnet101s":             dict(block="bottleneck", layers=(3, 4, 23, 3),  **S),  # 44.7M
    "resnet152c":             dict(block="bottleneck", layers=(3, 8, 36, 3),  **C),  # 60.2M
    "resnet152d":             dict(block="bottleneck", layers=(3, 8, 36, 3),  **D),  # 60.2M
    "resnet152s":             dict(block="bottleneck", layers=(3, 8, 36, 3),  **S),  # 60.3M
    "resnet200d":             dict(block="bottleneck", layers=(3, 24, 36, 3), **D),  # 64.7M
    # Wide ResNet (arXiv:1605.07146): twice the width inside the bottleneck.
    "wide_resnet50_2":        dict(block="bottleneck", layers=(3, 4, 6, 3),   base_width=128),  # 68.9M
    "wide_resnet101_2":       dict(block="bottleneck", layers=(3, 4, 23, 3),  base_width=128),  # 126.9M
    # ResNeXt (arXiv:1611.05431), table 1; the wide ones are of arXiv:1805.00932.
    "resnext50_32x4d":        dict(block="bottleneck", layers=(3, 4, 6, 3),   cardinality=32, base_width=4),       # 25.0M
    "resnext50d_32x4d":       dict(block="bottleneck", layers=(3, 4, 6, 3),   cardinality=32, base_width=4, **D),  # 25.0M
    "resnext101_32x4d":       dict(block="bottleneck", layers=(3, 4, 23, 3),  cardinality=32, base_width=4),       # 44.2M
    "resnext101_32x8d":       dict(block="bottleneck", layers=(3, 4, 23, 3),  cardinality=32, base_width=8),       # 88.8M
    "resnext101_32x16d":      dict(block="bottleneck", layers=(3, 4, 23, 3),  cardinality=32, base_width=16),      # 194.0M
    "resnext101_32x32d":      dict(block="bottleneck", layers=(3, 4, 23, 3),  cardinality=32, base_width=32),      # 468.5M
    "resnext101_64x4d":       dict(block="bottleneck", layers=(3, 4, 23, 3),  cardinality=64, base_width=4),       # 83.5M
    # Anti-aliased downsampling (arXiv:1904.11486): BlurPool, or average pooling as the simpler filter.
    "resnetaa34d":            dict(block="basic",      layers=(3, 4, 6, 3),   **D, aa_layer="avg"),                                      # 21.8M
    "resnetaa50":             dict(block="bottleneck", layers=(3, 4, 6, 3),   aa_layer="avg"),                                           # 25.6M
    "resnetaa50d":            dict(block="bottleneck", layers=(3, 4, 6, 3),   **D, aa_layer="avg"),                                      # 25.6M
    "resnetaa101d":           dict(block="bottleneck", layers=(3, 4, 23, 3),  **D, aa_layer="avg"),                                      # 44.6M
    "resnetblur18":           dict(block="basic",      layers=(2, 2, 2, 2),   aa_layer="blur"),                                          # 11.7M
    "resnetblur50":           dict(block="bottleneck", layers=(3, 4, 6, 3),   aa_layer="blur"),                                          # 25.6M
    "resnetblur50d":          dict(block="bottleneck", layers=(3, 4, 6, 3),   **D, aa_layer="blur"),                                     # 25.6M
    "resnetblur101d":         dict(block="bottleneck", layers=(3, 4, 23, 3),  **D, aa_layer="blur"),                                     # 44.6M
    "seresnetaa50d":          dict(block="bottleneck", layers=(3, 4, 6, 3),   **D, aa_layer="avg", **SE),                                # 28.1M
    "seresnextaa101d_32x8d":  dict(block="bottleneck", layers=(3, 4, 23, 3),  cardinality=32, base_width=8, **D, aa_layer="avg", **SE),  # 93.6M
    "seresnextaa201d_32x8d":  dict(block="bottleneck", layers=(3, 24, 36, 4), cardinality=32, base_width=8, **S, avg_down=True, aa_layer="avg", **SE),  # 149.4M
    # Squeeze-and-excitation (arXiv:1709.01507).
    "seresnet18":             dict(block="basic",      layers=(2, 2, 2, 2),   **SE),                                     # 11.8M
    "seresnet34":             dict(block="basic",      layers=(3, 4, 6, 3),   **SE),                                     # 22.0M
    "seresnet50":             dict(block="bottleneck", layers=(3, 4, 6, 3),   **SE),                                     # 28.1M
    "seresnet50t":            dict(block="bottleneck", layers=(3, 4, 6, 3),   **T, **SE),                                # 28.1M
    "seresnet101":            dict(block="bottleneck", layers=(3, 4, 23, 3),  **SE),                                     # 49.3M
    "seresnet152":            dict(block="bottleneck", layers=(3, 8, 36, 3),  **SE),                                     # 66.8M
    "seresnet152d":           dict(block="bottleneck", layers=(3, 8, 36, 3),  **D, **SE),                                # 66.8M
    "seresnet200d":           dict(block="bottleneck", layers=(3, 24, 36, 3), **D, **SE),                                # 71.9M
    "seresnet269d":           dict(block="bottleneck", layers=(3, 30, 48, 8), **D, **SE),                                # 113.7M
    "seresnext26d_32x4d":     dict(block="bottleneck", layers=(2, 2, 2, 2),   cardinality=32, base_width=4, **D, **SE),  # 16.8M
    "seresnext26t_32x4d":     dict(block="bottleneck", layers=(2, 2, 2, 2),   cardinality=32, base_width=4, **T, **SE),  # 16.8M
    "seresnext50_32x4d":      dict(block="bottleneck", layers=(3, 4, 6, 3),   cardinality=32, base_width=4, **SE),       # 27.6M
    "seresnext101_32x4d":     dict(block="bottleneck", layers=(3, 4, 23, 3),  cardinality=32, base_width=4, **SE),       # 49.0M
    "seresnext101_32x8d":     dict(block="bottleneck", layers=(3, 4, 23, 3),  cardinality=32, base_width=8, **SE),       # 93.6M
    "seresnext101_64x4d":     dict(block="bottleneck", layers=(3, 4, 23, 3),  cardinality=64, base_width=4, **SE),       # 88.2M
    "seresnext101d_32x8d":    dict(block="bottleneck", layers=(3, 4, 23, 3),  cardinality=32, base_width=8, **D, **SE),  # 93.6M
    "senet154":               dict(block="bottleneck", layers=(3, 8, 36, 3),  cardinality=64, base_width=4, **S, **SE, down_kernel_size=3, block_reduce_first=2),  # 115.1M
    # Efficient channel attention (arXiv:1910.03151); the pruned ones by arXiv:2002.08258.
    "ecaresnetlight":         dict(block="bottleneck", layers=(1, 1, 11, 3),  stem_width=32, avg_down=True, **ECA),             # 30.2M
    "ecaresnet26t":           dict(block="bottleneck", layers=(2, 2, 2, 2),   **T, **ECA),                                      # 16.0M
    "ecaresnet50d":           dict(block="bottleneck", layers=(3, 4, 6, 3),   **D, **ECA),                                      # 25.6M
    "ecaresnet50d_pruned":    dict(block="bottleneck", layers=(3, 4, 6, 3),   **D, **ECA, pruned_widths=ECARESNET50D_WIDTHS),   # 19.9M
    "ecaresnet50t":           dict(block="bottleneck", layers=(3, 4, 6, 3),   **T, **ECA),                                      # 25.6M
    "ecaresnet101d":          dict(block="bottleneck", layers=(3, 4, 23, 3),  **D, **ECA),                                      # 44.6M
    "ecaresnet101d_pruned":   dict(block="bottleneck", layers=(3, 4, 23, 3),  **D, **ECA, pruned_widths=ECARESNET101D_WIDTHS),  # 24.9M
    "ecaresnet200d":          dict(block="bottleneck", layers=(3, 24, 36, 3), **D, **ECA),                                      # 64.7M
    "ecaresnet269d":          dict(block="bottleneck", layers=(3, 30, 48, 8), **D, **ECA),                                      # 102.1M
    "ecaresnext26t_32x4d":    dict(block="bottleneck", layers=(2, 2, 2, 2),   cardinality=32, base_width=4, **T, **ECA),        # 15.4M
    "ecaresnext50t_32x4d":    dict(block="bottleneck", layers=(3, 4, 6, 3),   cardinality=32, base_width=4, **T, **ECA),        # 25.0M
    # ResNet-RS (arXiv:2103.07579).
    "resnetrs50":             dict(block="bottleneck", layers=(3, 4, 6, 3),   **RS),  # 35.7M
    "resnetrs101":            dict(block="bottleneck", layers=(3, 4, 23, 3),  **RS),  # 63.6M
    "resnetrs152":            dict(block="bottleneck", layers=(3, 8, 36, 3),  **RS),  # 86.6M
    "resnetrs200":            dict(block="bottleneck", layers=(3, 24, 36, 3), **RS),  # 93.2M
    "resnetrs270":            dict(block="bottleneck", layers=(4, 29, 53, 4), **RS),  # 129.9M
    "resnetrs350":            dict(block="bottleneck", layers=(4, 36, 72, 4), **RS),  # 164.0M
    "resnetrs420":            dict(block="bottleneck", layers=(4, 44, 87, 4), **RS),  # 191.9M
    # For tests.
    "test_resnet":            dict(block=("basic", "basic", "bottleneck", "basic"), layers=(1, 1, 1, 1), stem_type="deep", stem_width=16, avg_down=True, channels=(32, 48, 48, 96)),  # 0.5M
}
# fmt: on

# One repository; its releases are found under the present and the first owner.
TIMM = "https://github.com/huggingface/pytorch-image-models"
RW = "https://github.com/rwightman/pytorch-image-models"
TIMM_RSB = TIMM + "/releases/download/v0.1-rsb-weights/"
TIMM_WEIGHTS = TIMM + "/releases/download/v0.1-weights/"
RW_WEIGHTS = RW + "/releases/download/v0.1-weights/"
RW_ATTN = RW + "/releases/download/v0.1-attn-weights/"
RW_RSB = RW + "/releases/download/v0.1-rsb-weights/"
RW_RS = RW + "/releases/download/v0.1-rs-weights/"
RW_TPU = RW + "/releases/download/v0.1-tpu-weights/"
RW_TRESNET = RW + "/releases/download/v0.1-tresnet/"
GLUON = "https://github.com/rwightman/pytorch-pretrained-gluonresnet/releases/download/v0.1/"
TORCH = "https://download.pytorch.org/models/"
FACEBOOK = "https://dl.fbaipublicfiles.com/semiweaksupervision/model_files/"


def imagenet(url: str = "", *, size: int = 224, **fields: Any) -> Weights:
    """What all weights of this family share; an empty address means: only on the Hub."""
    pool_size = (-(-size // 32), -(-size // 32))  # rounded up: every stride pads
    return Weights.imagenet(url, size=size, pool_size=pool_size, classifier="fc", **fields)


def rsb(
    file: str,
    *,
    base: str = TIMM_RSB,
    size: int = 224,
    test: int = 288,
    crop: float = 0.95,
    test_crop: float = 1.0,
) -> Weights:
    """ResNet strikes back (arXiv:2110.00476), its recipes a1 to d and later ones like them."""
    return imagenet(
        base + file,
        size=size,
        test=test,
        crop=crop,
        test_crop=test_crop,
        origin=TIMM,
        paper="arXiv:2110.00476",
    )


def rsb_a3(file: str) -> Weights:
    """ResNet strikes back, recipe a3: 100 epochs at 160 pixels."""
    return rsb(file, size=160, test=224, test_crop=0.95)


def timm_recipe(
    file: str,
    *,
    base: str = RW_WEIGHTS,
    size: int = 224,
    test: int = 288,
    crop: float = 0.875,
    test_crop: float = 0.95,
) -> Weights:
    """Trained for timm by other recipes: bag of tricks (bt), RandAugment (ra), CutMix (cm), ..."""
    return imagenet(base + file, size=size, test=test, crop=crop, test_crop=test_crop, origin=TIMM)


def ra4(*, crop: float = 0.9) -> Weights:
    """RandAugment for 3600 epochs, after the recipe of MobileNet-V4; images in [-1, 1]."""
    return imagenet(
        test=288,
        crop=crop,
        test_crop=1.0,
        mean=INCEPTION_MEAN,
        std=INCEPTION_STD,
        origin=TIMM,
        paper="arXiv:2110.00476",
    )


def in12k(
    *,
    size: int = 224,
    test: int = 288,
    crop: float = 0.95,
    num_classes: int = 11821,
    origin: str | None = TIMM,
) -> Weights:
    """Pretrained by timm on 11,821 classes of ImageNet-22k, perhaps fine-tuned after."""
    return imagenet(
        size=size, test=test, crop=crop, test_crop=1.0, num_classes=num_classes, origin=origin
    )


def untrained(*, size: int = 224, crop: float = 0.875) -> Weights:
    """No weights: how images would be prepared."""
    return imagenet(hub=None, size=size, test=288, crop=crop, test_crop=0.95, origin=TIMM)


def gluon(file: str) -> Weights:
    """Converted from the model zoo of MXNet Gluon (arXiv:1812.01187)."""
    return imagenet(GLUON + file, origin="https://cv.gluon.ai/model_zoo/classification.html")


def torchvision(
    file: str, *, size: int = 224, test: int | None = None, test_crop: float | None = None
) -> Weights:
    """Torchvision's first weights."""
    return imagenet(
        TORCH + file,
        size=size,
        test=test,
        test_crop=test_crop,
        interpolation="bilinear",
        license="bsd-3-clause",
        origin="https://github.com/pytorch/vision",
    )


def torchvision2(file: str) -> Weights:
    """Torchvision's second weights, trained at 176 pixels."""
    return torchvision(file, size=176, test=224, test_crop=0.965)


def semi_supervised(file: str) -> Weights:
    """Semi- and semi-weakly supervised on a billion images (arXiv:1905.00546)."""
    return imagenet(
        FACEBOOK + file,
        interpolation="bilinear",
        license="cc-by-nc-4.0",
        origin="https://github.com/facebookresearch/semi-supervised-ImageNet1K-models",
    )


def weakly_supervised(file: str) -> Weights:
    """Weakly supervised on hashtags, then fine-tuned (arXiv:1805.00932)."""
    return imagenet(
        TORCH + file,
        interpolation="bilinear",
        license="cc-by-nc-4.0",
        origin="https://github.com/facebookresearch/WSL-Images",
    )


def miil(file: str) -> Weights:
    """Trained by Alibaba's MIIL (arXiv:2003.13630)."""
    return imagenet(RW_TRESNET + file, test=288, test_crop=0.95)


def resnet_rs(file: str, *, base: str = RW_RS, size: int, test: int, crop: float) -> Weights:
    """ResNet-RS (arXiv:2103.07579), converted from TensorFlow."""
    return imagenet(base + file, size=size, test=test, crop=crop)


# The first entry of an architecture is its default.
# fmt: off
_WEIGHTS: dict[str, Weights] = {
    # ResNet.
    "resnet18.a1_in1k":                 rsb("resnet18_a1_0-d63eafa0.pth"),
    "resnet18.a2_in1k":                 rsb("resnet18_a2_0-b61bd467.pth"),
    "resnet18.a3_in1k":                 rsb_a3("resnet18_a3_0-40c531c8.pth"),
    "resnet18.tv_in1k":                 torchvision("resnet18-f37072fd.pth"),
    "resnet18.fb_ssl_yfcc100m_ft_in1k": semi_supervised("semi_supervised_resnet18-d92f0530.pth"),
    "resnet18.fb_swsl_ig1b_ft_in1k":    semi_supervised("semi_weakly_supervised_resnet18-118f1556.pth"),
    "resnet18.gluon_in1k":              gluon("gluon_resnet18_v1b-0757602b.pth"),
    "resnet26.bt_in1k":                 timm_recipe("resnet26-9aa10e23.pth"),
    "resnet34.a1_in1k":                 rsb("resnet34_a1_0-46f8f793.pth"),
    "resnet34.a2_in1k":                 rsb("resnet34_a2_0-82d47d71.pth"),
    "resnet34.a3_in1k":                 rsb_a3("resnet34_a3_0-a20cabb6.pth"),
    "resnet34.bt_in1k":                 timm_recipe("resnet34-43635321.pth"),
    "resnet34.ra4_e3600_r224_in1k":     ra4(),
    "resnet34.tv_in1k":                 torchvision("resnet34-b627a593.pth"),
    "resnet34.gluon_in1k":              gluon("gluon_resnet34_v1b-c6d82d59.pth"),
    "resnet50.a1_in1k":                 rsb("resnet50_a1_0-14fe96d1.pth", base=RW_RSB),
    "resnet50.a1h_in1k":                rsb("resnet50_a1h2_176-001a1197.pth", size=176, test=224, crop=0.9),
    "resnet50.a2_in1k":                 rsb("resnet50_a2_0-a2746f79.pth"),
    "resnet50.a3_in1k":                 rsb_a3("resnet50_a3_0-59cae1ef.pth"),
    "resnet50.b1k_in1k":                rsb("resnet50_b1k-532a802a.pth"),
    "resnet50.b2k_in1k":                rsb("resnet50_b2k-1ba180c1.pth"),
    "resnet50.c1_in1k":                 rsb("resnet50_c1-5ba5e060.pth"),
    "resnet50.c2_in1k":                 rsb("resnet50_c2-d01e05b2.pth"),
    "resnet50.d_in1k":                  rsb("resnet50_d-f39db8af.pth"),
    "resnet50.ram_in1k":                timm_recipe("resnet50_ram-a26f946b.pth", base=TIMM_WEIGHTS),
    "resnet50.am_in1k":                 imagenet(TIMM_WEIGHTS + "resnet50_am-6c502b37.pth"),
    "resnet50.ra_in1k":                 timm_recipe("resnet50_ra-85ebb6e5.pth", base=TIMM_WEIGHTS),
    "resnet50.bt_in1k":                 timm_recipe("rw_resnet50-86acaeed.pth", base=TIMM_WEIGHTS),
    "resnet50.tv_in1k":                 torchvision("resnet50-0676ba61.pth"),
    "resnet50.tv2_in1k":                torchvision2("resnet50-11ad3fa6.pth"),
    "resnet50.bamboo":                  imagenet(crop=1.0, num_classes=0, license=None, origin="https://github.com/ZhangYuanhan-AI/Bamboo", paper="arXiv:2203.07845"),
    "resnet50.fb_ssl_yfcc100m_ft_in1k": semi_supervised("semi_supervised_resnet50-08389792.pth"),
    "resnet50.fb_swsl_ig1b_ft_in1k":    semi_supervised("semi_weakly_supervised_resnet50-16a12f1b.pth"),
    "resnet50.gluon_in1k":              gluon("gluon_resnet50_v1b-0ebe02e2.pth"),
    "resnet101.a1h_in1k":               rsb("resnet101_a1h-36d3f2aa.pth", base=RW_RSB),
    "resnet101.a1_in1k":                rsb("resnet101_a1_0-cdcb52a9.pth"),
    "resnet101.a2_in1k":                rsb("resnet101_a2_0-6edb36c7.pth"),
    "resnet101.a3_in1k":                rsb_a3("resnet101_a3_0-1db14157.pth"),
    "resnet101.tv_in1k":                torchvision("resnet101-63fe2227.pth"),
    "resnet101.tv2_in1k":               torchvision2("resnet101-cd907fc2.pth"),
    "resnet101.gluon_in1k":             gluon("gluon_resnet101_v1b-3b017079.pth"),
    "resnet152.a1h_in1k":               rsb("resnet152_a1h-dc400468.pth", base=RW_RSB),
    "resnet152.a1_in1k":                rsb("resnet152_a1_0-2eee8a7a.pth"),
    "resnet152.a2_in1k":                rsb("resnet152_a2_0-b4c6978f.pth"),
    "resnet152.a3_in1k":                rsb_a3("resnet152_a3_0-134d4688.pth"),
    "resnet152.tv_in1k":                torchvision("resnet152-394f9c45.pth"),
    "resnet152.tv2_in1k":               torchvision2("resnet152-f82ba261.pth"),
    "resnet152.gluon_in1k":             gluon("gluon_resnet152_v1b-c1edb0dd.pth"),
    "resnet200.untrained":              untrained(),
    # GroupNorm.
    "resnet50_gn.a1h_in1k": timm_recipe("resnet50_gn_a1h2-8fe6c4d0.pth", base=RW_RSB, crop=0.94),
    # Bag of tricks.
    "resnet10t.c3_in1k":             timm_recipe("resnet10t_176_c3-f3215ab1.pth", base=RW_RSB, size=176, test=224),
    "resnet14t.c3_in1k":             timm_recipe("resnet14t_176_c3-c4ed2c37.pth", base=RW_RSB, size=176, test=224),
    "resnet18d.ra2_in1k":            timm_recipe("resnet18d_ra2-48a79e06.pth"),
    "resnet18d.ra4_e3600_r224_in1k": ra4(),
    "resnet26d.bt_in1k":             timm_recipe("resnet26d-69e92c46.pth"),
    "resnet26t.ra2_in1k":            timm_recipe("resnet26t_256_ra2-6f6fa748.pth", base=RW_ATTN, size=256, test=320, crop=0.94, test_crop=1.0),
    "resnet34d.ra2_in1k":            timm_recipe("resnet34d_ra2-f8dcfcaf.pth"),
    "resnet50c.gluon_in1k":          gluon("gluon_resnet50_v1c-48092f55.pth"),
    "resnet50d.ra2_in1k":            timm_recipe("resnet50d_ra2-464e36ba.pth"),
    "resnet50d.ra4_e3600_r224_in1k": ra4(crop=0.95),
    "resnet50d.a1_in1k":             rsb("resnet50d_a1_0-e20cff14.pth"),
    "resnet50d.a2_in1k":             rsb("resnet50d_a2_0-a3adc64d.pth"),
    "resnet50d.a3_in1k":             rsb_a3("resnet50d_a3_0-403fdfad.pth"),
    "resnet50d.gluon_in1k":          gluon("gluon_resnet50_v1d-818a1b1b.pth"),
    "resnet50s.gluon_in1k":          gluon("gluon_resnet50_v1s-1762acc0.pth"),
    "resnet50t.untrained":           untrained(),
    "resnet101c.gluon_in1k":         gluon("gluon_resnet101_v1c-1f26822a.pth"),
    "resnet101d.ra2_in1k":           timm_recipe("resnet101d_ra2-2803ffab.pth", size=256, test=320, crop=0.95, test_crop=1.0),
    "resnet101d.gluon_in1k":         gluon("gluon_resnet101_v1d-0f9c8644.pth"),
    "resnet101s.gluon_in1k":         gluon("gluon_resnet101_v1s-60fe0cc1.pth"),
    "resnet152c.gluon_in1k":         gluon("gluon_resnet152_v1c-a3bb0b98.pth"),
    "resnet152d.ra2_in1k":           timm_recipe("resnet152d_ra2-5cac0439.pth", size=256, test=320, crop=0.95, test_crop=1.0),
    "resnet152d.gluon_in1k":         gluon("gluon_resnet152_v1d-bd354e12.pth"),
    "resnet152s.gluon_in1k":         gluon("gluon_resnet152_v1s-dcc41b81.pth"),
    "resnet200d.ra2_in1k":           timm_recipe("resnet200d_ra2-bdba9bf9.pth", size=256, test=320, crop=0.95, test_crop=1.0),
    # Wide ResNet.
    "wide_resnet50_2.racm_in1k": timm_recipe("wide_resnet50_racm-8234f177.pth"),
    "wide_resnet50_2.tv_in1k":   torchvision("wide_resnet50_2-95faca4d.pth"),
    "wide_resnet50_2.tv2_in1k":  torchvision2("wide_resnet50_2-9ba9bcbe.pth"),
    "wide_resnet101_2.tv_in1k":  torchvision("wide_resnet101_2-32ee1156.pth"),
    "wide_resnet101_2.tv2_in1k": torchvision2("wide_resnet101_2-d733dc28.pth"),
    # ResNeXt.
    "resnext50_32x4d.a1h_in1k":                  rsb("resnext50_32x4d_a1h-0146ab0a.pth", base=RW_RSB),
    "resnext50_32x4d.a1_in1k":                   rsb("resnext50_32x4d_a1_0-b5a91a1d.pth"),
    "resnext50_32x4d.a2_in1k":                   rsb("resnext50_32x4d_a2_0-efc76add.pth"),
    "resnext50_32x4d.a3_in1k":                   rsb_a3("resnext50_32x4d_a3_0-3e450271.pth"),
    "resnext50_32x4d.ra_in1k":                   timm_recipe("resnext50_32x4d_ra-d733960d.pth", base=TIMM_WEIGHTS),
    "resnext50_32x4d.tv_in1k":                   torchvision("resnext50_32x4d-7cdf4587.pth"),
    "resnext50_32x4d.tv2_in1k":                  torchvision2("resnext50_32x4d-1a0047aa.pth"),
    "resnext50_32x4d.fb_ssl_yfcc100m_ft_in1k":   semi_supervised("semi_supervised_resnext50_32x4-ddb3e555.pth"),
    "resnext50_32x4d.fb_swsl_ig1b_ft_in1k":      semi_supervised("semi_weakly_supervised_resnext50_32x4-72679e44.pth"),
    "resnext50_32x4d.gluon_in1k":                gluon("gluon_resnext50_32x4d-e6a097c1.pth"),
    "resnext50d_32x4d.bt_in1k":                  timm_recipe("resnext50d_32x4d-103e99f8.pth"),
    "resnext101_32x4d.fb_ssl_yfcc100m_ft_in1k":  semi_supervised("semi_supervised_resnext101_32x4-dc43570a.pth"),
    "resnext101_32x4d.untrained":                untrained(),
    "resnext101_32x4d.fb_swsl_ig1b_ft_in1k":     semi_supervised("semi_weakly_supervised_resnext101_32x4-3f87e46b.pth"),
    "resnext101_32x4d.gluon_in1k":               gluon("gluon_resnext101_32x4d-b253c8c4.pth"),
    "resnext101_32x8d.tv_in1k":                  torchvision("resnext101_32x8d-8ba56ff5.pth"),
    "resnext101_32x8d.tv2_in1k":                 torchvision2("resnext101_32x8d-110c445d.pth"),
    "resnext101_32x8d.fb_wsl_ig1b_ft_in1k":      weakly_supervised("ig_resnext101_32x8-c38310e5.pth"),
    "resnext101_32x8d.fb_ssl_yfcc100m_ft_in1k":  semi_supervised("semi_supervised_resnext101_32x8-2cfe2f8b.pth"),
    "resnext101_32x8d.fb_swsl_ig1b_ft_in1k":     semi_supervised("semi_weakly_supervised_resnext101_32x8-b4712904.pth"),
    "resnext101_32x16d.fb_wsl_ig1b_ft_in1k":     weakly_supervised("ig_resnext101_32x16-c6f796b0.pth"),
    "resnext101_32x16d.fb_ssl_yfcc100m_ft_in1k": semi_supervised("semi_supervised_resnext101_32x16-15fffa57.pth"),
    "resnext101_32x16d.fb_swsl_ig1b_ft_in1k":    semi_supervised("semi_weakly_supervised_resnext101_32x16-f3559a9c.pth"),
    "resnext101_32x32d.fb_wsl_ig1b_ft_in1k":     weakly_supervised("ig_resnext101_32x32-e4b90b00.pth"),
    "resnext101_64x4d.c1_in1k":                  rsb("resnext101_64x4d_c-0d0e0cc0.pth", base=RW_TPU),
    "resnext101_64x4d.tv_in1k":                  torchvision("resnext101_64x4d-173b62eb.pth"),
    "resnext101_64x4d.gluon_in1k":               gluon("gluon_resnext101_64x4d-f9a8e184.pth"),
    # Anti-aliased downsampling.
    "resnetaa34d.untrained":                      untrained(),
    "resnetaa50.a1h_in1k":                        rsb("resnetaa50_a1h-4cf422b3.pth", base=RW_RSB),
    "resnetaa50d.sw_in12k_ft_in1k":               in12k(num_classes=1000),
    "resnetaa50d.sw_in12k":                       in12k(),
    "resnetaa50d.d_in12k":                        in12k(),
    "resnetaa101d.sw_in12k_ft_in1k":              in12k(num_classes=1000),
    "resnetaa101d.sw_in12k":                      in12k(),
    "resnetblur18.untrained":                     untrained(),
    "resnetblur50.bt_in1k":                       timm_recipe("resnetblur50-84f4748f.pth"),
    "resnetblur50d.untrained":                    untrained(),
    "resnetblur101d.untrained":                   untrained(),
    "seresnetaa50d.untrained":                    untrained(),
    "seresnextaa101d_32x8d.sw_in12k_ft_in1k_288": in12k(size=288, test=320, num_classes=1000),
    "seresnextaa101d_32x8d.sw_in12k_ft_in1k":     in12k(crop=0.875, num_classes=1000),
    "seresnextaa101d_32x8d.sw_in12k":             in12k(),
    "seresnextaa101d_32x8d.ah_in1k":              rsb("seresnextaa101d_32x8d_ah-83c8ae12.pth", base=RW_TPU),
    "seresnextaa201d_32x8d.sw_in12k_ft_in1k_384": imagenet(size=384, crop=1.0),
    "seresnextaa201d_32x8d.sw_in12k":             in12k(size=320, test=384, origin=None),
    # Squeeze-and-excitation.
    "seresnet18.untrained":          untrained(),
    "seresnet34.untrained":          untrained(),
    "seresnet50.a1_in1k":            rsb("seresnet50_a1_0-ffa00869.pth"),
    "seresnet50.a2_in1k":            rsb("seresnet50_a2_0-850de0d9.pth"),
    "seresnet50.a3_in1k":            rsb_a3("seresnet50_a3_0-317ecd56.pth"),
    "seresnet50.ra2_in1k":           timm_recipe("seresnet50_ra_224-8efdb4bb.pth"),
    "seresnet50t.untrained":         untrained(),
    "seresnet101.untrained":         untrained(),
    "seresnet152.untrained":         untrained(),
    "seresnet152d.ra2_in1k":         timm_recipe("seresnet152d_ra2-04464dd2.pth", size=256, test=320, crop=0.95, test_crop=1.0),
    "seresnet200d.untrained":        untrained(size=256),
    "seresnet269d.untrained":        untrained(size=256),
    "seresnext26d_32x4d.bt_in1k":    timm_recipe("seresnext26d_32x4d-80fa48a3.pth"),
    "seresnext26t_32x4d.bt_in1k":    timm_recipe("seresnext26tn_32x4d-569cb627.pth"),
    "seresnext50_32x4d.racm_in1k":   timm_recipe("seresnext50_32x4d_racm-a304a460.pth"),
    "seresnext50_32x4d.gluon_in1k":  gluon("gluon_seresnext50_32x4d-90cf2d6e.pth"),
    "seresnext101_32x4d.gluon_in1k": gluon("gluon_seresnext101_32x4d-cf52900d.pth"),
    "seresnext101_32x4d.untrained":  untrained(),
    "seresnext101_32x8d.ah_in1k":    rsb("seresnext101_32x8d_ah-e6bc4c0a.pth", base=RW_TPU),
    "seresnext101_64x4d.gluon_in1k": gluon("gluon_seresnext101_64x4d-f9926f93.pth"),
    "seresnext101d_32x8d.ah_in1k":   rsb("seresnext101d_32x8d_ah-191d7b94.pth", base=RW_TPU),
    "senet154.gluon_in1k":           gluon("gluon_senet154-70a1a3c0.pth"),
    # Efficient channel attention.
    "ecaresnetlight.miil_in1k":       miil("ecaresnetlight-75a9c627.pth"),
    "ecaresnet26t.ra2_in1k":          timm_recipe("ecaresnet26t_ra2-46609757.pth", size=256, test=320),
    "ecaresnet50d.miil_in1k":         miil("ecaresnet50d-93c81e3b.pth"),
    "ecaresnet50d_pruned.miil_in1k":  miil("ecaresnet50d_p-e4fa23c2.pth"),
    "ecaresnet50t.ra2_in1k":          imagenet(RW_WEIGHTS + "ecaresnet50t_ra2-f7ac63c4.pth", size=256, test=320, test_crop=0.95),
    "ecaresnet50t.a1_in1k":           rsb("ecaresnet50t_a1_0-99bd76a8.pth"),
    "ecaresnet50t.a2_in1k":           rsb("ecaresnet50t_a2_0-b1c7b745.pth"),
    "ecaresnet50t.a3_in1k":           rsb_a3("ecaresnet50t_a3_0-8cc311f1.pth"),
    "ecaresnet101d.miil_in1k":        miil("ecaresnet101d-153dad65.pth"),
    "ecaresnet101d_pruned.miil_in1k": miil("ecaresnet101d_p-9e74cb91.pth"),
    "ecaresnet200d.untrained":        untrained(size=256, crop=0.95),
    "ecaresnet269d.ra2_in1k":         timm_recipe("ecaresnet269d_320_ra2-7baa55cb.pth", size=320, test=352, crop=0.95, test_crop=1.0),
    "ecaresnext26t_32x4d.untrained":  imagenet(hub=None),
    "ecaresnext50t_32x4d.untrained":  imagenet(hub=None),
    # ResNet-RS.
    "resnetrs50.tf_in1k":  resnet_rs("resnetrs50_ema-6b53758b.pth", size=160, test=224, crop=0.91),
    "resnetrs101.tf_in1k": resnet_rs("resnetrs101_i192_ema-1509bbf6.pth", size=192, test=288, crop=0.94),
    "resnetrs152.tf_in1k": resnet_rs("resnetrs152_i256_ema-a9aff7f9.pth", size=256, test=320, crop=1.0),
    "resnetrs200.tf_in1k": resnet_rs("resnetrs200_c-6b698b88.pth", base=RW_TPU, size=256, test=320, crop=1.0),
    "resnetrs270.tf_in1k": resnet_rs("resnetrs270_ema-b40e674c.pth", size=256, test=352, crop=1.0),
    "resnetrs350.tf_in1k": resnet_rs("resnetrs350_i256_ema-5a1aa8f1.pth", size=288, test=384, crop=1.0),
    "resnetrs420.tf_in1k": resnet_rs("resnetrs420_ema-972dee69.pth", size=320, test=416, crop=1.0),
    # For tests.
    "test_resnet.r160_in1k": imagenet(size=160, crop=0.95, interpolation="bilinear", mean=INCEPTION_MEAN, std=INCEPTION_STD),
}
# fmt: on


def _first_conv(key: str) -> str:
    return "conv1.0" if VARIANTS[key.partition(".")[0]].get("stem_type") else "conv1"


WEIGHTS: dict[str, Weights] = {
    key: replace(weights, first_conv=_first_conv(key)) for key, weights in _WEIGHTS.items()
}

# As in timm, also where ig_resnext101_32x16d and wider lead to the 32x8d.
# fmt: off
RENAMED: dict[str, str] = {
    "gluon_resnet18_v1b":       "resnet18.gluon_in1k",
    "gluon_resnet34_v1b":       "resnet34.gluon_in1k",
    "gluon_resnet50_v1b":       "resnet50.gluon_in1k",
    "gluon_resnet50_v1c":       "resnet50c.gluon_in1k",
    "gluon_resnet50_v1d":       "resnet50d.gluon_in1k",
    "gluon_resnet50_v1s":       "resnet50s.gluon_in1k",
    "gluon_resnet101_v1b":      "resnet101.gluon_in1k",
    "gluon_resnet101_v1c":      "resnet101c.gluon_in1k",
    "gluon_resnet101_v1d":      "resnet101d.gluon_in1k",
    "gluon_resnet101_v1s":      "resnet101s.gluon_in1k",
    "gluon_resnet152_v1b":      "resnet152.gluon_in1k",
    "gluon_resnet152_v1c":      "resnet152c.gluon_in1k",
    "gluon_resnet152_v1d":      "resnet152d.gluon_in1k",
    "gluon_resnet152_v1s":      "resnet152s.gluon_in1k",
    "gluon_resnext50_32x4d":    "resnext50_32x4d.gluon_in1k",
    "gluon_resnext101_32x4d":   "resnext101_32x4d.gluon_in1k",
    "gluon_resnext101_64x4d":   "resnext101_64x4d.gluon_in1k",
    "gluon_senet154":           "senet154.gluon_in1k",
    "gluon_seresnext50_32x4d":  "seresnext50_32x4d.gluon_in1k",
    "gluon_seresnext101_32x4d": "seresnext101_32x4d.gluon_in1k",
    "gluon_seresnext101_64x4d": "seresnext101_64x4d.gluon_in1k",
    "ig_resnext101_32x8d":      "resnext101_32x8d.fb_wsl_ig1b_ft_in1k",
    "ig_resnext101_32x16d":     "resnext101_32x8d.fb_wsl_ig1b_ft_in1k",
    "ig_resnext101_32x32d":     "resnext101_32x8d.fb_wsl_ig1b_ft_in1k",
    "ig_resnext101_32x48d":     "resnext101_32x8d.fb_wsl_ig1b_ft_in1k",
    "seresnext26tn_32x4d":      "seresnext26t_32x4d",
    "ssl_resnet18":             "resnet18.fb_ssl_yfcc100m_ft_in1k",
    "ssl_resnet50":             "resnet50.fb_ssl_yfcc100m_ft_in1k",
    "ssl_resnext50_32x4d":      "resnext50_32x4d.fb_ssl_yfcc100m_ft_in1k",
    "ssl_resnext101_32x4d":     "resnext101_32x4d.fb_ssl_yfcc100m_ft_in1k",
    "ssl_resnext101_32x8d":     "resnext101_32x8d.fb_ssl_yfcc100m_ft_in1k",
    "ssl_resnext101_32x16d":    "resnext101_32x16d.fb_ssl_yfcc100m_ft_in1k",
    "swsl_resnet18":            "resnet18.fb_swsl_ig1b_ft_in1k",
    "swsl_resnet50":            "resnet50.fb_swsl_ig1b_ft_in1k",
    "swsl_resnext50_32x4d":     "resnext50_32x4d.fb_swsl_ig1b_ft_in1k",
    "swsl_resnext101_32x4d":    "resnext101_32x4d.fb_swsl_ig1b_ft_in1k",
    "swsl_resnext101_32x8d":    "resnext101_32x8d.fb_swsl_ig1b_ft_in1k",
    "swsl_resnext101_32x16d":   "resnext101_32x16d.fb_swsl_ig1b_ft_in1k",
    "tv_resnet34":              "resnet34.tv_in1k",
    "tv_resnet50":              "resnet50.tv_in1k",
    "tv_resnet101":             "resnet101.tv_in1k",
    "tv_resnet152":             "resnet152.tv_in1k",
    "tv_resnext50_32x4d":       "resnext50_32x4d.tv_in1k",
}
# fmt: on
