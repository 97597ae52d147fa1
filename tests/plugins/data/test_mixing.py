import json
from pathlib import Path

import hub_data
import numpy as np
import pytest
import torch
from hub_data import FastCollateMixup, Mixup, RandomErasing
from hub_data.mixup import cutmix_bbox_and_lam, mixup_target, one_hot, rand_bbox
from training_cases import mixed, seed

GOLDEN = json.loads(Path(__file__).with_name("golden_training.json").read_text())["mixing"]


@pytest.mark.parametrize("case", GOLDEN, ids=range(len(GOLDEN)))
def test_mixed_batches_are_what_timm_gave(case: dict) -> None:
    outputs = mixed(hub_data, case["kind"], case["options"], case["seed"])
    for output, want in zip(outputs, case["output"], strict=True):
        assert list(output.shape) == want["shape"]
        flat = output.double().flatten()
        probes = flat[np.linspace(0, len(flat) - 1, 7).astype(int)].tolist()
        assert probes == pytest.approx(want["probes"], abs=2e-4)
        moments = [flat.mean().item(), flat.std().item()]
        assert moments == pytest.approx([want["mean"], want["std"]], abs=2e-5)


@pytest.mark.parametrize("mode", ["batch", "pair", "elem"])
@pytest.mark.parametrize("cutmix", [0.0, 1.0])
def test_labels_are_mixed_as_the_images_are(mode: str, cutmix: float) -> None:
    """With images of one value, 0 or 1, the mean of a mixed image is its label."""
    seed(4)
    mix = Mixup(1.0, cutmix, switch_prob=0.5, mode=mode, label_smoothing=0.0, num_classes=2)
    for size in (8, 7):
        classes = torch.tensor([0] * (size // 2) + [1] * (size - size // 2))
        images = classes.float().view(-1, 1, 1, 1).repeat(1, 3, 16, 20)
        images, labels = mix(images, classes)
        torch.testing.assert_close(images.mean((1, 2, 3)), labels[:, 1], atol=1e-5, rtol=0)
        assert 0.01 < labels[0, 1] < 0.99


@pytest.mark.parametrize("mode", ["batch", "pair", "elem", "half"])
def test_collating_mixes_as_the_batch_is_mixed(mode: str) -> None:
    samples = [(torch.full((3, 8, 8), 200 * (i % 2), dtype=torch.uint8), i % 2) for i in range(6)]
    copies = [image.clone() for image, _ in samples]
    seed(7)
    mix = FastCollateMixup(0.8, 1.0, mode=mode, label_smoothing=0.0, num_classes=2)
    images, labels = mix(samples)
    assert (len(images), images.dtype) == (3 if mode == "half" else 6, torch.uint8)
    share = images.float().mean((1, 2, 3)) / 200
    torch.testing.assert_close(share, labels[:, 1].float(), atol=0.003, rtol=0)
    assert all(torch.equal(image, copy) for (image, _), copy in zip(samples, copies, strict=True))


def test_mixing_can_be_switched_off_and_labels_stay_smoothed() -> None:
    seed(0)
    mix = Mixup(1.0, 1.0, label_smoothing=0.1, num_classes=10)
    mix.mixup_enabled = False
    images = torch.rand(4, 3, 8, 8)
    same, labels = mix(images.clone(), torch.arange(4))
    assert torch.equal(same, images)
    assert labels[1, 1].item() == pytest.approx(0.91) and labels[1, 0].item() == pytest.approx(0.01)
    mix.mixup_enabled = True
    assert not torch.equal(mix(images.clone(), torch.arange(4))[0], images)


def test_several_labels_are_mixed_too() -> None:
    mix = Mixup(1.0, num_classes=3, multi_label=True, label_smoothing=0.2)
    targets = torch.tensor([[1, 1, 0], [0, 1, 0]])
    seed(0)
    labels = mix(torch.rand(2, 3, 4, 4), targets)[1]
    assert labels[:, 1].tolist() == pytest.approx([0.9, 0.9])
    assert labels[:, 2].tolist() == pytest.approx([0.1, 0.1])
    assert labels[:, 0].sum().item() == pytest.approx(1.0)


def test_rectangles_have_the_area_that_lam_says() -> None:
    seed(0)
    for minmax in (None, (0.3, 0.6)):
        (top, bottom, left, right), lam = cutmix_bbox_and_lam((3, 40, 50), 0.5, minmax)
        assert lam == pytest.approx(1 - (bottom - top) * (right - left) / 2000)
        assert 0 <= top <= bottom <= 40 and 0 <= left <= right <= 50
    tops, bottoms, _, _ = rand_bbox((40, 50), 0.75, count=100)
    assert max(bottoms - tops) == 20 and len(set(tops)) > 10


@pytest.mark.parametrize(
    ("action", "error", "message"),
    [
        (lambda: Mixup(mode="half"), ValueError, "'half' of mixup: choose from batch, pair, elem"),
        (lambda: Mixup(0.0), ValueError, "nothing is to be mixed"),
        (lambda: Mixup(cutmix_minmax=(0.8, 0.2)), ValueError, "cutmix_minmax"),
        (lambda: one_hot(torch.tensor([1, 5]), 5), ValueError, "from 1 to 5, with num_classes=5"),
        (lambda: one_hot(torch.tensor([-1]), 5), ValueError, "from -1 to -1"),
        (lambda: mixup_target(torch.rand(2, 5), 5), ValueError, r"takes \(batch,\) classes"),
        (
            lambda: Mixup()(torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.arange(2)),
            TypeError,
            "FastCollateMixup",
        ),
        (
            lambda: FastCollateMixup()([(torch.rand(3, 4, 4), 0)] * 2),
            TypeError,
            "use_prefetcher=True",
        ),
        (
            lambda: FastCollateMixup(mode="half")([(torch.zeros(3, 4, 4).byte(), 0)] * 3),
            ValueError,
            "even size and got 3",
        ),
        (
            lambda: FastCollateMixup()(
                [(torch.zeros(3, 4, 4).byte(), 0), (torch.zeros(3, 4, 5).byte(), 0)]
            ),
            ValueError,
            "must give them all one size",
        ),
    ],
)
def test_wrong_batches_are_named(action, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        action()


@pytest.mark.parametrize("mode", ["const", "rand", "pixel"])
def test_erasing_fills_rectangles_in_place(mode: str) -> None:
    seed(0)
    erase = RandomErasing(1.0, min_area=0.1, max_area=0.2, mode=mode)
    batch = torch.full((6, 3, 30, 40), 100.0)
    assert erase(batch) is batch
    for image in batch:
        erased = (image != 100).all(0)
        rows, columns = erased.any(1).sum(), erased.any(0).sum()
        assert erased.sum() == rows * columns  # a rectangle
        assert 0.08 < erased.float().mean() < 0.22
        values = image[:, erased]
        if mode == "const":
            assert not values.any()
        elif mode == "rand":
            assert (values == values[:, :1]).all() and len(set(values[:, 0].tolist())) == 3
        else:
            assert values.std() == pytest.approx(1.0, abs=0.2)


def test_erasing_leaves_the_clean_split_and_the_lucky_alone() -> None:
    seed(1)
    batch = RandomErasing(1.0, num_splits=3)(torch.ones(9, 3, 20, 20))
    touched = (batch != 1).flatten(1).any(1).tolist()
    assert touched == [False] * 3 + [True] * 6
    batch = RandomErasing(0.25)(torch.ones(2000, 1, 16, 16))
    share = (batch != 1).flatten(1).any(1).float().mean().item()
    assert share == pytest.approx(0.25, abs=0.04)


def test_erasing_counts_share_the_area() -> None:
    seed(2)
    erase = RandomErasing(1.0, min_area=0.2, max_area=0.2, min_count=4, max_count=4)
    boxes = erase.draw(100, 100)
    assert len(boxes) == 4
    assert all(box.height * box.width == pytest.approx(500, abs=40) for box in boxes)


def test_wrong_erasing_is_named() -> None:
    with pytest.raises(TypeError, match=r"torch.uint8.*mode='const'"):
        RandomErasing(1.0, mode="pixel")(torch.zeros(3, 8, 8, dtype=torch.uint8))
    with pytest.raises(ValueError, match="count from 3 to 2"):
        RandomErasing(min_count=3, max_count=2)
