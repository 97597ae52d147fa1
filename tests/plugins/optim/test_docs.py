"""Promises about docs/optim.md beyond that its Python runs: nothing is missing, commands work."""

import re
from pathlib import Path

from hub.__main__ import main
from hub_optim.catalog import CATALOG
from hub_optim.schedule_registry import SCHEDULES

PAGE = (Path(__file__).parents[3] / "docs/optim.md").read_text()


def test_every_schedule_and_the_number_of_optimizers_are_on_the_page():
    for name in (*SCHEDULES, "none"):
        assert f"`{name}`" in PAGE, name
    assert f"{len(CATALOG)} optimizers" in PAGE
    assert len(SCHEDULES) == 9 and "ten schedules" in PAGE  # with none


def test_commands_on_the_page_work(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    commands = re.findall(r"^    hub (.*)$", PAGE, re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        assert main(command.split()) == 0
    assert (tmp_path / "lr.png").exists()
