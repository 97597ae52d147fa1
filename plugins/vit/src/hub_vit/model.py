"""The plain vision transformer.

Papers: ViT arXiv:2010.11929; AugReg arXiv:2106.10270; DINOv2 arXiv:2304.07193; registers
arXiv:2309.16588.
Original code: https://github.com/google-research/vision_transformer (Apache-2.0); parameter names
are those of timm.

Differences from the original:
* registers and mean pooling beside the class token; layer scale; norm of queries and keys;
* images of another size than the position embedding: resampled once, or at each forward pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from hub import Backbone, BlockSequence, FeatureInfo
from hub_layers import (
    Attention,
    LayerFactory,
    LayerType,
    Mlp,
    PatchDropout,
    PatchEmbed,
    TransformerBlock,
    calculate_drop_path_rates,
    get_act_layer,
    get_norm_layer,
    global_pool_nlc,
    init_weights_vit,
    resample_abs_pos_embed,
)
from torch import Tensor, nn

Size = int | tuple[int, int]

POOLS_WITHOUT_TOKEN = ("", "avg", "avgmax", "max")
POOLS = ("", "token", "avg", "avgmax", "max")


class VisionTransformer(Backbone):
    """Vision transformer: patches become tokens, blocks mix them, a token or a mean is classified.

    Levels: the tokens after each block; prefix tokens (class, registers) come first.

    Args:
        img_size: (height, width) of the images.
        patch_size: (height, width) of a patch.
        in_chans: channels of the images.
        num_classes: outputs of the classifier; 0 for none.
        global_pool: "token", "avg", "avgmax", "max", or "" for all tokens.
        embed_dim: D of the tokens.
        depth: number of blocks.
        num_heads: heads of each attention.
        mlp_ratio: width inside each MLP, as a multiple of D.
        qkv_bias: biases of queries, keys and values.
        qk_norm: normalize queries and keys.
        proj_bias: biases of the projections after the attention and in the MLP.
        init_values: layer scale at the start; None for none.
        class_token: have a class token.
        pos_embed: "learn" a position embedding, or "none".
        no_embed_class: the prefix tokens have no position.
        reg_tokens: number of register tokens.
        pre_norm: a norm before the blocks, as in CLIP; patches have no bias then.
        final_norm: a norm after the blocks: of all tokens, or of the pooled one.
        fc_norm: the final norm is of the pooled token; None: where it is a reduction of patches.
        pool_include_prefix: reduce over the prefix tokens as well.
        dynamic_img_size: take images of any whole number of patches.
        dynamic_img_pad: fill images with zeros up to whole patches.
        drop_rate: dropout before the classifier.
        pos_drop_rate: dropout after the position embedding.
        patch_drop_rate: share of patches that training leaves out.
        proj_drop_rate: dropout after the attention and in the MLP.
        attn_drop_rate: dropout of the attention weights.
        drop_path_rate: highest stochastic-depth rate, linear over depth.
        weight_init: scheme of `hub_layers.init_weights_vit`.
        norm_layer: norm, by name or class.
        act_layer: activation, by name or class.
        mlp_layer: class of the MLP.
        attn_layer: class of the attention.
    """

    classifier_path = "head"
    head_modules = ("global_pool", "fc_norm", "head_drop", "head")
    final_norm = "norm"
    layout = "NLC"
    default_indices = 3
    no_decay = ("pos_embed", "cls_token", "reg_token")

    global_pool: str
    img_size: tuple[int, int]
    # None where a variant has none.
    cls_token: nn.Parameter | None
    reg_token: nn.Parameter | None
    pos_embed: nn.Parameter | None

    def __init__(
        self,
        img_size: Size = 224,
        patch_size: Size = 16,
        *,
        in_chans: int = 3,
        num_classes: int = 1000,
        global_pool: str = "token",
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        qk_norm: bool = False,
        proj_bias: bool = True,
        init_values: float | None = None,
        class_token: bool = True,
        pos_embed: str = "learn",
        no_embed_class: bool = False,
        reg_tokens: int = 0,
        pre_norm: bool = False,
        final_norm: bool = True,
        fc_norm: bool | None = None,
        pool_include_prefix: bool = False,
        dynamic_img_size: bool = False,
        dynamic_img_pad: bool = False,
        drop_rate: float = 0.0,
        pos_drop_rate: float = 0.0,
        patch_drop_rate: float = 0.0,
        proj_drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        weight_init: str = "",
        norm_layer: LayerType = "layernorm",
        act_layer: LayerType = "gelu",
        mlp_layer: LayerFactory = Mlp,
        attn_layer: LayerFactory = Attention,
    ) -> None:
        super().__init__(num_classes, in_chans, global_pool, drop_rate)
        self.num_features = self.embed_dim = embed_dim
        if global_pool == "token" and not class_token:
            raise ValueError("global_pool='token' needs class_token=True; 'avg' works without")
        self.pools = POOLS if class_token else POOLS_WITHOUT_TOKEN
        self.has_class_token, self.num_reg_tokens = class_token, reg_tokens
        self.num_prefix_tokens = int(class_token) + reg_tokens
        self.no_embed_class = no_embed_class
        self.pool_include_prefix = pool_include_prefix
        self.dynamic_img_size = dynamic_img_size
        norm = get_norm_layer(norm_layer)

        self.patch_embed = PatchEmbed(
            img_size,
            patch_size,
            in_chans,
            embed_dim,
            bias=not pre_norm,  # as in CLIP: the norm would take it away
            strict_img_size=not dynamic_img_size,
            dynamic_img_pad=dynamic_img_pad,
        )
        assert self.patch_embed.img_size is not None
        self.img_size = self.patch_embed.img_size
        self._build_tokens(pos_embed)
        self.pos_drop = nn.Dropout(pos_drop_rate)
        self.patch_drop = (
            PatchDropout(patch_drop_rate, self.num_prefix_tokens)
            if patch_drop_rate
            else nn.Identity()
        )
        self.norm_pre = norm(embed_dim) if pre_norm else nn.Identity()
        self.blocks = BlockSequence(
            *(
                TransformerBlock(
                    embed_dim,
                    num_heads,
                    mlp_ratio=mlp_ratio,
                    qkv_bias=qkv_bias,
                    qk_norm=qk_norm,
                    proj_bias=proj_bias,
                    proj_drop=proj_drop_rate,
                    attn_drop=attn_drop_rate,
                    init_values=init_values,
                    drop_path=rate,
                    act_layer=get_act_layer(act_layer),
                    norm_layer=norm,
                    mlp_layer=mlp_layer,
                    attn_layer=attn_layer,
                )
                for rate in calculate_drop_path_rates(drop_path_rate, depth)
            )
        )
        if fc_norm is None:
            fc_norm = global_pool in ("avg", "avgmax", "max")
        self.norm = norm(embed_dim) if final_norm and not fc_norm else nn.Identity()
        self.fc_norm = norm(embed_dim) if final_norm and fc_norm else nn.Identity()
        self.head_drop = nn.Dropout(drop_rate)
        self.feature_info = FeatureInfo(
            dict(num_chs=embed_dim, reduction=self.patch_embed.feat_ratio(), module=f"blocks.{i}")
            for i in range(depth)
        )
        self.build_head(num_classes, global_pool)
        self._init(weight_init)

    def _build_tokens(self, pos_embed: str) -> None:
        """Set the prefix tokens and the position embedding; names of absent ones are None."""
        if pos_embed not in ("learn", "none", ""):
            raise ValueError(f"pos_embed={pos_embed!r}: it can be 'learn' or 'none'")
        sizes = {
            "cls_token": int(self.has_class_token),
            "reg_token": self.num_reg_tokens,
            "pos_embed": self._grid_tokens() if pos_embed == "learn" else 0,
        }
        for name, count in sizes.items():
            tokens = nn.Parameter(torch.empty(1, count, self.embed_dim)) if count else None
            self.register_parameter(name, tokens)

    def _grid_tokens(self) -> int:
        """Return how many tokens have a position."""
        assert self.patch_embed.num_patches is not None
        return self.patch_embed.num_patches + self._positioned_prefix

    @property
    def _positioned_prefix(self) -> int:
        return 0 if self.no_embed_class else self.num_prefix_tokens

    def init_weights(self, mode: str = "") -> None:
        """Initialise tokens as ViT does, layers by a scheme of `hub_layers.init_weights_vit`."""
        super().init_weights()
        self._init(mode)

    def _init(self, mode: str) -> None:
        if self.pos_embed is not None:
            nn.init.trunc_normal_(self.pos_embed, std=0.02)
        for token in (self.cls_token, self.reg_token):
            if token is not None:
                nn.init.normal_(token, std=1e-6)
        init_weights_vit(self, mode)

    def set_input_size(self, img_size: Size | None = None, patch_size: Size | None = None) -> None:
        """Take images and patches of another size; position embedding and kernels are resampled.

        Args:
            img_size: (height, width) of the images; None keeps it.
            patch_size: (height, width) of a patch; None keeps it.

        Raises:
            ValueError: the image is not a whole number of patches.
        """
        old = self.patch_embed.grid_size
        self.patch_embed.set_input_size(img_size, patch_size)
        self.img_size = self.patch_embed.img_size or self.img_size
        new = self.patch_embed.grid_size
        if self.pos_embed is not None and new is not None:
            with torch.no_grad():
                resized = resample_abs_pos_embed(self.pos_embed, new, old, self._positioned_prefix)
            self.pos_embed = nn.Parameter(resized, self.pos_embed.requires_grad)
        for row in self.feature_info:
            row["reduction"] = self.patch_embed.feat_ratio()

    def present_arguments(self) -> dict[str, Any]:
        """Add the size of a patch, and where the final norm is."""
        norms = self.norm, self.fc_norm
        has_norm = not all(isinstance(norm, nn.Identity) for norm in norms)
        where = {"fc_norm": isinstance(self.norm, nn.Identity)} if has_norm else {}
        patch_size = self.patch_embed.patch_size
        return {**super().present_arguments(), "patch_size": patch_size, **where}

    def feature_size(self, height: int, width: int, index: int) -> tuple[int, int]:
        """Return (height, width) of the grid of tokens; all levels have the same."""
        return self.patch_embed.dynamic_feat_size((height, width))

    def forward_levels(self, x: Tensor) -> Iterator[Tensor]:
        """x: (B, in_chans, H, W). Yields (B, N, D) after each block."""
        grid = self.feature_size(x.shape[-2], x.shape[-1], 0)
        x = self.add_tokens(self.patch_embed(x), grid)
        x = self.norm_pre(self.patch_drop(self.pos_drop(x)))
        yield from self.blocks.each(x)

    def add_tokens(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """Put the prefix tokens before the patches and add the position embedding.

        Args:
            x: (B, H * W, D).
            grid: (H, W) in patches.

        Returns:
            (B, N, D).
        """
        tokens = [t for t in (self.cls_token, self.reg_token) if t is not None]
        prefix = [t.expand(x.shape[0], -1, -1) for t in tokens]
        position: Tensor | None = self.pos_embed
        if position is None:
            return torch.cat((*prefix, x), dim=1)
        if self.dynamic_img_size:
            position = resample_abs_pos_embed(
                position, grid, self.patch_embed.grid_size, self._positioned_prefix
            )
        if self.no_embed_class:
            return torch.cat((*prefix, x + position), dim=1)
        return torch.cat((*prefix, x), dim=1) + position

    def forward_pool(self, x: Tensor) -> Tensor:
        """x: (B, N, D). Returns: (B, D)."""
        kind = self.global_pool
        return global_pool_nlc(x, kind, self.num_prefix_tokens, self.pool_include_prefix)
