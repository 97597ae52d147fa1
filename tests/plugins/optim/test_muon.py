"""What Muon takes for a matrix, what it does to one, and what it refuses."""

from __future__ import annotations

import logging

import pytest
import torch
from hub_optim.muon import Muon, is_matrix
from hub_optim.orthogonal import PRESETS, coefficients, orthogonalized
from torch import nn
from trajectory import wave


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((64, 128), True),
        ((96, 3, 4, 4), True),  # flattened to (96, 48)
        ((4, 512), True),
        ((4, 516), False),  # too long
        ((3, 64), False),  # too narrow
        ((1, 196, 768), False),  # embeddings of positions
        ((64, 1, 3, 3), False),  # depthwise
        ((64,), False),
        ((), False),
    ],
)
def test_shapes_decide_what_is_a_matrix(shape, expected):
    assert is_matrix(torch.Size(shape)) is expected


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("shape", [(12, 30), (30, 12), (4, 12, 30)])
def test_iteration_moves_singular_values_near_one(preset, shape):
    triples = coefficients(preset)
    result = orthogonalized(wave(shape, 0.4), steps=8, triples=triples, eps=1e-7)
    assert result.shape == shape
    values = torch.linalg.svdvals(result)
    assert values.min() > 0.6
    assert values.max() < 1.4


@pytest.mark.parametrize("value", ["no", (1.0, 2.0), [(1.0, 2.0)], [], ("a", "b", "c")])
def test_wrong_coefficients_are_refused_with_the_presets(value):
    with pytest.raises(ValueError, match="quintic"):
        Muon([nn.Parameter(torch.ones(4, 4))], ns_coefficients=value)


@pytest.mark.parametrize("option", ["algo", "conv_mode", "adjust_lr_fn"])
def test_an_unknown_choice_is_refused_with_those_there_are(option):
    with pytest.raises(ValueError, match=f"{option} is 'no'; it takes "):
        Muon([nn.Parameter(torch.ones(4, 4))], **{option: "no"})


def test_a_group_may_choose_for_its_parameters(caplog):
    chosen, left, forced = (nn.Parameter(torch.ones(8, 8)) for _ in range(3))
    groups = [
        {"params": [chosen]},
        {"params": [left], "use_fallback": True},
        {"params": [forced], "use_muon": False},
    ]
    optimizer = Muon(groups, verbose=True)
    for p in (chosen, left, forced):
        p.grad = wave(p.shape, 0.1).float()
    with caplog.at_level(logging.INFO, "hub_optim.muon"):
        optimizer.step()
        optimizer.step()
    assert [optimizer.state[p]["use_muon"] for p in (chosen, left, forced)] == [True, False, False]
    assert [r.message for r in caplog.records if r.name == "hub_optim.muon"] == [
        "(8, 8): Muon",
        "(8, 8): Adam: the group says use_fallback",
        "(8, 8): Adam: the group says use_muon=False",
    ]
