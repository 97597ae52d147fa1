"""Networks for test_survival.py, and what runs in other processes, which import this by name."""

import pickle
import warnings

import hub
import torch
from torch import nn


def image_size(name):
    cfg = hub.get_pretrained_cfg(name)
    return cfg.input_size[-1] if cfg is not None and cfg.fixed_input_size else 64


def images(name, batch=2, seed=1):
    size = image_size(name)
    return torch.rand(batch, 3, size, size, generator=torch.Generator().manual_seed(seed))


def build(name, **kwargs):
    torch.manual_seed(0)
    model = hub.create_model(name, num_classes=10, **kwargs)
    for module in model.modules():  # residuals start at zero, which would hide most of the network
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return model.eval()


def run_pickled(data, x, queue):
    warnings.simplefilter("error")
    torch.set_num_threads(1)
    with torch.no_grad():
        queue.put([y.numpy() for y in pickle.loads(data)(x)])


def train_one(rank, port, name, queue):
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2
    )
    try:
        model = nn.parallel.DistributedDataParallel(build(name))
        x = images(name, batch=4)[2 * rank : 2 * rank + 2]
        model(x).square().mean().backward()
        queue.put((rank, [p.grad.numpy() for p in model.module.parameters()]))
    finally:
        torch.distributed.destroy_process_group()
