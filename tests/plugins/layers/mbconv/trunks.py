"""Trunks recorded from timm: their strings, options, levels, and every parameter's shape."""

import json
from itertools import groupby

# What the networks give to the builder besides their strings, in the words of hub_layers.
TF = dict(pad_type="same", bn=dict(eps=1e-3))
V3 = dict(act_layer="hard_swish", se_from_exp=True)
V3 |= dict(se=dict(gate_layer="hard_sigmoid", force_act_layer="relu", rounded=True))
V4 = dict(act_layer="relu", se_from_exp=True, se=V3["se"])
RECORDED = {
    "efficientnet_b0": dict(act_layer="silu"),
    "tf_efficientnetv2_s": dict(act_layer="silu", **TF),
    "efficientnet_cc_b0_4e": dict(act_layer="silu"),
    "efficientnet_es": dict(act_layer="relu"),
    "efficientnet_x_b3": dict(act_layer="silu", round=dict(multiplier=1.2, divisor=8)),
    "tinynet_a": dict(act_layer="silu", round=dict(multiplier=1.0)),
    "mnasnet_100": dict(),
    "mixnet_s": dict(),
    "fbnetc_100": dict(),
    "lcnet_100": V3 | dict(se=dict(gate_layer="hard_sigmoid", force_act_layer="relu")),
    "mobilenetv1_100": dict(act_layer="relu6"),
    "mobilenetv3_large_100": V3,
    "mobilenetv4_conv_small": V4,
    "mobilenetv4_hybrid_medium": V4 | dict(layer_scale_init_value=1e-5),
    "hardcorenas_a": dict(V3),
}


def block_lines(stages):
    """One line per block: its place, then name=shape of each parameter; equal ones are joined."""
    lines = []
    for stage, blocks in enumerate(stages):
        described = [(i, _parameters(block)) for i, block in enumerate(blocks)]
        for text, run in groupby(described, key=lambda pair: pair[1]):
            places = [i for i, _ in run]
            span = f"{places[0]}" if len(places) == 1 else f"{places[0]}-{places[-1]}"
            lines.append(f"{stage}.{span} {text}")
    return lines


def _parameters(block):
    shapes = ((name, "x".join(map(str, p.shape))) for name, p in block.named_parameters())
    return " ".join(f"{name}={shape}" for name, shape in shapes)


class Trunks:
    """The file's contents, by name of the network."""

    def __init__(self, path):
        self.entries = {}
        for line in path.read_text().splitlines():
            if line.startswith("# "):
                name, data = line[2:].split(" ", 1)
                self.entries[name] = (json.loads(data), [])
            else:
                self.entries[name][1].append(line)

    @property
    def names(self):
        return list(self.entries)
