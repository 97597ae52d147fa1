"""One rank of two that reads damaged samples and prints its report: `python ... RANK MEETING_FILE`.

A process of its own: one that is forked from a test inherits locks of threads that it has not.
"""

import json
import sys

import torch.distributed as dist
from hub_data import ImageDataset
from make_images import Listed, encoded

DAMAGED = ({3, 5}, {1, 3, 5})
READ = ((5,), (0, 1))


def main(rank: int, meeting: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    samples = [(b"damaged" if n in DAMAGED[rank] else encoded(n), n) for n in range(6)]
    data = ImageDataset(None, Listed(*samples))
    for index in READ[rank]:
        data[index]
    report = data.report_faults()
    print(json.dumps([report.count, report.samples]), flush=True)
    dist.barrier()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
