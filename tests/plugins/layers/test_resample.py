"""Pretrained tables and kernels for other sizes; resample.json holds what timm 1.0.31 answers."""

import json
import logging
import math
from pathlib import Path

import hub_layers as L
import pytest
import torch
import torch.nn.functional as F
from torch import nn

CASES = json.loads(Path(__file__).with_name("resample.json").read_text())
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def table(window, heads=2, extra=0):
    entries = (2 * window[0] - 1) * (2 * window[1] - 1) + extra
    return torch.randn(entries, heads, generator=torch.Generator().manual_seed(0))


def shape(window, heads=2, extra=0):
    return table(window, heads, extra).shape


def grow(x, dtype=torch.float32):
    """Each function on one input, to another size."""
    x = x.to(dtype)
    return {
        "pos_embed": L.resample_abs_pos_embed(x.view(1, 49, 2), (9, 5), num_prefix_tokens=0),
        "nhwc": L.resample_abs_pos_embed_nhwc(x.view(1, 7, 7, 2), (9, 5)),
        "patch_embed": L.resample_patch_embed(x.view(1, 2, 7, 7), (9, 8)),
        "geometric": L.resize_rel_pos_bias_table(x.view(49, 2), (5, 6), shape((5, 6))),
        "maps": L.resize_rel_pos_bias_table(x.view(2, 7, 7), (5, 6), (2, 9, 11)),
        "simple": L.resize_rel_pos_bias_table_simple(x.view(49, 2), (5, 6), shape((5, 6))),
        "levit": L.resize_rel_pos_bias_table_levit(x.view(49, 2), (81, 2)),
    }


@pytest.fixture
def lines(caplog):
    """What the logger "hub" said."""
    caplog.set_level(logging.INFO, logger="hub")
    return lambda: [r.getMessage() for r in caplog.records if r.name == "hub"]


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c['function']}{c['shape']}")
def test_answers_are_those_recorded_from_timm(case):
    x = torch.arange(1.0, 1 + math.prod(case["shape"])).sin().reshape(case["shape"])
    out = getattr(L, case["function"])(x, **case["options"])
    expected = torch.tensor(case["expected"]).reshape(case["expected_shape"])
    torch.testing.assert_close(out, expected, atol=2e-5, rtol=1e-5)


def test_what_fits_is_returned_itself_and_silently(lines):
    grid, kernel, flat = torch.randn(1, 17, 2), torch.randn(2, 3, 4, 4), table((4, 4), extra=3)
    odd, maps = torch.randn(1, 16, 2), torch.randn(2, 7, 5)
    assert L.resample_abs_pos_embed(grid, (4, 4)) is grid
    assert L.resample_abs_pos_embed(grid, [2, 8], old_size=[2, 8]) is grid
    assert L.resample_abs_pos_embed(odd, (3, 5)) is odd
    assert L.resample_abs_pos_embed_nhwc(kernel, (3, 4)) is kernel
    assert L.resample_patch_embed(kernel, (4, 4)) is kernel
    for resize in (L.resize_rel_pos_bias_table, L.resize_rel_pos_bias_table_simple):
        assert resize(flat, (4, 4), flat.shape) is flat
        assert resize(maps, (4, 3), maps.shape) is maps
        assert resize(table((4, 3)), (4, 3), shape((4, 3))).equal(table((4, 3)))
    assert L.resize_rel_pos_bias_table_levit(flat, flat.shape) is flat
    assert lines() == []


def test_each_adaption_is_one_line(lines):
    grow(torch.randn(98))
    assert lines() == [
        "pos_embed: adapted from 7x7 to 9x5",
        "pos_embed: adapted from 7x7 to 9x5",
        "patch_embed: adapted from 7x7 to 9x8",
        "relative position table: adapted from 4x4 to 5x6",
        "relative position table: adapted from 4x4 to 5x6",
        "relative position table: adapted from 4x4 to 5x6",
        "position_bias_table: adapted from 7x7 to 9x9",
    ]


def test_parameter_resized_in_a_forward_pass_is_quiet_unless_verbose(lines):
    own = nn.Parameter(torch.randn(1, 17, 2))
    L.resample_abs_pos_embed(own, (3, 3)).sum().backward()
    assert own.grad.abs().min() > 0
    assert lines() == []
    L.resample_abs_pos_embed(own, (3, 3), verbose=True)
    assert lines() == ["pos_embed: adapted from 4x4 to 3x3"]


def test_network_that_resizes_in_its_forward_pass_exports(lines):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("table", torch.randn(1, 17, 2))

        def forward(self, x):
            return x + L.resample_abs_pos_embed(self.table, x.shape[1:3])[:, 1:].view(x.shape)

    net, x = Net(), torch.randn(1, 6, 3, 2)
    exported = torch.export.export(net, (x,))
    assert lines() == []
    torch.testing.assert_close(exported.module()(x), net(x))


def test_constants_stay_constants():
    for name, out in grow(torch.full((98,), 0.7)).items():
        if name != "patch_embed":  # keeps the sum over the patch, not the values
            torch.testing.assert_close(out, torch.full_like(out, 0.7), msg=name)


def test_shapes_are_those_asked_for():
    assert {name: tuple(out.shape) for name, out in grow(torch.randn(98)).items()} == {
        "pos_embed": (1, 45, 2),
        "nhwc": (1, 9, 5, 2),
        "patch_embed": (1, 2, 9, 8),
        "geometric": (99, 2),
        "maps": (2, 9, 11),
        "simple": (99, 2),
        "levit": (81, 2),
    }


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_dtype_is_kept_and_half_precision_is_computed_in_float32(dtype):
    x = torch.randn(98, generator=torch.Generator().manual_seed(0)).to(dtype)
    exact = grow(x.float())
    for name, out in grow(x, dtype).items():
        assert out.dtype == dtype, name
        assert out.equal(exact[name].to(dtype)), name
        assert out.is_contiguous(), name


@pytest.mark.parametrize("size", [(20, 9), (4, 3)])
@pytest.mark.parametrize("mode", ["bicubic", "bilinear"])
def test_ramps_stay_monotone(size, mode):
    ramp = torch.linspace(0, 1, 10).repeat_interleave(10)  # rises with the row
    pair = torch.stack((ramp, ramp.view(10, 10).T.flatten()), dim=-1)  # (100, 2): row, column
    posemb = L.resample_abs_pos_embed(pair[None], size, None, 0, mode).view(*size, 2)
    nhwc = L.resample_abs_pos_embed_nhwc(pair.view(1, 10, 10, 2), size, mode)[0]
    for out in (posemb, nhwc):
        assert (out[..., 0].diff(dim=0) > 0).all()
        assert (out[..., 1].diff(dim=1) > 0).all()
        assert out[..., 0].diff(dim=1).abs().max() < 1e-6


@pytest.mark.parametrize("window", [(9, 12), (3, 2)])
def test_relative_ramps_stay_monotone_and_centred(window):
    ramp = torch.linspace(-1, 1, 13)  # bias by dx in a window of 7x7
    maps = torch.stack((ramp.expand(13, 13).T, ramp.expand(13, 13)))
    spans = [2 * n - 1 for n in window]
    for resize in (L.resize_rel_pos_bias_table, L.resize_rel_pos_bias_table_simple):
        out = resize(maps, window, (2, *spans))
        flat = resize(maps.flatten(1).T, window, (math.prod(spans), 2))
        torch.testing.assert_close(flat.T.view(2, *spans), out)
        assert (out[0].diff(dim=0) > 0).all()
        assert (out[1].diff(dim=1) > 0).all()
        torch.testing.assert_close(out, -out.flip(1, 2), atol=4e-6, rtol=0)


def test_geometric_table_keeps_near_biases_and_spreads_far_ones():
    bump = torch.zeros(1, 13, 13)
    bump[0, 6, 6] = 1.0
    out = L.resize_rel_pos_bias_table(bump, (14, 14), (1, 27, 27))
    assert out[0, 13, 13] == 1 and out[0, 12, 13] < 1e-6  # neighbours stay neighbours
    edge = torch.arange(13.0).expand(1, 13, 13)
    out = L.resize_rel_pos_bias_table(edge, (14, 14), (1, 27, 27))[0, 0]
    torch.testing.assert_close(out[12:15], torch.tensor([5.0, 6.0, 7.0]))
    torch.testing.assert_close(out[[0, -1]], torch.tensor([0.0, 12.0]), atol=1e-3, rtol=0)


def test_prefix_and_extra_entries_are_untouched():
    for prefix in (1, 5):
        x = torch.randn(2, prefix + 16, 3)
        out = L.resample_abs_pos_embed(x, (5, 6), num_prefix_tokens=prefix)
        assert out.shape == (2, prefix + 30, 3)
        assert out[:, :prefix].equal(x[:, :prefix])
        alone = L.resample_abs_pos_embed(x[:, prefix:], (5, 6), num_prefix_tokens=0)
        assert out[:, prefix:].equal(alone)
    flat = table((4, 4), extra=3)
    for resize in (L.resize_rel_pos_bias_table, L.resize_rel_pos_bias_table_simple):
        out = resize(flat, (5, 6), shape((5, 6), extra=3))
        assert out[-3:].equal(flat[-3:])
        assert out[:-3].equal(resize(flat[:-3], (5, 6), shape((5, 6))))


def test_batch_is_resized_like_each():
    x = torch.randn(2, 4, 3, 5)
    out = L.resample_abs_pos_embed_nhwc(x, (6, 7))
    torch.testing.assert_close(out[1:], L.resample_abs_pos_embed_nhwc(x[1:], (6, 7)))


def test_there_and_back_is_close():
    waves = torch.arange(0, 3, 3 / 196).cos().view(14, 14)
    x = (waves + waves.T).reshape(1, 196, 1)
    out = L.resample_abs_pos_embed(x, (28, 35), num_prefix_tokens=0)
    back = L.resample_abs_pos_embed(out, (14, 14), old_size=(28, 35), num_prefix_tokens=0)
    assert (back - x).abs().max() < 0.02 * x.abs().max()
    kernel = torch.randn(2, 3, 8, 8)
    back = L.resample_patch_embed(L.resample_patch_embed(kernel, (8, 16)), (8, 8))
    assert torch.cosine_similarity(back.flatten(), kernel.flatten(), dim=0) > 0.9


def test_wide_grid_is_read_by_rows():
    x = torch.arange(8.0).view(1, 8, 1)  # 2x4
    out = L.resample_abs_pos_embed(x, (4, 4), old_size=(2, 4), num_prefix_tokens=0).view(4, 4)
    torch.testing.assert_close(out.diff(dim=1), torch.ones(4, 3))
    assert out[0, 0] < 0.5 and out[-1, -1] > 6.5


@pytest.mark.parametrize("size", [(16, 16), (12, 20), (8, 9)])
@pytest.mark.parametrize("mode", ["bicubic", "bilinear"])
@pytest.mark.parametrize("antialias", [True, False])
def test_grown_kernels_embed_grown_patches_as_before(size, mode, antialias):
    g = torch.Generator().manual_seed(0)
    patches = torch.randn(16, 3, 8, 8, generator=g)
    kernels = torch.randn(5, 3, 8, 8, generator=g) / 14  # sums of 192 products of size one
    grown = F.interpolate(patches, size=size, mode=mode, antialias=antialias)
    resized = L.resample_patch_embed(kernels, size, mode, antialias)
    expected = F.conv2d(patches, kernels)
    torch.testing.assert_close(F.conv2d(grown, resized), expected, atol=1e-4, rtol=0)


def test_shrunk_kernels_are_the_least_squares_ones():
    kernels = torch.randn(1, 1, 6, 6, dtype=torch.float32)
    resized = L.resample_patch_embed(kernels, (4, 3))
    units = torch.eye(36).view(36, 1, 6, 6)
    resize = F.interpolate(units, size=(4, 3), mode="bicubic", antialias=True).view(36, 12)
    best = torch.linalg.lstsq(resize, kernels.view(36, 1)).solution
    torch.testing.assert_close(resized.view(12, 1), best, atol=1e-5, rtol=1e-4)


def test_index_gives_each_pair_the_entry_of_its_distance():
    height, width = 3, 4
    index = L.gen_relative_position_index((height, width))
    spans = 2 * height - 1, 2 * width - 1
    for i in range(12):
        for j in range(12):
            dy, dx = i // width - j // width, i % width - j % width
            assert index[i, j] == (dy + height - 1) * spans[1] + dx + width - 1
    with_class = L.gen_relative_position_index((height, width), class_token=True)
    assert with_class[1:, 1:].equal(index)
    entries = spans[0] * spans[1]
    assert with_class[0, 0] == entries + 2
    assert (with_class[0, 1:] == entries).all() and (with_class[1:, 0] == entries + 1).all()


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda x: L.resample_abs_pos_embed(x(17, 2), (4, 4)), r"shape \(17, 2\); give \(1, tok"),
        (lambda x: L.resample_abs_pos_embed(x(1, 17, 2), 4), r"new_size=4; give \(height, width"),
        (lambda x: L.resample_abs_pos_embed(x(1, 17, 2), (4, 0)), r"new_size=\(4, 0\); give"),
        (lambda x: L.resample_abs_pos_embed(x(1, 16, 2), (4, 4)), "15 positions form no square .*"),
        (lambda x: L.resample_abs_pos_embed(x(1, 1, 2), (4, 4)), "0 positions form no square"),
        (
            lambda x: L.resample_abs_pos_embed(x(1, 17, 2), (4, 4), old_size=(3, 5)),
            "16 positions are no grid of 3x5: see old_size",
        ),
        (
            lambda x: L.resample_abs_pos_embed(x(1, 17, 2), (3, 3), interpolation="cubic"),
            "interpolation='cubic'; known: bicubic, bilinear, nearest, nearest-exact, area",
        ),
        (
            lambda x: L.resample_patch_embed(x(1, 2, 4, 4), (3, 3), "nearest"),
            "only bicubic and bilinear have these; give antialias=False",
        ),
        (lambda x: L.resample_abs_pos_embed_nhwc(x(4, 4, 2), (3, 3)), "give .* to resample_abs"),
        (lambda x: L.resample_patch_embed(x(2, 4, 4), (3, 3)), r"give \(out, in, height, width\)"),
        (
            lambda x: L.resize_rel_pos_bias_table(x(49, 2), (5, 5), (81, 3)),
            r"shape \(49, 2\) cannot become \(81, 3\): give .* of as many heads",
        ),
        (lambda x: L.resize_rel_pos_bias_table(x(49), (5, 5), (81,)), "cannot become"),
        (
            lambda x: L.resize_rel_pos_bias_table(x(49, 2), (5, 6), (81, 2)),
            r"\(81, 2\) is no table for windows of 5x6: these have 9x11 entries",
        ),
        (
            lambda x: L.resize_rel_pos_bias_table_simple(x(2, 7, 7), (5, 6), (2, 9, 9)),
            r"\(2, 9, 9\) is no table for windows of 5x6",
        ),
        (
            lambda x: L.resize_rel_pos_bias_table(x(15, 2), (5, 5), (81, 2)),
            "15 positions form no square and not the 9x9 wanted: give old_window_size",
        ),
        (
            lambda x: L.resize_rel_pos_bias_table(x(64, 2), (5, 5), (81, 2)),
            "has 8x8 distances, and those of a window are odd",
        ),
        (lambda x: L.resize_rel_pos_bias_table_levit(x(48, 2), (81, 2)), "48 entries cannot .* 81"),
        (lambda x: L.gen_relative_position_index((3, 3), (4, 4)), r"k_size=\(4, 4\) is not q_size"),
    ],
)
def test_what_does_not_fit_is_told(call, message):
    with pytest.raises(ValueError, match=message):
        call(torch.zeros)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_gives_what_the_cpu_gives():
    x = torch.randn(98)
    for name, out in grow(x.cuda()).items():
        assert out.is_cuda, name
        torch.testing.assert_close(out.cpu(), grow(x)[name], atol=1e-5, rtol=1e-4, msg=name)
