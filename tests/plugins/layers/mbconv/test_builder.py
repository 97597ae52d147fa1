"""Stages from strings: names and shapes of published trunks, levels, dilation, what is shared."""

import functools
from pathlib import Path

import pytest
import torch
from hub_layers import BlurPool2d, mbconv
from hub_layers.mbconv import build_blocks, decode_arch_def, place_blocks, round_channels
from torch import nn
from trunks import Trunks, block_lines

TRUNKS = Trunks(Path(__file__).parent / "trunks.txt")


def keywords(options):
    """The recorded options as the builder takes them."""
    options = dict(options)
    if bn := options.pop("bn", None):
        options["norm_layer"] = functools.partial(nn.BatchNorm2d, **bn)
    if se := options.pop("se", None):
        se = dict(se)
        if se.pop("rounded", False):
            se["rd_round_fn"] = round_channels
        options["se_layer"] = functools.partial(mbconv.SqueezeExcite, **se)
    if rounding := options.pop("round", None):
        options["round_chs_fn"] = functools.partial(round_channels, **rounding)
    return options


def build(name, **options):
    data, _ = TRUNKS.entries[name]
    arch = decode_arch_def(data["arch"], **data["decode"])
    return build_blocks(data["in_chs"], arch, **keywords(data["options"]), **options)


@pytest.mark.parametrize("name", TRUNKS.names)
def test_names_and_shapes_are_the_published_ones(name):
    data, lines = TRUNKS.entries[name]
    with torch.device("meta"):
        trunk = build(name)
    assert block_lines(trunk.stages) == lines
    levels = [[f.stage, f.reduction, f.channels, f.module] for f in trunk.features]
    assert levels == data["levels"]


@pytest.mark.parametrize("output_stride", [8, 16, 32])
@pytest.mark.parametrize("name", ["mnasnet_100", "efficientnet_x_b3", "mobilenetv4_conv_small"])
def test_levels_tell_the_truth(name, output_stride):
    trunk = build(name, output_stride=output_stride)
    levels = {f.stage: f for f in trunk.features}
    x = torch.randn(1, TRUNKS.entries[name][0]["in_chs"], 32, 32)  # of an image of 64
    for stage, blocks in enumerate(trunk.stages, 1):
        x = blocks.eval()(x)
        if level := levels.get(stage):
            assert x.shape == (1, level.channels, 64 // level.reduction, 64 // level.reduction)
            assert level.module == f"blocks.{stage - 1}"
            assert not level.at_input
    assert x.shape[1] == trunk.out_chs
    assert max(f.reduction for f in trunk.features) == output_stride


@pytest.mark.parametrize("name", ["mnasnet_100", "mobilenetv4_conv_small", "mobilenetv3_large_100"])
def test_levels_of_the_expansion_lie_where_the_table_says(name):
    trunk = build(name, feature_location="expansion")
    network = nn.Module()
    network.blocks = nn.Sequential(*trunk.stages)
    seen = {}
    for f in trunk.features:
        if f.stage:
            pick = (lambda m, i, o: i[0]) if f.at_input else (lambda m, i, o: o)

            def hook(module, inputs, output, pick=pick, name=f.module):
                seen[name] = pick(module, inputs, output).shape

            network.get_submodule(f.module).register_forward_hook(hook)
    network.eval().blocks(torch.randn(1, TRUNKS.entries[name][0]["in_chs"], 32, 32))
    for f in trunk.features:
        if f.stage:
            assert seen[f.module] == (1, f.channels, 64 // f.reduction, 64 // f.reduction)


ARCH = decode_arch_def([["ds_r1_k3_s1_c8"], ["ir_r2_k3_s2_e6_c16"], ["ir_r2_k5_s2_e3_c24"]])


def test_strides_beyond_the_output_stride_dilate_what_follows():
    deep = (*ARCH, *ARCH[1:])  # to a reduction of 32
    placed = [p for stage in place_blocks(deep, output_stride=8) for p in stage]
    assert [p.args.stride for p in placed] == [1, 2, 1, 2, 1, 1, 1, 1, 1]
    assert [p.dilation for p in placed] == [1, 1, 1, 1, 1, 1, 2, 2, 4]
    assert [p.reduction for p in placed] == [2, 4, 4, 8, 8, 8, 8, 8, 8]
    assert [p.level_ends for p in placed] == [True, False, True] + [False, True] * 3


def test_the_stem_is_a_level_where_the_first_block_strides():
    arch = decode_arch_def([["cn_r1_k3_s2_c8"], ["cn_r1_k3_s1_c8"]])
    first, last = build_blocks(4, arch, stem_module="conv_stem").features
    assert (first.stage, first.module, first.channels, first.reduction) == (0, "conv_stem", 4, 2)
    assert (last.stage, last.module, last.channels, last.reduction) == (2, "blocks.1", 8, 4)


def test_drop_path_grows_from_block_to_block():
    trunk = build_blocks(8, ARCH, drop_path_rate=0.5)
    rates = [getattr(b.drop_path, "drop_prob", 0) for stage in trunk.stages for b in stage]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])


def test_a_string_says_its_own_activation():
    arch = decode_arch_def([["cn_r1_k1_s1_c8_nhs", "cn_r1_k1_s1_c8"]])
    stage = build_blocks(8, arch, act_layer="silu").stages[0]
    assert [type(block.bn1.act) for block in stage] == [nn.Hardswish, nn.SiLU]


def test_the_squeeze_is_counted_from_the_input_or_from_the_hidden_channels():
    arch = decode_arch_def([["ir_r1_k3_s1_e4_c16_se0.25"]])

    def width(**options):
        block = build_blocks(16, arch, **options).stages[0][0]
        return block.se.conv_reduce.out_channels

    assert width() == 4
    assert width(se_from_exp=True) == 16
    assert isinstance(build_blocks(16, arch, se_layer=None).stages[0][0].se, nn.Identity)
    # An attention without a ratio is taken as it is.
    eca = build_blocks(16, arch, se_layer="eca").stages[0][0].se
    assert type(eca).__name__ == "EcaModule"


def test_stages_are_what_the_network_wants():
    class Stage(nn.Sequential):
        pass

    assert {type(s) for s in build_blocks(8, ARCH, stage_layer=Stage).stages} == {Stage}


def test_space_to_depth_is_left_where_the_next_stride_was():
    strings = [["ds_r1_k3_s1_c16_d1"], ["ir_r2_k3_s2_e4_c24"], ["ir_r1_k3_s2_e6_c32"]]
    arch = decode_arch_def(strings)
    trunk = build_blocks(8, arch)
    first, second = trunk.stages[0][0], trunk.stages[1][0]
    assert (first.conv_s2d.stride, first.conv_dw.kernel_size, first.out_chs) == ((2, 2), (2, 2), 64)
    assert (second.conv_pw.out_channels, second.conv_dw.stride) == (64, (1, 1))  # 64 * 4 / 4
    x = torch.randn(1, 8, 16, 16)
    sizes = []
    for stage in trunk.stages:
        x = stage.eval()(x)
        sizes.append(tuple(x.shape[1:]))
    assert sizes == [(64, 8, 8), (24, 8, 8), (32, 4, 4)]
    assert [(f.stage, f.reduction) for f in trunk.features] == [(0, 2), (2, 4), (3, 8)]


def test_a_width_that_is_expanded_instead_is_rounded_like_all_widths():
    arch = decode_arch_def([["er_r1_k3_s1_e2_fc24_c16"]])
    double = functools.partial(round_channels, multiplier=2.0)
    assert build_blocks(8, arch, round_chs_fn=double).stages[0][0].conv_exp.out_channels == 96


def test_anti_aliasing_is_where_the_strides_are():
    trunk = build_blocks(8, ARCH, aa_layer="blurpc")
    found = [isinstance(b.aa, BlurPool2d) for stage in trunk.stages for b in stage]
    assert found == [False, True, False, True, False]


MANY = [
    ["ds_r1_k3_s1_c8_se0.5", "ir_r1_k3_s1_e2_c8_cc2", "er_r1_k3_s1_e2_c8", "ir_r1_k3.5_s1_e2_c8"],
    ["uir_r1_a3_k3_p3_s2_e2_c16", "mqa_r1_k3_s1_h2_d4_v2_c16", "mha_r1_k3_s1_h2_d4_c16"],
]


def test_every_kind_of_block_exports_with_any_batch():
    stages = build_blocks(8, decode_arch_def(MANY), pad_type="same").stages
    network = nn.Sequential(*stages).eval()
    batch = {0: torch.export.Dim("batch", min=1, max=16)}
    exported = torch.export.export(network, (torch.randn(2, 8, 16, 16),), dynamic_shapes=[batch])
    x = torch.randn(3, 8, 16, 16)
    torch.testing.assert_close(exported.module()(x), network(x))


def test_every_kind_of_block_takes_channels_last():
    network = nn.Sequential(*build_blocks(8, decode_arch_def(MANY)).stages).eval()
    x = torch.randn(2, 8, 16, 16)
    expected = network(x)
    network.to(memory_format=torch.channels_last)
    torch.testing.assert_close(network(x.to(memory_format=torch.channels_last)), expected)


def test_device_and_dtype_reach_every_parameter():
    arch = decode_arch_def(
        [
            ["ds_r1_k3_s1_c8_se0.5", "ir_r1_k3_s2_e2_c8_se0.5_cc2", "er_r1_k3_s1_e2_c8_se0.5"],
            ["uir_r1_a3_k3_p3_s1_e2_c8_se0.5", "mqa_r1_k3_s1_h2_d4_v2_c8", "mha_r1_k3_s1_h2_d4_c8"],
            ["cn_r1_k3_s2_c8"],
            ["ds_r1_k3_s1_c8_d1", "ir_r1_k3.5_s1_e2_c8"],
        ]
    )
    options = dict(device="meta", dtype=torch.float64, layer_scale_init_value=1.0)
    trunk = build_blocks(8, arch, aa_layer="blur", **options)
    for name, p in nn.Sequential(*trunk.stages).named_parameters():
        assert (p.device.type, p.dtype) == ("meta", torch.float64), name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(feature_location="middle"), "feature_location='middle': give one of"),
        (dict(output_stride=4), "output_stride=4: give 8, 16 or 32"),
        (dict(act_layer="rel"), "unknown activation 'rel'. Did you mean 'relu'"),
        (dict(norm_layer="batchnorm3d"), "unknown norm"),
        (dict(pad_type="sam"), "unknown padding 'sam'"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        build_blocks(8, ARCH, **options)


@pytest.mark.parametrize(
    ("arch", "message"),
    [
        ([], "no stages to build"),
        ([["mqa_r1_k3_s2_h2_d4_c8"]], "attention keeps the size of the map"),
        ([["uir_r1_k0_s2_e2_c8"]], "stride=2 without a depthwise convolution"),
        ([["ds_r1_k3_s2_c8_d1"]], "d1 with s2"),
        ([["ds_r1_k3_s1_c8_d1", "er_r1_k3_s1_e2_c8"]], "er blocks have no space-to-depth form"),
        ([["ds_r1_k3.5_s1_c8_d1"]], "space-to-depth takes one kernel size"),
        ([["ir_r1_k3_s1_e2_c8_gs3"]], "16 channels do not divide into groups of group_size=3"),
    ],
)
def test_blocks_that_do_not_fit_are_explained(arch, message):
    with pytest.raises(ValueError, match=message):
        build_blocks(8, decode_arch_def(arch))
