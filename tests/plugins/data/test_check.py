"""`hub data`: what the check finds, and what the command prints and returns."""

import json
import re

import numpy as np
import pytest
from hub.__main__ import main
from hub_data import create_dataset
from hub_data.check import check_datasets
from make_images import encoded, make_folder, make_tar, picture
from PIL import Image


@pytest.fixture
def faulty(tmp_path):
    """Return a data set with one of each fault, in train and val."""
    train = make_folder(tmp_path / "train", count=4)
    val = make_folder(tmp_path / "val", ("cat", "dog"), count=2, first=50)
    (train / "cat" / "broken.jpg").write_bytes(encoded(90)[:300])
    (train / "cat" / "copy.jpg").write_bytes((train / "cat" / "0.jpg").read_bytes())
    (train / "dog" / "as_cat.jpg").write_bytes((train / "cat" / "1.jpg").read_bytes())
    (val / "cat" / "seen.jpg").write_bytes((train / "cat" / "2.jpg").read_bytes())
    (train / "dog" / "in_fact.jpg").write_bytes(encoded(91, "PNG"))
    picture(92, size=(400, 300), mode="L").save(train / "bird" / "grey.png")
    exif = Image.Exif()
    exif[0x0112] = 8
    picture(93, size=(2, 1)).save(train / "bird" / "turned.jpg", exif=exif)
    (train / "notes.txt").write_text("not an image")
    return tmp_path


def datasets(root, *splits):
    return {split: create_dataset("", root, split) for split in splits}


def test_check_finds_every_fault(faulty):
    report = check_datasets(datasets(faulty, "train", "val"), threads=2)
    train, val = report.splits
    assert not report.is_sound
    assert (train.num_images, val.num_images) == (18, 5)
    assert train.classes == {"cat": 6, "dog": 6, "bird": 6} and val.classes == {"cat": 3, "dog": 2}
    assert train.modes == {"RGB": 16, "L": 1} and train.formats == {"JPEG": 15, "PNG": 2}
    assert train.sizes == ["2x1", "24x18", "400x300"]
    assert list(train.damaged) == ["cat/broken.jpg"]
    assert train.damaged["cat/broken.jpg"].startswith("OSError: ")
    assert train.copies == [["cat/0.jpg", "cat/copy.jpg"], ["cat/1.jpg", "dog/as_cat.jpg"]]
    assert train.contradictions == [["cat/1.jpg", "dog/as_cat.jpg"]]
    assert train.turned == ["bird/turned.jpg"] and train.misnamed == ["dog/in_fact.jpg"]
    assert train.unread == {".txt": 1} and not val.unread
    assert report.leaks == [["train/cat/2.jpg", "val/cat/seen.jpg"]]
    assert report.unequal_classes == {"val": ["bird"]}


def test_command_names_the_faults_and_fails(faulty, capsys):
    assert main(["data", "check", str(faulty)]) == 1
    out = capsys.readouterr().out
    for line in (
        "train: 18 images in 3 classes",
        "sizes       2x1 to 400x300, median 24x18",
        "modes       RGB 16, L 1",
        "cat/broken.jpg: OSError: ",
        "cat/1.jpg = dog/as_cat.jpg",
        "not read    .txt 1",
        "1 images are in several splits",
        "val lacks classes of other splits, and so numbers them differently: bird",
    ):
        assert line in out


def test_command_writes_json(faulty, capsys):
    assert main(["data", "check", str(faulty), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["sound"] is False and report["splits"][0]["split"] == "train"
    assert report["splits"][1]["classes"] == {"cat": 3, "dog": 2}


def test_sound_data_set_passes(tmp_path, capsys):
    make_folder(tmp_path / "folder", count=7)
    assert main(["data", "check", str(tmp_path / "folder")]) == 0
    assert capsys.readouterr().out.startswith("all: 21 images in 3 classes\n")
    make_tar(tmp_path / "x.tar", {"cat/0.jpg": encoded(0), "cat/1.jpg": encoded(0)})
    assert main(["data", "check", str(tmp_path / "x.tar")]) == 0
    assert "cat/0.jpg = cat/1.jpg" in capsys.readouterr().out


def test_long_lists_are_cut_unless_all_is_asked_for(tmp_path, capsys):
    make_folder(tmp_path, ("cat",), count=1)
    for n in range(8):
        (tmp_path / "cat" / f"broken{n}.jpg").write_bytes(b"broken")
    assert main(["data", "check", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert out.count("broken") == 5 and "and 3 more: --all names them" in out
    main(["data", "check", str(tmp_path), "--all"])
    assert capsys.readouterr().out.count("broken") == 8


def test_channels_that_do_not_become_rgb_are_damage_unless_all_are_kept(tmp_path):
    (tmp_path / "cat").mkdir()
    np.save(tmp_path / "cat" / "0.npy", np.zeros((4, 5, 7), np.uint16))
    keep = create_dataset("", tmp_path, input_key=".npy", input_img_mode="")
    report = check_datasets({"all": keep})
    assert report.is_sound and report.splits[0].modes == {"7 channels of uint16": 1}
    assert report.splits[0].sizes == ["5x4"] * 3
    rgb = check_datasets({"all": create_dataset("", tmp_path, input_key=".npy")})
    assert "cannot become RGB" in rgb.splits[0].damaged["cat/0.npy"]


def test_check_reads_images_that_a_reader_decodes_itself():
    class Colors:
        def __len__(self):
            return 3

        def __getitem__(self, index):
            return Image.new("RGB", (4, 4), (index // 2, 0, 0)), [0, index]

        def filename(self, index, basename=False, absolute=False):
            return f"color{index}"

    from hub_data import ImageDataset

    split = check_datasets({"all": ImageDataset(None, Colors())}).splits[0]
    assert split.copies == [["color0", "color1"]] and split.classes == {"0": 4, "1": 1, "2": 1}


def test_mistakes_are_one_line(tmp_path, capsys):
    assert main(["data", "check", str(tmp_path / "nowhere")]) == 1
    assert re.fullmatch(r"hub: error: .*nowhere.*\n", capsys.readouterr().err)
    make_tar(tmp_path / "train.tar", {"0.jpg": encoded(0), "0.cls": b"0"})
    assert main(["data", "check", str(tmp_path), "--reader", "wds/", "--split", "train"]) == 1
    assert "only readers with an index" in capsys.readouterr().err


def test_data_alone_says_which_backend_runs_and_why(capsys):
    assert main(["data"]) == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1 and "evaluation: exact" in out and "training: fast" in out


def test_readers_are_listed_with_what_they_need(capsys, monkeypatch):
    from hub_data import readers

    find = readers.find_spec
    monkeypatch.setattr(
        readers, "find_spec", lambda name: None if name == "datasets" else find(name)
    )
    assert main(["data", "readers"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(re.match(r"folder\b.*ready", line) for line in lines)
    assert any(re.match(r"hfds\b.*pip install datasets", line) for line in lines)


def test_preview_is_a_command(tmp_path, capsys):
    make_folder(tmp_path / "x", ("cat",), count=2)
    sheet = tmp_path / "sheet.png"
    assert main(["data", "preview", str(tmp_path / "x"), "--output", str(sheet), "--draws=2"]) == 0
    with Image.open(sheet) as image:
        assert image.width > 2 * 100
    capsys.readouterr()


def test_describing_the_commands_imports_nothing_heavy():
    import subprocess
    import sys

    code = (
        "import sys; from hub.__main__ import main\n"
        "try: main(['data', '--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'numpy', 'PIL'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "check" in done.stdout and done.stdout.endswith("[]\n")
