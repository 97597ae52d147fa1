import json
import pickle
from pathlib import Path

import hub_data
import numpy as np
import pytest
import torch
from hub_data import (
    AugmentOp,
    RandomCropOrPad,
    RandomPad,
    RandomResizedCropAndInterpolation,
    ResizeKeepRatio,
    auto_augment_policy,
    auto_augment_transform,
    create_transform,
    rand_augment_transform,
)
from hub_data.augmix import sequential_weights
from hub_data.image_ops import OPERATIONS, Drawn, apply
from pictures import PIXELS_OF_PILLOW_13
from PIL import Image
from training_cases import picture, policy_digest, seed

RECORDED = json.loads(Path(__file__).with_name("golden_training.json").read_text())
GOLDEN = RECORDED["transforms"]
POLICIES = ["rand-m9-mstd0.5-inc1", "augmix-b1", "original", "v0r-mstd0.5", "3a", "3aug-deit"]


@PIXELS_OF_PILLOW_13
@pytest.mark.parametrize("case", GOLDEN, ids=range(len(GOLDEN)))
def test_output_is_what_timm_gave_from_the_same_seeds(case: dict) -> None:
    transform = create_transform(**case["options"])
    seed(case["seed"])
    output, want = transform(picture(*case["image"], case["mode"])), case["output"]
    assert list(output.shape) == want["shape"]
    flat = output.double().flatten()
    probes = flat[np.linspace(0, len(flat) - 1, 7).astype(int)].tolist()
    assert probes == pytest.approx(want["probes"], abs=2e-4)
    moments = [flat.mean().item(), flat.std().item()]
    assert moments == pytest.approx([want["mean"], want["std"]], abs=2e-5)


def test_the_recorded_cases_are_augmented() -> None:
    """Else equality with them would say little."""
    plain = [case for case in GOLDEN if "no_aug" not in case["options"]]
    means = {case["output"]["mean"] for case in plain}
    assert len(plain) > 150 and len(means) > 0.95 * len(plain)


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_each_operation_changes_the_image_and_only_a_copy(name: str, mode: str) -> None:
    image = picture(40, 30, mode).point(lambda value: 40 + value * 3 // 4)
    before = image.tobytes()
    seed(3)
    changed = AugmentOp(name, prob=1.0, magnitude=7)(image)
    assert (changed.size, changed.mode) == (image.size, mode)
    assert image.tobytes() == before
    grey_is_grey = mode == "L" and name in ("Color", "ColorIncreasing", "Desaturate")
    kept = name == "PosterizeOriginal" and changed.tobytes() == before
    assert (changed.tobytes() == before) == grey_is_grey or kept


@pytest.mark.parametrize("name", [name for name, op in OPERATIONS.items() if op.move])
def test_what_moves_in_has_the_mean_colour(name: str) -> None:
    seed(0)
    options = {"img_mean": (1, 2, 3), "translate_const": 20}
    op = AugmentOp(name, 1.0, 10, {**options, "interpolation": Image.Resampling.NEAREST})
    pixels = np.asarray(op(Image.new("RGB", (64, 64), (200, 200, 200)))).reshape(-1, 3)
    assert {tuple(pixel) for pixel in pixels.tolist()} == {(200, 200, 200), (1, 2, 3)}
    grey = Image.new("L", (64, 64), 200)
    assert 2 in np.asarray(op(grey))  # the mean of the three


def test_posterize_to_no_bits_is_black() -> None:
    image = picture(20, 20)
    assert apply(image, Drawn("Posterize", 0, None)).getextrema() == ((0, 0),) * 3
    assert apply(image, Drawn("Posterize", 8, None)).tobytes() == image.tobytes()


def test_a_draw_can_be_carried_out_elsewhere() -> None:
    """What `draw` returns is all that happens: that is how another backend augments."""
    image, augment = picture(50, 40), rand_augment_transform("rand-m9-n4-mstd0.5-inc1")
    for number in range(20):
        seed(number)
        want = augment(image)
        seed(number)
        got = image
        for step in augment.draw():
            got = apply(got, step)
        assert got.tobytes() == want.tobytes()


def test_probability_and_magnitude_are_respected() -> None:
    seed(1)
    op = AugmentOp("Rotate", prob=0.3, magnitude=5, hparams={"magnitude_std": 1.0})
    drawn = [op.draw() for _ in range(4000)]
    angles = np.array([step.argument for step in drawn if step])
    assert len(angles) / 4000 == pytest.approx(0.3, abs=0.03)
    assert np.abs(angles).mean() == pytest.approx(15, abs=0.5)
    assert np.abs(angles).std() == pytest.approx(3, abs=0.3)
    assert (angles > 0).mean() == pytest.approx(0.5, abs=0.06)
    assert {step.resample for step in drawn if step} == {
        Image.Resampling.BILINEAR,
        Image.Resampling.BICUBIC,
    }


def test_weighted_sets_draw_no_operation_twice() -> None:
    seed(0)
    augment = rand_augment_transform("rand-m9-n3-p1-t3aw")
    names = [[step.name for step in augment.draw()] for _ in range(200)]
    assert all(len(set(row)) == 3 for row in names)
    counts = {name: sum(name in row for row in names) for name in ("Desaturate", "Invert")}
    assert counts["Desaturate"] > 2 * counts["Invert"]


@pytest.mark.parametrize("name", RECORDED["policies"])
def test_policies_are_those_of_timm_to_the_last_entry(name: str) -> None:
    assert policy_digest(hub_data, name) == RECORDED["policies"][name]


def test_policies_have_their_sizes() -> None:
    sizes = {name: len(auto_augment_policy(name)) for name in ("original", "v0", "3a")}
    assert sizes == {"original": 25, "v0": 25, "3a": 3}
    names = {op.name for pair in auto_augment_policy("v0r") for op in pair}
    assert "PosterizeIncreasing" in names and "Posterize" not in names


def test_sequential_weights_leave_each_image_its_share() -> None:
    shares = np.array([0.2, 0.05, 0.4], dtype=np.float32)
    mixed = np.array([1.0, 0.0, 0.0, 0.0])
    for row, weight in zip(np.eye(4)[1:], sequential_weights(shares), strict=True):
        mixed = mixed * (1 - weight) + row * weight
    assert mixed == pytest.approx([0.35, *shares], abs=1e-6)


def test_augmix_blended_is_near_the_exact_mix() -> None:
    image, differences = picture(40, 40), []
    for number in range(10):
        outputs = []
        for policy in ("augmix", "augmix-b1"):
            options = dict(is_training=True, hflip=0.0, scale=(1, 1), ratio=(1, 1))
            transform = create_transform(40, auto_augment=policy, normalize=False, **options)
            seed(number)
            outputs.append(transform(image).float())
        differences.append((outputs[0] - outputs[1]).abs().max().item())
    assert max(differences) <= 5


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("size", [(1, 1), (3, 200), (9, 7)])
def test_any_image_survives_training(policy: str, size: tuple[int, int]) -> None:
    seed(0)
    options = dict(auto_augment=policy, gaussian_blur_prob=0.5, grayscale_prob=0.2, re_prob=0.5)
    for crop in ("rrc", "rkrc", "rkrr"):
        transform = create_transform((24, 32), is_training=True, train_crop_mode=crop, **options)
        for _ in range(10):
            output = transform(picture(*size))
            assert output.shape == (3, 24, 32) and output.isfinite().all()


def test_stages_make_up_the_whole() -> None:
    options = dict(is_training=True, auto_augment="rand-m9", re_prob=1.0, vflip=0.5)
    stages, image = create_transform(48, separate=True, **options), picture(100, 70)
    assert len(stages) == 3
    seed(5)
    want = create_transform(48, **options)(image)
    seed(5)
    got = image
    for stage in stages:
        got = stage(got)
    assert torch.equal(got, want)


def test_transforms_travel_to_other_processes() -> None:
    image = picture(60, 50)
    for policy in POLICIES:
        transform = create_transform(
            32, is_training=True, auto_augment=policy, color_jitter_prob=0.5, re_prob=0.5
        )
        seed(2)
        want = transform(image)
        copy = pickle.loads(pickle.dumps(transform))
        seed(2)
        assert torch.equal(copy(image), want)


def test_jitter_is_off_with_a_policy_but_for_three_augment() -> None:
    def steps(**options) -> str:
        return str(create_transform(32, is_training=True, **options))

    assert "ColorJitter" in steps() and "ColorJitter" in steps(auto_augment="3a")
    assert "ColorJitter" not in steps(auto_augment="rand-m9")
    assert "ColorJitter" not in steps(color_jitter=0.0)
    assert "RandomErasing" in steps(re_prob=0.1)
    assert "RandomErasing" not in steps(re_prob=0.1, use_prefetcher=True)


def test_blur_keeps_flat_areas_and_smooths_the_rest() -> None:
    seed(0)
    transform = create_transform(
        64,
        is_training=True,
        gaussian_blur_prob=1.0,
        color_jitter=None,
        scale=(1, 1),
        ratio=(1, 1),
        normalize=False,
    )
    for _ in range(10):
        flat = transform(Image.new("RGB", (64, 64), (9, 90, 200)))
        assert [channel.unique().tolist() for channel in flat] == [[9], [90], [200]]
    image = picture(64, 64)
    blurred = torch.stack([transform(image).float().std() for _ in range(20)]).mean()
    assert blurred < 0.97 * np.asarray(image).std()


def test_crops_stay_inside_and_vary() -> None:
    seed(0)
    image = picture(90, 60)
    parts = [
        RandomResizedCropAndInterpolation.get_params(image, (0.08, 1.0), (3 / 4, 4 / 3))
        for _ in range(500)
    ]
    assert all(t >= 0 and x >= 0 and t + h <= 60 and x + w <= 90 for t, x, h, w in parts)
    areas = [h * w / 5400 for _, _, h, w in parts]
    assert min(areas) < 0.1 and max(areas) > 0.85
    # Where no draw fits, the largest part of the allowed ratio, in the centre.
    wide = RandomResizedCropAndInterpolation.get_params(picture(300, 3), (1.0, 1.0), (0.75, 1.25))
    assert wide == (0, 148, 3, 4)


def test_random_pads_and_windows_have_their_sizes() -> None:
    seed(0)
    image = Image.new("L", (10, 8), 255)
    corners = set()
    for _ in range(50):
        padded = RandomPad((12, 11), fill=7)(image)
        assert padded.size == (11, 12)
        corners.add(padded.getbbox() and padded.getpixel((0, 0)))
        assert np.asarray(padded).sum() == 80 * 255 + (12 * 11 - 80) * 7
    assert corners == {7, 255}
    assert RandomPad((4, 4))(image).size == (10, 8)
    window = RandomCropOrPad((5, 20), fill=3)(image)
    assert window.size == (20, 5) and (np.asarray(window) == 3).sum() == 50
    with pytest.raises(ValueError, match="padding_mode 'wrap'"):
        RandomCropOrPad(20, padding_mode="wrap")(image)


def test_without_chances_keeping_the_ratio_is_not_random() -> None:
    assert {ResizeKeepRatio(50)(picture(100, 75)).size for _ in range(5)} == {(67, 50)}
    varied = ResizeKeepRatio(50, random_scale_prob=1.0, random_aspect_prob=1.0)
    assert len({varied(picture(100, 75)).size for _ in range(20)}) > 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(auto_augment="rand-m9-x3"), "'x3' is no setting of 'rand'.*mstdN"),
        (dict(auto_augment="rand-m"), "'m' is no setting"),
        (dict(auto_augment="rand-m9-tbest"), "unknown set 'best': choose from 3a, 3aw, weights"),
        (dict(auto_augment="random"), "begin with 'rand'"),
        (dict(auto_augment="v1"), "policy 'v1': choose from original"),
        (dict(auto_augment="augmix-n2"), "'n2' is no setting of 'augmix'"),
        (dict(train_crop_mode="rrk"), "'rrk': choose from rrc, rkrc, rkrr"),
        (dict(interpolation="cubic"), "'cubic': choose from"),
        (dict(scale=(0.9, 0.1)), r"scale=\(0.9, 0.1\)"),
        (dict(ratio=(0, 1)), r"ratio=\(0, 1\)"),
        (dict(color_jitter=(0.1, 0.2)), "saturation and, if wanted, hue"),
        (dict(color_jitter=(0.1, 0.2, 0.1, 0.7)), "hue at most 0.5"),
        (dict(re_prob=0.5, re_mode="noise"), "'noise' of erasing: choose from const, rand, pixel"),
        (dict(no_aug=True, separate=True), "neither no_aug nor tf_preprocessing"),
    ],
)
def test_bad_training_options_are_named(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        create_transform(32, is_training=True, **options)


def test_bad_operations_and_images_are_named() -> None:
    with pytest.raises(ValueError, match="operation 'Cutout': choose from AutoContrast"):
        AugmentOp("Cutout")
    with pytest.raises(ValueError, match="mode L or RGB and got CMYK"):
        AugmentOp("Invert", 1.0)(Image.new("CMYK", (4, 4)))
    with pytest.raises(ValueError, match="policy 'rand': choose"):
        auto_augment_transform("rand")
