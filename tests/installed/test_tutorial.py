"""docs/plugins.md, word for word: commands and files in the order of the page."""

import re

import pytest
from environments import ROOT, Environment

BLOCK = re.compile(r"^```(sh|python \S+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def _without_counts(text):
    """The kit gains checks, and machines differ in speed: neither makes the page untrue."""
    return re.sub(r"\.{2,}|\d[\d.]*", "#", text)


@pytest.mark.slow
def test_tutorial_ends_at_a_published_package(tmp_path, third_party, wheels):
    page = (ROOT / "docs/plugins.md").read_text()
    steps = []
    for kind, text in BLOCK.findall(page):
        path = kind.removeprefix("python ")
        steps.append(text if kind == "sh" else f"cat > {path} <<'END'\n{text}END\n")
    assert len(steps) == 6
    site = third_party("hub-core", "hub-kit", "hub-layers", "pytest", "uv_build")
    env = Environment(tmp_path, site, with_pip=True)
    done = env.run(
        "bash",
        "-exc",
        "\n".join(steps),
        # pip finds hub among the wheels and the rest installed; nothing is fetched.
        PIP_NO_INDEX="1",
        PIP_FIND_LINKS=str(wheels),
        PIP_NO_BUILD_ISOLATION="0",
        PIP_DISABLE_PIP_VERSION_CHECK="1",
        PYTHONPATH=str(site),
    )
    log = done.stdout + done.stderr
    assert done.returncode == 0, log
    shown = re.search(r"```\n(mosaic/mosaic .*?)```", page, re.DOTALL)[1].strip()
    assert _without_counts(shown) in _without_counts(done.stdout), log
    assert "mosaic_b\nmosaic_s\ntest_mosaic\n" in done.stdout, log
    assert "3 architectures, " in done.stdout and "no problems" in done.stdout, log
    assert done.stdout.rstrip().endswith("256"), log
