# ruff: noqa: E501
"""Hold hub_layers.mbconv against timm. Exit status 1 on a difference.

Run by developers, not by pytest, with the reference group installed:

    uv sync --group reference && .venv/bin/python tests/plugins/layers/mbconv/against_timm.py

For every network of timm that is built from block strings: the same names and
shapes in the same order, the same levels at both places and at each output stride. For those that trunks.txt
records and a few with other norms, attention or anti-aliasing, the same outputs in evaluation and training on equal weights, and the same initialization from a seed.
With --record, write strings.txt and trunks.txt, which the tests read: every string and what timm decodes from it.
"""

import copy
import functools
import json
import logging
import sys
import warnings
from pathlib import Path

import torch
from torch import nn

warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)
import hub_layers  # noqa: E402
import timm  # noqa: E402
from hub_layers import mbconv as ours  # noqa: E402
from timm.models import (  # noqa: E402
    _efficientnet_builder,
    efficientnet,
    hardcorenas,
    mobilenetv3,
    mobilenetv5,
)
from trunks import RECORDED, Trunks, block_lines  # noqa: E402

HERE = Path(__file__).parent
MODULES = (efficientnet, mobilenetv3, hardcorenas, mobilenetv5)
OURS = {
    "SqueezeExcite": ours.SqueezeExcite,
    "GELU": hub_layers.GELU,
    "RmsNorm2d": hub_layers.RmsNorm2d,
}
OTHERS = (
    "efficientnet_blur_b0",
    "efficientnet_b0_g8_gn",
    "efficientnet_cc_b1_8e",
    "gc_efficientnetv2_rw_t",
    "mobilenet_edgetpu_v2_m",
    "mobilenetv4_conv_aa_medium",
    "mobilenetv4_conv_blur_medium",
    "test_efficientnet_ln",
    "fbnetv3_b",
    "tf_mixnet_l",
)
failures: list[str] = []
strings: dict[str, dict] = {}


def mine(layer):
    """Our layer for timm's, partials kept."""
    if isinstance(layer, functools.partial):
        return functools.partial(
            mine(layer.func), *layer.args, **{k: mine(v) for k, v in layer.keywords.items()}
        )
    if isinstance(layer, type) and layer.__module__.startswith("timm"):
        return OURS.get(layer.__name__) or getattr(hub_layers, layer.__name__)
    return ours.round_channels if layer is _efficientnet_builder.round_channels else layer


class Spy:
    """What timm's networks give to its decoder and builder."""

    def __init__(self):
        self.arch = self.call = None
        decode, string = (
            _efficientnet_builder.decode_arch_def,
            _efficientnet_builder._decode_block_str,
        )
        builder = _efficientnet_builder.EfficientNetBuilder
        start, build = builder.__init__, builder.__call__

        def decode_arch(*args, **kwargs):
            self.arch = args, kwargs
            return decode(*args, **kwargs)

        def decode_block(text):
            result = string(text)
            strings[text] = copy.deepcopy(result)
            return result

        def init(this, **kwargs):
            this.given = kwargs
            start(this, **kwargs)

        def call(this, in_chs, args):
            stages = build(this, in_chs, args)
            self.call = dict(
                in_chs=in_chs,
                options=this.given,
                stages=stages,
                features=this.features,
                out_chs=this.in_chs,
            )
            return stages

        _efficientnet_builder._decode_block_str = decode_block
        builder.__init__, builder.__call__ = init, call
        for module in MODULES:
            module.decode_arch_def = decode_arch

    def build(self, name, **kwargs):
        self.arch = self.call = None
        try:
            timm.create_model(name, num_classes=0, **kwargs)
        except KeyError:  # timm builds the trunk, then misses 'hook_type' where the stem is a level
            assert self.call
        args, decode = self.arch
        arch = ours.decode_arch_def(*args, **decode)
        given = {k: mine(v) for k, v in self.call["options"].items()}
        given["feature_location"] = given.pop("feature_location", "") or "bottleneck"
        trunk = ours.build_blocks(self.call["in_chs"], arch, **given)
        return nn.ModuleList(self.call["stages"]), nn.ModuleList(trunk.stages), trunk


def level(feature):
    return (feature["stage"], feature["reduction"], feature["num_chs"], feature["module"])


def structure(spy, name):
    for options in (
        {},
        {"features_only": True, "feature_location": "expansion"},
        {"features_only": True, "output_stride": 8},
    ):
        try:
            with torch.device("meta"):
                theirs, own, trunk = spy.build(name, **options)
        except Exception as error:
            if "MobileNetV5" not in str(error):  # which has neither option
                failures.append(f"{name} {options}: {error!r}"[:300])
            continue
        if [(k, v.shape) for k, v in theirs.state_dict().items()] != [
            (k, v.shape) for k, v in own.state_dict().items()
        ]:
            failures.append(f"{name} {options}: other names or shapes")
        table = [(f.stage, f.reduction, f.channels, f.module) for f in trunk.features]
        if (
            table != [level(f) for f in spy.call["features"]]
            or trunk.out_chs != spy.call["out_chs"]
        ):
            failures.append(
                f"{name} {options}: levels {table}, timm {[level(f) for f in spy.call['features']]}"
            )
        drops = [
            [m.drop_prob for m in net.modules() if type(m).__name__ == "DropPath"]
            for net in (theirs, own)
        ]
        if drops[0] != drops[1]:
            failures.append(f"{name} {options}: other drop path rates")


def outputs(spy, name):
    worst = 0.0
    for options in ({}, {"output_stride": 8}):
        theirs, own, _ = spy.build(name, features_only=bool(options), **options)
        torch.manual_seed(0)
        for t in theirs.state_dict().values():
            if t.is_floating_point() and t.ndim < 2:
                t.copy_(torch.rand_like(t) + 0.5)
        own.load_state_dict(theirs.state_dict())
        x = torch.randn(2, spy.call["in_chs"], 48, 40)
        for training in (False, True):
            a = b = x
            for index, (their, our) in enumerate(
                zip(theirs.train(training), own.train(training), strict=True)
            ):
                a, b = their(a), our(b)
                error = (
                    ((a - b).abs().max() / a.abs().max()).item()
                    if a.shape == b.shape
                    else float("inf")
                )
                worst = max(worst, error)
                if not error < 1e-5:
                    failures.append(
                        f"{name} {options}: stage {index}, training={training}: {error:.2g}"
                    )
                a = b  # each stage by itself
    return worst


def initialization(spy, name):
    theirs, own, _ = spy.build(name)
    torch.manual_seed(1)
    _efficientnet_builder.efficientnet_init_weights(theirs)
    torch.manual_seed(1)
    ours.init_weights_goog(own)
    state = own.state_dict()
    different = [k for k, v in theirs.state_dict().items() if not torch.equal(v, state[k])]
    if different:
        failures.append(f"{name}: initialized otherwise: {different[:4]}")


def known(result):
    """timm's decoding as JSON: the activation by the name of its class; what is 0, False or None is left out."""
    options, repeats = result
    act = options["act_layer"]
    return {
        k: v
        for k, v in {"repeats": repeats, **options, "act_layer": act and act.__name__}.items()
        if v
    }


def main():
    spy = Spy()
    names = [n for m in MODULES for n in timm.list_models(module=m.__name__.rpartition(".")[2])]
    for name in names:
        if not (name.endswith("evos") and not hasattr(hub_layers, "EvoNorm2dS0")):
            structure(spy, name)
    print(f"{len(names)} networks, {len(strings)} strings")
    record = HERE / "trunks.txt"
    if "--record" in sys.argv:
        lines = [f"{text} {json.dumps(known(result))}" for text, result in sorted(strings.items())]
        (HERE / "strings.txt").write_text("\n".join(lines) + "\n")
        text = []
        for name, options in RECORDED.items():
            with torch.device("meta"):
                theirs, _, _ = spy.build(name)
            levels = [list(level(f)) for f in spy.call["features"]]
            data = dict(
                in_chs=spy.call["in_chs"],
                arch=spy.arch[0][0],
                decode=dict(zip(("depth_multiplier", "depth_trunc"), spy.arch[0][1:], strict=False))
                | spy.arch[1],
                options=options,
                levels=levels,
            )
            text += [f"# {name} {json.dumps(data)}", *block_lines(theirs)]
        record.write_text("\n".join(text) + "\n")
    trunks = Trunks(record)
    for name in (*trunks.names, *OTHERS):
        print(f"{name}: largest difference {outputs(spy, name):.2g}")
        initialization(spy, name)
    print(*failures, f"{len(failures)} differences", sep="\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
