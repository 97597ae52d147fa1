"""Tables of paths and labels: which labels are numbers, which names, and which are not there."""

import datetime
import json
import unicodedata

import numpy as np
import pytest
from hub.__main__ import main
from hub_data import DamagedSampleError, create_dataset
from make_images import CLASSES, encoded, expected, make_folder, pixels


@pytest.fixture
def images(tmp_path, monkeypatch):
    """Return a folder, the working one, of the images 0.jpg to 5.jpg."""
    for n in range(6):
        (tmp_path / f"{n}.jpg").write_bytes(encoded(n))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read(text, encoding="utf-8", **options):
    """Return the data set of a table with this text."""
    with open("l.csv", "wb") as file:
        file.write(text.encode(encoding))
    return create_dataset("csv:l.csv", ".", options.pop("split", ""), **options)


def labels(*values, **options):
    """Return the data set of a table with these labels of 0.jpg, 1.jpg, ..."""
    rows = [f"{n}.jpg,{value}" for n, value in enumerate(values)]
    return read("\n".join(["path,label", *rows, ""]), **options)


def targets(data):
    return list(data.reader.iter_targets())


def write_csv(path, rows, sep=","):
    path.write_text("\n".join(sep.join(map(str, row)) for row in rows) + "\n")
    return path


def test_csv_with_names_for_labels(tmp_path):
    make_folder(tmp_path)
    rows = [("path", "label"), ("dog/1.jpg", "dog"), ("bird/0.jpg", "bird"), ("dog/0.jpg", "dog")]
    write_csv(tmp_path / "labels.csv", rows)
    data = create_dataset("csv:labels.csv", tmp_path)
    assert data.reader.class_to_idx == {"bird": 0, "dog": 1}
    assert [target for _, target in data] == [1, 0, 1]
    assert np.array_equal(pixels(data[0][0]), expected(7))
    assert data.filenames() == ["dog/1.jpg", "bird/0.jpg", "dog/0.jpg"]
    mapped = create_dataset("csv/labels.csv", tmp_path, class_map={"dog": 0, "bird": 5})
    assert list(mapped.reader.iter_targets()) == [0, 5, 0]


def test_csv_with_indices_and_other_columns(tmp_path):
    make_folder(tmp_path)
    rows = [("Weight", "Photo", "Kind"), (1.5, "cat/0.jpg", 4), (2, "cat/1.jpg", 2)]
    table = write_csv(tmp_path / "t.tsv", rows, sep="\t")
    data = create_dataset(
        f"csv:{table}", tmp_path, input_key="Photo", target_key="Kind", additional_features="Weight"
    )
    assert [rest for _, *rest in data] == [[4, "1.5"], [2, "2"]]
    unlabelled = create_dataset(f"csv:{table}", tmp_path, input_key="Photo", target_key="")
    assert unlabelled[0][1] == -1


def test_csv_with_several_labels(tmp_path):
    make_folder(tmp_path)
    rows = [("path", "label", "night", "indoor"), ("cat/0.jpg", "cat|pet", 1, 0)]
    rows += [("dog/0.jpg", "pet", 1, 1), ("bird/0.jpg", "", 0, 0)]
    write_csv(tmp_path / "labels.csv", rows)
    data = create_dataset("csv:labels.csv", tmp_path, label_sep="|")
    assert data.reader.class_to_idx == {"cat": 0, "pet": 1}
    assert [target for _, target in data] == [[0, 1], [1], []]
    columns = create_dataset("csv:labels.csv", tmp_path, target_key="night,indoor")
    assert columns.reader.class_to_idx == {"night": 0, "indoor": 1}
    assert [target for _, target in columns] == [[0], [0, 1], []]


def test_csv_split_by_column_or_by_file(tmp_path):
    make_folder(tmp_path)
    rows = [("path", "label", "split"), ("cat/0.jpg", 1, "train"), ("cat/1.jpg", 1, "valid")]
    write_csv(tmp_path / "all.csv", rows)
    assert create_dataset("csv:all.csv", tmp_path, "validation").filenames() == ["cat/1.jpg"]
    with pytest.raises(ValueError, match="no rows of split 'test': there are train, valid"):
        create_dataset("csv:all.csv", tmp_path, "test")
    write_csv(tmp_path / "val.csv", [("path", "label"), ("dog/0.jpg", 2)])
    assert create_dataset("csv:", tmp_path, "validation").filenames() == ["dog/0.jpg"]


def test_csv_mistakes_name_the_columns(tmp_path):
    write_csv(tmp_path / "t.csv", [("picture", "kind"), ("a.jpg", 1)])
    with pytest.raises(ValueError, match=r"no column called path.* It has picture, kind"):
        create_dataset("csv:t.csv", tmp_path)
    with pytest.raises(ValueError, match=r"no column 'pictur'. Did you mean picture"):
        create_dataset("csv:t.csv", tmp_path, input_key="pictur")
    with pytest.raises(FileNotFoundError, match=r"no table 'u\.csv'"):
        create_dataset("csv:u.csv", tmp_path)


def test_parquet_with_paths_and_with_images(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    make_folder(tmp_path)
    names = [f"{name}/0.jpg" for name in CLASSES]
    table = pyarrow.table({"path": names, "label": list(CLASSES), "tags": [[0], [1, 2], []]})
    parquet.write_table(table, tmp_path / "paths.parquet")
    data = create_dataset("parquet:paths.parquet", tmp_path)
    assert data.filenames() == names and list(data.reader.iter_targets()) == [0, 1, 2]
    several = create_dataset("parquet:paths.parquet", tmp_path, target_key="tags")
    assert list(several.reader.iter_targets()) == [[0], [1, 2], []]
    stored = [{"bytes": encoded(seed), "path": f"{seed}.jpg"} for seed in range(5)]
    table = pyarrow.table({"image": stored, "label": [3, 1, 4, 1, 5]})
    parquet.write_table(table, tmp_path / "images.parquet", row_group_size=2)
    data = create_dataset("parquet:images.parquet", tmp_path)
    assert data.filenames() == [f"{seed}.jpg" for seed in range(5)]
    for seed in (4, 0, 3):
        image, target = data[seed]
        assert np.array_equal(pixels(image), expected(seed)) and target == [3, 1, 4, 1, 5][seed]


# --- values that are not there -------------------------------------------------------------------

BLANKS = ["", " ", '""', "nan", "NaN", "NA", "None", "null", "<NA>"]


@pytest.mark.parametrize("blank", BLANKS)
@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (("0", "1", "2"), [0, 1, 2]),
        (("2.0", "0.0", "5.0"), [2, 0, 5]),  # how pandas writes 2, 0, 5 beside a blank
        (("0.5", "2.0", "1e-05"), [0.5, 2.0, 1e-05]),
        (("cat", "dog", "cat"), [0, 1, 0]),
    ],
)
def test_blank_label_is_damage_and_moves_no_class(images, caplog, blank, given, wanted):
    data = labels(given[0], given[1], blank, given[2])
    assert targets(data) == [*wanted[:2], None, wanted[2]]
    assert targets(data)[:2] == targets(labels(*given))[:2]
    assert set(map(type, targets(data))) == {type(wanted[0]), type(None)}
    assert "1 of 4 rows of l.csv lack" in caplog.text and "l.csv:4: no label" in caplog.text
    assert data[2][1] == wanted[2]  # its successor, as for any damaged sample
    report = data.report_faults()
    assert (report.count, report.samples) == (1, ("2.jpg",))
    with pytest.raises(DamagedSampleError, match=r"2\.jpg.*l\.csv:4: no label: field 'label'"):
        labels(given[0], given[1], blank, given[2], on_error="raise")[2]
    skipping = labels(given[0], given[1], blank, given[2], on_error="skip")
    assert [target for _, target in skipping.__getitems__([1, 2, 3])] == wanted[1:]


@pytest.mark.parametrize("blank", BLANKS)
def test_check_counts_what_is_not_there(images, capsys, blank):
    labels("cat", blank, "dog")
    assert main(["data", "check", ".", "--reader", "csv:l.csv"]) == 1
    out = capsys.readouterr().out
    assert "3 images in 2 classes" in out and "1.jpg: ValueError: l.csv:3: no label" in out


def test_class_map_makes_a_class_of_a_name_that_says_nothing_elsewhere(images):
    data = labels("NA", "US", "", class_map={"NA": 1, "US": 0})
    assert targets(data) == [1, 0, None]


def test_row_that_is_too_short_or_too_long_is_damage(images, caplog):
    data = read("path,label\n0.jpg,cat\n1.jpg\na,2.jpg,cat\n3.jpg,dog,\n,,\n\n,dog\n")
    assert targets(data) == [0, None, None, 1, None]
    assert data.filenames() == ["0.jpg", "1.jpg", data.filename(2), "3.jpg", data.filename(4)]
    assert "l.csv:4 (1 cells more than the header" in data.filename(2)
    with pytest.raises(ValueError, match=r"l\.csv:8: no image: 'path' holds ''"):
        data.reader[4]
    assert "3 of 5 rows" in caplog.text


@pytest.mark.parametrize("line", ["sep=;", "# made by hand"])
def test_a_line_above_the_header_is_an_error_that_shows_it(images, line):
    with pytest.raises(ValueError, match=r"no column called path.* input_key and target_key name"):
        read(f"{line}\npath;label\n0.jpg;0\n")


def test_quote_that_is_not_closed_swallows_no_rows(images):
    with pytest.raises(ValueError, match=r"l\.csv:4: .*a quote is not closed"):
        read('path,label\n0.jpg,"cat\n1.jpg,dog\n2.jpg,dog\n')


def test_table_without_any_label_says_so(images):
    with pytest.raises(ValueError, match=r"no row of l\.csv has a label.*target_key=''"):
        labels("", "")
    assert labels("", "", target_key="")[1][1] == -1


@pytest.mark.parametrize("blank", ["", "nan"])
def test_blank_among_several_columns_is_no_zero(images, blank):
    data = read(
        f"path,a,b\n0.jpg,1,0\n1.jpg,{blank},1\n2.jpg,0,1.0\n3.jpg,yes,1\n", target_key="a,b"
    )
    assert targets(data) == [[0], None, [1], None]
    with pytest.raises(ValueError, match=r"l\.csv:3: no label: field 'a'.*write 0"):
        data.reader[1]
    with pytest.raises(ValueError, match=r"l\.csv:5: 'yes' in 'a' is no number: write 1"):
        data.reader[3]


def test_blank_among_several_labels(images):
    data = labels("cat|dog", "", "nan", "cat||", "dog|NA", label_sep="|")
    assert data.reader.class_to_idx == {"cat": 0, "dog": 1}
    assert targets(data) == [[0, 1], [], None, [0], None]


def test_rows_without_a_split_are_named(images, caplog):
    text = "path,label,split\n0.jpg,cat,train\n1.jpg,dog,\n2.jpg,dog,Train\n3.jpg,dog,val\n"
    assert targets(read(text, split="train")) == [0, 1]
    assert "1 rows name no split and are left out: l.csv:3" in caplog.text


# --- numbers, names and class maps ---------------------------------------------------------------


def test_text_that_looks_like_a_number_stays_a_name(images, caplog):
    assert labels("007", "7", "x").reader.class_to_idx == {"007": 0, "7": 1, "x": 2}
    assert "labels are names because of '007' (l.csv:2)" in caplog.text
    assert targets(labels("007", "7", "x", class_map={"7": 0, "x": 1, "007": 2})) == [2, 0, 1]
    assert targets(labels("007", class_map={"007": 5})) == [5]
    assert targets(labels("00", "01", "10")) == [0, 1, 2]
    assert labels("1_0", "10", "+1").reader.class_to_idx == {"1_0": 0, "10": 1, "+1": 2}


@pytest.mark.parametrize("class_map", [{7: 0, 1: 1}, {"7": 0, "1": 1}])
@pytest.mark.parametrize("given", [("7", "1"), ("7.0", "1.0")])
def test_numbers_are_found_in_class_maps_of_either_kind(images, class_map, given):
    assert targets(labels(*given, class_map=class_map)) == [0, 1]


def test_rows_of_classes_that_the_class_map_lacks_are_left_out(images, caplog, capsys):
    data = labels("cat", "dog", "", "cat", "owl", "dog", class_map={"cat": 4})
    assert targets(data) == [4, None, 4] and data.filenames() == ["0.jpg", "2.jpg", "3.jpg"]
    assert "left out: 'dog' 2, 'owl' 1" in caplog.text
    (images / "m.txt").write_text("cat\n")
    main(["data", "check", ".", "--reader", "csv:l.csv", "--class-map", "m.txt", "--json"])
    (split,) = json.loads(capsys.readouterr().out)["splits"]
    assert split["unlisted"] == {"dog": 2, "owl": 1} and list(split["damaged"]) == ["2.jpg"]
    several = labels("cat|dog", "dog", label_sep="|", class_map={"cat": 4})
    assert targets(several) == [[4], []]
    with pytest.raises(ValueError, match="it has 'owl'; the labels are 'cat', 'dog'"):
        labels("cat", "dog", class_map={"owl": 0})
    (images / "m.txt").write_text("owl\n")
    assert main(["data", "check", ".", "--reader", "csv:l.csv", "--class-map", "m.txt"]) == 1
    assert "hub: error: no row of l.csv is of a class" in capsys.readouterr().err


def test_names_that_look_alike_are_one_class_in_tables(images):
    forms = [unicodedata.normalize(form, "café") for form in ("NFC", "NFD")]
    assert targets(labels(*forms, "zoo")) == [0, 0, 1]
    assert targets(labels(*forms, class_map={forms[1]: 3})) == [3, 3]


# --- files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
def test_tables_are_read_in_the_encodings_that_say_so(images, encoding, delimiter):
    rows = [("path", '"who; when, where\t"', "label"), ("0.jpg", "me", "café")]
    data = read("\r\n".join(map(delimiter.join, rows)), encoding)
    assert data.reader.class_to_idx == {"café": 0}


@pytest.mark.parametrize(
    ("encoding", "message"),
    [
        ("latin-1", r"l\.csv is not UTF-8 \(after .*café'\): save it as UTF-8.*iconv"),
        ("utf-16-le", r"l\.csv is no text file, or UTF-16 without the mark"),
        ("utf-16-be", r"l\.csv is no text file, or UTF-16 without the mark"),
    ],
)
def test_other_encodings_are_refused_in_words(images, encoding, message):
    with pytest.raises(ValueError, match=message):
        read("path,label\n0.jpg,café\n", encoding)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "It is empty"),
        ("\n\n", "It is empty"),
        ("path,label\n", "has no rows"),
        ("path,label\n,\n\n", "has no rows"),
        ("path,label,label\n0.jpg,cat,dog\n", "has 2 columns 'label': rename all but one"),
        ("path,label,split,split\n0.jpg,cat,a,b\n", "has 2 columns 'split'"),
    ],
)
def test_unusable_tables_are_refused_in_words(images, text, message):
    with pytest.raises(ValueError, match=message):
        read(text)


def write_parquet(path="t.parquet", /, **columns):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table(columns), path)
    return f"parquet:{path}"


@pytest.mark.parametrize(
    ("column", "wanted"),
    [
        ([1, None, 2], [1, None, 2]),
        ([1.0, float("nan"), 2.0], [1, None, 2]),
        ([True, None, False], [1, None, 0]),
        (["b", None, "a"], [1, None, 0]),
        (["b", "", "a"], [1, None, 0]),
        (["7", None, "007"], [1, None, 0]),
        ([datetime.date(2021, 1, 1), None, datetime.date(2020, 1, 1)], [1, None, 0]),
        ([[0, 1], None, [2, None]], [[0, 1], None, None]),
        ([["a"], [], ["b", None]], [[0], [], None]),
    ],
)
def test_nulls_in_parquet_are_damage(images, column, wanted):
    name = write_parquet(path=["0.jpg", "1.jpg", "2.jpg"], label=column)
    data = create_dataset(name, ".", "")
    assert targets(data) == wanted
    assert [data.reader._problems.get(i) is not None for i in range(3)] == [
        t is None for t in wanted
    ]


def test_images_that_are_not_there_are_damage_in_parquet(images):
    ok = {"bytes": encoded(5), "path": None}
    empty = {"bytes": None, "path": None}
    name = write_parquet(
        image=[ok, None, empty, {"bytes": None, "path": "3.jpg"}], label=[0, 1, 2, 3]
    )
    data = create_dataset(name, ".", "")
    assert [target for _, target in data] == [0, 3, 3, 3]
    assert data.report_faults().samples == ("t.parquet:1", "t.parquet:2")
    assert np.array_equal(pixels(data[3][0]), expected(3))
    paths = create_dataset(write_parquet(path=["0.jpg", None], label=[0, 1]), ".", "")
    assert targets(paths) == [0, None] and paths.filename(1) == "t.parquet:1"


def test_categories_of_pandas_are_names_and_paths(images):
    pyarrow = pytest.importorskip("pyarrow")
    columns = dict(path=["0.jpg", "1.jpg"], label=["b", "a"])
    name = write_parquet(**{k: pyarrow.array(v).dictionary_encode() for k, v in columns.items()})
    data = create_dataset(name, ".", "")
    assert [target for _, target in data] == [1, 0] and data.filenames() == ["0.jpg", "1.jpg"]


@pytest.mark.parametrize("column", [[1, 2], [0.5, 1.0], [True, False], [[1, 2], [3]]])
def test_a_column_that_holds_no_images_is_named(images, column):
    with pytest.raises(ValueError, match=r"column 'image' holds .*, neither paths nor files"):
        create_dataset(write_parquet(image=column, label=[0, 1]), ".", "")


def test_parquet_that_is_written_anew_is_read_anew(images):
    assert targets(create_dataset(write_parquet(path=["0.jpg"], label=[1]), ".", "")) == [1]
    assert len(create_dataset(write_parquet(path=["0.jpg", "1.jpg"], label=[1, 2]), ".", "")) == 2


@pytest.mark.parametrize("folder", [".", "data"])
def test_shards_of_parquet_are_one_table(images, folder):
    (images / folder).mkdir(exist_ok=True)
    for shard, seeds in enumerate(((0, 1), (2,), (3, 4))):
        stored = [{"bytes": encoded(seed), "path": None} for seed in seeds]
        write_parquet(
            f"{folder}/train-{shard:05}-of-00003.parquet", image=stored, label=list(seeds)
        )
    data = create_dataset("parquet:", ".", "train")
    assert targets(data) == [0, 1, 2, 3, 4]
    assert all(np.array_equal(pixels(image), expected(target)) for image, target in data)
    assert data.filename(2).endswith("train-00001-of-00003.parquet:0")
    assert data.filename(4).endswith("train-00002-of-00003.parquet:1")
    (images / folder / "train-00001-of-00003.parquet").unlink()
    with pytest.raises(FileNotFoundError, match=r"shards of 'train' .* are not complete"):
        create_dataset("parquet:", ".", "train")
    with pytest.raises(FileNotFoundError, match=r"val-00000-of-00001\.parquet"):
        create_dataset("parquet:", ".", "val")


def test_parquet_of_other_names_sends_to_hfds(images):
    write_parquet("part-0.parquet", path=["0.jpg"], label=[0])
    with pytest.raises(FileNotFoundError, match=r"hfds/\. reads all parquet files of a folder"):
        create_dataset("parquet:", ".", "train")
    (images / "bad.parquet").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"bad\.parquet is no parquet file"):
        create_dataset("parquet:bad.parquet", ".", "")


def test_shards_with_other_columns_are_refused(images):
    write_parquet("train-00000-of-00002.parquet", path=["0.jpg"], label=[0])
    write_parquet("train-00001-of-00002.parquet", path=["0.jpg"], kind=[0])
    with pytest.raises(ValueError, match=r"has the columns path, kind, and .* path, label"):
        create_dataset("parquet:", ".", "train")
