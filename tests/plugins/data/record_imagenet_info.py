"""Compare the label tables of hub-data with timm's, and write them anew from timm's files.

    uv run --group reference python tests/plugins/data/record_imagenet_info.py           # compare
    uv run --group reference python tests/plugins/data/record_imagenet_info.py --record  # and write

Exit status 1 when they differ.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from pathlib import Path

import hub_data
import hub_data.imagenet_info
import hub_data.real_labels
import timm.data

THEIRS = Path(timm.data.__file__).with_name("_info")
OURS = Path(hub_data.__file__).with_name("info")
FILES = {
    "k": "imagenet_synsets.txt",
    "t": "imagenet12k_synsets.txt",
    "g": "imagenet21k_goog_synsets.txt",
    "f": "imagenet22k_synsets.txt",
    "s": "imagenet22k_ms_synsets.txt",
    "m": "imagenet21k_miil_synsets.txt",
    "w": "imagenet21k_miil_w21_synsets.txt",
    "a": "imagenet_a_synsets.txt",
    "r": "imagenet_r_synsets.txt",
    "i": "mini_imagenet_synsets.txt",
}
INDICES = {
    ("imagenet-12k", "imagenet-21k-goog"): "imagenet21k_goog_to_12k_indices.txt",
    ("imagenet-22k", "imagenet-21k-goog"): "imagenet21k_goog_to_22k_indices.txt",
    ("imagenet-12k", "imagenet-22k-ms"): "imagenet22k_ms_to_12k_indices.txt",
    ("imagenet-22k", "imagenet-22k-ms"): "imagenet22k_ms_to_22k_indices.txt",
    ("imagenet-12k", "imagenet-22k"): "imagenet22k_to_12k_indices.txt",
    ("imagenet-a", "imagenet-1k"): "imagenet_a_indices.txt",
    ("imagenet-r", "imagenet-1k"): "imagenet_r_indices.txt",
    ("mini-imagenet", "imagenet-1k"): "mini_imagenet_indices.txt",
}


def lines(name: str) -> list[str]:
    return (THEIRS / name).read_text(encoding="utf-8").splitlines()


def write(name: str, rows: list[str]) -> None:
    text = "\n".join(rows) + "\n"
    (OURS / name).write_bytes(gzip.compress(text.encode(), compresslevel=9, mtime=0))


def record() -> None:
    members = {letter: set(lines(name)) for letter, name in FILES.items()}
    lemmas = dict(line.split("\t") for line in lines("imagenet_synset_to_lemma.txt"))
    definitions = dict(line.split("\t") for line in lines("imagenet_synset_to_definition.txt"))
    rows = []
    for synset in sorted(lemmas):
        letters = "".join(letter for letter, names in members.items() if synset in names)
        rows.append("\t".join([synset, letters, lemmas[synset], definitions[synset]]))
    write("imagenet.tsv.gz", rows)
    real = json.loads((THEIRS / "imagenet_real_labels.json").read_text())
    write("real_labels.txt.gz", [" ".join(map(str, labels)) for labels in real])


def compare() -> list[str]:
    wrong = []
    for name, letter in hub_data.imagenet_info.SUBSETS.items():
        ours = hub_data.ImageNetInfo(name)
        if ours.label_names() != lines(FILES[letter]):
            wrong.append(name)
        if letter in "wari":
            continue
        theirs = timm.data.ImageNetInfo(name)
        for detailed in (False, True):
            if ours.label_descriptions(detailed) != theirs.label_descriptions(detailed):
                wrong.append(f"{name} detailed={detailed}")
    for (subset, within), name in INDICES.items():
        if hub_data.imagenet_indices(subset, within) != [int(line) for line in lines(name)]:
            wrong.append(name)
    real = json.loads((THEIRS / "imagenet_real_labels.json").read_text())
    if hub_data.real_labels._packaged_labels() != real:
        wrong.append("ReaL")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", action="store_true", help="write the tables")
    if parser.parse_args().record:
        record()
    wrong = compare()
    print("differ: " + ", ".join(wrong) if wrong else "all tables are equal")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
