"""docs/contract.md: every statement is there, its networks keep the contract, its links lead on."""

import ast
import inspect
import re
from pathlib import Path

import hub
import pytest
from hub.backbone.stated import Stated
from hub_kit import conformance

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "contract.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.S | re.M)
LINK = re.compile(r"\]\(((?!https?:)[^)#]*)(#[^)]*)?\)")


def networks():
    """Return the networks of the page by name, each without the lines that use it."""
    found = {}
    for code in BLOCKS:
        tree = ast.parse(code)
        classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
        if classes and ast.unparse(classes[-1].bases[0]) == "Backbone":
            last = classes[-1].end_lineno
            found[classes[-1].name] = "".join(code.splitlines(keepends=True)[:last])
    del found["Misspelt"]  # which is there for its error
    return found


NETWORKS = networks()


def sections(page):
    """Return the anchors of a page's headings."""
    titles = re.findall(r"^#+ (.*)$", page, re.M)
    return {"#" + re.sub(r"[^\w\- ]", "", title).lower().replace(" ", "-") for title in titles}


def public(cls):
    return {n for n in (*vars(cls), *vars(cls).get("__annotations__", {})) if n[0] != "_"}


def test_every_statement_is_on_the_page():
    of_hub = {"pretrained_cfg", "default_cfg", "optimization", "head_names"}
    missing = {n for n in public(Stated) - of_hub if not re.search(rf"\b{n}\b", PAGE)}
    assert not missing


def test_what_is_never_overridden_is_named():
    table = PAGE[PAGE.index("## What may be replaced") : PAGE.index("## Traps")]
    final = {n for n, m in inspect.getmembers(hub.Backbone, inspect.isfunction) if is_final(m)}
    final |= {n for n, m in inspect.getmembers(hub.Backbone) if is_final(getattr(m, "fget", None))}
    assert "forward_features" in final and "is_part" in final
    assert {n for n in final if f"`{n}`" not in table} == set()


def is_final(member):
    return getattr(member, "__final__", False)


def test_every_section_that_the_kit_points_to_is_there():
    folder = Path(inspect.getfile(conformance)).parent
    named = {
        s
        for f in folder.rglob("*.py")
        for s in re.findall(r'@promise\(\s*"([\w-]+)"', f.read_text())
    }
    assert len(named) > 15
    assert {f"#{s}" for s in named} <= sections(PAGE)


@pytest.mark.parametrize("page", sorted(p.name for p in DOCS.glob("*.md")))
def test_links_lead_to_what_is_there(page):
    text = re.sub(r"^```.*?^```", "", (DOCS / page).read_text(), flags=re.S | re.M)
    for path, anchor in LINK.findall(text):
        assert not path or (DOCS / path).exists(), path
        if anchor:
            assert anchor in sections((DOCS / path).read_text() if path else text), (path, anchor)


def test_the_page_has_the_kinds_that_it_lists():
    assert len(NETWORKS) >= 18


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_of_the_page_keep_the_contract(name, install):
    plugin = name.lower()  # one for each: dynamo remembers code by its file and module
    install(plugin, _plugin(name, plugin))
    hub.refresh()
    report = conformance.run(plugin)
    assert report.ok and len(report.names) == 1, report


def _plugin(name, plugin):
    """Return a plugin of one module, which holds a network of the page."""
    return f'''{NETWORKS[name]}

from hub import Family, hookimpl


@hookimpl
def hub_models():
    variants = {{"test_{plugin}": {{}}}}
    return [Family(name="{plugin}", model=f"{{__name__}}:{name}", variants=variants)]
'''
