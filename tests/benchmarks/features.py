"""Feature extractors, hub against timm: time of a forward, parameters held, peak of live tensors.

    uv run --group reference python tests/benchmarks/features.py

Both libraries in one process on one thread, with the same weights, in turn (A B B A ...); ratios
are medians over pairs. `peak` is the highest sum of the tensors alive during a forward above what
was alive before it, measured in a run of its own.
"""

import argparse
import statistics
import time
import weakref

import hub
import timm
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

CASES = {"all levels": None, "up to level 2": (0, 1, 2)}


class LiveMemory(TorchDispatchMode):
    """Follow the storages that operations return until they are freed."""

    def __init__(self):
        super().__init__()
        self.now = self.peak = 0
        self.known = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        given = {leaf.untyped_storage()._cdata for leaf in self._tensors((args, kwargs))}
        for tensor in self._tensors(out):
            storage = tensor.untyped_storage()
            key, size = storage._cdata, storage.nbytes()
            if key not in self.known and key not in given:
                self.known.add(key)
                self.now += size
                weakref.finalize(storage, self._free, key, size)
        self.peak = max(self.peak, self.now)
        return out

    def _free(self, key, size):
        self.known.discard(key)
        self.now -= size

    @staticmethod
    def _tensors(tree):
        return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def peak_of(model, x) -> float:
    with LiveMemory() as live:
        model(x)
    return live.peak / 2**20


def seconds(model, x) -> float:
    start = time.perf_counter()
    model(x)
    return time.perf_counter() - start


def compare(name: str, title: str, indices, x: torch.Tensor, rounds: int) -> None:
    models = {
        lib.__name__: lib.create_model(name, features_only=True, out_indices=indices).eval()
        for lib in (timm, hub)
    }
    models["hub"].load_state_dict(models["timm"].state_dict())
    for a, b in zip(*(model(x) for model in models.values()), strict=True):
        torch.testing.assert_close(a, b)
    times: dict[str, list[float]] = {lib: [] for lib in models}
    for number in range(rounds):
        for lib in sorted(models, reverse=number % 2 == 0):  # neither is always the second
            times[lib].append(seconds(models[lib], x))
    held = {lib: sum(p.numel() for p in model.parameters()) for lib, model in models.items()}
    peaks = {lib: peak_of(model, x) for lib, model in models.items()}
    print(f"\n{name}, {title}")
    for lib in models:
        print(
            f"  {lib:5} forward {statistics.median(times[lib]) * 1e3:8.2f} ms, "
            f"parameters {held[lib] / 1e6:6.2f} M, peak {peaks[lib]:7.2f} MiB"
        )
    ratio = statistics.median(a / b for a, b in zip(times["timm"], times["hub"], strict=True))
    print(
        f"  timm/hub: forward {ratio:.3f}x, parameters {held['timm'] / held['hub']:.3f}x, "
        f"peak {peaks['timm'] / peaks['hub']:.3f}x"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=["resnet50", "test_resnet"])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--size", type=int, default=224)
    args = parser.parse_args()
    torch.set_num_threads(1)
    x = torch.rand(args.batch, 3, args.size, args.size)
    with torch.inference_mode():
        for name in args.names:
            for title, indices in CASES.items():
                compare(name, title, indices, x, args.rounds)


if __name__ == "__main__":
    main()
