"""How many families write a method of the contract again; the design wants none."""

import hub
import pytest
from hub import Backbone, registry
from hub.importing import load_object

#: What `Backbone` derives.
METHODS = (
    "forward",
    "train",
    *(n for n, method in vars(Backbone).items() if getattr(method, "__final__", False)),
)

#: Overrides there are now. Lower it when one goes; a new one needs a reason no network had before.
RECORDED = 0


def overrides(cls):
    """Return the contract methods that a class, or a base of it below Backbone, defines."""
    bases = cls.__mro__[: cls.__mro__.index(Backbone)]
    return [method for method in METHODS if any(method in vars(base) for base in bases)]


def test_no_more_families_override_the_contract(capsys):
    found = {}
    for name in hub.list_models():
        family = registry.find(name)[0].family
        if family is not None and family.model not in found:
            cls = load_object(family.model)
            if isinstance(cls, type) and issubclass(cls, Backbone):
                found[family.model] = overrides(cls)
    total = sum(map(len, found.values()))
    lines = [f"{model}: {', '.join(names)}" for model, names in found.items() if names]
    with capsys.disabled():
        print(f"\n{len(lines)} of {len(found)} networks override the contract", *lines, sep="\n  ")
    assert found
    assert total <= RECORDED, "\n".join(lines)


@pytest.mark.parametrize("method", METHODS)
def test_each_method_is_of_the_contract(method):
    assert callable(getattr(Backbone, method))


def test_an_override_is_seen():
    class Own(Backbone):
        def train(self, mode=True):
            return super().train(mode)

    class Heir(Own):
        pass

    assert overrides(Heir) == ["train"]
