"""One optimizer step, hub against timm: time and memory, on the parameters of a ViT.

    uv run --group reference python tests/benchmarks/optim.py
    uv run --group reference python tests/benchmarks/optim.py --opts lamb,lion --models vit_base

No network runs: gradients are fixed random numbers. Each library steps in its own process, and the
processes take turns. `fresh` is a process that has done nothing else; in a `used` one a buffer of
32 MiB has been freed, as training does: glibc then keeps what temporaries free, and optimizers
that write many of them get two to four times faster. A ratio above 1 means that hub needs less.
`MiB` is the most that states and temporaries of the first three steps hold together: of tensors,
so that what the compiler of torch takes is not in it, nor what malloc keeps.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys

MODELS = {"vit_small": "vit_small_patch16_224", "vit_base": "vit_base_patch16_224"}
OPTIMIZERS = (
    "sgd momentum adam adamw nadam radam adamax adagrad adadelta rmsprop nadamw adabelief "
    "radabelief adan adanw adopt laprop lion madgrad mars rmsproptf novograd sgdw lamb lambc lars "
    "adamwlegacy nadamlegacy radamlegacy cadamw cnadamw clion csgdw clamb adamp sgdp adafactor "
    "adafactorbv muon kron"
)
COMPILED = ("nadamw", "adabelief", "lion")

CHILD = r"""
import itertools, json, sys, time
lib, name, shapes, options, steps, used = json.loads(sys.stdin.readline())
import torch
from torch.profiler import ProfilerActivity
torch.set_num_threads(1)
if lib == "timm":
    from timm.optim import create_optimizer_v2
else:
    from hub_optim import create_optimizer_v2
if used:
    torch.empty((1 << 25) - (1 << 14), dtype=torch.uint8)

def peak_bytes(run):
    with torch.profiler.profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profile:
        run()
    events = profile.profiler.kineto_results.events()
    changes = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    return max(itertools.accumulate(size for _, size in changes))

def step():
    start = time.perf_counter()
    optimizer.step()
    return 1e3 * (time.perf_counter() - start)

random = torch.Generator().manual_seed(0)
params = [torch.nn.Parameter(torch.randn(s, generator=random) * 0.02) for s in shapes]
for p in params:
    p.grad = torch.randn(p.shape, generator=random) * 1e-3
# Whatever is imported late is imported now, and what is compiled is compiled: large enough for it.
first = [torch.nn.Parameter(torch.ones(shape)) for shape in [(256, 256), (256,)]]
for p in first:
    p.grad = torch.ones_like(p)
warm = create_optimizer_v2(first, opt=name, lr=1e-3, weight_decay=0.05, **options)
warm.step(), warm.step(), warm.step()
del warm, first
optimizer = create_optimizer_v2(params, opt=name, lr=1e-3, weight_decay=0.05, **options)
print(json.dumps(peak_bytes(lambda: (step(), step(), step())) / 2**20), flush=True)
for _ in sys.stdin:
    print(json.dumps([step() for _ in range(steps)]), flush=True)
"""


class Child:
    """One library, one optimizer, one process; it steps when asked to."""

    def __init__(self, lib, name, shapes, options, steps, used):
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", CHILD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            text=True,
        )
        self.peak = self.ask([lib, name, shapes, options, steps, used])

    def ask(self, question):
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError("the process has failed")
        return json.loads(answer)

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def compare(name, shapes, options, args, used):
    children = {}
    try:
        for lib in ("timm", "hub"):
            chosen = options if lib == "hub" else {}
            children[lib] = Child(lib, name, shapes, chosen, args.steps, used)
        times = {lib: [] for lib in children}
        for _ in range(args.rounds):
            for lib, child in children.items():
                times[lib] += child.ask("step")
        return {lib: (statistics.median(times[lib]), children[lib].peak) for lib in children}
    finally:
        for child in children.values():
            child.close()


def shapes_of(model):
    code = (
        "import json, timm, torch\nwith torch.device('meta'):\n"
        f"    model = timm.create_model({model!r})\n"
        "print(json.dumps([list(p.shape) for p in model.parameters()]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def report(name, measured):
    (timm, timm_peak), (hub, hub_peak) = measured["timm"], measured["hub"]
    times = f"{timm:>10.1f}{hub:>10.1f}{timm / hub:>9.2f}x"
    print(f"{name:<22}{times}{timm_peak:>12.0f}{hub_peak:>10.0f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--opts", default=OPTIMIZERS.replace(" ", ","))
    parser.add_argument("--rounds", type=int, default=5, help="turns of both processes")
    parser.add_argument("--steps", type=int, default=3, help="steps per turn")
    parser.add_argument("--state", choices=["fresh", "used"], default="used")
    args = parser.parse_args()
    for model in args.models.split(","):
        shapes = shapes_of(MODELS[model])
        print(f"\n{MODELS[model]}, {args.state} process, one thread: ms per step, MiB")
        print(f"{'':<22}{'timm':>10}{'hub':>10}{'':>10}{'timm MiB':>12}{'hub MiB':>10}")
        for name in args.opts.split(","):
            forms = [{}] + [dict(compile=True)] * (name in COMPILED)
            for options in forms:
                label = name + " compiled" * bool(options)
                try:
                    report(label, compare(name, shapes, options, args, args.state == "used"))
                except RuntimeError:
                    print(f"{label:<22}    does not run in one of the two")


if __name__ == "__main__":
    main()
