"""Every reader on data made here; those of optional libraries are skipped without them."""

import json
import os
import pickle
import subprocess
import sys
import tarfile
import warnings
from collections import Counter
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from hub.__main__ import main
from hub.errors import HubError, HubWarning, PluginError
from hub_data import (
    DamagedSampleError,
    create_dataset,
    create_reader,
    find_images,
    list_readers,
)
from hub_data.hookspecs import Reader, Stream
from hub_data.readers.indexed import Names, natural_key
from hub_data.readers.tar import TarReader
from make_images import CLASSES, encoded, expected, make_folder, make_tar, picture, pixels
from torch.utils.data import DataLoader

# --- folders -------------------------------------------------------------------------------------


def test_folder_has_classes_of_its_folders_in_natural_order(tmp_path):
    make_folder(tmp_path, ("class10", "class2", "Class1"), count=12)
    data = create_dataset("", tmp_path, "train")
    assert data.reader.class_to_idx == {"Class1": 0, "class2": 1, "class10": 2}
    assert data.filenames()[:3] == ["Class1/0.jpg", "Class1/1.jpg", "Class1/2.jpg"]
    assert data.filenames()[11] == "Class1/11.jpg"
    assert list(data.reader.iter_targets()) == [0] * 12 + [1] * 12 + [2] * 12
    image, target = data[24]
    assert target == 2 and np.array_equal(pixels(image), expected(0))


def test_natural_keys_sort_as_lists_of_text_and_numbers_do():
    import random
    import re

    generator = random.Random(0)
    names = [
        "".join(generator.choices("ab1029 ._-/Z", k=generator.randint(1, 9))) for _ in range(3000)
    ]
    names += ["a" + "9" * 30, "a1" + "0" * 30, "a007", "a7", "a07b"]

    def slow(name):
        return [
            int(part) if i % 2 else part for i, part in enumerate(re.split(r"(\d+)", name.lower()))
        ]

    assert sorted(names, key=natural_key) == sorted(names, key=slow)


def test_hidden_files_and_folders_are_no_samples(tmp_path):
    make_folder(tmp_path)
    (tmp_path / "cat" / "._0.jpg").write_bytes(b"of macOS")
    (tmp_path / ".ipynb_checkpoints").mkdir()
    (tmp_path / ".ipynb_checkpoints" / "0.jpg").write_bytes(encoded(0))
    data = create_dataset("", tmp_path)
    assert len(data) == 9 and set(data.reader.class_to_idx) == set(CLASSES)


EXTENSIONS = {
    **dict.fromkeys((".jpg", ".JPG", ".jpe", ".jfif"), "JPEG"),
    **dict.fromkeys((".avif", ".webp", ".png", ".gif", ".bmp", ".tif", ".ppm"), None),
}


def test_training_check_and_predict_find_the_same_images(tmp_path, capsys, caplog):
    root = tmp_path / "d"
    make_folder(root, ("a", ".git"), count=1)
    (root / "a" / ".ipynb_checkpoints").mkdir()
    (root / "a" / "deep").mkdir()
    for folder in ("a", "a/.ipynb_checkpoints", "a/deep"):
        for n, (extension, kind) in enumerate(EXTENSIONS.items()):
            picture(n).save(root / folder / f"{n}{extension}", kind)
    for name in ("._0.jpg", "x.heic", "y.HEIC", "z.psd", "notes.txt", "noextension"):
        (root / "a" / name).write_bytes(b"something else")
    heif = 2 * bool(find_spec("pillow_heif"))
    trained = [str(root / name) for name in create_dataset("", root).filenames()]
    assert len(trained) == 2 * len(EXTENSIONS) + heif
    left_out = "left out: .heic 2, .psd 1 (pip install pillow-heif for .heic;"
    (line,) = [record.getMessage() for record in caplog.records]
    assert (".psd 1 (add_img" if heif else left_out) in line
    assert [found.path for found in find_images([root])] == trained
    assert caplog.records[1].getMessage() == line
    main(["data", "check", str(root), "--json"])
    (split,) = json.loads(capsys.readouterr().out)["splits"]
    assert split["num_images"] == len(trained) and not split["misnamed"]
    assert split["unread"] == {".psd": 1, ".txt": 1, "noextension": 1} | (
        {} if heif else {".heic": 2}
    )
    names = [os.path.relpath(path, root) for path in trained]
    archive = make_tar(
        tmp_path / "d.tar",
        {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()},
    )
    packed = create_dataset("", archive)
    assert sorted(packed.filenames()) == sorted(names)
    assert packed.reader.left_out == split["unread"] and "left out: " in caplog.text
    assert create_dataset("torch/image_folder", root).reader.class_to_idx == {"a": 0}
    assert len(create_dataset("torch/image_folder", root)) == len(trained)


def test_extensions_that_were_asked_for_leave_the_others_out_in_silence(tmp_path, caplog):
    make_folder(tmp_path)
    (tmp_path / "cat" / "x.psd").touch()
    assert len(create_dataset("", tmp_path, input_key=".jpg")) == 9 and not caplog.records


def test_folder_of_nothing_but_unread_images_says_what_reads_them(tmp_path):
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "0.jxl").touch()
    with pytest.raises(ValueError, match=r"left out: \.jxl 1 \(add_img_extensions"):
        create_dataset("", tmp_path)


def test_heic_is_read_where_its_library_is_installed(tmp_path):
    pytest.importorskip("pillow_heif")
    (tmp_path / "cat").mkdir()
    for n, extension in enumerate((".heic", ".HEIF", ".hif")):
        picture(n).save(tmp_path / "cat" / f"{n}{extension}", "HEIF")
    data = create_dataset("", tmp_path, on_error="raise")
    assert [image.size for image, _ in data] == [(24, 18)] * 3


def test_link_that_leads_nowhere_is_damage(tmp_path):
    make_folder(tmp_path, ("cat",))
    (tmp_path / "cat" / "0.jpg").unlink()
    (tmp_path / "cat" / "0.jpg").symlink_to(tmp_path / "gone.jpg")
    data = create_dataset("", tmp_path)
    assert data.filename(0) == "cat/0.jpg" and len([*data]) == len(data) == 3
    assert data.report_faults().samples == ("cat/0.jpg",)


def test_links_in_a_circle_end(tmp_path):
    root = make_folder(tmp_path / "data")
    other = make_folder(tmp_path / "other", ("owl",))
    (root / "more").symlink_to(other)
    (other / "back").symlink_to(root)
    (root / "cat" / "self").symlink_to(root / "cat")
    data = create_dataset("", root)
    assert "more/owl/0.jpg" in data.filenames() and len(data) == 12


@pytest.mark.parametrize(
    ("folder", "split"),
    [
        ("train", "training"),
        ("training", "train"),
        ("val", "validation"),
        ("valid", "val"),
        ("validation", "eval"),
        ("evaluation", "valid"),
        ("test", "test"),
        ("minival", "minival"),
    ],
)
def test_split_is_found_by_any_of_its_names(tmp_path, folder, split):
    make_folder(tmp_path / folder, count=1)
    make_folder(tmp_path / "unrelated", count=2)
    assert len(create_dataset("", tmp_path, split)) == 3
    assert len(create_dataset("", tmp_path, split, search_split=False)) == 9


def test_missing_split_does_not_become_the_whole_data_set(tmp_path):
    make_folder(tmp_path / "train")
    make_folder(tmp_path / "test")
    with pytest.raises(FileNotFoundError, match=r"train and no split 'validation'.*search_split"):
        create_dataset("", tmp_path, "validation")
    with pytest.raises(ValueError, match="slices are for hfds"):
        create_dataset("", tmp_path, "train[:10%]")


def test_empty_folder_and_missing_folder_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"no image in .*looked for .*\.jpg"):
        create_dataset("", tmp_path)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        create_dataset("", tmp_path / "nowhere")
    with pytest.raises(ValueError, match="needs root"):
        create_dataset("")


def test_other_extensions_are_found_where_asked_for(tmp_path):
    make_folder(tmp_path)
    np.save(tmp_path / "cat" / "7.npy", np.zeros((4, 4, 3), np.uint8))
    assert len(create_dataset("", tmp_path)) == 9
    assert create_dataset("", tmp_path, input_key=".npy").filenames() == ["cat/7.npy"]


def test_names_are_kept_as_they_are_on_disk():
    names = ["a", "", "ü/π.jpg", os.fsdecode(b"bad\xff.jpg"), "z" * 300]
    packed = Names(names)
    assert list(packed) == names and packed[-1] == names[-1] and packed[1:3] == names[1:3]
    with pytest.raises(IndexError):
        packed[5]


# --- archives ------------------------------------------------------------------------------------


def tar_files(classes=CLASSES, count=3):
    return {
        f"{c}/{n}.jpg": encoded(i * count + n) for i, c in enumerate(classes) for n in range(count)
    }


def check_tar(data):
    assert data.reader.class_to_idx == {"bird": 0, "cat": 1, "dog": 2}
    assert Counter(target for _, target in data) == {0: 3, 1: 3, 2: 3}
    found = sorted(pixels(image).tobytes() for image, _ in data)
    assert found == sorted(expected(seed).tobytes() for seed in range(9))


def test_tar_by_its_path(tmp_path):
    path = make_tar(
        tmp_path / "all.tar", {**tar_files(), "./.hidden/0.jpg": b"", "cat/._0.jpg": b""}
    )
    data = create_dataset("", path)
    check_tar(data)
    assert data.filenames()[:2] == ["bird/0.jpg", "bird/1.jpg"]
    assert data.filename(0, absolute=True) == f"{path}/bird/0.jpg"


def test_tar_links_are_the_files_that_they_lead_to(tmp_path, caplog):
    path = make_tar(
        tmp_path / "x.tar",
        {
            "./cat/0.jpg": encoded(0),
            "dog/1.jpg": (tarfile.LNKTYPE, "cat/0.jpg"),
            "dog/2.jpg": (tarfile.SYMTYPE, "../cat/0.jpg"),
            "dog/3.jpg": (tarfile.SYMTYPE, "2.jpg"),
            "dog/4.jpg": (tarfile.SYMTYPE, "gone.jpg"),
            "dog/5.jpg": (tarfile.FIFOTYPE, ""),
        },
    )
    data = create_dataset("", path)
    assert [os.path.basename(name) for name in data.filenames()] == [f"{n}.jpg" for n in range(4)]
    assert [target for _, target in data] == [0, 1, 1, 1]
    assert all(np.array_equal(pixels(image), expected(0)) for image, _ in data)
    assert "2 entries are neither files nor links to earlier ones" in caplog.text
    assert "dog/4.jpg, dog/5.jpg" in caplog.text


def test_tar_per_class(tmp_path):
    for name in CLASSES:
        files = {f: c for f, c in tar_files().items() if f.startswith(name)}
        make_tar(tmp_path / "train" / f"{name}.tar", {f.split("/")[1]: c for f, c in files.items()})
    check_tar(create_dataset("tar/", tmp_path, "train"))


def test_several_tars(tmp_path):
    files = list(tar_files().items())
    make_tar(tmp_path / "1.tar", dict(files[:5]))
    make_tar(tmp_path / "2.tar", dict(files[5:]))
    check_tar(create_dataset("tar/", tmp_path))


def test_tar_of_tars(tmp_path):
    inner = {}
    for name in CLASSES:
        files = {f.split("/")[1]: c for f, c in tar_files().items() if f.startswith(name)}
        inner[f"{name}.tar"] = make_tar(tmp_path / f"{name}.tar", files).read_bytes()
    check_tar(create_dataset("", make_tar(tmp_path / "outer.tar", inner)))


def test_tar_is_read_by_workers_that_share_it(tmp_path):
    data = create_dataset("", make_tar(tmp_path / "all.tar", tar_files()), transform=np.array)
    data[0]  # the archive is open before the workers start
    batches = list(DataLoader(data, batch_size=2, num_workers=2))
    images = torch.cat([images for images, _ in batches]).numpy()
    assert [image.tobytes() for image in images] == [expected(seed).tobytes() for seed in range(9)]


def test_tar_is_read_whole_where_the_system_reads_in_parts(tmp_path, monkeypatch):
    data = create_dataset("", make_tar(tmp_path / "all.tar", tar_files()))
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, size, start: pread(fd, min(size, 100), start))
    check_tar(data)


def test_tar_that_became_shorter_is_damaged(tmp_path):
    data = create_dataset("", make_tar(tmp_path / "all.tar", tar_files()), on_error="raise")
    os.truncate(tmp_path / "all.tar", 2000)
    with pytest.raises(DamagedSampleError, match="ends before byte"):
        data[8]


def test_tar_survives_pickling(tmp_path):
    data = create_dataset("", make_tar(tmp_path / "all.tar", tar_files()))
    data[0]
    check_tar(pickle.loads(pickle.dumps(data)))


def test_tar_index_is_kept_and_renewed_when_the_archive_changes(tmp_path, monkeypatch):
    path = make_tar(tmp_path / "all.tar", tar_files())
    assert len(TarReader(root=path, cache_tarinfo=True)) == 9
    monkeypatch.setattr(
        "hub_data.readers.tar.list_members", lambda path: pytest.fail("was scanned")
    )
    kept = create_dataset("", path, cache_tarinfo=True)
    check_tar(kept)
    monkeypatch.undo()
    make_tar(path, tar_files(("cat", "dog"), count=2))
    assert len(create_dataset("", path, cache_tarinfo=True)) == 4


def test_compressed_and_damaged_archives_say_what_to_do(tmp_path):
    packed = make_tar(tmp_path / "all.tar.gz", tar_files(), "w:gz")
    with pytest.raises(ValueError, match="without compression"):
        create_dataset("", packed)
    broken = tmp_path / "broken.tar"
    broken.write_bytes(b"no archive" * 100)
    with pytest.raises(ValueError, match=r"broken\.tar cannot be read"):
        create_dataset("", broken)


# --- torchvision ---------------------------------------------------------------------------------


def write_idx(path, array):
    """Write the format of MNIST."""
    header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(header + array.astype(np.uint8).tobytes())


@pytest.mark.parametrize(
    ("name", "folder"),
    [("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST"), ("kmnist", "KMNIST")],
)
def test_torch_mnist_and_its_kin(tmp_path, name, folder):
    images = np.random.default_rng(0).integers(0, 256, (4, 28, 28))
    for stem, count in (("train", 4), ("t10k", 3)):
        raw = tmp_path / folder / "raw"
        write_idx(raw / f"{stem}-images-idx3-ubyte", images[:count])
        write_idx(raw / f"{stem}-labels-idx1-ubyte", np.array([3, 0, 9, 1])[:count])
    data = create_dataset(f"torch/{name}", tmp_path, "train", input_img_mode="L")
    assert np.array_equal(pixels(data[2][0]), images[2])
    assert list(data.reader.iter_targets()) == [3, 0, 9, 1]
    colored = create_dataset(f"TORCH/{name}", tmp_path, "validation")
    assert len(colored) == 3 and colored[0][0].mode == "RGB"


def test_torch_cifar(tmp_path):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    rows = np.random.default_rng(0).integers(0, 256, (2, 3072), dtype=np.uint8)
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        (folder / name).write_bytes(pickle.dumps({"data": rows, "labels": [1, 8]}))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list("abcdefghij")}))
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        patch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_, **__: True)
        warnings.simplefilter("ignore")
        data = create_dataset("torch/cifar10", tmp_path, "train")
    assert len(data) == 10 and data.reader.class_to_idx["b"] == 1
    assert np.array_equal(pixels(data[0][0]), rows[0].reshape(3, 32, 32).transpose(1, 2, 0))


def test_torch_cifar100(tmp_path):
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    for name, count in (("train", 4), ("test", 2)):
        rows = np.full((count, 3072), 7, np.uint8)
        content = {"data": rows, "fine_labels": list(range(count))}
        (folder / name).write_bytes(pickle.dumps(content))
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": list("abcd")}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_, **__: True)
        assert len(create_dataset("torch/cifar100", tmp_path, "train")) == 4
        data = create_dataset("torch/cifar100", tmp_path, "val")
    assert list(data.reader.iter_targets()) == [0, 1]


@pytest.mark.parametrize("split", ["validation", "class/val", "2021_valid"])
def test_torch_inaturalist(tmp_path, split):
    for n, kind in enumerate(("Mammalia", "Mammalia", "Aves")):
        name = f"{n:05}_Animalia_Chordata_{kind}_Order_Family_Genus_species{n}"
        (tmp_path / "2021_valid" / name).mkdir(parents=True)
        (tmp_path / "2021_valid" / name / "0.jpg").write_bytes(encoded(n))
    data = create_dataset("torch/inat", tmp_path, split)
    assert [target for _, target in data] == ([0, 0, 1] if "class" in split else [0, 1, 2])
    assert np.array_equal(pixels(data[2][0]), expected(2))


def test_torch_imagenet(tmp_path):
    wnids = ("n01440764", "n01443537")
    names = {wnids[0]: ("tench",), wnids[1]: ("goldfish",)}
    torch.save((names, []), tmp_path / "meta.bin")
    for n, wnid in enumerate(wnids):
        (tmp_path / "val" / wnid).mkdir(parents=True)
        (tmp_path / "val" / wnid / f"{n}.JPEG").write_bytes(encoded(n))
    data = create_dataset("torch/imagenet", tmp_path, "validation")
    assert data.reader.class_to_idx == {"tench": 0, "goldfish": 1}
    assert data.filenames()[1] == f"val/{wnids[1]}/1.JPEG" and data[1][1] == 1


def test_torch_places365(tmp_path):
    (tmp_path / "categories_places365.txt").write_text("/a/airfield 0\n/b/bank 1\n")
    (tmp_path / "places365_val.txt").write_text("1.jpg 1\n0.jpg 0\n")
    (tmp_path / "val_large").mkdir()
    for n in range(2):
        (tmp_path / "val_large" / f"{n}.jpg").write_bytes(encoded(n))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torchvision.datasets.places365.check_integrity", lambda *_, **__: True)
        data = create_dataset("torch/places365", tmp_path, "validation")
    assert [target for _, target in data] == [1, 0]
    assert np.array_equal(pixels(data[0][0]), expected(1))


def test_torch_qmnist(tmp_path):
    raw = tmp_path / "QMNIST" / "raw"
    images = np.random.default_rng(0).integers(0, 256, (3, 28, 28))
    write_idx(raw / "qmnist-train-images-idx3-ubyte", images)
    labels = np.arange(24, dtype=">i4").reshape(3, 8)  # of 8 columns the first is the digit
    header = bytes([0, 0, 12, 2]) + (3).to_bytes(4, "big") + (8).to_bytes(4, "big")
    (raw / "qmnist-train-labels-idx2-int").write_bytes(header + labels.tobytes())
    data = create_dataset("torch/qmnist", tmp_path, "train", input_img_mode="L")
    assert list(data.reader.iter_targets()) == [0, 8, 16]
    assert np.array_equal(pixels(data[1][0]), images[1])


def test_torch_image_folder_with_split(tmp_path):
    make_folder(tmp_path / "val")
    data = create_dataset("torch/image_folder", tmp_path, "validation")
    assert len(data) == 9 and data.filenames()[0] == "val/bird/0.jpg"
    assert np.array_equal(pixels(data[4][0]), expected(4))


def test_torch_mistakes_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"no 'cifar11' here. Did you mean cifar10"):
        create_dataset("torch/cifar11", tmp_path)
    with pytest.raises(FileNotFoundError, match="download=True"):
        create_dataset("torch/cifar10", tmp_path)
    with pytest.raises(ValueError, match="no split 'validaton'"):
        create_dataset("torch/mnist", tmp_path, "validaton")
    with pytest.raises(ValueError, match="needs root"):
        create_dataset("torch/mnist")


# --- schemes and the hook ------------------------------------------------------------------------

ACME = """
    import hub
    from hub_data.hookspecs import ReaderInfo

    @hub.hookimpl(optionalhook=True)
    def hub_readers():
        return [ReaderInfo(scheme="acme", reader="hub_acme.reader:Colors")]
"""


def test_third_party_reader_is_found_by_its_scheme(install, monkeypatch):
    folder = install("acme", ACME)
    (folder / "reader.py").write_text(
        "from PIL import Image\n"
        "class Colors:\n"
        "    def __init__(self, name, *, root, split, colors=3):\n"
        "        self.name, self.split, self.colors = name, split, colors\n"
        "    def __len__(self): return self.colors\n"
        "    def __getitem__(self, i): return Image.new('L', (2, 2), i), i\n"
        "    def filename(self, i, basename=False, absolute=False): return f'{self.name}{i}'\n"
    )
    import hub

    hub.refresh()
    data = create_dataset("ACME/Some/Name", split="train", colors=5)
    assert len(data) == 5 and data[3][1] == 3 and data[3][0].mode == "RGB"
    assert data.filename(4) == "Some/Name4" and isinstance(data.reader, Reader)
    with pytest.raises(TypeError, match=r"no option 'color'. Did you mean colors"):
        create_dataset("acme/x", color=5)


def test_two_plugins_with_one_scheme_are_both_named(install):
    import hub

    install("acme", ACME)
    install("bolt", ACME)
    hub.refresh()
    with pytest.warns(HubWarning, match="'acme' and 'bolt' both have readers for 'acme'"):
        assert "acme" not in list_readers()
    with pytest.raises(PluginError, match="HUB_PLUGINS=-bolt"):
        create_dataset("acme/x")


BROKEN = {
    "raises": "raise RuntimeError('out of order')",
    "raises what is no Exception": "raise type('Stop', (BaseException,), {})('out of order')",
    "imports what is not there": "import acme_of_order as out; return []",
    "returns nothing": "return None",
    "returns something else": "return ['out of order']",
}


@pytest.mark.parametrize("code", BROKEN.values(), ids=BROKEN)
def test_broken_reader_plugin_costs_a_warning_and_leaves_others_working(install, tmp_path, code):
    import hub

    install(
        "acme",
        ACME.replace('return [ReaderInfo(scheme="acme", reader="hub_acme.reader:Colors")]', code),
    )
    hub.refresh()
    make_folder(tmp_path)
    with pytest.warns(HubWarning, match="hub_readers of plugin 'acme' failed") as told:
        assert len(create_dataset("", tmp_path)) == 9
    assert len(told) == 1
    assert len(create_dataset("", tmp_path)) == 9  # without a second warning
    for name in ("acme/x", "other_scheme_of_acme/x"):
        with pytest.raises((PluginError, ValueError), match="plugin 'acme' failed") as error:
            create_dataset(name, tmp_path)
        assert error.value.__cause__ is not None


def test_broken_reader_plugin_is_an_error_where_plugins_are_to_be_sound(
    install, tmp_path, monkeypatch
):
    import hub

    install(
        "acme", "import hub\n@hub.hookimpl(optionalhook=True)\ndef hub_readers(): raise OSError"
    )
    monkeypatch.setenv("HUB_PLUGINS_STRICT", "1")
    hub.refresh()
    with pytest.raises(PluginError, match="plugin 'acme' failed"):
        create_dataset("", make_folder(tmp_path / "d"))


@pytest.mark.parametrize(
    "code", ["raise RuntimeError('x')", "raise type('S', (BaseException,), {})"]
)
def test_reader_whose_module_fails_is_the_error_of_who_asks(install, tmp_path, code):
    import hub

    (install("acme", ACME) / "reader.py").write_text(code)
    hub.refresh()
    make_folder(tmp_path)
    assert len(create_dataset("", tmp_path)) == 9 and "acme" in list_readers()
    with pytest.raises(PluginError, match=r"'acme' is said to be hub_acme\.reader:Colors, which"):
        create_dataset("acme/x", tmp_path)


@pytest.mark.parametrize(
    "name",
    [r"C:\data\train", "C:/data/train", r"\\server\share", r"data\train", "/data/train",
     "data/train", "~/train", "labels.csv", "train"],
)  # fmt: skip
def test_path_in_place_of_a_name_is_told_where_it_goes(tmp_path, monkeypatch, name):
    make_folder(tmp_path)
    make_folder(tmp_path / "train")
    (tmp_path / "labels.csv").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="no reader for") as error:
        create_dataset(name, ".")
    assert f"create_dataset('', root={name!r})" in str(error.value)
    assert "Did you mean" not in str(error.value)


def test_other_names_stand_for_the_folder_as_in_timm(tmp_path, monkeypatch):
    make_folder(tmp_path / "imagenet")
    monkeypatch.chdir(tmp_path)
    assert len(create_dataset("imagenet", "imagenet")) == len(create_dataset("x", "imagenet")) == 9


def test_unknown_scheme_suggests_a_known_one(tmp_path):
    with pytest.raises(ValueError, match=r"no reader for 'hfdss/x'. Did you mean hfds"):
        create_dataset("hfdss/x", tmp_path)


def test_every_reader_is_what_it_is_said_to_be():
    for scheme, info in list_readers().items():
        assert scheme == info.scheme and info.description
        module, _, name = info.reader.partition(":")
        found = getattr(__import__(module, fromlist=[name]), name)
        wanted = ("set_epoch", "__iter__") if info.streams else ("__getitem__", "filename")
        assert all(hasattr(found, method) for method in wanted), scheme


def test_streams_and_readers_are_told_apart(tmp_path):
    make_tar(tmp_path / "train.tar", {"0.jpg": encoded(0), "0.cls": b"0"})
    make_folder(tmp_path / "folder")
    assert isinstance(create_reader("wds/", tmp_path), Stream)
    assert isinstance(create_reader("", tmp_path / "folder"), Reader)


def test_missing_library_is_one_line_that_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr("hub_data.readers.find_spec", lambda name: None)
    for name, library in [("hfds/x", "datasets"), ("parquet:x", "pyarrow")]:
        with pytest.raises(HubError, match=f"pip install {library}$"):
            create_dataset(name, tmp_path)


def test_listing_readers_imports_nothing_heavy():
    code = (
        "import sys, hub; from hub import plugins;"
        "print([i.scheme for group in plugins.host().hook.hub_readers() for i in group]);"
        "print(sorted({'torch', 'numpy', 'PIL', 'datasets'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    schemes, heavy = done.stdout.splitlines()
    assert "'folder', 'tar'" in schemes and heavy == "[]"
