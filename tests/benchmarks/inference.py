"""Forward passes on the CPU: timm's network, hub's, and hub's after `hub.optimize`, in turn.

    uv run --group reference python tests/benchmarks/inference.py
    uv run --group reference python tests/benchmarks/inference.py --models resnet50 --batch 16

All have the same weights. Ratios are medians of rounds: timm's time, float32, over the other's. The
last column is the rate of a variant's products over that of one large product of matrices in its
dtype, weights packed: one minus it is what could still be gained on this machine.
"""

import argparse
import copy
import functools
import statistics
import time

import hub
import timm
import torch
from hub_inference import onednn
from torch.utils.flop_counter import FlopCounterMode

MODELS = "resnet18,resnet50,vit_small_patch16_224"
#: Rows and columns of the matrices whose product is the measure of this machine.
SIDE = 512
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def variants(name: str, batch: int, size: int, seed: int = 0) -> dict:
    """Return what is timed: name to a function without arguments, timm's in float32 first."""
    torch.manual_seed(seed)
    reference = timm.create_model(name).eval()
    for module in reference.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
    model = hub.create_model(name).eval()
    model.load_state_dict(reference.state_dict())
    x = torch.randn(batch, 3, size, size)
    calls = {}
    for key, dtype in DTYPES.items():
        y = x.to(dtype)
        for which, network in (("timm", reference), ("hub", model)):
            calls[f"{which} {key}"] = functools.partial(copy.deepcopy(network).to(dtype), y)
        calls[f"optimize {key}"] = functools.partial(hub.optimize(model, x, dtype=dtype), y)
    return calls


def product(dtype: torch.dtype, size: int = SIDE):
    """Return a call that multiplies two matrices of this size, one of them packed."""
    layer = torch.nn.Linear(size, size, dtype=dtype)
    packed = layer if onednn.unavailable() else onednn.pack(layer, (size, size))
    return functools.partial(packed, torch.randn(size, size, dtype=dtype))


def operations(name: str, batch: int, size: int) -> int:
    """Return the operations of the products of a network, as torch counts them."""
    model = hub.create_model(name, device="meta").eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.empty(batch, 3, size, size, device="meta"))
    return counter.get_total_flops()


def seconds(call, target: float) -> float:
    """Return the time of one call, over as many as fill `target` seconds."""
    count, start = 0, time.perf_counter()
    while True:
        call()
        count += 1
        spent = time.perf_counter() - start
        if spent >= target:
            return spent / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default=MODELS)
    parser.add_argument("--batch", default="1,16")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="per variant and round")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(f"torch {torch.__version__}, {args.threads} thread(s), images of {args.size} pixels\n")
    print("| network | batch | variant | ms | times timm in float32 | in its dtype | of the rate |")
    print("|---|---|---|---|---|---|---|")
    for name in args.models.split(","):
        for batch in map(int, args.batch.split(",")):
            with torch.inference_mode():
                report(name, batch, args)


def report(name: str, batch: int, args: argparse.Namespace) -> None:
    """Time and print one network at one batch size."""
    calls = variants(name, batch, args.size)
    calls |= {key: product(dtype) for key, dtype in DTYPES.items()}
    times: dict = {key: [] for key in calls}
    for call in calls.values():
        call()
    for _ in range(args.rounds):
        for key, call in calls.items():
            times[key].append(seconds(call, args.seconds))
    products = operations(name, batch, args.size) / (2 * SIDE**3)
    for key in (key for key in calls if " " in key):
        dtype = key.split()[1]
        cells = [f"{1e3 * statistics.median(times[key]):.1f}"]
        cells += [f"{ratio(times[f'timm {d}'], times[key]):.2f}" for d in ("float32", dtype)]
        cells += [f"{100 * products * ratio(times[dtype], times[key]):.0f} %"]
        print(f"| {name} | {batch} | {key} | {' | '.join(cells)} |", flush=True)


def ratio(first: list[float], second: list[float]) -> float:
    """Return the median of the ratios of two lists of times."""
    return statistics.median(a / b for a, b in zip(first, second, strict=True))


if __name__ == "__main__":
    main()
