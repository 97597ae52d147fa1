"""Record the reference: state dicts of all variants that hub has, outputs of the small ones.

    uv run --group reference python tests/numerics/record.py resnet

Needs timm; the tests that read the files do not.
"""

import argparse
import gc
import json

import hub
import timm
import torch
from golden import HERE, outputs, state_text

MAX_PARAMETERS = 30e6
# Odd and unequal, which shows most of strides and padding; not all networks take it. A network of
# fixed size is recorded at that.
SIZES = (75, 93), (64, 96)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("family", help="a family of hub, which is a module of timm")
    family = parser.parse_args().family
    states, digests = [], {}
    for name in hub.list_models(module=family):
        with torch.device("meta"):
            model = timm.create_model(name)
        states.append(f"# {name}\n{state_text(model)}\n")
        if sum(p.numel() for p in model.parameters()) <= MAX_PARAMETERS:
            digests[name] = record_outputs(name)
            gc.collect()
    folder = HERE / family
    folder.mkdir(exist_ok=True)
    (folder / "states.txt").write_text("".join(states))
    lines = (f"{json.dumps(name)}: {json.dumps(digest)}" for name, digest in digests.items())
    (folder / "digests.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


def record_outputs(name: str) -> dict:
    cfg = timm.get_pretrained_cfg(name)
    sizes = [cfg.input_size[1:]] if cfg is not None and cfg.fixed_input_size else SIZES
    for size in sizes:
        try:
            return {"size": size, **outputs(timm.create_model(name), size)}
        except RuntimeError as e:
            print(f"{name} at {size}: {e}")
    raise SystemExit(f"{name} takes none of {sizes}")


if __name__ == "__main__":
    main()
