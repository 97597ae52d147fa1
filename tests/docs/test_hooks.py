"""docs/hooks.md: every hook is there, with its signature, and every example does what it says."""

import inspect
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import hub
import pytest
from hub import hookspecs, plugins

PAGE = (Path(__file__).parents[2] / "docs/hooks.md").read_text()
SECTIONS = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE))
PLUGIN = re.compile(r"```python plugin\n(.*?)```\n\n```python use\n(.*?)```", re.DOTALL)
SPECIFICATIONS = {
    name: function
    for namespace in (
        hookspecs,
        *(m for group in plugins.host().hook.hub_addhooks() for m in group),
    )
    for name, function in vars(namespace).items()
    if hasattr(function, "hub_spec")
}
WRAPPERS = re.findall(r"```python\n(.*?)```", SECTIONS["hub_create_model"], re.DOTALL)


def test_every_hook_is_documented_and_nothing_else():
    assert SPECIFICATIONS.keys() >= {"hub_models", "hub_addhooks"}
    assert SECTIONS.keys() == SPECIFICATIONS.keys()


@pytest.mark.parametrize("name", SPECIFICATIONS)
def test_signature_is_the_one_in_the_code(name):
    signature = str(inspect.signature(SPECIFICATIONS[name])).replace("'", "")
    assert f"\n`{name}{signature}`\n" in SECTIONS[name]


@pytest.mark.parametrize("name", SPECIFICATIONS)
def test_example_runs(name, install, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ((plugin, use),) = PLUGIN.findall(SECTIONS[name])
    install("acme", plugin)
    hub.refresh()
    exec(compile(use, f"{name} in docs/hooks.md", "exec"), {"__name__": "example"})
    assert plugins.host().plugins["acme"].status == "loaded"


@pytest.mark.parametrize(
    ("which", "use"),
    [
        (
            "peft",
            """
            names = [n for n, p in model.named_parameters() if p.requires_grad]
            assert names and all("lora_" in n for n in names), names
            assert type(model).__name__ == "VisionTransformer"
            plain = model(images)
            for name, parameter in model.named_parameters():
                if name.endswith("lora_B.default.weight"):
                    torch.nn.init.normal_(parameter)
            assert not torch.allclose(model(images), plain)
            """,
        ),
        (
            "torchao",
            """
            assert type(model.head.weight).__name__ == "Int8Tensor"
            difference = (model(images) - before(images)).norm() / before(images).norm()
            assert 0 < difference < 0.05, difference
            """,
        ),
    ],
)
@pytest.mark.slow
def test_wrapper_of_every_build(which, use, install):
    """Real adapters, real 8-bit weights: through `create_model`, in a process of its own."""
    (code,) = [code for code in WRAPPERS if f"from {which}" in code]
    folder = install("acme", code)
    script = """
    import hub, torch
    images = torch.rand(2, 3, 160, 160)
    hub.save_pretrained(hub.create_model("test_vit"), "saved")
    """
    before = "import os; os.environ['HUB_PLUGINS'] = '-acme'\n"
    load = """
    before = hub.create_model("local-dir:saved", pretrained=True).eval()
    os.environ.pop("HUB_PLUGINS")
    hub.refresh()
    model = hub.create_model("local-dir:saved", pretrained=True).eval()
    """
    text = before + "".join(map(textwrap.dedent, (script, load, use)))
    done = subprocess.run(
        [sys.executable, "-c", text],
        cwd=folder.parents[1],
        env={**os.environ, "PYTHONPATH": str(folder.parent)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
