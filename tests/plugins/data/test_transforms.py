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
    ToImage,
    ToNumpy,
    ToTensor,
    TrimBorder,
    create_transform,
    interp_mode_to_str,
    resolve_data_config,
    str_to_interp_mode,
    str_to_pil_interp,
)
from hub_data.draws import seeded
from hub_data.pixel_range import PixelRangeError
from pictures import PIXELS_OF_PILLOW_13
from PIL import Image

GOLDEN = json.loads(Path(__file__).with_name("golden.json").read_text())["transforms"]


def picture(width: int, height: int, mode: str = "RGB") -> Image.Image:
    y, x, c = np.mgrid[:height, :width, :3]
    values = 127 + 90 * np.sin(x / (5 + c)) * np.cos(y / 7) + (x * 31 + y * 17 + c * 7) % 37
    return Image.fromarray(values.clip(0, 255).astype(np.uint8)).convert(mode)


@PIXELS_OF_PILLOW_13
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
    with pytest.raises(ValueError, match=r"tensors \(C, H, W\)"):
        create_transform(32)(torch.zeros(40, 40, 3))
    with pytest.raises(ValueError, match=r"shape \(2, 3, 40, 40\) is no image"):
        create_transform(32)(torch.zeros(2, 3, 40, 40))
    with pytest.raises(PixelRangeError, match="input_range"):
        create_transform(32)(np.full((40, 40, 3), 200.0))
    for bad in (b"bytes", "file.jpg", None, {"image": 0}):
        with pytest.raises(TypeError, match=f"and got {type(bad).__name__}: convert it first"):
            create_transform(32)(bad)
    with pytest.raises(TypeError, match="step takes PIL images and got Tensor"):
        Resize(50)(torch.zeros(3, 40, 40))
    with pytest.raises(ValueError, match="nothing is left"):
        TrimBorder(8)(picture(21, 15))
    with pytest.raises(ValueError, match="padding_mode 'wrap'"):
        CenterCropOrPad(8, padding_mode="wrap")(picture(4, 4))


def test_names_of_filters() -> None:
    for name in ("nearest", "bilinear", "bicubic", "box", "hamming", "lanczos"):
        assert interp_mode_to_str(str_to_interp_mode(name)) == name
        assert interp_mode_to_str(str_to_pil_interp(name)) == name


def image_of_channels(channels: int, kind: str) -> object:
    """Return one picture with its first three channels, and their sums in the others."""
    pixels = np.asarray(picture(75, 60)).astype(int)
    more = [pixels[..., c % 3] // 2 + 40 for c in range(3, channels)]
    array = np.stack([*np.moveaxis(pixels, -1, 0)[:channels], *more], -1).astype(np.uint8)
    return {
        "array": array,
        "word": array.astype(np.uint16) * 257,
        "unit": array / 255,
        "tensor": torch.from_numpy(array.transpose(2, 0, 1)),
        "float tensor": torch.from_numpy(array.transpose(2, 0, 1)) / 255,
        "bfloat16": (torch.from_numpy(array.transpose(2, 0, 1)) / 255).bfloat16(),
        "strided": np.asfortranarray(np.repeat(array, 2, 0))[::2],
    }[kind]


KINDS = ["array", "word", "unit", "tensor", "float tensor", "bfloat16", "strided"]
EVALUATION = [dict(crop_mode=mode, crop_pct=0.8) for mode in ("center", "squash", "border")]
TRAINING = dict(is_training=True, color_jitter=0.0, re_prob=1.0, vflip=0.5, gaussian_blur_prob=0.5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 6, 13])
@pytest.mark.parametrize(
    "options",
    [*EVALUATION, *(TRAINING | dict(train_crop_mode=mode) for mode in ("rrc", "rkrc", "rkrr"))],
    ids=str,
)
def test_each_channel_of_an_array_or_tensor_goes_the_way_of_a_grey_image(
    options: dict, channels: int, kind: str
) -> None:
    def run(image: object, chans: int, mean: float) -> torch.Tensor:
        with seeded(3):
            return create_transform((chans, 40, 56), mean=mean, std=0.25, **options)(image)

    array = image_of_channels(channels, "array")
    output = run(image_of_channels(channels, kind), channels, 0.5)
    assert output.shape == (channels, 40, 56)
    for number, one in enumerate(output):
        alone = run(Image.fromarray(array[..., number].copy()), 1, 0.5)[0]
        levels = 2.1 if kind == "bfloat16" else 1.1 if "is_training" in options else 0.0
        tolerance = levels / 255 / 0.25 + 1e-6  # the blur of several channels may round otherwise
        torch.testing.assert_close(one, alone, atol=tolerance, rtol=0)


@pytest.mark.parametrize("mode", ["LA", "RGBA", "CMYK"])
def test_channels_are_never_taken_for_alpha(mode: str) -> None:
    array = np.random.RandomState(0).randint(0, 256, (50, 60, len(mode)), np.uint8)
    array[..., -1] = 0  # as alpha, it would make the others black where they are resized
    transform = create_transform((len(mode), 30, 30), mean=0.0, std=1.0)
    output = transform(Image.frombytes(mode, (60, 50), array.tobytes()))
    assert torch.equal(output, transform(array)) and output[0].mean() > 0.3


def test_palettes_bits_and_wide_modes_become_what_they_show() -> None:
    transform = create_transform((3, 30, 30))
    image = picture(40, 40).quantize(17)
    assert torch.equal(transform(image), transform(image.convert("RGB")))
    grey = create_transform((1, 30, 30), mean=0.0, std=1.0)
    bits = Image.new("1", (40, 40), 1)
    assert grey(bits).unique().tolist() == [1.0]
    assert grey(Image.fromarray(np.full((40, 40), 65535, np.uint16))).unique().tolist() == [1.0]
    window = create_transform((1, 30, 30), mean=0.0, std=1.0, input_range=(-100, 155))
    assert window(np.full((40, 40), 27, np.int16)).unique().tolist() == pytest.approx([127 / 255])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(auto_augment="rand-m9"), "auto_augment='rand-m9' changes colours"),
        (dict(grayscale_prob=0.1), "grayscale_prob=0.1 changes colours"),
        (dict(color_jitter_prob=0.5), "color_jitter_prob=0.5 changes colours"),
        (dict(tf_preprocessing=True), "takes 8-bit images of 3 channels"),
        (dict(mean=(0.1, 0.2, 0.3), std=0.5), "3 values for 6 channels"),
    ],
)
def test_what_needs_colours_is_refused_for_other_channels(options: dict, message: str) -> None:
    options = dict(mean=0.5, std=0.5, is_training=True) | options
    with pytest.raises(ValueError, match=message):
        create_transform((6, 32, 32), **options)


def test_jitter_of_colours_is_left_out_with_a_word(caplog: pytest.LogCaptureFixture) -> None:
    transform = create_transform((6, 32, 32), is_training=True, mean=0.5, std=0.5)
    assert "color_jitter is left out" in caplog.text and "ColorJitter" not in str(transform)
    with pytest.raises(TypeError, match="6 channels can be cropped"):
        ToImage()(np.zeros((4, 4, 6), np.uint8)).convert("RGB")


@pytest.mark.parametrize("size", [np.array([3, 32, 40]), [3, 32, 40], torch.tensor([3, 32, 40])])
@pytest.mark.parametrize(
    "mean", [0.5, np.float32(0.5), [0.5] * 3, np.full(3, 0.5), torch.full((3,), 0.5)]
)
def test_sizes_and_means_are_numbers_lists_arrays_or_tensors(size: object, mean: object) -> None:
    for is_training in (False, True):
        transform = create_transform(size, is_training=is_training, mean=mean, std=mean)
        assert transform(picture(50, 40)).shape == (3, 32, 40)
    config = resolve_data_config(dict(input_size=size, mean=mean, std=mean))
    assert (config["input_size"], config["mean"]) == ((3, 32, 40), (0.5,) * 3)
    assert create_transform(np.int64(32), no_aug=True, is_training=True)(picture(50, 40)).shape[
        1:
    ] == (32, 32)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(3, 8, 8).to_sparse(),
        torch.zeros(3, 8, 8, device="meta"),
    ],
    ids=["sparse", "meta"],
)
def test_tensors_without_values_in_memory_are_refused(tensor: torch.Tensor) -> None:
    with pytest.raises(TypeError, match="give a dense tensor with values"):
        create_transform(8)(tensor)
