import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hub_data import (
    CenterCropOrPad,
    MaybePILToTensor,
    MaybeToTensor,
    Normalize,
    Resize,
    ResizeKeepRatio,
    ToNumpy,
    ToTensor,
    TrimBorder,
    create_transform,
    interp_mode_to_str,
    str_to_interp_mode,
    str_to_pil_interp,
)
from PIL import Image

GOLDEN = json.loads(Path(__file__).with_name("golden.json").read_text())["transforms"]


def picture(width: int, height: int, mode: str = "RGB") -> Image.Image:
    y, x, c = np.mgrid[:height, :width, :3]
    values = 127 + 90 * np.sin(x / (5 + c)) * np.cos(y / 7) + (x * 31 + y * 17 + c * 7) % 37
    return Image.fromarray(values.clip(0, 255).astype(np.uint8)).convert(mode)


@pytest.mark.parametrize("case", GOLDEN, ids=range(len(GOLDEN)))
def test_output_is_what_timm_gave(case: dict) -> None:
    image = picture(*case["image"], case["mode"])
    output, want = create_transform(**case["options"])(image), case["output"]
    assert list(output.shape) == want["shape"]
    flat = output.double().flatten()
    probes = flat[np.linspace(0, len(flat) - 1, 7).astype(int)].tolist()
    assert probes == pytest.approx(want["probes"], abs=1e-5)
    assert [flat.mean().item(), flat.std().item()] == pytest.approx(
        [want["mean"], want["std"]], abs=1e-6
    )


def test_centre_crop_equals_the_formula_by_hand() -> None:
    image = picture(101, 77)
    resized = image.resize((int(64 * 101 / 77), 64), Image.Resampling.BICUBIC)  # 64 = 56 / 0.875
    pixels = np.asarray(resized)[4:60, 14:70] / 255.0  # a half rounds to the even number
    want = (pixels - (0.5, 0.4, 0.3)) / (0.2, 0.25, 0.3)
    transform = create_transform(
        56, interpolation="bicubic", mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3)
    )
    torch.testing.assert_close(
        transform(image).double(), torch.from_numpy(want).permute(2, 0, 1), atol=1e-6, rtol=0
    )


def test_border_pads_with_the_mean_so_that_padding_is_about_zero() -> None:
    output = create_transform(64, crop_mode="border", crop_pct=1.0)(picture(100, 40))
    assert output[:, :15].abs().max() < 0.01
    assert output[:, 25:40].abs().max() > 0.5


@pytest.mark.parametrize("mode", ["center", "squash", "border"])
@pytest.mark.parametrize("image", [(1, 1), (3, 900), (900, 3), (7, 5)])
def test_any_image_gives_the_size_asked_for(mode: str, image: tuple[int, int]) -> None:
    transform = create_transform((3, 40, 56), crop_mode=mode, crop_pct=0.9)
    assert transform(picture(*image)).shape == (3, 40, 56)


def test_without_normalisation_the_values_stay_bytes() -> None:
    image = picture(64, 64)
    for options in (dict(normalize=False), dict(use_prefetcher=True)):
        output = create_transform(64, crop_pct=1.0, **options)(image)
        assert output.dtype == torch.uint8
        assert torch.equal(output, torch.from_numpy(np.array(image)).permute(2, 0, 1))


def test_steps_do_what_they_say() -> None:
    assert Resize(50)(picture(100, 75)).size == (66, 50)
    assert Resize((20, 30))(picture(100, 75)).size == (30, 20)
    assert ResizeKeepRatio(50)(picture(100, 75)).size == (67, 50)
    assert ResizeKeepRatio(50, longest=1.0)(picture(100, 75)).size == (50, 38)
    assert TrimBorder(5)(picture(21, 15)).size == (11, 5)
    assert CenterCropOrPad((6, 7), fill=9)(picture(3, 20)).getpixel((0, 0)) == (9, 9, 9)
    edge = CenterCropOrPad((5, 5), padding_mode="edge")(Image.new("L", (2, 2), 77))
    assert edge.size == (5, 5) and edge.getextrema() == (77, 77)
    tensor = torch.rand(3, 4, 4)
    assert MaybeToTensor()(tensor) is tensor
    image = picture(5, 4)
    assert torch.equal(ToTensor()(image), MaybePILToTensor()(image).float())
    assert ToTensor(torch.float64)(image).dtype == torch.float64
    assert np.array_equal(ToNumpy()(image), MaybePILToTensor()(image).numpy())
    assert ToNumpy()(image.convert("L")).shape == (1, 4, 5)
    assert MaybeToTensor()(Image.new("1", (2, 2), 1)).tolist() == [[[1.0, 1.0], [1.0, 1.0]]]


def test_normalize_leaves_its_input_alone() -> None:
    tensor = torch.ones(3, 2, 2)
    Normalize((0.5,) * 3, (0.5,) * 3)(tensor)
    assert torch.equal(tensor, torch.ones(3, 2, 2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(separate=True), "pass is_training=True"),
        (dict(naflex=True), "comes with hub's NaFlex family"),
        (dict(patchify=True), "comes with hub's NaFlex family"),
        (dict(interpolation="cubic"), "'cubic': choose from .*bicubic"),
        (dict(crop_mode="middle"), "'middle': choose from center, squash, border"),
        (dict(crop_pct=-0.5), "crop_pct=-0.5"),
        (dict(input_size=(224,)), r"input_size=\(224,\)"),
        (dict(input_size=0), "input_size=0"),
        (dict(std=(0.1, 0.0, 0.1)), "no 0 in std"),
        (dict(mean=(0.1, 0.2)), "as many values"),
        (dict(tf_preprocessing=True, interpolation="box"), "bicubic or bilinear, not 'box'"),
    ],
)
def test_bad_options_are_named(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        create_transform(**options)


def test_bad_images_are_named() -> None:
    with pytest.raises(ValueError, match=r"1 channels.*convert"):
        create_transform(32)(picture(40, 40, "L"))
    with pytest.raises(ValueError, match=r"int.*convert"):
        create_transform(32)(Image.fromarray(np.ones((40, 40), np.uint16)))
    with pytest.raises(TypeError, match="PIL images and got Tensor"):
        create_transform(32)(torch.zeros(3, 40, 40))
    with pytest.raises(ValueError, match="nothing is left"):
        TrimBorder(8)(picture(21, 15))
    with pytest.raises(ValueError, match="padding_mode 'wrap'"):
        CenterCropOrPad(8, padding_mode="wrap")(picture(4, 4))


def test_names_of_filters() -> None:
    for name in ("nearest", "bilinear", "bicubic", "box", "hamming", "lanczos"):
        assert interp_mode_to_str(str_to_interp_mode(name)) == name
        assert interp_mode_to_str(str_to_pil_interp(name)) == name
