"""Models saved by hub load in timm, and the other way round, to equal outputs.

uv run --group reference python tests/core/against_timm.py
"""

import sys
import tempfile

import hub
import timm
import timm.models
import torch

CASES = [
    ("test_resnet", {}),
    ("test_resnet", dict(num_classes=7, in_chans=1, global_pool="avgmax")),
    ("resnet18", dict(num_classes=3, act_layer="silu", drop_rate=0.2)),
    ("resnetblur18", dict(output_stride=16)),
    ("ecaresnet50d_pruned", {}),
    ("resnetrs50", dict(block_args=dict(attn_layer="se"))),
]


def difference(a: torch.nn.Module, b: torch.nn.Module) -> float:
    x = torch.rand(2, a.in_chans, 64, 64)
    with torch.no_grad():
        return (a.eval()(x) - b.eval()(x)).abs().max().item()


def main() -> int:
    worst = 0.0
    for name, kwargs in CASES:
        with tempfile.TemporaryDirectory() as folder:
            ours = hub.create_model(name, zero_init_last=False, **kwargs)
            hub.save_pretrained(ours, folder)
            theirs = timm.create_model(f"local-dir:{folder}", pretrained=True)
            there = difference(ours, theirs)
        with tempfile.TemporaryDirectory() as folder:
            theirs = timm.create_model(name, zero_init_last=False, **kwargs)
            args = dict(zero_init_last=False, **kwargs)
            timm.models.save_for_hf(theirs, folder, model_args=args, safe_serialization=True)
            back = difference(theirs, hub.create_model(f"local-dir:{folder}", pretrained=True))
        print(f"{name} {kwargs}: hub to timm {there:.1e}, timm to hub {back:.1e}")
        worst = max(worst, there, back)
    return int(worst > 1e-5)


if __name__ == "__main__":
    sys.exit(main())
