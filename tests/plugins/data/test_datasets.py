"""What data sets return, and what becomes of samples that cannot be read."""

import json
import logging
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hub_data import (
    AugMixDataset,
    DamagedSampleError,
    ImageDataset,
    IterableImageDataset,
    add_img_extensions,
    create_dataset,
    del_img_extensions,
    get_img_extensions,
    is_img_extension,
    set_img_extensions,
)
from hub_data.check import check_datasets
from hub_data.faults import Faults
from hub_data.targets import MultiLabelTarget, TargetField, get_field
from make_images import Listed, batches_of, encoded, make_folder, make_tar, pixels
from PIL import Image


def listed(good, count=6):
    """Return a reader of `count` samples; sample n has target n, damaged are all but `good`."""
    return Listed(*((encoded(n) if n in good else b"damaged", n) for n in range(count)))


def load(data, workers=0, batch_size=2):
    batches = batches_of(data, workers, batch_size)
    return [[int(target) for _, target in batch] for batch in batches]


def test_sample_is_transformed_image_and_target():
    data = ImageDataset(None, listed({0, 1}, 2), transform=pixels, target_transform=lambda t: t + 5)
    image, target = data[1]
    assert image.shape == (18, 24, 3) and target == 6
    assert data.filename(1) == "file1" and data.filenames() == ["file0", "file1"]
    assert [target for _, target in data] == [5, 6] and data[-1][1] == 6
    with pytest.raises(IndexError, match="no sample 2: there are 2"):
        data[2]


def test_no_target_is_minus_one_whatever_the_transform():
    data = ImageDataset(None, Listed((encoded(0), None)), target_transform=lambda t: t + 5)
    assert data[0][1] == -1


def test_load_bytes_returns_the_file(tmp_path):
    make_folder(tmp_path / "folder")
    make_tar(tmp_path / "x.tar", {"a.jpg": encoded(3)})
    assert create_dataset("", tmp_path / "folder", load_bytes=True)[4][0] == encoded(4)
    assert create_dataset("", tmp_path / "x.tar", load_bytes=True)[0][0] == encoded(3)
    images = ImageDataset(
        None, Listed((Image.new("L", (1, 1)), 0)), load_bytes=True, on_error="raise"
    )
    with pytest.raises(DamagedSampleError, match="gives Image, not files"):
        images[0]


def test_unknown_keyword_is_an_error(tmp_path):
    make_folder(tmp_path)
    with pytest.raises(TypeError, match=r"no option 'inputkey'. Did you mean input_key"):
        create_dataset("", tmp_path, inputkey="x")
    with pytest.raises(ValueError, match="never run"):
        create_dataset("", tmp_path, trust_remote_code=True)
    with pytest.raises(ValueError, match="on_error='ignore': choose from substitute, skip, raise"):
        create_dataset("", tmp_path, on_error="ignore")


# --- damaged samples -----------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 2])
def test_substitute_takes_the_next_that_can_be_read(workers):
    data = ImageDataset(None, listed({0, 3, 4}))
    assert load(data, workers) == [[0, 3], [3, 3], [4, 0]]
    report = data.report_faults()
    assert report.count == 4 and report.samples == ("file1", "file2", "file5")
    assert str(report) == (
        "4 of 6 samples could not be read and were replaced by their successors: file1, file2, "
        "file5 (`hub data check` finds all)"
    )


@pytest.mark.parametrize("workers", [0, 2])
def test_skip_leaves_samples_out_and_keeps_the_number_of_batches(workers):
    data = ImageDataset(None, listed({0, 3, 4}), on_error="skip")
    assert load(data, workers) == [[0], [3], [4]]
    assert data.report_faults().count == 3
    with pytest.raises(DamagedSampleError, match="none of the 2 samples of a batch"):
        load(ImageDataset(None, listed({0, 1, 4, 5}), on_error="skip"), workers)
    with pytest.raises(DamagedSampleError, match=r"sample 1 \(file1\).*only a batch"):
        data[1]


@pytest.mark.parametrize("workers", [0, 2])
def test_raise_names_the_file_and_the_way_out(workers):
    data = ImageDataset(None, listed({0, 2}), on_error="raise")
    with pytest.raises(DamagedSampleError, match=r"file1 cannot be read: .*on_error='substitute'"):
        load(data, workers)


@pytest.mark.parametrize("policy", ["substitute", "skip"])
def test_many_in_a_row_raise(policy):
    data = ImageDataset(None, listed({0}, 30), on_error=policy)
    with pytest.raises(DamagedSampleError, match="10 samples in a row could not be read"):
        load(data, batch_size=15)
    few = "in a row" if policy == "substitute" else "none of the 3 samples"
    with pytest.raises(DamagedSampleError, match=few):
        load(ImageDataset(None, listed(set(), 3), on_error=policy), batch_size=3)


def test_report_is_logged_once_and_starts_anew(caplog):
    data = ImageDataset(None, listed({0, 1, 2, 4, 5}))
    with caplog.at_level(logging.WARNING):
        load(data)
    assert (
        "sample 3: file3 cannot be read: UnidentifiedImageError: the file is of a format"
        in caplog.text
    )
    caplog.clear()
    assert data.report_faults().count == 1 and "1 of 6 samples" in caplog.text
    caplog.clear()
    assert data.report_faults().count == 0 and not caplog.text


def test_every_fault_is_counted_where_only_some_are_named():
    faults = Faults(max_consecutive=1000)
    for index in range(100):
        faults.note(index, OSError("gone"))
    report = faults.end_epoch(200)
    assert report.count == 100 and len(report.samples) == 31


def test_a_series_of_damaged_samples_ends_with_its_epoch():
    faults = Faults("skip")
    for _ in range(2):
        for index in range(9):
            faults.note(index, OSError("gone"))
        assert faults.end_epoch(20).count == 9


class Nameless(Listed):
    def filename(self, index, basename=False, absolute=False):
        raise AttributeError("damaged too")


@pytest.mark.parametrize("policy", ["substitute", "skip"])
def test_damage_that_reaches_the_name_of_a_sample_is_damage(policy):
    reader = Nameless((encoded(0), 0), (b"damaged", 1), (encoded(2), 2))
    data = ImageDataset(None, reader, on_error=policy)
    found = [target for _, target in data.__getitems__([0, 1])]
    assert found == {"substitute": [0, 2], "skip": [0]}[policy]
    assert data.report_faults().samples == ("sample 1",)
    assert list(check_datasets({"all": data}).splits[0].damaged) == ["sample 1"]


def test_errors_of_code_are_not_taken_for_damage():
    for error in (ImportError("pip install x"), MemoryError()):
        with pytest.raises(type(error)):
            ImageDataset(None, Listed(error, (encoded(0), 0)))[0]

    def wrong(image):
        raise OSError("a transform fails")

    with pytest.raises(OSError, match="a transform fails"):
        ImageDataset(None, listed({0, 1}), transform=wrong)[0]


def test_data_set_with_its_account_can_be_pickled():
    data = ImageDataset(None, listed({0, 2}))
    data[1]
    copy = pickle.loads(pickle.dumps(data))
    assert copy[1][1] == 2 and copy.report_faults().count == 2
    assert data.report_faults().count == 1


def test_report_is_equal_on_all_ranks(tmp_path):
    script = Path(__file__).with_name("rank_with_faults.py")
    ranks = [
        subprocess.Popen(
            [sys.executable, script, str(rank), tmp_path / "meet"],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    # The gloo of torch 2.9 prints a line of its own before.
    reports = [json.loads(rank.communicate(timeout=100)[0].splitlines()[-1]) for rank in ranks]
    assert reports == [[2, ["file1", "file5"]]] * 2


class Streamed(Listed):
    """The same, as a stream."""

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def set_epoch(self, count):
        self.epoch = count

    def set_loader_cfg(self, num_workers=None):
        self.workers = num_workers


@pytest.mark.parametrize(
    ("policy", "good", "wanted"),
    [
        ("substitute", {0, 2, 3}, [0, 0, 2, 3, 3, 3]),
        ("substitute", {2, 3, 5}, [2, 2, 2, 3, 3, 5]),
        ("skip", {0, 2, 3}, [0, 2, 3]),
    ],
)
def test_streams_keep_their_length_or_leave_samples_out(policy, good, wanted):
    data = IterableImageDataset(None, Streamed(*listed(good).samples), on_error=policy)
    assert [target for _, target in data] == wanted and len(data) == 6
    report = data.report_faults()
    assert report.count == 3 and str(report).startswith("3 of 6 samples could not be read")
    data.set_epoch(4)
    data.set_loader_cfg(num_workers=3)
    assert (data.reader.epoch, data.reader.workers) == (4, 3)
    with pytest.raises(TypeError, match="no access by index"):
        data.filename(0)


def test_streams_do_not_bring_ranks_out_of_step(monkeypatch):
    monkeypatch.setattr("hub_data.dataset.num_ranks", lambda: 2)
    with pytest.raises(ValueError, match="out of step"):
        IterableImageDataset(None, Streamed(), is_training=True, on_error="skip")
    IterableImageDataset(None, Streamed(), is_training=True)
    IterableImageDataset(None, Streamed(), on_error="skip")


def test_streams_raise_where_asked_to():
    data = IterableImageDataset(None, Streamed(*listed({0}).samples), on_error="raise")
    with pytest.raises(DamagedSampleError, match="sample 1 of the stream"):
        list(data)


# --- AugMix --------------------------------------------------------------------------------------


def test_augmix_gives_one_plain_and_several_augmented_images():
    data = AugMixDataset(ImageDataset(None, listed({0, 1}, 2)), num_splits=3)
    data.transform = (np.array, lambda x: x + 1, torch.from_numpy)
    assert data.transform is np.array and len(data) == 2
    for sample, target in (data[1], *data.__getitems__([0, 1])):
        plain, *others = sample
        assert len(others) == 2 and target in (0, 1)
        assert all(torch.equal(other, plain + 1) for other in others)
    with pytest.raises(ValueError, match="three transforms"):
        data.transform = pixels


def test_augmix_skips_what_its_data_set_skips():
    data = AugMixDataset(ImageDataset(None, listed({0, 2, 3}), on_error="skip"))
    data.transform = (np.array, None, None)
    assert load(data, batch_size=3) == [[0, 2], [3]]


# --- targets and extensions ----------------------------------------------------------------------


def test_multi_label_target_is_a_vector():
    assert MultiLabelTarget(4)([2, 0]).tolist() == [1, 0, 1, 0]
    assert MultiLabelTarget(4)([]).tolist() == [0, 0, 0, 0]
    assert MultiLabelTarget(4)(3).tolist() == [0, 0, 0, 1]
    assert MultiLabelTarget(2, dense=True)([1, 0]).tolist() == [1, 0]
    for wrong in ([4], [-1]):
        with pytest.raises(ValueError, match="out of range: classes are 0 to 3"):
            MultiLabelTarget(4)(wrong)
    with pytest.raises(ValueError, match="a target of 4 values"):
        MultiLabelTarget(4, dense=True)([1, 0])


def test_target_fields():
    record = {"a/b": 1, "x": {"y": 2}, "boxes": [{"kind": 3}, {"kind": 0}], "on": 1, "off": 0}
    assert [get_field(record, path) for path in ("a/b", "x/y", "boxes/kind")] == [1, 2, [3, 0]]
    assert TargetField("off, on")(record) == [1]
    assert TargetField("boxes/kind", class_map={3: 0, 0: 9})(record) == [0, 9]
    assert TargetField(None)(record) is None
    dense = TargetField("v", target_format="multihot", class_map={2: 0, 0: 1})
    assert dense({"v": [5, 6, 7]}) == [7.0, 5.0]
    named = TargetField("v", names={"no": 0, "yes": 1}, class_map={"yes": 4})
    assert named({"v": 1}) == 4
    with pytest.raises(KeyError, match="no class 'no'"):
        named({"v": 0})
    with pytest.raises(ValueError, match="different names"):
        TargetField("a,,b")
    with pytest.raises(ValueError, match="choose from indices, multihot"):
        TargetField("a", target_format="dense")


def test_extensions_can_be_changed():
    before = get_img_extensions()
    try:
        add_img_extensions([".NPY", ".jpg"])
        assert is_img_extension(".npy") and get_img_extensions() == (*before, ".npy")
        del_img_extensions((".npy", ".jpg"))
        assert not is_img_extension(".jpg") and is_img_extension(".PNG")
        set_img_extensions([".x"])
        assert get_img_extensions(as_set=True) == {".x"}
        for wrong in ("jpg", ".", 3):
            with pytest.raises(ValueError, match="no extension"):
                add_img_extensions([wrong])
    finally:
        set_img_extensions(before)
