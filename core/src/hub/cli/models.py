"""The subcommands of `hub` that core brings. Torch is imported only where weights move."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace
from dataclasses import asdict
from importlib.resources import files
from typing import Any

from hub import plugins, registry
from hub.hookspecs import Command


def _list_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("pattern", nargs="*", help="wildcards, e.g. '*resnet*'; all if none")
    parser.add_argument("--family", action="append", default=[], help="only of this family")
    parser.add_argument("--pretrained", action="store_true", help="arch.tag of what has weights")
    parser.add_argument("--json", action="store_true", help="print a JSON list of names")


def _list(args: Namespace) -> int:
    names = registry.list_models(args.pattern, module=args.family, pretrained=args.pretrained)
    if args.json:
        print(json.dumps(names))
    elif names:
        print("\n".join(names))
    elif registry.list_modules():
        wanted = " ".join(args.pattern + args.family)
        print(f"hub: nothing installed matches {wanted}", file=sys.stderr)
    else:
        print("hub: no models are installed: pip install hub-resnet", file=sys.stderr)
    return 0 if names else 1


def _info_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("name", help="[plugin/]architecture[.tag]")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def facts_of(architecture: registry.Architecture) -> dict[str, Any]:
    """Return what a plugin recorded of an architecture in its `facts.json`; empty where it did not.

    `params`: number of parameters; `levels`: channels, reduction and module of each feature level.
    """
    if architecture.family is None:
        return {}
    package = architecture.family.model.partition(".")[0].partition(":")[0]
    path = files(package) / "facts.json"
    facts = json.loads(path.read_text()) if path.is_file() else {}
    return dict(facts.get(architecture.name, {}))


def describe(model_name: str) -> dict[str, Any]:
    """Return what the tables say about a model, ready for JSON."""
    architecture, tag = registry.find(model_name)
    weights = architecture.weights_for(tag)
    owner = plugins.host().plugins.get(architecture.plugin)
    return {
        "architecture": architecture.name,
        "family": architecture.module,
        "plugin": architecture.plugin,
        "distribution": f"{owner.distribution} {owner.version}" if owner else None,
        **facts_of(architecture),
        "tags": [t for t in architecture.weights if t],
        "weights": weights.to_dict() if weights else None,
    }


def _info(args: Namespace) -> int:
    facts = describe(args.name)
    if args.json:
        print(json.dumps(facts, default=asdict))
        return 0
    rows = [
        ("architecture", facts["architecture"]),
        ("family", facts["family"]),
        ("plugin", f"{facts['plugin']} ({facts['distribution'] or 'registered at run time'})"),
        ("parameters", f"{facts['params']:,}" if "params" in facts else "not recorded"),
    ]
    if "levels" in facts:
        rows += [
            ("features", "  ".join(f"{name}: {c} /{r}" for c, r, name in facts["levels"])),
        ]
    weights = facts["weights"] or {}
    if weights:
        rows += _weight_rows(weights)
    tags = ", ".join(facts["tags"]) or "none"
    rows.append(("tags", tags))
    print("\n".join(f"{label:<13} {value}" for label, value in rows))
    return 0


def _weight_rows(weights: dict[str, Any]) -> list[tuple[str, str]]:
    size = "x".join(map(str, weights["input_size"]))
    test = weights.get("test_input_size")
    source = weights.get("hf_hub_id") or weights.get("url") or weights.get("file")
    return [
        ("weights", f"{weights.get('tag') or 'untagged'}: {source or 'none, architecture only'}"),
        ("input", size + (f", {'x'.join(map(str, test))} for evaluation" if test else "")),
        (
            "preprocessing",
            f"{weights['interpolation']}, crop {weights['crop_pct']}, mean {weights['mean']}, "
            f"std {weights['std']}",
        ),
        ("classes", str(weights["num_classes"])),
        ("licence", weights.get("license") or "not stated"),
        ("origin", weights.get("origin_url") or "not stated"),
    ]


COMMANDS = (
    Command(name="list", help="names of architectures", add_arguments=_list_arguments, run=_list),
    Command(
        name="info",
        help="what is known of one architecture",
        add_arguments=_info_arguments,
        run=_info,
    ),
)
