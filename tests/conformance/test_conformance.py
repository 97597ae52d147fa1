"""Every installed architecture keeps the contract of `hub.Backbone`."""

import hub
import pytest
import torch
from hub_kit import conformance


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _is_for_tests(name):
    return name.rpartition("/")[2].startswith("test_")


def _cases(checks, names, marks=()):
    return [
        pytest.param(name, check, id=f"{name}-{check.__name__}", marks=marks)
        for name in names
        for check in checks
    ]


NAMES = hub.list_models()
SMALL = [name for name in NAMES if _is_for_tests(name)]
OTHERS = [name for name in NAMES if not _is_for_tests(name)]


@pytest.mark.parametrize(
    ("name", "check"),
    [
        *_cases(conformance.CHEAP, SMALL),
        *_cases(conformance.CHEAP, OTHERS, marks=pytest.mark.slow),
    ],
)
def test_structure(name, check):
    check(name)


@pytest.mark.parametrize(("name", "check"), _cases(conformance.NUMERICAL, SMALL))
def test_values(name, check):
    check(name)


def test_variants_for_tests_are_small():
    assert SMALL
    assert [name for name in SMALL if not conformance.is_small(name)] == []
