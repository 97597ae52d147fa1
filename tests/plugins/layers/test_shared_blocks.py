"""What families share, held against formulas and slow references written out here."""

import math

import hub_layers as L
import pytest
import torch
from torch import nn

TOKENS = torch.randn(2, 7, 12, generator=torch.Generator().manual_seed(0))
NORM = nn.LayerNorm


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)
    with torch.no_grad():
        yield


def attended(q, k, v, heads, allowed=None):
    """Attend head by head, query by query: (N, D) each."""
    width = q.shape[-1] // heads
    out = torch.zeros(len(q), v.shape[-1])
    for h in range(heads):
        part = slice(h * width, (h + 1) * width)
        for i in range(len(q)):
            logits = k[:, part] @ q[i, part] / math.sqrt(width)
            if allowed is not None:
                logits = logits.masked_fill(~allowed[i], -math.inf)
            out[i, part] = logits.softmax(0) @ v[:, part]
    return out


def turned(x, angles):
    """Turn neighbouring channels of x: (N, D) as complex numbers by angles (N, D / 2)."""
    pairs = torch.view_as_complex(x.reshape(len(x), -1, 2))
    return torch.view_as_real(pairs * torch.polar(torch.ones_like(angles), angles)).flatten(1)


# Perceptrons


def test_swiglu_is_its_formula():
    layer = L.SwiGLU(12, 20, 5, norm_layer=NORM)
    gate = layer.fc1_g(TOKENS)
    hidden = gate / (1 + (-gate).exp()) * layer.fc1_x(TOKENS)
    torch.testing.assert_close(layer(TOKENS), layer.fc2(layer.norm(hidden)))
    assert L.SwiGLU(12, 20, align_to=16).fc2.in_features == 32


def test_packed_swiglu_is_the_one_with_two_layers():
    packed, split = L.SwiGLUPacked(12, 40), L.SwiGLU(12, 20)
    weight, bias = packed.fc1.weight.chunk(2), packed.fc1.bias.chunk(2)
    split.load_state_dict(
        {
            "fc1_g.weight": weight[0],
            "fc1_x.weight": weight[1],
            "fc1_g.bias": bias[0],
            "fc1_x.bias": bias[1],
            "fc2.weight": packed.fc2.weight,
            "fc2.bias": packed.fc2.bias,
        }
    )
    torch.testing.assert_close(packed(TOKENS), split(TOKENS))


def test_a_gate_begins_open():
    for layer in (L.GluMlp(12), L.SwiGLU(12)):
        layer.init_weights()
    glu = L.GluMlp(12, 8)
    glu.init_weights()
    value = glu.fc1(TOKENS)[..., :4]
    open_gate = torch.tensor(1.0).sigmoid()
    torch.testing.assert_close(glu(TOKENS), glu.fc2(value * open_gate), atol=1e-4, rtol=1e-4)


def test_gated_mlp_gives_the_gate_all_tokens():
    class Gate(nn.Module):
        def __init__(self, width, device=None, dtype=None):
            super().__init__()

        def forward(self, x):
            value, gate = x.chunk(2, -1)
            return value * gate.mean(1, keepdim=True)

    layer = L.GatedMlp(12, 8, gate_layer=Gate)
    value, gate = layer.act(layer.fc1(TOKENS)).chunk(2, -1)
    torch.testing.assert_close(layer(TOKENS), layer.fc2(value * gate.mean(1, keepdim=True)))
    with pytest.raises(ValueError, match="even"):
        L.GluMlp(12, 7)


def test_names_of_mlps_and_attentions():
    assert L.get_mlp_layer("swiglu") is L.SwiGLU
    assert L.get_mlp_layer("SwiGLU_packed") is L.SwiGLUPacked
    assert L.get_attention_layer("rope") is L.AttentionRope
    assert L.get_mlp_layer(L.Mlp) is L.Mlp
    with pytest.raises(L.UnknownLayerError, match=r"unknown MLP 'swigle'\. Did you mean 'swiglu'"):
        L.get_mlp_layer("swigle")
    with pytest.raises(L.UnknownLayerError, match="unknown self-attention 'se'"):
        L.get_attention_layer("se")


# Attention


def test_rotary_attention_turns_queries_and_keys_but_not_the_prefix():
    layer = L.AttentionRope(12, 3, num_prefix_tokens=2).eval()
    angles = torch.randn(5, 2)
    spread = angles.repeat_interleave(2, -1)
    x = TOKENS[:1]
    q, k, v = layer.qkv(x[0]).chunk(3, -1)
    for t in (q, k):
        for h in range(3):
            part = slice(4 * h, 4 * h + 4)
            t[2:, part] = turned(t[2:, part].clone(), angles)
    expected = layer.proj(attended(q, k, v, 3))
    for fused in (True, False):
        layer.fused_attn = fused
        out = layer(x, rope=torch.cat((spread.sin(), spread.cos()), -1))[0]
        torch.testing.assert_close(out, expected)


@pytest.mark.parametrize("fused", [True, False])
def test_causal_attention_sees_no_later_token(fused):
    layer = L.AttentionRope(12, 3).eval()
    layer.fused_attn = fused
    q, k, v = layer.qkv(TOKENS[0]).chunk(3, -1)
    expected = layer.proj(attended(q, k, v, 3, torch.ones(7, 7, dtype=torch.bool).tril()))
    torch.testing.assert_close(layer(TOKENS[:1], is_causal=True)[0], expected)


def test_queries_share_keys_in_groups():
    layer = L.AttentionRope(12, 4, qkv_fused=False, num_kv_heads=2).eval()
    q, k, v = layer.q_proj(TOKENS[0]), layer.k_proj(TOKENS[0]), layer.v_proj(TOKENS[0])
    k, v = (torch.cat((t[:, :3], t[:, :3], t[:, 3:], t[:, 3:]), 1) for t in (k, v))
    torch.testing.assert_close(layer(TOKENS[:1])[0], layer.proj(attended(q, k, v, 4)))
    with pytest.raises(ValueError, match="qkv_fused=False"):
        L.AttentionRope(12, 4, num_kv_heads=2)


def test_keys_of_eva_have_no_bias():
    layer = L.EvaAttention(12, 3, scale_norm=False).eval()
    nn.init.normal_(layer.q_bias)
    nn.init.normal_(layer.v_bias)
    q, k, v = layer.qkv(TOKENS[0]).chunk(3, -1)
    expected = layer.proj(attended(q + layer.q_bias, k, v + layer.v_bias, 3))
    torch.testing.assert_close(layer(TOKENS[:1])[0], expected)
    layer.qkv_bias_separate = True
    torch.testing.assert_close(layer(TOKENS[:1])[0], expected)
    # A bias of keys moves all logits of a query alike: only behind a norm could it be seen.
    normed = L.EvaAttention(12, 3, scale_norm=False, qk_norm=True, norm_layer=NORM).eval()
    nn.init.normal_(normed.q_bias)
    q, k, v = normed.qkv(TOKENS[0]).chunk(3, -1)
    q, k = (
        norm(t.view(7, 3, 4)).flatten(1)
        for norm, t in ((normed.q_norm, q + normed.q_bias), (normed.k_norm, k))
    )
    torch.testing.assert_close(normed(TOKENS[:1])[0], normed.proj(attended(q, k, v, 3)))
    names = ["q_bias", "v_bias", "qkv.weight", "proj.weight", "proj.bias"]
    assert list(layer.state_dict()) == names


def test_a_gated_attention_multiplies_what_the_heads_give():
    layer = L.AttentionRope(12, 3, gated=True, scale_norm=True, norm_layer=NORM).eval()
    q, k, v = layer.qkv(TOKENS[0]).chunk(3, -1)
    gate = layer.gate(TOKENS[0]).sigmoid()
    expected = layer.proj(layer.norm(attended(q, k, v, 3)) * gate)
    torch.testing.assert_close(layer(TOKENS[:1])[0], expected)


@pytest.mark.parametrize("kind", [L.ClassAttn, L.ClassAttention])
def test_class_attention_is_the_first_row_of_an_attention(kind):
    layer = kind(12, 3).eval()
    x = TOKENS[0]
    k, v = (layer.k(x), layer.v(x)) if kind is L.ClassAttn else layer.kv(x).chunk(2, -1)
    expected = layer.proj(attended(layer.q(x), k, v, 3)[:1])
    torch.testing.assert_close(layer(TOKENS[:1])[0], expected)


def test_class_blocks_leave_the_patches():
    block = L.ClassBlock(12, 3).eval()
    out = block(TOKENS)
    assert torch.equal(out[:, 1:], TOKENS[:, 1:]) and not torch.equal(out[:, 0], TOKENS[:, 0])
    block = L.LayerScaleBlockClassAttn(12, 3, init_values=0.5).eval()
    token, patches = TOKENS[:, :1], TOKENS[:, 1:]
    token = token + 0.5 * block.attn(block.norm1(TOKENS))
    token = token + 0.5 * block.mlp(block.norm2(token))
    torch.testing.assert_close(block(patches, TOKENS[:, :1]), token)


def test_transformer_block_is_two_residual_lines():
    block = L.TransformerBlock(12, 3, init_values=0.5, drop_path=0.3, mlp_layer="swiglu").eval()
    x = TOKENS + 0.5 * block.attn(block.norm1(TOKENS))
    torch.testing.assert_close(block(TOKENS), x + 0.5 * block.mlp(block.norm2(x)))
    mask = torch.ones(7, 7, dtype=torch.bool).tril()
    x = TOKENS + 0.5 * block.attn(block.norm1(TOKENS), mask)
    torch.testing.assert_close(block(TOKENS, mask), x + 0.5 * block.mlp(block.norm2(x)))


def test_eva_block_is_two_residual_lines():
    rope = torch.randn(6, 8)
    block = L.EvaBlock(12, 3, init_values=0.5, attn_only_layer_scale=True, swiglu_mlp=True).eval()
    x = TOKENS + 0.5 * block.attn(block.norm1(TOKENS), rope)
    torch.testing.assert_close(block(TOKENS, rope), x + block.mlp(block.norm2(x)))
    assert isinstance(block.mlp, L.GluMlp)
    assert isinstance(L.EvaBlock(12, 3, swiglu_mlp=True, scale_mlp=True).mlp, L.SwiGLU)
    with pytest.raises(ValueError, match="'eva' or 'rope'"):
        L.EvaBlock(12, 3, attn_type="plain")


def test_latent_pool_lets_its_query_attend():
    pool = L.AttentionPoolLatent(12, num_heads=3).eval()
    k, v = pool.kv(TOKENS[0]).chunk(2, -1)
    x = pool.proj(attended(pool.q(pool.latent[0]), k, v, 3))
    torch.testing.assert_close(pool(TOKENS[:1]), x + pool.mlp(x))


@pytest.mark.parametrize("kind", [L.AttentionPool2d, L.RotAttentionPool2d])
def test_a_map_is_pooled_by_its_mean_as_query(kind):
    pool = kind(
        8, head_dim=4, out_features=5, **(dict(feat_size=3) if "Rot" not in kind.__name__ else {})
    ).eval()
    x = torch.randn(1, 8, 3, 3)
    tokens = x.flatten(2)[0].T
    tokens = torch.cat((tokens.mean(0, keepdim=True), tokens))
    if kind is L.AttentionPool2d:
        tokens = tokens + pool.pos_embed
    q, k, v = pool.qkv(tokens).chunk(3, -1)
    if kind is L.RotAttentionPool2d:
        sin, cos = pool.pos_embed.get_embed((3, 3)).chunk(2, -1)
        for t in (q, k):
            for part in (slice(0, 4), slice(4, 8)):
                t[1:, part] = L.apply_rot_embed(t[1:, part].clone(), sin, cos)
    y = attended(q, k, v, 2)
    torch.testing.assert_close(pool(x, pre_logits=True), y[:1])
    torch.testing.assert_close(pool(x), pool.proj(y[:1]))
    pool.reset(0, "")
    torch.testing.assert_close(pool(x)[0], y[1:].T.reshape(8, 3, 3))
    pool.reset(4, "token")
    assert pool(x).shape == (1, 4)
    pool.strip(8)
    assert torch.equal(pool(x), x) and not list(pool.parameters())
    with pytest.raises(ValueError, match="'token'"):
        pool.reset(pool_type="max")


# Windows and relative positions


@pytest.mark.parametrize(("height", "width"), [(8, 9), (7, 8), (3, 2)])
def test_windows_are_slices_row_by_row(height, width):
    x = torch.randn(2, height, width, 5)
    windows = L.window_partition(x, (4, 3))
    padded = torch.zeros(2, -(-height // 4) * 4, -(-width // 3) * 3, 5)
    padded[:, :height, :width] = x
    slices = [
        padded[b, i : i + 4, j : j + 3]
        for b in range(2)
        for i in range(0, padded.shape[1], 4)
        for j in range(0, padded.shape[2], 3)
    ]
    assert torch.equal(windows, torch.stack(slices))
    assert torch.equal(L.window_reverse(windows, (4, 3), height, width), x)


@pytest.mark.parametrize("norm_last", [False, True])
def test_merged_patches_stand_column_by_column(norm_last):
    layer = L.PatchMerging(3, norm_last=norm_last)
    x = torch.randn(1, 5, 4, 3)
    block = torch.cat([x[0, 2, 2], x[0, 3, 2], x[0, 2, 3], x[0, 3, 3]])
    expected = (
        layer.norm(layer.reduction(block)) if norm_last else layer.reduction(layer.norm(block))
    )
    out = layer(x)
    assert out.shape == (1, 3, 2, 6)
    torch.testing.assert_close(out[0, 1, 1], expected)
    first, second = ("reduction", "norm") if norm_last else ("norm", "reduction")
    assert [n for n, _ in layer.named_children()] == [first, second]


@pytest.mark.parametrize("kind", [L.RelPosBias, L.RelPosBiasTf, L.RelPosMlp])
def test_bias_depends_on_the_distance_alone(kind):
    layer = kind((3, 4), 2).eval()
    bias = layer.get_bias().reshape(2, 3, 4, 3, 4)
    assert torch.equal(bias[:, 0, 0, 1, 2], bias[:, 1, 1, 2, 3])
    assert not torch.equal(bias[:, 0, 0, 1, 2], bias[:, 1, 2, 0, 0])
    logits = torch.randn(2, 2, 12, 12)
    torch.testing.assert_close(layer(logits), logits + bias.reshape(2, 12, 12))
    layer.set_window_size((2, 2))
    assert layer.get_bias().shape[-2:] == (4, 4)


def test_bias_of_each_pair_is_its_entry():
    layer = L.RelPosBias((3, 4), 2, prefix_tokens=1)
    table, bias = layer.relative_position_bias_table, layer.get_bias()[0]
    for (qy, qx), (ky, kx) in [((0, 1), (2, 3)), ((2, 0), (1, 3))]:
        entry = (qy - ky + 2) * 7 + qx - kx + 3
        torch.testing.assert_close(bias[:, 1 + qy * 4 + qx, 1 + ky * 4 + kx], table[entry])
    assert torch.equal(bias[:, 0, 0], table[-1])
    tf = L.RelPosBiasTf((3, 4), 2)
    expected = tf.relative_position_bias_table[:, 2 - 0 + 2, 3 - 1 + 3]  # key less query
    assert torch.equal(tf.get_bias()[:, 0 * 4 + 1, 2 * 4 + 3], expected)


def test_coordinates_of_swin_v2_are_its_equation():
    coords = L.gen_relative_log_coords((3, 5), (5, 9))
    scaled = torch.tensor([2 * 8 / 4, -3 * 8 / 8])
    expected = scaled.sign() * (1 + scaled.abs()).log2() / 3
    torch.testing.assert_close(coords[2 + 2, 4 - 3], expected)
    layer = L.RelPosMlp((3, 5), 2, mode="swin", prefix_tokens=1).eval()
    bias = layer.get_bias()
    assert not bias[..., 0, :].any() and not bias[..., 0].any()
    assert 0 < bias[..., 1:, 1:].min() and bias.max() < 16


# Rotary embedding


def test_bands_are_their_formulas():
    torch.testing.assert_close(
        L.freq_bands(4, 100.0, step=1), torch.tensor([1.0, 100**-0.25, 0.1, 100**-0.75])
    )
    expected = math.pi * torch.tensor([1.0, 2.0, 4.0])
    torch.testing.assert_close(L.pixel_freq_bands(3, 8.0, linear_bands=False), expected)
    expected = math.pi * torch.tensor([1.0, 2.5, 4.0])
    torch.testing.assert_close(L.pixel_freq_bands(3, 8.0), expected)


def test_grids_are_their_definitions():
    grid = L.grid_coordinates((3, 4)).view(3, 4, 2)
    assert grid[2, 1].tolist() == [2, 1]
    assert L.grid_coordinates((3, 4), grid_indexing="xy").view(3, 4, 2)[2, 1].tolist() == [1, 2]
    assert L.grid_coordinates((3, 5), "pixel").view(3, 5, 2)[0, 4].tolist() == [-1, 1]
    middles = L.grid_coordinates((2, 4), "centered").view(2, 4, 2)
    assert middles[1, 0].tolist() == [0.5, -0.75]
    by_max = L.grid_coordinates((2, 4), "centered", normalize_coords="max").view(2, 4, 2)
    assert by_max[1, 0].tolist() == [-0.25, -0.75]
    scaled = L.grid_coordinates((8, 8), ref_feat_shape=(4, 16)).view(8, 8, 2)
    assert scaled[6, 3].tolist() == [3, 6]
    for word in ("grid_type", "grid_indexing"):
        with pytest.raises(ValueError, match=f"{word}='other'"):
            L.grid_coordinates((2, 2), **{word: "other"})


@pytest.mark.parametrize("half", [False, True])
def test_rotary_products_depend_on_the_distance_alone(half):
    rope = L.RotaryEmbeddingCat(8, in_pixels=False, rotate_half=half)
    emb = rope.get_embed((5, 5)).view(5, 5, -1)
    q, k = torch.randn(2, 8)

    def product(a, b):
        return L.apply_rot_embed_cat(q, emb[a], half) @ L.apply_rot_embed_cat(k, emb[b], half)

    torch.testing.assert_close(product((0, 1), (2, 4)), product((1, 0), (3, 3)))
    assert not torch.isclose(product((0, 1), (2, 4)), product((0, 1), (4, 4)))


def test_rotary_embedding_is_sine_and_cosine_of_place_times_band():
    rope = L.RotaryEmbedding(8, in_pixels=False, temperature=100)
    sin, cos = rope.get_embed((3, 4))
    angles = torch.tensor([2 * 1.0, 2 * 0.1, 3 * 1.0, 3 * 0.1]).repeat_interleave(2)
    torch.testing.assert_close(sin[2 * 4 + 3], angles.sin())
    torch.testing.assert_close(cos[2 * 4 + 3], angles.cos())


def test_rotary_embedding_of_dinov3_has_its_periods():
    rope = L.RotaryEmbeddingDinoV3(8, temperature=100.0)
    sin, _ = rope.get_embed((2, 4)).chunk(2, -1)
    y, x = 0.5, -0.75
    angles = 2 * math.pi * torch.tensor([y / 1, y / 10, x / 1, x / 10])
    torch.testing.assert_close(sin[4], torch.cat((angles, angles)).sin())


def test_learned_frequencies_are_applied_per_block_and_head():
    rope = L.RotaryEmbeddingMixed(16, depth=2, num_heads=2)
    emb = rope.get_embed((3, 4))
    assert emb.shape == (2, 2, 12, 16)
    angles = 3 * rope.freqs[0, 1, 0] + 2 * rope.freqs[1, 1, 0]  # x = 3, y = 2
    torch.testing.assert_close(emb[1, 0, 2 * 4 + 3, :8], angles.repeat_interleave(2).sin())
    lengths = rope.freqs.square().sum(0).sqrt()
    torch.testing.assert_close(lengths, L.freq_bands(2, 10.0, 1).repeat(2).expand_as(lengths))


def test_frequencies_stay_exact_in_half_precision():
    rope = L.RotaryEmbeddingCat(64, in_pixels=False)
    exact = rope.get_embed((1, 200))
    assert torch.equal(rope.half().get_embed((1, 200)), exact)
    assert rope.get_embed((1, 200), torch.float16).dtype is torch.float16


def test_a_kept_embedding_is_the_one_that_is_made():
    kept = L.RotaryEmbeddingCat(8, feat_shape=(3, 4))
    made = L.RotaryEmbeddingCat(8)
    assert torch.equal(kept.get_embed(), made.get_embed((3, 4)))
    kept.update_feat_shape((5, 2))
    assert torch.equal(kept.get_embed(), made.get_embed((5, 2)))
    assert not kept.state_dict()
    with pytest.raises(ValueError, match="no feat_shape"):
        made.get_embed()


def test_many_shapes_are_padded_with_zeros():
    rope = L.RotaryEmbeddingCat(8)
    both = rope.get_batch_embeds([(2, 3), (1, 4)], 7)
    assert torch.equal(both[1, :4], rope.get_embed((1, 4))) and not both[1, 4:].any()
    with pytest.raises(ValueError, match="seq_len=5"):
        rope.get_batch_embeds([(2, 3)], 5)


def test_coordinates_are_augmented_together_and_in_training_only():
    rope = L.RotaryEmbeddingDinoV3(8, shift_coords=0.2, jitter_coords=1.5, rescale_coords=2.0)
    assert not torch.equal(rope.get_embed((3, 3)), rope.get_embed((3, 3)))
    rope.eval()
    assert torch.equal(rope.get_embed((3, 3)), rope.get_embed((3, 3)))
    coords = L.grid_coordinates((3, 3), "centered")
    moved = L.augment_coordinates(coords, 0.2, 1.5, 2.0)
    fitted = torch.linalg.lstsq(torch.cat((coords, torch.ones(9, 1)), 1), moved).solution
    torch.testing.assert_close(fitted[:2], fitted[:2].diag().diag(), atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match=r"jitter_coords=0\.5"):
        L.RotaryEmbeddingCat(8, jitter_coords=0.5)


def test_rotary_embeddings_by_name():
    assert isinstance(L.create_rope_embed("cat", 24, 3), L.RotaryEmbeddingCat)
    assert L.create_rope_embed("dinov3", 24, 3, in_pixels=False).dim == 8
    mixed = L.create_rope_embed("mixed", 24, 3, depth=2, ref_feat_shape=(4, 4))
    assert mixed.freqs.shape == (2, 2, 3, 4)
    with pytest.raises(L.UnknownLayerError, match="rotary embedding 'dinov2'"):
        L.create_rope_embed("dinov2", 24, 3)


def test_kept_tokens_keep_their_positions():
    emb = torch.randn(3, 6, 4)  # heads, N, D
    keep = torch.tensor([[4, 0], [1, 5]])
    out = L.apply_keep_indices_nlc(torch.zeros(2, 6, 1), emb, keep)
    assert torch.equal(out, torch.stack([emb[:, i] for i in keep]))


# Convolutions


@pytest.mark.parametrize("kind", [L.StdConv2d, L.StdConv2dSame])
def test_standardized_kernels_have_mean_zero_and_variance_one(kind):
    layer = kind(4, 6, 3, stride=2)
    kernel = layer.weight.flatten(1)
    kernel = (kernel - kernel.mean(1, keepdim=True)) / (
        kernel.var(1, keepdim=True, correction=0) + 1e-6
    ).sqrt()
    x = torch.randn(2, 4, 8, 8)
    padded = nn.functional.pad(x, (0, 1, 0, 1) if kind is L.StdConv2dSame else (1, 1, 1, 1))
    expected = nn.functional.conv2d(padded, kernel.view_as(layer.weight), stride=2)
    torch.testing.assert_close(layer(x), expected)


def test_a_scaled_convolution_keeps_the_variance():
    layer = L.ScaledStdConv2d(64, 32, 3, gamma=2.0, bias=False)
    out = layer(torch.randn(4, 64, 12, 12))[..., 1:-1, 1:-1]
    assert out.var().item() == pytest.approx(4.0, rel=0.1)
    with torch.no_grad():
        layer.gain.mul_(3)
    plain = L.StdConv2d(64, 32, 3)
    plain.weight = layer.weight
    torch.testing.assert_close(layer.standardized(), 6 * plain.standardized() / math.sqrt(576))
    layer.reset_parameters()
    assert torch.equal(layer.gain, torch.ones(32, 1, 1, 1))


def test_blocks_become_channels_and_come_back():
    x = torch.arange(2 * 3 * 4 * 8.0).view(2, 3, 4, 8)
    deep = L.SpaceToDepth(4)(x)
    assert deep.shape == (2, 48, 1, 2)
    row, column, channel = 2, 3, 1
    assert deep[1, (row * 4 + column) * 3 + channel, 0, 1] == x[1, channel, row, 4 + column]
    assert torch.equal(L.DepthToSpace(4)(deep), x)


def test_selective_kernels_weigh_paths_that_sum_to_one():
    layer = L.SelectiveKernel(8, 6).eval()
    x = torch.randn(2, 8, 5, 5)
    paths = [layer.paths[0](x[:, :4]), layer.paths[1](x[:, 4:])]
    attn = layer.attn
    pooled = sum(paths).mean((2, 3), keepdim=True)
    logits = attn.fc_select(attn.act(attn.bn(attn.fc_reduce(pooled)))).view(2, 2, 6, 1, 1)
    weights = logits.exp() / logits.exp().sum(1, keepdim=True)
    torch.testing.assert_close(layer(x), weights[:, 0] * paths[0] + weights[:, 1] * paths[1])
    assert [p.conv.dilation for p in layer.paths] == [(1, 1), (2, 2)]
    with pytest.raises(ValueError, match="odd"):
        L.SelectiveKernel(8, kernel_size=4)


@pytest.mark.parametrize(("radix", "groups"), [(2, 1), (2, 2), (1, 1)])
def test_split_attention_weighs_its_parts(radix, groups):
    layer = L.SplitAttn(8, radix=radix, groups=groups, norm_layer=nn.BatchNorm2d).eval()
    x = torch.randn(2, 8, 5, 5)
    parts = layer.act0(layer.bn0(layer.conv(x))).chunk(radix, 1)
    pooled = sum(parts).mean((2, 3), keepdim=True)
    logits = layer.fc2(layer.act1(layer.bn1(layer.fc1(pooled))))
    by_part = logits.view(2, groups, radix, -1)  # (B, G, R, C)
    weights = by_part.softmax(2) if radix > 1 else by_part.sigmoid()
    expected = sum(part * weights[:, :, r].reshape(2, 8, 1, 1) for r, part in enumerate(parts))
    torch.testing.assert_close(layer(x), expected)


# Strides and stochastic depth


def test_what_an_output_stride_forbids_becomes_dilation():
    assert [tuple(s) for s in L.stage_strides(32)] == [
        (1, 1, 1, 4),
        (2, 1, 1, 8),
        (2, 1, 1, 16),
        (2, 1, 1, 32),
    ]
    assert [tuple(s) for s in L.stage_strides(8)][2:] == [(1, 1, 2, 8), (1, 2, 4, 8)]
    three = list(L.stage_strides(16, (2, 1, 4), stem_stride=4))
    assert [s.stride for s in three] == [2, 1, 1] and three[-1].dilation == 4
    with pytest.raises(ValueError, match="output_stride=0"):
        list(L.stage_strides(0))


def test_no_drop_path_is_no_layer():
    assert type(L.create_drop_path(0.0)) is nn.Identity
    assert L.create_drop_path(0.1).drop_prob == 0.1
