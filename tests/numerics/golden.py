"""What is recorded of a network: its state dict as text, and its outputs for known weights.

Nothing here knows timm; `record.py` writes the files, the tests read them.
"""

import json
import math
import zlib
from pathlib import Path

import torch

HERE = Path(__file__).parent


def state_text(model: torch.nn.Module) -> str:
    """Return the names and shapes of a state dict, one line per module.

    Neighbours in a container that have the same content share lines: "layer1.1-2.bn1". Leaves of
    the same shape share an entry: "weight,bias=64". Other types than float32 are named.
    """
    tree: dict = {}
    for name, tensor in model.state_dict().items():
        *path, leaf = name.split(".")
        node = tree
        for part in path:
            node = node.setdefault(part, {})
        shape = ",".join(map(str, tensor.shape))
        kind = "" if tensor.dtype == torch.float32 else f":{str(tensor.dtype)[6:]}"
        node.setdefault("", {}).setdefault(shape + kind, []).append(leaf)
    return "\n".join(_lines(tree))


def _lines(node: dict) -> list[str]:
    lines = []
    if "" in node:
        lines.append(" " + " ".join(f"{','.join(v)}={k}" for k, v in node[""].items()))
    runs: list[list] = []  # [first name, last name, lines]
    for name, child in node.items():
        if name == "":
            continue
        inner = _lines(child)
        follows = runs and name.isdigit() and runs[-1][1].isdigit()
        if follows and int(name) == int(runs[-1][1]) + 1 and inner == runs[-1][2]:
            runs[-1][1] = name
        else:
            runs.append([name, name, inner])
    for first, last, inner in runs:
        name = first if first == last else f"{first}-{last}"
        lines += [name + line if line.startswith(" ") else f"{name}.{line}" for line in inner]
    return lines


def fill(model: torch.nn.Module) -> None:
    """Set every tensor to known values that keep activations in range, whatever the network.

    Variances are small (0.02), so that an epsilon of 1e-5 is seen in the outputs.
    """
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if not tensor.is_floating_point():
                continue
            phase = zlib.crc32(name.encode()) % 1000
            wave = torch.sin(torch.arange(tensor.numel(), dtype=torch.float64) * 1.7 + phase)
            wave = wave.reshape(tensor.shape)
            leaf = name.rpartition(".")[2]
            if leaf == "running_var":
                value = 0.02 * (1 + 0.5 * wave)
            elif tensor.ndim > 1:
                value = wave * math.sqrt(2 * 0.02 / tensor[0].numel())
            else:
                value = (leaf == "weight") + 0.1 * wave
            tensor.copy_(value)


def image(height: int, width: int) -> torch.Tensor:
    """Return two pictures: (2, 3, height, width)."""
    index = torch.arange(2 * 3 * height * width, dtype=torch.float64)
    return torch.sin(index * 0.37).reshape(2, 3, height, width)


def digest(tensor: torch.Tensor) -> list[float | list[int]]:
    """Return shape, mean, deviation and two values of a tensor."""
    flat = tensor.double().flatten()
    values = (flat.mean(), flat.std(), flat[len(flat) // 3], flat[-1])
    return [list(tensor.shape), *(float(f"{v.item():.10g}") for v in values)]


def outputs(model: torch.nn.Module, size: tuple[int, int]) -> dict[str, list]:
    """Return digests of all that a network computes of `image`, in float64 and eval mode."""
    model = model.double().eval()
    fill(model)
    x = image(*size)
    with torch.no_grad():
        features, maps = model.forward_intermediates(x)
        pooled = model.forward_head(features, pre_logits=True)
        logits = model(x)
    named = {f"level {i}": m for i, m in enumerate(maps)}
    named |= {"features": features, "pooled": pooled, "logits": logits}
    return {name: digest(tensor) for name, tensor in named.items()}


def read_states(family: str) -> dict[str, str]:
    """Return architecture to its recorded state dict."""
    text = (HERE / family / "states.txt").read_text()
    blocks = text.removeprefix("# ").removesuffix("\n").split("\n# ")
    return dict(block.split("\n", 1) for block in blocks)


def read_digests(family: str) -> dict[str, dict[str, list]]:
    """Return architecture to its recorded digests."""
    return json.loads((HERE / family / "digests.json").read_text())
