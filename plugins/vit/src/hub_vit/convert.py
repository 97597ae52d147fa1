"""Checkpoints of other code, and of other image or patch sizes, for `VisionTransformer`."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from hub_layers import resample_abs_pos_embed, resample_patch_embed
from torch import Tensor

from hub_vit.model import VisionTransformer

StateDict = dict[str, Tensor]


def convert(state_dict: Mapping[str, Tensor], model: VisionTransformer) -> StateDict:
    """Return a state dict that fits the network.

    Args:
        state_dict: in timm's names, which DINO and MAE share, or in those of Google's `.npz` files.
        model: the network; it says which image and patch size are wanted.
    """
    state = dict(state_dict)
    if any(name.endswith("embedding/kernel") for name in state):
        state = from_flax(state)
    kernels = state.get("patch_embed.proj.weight")
    if kernels is not None and kernels.ndim == 4:
        old_patch = (kernels.shape[2], kernels.shape[3])
        state["patch_embed.proj.weight"] = resample_patch_embed(
            kernels, model.patch_embed.patch_size
        )
        _resize_positions(state, model, old_patch)
    return state


def _resize_positions(
    state: StateDict, model: VisionTransformer, old_patch: tuple[int, int]
) -> None:
    position, grid = state.get("pos_embed"), model.patch_embed.grid_size
    if position is None or model.pos_embed is None or grid is None:
        return
    num_prefix = 0 if model.no_embed_class else model.num_prefix_tokens
    # The weights say for which images they are; what is trained elsewhere may be for others.
    described = getattr(model, "pretrained_cfg", {}).get("input_size", (0, 0, 0))
    old = (described[1] // old_patch[0], described[2] // old_patch[1])
    known = old if old[0] * old[1] == position.shape[1] - num_prefix else None
    state["pos_embed"] = resample_abs_pos_embed(position, grid, known, num_prefix)


# Parts of Google's names and what stands for them here. The numbers count modules of any kind in
# the first release, and of the same kind in later ones.
_RENAMES = (
    (r"^embedding/", "patch_embed.proj/"),
    (r"^cls$", "cls_token"),
    (r"^(Transformer/)?(posembed_input/)?pos_embedding$", "pos_embed"),
    (r"^Transformer/encoder_norm/", "norm/"),
    (r"^Transformer/encoderblock_(\d+)/", r"blocks.\1."),
    (r"\.LayerNorm_0/", ".norm1/"),
    (r"\.LayerNorm_[12]/", ".norm2/"),
    (r"\.MultiHeadDotProductAttention_\d/out/", ".attn.proj/"),
    (r"\.MultiHeadDotProductAttention_\d/", ".attn."),
    (r"\.MlpBlock_\d/Dense_0/", ".mlp.fc1/"),
    (r"\.MlpBlock_\d/Dense_1/", ".mlp.fc2/"),
    (r"/(kernel|scale)$", ".weight"),
    (r"/bias$", ".bias"),
)
_QUERY = re.compile(r"(.*\.attn)\.query\.(weight|bias)")


def from_flax(arrays: Mapping[str, Tensor]) -> StateDict:
    """Return the tensors of a Flax vision transformer under the names and in the layout of torch.

    The hidden layer that some pretraining had before its classifier (pre_logits) is left out.

    Args:
        arrays: by path, as in the `.npz` files of google-research/vision_transformer.
    """
    state: StateDict = {}
    for path, array in arrays.items():
        name = path.removeprefix("opt/target/").removeprefix("params/")
        if name.startswith("pre_logits/"):
            continue
        for pattern, replacement in _RENAMES:
            name = re.sub(pattern, replacement, name)
        state[name] = _transposed(name, array)
    for name in list(state):
        if match := _QUERY.fullmatch(name):
            attn, leaf = match.groups()
            parts = [state.pop(f"{attn}.{part}.{leaf}") for part in ("query", "key", "value")]
            state[f"{attn}.qkv.{leaf}"] = torch.cat(parts)
    return state


def _transposed(name: str, array: Tensor) -> Tensor:
    """Return an array in the layout of torch: outputs first, heads and their width as one axis."""
    if name == "patch_embed.proj.weight":
        return array.permute(3, 2, 0, 1)  # (h, w, C, D) -> (D, C, h, w)
    if re.search(r"\.attn\.(query|key|value)\.weight$", name):
        return array.flatten(1).T  # (D, heads, head_dim) -> (D, D)
    if re.search(r"\.attn\.(query|key|value)\.bias$", name):
        return array.flatten()
    if name.endswith(".attn.proj.weight"):
        return array.flatten(0, 1).T  # (heads, head_dim, D) -> (D, D)
    return array.T if array.ndim == 2 else array
