import pytest
import torch
from hub.family import Weights
from hub_data import (
    CustomDatasetInfo,
    DatasetInfoLabelMapper,
    ImageNetInfo,
    RealLabelsImagenet,
    imagenet_indices,
    imagenet_labels,
    infer_imagenet_subset,
)
from hub_data.imagenet_info import SUBSETS, _table

SIZES = {
    "imagenet-1k": 1000,
    "imagenet-12k": 11821,
    "imagenet-21k": 21843,
    "imagenet-21k-goog": 21843,
    "imagenet-21k-miil": 11221,
    "imagenet-21k-miil-w21": 10450,
    "imagenet-22k": 21841,
    "imagenet-22k-ms": 21842,
    "imagenet-a": 200,
    "imagenet-r": 200,
    "mini-imagenet": 100,
}


def test_subsets_have_their_sizes_and_known_classes() -> None:
    assert {name: ImageNetInfo(name).num_classes() for name in SUBSETS} == SIZES
    assert ImageNetInfo("ImageNet 22k_MS").label_names()[:3] == ImageNetInfo().label_names()[:3]
    assert ImageNetInfo("imagenet-22k").index_to_label_name(0) == "n00004475"
    assert ImageNetInfo("imagenet-12k").index_to_description(11820) == "knothole"
    with pytest.raises(ValueError, match="subset 'imagenet-2k' of ImageNet: choose from"):
        ImageNetInfo("imagenet-2k")


def test_each_class_has_words_and_a_definition() -> None:
    assert all(row.lemma and row.definition and row.subsets for row in _table().values())
    info = ImageNetInfo()
    want = "great white shark, white shark, man-eater, man-eating shark, Carcharodon carcharias"
    assert info.index_to_description(2) == want
    assert info.index_to_description(2, detailed=True).startswith(f"{want}: large aggressive")
    assert info.label_descriptions(as_dict=True)["n01484850"] == want
    assert len(info.label_descriptions(detailed=True)) == 1000


def test_the_two_tables_of_imagenet_1k_agree() -> None:
    info = ImageNetInfo()
    assert [label.synset for label in imagenet_labels()] == info.label_names()
    assert [", ".join(label.words) for label in imagenet_labels()] == info.label_descriptions()


def test_classes_of_a_subset_are_found_in_a_larger_set() -> None:
    assert imagenet_indices("imagenet-r")[:3] == [1, 2, 4]
    indices = imagenet_indices("imagenet-1k", within="imagenet-22k-ms")
    assert indices == list(range(1000))
    with pytest.raises(ValueError, match="classes of imagenet-22k are not in imagenet-1k"):
        imagenet_indices("imagenet-22k")


def test_the_number_of_classes_names_the_subset() -> None:
    assert infer_imagenet_subset({"num_classes": 21842}) == "imagenet-22k-ms"
    assert infer_imagenet_subset(Weights(num_classes=11221)) == "imagenet-21k-miil"
    model = torch.nn.Identity()
    assert infer_imagenet_subset(model) is None
    model.pretrained_cfg = {"num_classes": 1000}
    assert infer_imagenet_subset(model) == "imagenet-1k"
    model.num_classes = 7
    assert infer_imagenet_subset(model) is None


def test_names_of_ones_own_may_have_gaps() -> None:
    info = CustomDatasetInfo({"0": "cat", "3": "dog"}, {"cat": "a cat", "dog": "a dog"})
    assert info.label_indices() == (0, 3) and info.has_label(3) and not info.has_label(1)
    assert info.label_descriptions() == ["a cat", "a dog"]
    assert info.label_descriptions(as_dict=True) == {"cat": "a cat", "dog": "a dog"}
    mapper = DatasetInfoLabelMapper(info)
    assert [mapper(index) for index in range(4)] == [
        "a cat",
        "<unmapped:1>",
        "<unmapped:2>",
        "a dog",
    ]
    assert DatasetInfoLabelMapper(info, "name")(torch.tensor(3)) == "dog"
    assert mapper.coverage(3) == (1, 2, 1)
    with pytest.raises(IndexError, match="class 1 has no name"):
        DatasetInfoLabelMapper(info, fallback_format=None)(1)
    assert CustomDatasetInfo(["a", "b"]).label_descriptions() == ["a", "b"]


@pytest.mark.parametrize(
    ("names", "descriptions", "error", "message"),
    [
        ([], None, ValueError, "at least one"),
        ("cat", None, ValueError, "list or tuple"),
        ([1], None, TypeError, "1 is no string"),
        ({"x": "cat"}, None, ValueError, "'x' is no whole number"),
        ({"-1": "cat"}, None, ValueError, "negative"),
        ({1: "cat", "1": "dog"}, None, ValueError, "given twice"),
        ({1.5: "cat"}, None, TypeError, "neither a number nor a string"),
        (["cat"], ["a cat"], TypeError, "is a list"),
        (["cat"], {}, ValueError, r"lacks \['cat'\]"),
    ],
)
def test_wrong_names_are_refused(names, descriptions, error, message) -> None:
    with pytest.raises(error, match=message):
        CustomDatasetInfo(names, descriptions)


def test_real_labels_count_every_right_answer() -> None:
    names = [f"val/n0/ILSVRC2012_val_{number:08d}.JPEG" for number in (2, 1, 4)]
    real = RealLabelsImagenet(names, topk=(1, 2))
    logits = torch.zeros(3, 1000)
    logits[0, 795] = 1.0  # image 2 shows 970 and 795
    logits[1, 5] = 1.0  # image 1 has no right answer and does not count
    logits[2, [7, 809]] = torch.tensor([2.0, 1.0])  # image 4 shows 809
    real.add_result(logits[:1])
    real.add_result(logits[1:])
    assert real.get_accuracy() == {1: 50.0, 2: 100.0} and real.get_accuracy(1) == 50.0
    with pytest.raises(ValueError, match="4 results for 3 files"):
        real.add_result(logits[:1])
    with pytest.raises(ValueError, match=r"1 of 1 files have no ReaL label, such as 'cat.jpg'"):
        RealLabelsImagenet(["a/cat.jpg"])


def test_real_labels_may_come_from_a_file(tmp_path) -> None:
    path = tmp_path / "real.json"
    path.write_text("[[3], []]")
    real = RealLabelsImagenet(["ILSVRC2012_val_00000001.JPEG"], path, topk=(1,))
    real.add_result(torch.eye(10)[3:4])
    assert real.get_accuracy() == {1: 100.0}
