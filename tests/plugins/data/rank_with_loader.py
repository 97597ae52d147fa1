"""One rank of two that trains with a loader: `python rank_with_loader.py RANK MEETING_FILE ROOT`.

Prints the samples that it saw for several seeds, and what both ranks could not read.
"""

import json
import sys

import torch
import torch.distributed as dist
from hub_data import create_dataset, create_loader

OPTIONS = dict(
    input_size=(3, 16, 16),
    batch_size=2,
    is_training=True,
    distributed=True,
    num_workers=0,
    device="cpu",
)


def order(root: str, **options: object) -> list[int]:
    dataset = create_dataset("", root)
    return list(create_loader(dataset, **(OPTIONS | options)).sampler)


def main(rank: int, meeting: str, root: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    torch.manual_seed(rank)
    seen = {
        name: order(root, **options)
        for name, options in {
            "1": dict(seed=1),
            "1 again": dict(seed=1),
            "2": dict(seed=2),
            "of each rank": dict(seed=1 + rank),
            "none": {},
            "none again": {},
            "repeated": dict(seed=1, num_aug_repeats=2),
            "repeated, other": dict(seed=2, num_aug_repeats=2),
        }.items()
    }
    loader = create_loader(create_dataset("", root), seed=1, **OPTIONS)
    passes = 0
    for _ in range(2):
        for _ in loader:
            if rank == 1:
                break  # rank 0 goes on, ends its pass and must not wait
        passes += 1
    report = loader.report_faults()
    print(json.dumps([seen, passes, report.count, report.samples]), flush=True)
    dist.barrier()


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
