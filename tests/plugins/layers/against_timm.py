# ruff: noqa: E501
"""Hold hub_layers against timm: same keys, same weights, same outputs. Exit status 1 on a difference.

Run by developers, not by pytest, with the reference group installed:

    uv sync --group reference && .venv/bin/python tests/plugins/layers/against_timm.py

With --record, write what timm answers to the cases of resample.json into that file.
"""

import itertools
import json
import math
import sys
import warnings
from functools import partial
from pathlib import Path

import torch
from torch import nn

warnings.filterwarnings("ignore")
import blocks_against_timm as blocks  # noqa: E402
import hub_layers as ours  # noqa: E402
import timm.layers as theirs  # noqa: E402
import timm.layers.gather_excite as broken  # noqa: E402
from timm.layers import adaptive_avgmax_pool, cbam, grn, pool2d_same  # noqa: E402

# timm 1.0.31 passes device and dtype by position in GatherExcite, which raises or sets a norm's eps; see them right.
_mlp, _conv = broken.ConvMlp, broken.create_conv2d
broken.ConvMlp = lambda a, b, *_, act_layer: _mlp(a, b, act_layer=act_layer)
broken.create_conv2d = lambda a, b, *_, **kw: _conv(a, b, **kw)


broken.nn = type("nn", (), {**vars(nn), "BatchNorm2d": lambda c, *_: nn.BatchNorm2d(c)})

TOLERANCE = 2e-6
MAP, TOKENS, LAST = (2, 16, 11, 10), (2, 9, 16), (2, 7, 6, 16)
failures: list[str] = []
worst = 0.0
count = 0


def find(name):
    for home in (theirs, cbam, pool2d_same, adaptive_avgmax_pool, grn):
        if hasattr(home, name):
            return getattr(home, name)
    raise LookupError(name)


def randomize(module):
    for t in module.state_dict().values():
        if t.is_floating_point():
            t.copy_(torch.rand_like(t) + 0.3)
    return module


def compare(label, a, b, tolerance=TOLERANCE):
    global worst, count
    count += 1
    error = float("inf") if a.shape != b.shape else 0.0
    if not error and a.numel():
        error = ((a.float() - b.float()).abs().max() / (1 + b.float().abs().max())).item()
    if error <= tolerance and a.dtype == torch.float32:
        worst = max(worst, error)
    if not error <= tolerance or a.dtype != b.dtype:
        failures.append(f"{label}: error {error:.2g}, {tuple(a.shape)} / {tuple(b.shape)}")


def modules(label, mine, other, shape, modes=(False, True), dtype=None, tolerance=TOLERANCE):
    if (mine is None) != (other is None):
        failures.append(f"{label}: {mine} against {other}")
        return
    if mine is None:
        return
    randomize(other)
    try:
        mine.load_state_dict(other.state_dict(), strict=True)
    except RuntimeError as e:
        failures.append(f"{label}: {e}")
        return
    if list(mine.state_dict()) != list(other.state_dict()):
        failures.append(f"{label}: other order of keys")
    if dtype:
        mine, other = mine.to(dtype), other.to(dtype)
    for training in modes:
        x = torch.randn(shape).to(dtype or torch.float32)
        outputs = []
        for m in (mine, other):
            torch.manual_seed(1)
            try:
                outputs.append(m.train(training)(x.clone()))
            except RuntimeError as e:
                outputs.append(e)
        errors = [o for o in outputs if isinstance(o, RuntimeError)]
        if errors:
            if len(errors) == 1:
                failures.append(f"{label}: only one raises: {errors[0]}")
            continue
        tol = 2e-2 if dtype else tolerance
        compare(f"{label}, training={training}, {dtype or 'fp32'}", *outputs, tolerance=tol)
    for (k, a), b in zip(mine.state_dict().items(), other.state_dict().values(), strict=True):
        compare(f"{label}, state {k}", a, b, 2e-2 if dtype else TOLERANCE)


def classes(name, shape, *argument_sets, args=(16,), dtypes=(None,), modes=(False, True)):
    for kwargs, dtype in itertools.product(argument_sets or ({},), dtypes):
        label = f"{name}{args}{kwargs}"
        try:
            pair = getattr(ours, name)(*args, **kwargs), find(name)(*args, **kwargs)
        except Exception as e:
            failures.append(f"{label}: {e!r}")
            continue
        modules(label, *pair, shape, modes, dtype)


def factories(name, calls, shape):
    for args, kwargs in calls:
        modules(
            f"{name}{args}{kwargs}",
            getattr(ours, name)(*args, **kwargs),
            find(name)(*args, **kwargs),
            shape,
        )


def activations():
    names = "silu swish mish relu relu6 leaky_relu elu prelu celu selu gelu gelu_tanh quick_gelu sigmoid tanh "
    names += "hard_sigmoid hardsigmoid hard_swish hardswish hard_mish identity GELU HardSwish"
    for n in names.split():
        factories("create_act_layer", [((n,), {}), ((n,), dict(inplace=True))], MAP)
        if n not in ("prelu", "identity"):
            x = 3 * torch.randn(100)
            compare(f"get_act_fn {n}", ours.get_act_fn(n)(x), theirs.get_act_fn(n)(x))
    for n in "GELU GELUTanh QuickGELU Sigmoid Tanh PReLU HardMish HardSwish HardSigmoid Mish Swish".split():
        classes(n, MAP, {}, dict(inplace=True), args=())


def norms():
    half = (None, torch.bfloat16)
    plain = ({}, dict(affine=False), dict(eps=1e-2))
    for fp32 in ("", "Fp32"):
        for kind in ("LayerNorm", "RmsNorm", "SimpleNorm"):
            classes(kind + fp32, TOKENS, *plain, dtypes=half)
            classes(kind + "2d" + fp32, MAP, *plain, dtypes=half)
        acts = ({}, dict(act_layer="gelu"), dict(apply_act=False), dict(act_layer=None, eps=0.1))
        for kind in ("LayerNormAct", "RmsNormAct"):
            classes(kind + fp32, TOKENS, *acts)
            classes(kind + "2d" + fp32, MAP, *acts)
    classes("GroupNorm", MAP, dict(num_groups=4), dict(num_groups=2, affine=False))
    classes("GroupNorm1", MAP, *plain)
    acts = (
        {},
        dict(act_layer="silu"),
        dict(apply_act=False),
        dict(act_layer="leaky_relu", act_kwargs=dict(negative_slope=0.2)),
    )
    drop = dict(drop_layer=partial(ours.DropBlock2d, drop_prob=0.2))
    for kind in ("BatchNormAct2d", "FrozenBatchNormAct2d", "GroupNorm1Act"):
        classes(kind, MAP, *acts, drop, dict(eps=0.1, inplace=False))
    classes(
        "BatchNormAct2d",
        MAP,
        dict(affine=False),
        dict(momentum=None),
        dict(track_running_stats=False),
    )
    classes("GroupNormAct", MAP, dict(num_groups=4), dict(group_size=4, act_layer="tanh"))
    norm_names = "batchnorm batchnorm2d groupnorm1 layernorm2d layernorm2dfp32 rmsnorm2d rmsnorm2dfp32".split()
    factories("create_norm_layer", [((n, 16), {}) for n in [*norm_names, "simplenorm2d"]], MAP)
    for act in (None, "silu", nn.GELU):
        calls = [((n, 16), dict(act_layer=act)) for n in norm_names]
        calls += [
            ((c, 16), dict(act_layer=act))
            for c in (nn.BatchNorm2d, partial(nn.BatchNorm2d, eps=0.1))
        ]
        factories("create_norm_act_layer", calls, MAP)

    def net(lib):
        torch.manual_seed(0)
        return randomize(
            nn.Sequential(
                nn.Conv2d(16, 16, 3),
                nn.BatchNorm2d(16, eps=0.1),
                lib.BatchNormAct2d(16, act_layer="silu"),
            )
        ).eval()

    frozen = [lib.freeze_batch_norm_2d(net(lib)) for lib in (ours, theirs)]
    modules("freeze_batch_norm_2d", *frozen, MAP)
    modules(
        "unfreeze",
        ours.unfreeze_batch_norm_2d(frozen[0]),
        theirs.unfreeze_batch_norm_2d(frozen[1]),
        MAP,
    )
    modules(
        "sync",
        ours.convert_sync_batchnorm(net(ours)),
        theirs.convert_sync_batchnorm(net(theirs)),
        MAP,
        (False,),
    )


def attention():
    classes(
        "SEModule",
        MAP,
        {},
        dict(rd_ratio=0.5),
        dict(rd_channels=5, add_maxpool=True),
        dict(bias=False, norm_layer=nn.BatchNorm2d, gate_layer="hard_sigmoid", act_layer=nn.SiLU),
    )
    classes(
        "EffectiveSEModule", MAP, {}, dict(add_maxpool=True, gate_layer="sigmoid", rd_ratio=0.1)
    )
    classes(
        "EcaModule",
        MAP,
        {},
        dict(use_mlp=True),
        dict(gamma=1, gate_layer="tanh"),
        dict(use_mlp=True, act_layer=nn.SiLU, rd_channels=3),
    )
    classes("EcaModule", MAP, args=(None, 5))
    for channels in (4, 16, 64, 256, 512, 2048):
        factories(
            "create_attn", [((n, channels), {}) for n in ("eca", "ceca")], (2, channels, 3, 3)
        )
    classes("CecaModule", MAP, {}, dict(gamma=1))
    classes(
        "GlobalContext",
        MAP,
        *(
            dict(use_attn=a, fuse_add=b, fuse_scale=c)
            for a, b, c in itertools.product((True, False), repeat=3)
        ),
    )
    classes(
        "CbamModule",
        MAP,
        {},
        dict(gate_layer="hard_sigmoid"),
        dict(rd_ratio=0.5, mlp_bias=True, spatial_kernel_size=3),
    )
    classes("LightCbamModule", MAP, {}, dict(rd_ratio=0.5, gate_layer="hard_sigmoid"))
    classes(
        "GatherExcite",
        MAP,
        {},
        dict(extent=2),
        dict(extent=4, use_mlp=False),
        dict(add_maxpool=True),
        dict(extent=2, add_maxpool=True),
        dict(extra_params=True, feat_size=(11, 10)),
        *(dict(extra_params=True, extent=e) for e in (2, 4, 8)),
    )
    names = [
        True,
        False,
        None,
        "",
        "se",
        "SE",
        "ese",
        "eca",
        "ecam",
        "ceca",
        "ge",
        "gc",
        "gca",
        "cbam",
        "lcbam",
    ]
    factories("create_attn", [((n, 16), {}) for n in names], MAP)


def pooling():
    kinds = [
        "",
        *(f + k for f in ("", "fast") for k in ("avg", "max", "avgmax", "catavgmax")),
        "fast",
    ]
    for kind, flatten, (fmt, shape) in itertools.product(
        kinds, (True, False), (("NCHW", MAP), ("NHWC", LAST))
    ):
        kwargs = dict(pool_type=kind, flatten=flatten, input_fmt=fmt)
        classes("SelectAdaptivePool2d", shape, kwargs, args=())
        a, b = ours.SelectAdaptivePool2d(**kwargs), theirs.SelectAdaptivePool2d(**kwargs)
        assert a.feat_mult() == b.feat_mult() and a.is_identity() == b.is_identity()
    for kind in ("avg", "max", "avgmax", "catavgmax"):
        classes("SelectAdaptivePool2d", MAP, dict(pool_type=kind, output_size=(3, 2)), args=())
        for size in (1, (3, 2)):
            x = torch.randn(MAP)
            compare(
                kind,
                ours.select_adaptive_pool2d(x, kind, size),
                theirs.select_adaptive_pool2d(x, kind, size),
            )
    for kind, (k, s), pad in itertools.product(
        ("avg", "max"), ((3, 2), (2, 2), (3, 1), ((3, 2), (1, 2))), ("", "same", "valid", 1, 0)
    ):
        if pad == "" and k == (3, 2):
            continue
        calls = [((kind, k, s), dict(padding=pad))]
        calls += (
            [((kind, k, s), dict(padding=pad, count_include_pad=False))] if kind == "avg" else []
        )
        factories("create_pool2d", calls, MAP)
    for kind, prefix, whole in itertools.product(
        ("", "token", "avg", "max", "avgmax"), (0, 1, 2), (True, False)
    ):
        x = torch.randn(TOKENS)
        pair = (lib.global_pool_nlc(x, kind, prefix, whole) for lib in (ours, theirs))
        compare(f"global_pool_nlc {kind}", *pair)
    classes(
        "BlurPool2d",
        MAP,
        *(
            dict(filt_size=f, stride=s, pad_mode=p)
            for f in (2, 3, 4, 5)
            for s in (1, 2, 3)
            for p in ("reflect", "constant")
        ),
    )
    classes("BlurPool2d", MAP, args=(None,))
    aas = (
        "avg",
        "avgpool",
        "blur",
        "blurpc",
        None,
        "",
        nn.AvgPool2d,
        theirs.BlurPool2d,
        partial(theirs.BlurPool2d, filt_size=5),
    )
    factories("create_aa", [((a, 16), dict(stride=s)) for a in aas for s in (1, 2, 3)], MAP)
    factories("create_aa", [(("blur", 16), dict(enable=False)), ((None, 16), dict(noop=None))], MAP)


def convolutions():
    for k, s, d, pad in itertools.product(
        (1, 3, 4, (3, 5)), (1, 2, 3), (1, 2), ("", "same", "valid", 2, "SAME")
    ):
        factories("create_conv2d", [((16, 8, k), dict(stride=s, dilation=d, padding=pad))], MAP)
    factories(
        "create_conv2d",
        [((16, 32, 3), dict(depthwise=True, bias=True)), ((16, 8, 3), dict(groups=4))],
        MAP,
    )
    classes(
        "ConvNormAct",
        MAP,
        {},
        dict(kernel_size=3, stride=2, aa_layer="blur"),
        dict(apply_norm=False, bias=True),
        dict(aa_layer="avg"),
        dict(apply_act=False, padding="same", kernel_size=3, stride=2),
        dict(norm_layer="layernorm2d", act_layer="gelu"),
        dict(norm_kwargs=dict(eps=0.1), act_layer=None),
        dict(
            act_layer="leaky_relu",
            act_kwargs=dict(negative_slope=0.3),
            groups=2,
            dilation=2,
            kernel_size=3,
        ),
        dict(drop_layer=partial(ours.DropBlock2d, drop_prob=0.3)),
        args=(16, 8),
    )
    for name in ("SeparableConv2d", "SeparableConvNormAct"):
        classes(
            name,
            MAP,
            {},
            dict(stride=2, kernel_size=5),
            dict(bias=True, padding="same", stride=2),
            dict(channel_multiplier=2.0, dilation=2),
            dict(pw_kernel_size=3),
            args=(16, 8),
        )
    for k, s, d in itertools.product((1, 2, 3, 5, 7, (3, 5)), (1, 2, 3, (1, 2)), (1, 2)):
        assert ours.get_padding(k, s, d) == theirs.get_padding(k, s, d), (k, s, d)


def drops():
    x = torch.randn(8, 16, 11, 10)
    for p, scale in itertools.product((0.0, 0.3, 1.0), (True, False)):
        classes("DropPath", MAP, dict(drop_prob=p, scale_by_keep=scale), args=())
    # Not held: blocks larger than the map, where timm's rate counts a negative number of centres.
    options = [
        dict(block_size=b, couple_channels=c, scale_by_keep=s, inplace=i)
        for b in (3, 4, 7)
        for c in (True, False)
        for s in (True, False)
        for i in (True, False)
    ]
    for kwargs in [*options, dict(drop_prob=0.4, gamma_scale=0.5), dict(with_noise=True)]:
        classes("DropBlock2d", tuple(x.shape), kwargs, args=())
    for rate, depths, stages in (
        (0.1, 4, False),
        (0.3, [2, 3], False),
        (0.3, [2, 3], True),
        (0.0, [1, 1], True),
    ):
        args = rate, depths, stages
        assert ours.calculate_drop_path_rates(*args) == theirs.calculate_drop_path_rates(*args)


def heads():
    for kind, conv, fmt, k in itertools.product(
        ("", "avg", "catavgmax", "fast"), (True, False), ("NCHW", "NHWC"), (5, 0)
    ):
        if (conv and fmt == "NHWC") or (not kind and not conv and fmt == "NCHW" and k):
            continue
        shape = MAP if fmt == "NCHW" else LAST
        kwargs = dict(pool_type=kind, use_conv=conv, input_fmt=fmt)
        classes("ClassifierHead", shape, kwargs | dict(drop_rate=0.2), args=(16, k))
        pair = (
            nn.Sequential(*lib.create_classifier(16, k, drop_rate=0.1, **kwargs))
            for lib in (ours, theirs)
        )
        modules(f"create_classifier {kwargs}", *pair, shape)
    for kind, hidden, k in itertools.product(("", "avg", "max"), (None, 6), (5, 0)):
        classes(
            "NormMlpClassifierHead", MAP, dict(pool_type=kind, hidden_size=hidden), args=(16, k)
        )
        classes(
            "ClNormMlpClassifierHead", LAST, dict(pool_type=kind, hidden_size=hidden), args=(16, k)
        )
    for name, shape in (
        ("ClassifierHead", MAP),
        ("NormMlpClassifierHead", MAP),
        ("ClNormMlpClassifierHead", LAST),
    ):
        for reset in ((3,), (0,), (3, "max"), (0, "")):
            pair = [getattr(lib, name)(16, 5) for lib in (ours, theirs)]
            for m in pair:
                m.reset(*reset)
            modules(f"{name}.reset{reset}", *pair, shape)
            x = torch.randn(shape)
            compare(f"{name} pre_logits", *(m.eval()(x, pre_logits=True) for m in pair))


def small():
    classes(
        "Mlp",
        TOKENS,
        {},
        dict(hidden_features=8, out_features=4, norm_layer=nn.LayerNorm, bias=(True, False)),
        dict(drop=(0.1, 0.3), act_layer=nn.SiLU),
    )
    classes("Mlp", MAP, dict(use_conv=True, hidden_features=8))
    classes(
        "ConvMlp",
        MAP,
        {},
        dict(hidden_features=8, norm_layer=theirs.LayerNorm2d, drop=0.1, bias=(False, True)),
    )
    classes("GlobalResponseNorm", LAST)
    classes("GlobalResponseNorm", MAP, dict(channels_last=False))
    classes("GlobalResponseNormMlp", LAST, dict(hidden_features=8, drop=0.1))
    classes("GlobalResponseNormMlp", MAP, dict(hidden_features=8, use_conv=True))
    classes("LayerScale", TOKENS, {}, dict(inplace=True))
    classes("LayerScale2d", MAP, {}, dict(inplace=True))
    for v, d, m, r in itertools.product((1, 7.5, 20, 91, 104), (1, 4, 8), (None, 16), (0.0, 0.9)):
        assert ours.make_divisible(v, d, m, r) == theirs.make_divisible(v, d, m, r)
    x = torch.randn(MAP)
    for fmt in theirs.Format:
        for name in ("nchw_to", "nhwc_to"):
            compare(name, getattr(ours, name)(x, fmt.value), getattr(theirs, name)(x, fmt))
    for name in ("trunc_normal_", "trunc_normal_tf_", "lecun_normal_", "variance_scaling_"):
        pair = torch.empty(2, 400, 300)
        for t, lib in zip(pair, (ours, theirs), strict=True):
            getattr(lib, name)(t)
        compare(f"{name} std", *(t.std() for t in pair), tolerance=1e-2)


def resampled(name, x, *args, tolerance=1e-5, **kwargs):
    """Compare a function of tensors in each dtype; half precision is rounded from the same float32."""
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        if dtype != torch.float32 and name.endswith("_simple"):
            continue  # timm computes these in half precision
        pair = [getattr(lib, name)(x.to(dtype), *args, **kwargs) for lib in (ours, theirs)]
        label = f"{name} {tuple(x.shape)} {args} {kwargs} {dtype}"
        eps = torch.finfo(dtype).eps
        compare(label, *pair, tolerance=max(tolerance, eps if dtype != torch.float32 else 0))
        assert pair[0].is_contiguous(), label


def position_embeddings():
    sizes = [(h, w) for h in (1, 4, 7, 14, 24, 37) for w in (2, 7, 16, 24)]
    modes = [
        dict(interpolation=m, antialias=a, align_corners=c)
        for m, a, c in itertools.product(
            ("bicubic", "bilinear"), (True, False), (None, True, False)
        )
    ]
    modes += [dict(interpolation=m, antialias=False) for m in ("nearest", "nearest-exact", "area")]
    for old, new, mode in itertools.product((2, 7, 14, 24), sizes, modes):
        for prefix in (0, 1, 5):
            x = torch.randn(1, prefix + old * old, 3)
            kwargs = dict(num_prefix_tokens=prefix, **mode)
            resampled("resample_abs_pos_embed", x, new, **kwargs)
    for old, new in itertools.product([(3, 5), (14, 7), (8, 2)], sizes):
        x = torch.randn(1, 1 + old[0] * old[1], 3)
        resampled("resample_abs_pos_embed", x, new, old_size=old)
        for mode in modes[::3] + modes[-3:]:
            mode = {k: v for k, v in mode.items() if k != "align_corners"}
            resampled("resample_abs_pos_embed_nhwc", torch.randn(1, *old, 3), new, **mode)


def patch_kernels():
    # Kernels whose sum over a patch matters: inverses of nearly singular resizes are large.
    sizes = [(h, w) for h in (1, 4, 7, 8, 14, 16, 24, 32) for w in (4, 8, 14, 16, 30)]
    for old, new, mode, smooth in itertools.product(
        ((4, 4), (8, 6), (16, 16), (14, 14)), sizes, ("bicubic", "bilinear"), (True, False)
    ):
        x = torch.randn(3, 2, *old)
        kwargs = dict(interpolation=mode, antialias=smooth)
        resampled("resample_patch_embed", x, new, tolerance=1e-4, **kwargs)


def relative_tables():
    windows = [(h, w) for h in (1, 2, 7, 8, 12, 16, 24) for w in (2, 7, 13, 32)]
    for old, new, extra in itertools.product((1, 2, 7, 8, 14, 24), windows, (0, 3)):
        table = torch.randn((2 * old - 1) ** 2 + extra, 3)
        spans = [2 * n - 1 for n in new]
        resampled("resize_rel_pos_bias_table", table, new, (math.prod(spans) + extra, 3))
        resampled("resize_rel_pos_bias_table_simple", table, new, (math.prod(spans) + extra, 3))
    for old, new in itertools.product([(3, 5), (14, 7), (8, 2)], windows):
        spans, old_spans = [2 * n - 1 for n in new], [2 * n - 1 for n in old]
        table = torch.randn(math.prod(old_spans) + 3, 2)
        shape = (math.prod(spans) + 3, 2)
        resampled("resize_rel_pos_bias_table", table, new, shape, old_window_size=old)
        for kind in ("", "_simple"):
            table = torch.randn(2, *old_spans)
            resampled(f"resize_rel_pos_bias_table{kind}", table, new, (2, *spans))
    for old, new, mode, smooth in itertools.product(
        (4, 7, 14, 16), (3, 7, 8, 20), ("bicubic", "bilinear"), (True, False)
    ):
        kwargs = dict(interpolation=mode, antialias=smooth)
        shape = (new * new, 3)
        resampled("resize_rel_pos_bias_table_levit", torch.randn(old * old, 3), shape, **kwargs)
    for window, token in itertools.product([*windows, (5, 3)], (True, False)):
        pair = (
            lib.gen_relative_position_index(window, class_token=token) for lib in (ours, theirs)
        )
        compare(f"gen_relative_position_index {window} {token}", *pair, tolerance=0)


def record():
    file = Path(__file__).with_name("resample.json")
    cases = json.loads(file.read_text())
    for case in cases:
        x = torch.arange(1.0, 1 + math.prod(case["shape"])).sin().reshape(case["shape"])
        out = getattr(theirs, case["function"])(x, **case["options"])
        case["expected_shape"] = list(out.shape)
        case["expected"] = [round(v, 5) for v in out.flatten().tolist()]
    file.write_text("[\n" + ",\n".join(map(json.dumps, cases)) + "\n]\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    if "--record" in sys.argv:
        record()
        sys.exit()
    layers = (activations, norms, attention, pooling, convolutions, drops, heads, small)
    shared = [
        partial(part, modules)
        for part in (blocks.mlps, blocks.convolutions, blocks.attentions, blocks.blocks)
    ]
    shared += [partial(part, compare) for part in (blocks.windows, blocks.rotary)]
    shared.append(partial(blocks.relative_biases, modules, compare))
    for part in (*layers, position_embeddings, patch_kernels, relative_tables, *shared):
        before, worst = worst, 0.0
        with torch.no_grad():
            part()
        name = getattr(part, "func", part).__name__
        print(f"{name}: largest float32 error {worst:.2g}")
        worst = max(worst, before)
    print(*failures, sep="\n")
    print(
        f"{count} comparisons, {len(failures)} differ; largest float32 error of the others {worst:.2g}"
    )
    sys.exit(bool(failures))
