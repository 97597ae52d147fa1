"""Class maps: every form in which names of classes are published, and those that say too little."""

import json
import pickle
import unicodedata

import pytest
from hub_data import create_dataset, load_class_map
from make_images import encoded, make_folder


@pytest.mark.parametrize("form", ["dict", "txt", "json list", "json dict"])
def test_class_map_numbers_the_classes_and_leaves_others_out(tmp_path, form, caplog):
    make_folder(tmp_path)
    class_map: object = {"dog": 0, "cat": 1}
    if form == "txt":
        (tmp_path / "map.txt").write_text("dog\ncat\n")
        class_map = "map.txt"
    elif form != "dict":
        content = ["dog", "cat"] if form == "json list" else class_map
        class_map = tmp_path / "map.json"
        class_map.write_text(json.dumps(content))
    data = create_dataset("", tmp_path, class_map=class_map)
    assert [target for _, target in data] == [1, 1, 1, 0, 0, 0]
    assert "3 images of classes that the class map lacks" in caplog.text


def test_unusable_class_maps_are_refused(tmp_path):
    make_folder(tmp_path)
    (tmp_path / "twice.txt").write_text("cat\ncat\n")
    (tmp_path / "map.pkl").write_bytes(pickle.dumps({"cat": 0}))
    for class_map, message in [
        ("twice.txt", "'cat' more than once"),
        ("map.pkl", r"give a \.txt"),
        ({"cat": -1}, "no index"),
        ({"whale": 0}, "the folders are 'bird', 'cat', 'dog'"),
    ]:
        with pytest.raises(ValueError, match=message):
            create_dataset("", tmp_path, class_map=class_map)
    with pytest.raises(FileNotFoundError, match=r"no class map 'none\.txt'"):
        create_dataset("", tmp_path, class_map="none.txt")


FORMS = {
    "id2label": ("m.json", {"0": "n01440764", "1": "n01443537"}),
    "label2id": ("m.json", {"n01440764": 0, "n01443537": 1}),
    "indices as text": ("m.json", {"n01440764": "0", "n01443537": "1"}),
    "Keras": ("m.json", {"0": ["n01440764", "tench"], "1": ["n01443537", "goldfish"]}),
    "list of pairs": ("m.json", [["n01440764", "tench"], ["n01443537", "goldfish"]]),
    "config of transformers": (
        "config.json",
        {"model_type": "vit", "id2label": {"0": "n01440764", "1": "n01443537"}, "label2id": {}},
    ),
    "config of timm": (
        "config.json",
        {"architecture": "x", "pretrained_cfg": {"label_names": ["n01440764", "n01443537"]}},
    ),
    "comments": ("m.txt", "# two fish\n\nn01440764 # tench\n  # and\nn01443537\n"),
    "synsets": ("m.txt", "n01440764 tench, Tinca tinca\nn01443537\tgoldfish\n"),
    "index first": ("m.txt", "0: 'n01440764'\n1: 'n01443537'\n"),
    "index last": ("m.txt", "n01443537,1\r\nn01440764,0\r\n"),
    "index and words": ("m.txt", "0 n01440764 tench\n1 n01443537 goldfish\n"),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_class_maps_are_read_in_the_forms_that_others_publish(tmp_path, form, encoding):
    name, content = FORMS[form]
    text = content if isinstance(content, str) else json.dumps(content)
    (tmp_path / name).write_bytes(text.encode(encoding))
    assert load_class_map(name, tmp_path) == {"n01440764": 0, "n01443537": 1}


@pytest.mark.parametrize(
    ("lines", "names"),
    [
        ("Route #66\n#1 is a comment\nC # D\n", ["Route #66", "C"]),
        ("class 0\nclass 1\n", ["class 0", "class 1"]),
        ("2 of hearts\n3 of hearts\n", ["2 of hearts", "3 of hearts"]),
        ("1 cent\n2 cent\n5 cent\n", ["1 cent", "2 cent", "5 cent"]),
        ("3\n1\n2\n", ["3", "1", "2"]),
    ],
)
def test_numbers_and_signs_in_names_are_no_indices_and_no_comments(tmp_path, lines, names):
    (tmp_path / "m.txt").write_text(lines)
    assert list(load_class_map("m.txt", tmp_path)) == names


def test_digits_name_themselves_in_either_direction(tmp_path):
    (tmp_path / "m.json").write_text(json.dumps({str(n): str(n) for n in range(10)}))
    assert load_class_map("m.json", tmp_path) == {str(n): n for n in range(10)}
    assert load_class_map({0: "cat", 1: "dog"}) == {"cat": 0, "dog": 1}


UNCLEAR = {
    '{"0": "1", "1": "2", "2": "0"}': "can be read as name to index and as index to name",
    '{"0": "cat", "dog": 1}': "maps some names to indices and some indices to names",
    '{"0": "cat", "1": null}': "maps '1' to None",
    '{"cat": 0.5}': "maps 'cat' to 0.5",
    '{"cat": true}': "maps 'cat' to True",
    '{"cat": 0, "cat": 1}': "has 'cat' twice, with 0 and 1",
    '{"0": "crane", "1": "crane"}': "names 'crane' more than once, as 0 and 1",
    '["cat", null]': "has None as item 1",
    '["cat", " "]': "has ' ' as item 1",
    '[{"id": 1, "name": "cat"}]': "as item 0, which is no name",
    '{"model_type": "vit"}': "maps 'model_type' to 'vit'",
    "{}": "holds no classes",
    "3": "holds no classes",
    "{": "is no JSON",
    "# nothing": "holds no classes",
    "1 cat\n2 dog": "numbers its lines from 1",
    "n02119789 1 kit_fox\nn02100735 2 setter": "numbers that may be indices",
    "n01440764 tench\ncat": "mixes WordNet ids and names without one",
    "{0: 'tench',\n 1: 'goldfish'}": "save it as .json",
    "crane\ncrane": "names 'crane' more than once",
}


@pytest.mark.parametrize("text", UNCLEAR, ids=UNCLEAR.values())
def test_class_maps_that_can_be_misread_are_refused_in_words(tmp_path, text):
    is_json = text[0] in '{["3' and "tench" not in text
    path = tmp_path / ("m.json" if is_json else "m.txt")
    path.write_text(text)
    with pytest.raises(ValueError, match=r"m\.") as error:
        load_class_map(path)
    assert UNCLEAR[text] in str(error.value)


def test_empty_class_map_is_not_taken_for_none(tmp_path):
    make_folder(tmp_path)
    with pytest.raises(ValueError, match="holds no classes"):
        create_dataset("", tmp_path, class_map={})
    assert len(create_dataset("", tmp_path, class_map="")) == 9  # how timm's scripts say none
    with pytest.raises(ValueError, match="needs root"):
        create_dataset("torch/mnist", class_map="")  # not a keyword that the reader lacks


def test_class_map_in_another_encoding_is_refused_in_words(tmp_path):
    (tmp_path / "m.txt").write_bytes("cat\ncafé\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"m\.txt is not UTF-8 \(after 'cat\\ncafé'\).*iconv"):
        load_class_map("m.txt", tmp_path)


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("other", ["NFC", "NFD"])
def test_names_that_look_alike_are_one_class(tmp_path, form, other):
    name, written = (unicodedata.normalize(f, "café") for f in (form, other))
    (tmp_path / "d" / name).mkdir(parents=True)
    (tmp_path / "d" / name / "0.jpg").write_bytes(encoded(0))
    data = create_dataset("", tmp_path / "d", class_map={"bar": 0, written: 1})
    assert data[0][1] == 1
    assert create_dataset("", tmp_path / "d").reader.class_to_idx == {"café": 0}
    (tmp_path / "m.txt").write_text(f"bar\n{written}\n", encoding="utf-8")
    assert create_dataset("", tmp_path / "d", class_map=tmp_path / "m.txt")[0][1] == 1


def test_names_that_look_alike_cannot_have_two_indices():
    names = [unicodedata.normalize(form, "café") for form in ("NFC", "NFD")]
    with pytest.raises(ValueError, match=r"two indices for 'café', written as 'caf\\xe9' and"):
        load_class_map({names[0]: 0, names[1]: 1})
