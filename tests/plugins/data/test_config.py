import json
from pathlib import Path

import pytest
from hub.family import Weights
from hub_data import create_transform, resolve_data_config, resolve_model_data_config
from torch import nn

GOLDEN = json.loads(Path(__file__).with_name("golden.json").read_text())["configs"]


@pytest.mark.parametrize("case", GOLDEN, ids=range(len(GOLDEN)))
def test_result_is_what_timm_gave(case: dict) -> None:
    config = resolve_data_config(case["args"], case["weights"], use_test_size=case["use_test_size"])
    assert json.loads(json.dumps(config)) == case["config"]


def test_the_request_goes_before_the_weights_before_the_defaults() -> None:
    weights = {"input_size": (3, 160, 160), "mean": (0.1, 0.2, 0.3), "crop_pct": 0.9}
    assert resolve_data_config({"crop_pct": 0.7, "img_size": (96, 64)}, weights) == {
        "input_size": (3, 96, 64),
        "interpolation": "bicubic",
        "mean": (0.1, 0.2, 0.3),
        "std": (0.229, 0.224, 0.225),
        "crop_pct": 0.7,
        "crop_mode": "center",
    }


def test_test_size_is_used_only_on_request() -> None:
    weights = Weights(test_input_size=(3, 288, 288), test_crop_pct=1.0)
    train = resolve_data_config({}, weights)
    test = resolve_data_config({}, weights, use_test_size=True)
    assert (train["input_size"], train["crop_pct"]) == ((3, 224, 224), 0.875)
    assert (test["input_size"], test["crop_pct"]) == ((3, 288, 288), 1.0)


def test_a_model_brings_its_weights_configuration() -> None:
    model = nn.Identity()
    model.default_cfg = {"input_size": (3, 7, 7)}
    assert resolve_model_data_config(model)["input_size"] == (3, 7, 7)
    model.pretrained_cfg = Weights(input_size=(3, 8, 8))
    assert resolve_model_data_config(model)["input_size"] == (3, 8, 8)
    assert resolve_model_data_config(model, {"img_size": 9})["input_size"] == (3, 9, 9)
    assert resolve_data_config(pretrained_cfg={"crop_pct": 0.5}, model=model)["crop_pct"] == 0.5


def test_lists_and_single_numbers_are_accepted() -> None:
    weights = {"input_size": [1, 28, 28], "mean": [0.5], "std": 0.25}
    config = resolve_data_config({"mean": 0.4}, weights)
    assert (config["input_size"], config["mean"], config["std"]) == ((1, 28, 28), (0.4,), (0.25,))
    create_transform(**config)


def test_verbose_logs_the_result(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "hub_data"):
        resolve_data_config({"img_size": 64}, verbose=True)
    assert "(3, 64, 64)" in caplog.text


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({}, "at least one of"),
        ({"img_size": "64"}, "img_size gives"),
        ({"img_size": 0}, "img_size gives"),
        ({"input_size": (64, 64)}, r"input_size gives \(64, 64\)"),
        ({"mean": (0.5, 0.4)}, "2 values for 3 channels"),
        ({"in_chans": 1, "std": (0.5, 0.4, 0.3)}, "3 values for 1 channels"),
    ],
)
def test_bad_requests_are_named(args: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resolve_data_config(args)
