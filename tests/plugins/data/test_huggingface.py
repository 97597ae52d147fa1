"""Data sets of Hugging Face, from files written here by their own library, without a network."""

import warnings

import numpy as np
import pytest
from hub_data import create_dataset
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
