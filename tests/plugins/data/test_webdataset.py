"""WebDataset shards: who reads what, targets, faults, and what the library itself writes."""

import json

import numpy as np
import pytest
from hub_data import DamagedSampleError, create_dataset, create_loader
from hub_data.readers.webdataset import expand_ranges
from make_images import encoded, expected, make_tar, pixels, targets_of
from torch.utils.data import DataLoader


def make_shards(root, count=10, shards=3, label="cls"):
    """Write `count` samples to shards of about equal size; sample n is `encoded(n)`, class n."""
    root.mkdir(parents=True, exist_ok=True)
    lengths = []
    for shard in range(shards):
        files = {}
        for n in range(count)[shard::shards]:
            files[f"{n:04}.jpg"] = encoded(n)
            if label == "cls":
                files[f"{n:04}.cls"] = str(n).encode()
            else:
                files[f"{n:04}.json"] = json.dumps(
                    {"meta": {"kind": n}, "tags": [n, 0], "a": 1}
                ).encode()
        lengths.append(len(files) // 2)
        make_tar(root / f"train-{shard:02}.tar", files)
    return lengths


@pytest.mark.parametrize("workers", [0, 2])
def test_wds_evaluation_yields_each_sample_once(tmp_path, workers):
    make_shards(tmp_path)
    data = create_dataset("wds/", tmp_path, "train")
    assert sorted(targets_of(data, workers)) == list(range(10))
    assert data.filenames() == [f"{n:04}" for s in range(3) for n in range(10)[s::3]]


@pytest.mark.parametrize(("count", "batch_size"), [(10, 4), (11, 3), (7, 2), (3, 4)])
@pytest.mark.parametrize("workers", [0, 2])
def test_wds_loader_is_as_long_as_what_it_gives(tmp_path, workers, count, batch_size):
    make_shards(tmp_path, count=count)
    data = create_dataset("wds/", tmp_path, "train")
    options = dict(num_workers=workers, device="cpu")
    loader = create_loader(data, (3, 16, 16), batch_size, **options)
    sizes = [len(targets) for _, targets in loader]
    assert len(sizes) == len(loader) and sum(sizes) == len(data) == count


def test_wds_images_are_those_of_the_files(tmp_path):
    make_shards(tmp_path)
    for image, target in create_dataset("wds/x", tmp_path, "train"):
        assert np.array_equal(pixels(image), expected(target))


@pytest.mark.parametrize(("workers", "shards"), [(0, 3), (2, 3), (2, 1)])
def test_wds_training_fills_each_workers_batches(tmp_path, workers, shards):
    make_shards(tmp_path, shards=shards)
    data = create_dataset("wds/", tmp_path, "train", is_training=True, batch_size=4)
    found = targets_of(data, workers, batch_size=4)
    assert len(found) == len(data) == {0: 12, 2: 16}[workers]
    assert set(found) == set(range(10))


def test_wds_order_depends_on_epoch_and_seed_only(tmp_path):
    make_shards(tmp_path, count=40)
    orders = []
    for seed, epoch in [(1, 0), (1, 0), (1, 1), (2, 0)]:
        data = create_dataset("wds/", tmp_path, "train", is_training=True, seed=seed)
        data.set_epoch(epoch)
        orders.append(targets_of(data))
    assert orders[0] == orders[1] and sorted(orders[0]) == list(range(40))
    assert orders[0] != orders[2] and orders[0] != orders[3] and orders[0] != sorted(orders[0])


def test_wds_epoch_reaches_workers_that_persist(tmp_path):
    make_shards(tmp_path, count=40)
    data = create_dataset("wds/", tmp_path, "train", is_training=True)
    loader = DataLoader(data, batch_size=8, num_workers=2, persistent_workers=True, collate_fn=list)
    orders = []
    for epoch in (0, 1, 0):
        data.set_epoch(epoch)
        orders.append([target for batch in loader for _, target in batch])
    assert orders[0] == orders[2] != orders[1]


@pytest.mark.parametrize(("ranks", "workers"), [(2, 0), (2, 2), (7, 0)])
def test_wds_ranks_and_workers_share_without_overlap(tmp_path, ranks, workers):
    make_shards(tmp_path)
    found = []
    for rank in range(ranks):
        data = create_dataset("wds/", tmp_path, "train")
        data.reader.rank, data.reader.num_ranks = rank, ranks
        found += targets_of(data, workers)
    assert sorted(found) == list(range(10))


def test_wds_split_from_info_file(tmp_path):
    lengths = make_shards(tmp_path)
    names = [f"train-{i:02}.tar" for i in range(3)]
    split = dict(name="small", num_samples=10, filenames=names, shard_lengths=lengths)
    (tmp_path / "_info.json").write_text(json.dumps({"splits": {"small": split}}))
    assert len(create_dataset("wds/", tmp_path, "small")) == 10
    with pytest.raises(ValueError, match=r"no split 'big'.*there are small"):
        create_dataset("wds/", tmp_path, "big")
    part = create_dataset("wds/", tmp_path, "train-{00..01}.tar")
    assert len(part) == lengths[0] + lengths[1]
    assert len(create_dataset("wds/", tmp_path, "train-00.tar|7", is_training=True)) == 7


def test_wds_targets_from_json(tmp_path):
    make_shards(tmp_path, label="json")
    data = create_dataset("wds/", tmp_path, "train", target_key="meta/kind")
    assert sorted(targets_of(data)) == list(range(10))
    data = create_dataset("wds/", tmp_path, "train", target_key="tags")
    assert sorted(targets_of(data))[:2] == [[0, 0], [1, 0]]
    data = create_dataset("wds/", tmp_path, "train", target_key="knd")
    with pytest.raises(DamagedSampleError, match=r"no field 'knd'.*meta, tags, a"):
        targets_of(data)
    with pytest.raises(DamagedSampleError, match=r"no \.cls file"):
        targets_of(create_dataset("wds/", tmp_path, "train"))


@pytest.mark.parametrize("workers", [0, 2])
def test_wds_samples_without_label_or_image_are_damage(tmp_path, workers):
    files = {f"{n}.jpg": encoded(n) for n in range(5)}
    labels = ["0", "", "null", "NaN", None, "5"]
    files |= {f"{n}.cls": label.encode() for n, label in enumerate(labels) if label is not None}
    make_tar(tmp_path / "train.tar", dict(sorted(files.items())))
    data = create_dataset("wds/", tmp_path, "train", on_error="skip")
    assert targets_of(data, workers) == [0]
    assert data.report_faults().count == 5


def test_wds_labels_are_looked_up_as_they_are_written(tmp_path, caplog):
    labels = ["007", "7", "cat", "dog", "7"]
    files = {f"{n}.jpg": encoded(n) for n in range(5)}
    files |= {f"{n}.cls": label.encode() for n, label in enumerate(labels)}
    make_tar(tmp_path / "train.tar", dict(sorted(files.items())))
    data = create_dataset("wds/", tmp_path, "train", class_map={"007": 0, "7": 1, "cat": 2})
    assert targets_of(data) == [0, 1, 2, 1]
    assert "1 images of classes that the class map lacks are left out: 'dog' 1" in caplog.text
    none = create_dataset("wds/", tmp_path, "train", class_map={"owl": 0}, is_training=True)
    with pytest.raises(ValueError, match="no sample is of a class of the class map"):
        targets_of(none)


def test_wds_finds_images_of_every_extension_that_folders_have(tmp_path):
    files = {"0.jfif": encoded(0), "0.cls": b"0", "1.avif": encoded(1, "AVIF"), "1.cls": b"1"}
    make_tar(tmp_path / "train.tar", files)
    assert targets_of(create_dataset("wds/", tmp_path, "train", on_error="raise")) == [0, 1]


def test_wds_leaves_hidden_files_and_folders_out(tmp_path):
    files = {"./a/0.jpg": encoded(0), "./a/0.cls": b"0"}
    files |= {".ipynb_checkpoints/1.jpg": encoded(1), ".ipynb_checkpoints/1.cls": b"1"}
    files |= {"a/._2.jpg": b"of macOS", "a/._2.cls": b"2"}
    make_tar(tmp_path / "train.tar", files)
    assert targets_of(create_dataset("wds/", tmp_path, "train")) == [0]


def test_wds_shard_that_breaks_off_costs_its_rest(tmp_path, caplog):
    make_shards(tmp_path)
    path = tmp_path / "train-01.tar"
    path.write_bytes(path.read_bytes()[:3000])
    found = targets_of(create_dataset("wds/", tmp_path, "train", num_samples=10))
    assert set(found) >= {0, 3, 6, 9, 2, 5, 8}
    assert "train-01.tar breaks off" in caplog.text


def test_wds_missing_shards_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"no _info\.json and no train\*\.tar"):
        create_dataset("wds/", tmp_path, "train")
    with pytest.raises(FileNotFoundError, match=r"no shard .*x-01\.tar"):
        create_dataset("wds/", tmp_path, "x-{01..02}.tar")


def test_wds_reads_what_webdataset_writes(tmp_path):
    webdataset = pytest.importorskip("webdataset")
    with webdataset.ShardWriter(str(tmp_path / "train-%04d.tar"), maxcount=4, verbose=0) as writer:
        for n in range(10):
            writer.write({"__key__": f"a/{n}", "jpg": encoded(n), "cls": n})
    local = {target: pixels(image) for image, target in create_dataset("wds/", tmp_path, "train")}
    shards = f"pipe:cat {tmp_path}/train-{{0000..0002}}.tar|10"
    piped = create_dataset("wds/", tmp_path, shards)
    assert len(local) == len(piped) == 10
    for image, target in piped:
        assert np.array_equal(pixels(image), expected(target))
        assert np.array_equal(local[target], expected(target))


def test_ranges_expand():
    assert list(expand_ranges("a-{08..11}-{x,y}.tar"))[:3] == [
        "a-08-x.tar",
        "a-08-y.tar",
        "a-09-x.tar",
    ]
    assert list(expand_ranges("a.tar::b-{1..2}.tar")) == ["a.tar", "b-1.tar", "b-2.tar"]
