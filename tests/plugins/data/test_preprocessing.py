import itertools
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from hub.family import Weights
from hub_data import create_transform, preprocessing_reference
from hub_data.preprocessing import preprocessing, specification
from training_cases import picture

IMAGES = [(101, 77), (63, 150), (20, 17), (64, 64), (1, 90)]
CASES = [
    dict(input_size=size, crop_pct=crop_pct, crop_mode=mode, interpolation=interpolation)
    for (size, mode), crop_pct, interpolation in itertools.product(
        itertools.product([(3, 64, 64), (3, 57, 80)], ["center", "squash", "border"]),
        [0.875, 1.1],
        ["bicubic", "bilinear"],
    )
]


@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
def test_the_specification_gives_what_the_pipeline_gives(case: dict) -> None:
    written = json.dumps(preprocessing(case))
    transform = create_transform(**case)
    for size in IMAGES:
        image = picture(*size)
        got = preprocessing_reference.run(json.loads(written), image)
        assert got.dtype == np.float32
        assert np.array_equal(got, transform(image).numpy())


def test_grey_borders_and_odd_values_too() -> None:
    weights = Weights(input_size=(1, 28, 28), mean=(0.13,), std=(0.3,), interpolation="box")
    written = preprocessing(weights, crop_border_pixels=2, crop_pct=0.7)
    transform = create_transform(
        28, mean=(0.13,), std=(0.3,), interpolation="box", crop_border_pixels=2, crop_pct=0.7
    )
    image = picture(60, 50)
    got = preprocessing_reference.run(written, image)
    assert np.array_equal(got, transform(image.convert("L")).numpy())
    assert written["input"]["color"] == "L" and written["output"]["shape"] == [1, 28, 28]


def test_a_model_answers_for_its_weights_and_its_channels() -> None:
    model = torch.nn.Identity()
    model.pretrained_cfg = {"input_size": (3, 32, 32), "test_input_size": (3, 48, 48)}
    assert preprocessing(model)["output"]["shape"] == [3, 32, 32]
    assert preprocessing(model, use_test_size=True)["output"]["shape"] == [3, 48, 48]
    assert preprocessing(model, img_size=20)["output"]["shape"] == [3, 20, 20]
    model.in_chans = 1
    written = preprocessing(model)
    normalize = next(step for step in written["steps"] if step["op"] == "normalize")
    assert normalize["mean"] == pytest.approx([(0.485 + 0.456 + 0.406) / 3])


def test_it_says_what_people_would_write_down() -> None:
    steps = preprocessing({"input_size": (3, 224, 224), "crop_pct": 0.875})["steps"]
    assert steps[:2] == [
        dict(
            op="resize",
            mode="shorter_side",
            length=256,
            rounding="down",
            filter="bicubic",
            antialias=True,
        ),
        dict(op="center_crop_or_pad", size=[224, 224], fill=0, padding="constant"),
    ]


def test_what_is_random_has_no_specification() -> None:
    transform = create_transform(32, is_training=True)
    with pytest.raises(ValueError, match=r"RandomResizedCrop.*has no specification"):
        specification(transform, (3, 32, 32))


def test_a_newer_or_wrong_specification_is_refused() -> None:
    written = preprocessing({"input_size": (3, 32, 32)})
    with pytest.raises(ValueError, match="version 2"):
        preprocessing_reference.run({**written, "version": 2}, picture(40, 40))
    with pytest.raises(ValueError, match="unknown step 'blur'"):
        preprocessing_reference.run({**written, "steps": [{"op": "blur"}]}, picture(40, 40))


def test_the_reference_runs_as_one_file_without_torch(tmp_path) -> None:
    written = preprocessing({"input_size": (3, 32, 32)})
    (tmp_path / "p.json").write_text(json.dumps(written))
    picture(50, 40).save(tmp_path / "a.png")
    code = (
        "import sys, runpy; sys.modules['torch'] = sys.modules['hub'] = None;"
        f"sys.argv[1:] = [{str(tmp_path / 'p.json')!r}, {str(tmp_path / 'a.png')!r}];"
        f"runpy.run_path({preprocessing_reference.__file__!r}, run_name='__main__')"
    )
    subprocess.run([sys.executable, "-I", "-c", code], check=True)
    want = create_transform(32, interpolation="bicubic")(picture(50, 40)).numpy()
    assert np.array_equal(np.load(tmp_path / "a.npy"), want)
