"""Attention and patch embedding, held against their definitions."""

import hub_layers as L
import pytest
import torch
from torch import nn

X = torch.randn(2, 7, 12, generator=torch.Generator().manual_seed(0))


def by_hand(layer: L.Attention, x: torch.Tensor) -> torch.Tensor:
    """Compute attention as the paper has it, head by head."""
    width = x.shape[-1] // layer.num_heads
    q, k, v = layer.qkv(x).chunk(3, dim=-1)
    heads = []
    for i in range(layer.num_heads):
        part = slice(i * width, (i + 1) * width)
        logits = layer.q_norm(q[..., part]) @ layer.k_norm(k[..., part]).transpose(1, 2)
        heads.append((logits / width**0.5).softmax(-1) @ v[..., part])
    return layer.proj(torch.cat(heads, -1))


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("qk_norm", [False, True])
def test_attention_is_that_of_the_paper(qk_norm, fused):
    torch.manual_seed(0)
    layer = L.Attention(12, 3, qkv_bias=True, qk_norm=qk_norm, norm_layer=nn.LayerNorm).eval()
    layer.fused_attn = fused
    torch.testing.assert_close(layer(X), by_hand(layer, X))


def test_weights_can_be_seen_step_by_step():
    layer = L.Attention(12, 3).eval()
    seen = []
    layer.attn_drop.register_forward_hook(lambda module, given, output: seen.append(output))
    layer(X)
    assert seen == []
    layer.fused_attn = False
    mask = torch.ones(7, 7, dtype=torch.bool).tril()
    layer(X, mask)
    assert seen[0].shape == (2, 3, 7, 7)
    torch.testing.assert_close(seen[0].sum(-1), torch.ones(2, 3, 7))
    assert not seen[0][..., ~mask].any()


def test_attention_has_the_published_names():
    names = set(
        L.Attention(12, 3, qkv_bias=True, qk_norm=True, norm_layer=nn.LayerNorm).state_dict()
    )
    layers = ("qkv", "q_norm", "k_norm", "proj")
    assert names == {f"{layer}.{leaf}" for layer in layers for leaf in ("weight", "bias")}
    assert set(L.Attention(12, 3, proj_bias=False).state_dict()) == {"qkv.weight", "proj.weight"}


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("kind", ["boolean", "added"])
def test_a_masked_token_is_not_seen(kind, fused):
    layer = L.Attention(12, 3).eval()
    layer.fused_attn = fused
    mask = torch.ones(7, 7, dtype=torch.bool)
    mask[:, 4] = False
    if kind == "added":
        mask = torch.zeros(7, 7).masked_fill(~mask, float("-inf"))
    changed = X.clone()
    changed[:, 4] += 1
    others = [0, 1, 2, 3, 5, 6]
    torch.testing.assert_close(layer(X, mask)[:, others], layer(changed, mask)[:, others])


@pytest.mark.parametrize("fused", [False, True])
def test_attention_drops_weights_only_in_training(fused):
    layer = L.Attention(12, 3, attn_drop=0.5)
    layer.fused_attn = fused
    assert not torch.equal(layer(X), layer(X))
    layer.eval()
    assert torch.equal(layer(X), layer(X))


def test_qk_norm_needs_a_norm():
    with pytest.raises(ValueError, match="needs a norm_layer"):
        L.Attention(12, 3, qk_norm=True)


def test_a_token_is_its_patch_times_the_kernel():
    layer = L.PatchEmbed((8, 12), 4, 3, 5)
    x = torch.randn(2, 3, 8, 12)
    patch = x[:, :, 4:8, 8:12]  # row 1, column 2
    token = patch.flatten(1) @ layer.proj.weight.flatten(1).T + layer.proj.bias
    torch.testing.assert_close(layer(x)[:, 1 * 3 + 2], token)
    assert (layer.grid_size, layer.num_patches) == ((2, 3), 6)


@pytest.mark.parametrize(
    ("fmt", "shape"),
    [("NLC", (2, 6, 5)), ("NHWC", (2, 2, 3, 5)), ("NCHW", (2, 5, 2, 3)), ("NCL", (2, 5, 6))],
)
def test_layouts_of_patches(fmt, shape):
    assert L.PatchEmbed((8, 12), 4, 3, 5, output_fmt=fmt)(torch.randn(2, 3, 8, 12)).shape == shape


def test_patches_without_a_size_take_any():
    layer = L.PatchEmbed(None, (4, 2), 3, 5, flatten=False)
    assert layer(torch.randn(1, 3, 8, 6)).shape == (1, 5, 2, 3)
    assert layer.feat_ratio() == 4
    assert layer.feat_ratio(as_scalar=False) == (4, 2)
    layer.set_input_size((16, 16))
    assert layer.grid_size == (4, 8)
    with pytest.raises(ValueError, match="takes 16x16"):
        layer(torch.randn(1, 3, 8, 6))


def test_larger_kernels_give_larger_patches_the_same_token():
    torch.manual_seed(0)
    layer = L.PatchEmbed(8, 4, 3, 5)
    x = torch.randn(2, 3, 8, 8)
    before = layer(x)
    layer.set_input_size(16, patch_size=8)
    patches = x.unfold(2, 4, 4).unfold(3, 4, 4)  # (B, C, 2, 2, 4, 4)
    large = nn.functional.interpolate(
        patches.flatten(0, 3)[:, None], (8, 8), mode="bicubic", antialias=True
    )
    large = large.reshape(2, 3, 2, 2, 8, 8).permute(0, 1, 2, 4, 3, 5).reshape(2, 3, 16, 16)
    torch.testing.assert_close(layer(large), before, rtol=1e-3, atol=1e-4)
