"""What users write type-checks: the blocks of README and docs, and the names of `hub`."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hub import plugins

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
#: A line of a user, and what the checker says of it: an error, or the type it reveals.
USER = """
import hub, torch
from typing import Any, reveal_type as see

x = torch.rand(1, 3, 64, 64)
net = hub.create_model("resnet18", True, num_classes=10)
maps = hub.create_model("resnet18", features_only=True, out_indices=(1, -1))
held = hub.create_model("resnet18", features_only=True, feature_cls="getter")
see(net(x))  # "torch._tensor.Tensor"
see(maps(x))  # "list[torch._tensor.Tensor]"
see(net.as_features()(x))  # "list[torch._tensor.Tensor]"
see(net.forward_features(x))  # "torch._tensor.Tensor"
see(net.forward_intermediates(x))  # "tuple[torch._tensor.Tensor, list[torch._tensor.Tensor]]"
see(net.forward_intermediates(x, intermediates_only=True))  # "list[torch._tensor.Tensor]"
see(net.num_features + net.num_classes)  # "int"
see(net.pretrained_cfg)  # "dict[str, Any]"
see(net.get_classifier())  # "torch.nn.modules.module.Module"
see(maps.feature_info.channels())  # "list[int]"
see(maps.feature_info.reduction(0))  # "int"
see(held.feature_info.module_name())  # "list[str]"
see(hub.optimize(net)(x))  # "torch._tensor.Tensor"
see(hub.optimize(maps).optimization.left)  # "dict[str, str]"
see(hub.fuse(net).num_features)  # "int"
see(hub.reparameterize_model(net, inplace=True).num_classes)  # "int"
see(hub.freeze(net, upto="layer2"))  # "list[str]"
see(hub.group_parameters(net, net.group_matcher()))  # "dict[int, list[str]]"
see(hub.model_entrypoint("resnet18")().num_features)  # "int"
see(hub.preprocessing(net))  # "dict[str, Any]"
see(hub.__version__)  # "str"
hub.save_pretrained(net, "folder")
hub.unfreeze(maps)


class Mine(hub.Backbone):
    def __init__(self) -> None:
        super().__init__()


@hub.register_model
def mine(pretrained: bool = False, **kwargs: Any) -> hub.Backbone:
    return hub.build_model_with_cfg(Mine, "mine", pretrained, **kwargs)


def run(own: Mine) -> torch.Tensor:
    return own(x)


see(mine().num_classes)  # "int"
hub.creat_model("resnet18")  # has no attribute "creat_model"
hub.Bakbone  # has no attribute "Bakbone"
hub.create_model(18)  # matches argument type "int"
hub.list_models(pretraind=True)  # Unexpected keyword argument "pretraind"
"""


@pytest.fixture(scope="module")
def said(pytestconfig, tmp_path_factory):
    """What mypy says, by file and line, as a user runs it: strict, none of our own settings."""
    folder = tmp_path_factory.mktemp("typed")
    files = {"user.py": ("", USER)}
    for page in PAGES:
        for i, block in enumerate(re.finditer(r"```python.*\n((?s:.*?))```", page.read_text())):
            lines = block.string[: block.start(1)].count("\n")  # an error then has the page's line
            name = f"{'_'.join(page.relative_to(ROOT).with_suffix('').parts)}_{i}.py"
            files[name] = (str(page.relative_to(ROOT)), "\n" * lines + block[1])
    for name, (_, code) in files.items():
        (folder / name).write_text(code)
    cache = pytestconfig.cache.mkdir("mypy")
    options = ["--strict", "--config-file=", f"--cache-dir={cache}", "--output=json"]
    command = [sys.executable, "-m", "mypy", *options, "--scripts-are-modules", *files]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr + done.stdout
    found = {}
    for line in map(json.loads, done.stdout.splitlines()):
        place = (files[line["file"]][0], line["line"])
        found.setdefault(place, []).append(line["message"])
    return found


@pytest.mark.slow
def test_every_block_of_the_pages_type_checks(said):
    found = [f"{p}:{line}: {text}" for (p, line), texts in said.items() if p for text in texts]
    assert not found, "\n" + "\n".join(sorted(found))


@pytest.mark.slow
def test_checker_knows_what_hub_hands_out_and_finds_what_is_not_there(said):
    wanted = {i + 1: line.partition("  # ")[2] for i, line in enumerate(USER.splitlines())}
    wanted = {line: text for line, text in wanted.items() if text}
    found = {line: texts[0] for (page, line), texts in said.items() if not page}
    assert found.keys() == wanted.keys(), {k: found[k] for k in found.keys() - wanted.keys()}
    for line, text in wanted.items():
        assert text in found[line], (USER.splitlines()[line - 1], found[line])


def test_checker_knows_the_attributes_of_official_plugins():
    code = (ROOT / "core/src/hub/__init__.py").read_text()
    for entry in plugins.known().values():
        for name in entry["attributes"]:
            assert f" import {name} as {name}\n" in code.replace("  # and all of known.json", "")


def test_every_package_says_that_it_is_typed():
    packages = [ROOT / "core/src/hub", *ROOT.glob("plugins/*/src/hub_*")]
    assert len(packages) > 5 and all((package / "py.typed").is_file() for package in packages)
