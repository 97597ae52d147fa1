import pytest
from hub.family import Weights
from hub_data import imagenet_labels, label_names
from torch import nn


def test_imagenet_has_a_thousand_classes_in_order() -> None:
    labels = imagenet_labels()
    assert len(labels) == len({label.synset for label in labels}) == 1000
    assert [label.synset for label in labels] == sorted(label.synset for label in labels)
    assert labels[0] == ("n01440764", ("tench", "Tinca tinca"))


def test_a_thousand_classes_are_imagenet() -> None:
    for described in ({"num_classes": 1000}, Weights()):
        names = label_names(described)
        assert names is not None
        assert (names[0], names[207], names[999]) == ("tench", "golden retriever", "toilet tissue")
        assert names[638] != names[639]  # both begin with "maillot"


def test_names_of_the_weights_go_first() -> None:
    names = [f"kind {i}" for i in range(1000)]
    assert label_names({"num_classes": 1000, "label_names": names}) == names
    assert label_names({"label_names": {"2": "c", "0": "a", "1": "b"}}) == ["a", "b", "c"]
    many = {str(index): f"kind {index}" for index in reversed(range(12))}
    assert label_names({"label_names": many}) == names[:12]


@pytest.mark.parametrize("given", [{"2": "c", "0": "a"}, ["a", None, "c"], {0: "a", 1: "", 2: "c"}])
def test_a_name_that_is_missing_moves_no_other(given) -> None:
    assert label_names({"num_classes": 3, "label_names": given}) == ["a", "class 1", "c"]


def test_bare_synsets_become_words() -> None:
    cfg = {"label_names": ["n01440764", "n99999999", "n00000001"]}
    assert label_names(cfg) == ["tench", "n99999999", "n00000001"]
    cfg["label_descriptions"] = {"n99999999": "a new thing"}
    assert label_names(cfg) == ["tench", "a new thing", "n00000001"]


def test_the_classes_of_a_model_count_not_those_of_its_weights() -> None:
    model = nn.Identity()
    model.pretrained_cfg = {"num_classes": 1000}
    assert label_names(model)[0] == "tench"
    model.num_classes = 10  # a new head: the names do not apply
    assert label_names(model) is None
    model.pretrained_cfg = {"num_classes": 3, "label_names": ["a", "b", "c"]}
    assert label_names(model) is None
    model.num_classes = 3
    assert label_names(model) == ["a", "b", "c"]


def test_unknown_classes_have_no_names() -> None:
    assert label_names({"num_classes": 10}) is None
    assert label_names(nn.Identity()) is None
