"""Block strings: what they mean, and what is said about those that mean nothing."""

import dataclasses
import json
from pathlib import Path

import pytest
from hub_layers.mbconv import (
    BlockArgs,
    BlockStringError,
    block_options,
    decode_arch_def,
    decode_block_str,
    round_channels,
    scale_repeats,
)

# Every string of timm's networks and what timm decodes from it; see against_timm.py.
STRINGS = (Path(__file__).parent / "strings.txt").read_text().splitlines()
CLASSES = {"relu": "ReLU", "silu": "SiLU"}


def test_all_published_strings_decode_as_published():
    assert len(STRINGS) > 300
    for line in STRINGS:
        string, data = line.split(" ", 1)
        args, repeats = decode_block_str(string)
        ours = block_options(args) | dict(block_type=args.kind, repeats=repeats, s2d=args.s2d)
        ours |= dict(out_chs=args.out_chs, stride=args.stride, se_ratio=args.se_ratio)
        ours |= dict(act_layer=CLASSES.get(args.act_layer), force_in_chs=args.force_in_chs)
        assert {k: v for k, v in ours.items() if v} == json.loads(data), string


def test_tokens_come_in_any_order():
    plain = decode_block_str("ir_r2_k3_s2_e6_c24_se0.25_nhs_noskip")
    assert decode_block_str("ir_noskip_nhs_se0.25_c24_e6_s2_k3_r2") == plain


@pytest.mark.parametrize(
    ("code", "name"),
    [("re", "relu"), ("r6", "relu6"), ("hs", "hard_swish"), ("sw", "silu"), ("mi", "mish")],
)
def test_activations_have_codes(code, name):
    assert decode_block_str(f"cn_r1_k1_s1_c8_n{code}")[0].act_layer == name


def test_shortcuts_are_the_habit_of_the_kind_unless_said():
    def skip(string):
        return decode_block_str(string)[0].skip

    assert [skip(f"{k}_r1_k3_s1_c8") for k in ("ds", "dsa", "cn")] == [True, False, False]
    assert [skip(f"{k}_r1_k3_s1_c8_noskip") for k in ("ds", "dsa", "cn")] == [False] * 3
    assert [skip(f"{k}_r1_k3_s1_c8_skip") for k in ("ds", "dsa", "cn")] == [True] * 3


def test_a_letter_means_what_it_means_in_its_kind():
    ds, _ = decode_block_str("ds_r1_k3_s1_c16_d1")
    mha, _ = decode_block_str("mha_r1_k3_s1_h4_d32_c64")
    uir, _ = decode_block_str("uir_r1_a3_k0_p5_s2_e4_c64")
    assert (ds.s2d, ds.key_dim) == (True, 0)
    assert (mha.s2d, mha.key_dim, mha.kv_stride) == (False, 32, 1)
    assert (uir.exp_kernel_size, uir.kernel_size, uir.pw_kernel_size) == (3, 0, 5)


def test_decoded_blocks_cannot_be_changed():
    args, _ = decode_block_str("ir_r1_k3.5_s1_e6_c8")
    with pytest.raises(dataclasses.FrozenInstanceError):
        args.stride = 2
    assert hash(args) == hash(decode_block_str("ir_r1_k3.5_s1_e6_c8")[0])


def test_blocks_without_a_string_are_checked_too():
    with pytest.raises(ValueError, match="kind='irr': give one of ds, dsa"):
        BlockArgs(kind="irr", out_chs=8)
    with pytest.raises(ValueError, match="stride=3"):
        BlockArgs(kind="ir", out_chs=8, stride=3)


@pytest.mark.parametrize(
    ("string", "parts"),
    [
        ("", ["''", "Known kinds: ds, dsa, ir, er, cn, uir, mqa, mha"]),
        ("irr_r1_k3_s1_e6_c8", ["'irr' is no kind", "Known kinds"]),
        ("ir_r1_k3_s1_e6_c8_q4", ["'q4' is no token of ir", "Known codes of ir: r, k, s, e, c"]),
        ("ir_r1_k3_s1_e6_c8_h4", ["'h4' is no token of ir"]),
        ("ir_r1_k3_s1_e6_c8_", ["'' is no token"]),
        ("ir_r1_k3.x_s1_e6_c8", ["'k3.x'", "a kernel size (k3)", "k3.5.7"]),
        ("ir_r1_k3_s3_e6_c8", ["'s3'", "the stride, s1 or s2"]),
        ("ir_r0_k3_s1_e6_c8", ["'r0'", "r1 or more"]),
        ("ir_r1_k3_s1_e6_c8_nxx", ["'nxx'", "nre, nr6, nhs, nsw, nmi"]),
        ("ir_r1_k3_s1_e6.5.5_c8", ["'e6.5.5'", "hidden channels per input channel"]),
        ("ir_r1_k3_s1_e6_c8_k5", ["'k5' is said twice"]),
        ("ir_r1_k3_s1_e6_c8_skip_noskip", ["'noskip' is said twice"]),
        ("ir_r1_k3_s1_c8", ["ir needs 'e', hidden channels", "add it"]),
        ("mqa_r1_k3_s1_h4_c8", ["mqa needs 'd', width of keys and values"]),
        ("ir_r1_k0_s1_e6_c8", ["only uir has kernels of size 0"]),
        ("ds_r1_k3_s1_p0_c8", ["only uir has kernels of size 0"]),
        ("ds_r1_k3_s1_e6_c8", ["ds does not expand", "take ir"]),
    ],
)
def test_errors_show_the_string_the_token_and_what_is_allowed(string, parts):
    with pytest.raises(BlockStringError) as error:
        decode_block_str(string)
    assert repr(string) in str(error.value)
    for part in parts:
        assert part in str(error.value)


def test_errors_name_the_stage():
    with pytest.raises(BlockStringError) as error:
        decode_arch_def([["ds_r1_k3_s1_c8"], ["ir_r1_k3_s1_e6_c8", "ir_k3"]])
    assert error.value.__notes__ == ["in stage 1 of the network"]


@pytest.mark.parametrize(
    ("repeats", "multiplier", "trunc", "scaled"),
    [
        ([1], 1.1, "ceil", [2]),
        ([1], 1.1, "round", [1]),
        ([4], 1.4, "ceil", [6]),
        ([1, 4], 1.4, "ceil", [1, 6]),
        ([1, 1, 1], 2.0, "ceil", [2, 2, 2]),
        ([2, 2], 0.5, "round", [1, 1]),
        ([1, 3], 0.2, "round", [1, 1]),
        ([3], 0.1, "round", [1]),
    ],
)
def test_depth_scales_stage_by_stage(repeats, multiplier, trunc, scaled):
    assert scale_repeats(repeats, multiplier, trunc) == scaled


ARCH = [["ds_r1_k3_s1_c8"], ["ir_r2_k3_s2_e6_c16", "ir_r1_k5_s2_e3_c16_cc4"], ["cn_r1_k1_s1_c32"]]


def depths(**options):
    return [len(stage) for stage in decode_arch_def(ARCH, **options)]


def test_depth_of_a_network():
    assert depths() == [1, 3, 1]
    assert depths(depth_multiplier=2) == [2, 6, 2]
    assert depths(depth_multiplier=2, fix_first_last=True) == [1, 6, 1]
    assert depths(depth_multiplier=(1, 2, 3)) == [1, 6, 3]
    assert depths(depth_multiplier=1.1, depth_trunc="round") == [1, 3, 1]


def test_only_the_first_block_of_a_stage_strides():
    assert [args.stride for args in decode_arch_def(ARCH)[1]] == [2, 1, 1]


def test_experts_and_groups_of_a_network():
    stage = decode_arch_def(ARCH, experts_multiplier=2, group_size=4)[1]
    assert [args.num_experts for args in stage] == [0, 0, 8]
    assert {args.group_size for args in stage} == {4}
    said = decode_arch_def([["ir_r1_k3_s1_e6_c8_gs2"]], group_size=4)
    assert said[0][0].group_size == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(depth_multiplier=(1, 2)), "2 entries for 3 stages"),
        (dict(depth_trunc="floor"), "depth_trunc='floor': give 'ceil' or 'round'"),
    ],
)
def test_network_options_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        decode_arch_def(ARCH, **options)


@pytest.mark.parametrize("stage", ["ds_r1_k3_s1_c8", []])
def test_a_stage_is_a_list_of_strings(stage):
    with pytest.raises(ValueError, match=r"stage 0 is .*: give a list of block strings"):
        decode_arch_def([stage])


def test_widths_are_rounded_to_the_divisor():
    assert [round_channels(c, 1.1) for c in (16, 24, 40, 320)] == [16, 24, 48, 352]
    assert round_channels(32, 0.35) == 16  # 11.2 rounds to 8, which loses too much
    assert round_channels(32, 0.35, round_limit=0.0) == 8
    assert round_channels(16, 0.5, channel_min=16) == 16
