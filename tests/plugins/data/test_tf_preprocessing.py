import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hub_data import TfPreprocessTransform, create_dataset, create_loader, create_transform
from hub_data.tf_preprocessing import _draw_part, resize
from pictures import folder
from PIL import Image
from training_cases import picture, seed

GOLDEN = json.loads(Path(__file__).with_name("golden_tensorflow.json").read_text())


@pytest.mark.parametrize("case", GOLDEN["resizing"], ids=range(len(GOLDEN["resizing"])))
def test_resizing_is_what_tensorflow_gave(case: dict) -> None:
    got = resize(np.asarray(picture(*case["image"])), *case["size"], case["filter"])
    probes = got.reshape(-1)[np.linspace(0, got.size - 1, 9).astype(int)]
    assert probes.tolist() == pytest.approx(case["probes"], abs=2e-3)


def test_parts_are_drawn_as_tensorflow_draws_them() -> None:
    seed(1)
    parts = np.array([part for part in (_draw_part(300, 400) for _ in range(4000)) if part])
    area, ratio = parts[:, 2] * parts[:, 3] / 120000, parts[:, 3] / parts[:, 2]
    got = [area.mean(), area.std(), ratio.mean(), ratio.std()]
    assert got == pytest.approx(GOLDEN["parts"][:4], abs=0.015)
    assert [parts[:, 0].mean(), parts[:, 1].mean()] == pytest.approx(GOLDEN["parts"][4:6], abs=4)


def test_the_evaluation_crop_is_taken_before_resizing() -> None:
    pixels = np.zeros((256, 300, 3), np.uint8)
    pixels[16:240, 38:262] = 255  # 224 / (224 + 32) of the shorter side, centred
    output = TfPreprocessTransform(size=224)(Image.fromarray(pixels))
    assert (output.dtype, output.shape) == (torch.uint8, (3, 224, 224)) and (output == 255).all()


def test_bytes_and_images_are_taken_and_values_normalised() -> None:
    image, stream = picture(80, 60), io.BytesIO()
    image.save(stream, "PNG")
    options = dict(tf_preprocessing=True, interpolation="bicubic", mean=(0.5,) * 3, std=(0.5,) * 3)
    raw = create_transform(48, use_prefetcher=True, **options)
    assert torch.equal(raw(stream.getvalue()), raw(image))
    normalised = create_transform(48, **options)(image)
    torch.testing.assert_close(normalised, raw(image).float() / 127.5 - 1)


def test_training_varies_and_mirrors() -> None:
    seed(0)
    transform = create_transform(
        32, is_training=True, tf_preprocessing=True, use_prefetcher=True, interpolation="bicubic"
    )
    left_bright = Image.fromarray(
        np.tile(np.arange(200, 0, -2, dtype=np.uint8)[None, :, None], (80, 1, 3))
    )
    outputs = [transform(left_bright).float() for _ in range(40)]
    mirrored = [output[:, :, 0].mean() < output[:, :, -1].mean() for output in outputs]
    assert 8 < sum(mirrored) < 32
    assert len({output.sum().item() for output in outputs}) > 30


@pytest.mark.parametrize("is_training", [True, False])
def test_a_loader_gives_what_the_transform_gives(tmp_path: Path, is_training: bool) -> None:
    data = create_dataset("", folder(tmp_path, count=2, classes=1))
    options = dict(is_training=is_training, tf_preprocessing=True, mean=0.0, std=1.0, seed=1)
    options |= dict(num_workers=0, device="cpu")
    on_device, plain = (
        next(iter(create_loader(data, (3, 24, 24), 2, use_prefetcher=prefetch, **options)))[0]
        for prefetch in (True, False)
    )
    assert on_device.shape == (2, 3, 24, 24)
    torch.testing.assert_close(on_device, plain)
