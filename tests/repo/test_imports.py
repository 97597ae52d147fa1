"""Who may import whom: no circles, no arrow that climbs, and plugins see only the front of hub."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import hub
import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "hub": ROOT / "core/src/hub",
    **{path.name: path for path in sorted(ROOT.glob("plugins/*/src/hub_*"))},
}
#: Each imports from its own line and from those before it.
FLOORS = [
    {"errors", "names", "suggest", "importing", "family", "hookspecs"},
    {"plugins"},
    {"registry"},
    {"features"},
    {"backbone"},
    {"pretrained"},
    {"builder"},
    {"cli"},
    {"builtin", "__main__", ""},
]
FAMILIES = [name for name, path in PACKAGES.items() if (path / "variants.py").is_file()]
#: Modules of hub that plugins may ask for names that its front does not have.
INSIDES = {
    "hub_inference": {"hub.backbone"},  # runs a network level by level, as its own methods do
    # Holds the parts of networks to the contract, and lists architectures as the registry does.
    "hub_kit": {"hub.backbone", "hub.errors", "hub.features", "hub.plugins", "hub.registry"},
    # Reads what it writes as the loader does: the same description, the same build, the same ties.
    "hub_publish": {
        *("hub.pretrained.adapting", "hub.pretrained.config", "hub.pretrained.noinit"),
        *("hub.pretrained.sources", "hub.registry"),
    },
}


def files(package: str) -> Iterator[tuple[str, Path]]:
    """Yield the modules of a package, by dotted name."""
    root = PACKAGES[package]
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root.parent).with_suffix("").parts
        if "template" not in parts:
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imports(name: str, path: Path) -> Iterator[tuple[str, str]]:
    """Yield module and name of what a file imports when it runs, inside functions too."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = name.split(".")[: -node.level + (path.stem == "__init__") or None]
            module = ".".join([*base, node.module or ""] if node.level else [node.module])
            yield from ((module.strip("."), alias.name) for alias in node.names)


def graph(package: str) -> dict[str, set[str]]:
    """Return each module of a package to those of the package that it imports."""
    modules = dict(files(package))
    found = {}
    for name, path in modules.items():
        asked = {f"{module}.{what}" if what else module for module, what in imports(name, path)}
        asked = {a if a in modules else a.rpartition(".")[0] for a in asked}
        found[name] = (asked & modules.keys()) - {name}
    return found


# The plugin module of hub-data lists commands and readers, which ask it for what it declares.
@pytest.mark.parametrize("package", [name for name in PACKAGES if name != "hub_data"])
def test_modules_import_each_other_in_no_circle(package):
    edges = graph(package)
    edges.pop(package)  # the front of a package, which reaches for its parts when asked
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as e:
        pytest.fail(" <- ".join(e.args[1]))


def test_no_import_of_core_climbs():
    floor = {part: level for level, parts in enumerate(FLOORS) for part in parts}
    parts = {name: name.removeprefix("hub").lstrip(".").partition(".")[0] for name in graph("hub")}
    assert set(parts.values()) == floor.keys()
    climbing = [
        f"{name} -> {other}"
        for name, others in graph("hub").items()
        for other in others
        if floor[parts[other]] > floor[parts[name]]
    ]
    assert not climbing


@pytest.mark.parametrize("package", [name for name in PACKAGES if name != "hub"])
def test_plugins_import_from_the_front_of_hub(package):
    front = {*hub.__all__, "plugins"}
    allowed = INSIDES.get(package, set())
    wrong = [
        f"{name}: {module}.{what}"
        for name, path in files(package)
        for module, what in imports(name, path)
        if module.partition(".")[0] == "hub" and {module, f"{module}.{what}"}.isdisjoint(allowed)
        if module != "hub" or (what and what not in front)
    ]
    assert not wrong


@pytest.mark.parametrize("package", FAMILIES)
def test_families_import_hub_and_its_layers_only(package):
    found = [module for item in files(package) for module, _ in imports(*item)]
    found = {module.partition(".")[0] for module in found if module.startswith("hub")}
    assert found <= {"hub", "hub_layers", package}
