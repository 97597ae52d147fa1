"""Data sets of Hugging Face, from files written here by their own library, without a network."""

import warnings

import numpy as np
import pytest
from hub.__main__ import main
from hub_data import DamagedSampleError, create_dataset
from make_images import encoded, expected, pixels, targets_of
from torch.utils.data import DataLoader

# The library fingerprints data sets by pickling, and its pickler comments on pyarrow.
pytestmark = pytest.mark.filterwarnings("ignore:Cannot")


@pytest.fixture
def hugging(tmp_path, monkeypatch):
    """Return the library, kept from the network and from the user's folders."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()
    return datasets


def write_hugging(datasets, folder, count=6, files=2):
    """Write parquet files of images with labels, tags and names."""
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "label": datasets.ClassLabel(names=["no", "yes"]),
            "tags": datasets.Sequence(datasets.ClassLabel(names=["x", "y", "z"])),
            "id": datasets.Value("string"),
        }
    )
    rows = [
        {
            "image": {"bytes": encoded(n), "path": f"{n}.jpg"},
            "label": n % 2,
            "tags": [0, 2][: n % 3],
            "id": f"id{n}",
        }
        for n in range(count)
    ]
    (folder / "data").mkdir(parents=True)
    for i in range(files):
        part = datasets.Dataset.from_list(rows[i * count // files :][: count // files], features)
        part.to_parquet(folder / "data" / f"train-{i:05}-of-{files:05}.parquet")
    return datasets.Dataset.from_list(rows, features)


def test_hfds_reads_images_labels_and_features(tmp_path, hugging):
    write_hugging(hugging, tmp_path / "set")
    data = create_dataset(
        f"hfds/{tmp_path}/set", tmp_path / "c", "train", additional_features=["id"]
    )
    assert data.reader.class_to_idx == {"no": 0, "yes": 1}
    assert list(data.reader.iter_targets()) == [0, 1] * 3
    for n, (image, target, name) in enumerate(data):
        assert np.array_equal(pixels(image), expected(n)) and (target, name) == (n % 2, f"id{n}")
    assert data.filename(3, basename=True) == "3.jpg"
    part = create_dataset(f"hfds/{tmp_path}/set", tmp_path / "c", "train[:50%]")
    assert len(part) == 3


def test_hfds_targets(tmp_path, hugging):
    saved = write_hugging(hugging, tmp_path / "set")
    saved.save_to_disk(tmp_path / "saved")
    name = f"hfds/{tmp_path}/saved"
    several = create_dataset(name, None, "train", target_key="tags", class_map={"x": 1, "z": 0})
    assert [target for _, target in several][:3] == [[], [1], [1, 0]]
    mapped = create_dataset(name, None, "train", class_map={"no": 7, "yes": 3})
    assert [target for _, target in mapped] == [7, 3] * 3
    assert create_dataset(name, None, "train", target_key="")[0][1] == -1
    with pytest.raises(ValueError, match=r"no field 'labl'. Did you mean label"):
        create_dataset(name, None, "train", target_key="labl")


def write_labels(datasets, folder, column, feature, images=None):
    """Write a data set of these labels, and of `images` where not all are there."""
    images = images or [{"bytes": encoded(n), "path": None} for n in range(len(column))]
    features = datasets.Features({"image": datasets.Image(), "label": feature})
    rows = datasets.Dataset.from_dict({"image": images, "label": column}, features)
    (folder / "data").mkdir(parents=True)
    rows.to_parquet(folder / "data" / "train.parquet")
    rows.save_to_disk(folder / "saved")
    return f"hfds/{folder}/saved"


COLUMNS = [
    ("int64", [0, None, 1], [0, None, 1]),
    ("float64", [0.0, float("nan"), 1.0], [0.0, None, 1.0]),
    ("string", ["a", None, "b"], ["a", None, "b"]),
    ("string", ["a", " ", "b"], ["a", None, "b"]),
    (["no", "yes"], [0, None, 1], [0, None, 1]),
    ([], [[0], None, [1, None]], [[0], None, None]),
]


@pytest.mark.parametrize(("kind", "column", "wanted"), COLUMNS)
def test_hfds_null_labels_are_damage(tmp_path, hugging, capsys, kind, column, wanted):
    feature = {
        str: lambda: hugging.Value(kind),
        list: lambda: hugging.ClassLabel(names=kind) if kind else [hugging.Value("int64")],
    }[type(kind)]()
    name = write_labels(hugging, tmp_path / "set", column, feature)
    data = create_dataset(name, None, "train", on_error="skip")
    assert list(data.reader.iter_targets()) == wanted
    kept = [target for target in wanted if target is not None]
    assert [target for _, target in data.__getitems__([0, 1, 2])] == kept
    assert data.report_faults().count == 3 - len(kept)
    assert main(["data", "check", str(tmp_path), "--reader", name]) == 1
    assert "1: ValueError: no label: field 'label' holds" in capsys.readouterr().out


@pytest.mark.parametrize("policy", ["substitute", "skip", "raise"])
def test_hfds_null_images_are_damage(tmp_path, hugging, capsys, policy):
    images = [{"bytes": encoded(0), "path": None}, None, {"bytes": encoded(2), "path": None}]
    name = write_labels(hugging, tmp_path / "set", [0, 1, 2], hugging.Value("int64"), images)
    data = create_dataset(name, None, "train", on_error=policy)
    if policy == "raise":
        with pytest.raises(DamagedSampleError, match="1 cannot be read: ValueError: no image"):
            data[1]
    else:
        found = [target for _, target in data.__getitems__([0, 1])]
        assert found == {"substitute": [0, 2], "skip": [0]}[policy]
        assert data.report_faults().samples == ("1",)
    assert main(["data", "check", str(tmp_path), "--reader", name]) == 1
    assert "1: ValueError: no image: the field is null" in capsys.readouterr().out


def test_hfds_leaves_out_classes_that_the_class_map_lacks(tmp_path, hugging, caplog, capsys):
    column = ["007", "7", "x", "007"]
    name = write_labels(hugging, tmp_path / "set", column, hugging.Value("string"))
    data = create_dataset(name, None, "train", class_map={"007": 0, "x": 1})
    assert list(data.reader.iter_targets()) == [0, 1, 0] and len(data) == 3
    assert "1 images of classes that the class map lacks are left out: '7' 1" in caplog.text
    unlabelled = create_dataset(name, None, "train", class_map={"owl": 0}, target_key="")
    assert [target for _, target in unlabelled] == [-1] * 4
    with pytest.raises(ValueError, match=r"it has \['owl'\]; the labels are \['007', '7', 'x'\]"):
        create_dataset(name, None, "train", class_map={"owl": 0})
    (tmp_path / "m.txt").write_text("owl\n")
    options = ["--reader", name, "--class-map", str(tmp_path / "m.txt")]
    assert main(["data", "check", str(tmp_path), *options]) == 1
    assert "hub: error: no sample of" in capsys.readouterr().err


def test_hfids_counts_what_is_not_there_and_leaves_other_classes_out(tmp_path, hugging, caplog):
    images = [{"bytes": encoded(n), "path": None} for n in range(4)] + [None]
    column = ["a", None, "b", "c", "a"]
    write_labels(hugging, tmp_path / "set", column, hugging.Value("string"), images)
    data = create_dataset(
        f"hfids/{tmp_path}/set/data", tmp_path / "c", "train", num_samples=5,
        class_map={"a": 0, "b": 1}, on_error="skip",
    )  # fmt: skip
    assert targets_of(data) == [0, 1] and data.report_faults().count == 2
    assert "left out: 'c' 1" in caplog.text


@pytest.mark.parametrize("workers", [0, 2])
def test_hfids_streams_each_sample_once(tmp_path, hugging, workers):
    write_hugging(hugging, tmp_path / "set")
    data = create_dataset(f"hfids/{tmp_path}/set", tmp_path / "c", "train", num_samples=6)
    assert len(data) == 6 and data.filenames() == [f"id{n}" for n in range(6)]
    loader = DataLoader(data, batch_size=2, num_workers=workers, collate_fn=list)
    found = [sample for batch in loader for sample in batch]
    wanted = sorted(expected(n).tobytes() for n in range(6))
    assert sorted(pixels(image).tobytes() for image, _ in found) == wanted


def test_hfids_training_fills_batches_and_refuses_idle_workers(tmp_path, hugging):
    write_hugging(hugging, tmp_path / "set")
    options = dict(num_samples=6, is_training=True, batch_size=4)
    data = create_dataset(f"hfids/{tmp_path}/set", tmp_path / "c", "train", **options)
    assert len(targets_of(data, 2, batch_size=4)) == len(data) == 8
    write_hugging(hugging, tmp_path / "one", files=1)
    data = create_dataset(f"hfids/{tmp_path}/one", tmp_path / "c", "train", **options)
    with warnings.catch_warnings(), pytest.raises(RuntimeError, match="fewer workers"):
        warnings.simplefilter("ignore")  # the library has a say on this, too
        targets_of(data, 2)


def test_hfids_needs_the_number_of_samples(tmp_path, hugging):
    write_hugging(hugging, tmp_path / "set")
    with pytest.raises(ValueError, match="give num_samples"):
        create_dataset(f"hfids/{tmp_path}/set", tmp_path / "c", "train")
