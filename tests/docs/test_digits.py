"""Promises about docs/examples/digits: the folder works as its README says, without a network."""

import importlib.util
import json
import math
from collections import Counter
from pathlib import Path

import hub
import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

EXAMPLE = Path(__file__).parents[2] / "docs/examples/digits"
FILES = sorted((EXAMPLE / "images").glob("*.png"))
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@pytest.fixture(scope="module")
def script():
    """Return train.py as a module; it trains only when run."""
    spec = importlib.util.spec_from_file_location("digits_train", EXAMPLE / "train.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def config():
    return json.loads((EXAMPLE / "model/config.json").read_text())


@pytest.fixture(scope="module")
def model():
    return hub.create_model(f"local-dir:{EXAMPLE / 'model'}", pretrained=True).eval()


def preprocess(image, cfg):
    """The evaluation transform in plain Pillow and torch, from the numbers of config.json alone."""
    channels, height, width = cfg["input_size"]
    assert cfg["crop_mode"] == "center" and height == width
    size = math.floor(height / cfg["crop_pct"])
    image = image.convert("L" if channels == 1 else "RGB")
    scale = size / min(image.size)
    resample = Image.Resampling[cfg["interpolation"].upper()]
    image = image.resize((round(image.width * scale), round(image.height * scale)), resample)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    image = image.crop((left, top, left + width, top + height))
    x = torch.from_numpy(np.array(image)).float().div(255).reshape(height, width, channels)
    return ((x - torch.tensor(cfg["mean"])) / torch.tensor(cfg["std"])).permute(2, 0, 1)


def classify(model, images, config):
    """Return the name of the likeliest class of each image."""
    x = torch.stack([preprocess(image, config["pretrained_cfg"]) for image in images])
    with torch.inference_mode():
        return [config["label_names"][i] for i in model(x).argmax(dim=1)]


def test_folder_loads_with_what_its_config_says(model, config):
    assert model.num_classes == config["num_classes"] == 10
    assert model.num_features == config["num_features"]
    assert model.pretrained_cfg["architecture"] == config["architecture"]
    assert tuple(model.pretrained_cfg["label_names"]) == WORDS
    for key in ("input_size", "mean", "std"):
        assert list(model.pretrained_cfg[key]) == config["pretrained_cfg"][key]


def test_folder_serves_as_a_start_for_another_task(model):
    folder = f"local-dir:{EXAMPLE / 'model'}"
    other = hub.create_model(folder, pretrained=True, num_classes=3, in_chans=3).eval()
    assert other(torch.zeros(1, 3, 32, 32)).shape == (1, 3)
    grey = torch.rand(2, 1, 32, 32)
    torch.testing.assert_close(
        other.forward_features(grey.expand(-1, 3, -1, -1)), model.forward_features(grey)
    )


def test_weights_are_under_two_megabytes():
    assert (EXAMPLE / "model/model.safetensors").stat().st_size < 2_000_000


def test_twenty_pictures_two_of_each_digit():
    assert Counter(file.name[0] for file in FILES) == dict.fromkeys("0123456789", 2)


def test_pictures_are_classified_as_their_names_say(model, config):
    found = classify(model, [Image.open(file) for file in FILES], config)
    assert found == [WORDS[int(file.name[0])] for file in FILES]


def test_pictures_are_test_scans(script):
    train, test = script.split()
    digits = load_digits()
    assert not set(train) & set(test) and len(train) + len(test) == len(digits.target)
    for file in FILES:
        label, index = map(int, file.stem.split("_"))
        assert index in test and index not in train
        assert digits.target[index] == label
        shown = np.array(Image.open(file), dtype=int)
        # Pillow may round differently from one version to the next.
        assert abs(shown - np.array(script.picture(digits.images[index]), dtype=int)).max() <= 1
        assert not (digits.data[train] == digits.data[index]).all(axis=1).any()


@pytest.mark.parametrize("upscaled", [True, False], ids=["through 128x128", "from 8x8"])
def test_accuracy_on_the_whole_test_part(script, model, config, upscaled):
    digits = load_digits()
    _, test = script.split()
    images = [script.picture(digits.images[i]) for i in test]
    if not upscaled:
        images = [Image.fromarray(np.rint(digits.images[i] * 255 / 16).astype("u1")) for i in test]
    found = classify(model, images, config)
    correct = sum(name == WORDS[digits.target[i]] for name, i in zip(found, test, strict=True))
    assert len(test) == 450 and correct / len(test) >= 0.97
    if upscaled:
        assert f"{correct} of {len(test)} correct" in (EXAMPLE / "README.md").read_text()


def test_mean_and_std_are_those_of_the_training_scans(script, config):
    images = load_digits().images
    x = torch.stack([script.to_input(script.picture(images[i])) for i in script.split()[0]])
    cfg = config["pretrained_cfg"]
    assert cfg["mean"] == pytest.approx([x.mean().item()], abs=1e-3)
    assert cfg["std"] == pytest.approx([x.std().item()], abs=1e-3)


def test_optimised_copy_gives_the_same_answers():
    from hub_data import Classifier

    reference = f"local-dir:{EXAMPLE / 'model'}"
    plain, fast = Classifier(reference), Classifier(reference, optimize=len(FILES))
    images = torch.stack([plain.prepare(str(path)) for path in FILES])
    assert fast.model.optimization.packed > 0
    for a, b in zip(plain.predict(images, 3), fast.predict(images, 3), strict=True):
        assert [p.label for p in a] == [p.label for p in b]
        assert all(abs(p.score - q.score) < 1e-4 for p, q in zip(a, b, strict=True))
