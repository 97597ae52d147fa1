"""One of two processes that hold parameters together; test_sharding.py starts both.

    python tests/plugins/optim/sharded.py RANK STORE NAME...

It writes `ok` for each optimizer that steps parts as it steps whole parameters, or the difference.
"""

from __future__ import annotations

import sys
import warnings
from typing import Any

import torch
import torch.distributed as dist
from hub_optim import create_optimizer_v2
from optimizer_cases import CASES
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import Partial, Replicate, Shard, distribute_tensor
from trajectory import wave

# Uneven parts, and one of which a process has nothing; as many channels as factoring asks for.
SHAPES = {"weight": (21, 18), "conv": (5, 6, 3, 3), "bias": (17,), "one": (1, 30)}
# How tensor parallelism may spread a parameter, and what it may give as its gradient.
SPREAD = {"rows": Shard(1), "norm": Replicate()}
STEPS = 6


def value(name: str, phase: float) -> Tensor:
    shape = SHAPES.get(name) or {"rows": (18, 25), "norm": (9,)}[name]
    return wave(shape, phase + len(name)) * 0.3


class Holder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        for name in SHAPES:
            self.register_parameter(name, nn.Parameter(value(name, 0.0)))


def plain() -> dict[str, nn.Parameter]:
    return {name: nn.Parameter(value(name, 0.0)) for name in (*SHAPES, *SPREAD)}


def spread(mesh: DeviceMesh) -> dict[str, nn.Parameter]:
    model = Holder()
    fully_shard(model, mesh=mesh)
    parts = {
        n: nn.Parameter(distribute_tensor(value(n, 0.0), mesh, [s])) for n, s in SPREAD.items()
    }
    return dict(model.named_parameters()) | parts


def train(params: dict[str, nn.Parameter], opt: str, steps: range, state: Any = None) -> Any:
    options = CASES[opt].arguments() | CASES[opt].precise()
    optimizer = create_optimizer_v2(list(params.values()), **options)
    if state is not None:
        optimizer.load_state_dict(state)
    for step in steps:
        for i, (name, p) in enumerate(params.items()):
            p.grad = None
            if (step + i) % 5:  # now and then a parameter has none
                p.grad = gradient(p, value(name, 0.7 * step))
        optimizer.step()
    return optimizer


def gradient(p: Tensor, whole: Tensor) -> Tensor:
    """Return a gradient as training gives it: of a copy, as a sum still to be taken."""
    if not hasattr(p, "placements"):
        return whole
    if p.placements[0] != Replicate():
        return distribute_tensor(whole, p.device_mesh, p.placements)
    share = whole * (0.25 if dist.get_rank() else 0.75)
    return torch.distributed.tensor.DTensor.from_local(share, p.device_mesh, [Partial()])


def off(opt: str, mesh: DeviceMesh) -> float:
    """Return the largest difference, where half of the way goes on from a checkpoint."""
    expected, found = plain(), spread(mesh)
    half = train(found, opt, range(STEPS // 2)).state_dict()
    train(found, opt, range(STEPS // 2, STEPS), half)
    train(expected, opt, range(STEPS))
    return max((found[n].full_tensor() - p).abs().max().item() for n, p in expected.items())


def main(rank: str, store: str, names: list[str]) -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=int(rank), world_size=2)
    mesh = init_device_mesh("cpu", (2,))
    for opt in names:
        try:
            error = off(opt, mesh)
            print(opt, "ok" if error < 1e-10 else f"is off by {error:.1e}", flush=True)
        except Exception as e:
            print(opt, type(e).__name__, str(e).replace("\n", " ")[:200], flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
