import argparse
import json
import subprocess
import sys
from pathlib import Path

import hub
import numpy as np
import pytest
import torch
from hub.errors import UnknownModelError
from hub_data import find_images, load_image
from hub_data.plugin import add_predict_arguments, hub_commands, run_predict
from PIL import Image
from torch import nn

COLORS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


class Brightest(nn.Module):
    """Answers which channel is brightest."""

    def __init__(self, in_chans: int = 3, names: tuple[str, ...] | None = tuple(COLORS)) -> None:
        super().__init__()
        self.num_classes = in_chans
        self.pretrained_cfg = dict(
            input_size=(in_chans, 8, 8),
            mean=(0.5,) * in_chans,
            std=(0.5,) * in_chans,
            num_classes=in_chans,
            label_names=names,
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3))  # (B, C, H, W) -> (B, C)


class Terminal:
    """Makes a captured stream say that it is a terminal."""

    def __init__(self, stream) -> None:
        self.stream = stream

    def __getattr__(self, name: str):
        return getattr(self.stream, name)

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def models(monkeypatch: pytest.MonkeyPatch) -> dict[str, nn.Module]:
    known: dict[str, nn.Module] = {"brightest": Brightest()}

    def create_model(name: str, pretrained: bool = False) -> nn.Module:
        if name not in known:
            raise UnknownModelError(f"there is no model {name!r},\n  did you mean 'brightest'?")
        assert pretrained
        return known[name]

    monkeypatch.setattr(hub, "create_model", create_model, raising=False)
    return known


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images whose natural and alphabetical order differ, and what must be passed over."""
    for name, color in zip(("2.png", "10.JPG", "sub/1.png"), COLORS, strict=True):
        path = tmp_path / "pics" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (31, 17), COLORS[color]).save(path)
    (tmp_path / "pics" / "notes.txt").write_text("no image")
    (tmp_path / "pics" / "._2.png").write_bytes(b"what macOS leaves behind")
    return tmp_path / "pics"


def predict(*words: object) -> int:
    parser = argparse.ArgumentParser()
    add_predict_arguments(parser)
    words = words if "--model" in words else (*words, "--model", "brightest", "--device", "cpu")
    return run_predict(parser.parse_args([str(word) for word in words]))


def answers(out: str) -> dict[str, str]:
    return {Path(line.split("\t")[0]).name: line.split("\t")[1] for line in out.splitlines()}


def test_loading_the_plugin_imports_nothing_heavy() -> None:
    code = (
        "import sys, hub_data.plugin; "
        "print({'torch', 'torchvision', 'numpy', 'PIL', 'tqdm'} & set(sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"


def test_predicting_does_not_wait_for_torchvision() -> None:
    code = "import sys, hub_data.predict; print('torchvision' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


def test_the_plugin_offers_the_command() -> None:
    assert {command.name: command.run for command in hub_commands()}["predict"] is run_predict


def test_a_pipe_gets_tab_separated_lines(folder: Path, capsys: pytest.CaptureFixture) -> None:
    assert predict(folder, "--topk", 2, "--batch-size", 2) == 0
    captured = capsys.readouterr()
    rows = [line.split("\t") for line in captured.out.splitlines()]
    assert [(Path(row[0]).name, row[1]) for row in rows[::2]] == [
        ("2.png", "red"),
        ("10.JPG", "green"),
        ("1.png", "blue"),
    ]
    assert len(rows) == 6
    expected = torch.tensor([1.0, -1.0, -1.0]).softmax(0)[0].item()
    assert float(rows[0][2]) == pytest.approx(expected, abs=1e-4)
    assert captured.err == ""


def test_a_terminal_gets_a_table(
    folder: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", Terminal(sys.stdout))
    monkeypatch.chdir(folder)
    assert predict("2.png", "10.JPG", "--topk", 2) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:-1] for line in lines] == [
        ["image", "label"],
        ["2.png", "red"],
        [lines[2].split()[0]],
        ["10.JPG", "green"],
        [lines[4].split()[0]],
    ]
    assert lines[1].endswith("78.70%")
    assert len({line.rindex("%") for line in lines[1:]}) == 1
    assert lines[2].startswith(" " * 6)


def test_json_is_one_document(folder: Path, capsys: pytest.CaptureFixture) -> None:
    (folder / "broken.png").write_text("not an image at all")
    assert predict(folder / "2.png", folder / "broken.png", "--json", "--topk", 1) == 1
    first, second = json.loads(capsys.readouterr().out)
    assert first["image"] == str(folder / "2.png")
    assert first["predictions"] == [
        {"label": "red", "index": 0, "score": pytest.approx(0.787, abs=1e-3)}
    ]
    assert set(second) == {"image", "error"} and "not a readable image" in second["error"]


def test_unreadable_images_leave_the_others_answered(
    folder: Path, capsys: pytest.CaptureFixture
) -> None:
    (folder / "1.png").write_text("a text file with the name of an image")
    whole = (folder / "10.JPG").read_bytes()
    (folder / "3.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "4.png").write_bytes(b"")
    assert predict(folder, "no/such.png", folder / "*.webp", "--topk", 1) == 1
    captured = capsys.readouterr()
    assert answers(captured.out) == {"2.png": "red", "10.JPG": "green", "1.png": "blue"}
    lines = captured.err.splitlines()
    assert len(lines) == 5
    assert all(line.startswith("hub: error: ") for line in lines)
    assert "no/such.png: no such file or folder" in captured.err
    assert "*.webp: nothing matches" in captured.err


def test_nothing_to_read_is_said_before_a_model_is_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "readme.txt").write_text("no image")
    assert predict(tmp_path, "--model", "nonsense") == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"hub: error: {tmp_path}: no image in ")
    assert len(captured.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "nonsense"], "there is no model 'nonsense', did you mean 'brightest'?"),
        (["--model", "brightest", "--device", "cuda:99"], "device 'cuda:99' is not available"),
        (["--model", "brightest", "--device", "gpu"], "device 'gpu' is not available here: use"),
        (["--model", "brightest", "--device", "meta"], "device 'meta' is not available"),
        (["--model", "headless"], "headless has no classifier (num_classes=0)"),
        (["--model", "maps"], "the model is no classifier"),
        (["--model", "four"], "four takes 4 channels"),
    ],
)
def test_what_cannot_work_is_one_line(
    options: list[str],
    message: str,
    folder: Path,
    models: dict[str, nn.Module],
    capsys: pytest.CaptureFixture,
) -> None:
    models["headless"], models["maps"], models["four"] = Brightest(), Brightest(), Brightest(4)
    models["headless"].num_classes = 0
    models["maps"].forward = lambda x: x
    assert predict(folder, *options) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
    assert captured.err.startswith("hub: error: ") and message in captured.err


def test_topk_is_at_most_the_number_of_classes(
    folder: Path, capsys: pytest.CaptureFixture, models: dict[str, nn.Module]
) -> None:
    models["brightest"] = Brightest(names=None)
    assert predict(folder / "2.png", "--topk", 50) == 0
    labels = [line.split("\t")[1] for line in capsys.readouterr().out.splitlines()]
    assert sorted(labels) == ["class 0", "class 1", "class 2"] and labels[0] == "class 0"


def test_topk_must_be_positive(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        predict("x.png", "--topk", 0)
    assert "'0' is not a whole number above 0" in capsys.readouterr().err


def test_many_images_show_progress_on_a_terminal_only(
    folder: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = [folder / "2.png"] * 40
    assert predict(*many) == 0
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys, "stderr", Terminal(sys.stderr))
    assert predict(*many) == 0
    assert "/40" in capsys.readouterr().err


def test_an_optimized_copy_answers_alike_and_says_what_it_is(
    folder: Path, capsys: pytest.CaptureFixture, models: dict[str, nn.Module]
) -> None:
    class Convolved(Brightest):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1, bias=False)
            self.norm = nn.BatchNorm2d(3)
            nn.init.dirac_(self.conv.weight)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(self.norm(self.conv(x)))

    models["convolved"] = Convolved()
    assert predict(folder, "--model", "convolved", "--device", "cpu") == 0
    plain = capsys.readouterr()
    assert predict(folder, "--model", "convolved", "--device", "cpu", "--optimize") == 0
    optimized = capsys.readouterr()
    assert optimized.out == plain.out and set(answers(plain.out).values()) == set(COLORS)
    assert plain.err == ""
    assert optimized.err.startswith("hub: folded 1, packed ")
    assert isinstance(models["convolved"].norm, nn.BatchNorm2d)


def test_without_the_plugin_that_optimizes_no_model_is_loaded(
    folder: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "create_model", None)
    monkeypatch.setenv("HUB_PLUGINS", "-inference")
    hub.refresh()
    try:
        assert predict(folder, "--optimize") == 1
    finally:
        monkeypatch.undo()
        hub.refresh()
    assert "hub: error: hub.optimize is in plugin inference (hub-inf" in capsys.readouterr().err


def test_patterns_and_folders_come_in_natural_order(folder: Path) -> None:
    found = [Path(file.path).name for file in find_images([folder / "*.[pJ]*", folder])]
    assert found == ["2.png", "10.JPG", "2.png", "10.JPG", "1.png"]


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "1", "CMYK", "I;16"])
def test_every_mode_becomes_what_the_model_takes(mode: str, tmp_path: Path) -> None:
    path = tmp_path / ("x.tif" if mode == "CMYK" else "x.png")
    if mode == "I;16":
        Image.fromarray(np.full((5, 7), 128 * 257, np.uint16)).save(path)
    else:
        Image.new("L", (7, 5), 128).convert("RGB").convert(
            mode, dither=Image.Dither.NONE, palette=Image.Palette.ADAPTIVE
        ).save(path)
    for in_chans, want in ((1, "L"), (3, "RGB")):
        image = load_image(path, in_chans)
        assert (image.mode, image.size) == (want, (7, 5))
        lowest = np.asarray(image).min()
        assert lowest in ((0, 255) if mode == "1" else range(126, 131))
    with pytest.raises(ValueError, match="1 or 3 channels"):
        load_image(path, 2)


def test_values_of_unknown_range_are_refused_until_it_is_stated(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = Image.open(folder / "2.png").convert("L")
    Image.fromarray(np.asarray(image).astype(np.int32) * 16).save(tmp_path / "x.tif")
    assert predict(tmp_path / "x.tif") == 1
    assert "state the range" in capsys.readouterr().err
    assert predict(tmp_path / "x.tif", "--input-range", 0, 4080) == 0
    loaded = load_image(tmp_path / "x.tif", 1, input_range=(0, 4080))
    assert np.array_equal(np.asarray(loaded), np.asarray(image))


def test_palettes_with_transparency_are_read_without_a_warning(tmp_path: Path) -> None:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 200, 100, 50])
    image.save(tmp_path / "p.png", transparency=b"\x00\xff")
    assert load_image(tmp_path / "p.png").getpixel((0, 0)) == (200, 100, 50)


def test_images_are_read_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise to view
    Image.new("RGB", (40, 20)).save(tmp_path / "turned.jpg", exif=exif)
    assert load_image(tmp_path / "turned.jpg").size == (20, 40)


def test_grey_models_read_grey_images(
    folder: Path, capsys: pytest.CaptureFixture, models: dict[str, nn.Module]
) -> None:
    models["brightest"] = Brightest(1, names=("only",))
    assert predict(folder) == 0
    assert set(answers(capsys.readouterr().out).values()) == {"only"}


def test_the_channels_of_the_model_count_not_those_of_its_weights(
    folder: Path, capsys: pytest.CaptureFixture, models: dict[str, nn.Module]
) -> None:
    models["brightest"] = Brightest(1, names=("only",))
    models["brightest"].in_chans = 1
    models["brightest"].pretrained_cfg |= dict(input_size=(3, 8, 8), mean=(0.1, 0.2, 0.3))
    assert predict(folder) == 0
    assert len(answers(capsys.readouterr().out)) == 3
