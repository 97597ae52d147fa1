"""Promises about `hub lr`: it shows the rates that training will have, in three ways."""

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET

import hub_optim
import pytest
import torch
from hub.__main__ import main
from hub_optim import plotting
from PIL import Image


def run(capsys, *arguments):
    """Run in this process; return exit code, output, errors."""
    try:
        code = main(["lr", *arguments])
    except SystemExit as e:
        code = e.code
    return code, *capsys.readouterr()


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--sched", "wsd", "--warmup-prefix"],
        ["--sched", "step", "--decay-epochs", "4", "--lr-noise", "0.2", "0.7"],
        ["--sched", "multistep", "--decay-milestones", "5", "9"],
        ["--sched", "tanh", "--lr-cycle-limit", "3", "--cooldown-epochs", "4"],
        ["--sched", "poly", "--sched-on-updates", "--updates-per-epoch", "7"],
    ],
)
def test_rates_are_those_of_the_scheduler(capsys, options):
    code, out, _ = run(capsys, "--json", "--lr", "0.2", "--epochs", "12", *options)
    assert code == 0
    drawn = json.loads(out)
    parser = __import__("argparse").ArgumentParser()
    hub_optim.add_schedule_arguments(parser)
    args, _ = parser.parse_known_args(["--epochs", "12", *options])
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.2)
    scheduler, epochs = hub_optim.create_scheduler(args, optimizer, updates_per_epoch=7)
    steps = epochs * drawn["steps_per_epoch"]
    assert len(drawn["rates"]) == steps
    for t, rate in enumerate(drawn["rates"]):
        scheduler.step(t)
        scheduler.step_update(t)
        assert optimizer.param_groups[0]["lr"] == rate


def test_sketch_shows_the_shape(capsys):
    code, out, _ = run(capsys, "--lr", "0.1", "--warmup-epochs", "0", "--epochs", "100")
    lines = out.splitlines()
    assert code == 0
    assert lines[0] == "cosine, 100 epochs: from 0.1 to 0.1 (epoch 0) to 2.47e-05"
    filled = [len(line.partition("│")[2]) for line in lines if "│" in line]
    assert len(filled) == plotting.ROWS
    assert filled == sorted(filled)  # a curve that falls: each row reaches further than the last
    assert lines[-1].endswith("100 epochs")


def test_sketch_does_without_block_characters():
    request = hub_optim.ScheduleRequest(num_epochs=10)
    text = plotting.sketch(plotting.draw_curve(request, 0.1), encoding="ascii")
    assert text.isascii() and "#" in text


def test_no_peak_is_lost_in_the_sketch():
    rates = [1.0] * 5000
    rates[3400] = 2.0
    text = plotting.sketch(plotting.Curve(rates, 1, "peak"), columns=60)
    top = next(line for line in text.splitlines() if "│" in line)
    assert top.count("█") == 1


def test_png_shows_the_curve(capsys, tmp_path):
    file = tmp_path / "lr.png"
    assert run(capsys, "--plot", str(file), "--sched", "constant", "--warmup-epochs", "0")[0] == 0
    image = Image.open(file).convert("RGB")
    assert image.size == (plotting.WIDTH, plotting.HEIGHT)
    blue = tuple(int(plotting.LINE[i : i + 2], 16) for i in (1, 3, 5))
    middle = plotting.LEFT + 300
    assert image.getpixel((middle, plotting.TOP)) == blue  # a constant rate: at the top
    assert image.getpixel((middle + 7, plotting.HEIGHT // 2)) == (255, 255, 255)


def test_svg_is_well_formed_and_shows_the_curve(capsys, tmp_path):
    file = tmp_path / "lr.svg"
    assert (
        run(capsys, "--plot", str(file), "--sched-on-updates", "--updates-per-epoch", "99")[0] == 0
    )
    root = ET.fromstring(file.read_text())
    [line] = [e for e in root.iter() if e.tag.endswith("polyline")]
    points = [tuple(map(float, p.split(","))) for p in line.attrib["points"].split()]
    assert points == sorted(points, key=lambda p: p[0])
    assert points[0][0] == plotting.LEFT and len(points) == 2 * plotting.WIDTH
    assert {"0", "100", "200", "300", "epoch"} <= {e.text for e in root.iter()}


def test_png_without_pillow_is_refused_with_the_way_out(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "PIL", None)
    code, _, error = run(capsys, "--plot", str(tmp_path / "lr.png"))
    assert (code, "needs Pillow: pip install pillow" in error) == (1, True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--sched", "cosin"], "no schedule is called 'cosin'. Did you mean cosine?"),
        (["--sched", "plateau"], "plateau depends on more than time"),
        (["--sched-on-updates"], "must know how many an epoch has"),
        (["--plot", "lr.jpg"], "the name must end in .png or .svg"),
        (["--plot", "/no/such/folder/lr.svg"], "cannot write /no/such/folder/lr.svg"),
        (["--epochs", "0", "--sched", "constant"], "there is no epoch to draw"),
    ],
)
def test_what_cannot_be_drawn_is_one_line_on_stderr(capsys, options, message):
    code, out, error = run(capsys, *options)
    assert (code, out) == (1, "")
    assert message in error and re.fullmatch(r"hub: error: .*\n", error)


def test_none_draws_the_rate_as_it_is(capsys):
    _, out, _ = run(capsys, "--json", "--sched", "none", "--epochs", "3", "--lr", "0.5")
    assert json.loads(out)["rates"] == [0.5] * 3


def test_ticks_are_round():
    assert plotting.ticks(0.1) == [0.0, 0.02, 0.04, 0.06, 0.08, 0.1]
    assert plotting.ticks(310, most=10) == [0.0, 50.0, 100.0, 150.0, 200.0, 250.0, 300.0]
    assert plotting.ticks(0.0) == [0.0]


def test_drawing_needs_no_torch():
    code = (
        "import sys; from hub.__main__ import main;"
        "main(['lr', '--sched', 'wsd']); sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
