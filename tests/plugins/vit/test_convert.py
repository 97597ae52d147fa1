"""Checkpoints of other sizes and of other code load."""

import hub
import numpy as np
import pytest
import torch
from hub import load_state_dict
from hub.errors import WeightsError
from hub_layers import resample_abs_pos_embed
from hub_vit.convert import convert, from_flax
from hub_vit.model import VisionTransformer


def to_flax(model: VisionTransformer, one_release: bool = True) -> dict[str, np.ndarray]:
    """Return the weights in the names and layout of google-research/vision_transformer."""
    heads = model.blocks[0].attn.num_heads
    second, mlp = ("LayerNorm_2", "MlpBlock_3") if one_release else ("LayerNorm_1", "MlpBlock_0")
    attention = f"MultiHeadDotProductAttention_{int(one_release)}"
    arrays = {
        "cls": model.cls_token,
        "embedding/kernel": model.patch_embed.proj.weight.permute(2, 3, 1, 0),
        "embedding/bias": model.patch_embed.proj.bias,
        "Transformer/posembed_input/pos_embedding": model.pos_embed,
        "Transformer/encoder_norm/scale": model.norm.weight,
        "Transformer/encoder_norm/bias": model.norm.bias,
        "head/kernel": model.head.weight.T,
        "head/bias": model.head.bias,
    }
    for i, block in enumerate(model.blocks):
        prefix = f"Transformer/encoderblock_{i}/"
        for name, norm in (("LayerNorm_0", block.norm1), (second, block.norm2)):
            arrays[f"{prefix}{name}/scale"] = norm.weight
            arrays[f"{prefix}{name}/bias"] = norm.bias
        weights, biases = block.attn.qkv.weight.chunk(3), block.attn.qkv.bias.chunk(3)
        for name, weight, bias in zip(("query", "key", "value"), weights, biases, strict=True):
            arrays[f"{prefix}{attention}/{name}/kernel"] = weight.T.unflatten(1, (heads, -1))
            arrays[f"{prefix}{attention}/{name}/bias"] = bias.unflatten(0, (heads, -1))
        out = block.attn.proj
        arrays[f"{prefix}{attention}/out/kernel"] = out.weight.T.unflatten(0, (heads, -1))
        arrays[f"{prefix}{attention}/out/bias"] = out.bias
        for name, layer in (("Dense_0", block.mlp.fc1), ("Dense_1", block.mlp.fc2)):
            arrays[f"{prefix}{mlp}/{name}/kernel"] = layer.weight.T
            arrays[f"{prefix}{mlp}/{name}/bias"] = layer.bias
    return {name: tensor.detach().contiguous().numpy() for name, tensor in arrays.items()}


def noisy(name: str, **options) -> VisionTransformer:
    torch.manual_seed(0)
    model = hub.create_model(name, **options).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return model


def load(name: str, file, **options) -> VisionTransformer:
    overlay = dict(file=str(file))
    return hub.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, **options).eval()


@pytest.mark.parametrize("one_release", [True, False])
def test_a_flax_file_loads_to_the_same_network(tmp_path, one_release):
    model = noisy("test_vit")
    np.savez(tmp_path / "flax.npz", **to_flax(model, one_release))
    loaded = load("test_vit", tmp_path / "flax.npz")
    state = model.state_dict()
    assert loaded.state_dict().keys() == state.keys()
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, state[name]), name
    x = torch.randn(1, 3, 160, 160)
    torch.testing.assert_close(loaded(x), model(x))


def test_a_flax_file_adapts_to_size_channels_and_classes(tmp_path):
    model = noisy("test_vit")
    np.savez(tmp_path / "flax.npz", **to_flax(model))
    loaded = load("test_vit", tmp_path / "flax.npz", img_size=(96, 64), in_chans=1, num_classes=4)
    assert loaded(torch.randn(2, 1, 96, 64)).shape == (2, 4)
    kernels = model.patch_embed.proj.weight.sum(1, keepdim=True)
    torch.testing.assert_close(loaded.patch_embed.proj.weight, kernels)


def test_prefixes_of_training_states_and_pre_logits_go():
    arrays = {k: torch.from_numpy(v) for k, v in to_flax(noisy("test_vit")).items()}
    plain = from_flax(arrays)
    stored = {f"opt/target/{k}": v for k, v in arrays.items()}
    stored["opt/target/pre_logits/kernel"] = torch.zeros(64, 64)
    assert from_flax(stored).keys() == plain.keys()


@pytest.mark.parametrize("name", ["test_vit", "test_vit2", "test_vit4"])
def test_positions_and_kernels_fit_another_size(tmp_path, name):
    model = noisy(name)
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    loaded = load(name, tmp_path / "weights.pth", img_size=(96, 128), patch_size=8)
    model.set_input_size((96, 128), patch_size=8)
    x = torch.randn(1, 3, 96, 128)
    torch.testing.assert_close(loaded(x), model(x))


def test_positions_without_class_token_fit(tmp_path):
    model = noisy("vit_medium_patch16_reg1_gap_256", depth=1)
    state = model.state_dict()
    other = hub.create_model("vit_medium_patch16_reg1_gap_256", depth=1, img_size=(128, 192))
    converted = convert(state, other)
    want = resample_abs_pos_embed(state["pos_embed"], (8, 12), (16, 16), 0)
    torch.testing.assert_close(converted["pos_embed"], want)


def test_weights_for_images_that_are_not_square_are_taken_by_their_description():
    wide = noisy("test_vit", img_size=(64, 96))
    tall = hub.create_model("test_vit", img_size=(96, 64))
    tall.pretrained_cfg = dict(input_size=(3, 64, 96))
    converted = convert(wide.state_dict(), tall)
    want = resample_abs_pos_embed(wide.pos_embed.detach(), (6, 4), (4, 6), 1)
    torch.testing.assert_close(converted["pos_embed"], want)


def test_what_fits_is_handed_on_as_it_is():
    model = noisy("test_vit")
    state = model.state_dict()
    converted = convert(state, model)
    assert all(converted[name] is state[name] for name in state)


def test_a_network_of_other_width_is_refused(tmp_path):
    torch.save(noisy("test_vit").state_dict(), tmp_path / "weights.pth")
    with pytest.raises(WeightsError, match="of another shape"):
        load("test_vit", tmp_path / "weights.pth", embed_dim=96, num_heads=3)


def test_a_saved_network_loads_at_its_own_size(tmp_path):
    model = noisy("test_vit", img_size=(64, 96), dynamic_img_size=False)
    hub.save_pretrained(model, tmp_path)
    again = hub.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    x = torch.randn(1, 3, 64, 96)
    torch.testing.assert_close(again(x), model(x))


def test_load_state_dict_reads_npz_by_name(tmp_path):
    np.savez(tmp_path / "flax.npz", **to_flax(noisy("test_vit")))
    state = load_state_dict(tmp_path / "flax.npz")
    assert state["embedding/kernel"].shape == (16, 16, 3, 64)
