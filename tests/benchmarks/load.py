"""Pretrained weights of this machine, hub against timm: time and memory to a ready network.

    uv run --group reference python tests/benchmarks/load.py

A file of the user's own is read; one that lies in the cache of the Hugging Face Hub is mapped.
Each measurement is a fresh process; the libraries are imported before its clock starts, and the
file is in the page cache. `memory` is anonymous memory (not the mapped file) after the load, in
percent of the weights; `peak` the highest resident memory above that before the load.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

COMMIT = "0" * 40  # a full commit is looked for in the cache alone

CHILD = r"""
import json, sys, time
lib, name, overlay = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
import torch, safetensors.torch
from huggingface_hub import hf_hub_download, try_to_load_from_cache
torch.set_num_threads(1)
hub = __import__(lib)
hub.create_model("test_resnet")  # whatever is imported late is imported now
x = torch.sin(torch.arange(3 * 224 * 224.)).view(1, 3, 224, 224)
torch.nn.Conv2d(3, 8, 3)(x)

def status(key):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(key)) / 1024

rss, own = status("VmRSS"), status("RssAnon")
open("/proc/self/clear_refs", "w").write("5")  # peak from here
start = time.perf_counter()
kwargs = dict(pretrained=True, pretrained_cfg_overlay=overlay) if overlay else {}
model = hub.create_model(name, **kwargs).eval()
load = time.perf_counter() - start
peak, own = status("VmHWM") - rss, status("RssAnon") - own
start = time.perf_counter()
with torch.inference_mode():
    y = model(x)
forward = time.perf_counter() - start
print(json.dumps(dict(load=load, forward=forward, peak=peak, own=own, check=y.sum().item())))
"""


def measure(lib: str, name: str, overlay: dict[str, str]) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CHILD, lib, name, json.dumps(overlay)],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout)


def compare(name: str, what: str, overlay: dict[str, str], rounds: int, size: float) -> None:
    rows: dict[str, list[dict[str, float]]] = {"timm": [], "hub": []}
    for lib in rows:
        measure(lib, name, overlay)
    for _ in range(rounds):
        for lib, found in rows.items():
            found.append(measure(lib, name, overlay))
    if overlay:
        checks = {round(row["check"], 3) for found in rows.values() for row in found}
        assert len(checks) == 1, f"{name}: outputs differ: {checks}"

    def median(lib: str, key: str) -> float:
        return statistics.median(row[key] for row in rows[lib])

    def ratio(cost) -> float:
        pairs = zip(rows["timm"], rows["hub"], strict=True)
        return statistics.median(cost(a) / cost(b) for a, b in pairs)

    print(f"\n{name}, {what}")
    for lib in rows:
        print(
            f"  {lib:5} load {median(lib, 'load'):.4f} s, forward {median(lib, 'forward'):.3f} s, "
            f"memory {median(lib, 'own') / size:.1%}, peak {median(lib, 'peak') / size:.0%}"
        )
    print(
        f"  timm/hub: load {ratio(lambda r: r['load']):.1f}x, "
        f"load + forward {ratio(lambda r: r['load'] + r['forward']):.1f}x"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=["resnet50"])
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"HF_HUB_CACHE": folder, "HF_HUB_OFFLINE": "1"}
        for name in args.names:
            import timm
            import torch
            from safetensors.torch import save_file

            state = timm.create_model(name).state_dict()
            size = sum(t.nbytes for t in state.values()) / 2**20
            snapshot = Path(folder, f"models--org--{name}", "snapshots", COMMIT)
            snapshot.mkdir(parents=True)
            save_file(state, snapshot / "model.safetensors")
            torch.save(state, snapshot / "pytorch_model.pth")
            del state
            for file in snapshot.iterdir():
                own = dict(file=str(file))
                cached = dict(hf_hub_id=f"org/{name}@{COMMIT}", hf_hub_filename=file.name)
                compare(name, f"own {file.suffix}", own, args.rounds, size)
                compare(name, f"cached {file.suffix}", cached, args.rounds, size)
            compare(name, "no weights", {}, args.rounds, size)


if __name__ == "__main__":
    main()
