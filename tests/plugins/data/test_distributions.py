import json
from pathlib import Path
from types import SimpleNamespace

import hub_data
import numpy as np
import pytest
from distributions import PIPELINES, counts_of, distance, measure, steps
from hub_data.backends import get_backend

GOLDEN = json.loads(Path(__file__).with_name("golden_distributions.json").read_text())
STEPS = steps(hub_data)


def compare(name: str, values: np.ndarray, *, histograms: bool = True) -> None:
    """Compare means, standard deviations and histograms with those that timm gave."""
    for column, want in zip(values.T, GOLDEN[name], strict=True):
        scale = want["std"] or 1e-5
        noise = 6 * np.sqrt(2 / len(column))
        assert abs(column.mean() - want["mean"]) < noise * scale + 1e-4
        # The spread of a spread, for distributions of up to about ten times a normal one's tails.
        assert abs(column.std() - want["std"]) < 2 * noise * scale + 1e-4
        if histograms:
            chi, limit = distance(counts_of(column, want["edges"]), want["counts"])
            assert chi < limit


@pytest.mark.slow
@pytest.mark.parametrize("name", STEPS)
def test_draws_are_distributed_as_those_of_timm(name: str) -> None:
    compare(name, measure(STEPS[name], start=7))


@pytest.mark.slow
@pytest.mark.parametrize("name", [*PIPELINES, "ShearX", "ShearY", "TranslateXRel"])
def test_the_fast_backend_draws_from_the_same_distributions(name: str) -> None:
    draws = steps(hub_data, get_backend("fast").wrap)
    # Images of few sizes give few values, which another resize moves over the limits of bins.
    compare(name, measure(draws[name], start=8), histograms=name != "rkrr")


def test_another_distribution_is_noticed() -> None:
    op = hub_data.AugmentOp("Rotate", prob=0.7, magnitude=8, hparams={"magnitude_std": 0.5})
    library = SimpleNamespace(
        AugmentOp=lambda *_, **__: op,
        create_transform=hub_data.create_transform,
        Mixup=hub_data.Mixup,
    )
    with pytest.raises(AssertionError):
        compare("Rotate", measure(steps(library)["Rotate"], start=7))


def test_every_recorded_step_is_compared() -> None:
    assert list(STEPS) == list(GOLDEN)
