"""Every architecture is what it was in the reference: parameters by name and shape, outputs."""

import hub
import pytest
import torch
from golden import HERE, outputs, read_digests, read_states, state_text

FAMILIES = sorted(path.parent.name for path in HERE.glob("*/states.txt"))
STATES = {name: text for family in FAMILIES for name, text in read_states(family).items()}
DIGESTS = {name: d for family in FAMILIES for name, d in read_digests(family).items()}

# Below this many parameters outputs are compared by default; above, with -m slow.
SMALL = 17e6


def weight(name: str) -> pytest.ParameterSet:
    big = _parameters(name) > SMALL
    return pytest.param(name, marks=pytest.mark.slow if big else ())


def _parameters(name: str) -> int:
    from hub.cli.models import describe

    return describe(name)["params"]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_recorded_architecture_is_there(family):
    assert sorted(read_states(family)) == sorted(hub.list_models(module=family))


@pytest.mark.parametrize("name", STATES)
def test_state_dict_has_the_published_names_and_shapes(name):
    with torch.device("meta"):
        model = hub.create_model(name)
    assert state_text(model) == STATES[name]


@pytest.mark.parametrize("name", [weight(name) for name in DIGESTS])
def test_outputs_are_those_of_the_reference(name):
    recorded = dict(DIGESTS[name])
    found = outputs(hub.create_model(name), recorded.pop("size"))
    assert found.keys() == recorded.keys()
    for what, (shape, *values) in recorded.items():
        assert found[what][0] == shape, what
        assert found[what][1:] == pytest.approx(values, rel=1e-6, abs=1e-9), what
