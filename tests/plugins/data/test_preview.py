import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hub_data.preview import add_preview_arguments, run_preview
from PIL import Image
from training_cases import picture


def run(*words: object) -> int:
    parser = argparse.ArgumentParser()
    add_preview_arguments(parser)
    return run_preview(parser.parse_args([str(word) for word in words]))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "images"
    root.mkdir()
    for number, size in enumerate([(90, 60), (50, 80), (64, 64)]):
        picture(*size).save(root / f"{number}.png")
    return root


def size(sheet: Path) -> tuple[int, int]:
    with Image.open(sheet) as image:
        return image.size


def tile(sheet: Path, row: int, column: int, side: int = 48) -> np.ndarray:
    with Image.open(sheet) as image:
        pixels = np.asarray(image).astype(int)
    top, left = 14 + 4 + row * (side + 4), 4 + column * (side + 4)
    return pixels[top : top + side, left : left + side]


def test_a_sheet_has_a_row_per_image_and_a_column_per_draw(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sheet = tmp_path / "sheet.png"
    options = "--img-size 48 --draws 5 --auto-augment rand-m9 --re-prob 0.5".split()
    assert run(folder, "--output", sheet, *options) == 0
    assert size(sheet) == (4 + 6 * 52, 14 + 4 + 3 * 52)
    draws = {tile(sheet, 0, column).tobytes() for column in range(6)}
    assert len(draws) == 6
    output = capsys.readouterr().out
    assert "RandAugment" in output and "3 images, 5 draws each" in output


def test_evaluation_shows_what_the_network_sees(folder: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    options = "--eval --img-size 48 --crop-pct 1.0 --draws 2 --interpolation bicubic".split()
    assert run(folder, "--output", sheet, *options) == 0
    want = np.asarray(picture(64, 64).resize((48, 48), Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(tile(sheet, 2, 1) - want).max() <= 1
    assert np.array_equal(tile(sheet, 2, 1), tile(sheet, 2, 2))


def test_the_seed_decides(folder: Path, tmp_path: Path) -> None:
    sheets = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        sheets.append(tmp_path / f"{name}.png")
        run(folder, "--output", sheets[-1], "--img-size", 32, "--seed", seed, "--draws", 3)
    first, again, other = (path.read_bytes() for path in sheets)
    assert first == again and first != other


def test_mixing_is_shown(folder: Path, tmp_path: Path) -> None:
    Image.new("RGB", (64, 64), (255, 0, 0)).save(folder / "0.png")
    Image.new("RGB", (64, 64), (0, 0, 255)).save(folder / "2.png")
    sheet = tmp_path / "sheet.png"
    options = "--img-size 48 --draws 1 --color-jitter 0 --mixup 1.0".split()
    assert run(folder, "--output", sheet, *options) == 0
    red, _, blue = tile(sheet, 0, 1).reshape(-1, 3)[0]
    assert red > 20 and blue > 20


def test_options_of_the_transform_arrive(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = (
        "--img-size 32 --scale 0.3 0.9 --ratio 1 2 --vflip 1 --color-jitter 0.1 0.2 0.3 "
        "--grayscale-prob 0.5 --gaussian-blur-prob 0.5 --re-prob 0.2 --re-mode pixel --mean 0.5 "
        "--std 0.5 --draws 1 --rows 1"
    )
    assert run(folder, "--output", tmp_path / "a.png", *options.split()) == 0
    output = capsys.readouterr().out
    for part in (
        "scale=(0.3, 0.9)",
        "ratio=(1.0, 2.0)",
        "vertical=True",
        "brightness=0.1, contrast=0.2, saturation=0.3",
        "RandomGrayscale(p=0.5)",
        "GaussianBlur",
        "RandomErasing(p=0.2, mode=pixel",
        "mean=(0.5, 0.5, 0.5)",
        "1 images, 1 draws",
    ):
        assert part in output, part


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "nowhere: no such file or folder"),
        (["{folder}", "--auto-augment", "best"], "unknown auto_augment policy 'best'"),
        (["{folder}", "--model", "resnet5o"], "resnet5o"),
        (["{folder}", "--output", "{folder}/none/a.png"], "none/a.png"),
        (["{folder}", "--draws", "0"], "nothing to preview"),
    ],
)
def test_what_is_wrong_is_said(
    folder: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word.format(folder=folder) for word in words]
    assert run(*words, *([] if "--draws" in words else ["--draws", 1])) == 1
    errors = capsys.readouterr().err
    assert message in errors and "Traceback" not in errors


def test_a_damaged_image_is_named_and_the_others_are_shown(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "1.png").write_bytes(b"no image")
    sheet = tmp_path / "a.png"
    assert run(folder, "--output", sheet, "--img-size", 32, "--draws", 1) == 1
    assert "1.png: not a readable image" in capsys.readouterr().err
    assert size(sheet)[1] == 14 + 4 + 2 * 36


def test_describing_the_command_imports_nothing_heavy() -> None:
    code = (
        "import argparse, sys, hub_data.preview as p; p.add_preview_arguments("
        "argparse.ArgumentParser());"
        "print([name for name in ('torch', 'numpy', 'PIL') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
