"""timm's networks with blocks that can be re-parameterised: equal outputs, timm's state dicts.

uv run --group reference python tests/plugins/inference/against_timm.py
"""

import sys

import hub
import timm
import torch
from timm.utils import reparameterize_model
from torch import nn

NAMES = [
    *("repvgg_a0", "mobileone_s0", "repvit_m0_9", "fastvit_t8", "ghostnetv3_050"),
    *("repghostnet_050", "nextvit_small", "levit_128s", "efficientvit_m0", "tiny_vit_5m_224"),
    *("efficientvim_m1", "shvit_s1", "iformer_t"),
]
BOUND = 5e-6


def stir(model: nn.Module) -> nn.Module:
    """Give a network norms that do something, as after training."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.1)
    return model.eval()


@torch.no_grad()
def main() -> int:
    failed = 0
    for name in NAMES:
        model = stir(timm.create_model(name, num_classes=10))
        x = torch.rand(1, *model.default_cfg["input_size"])
        wanted = model(x)
        ours, theirs = hub.reparameterize_model(model), reparameterize_model(model)
        errors = [
            float((net(x) - wanted).norm() / wanted.norm()) for net in (ours, hub.fuse(model))
        ]
        same = ours.state_dict().keys() == theirs.state_dict().keys()
        failed += not same or max(errors) > BOUND
        sizes = len(model.state_dict()), len(ours.state_dict())
        shown = ", ".join(f"{error:.0e}" for error in errors)
        print(f"{name}: errors {shown} (fused); tensors {sizes}, as timm's: {same}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
