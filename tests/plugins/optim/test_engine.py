"""What the engine promises for every optimizer that runs on it."""

import copy
import importlib
import io
import pickle
from functools import partial

import pytest
import torch
from hub_optim import lanes
from hub_optim.adam import AdamWLegacy
from hub_optim.engine import BlockedOptimizer
from hub_optim.lamb import Lamb
from hub_optim.lion import Lion
from hub_optim.sgdw import SGDW
from torch import nn

DECAY = dict(weight_decay=0.05)
CAUTIOUS = dict(caution=True, corrected_weight_decay=True, **DECAY)
CASES = {
    "adabelief": ("adabelief:AdaBelief", dict(rectify=False, amsgrad=True, **DECAY)),
    "adabelief-plain": ("adabelief:AdaBelief", dict(rectify=False, **DECAY)),
    "adabelief-coupled": ("adabelief:AdaBelief", dict(decoupled_decay=False, **DECAY)),
    "adamw": ("adam:AdamWLegacy", dict(**DECAY)),
    "adamw-all": ("adam:AdamWLegacy", dict(amsgrad=True, clipping_threshold=0.5, **CAUTIOUS)),
    "nadamw": ("adam:NAdamW", dict(**DECAY)),
    "nadamw-cautious": ("adam:NAdamW", CAUTIOUS),
    "nadam": ("adam:NAdamLegacy", DECAY),
    "radam": ("adam:RAdamLegacy", dict(betas=(0.9, 0.9), **DECAY)),
    "adan": ("adan:Adan", DECAY),
    "adan-cautious": ("adan:Adan", dict(no_prox=True, caution=True, **DECAY)),
    "adopt": ("adopt:Adopt", DECAY),
    "adopt-cautious": ("adopt:Adopt", dict(decoupled=True, **CAUTIOUS)),
    "laprop": ("laprop:LaProp", DECAY),
    "laprop-cautious": ("laprop:LaProp", CAUTIOUS),
    "lion": ("lion:Lion", DECAY),
    "lion-cautious": ("lion:Lion", CAUTIOUS),
    "madgrad": ("madgrad:MADGRAD", DECAY),
    "madgrad-still": ("madgrad:MADGRAD", dict(momentum=0.0, decoupled_decay=True, **DECAY)),
    "mars": ("mars:Mars", DECAY),
    "mars-lion": ("mars:Mars", dict(mars_type="lion", caution=True, optimize_1d=True, **DECAY)),
    "rmsprop": ("rmsprop:RMSpropTF", dict(centered=True, **DECAY)),
    "rmsprop-all": ("rmsprop:RMSpropTF", dict(momentum=0.9, decoupled_decay=True, **CAUTIOUS)),
    "novograd": ("novograd:NvNovoGrad", dict(amsgrad=True, grad_averaging=True, **DECAY)),
    "sgdw": ("sgdw:SGDW", dict(momentum=0.9, nesterov=True, **CAUTIOUS)),
    "lamb": ("lamb:Lamb", DECAY),
    "lamb-cautious": ("lamb:Lamb", dict(decoupled_decay=True, trust_clip=True, **CAUTIOUS)),
    "lamb-whole": ("lamb:Lamb", dict(grad_averaging=False, max_grad_norm=None, **DECAY)),
    "lars": ("lars:Lars", dict(momentum=0.9, trust_clip=True, **DECAY)),
}
SHAPES = [(7, 3, 3, 3), (5,), (30, 70), (), (1, 1), (4, 0), (6, 5, 1, 1)]
LR = 1e-2


def build(case, params, **kwargs):
    path, options = CASES[case]
    module, name = path.split(":")
    cls = getattr(importlib.import_module(f"hub_optim.{module}"), name)
    return cls(params, **{"lr": LR, **options, **kwargs})


def wave(shape, phase, dtype=torch.float64):
    numel = torch.Size(shape).numel()
    real = torch.sin(torch.arange(numel, dtype=torch.float64) * 0.37 + phase).reshape(shape)
    if dtype.is_complex:
        return torch.complex(real, torch.cos(2 * real)).to(dtype)
    return real.to(dtype)


def parameters(dtype=torch.float64, shapes=SHAPES):
    return [nn.Parameter(wave(s, i, dtype) * 0.5) for i, s in enumerate(shapes)]


def train(optimizer, params, steps, start=0):
    for t in range(start, start + steps):
        for i, p in enumerate(params):
            p.grad = wave(p.shape, 1.7 * i + 0.3 * t, p.dtype) * 0.1
        optimizer.step()
    return params


def close(ours, theirs, **tolerance):
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.detach(), b.detach(), check_dtype=False, **tolerance)


@pytest.fixture
def tiny_blocks(monkeypatch):
    monkeypatch.setattr(lanes, "BLOCK_BYTES", 8 * 16 * 4)
    monkeypatch.setattr(lanes, "SMALL_ELEMENTS", 6)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)


def trained(case, steps=12, dtype=torch.float64, **kwargs):
    params = parameters(dtype)
    return train(build(case, params, **kwargs), params, steps)


@pytest.mark.parametrize("case", CASES)
def test_blocks_and_lists_step_as_whole_parameters_do(case, tiny_blocks, monkeypatch):
    in_blocks = trained(case)
    in_lists = trained(case, foreach=True)
    monkeypatch.setattr(lanes, "BLOCK_BYTES", 1 << 30)
    monkeypatch.setattr(lanes, "SMALL_ELEMENTS", -1)
    whole = trained(case)
    close(in_blocks, whole, rtol=1e-12, atol=1e-14)
    close(in_lists, whole, rtol=1e-12, atol=1e-14)
    assert not torch.equal(whole[2], parameters()[2])


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_compiled_update_steps_as_an_eager_one(case, monkeypatch):
    monkeypatch.setattr(lanes, "SMALL_ELEMENTS", 0)
    close(trained(case, compile=True), trained(case), rtol=1e-9, atol=1e-12)


def test_one_compiled_update_steps_as_an_eager_one(monkeypatch):
    monkeypatch.setattr(lanes, "SMALL_ELEMENTS", 6)
    close(trained("lion-cautious", compile=True), trained("lion-cautious"), rtol=1e-9, atol=1e-12)


def test_one_kernel_serves_parameters_of_every_shape(monkeypatch):
    monkeypatch.setattr(lanes, "SMALL_ELEMENTS", 6)
    monkeypatch.setattr(lanes, "KERNELS", {})
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    shapes = [(8, 8), (4, 16), (2, 3, 4, 5), (70,)]
    compiled, eager = parameters(shapes=shapes), parameters(shapes=shapes)
    with torch._dynamo.config.patch(error_on_recompile=True):
        train(build("lion", compiled, compile=True), compiled, 2)
    assert len(lanes.KERNELS) == 1
    close(compiled, train(build("lion", eager), eager, 2), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_training_resumes_bit_for_bit(case, dtype):
    params = parameters(dtype)
    optimizer = build(case, params)
    train(optimizer, params, 7)
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    others = [nn.Parameter(p.detach().clone()) for p in params]
    resumed = build(case, others, lr=LR)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    train(optimizer, params, 5, start=7)
    train(resumed, others, 5, start=7)
    for p, other in zip(params, others, strict=True):
        assert torch.equal(p, other)


@pytest.mark.parametrize("case", CASES)
def test_complex_parameters_step_as_their_parts_do(case):
    """A complex vector is a matrix of real numbers to the engine, so Mars corrects it as such."""
    shapes = [(3, 4), (5, 6)]
    params = parameters(torch.complex128, shapes)
    parts = [nn.Parameter(torch.view_as_real(p.detach()).clone()) for p in params]
    optimizer, of_parts = build(case, params), build(case, parts)
    for t in range(8):
        for i, (p, q) in enumerate(zip(params, parts, strict=True)):
            p.grad = wave(p.shape, i + t, p.dtype)
            q.grad = torch.view_as_real(p.grad).clone()
        optimizer.step(), of_parts.step()
    close([torch.view_as_real(p.detach()) for p in params], parts, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("case", CASES)
def test_bfloat16_parameters_follow_float32_within_their_rounding(case):
    close(
        [p.float() for p in trained(case, steps=3, dtype=torch.bfloat16)],
        trained(case, steps=3, dtype=torch.float32),
        rtol=0.02,
        atol=0.02,
    )


@pytest.mark.parametrize("case", CASES)
def test_maximizing_is_minimizing_the_negative(case, tiny_blocks):
    params, others = parameters(), parameters()
    up, down = build(case, params, maximize=True), build(case, others)
    for t in range(6):
        for i, (p, q) in enumerate(zip(params, others, strict=True)):
            p.grad = wave(p.shape, i + t)
            q.grad = -p.grad
        up.step(), down.step()
    close(params, others, rtol=0, atol=0)


@pytest.mark.parametrize("case", CASES)
def test_gradients_stay_as_they_are(case, tiny_blocks):
    params = parameters()
    optimizer = build(case, params)
    train(optimizer, params, 2)
    before = [p.grad.clone() for p in params]
    optimizer.step()
    close([p.grad for p in params], before, rtol=0, atol=0)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("layout", ["channels_last", "holes"])
def test_the_memory_format_changes_nothing(case, layout, tiny_blocks):
    def laid_out(t):
        if layout == "channels_last":
            return t.to(memory_format=torch.channels_last)
        wide = torch.zeros(*t.shape[:-1], 2 * t.shape[-1], dtype=t.dtype)
        wide[..., ::2] = t
        return wide[..., ::2]

    shapes = [(4, 3, 5, 5), (2, 6, 3, 3)]
    plain = parameters(shapes=shapes)
    params = [nn.Parameter(laid_out(p.detach())) for p in plain]
    train(build(case, plain), plain, 5)
    train(build(case, params), params, 5)
    assert not params[0].is_contiguous()
    close(params, plain, rtol=1e-12, atol=1e-14)


def test_a_network_may_change_its_memory_format_between_steps(tiny_blocks):
    plain, params = parameters(shapes=[(4, 3, 5, 5)]), parameters(shapes=[(4, 3, 5, 5)])
    one, other = build("adamw", plain), build("adamw", params)
    train(one, plain, 3), train(other, params, 3)
    params[0].data = params[0].data.to(memory_format=torch.channels_last)
    train(one, plain, 3, start=3), train(other, params, 3, start=3)
    close(params, plain, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("capturable", [False, True])
def test_a_tensor_learning_rate_is_a_learning_rate(case, capturable):
    rate = torch.tensor(LR, dtype=torch.float64)
    close(trained(case, lr=rate, capturable=capturable), trained(case), rtol=1e-11, atol=1e-13)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["adamw", "lamb", "lion-cautious", "radam", "novograd", "laprop"])
def test_a_step_compiles_as_a_whole(case):
    params, others = parameters(), parameters()
    rate = torch.tensor(LR, dtype=torch.float64)
    optimizer, eager = build(case, params, lr=rate, capturable=True), build(case, others)
    step = torch.compile(optimizer.step)
    for t in range(6):
        for i, (p, q) in enumerate(zip(params, others, strict=True)):
            p.grad, q.grad = wave(p.shape, i + t), wave(p.shape, i + t)
        step(), eager.step()
    close(params, others, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("options", [{}, dict(amsgrad=True), dict(maximize=True)])
def test_adamw_is_the_adamw_of_torch(options):
    params, others = parameters(), parameters()
    train(AdamWLegacy(params, lr=LR, weight_decay=0.1, **options), params, 20)
    train(torch.optim.AdamW(others, lr=LR, weight_decay=0.1, **options), others, 20)
    close(params, others, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("options", [{}, dict(dampening=0.2), dict(nesterov=True)])
def test_sgdw_without_decay_is_the_sgd_of_torch(options):
    params, others = parameters(), parameters()
    train(SGDW(params, lr=LR, momentum=0.9, **options), params, 20)
    train(torch.optim.SGD(others, lr=LR, momentum=0.9, **options), others, 20)
    close(params, others, rtol=1e-12, atol=1e-14)


def test_lamb_moves_each_parameter_by_a_share_of_its_norm(tiny_blocks):
    params = parameters(shapes=[(30, 20), (40,), (3, 3)])
    before = [p.detach().clone() for p in params]
    train(Lamb(params, lr=LR, weight_decay=0.1), params, 1)
    for p, q in zip(params, before, strict=True):
        torch.testing.assert_close((p - q).norm(), LR * q.norm())


def test_cautious_steps_never_go_up_the_gradient(tiny_blocks):
    params = parameters(shapes=[(30, 20)])
    optimizer = Lion(params, lr=LR, caution=True)
    train(optimizer, params, 3)
    before = params[0].detach().clone()
    params[0].grad = wave((30, 20), 2.0)
    optimizer.step()
    moved = (params[0].detach() - before) * params[0].grad
    assert (moved <= 0).all()
    assert (moved == 0).any()
    kept = (moved < 0).double().mean()
    torch.testing.assert_close((params[0].detach() - before).abs().max(), LR / kept)


def test_corrected_decay_follows_the_square_of_the_rate():
    (p,) = params = parameters(shapes=[(3,)])
    optimizer = SGDW(params, lr=1.0, weight_decay=0.1, corrected_weight_decay=True)
    before = p.detach().clone()
    optimizer.param_groups[0]["lr"] = 0.5
    p.grad = torch.zeros_like(p)
    optimizer.step()
    torch.testing.assert_close(p.detach(), before * (1 - 0.25 * 0.1))


def test_parameters_without_gradients_are_left_alone():
    params = parameters()
    optimizer = build("lamb", params)
    optimizer.step()
    assert not optimizer.state
    params[1].grad = torch.ones_like(params[1])
    optimizer.step()
    assert list(optimizer.state) == [params[1]]
    close(params[2:], parameters()[2:], rtol=0, atol=0)


def test_each_parameter_counts_its_own_steps():
    params, late = parameters(), parameters()
    optimizer = build("nadamw", params)
    train(optimizer, params, 4)
    optimizer.add_param_group(dict(params=late, lr_scale=0.5))
    train(optimizer, params + late, 3)
    alone = parameters()
    other = build("nadamw", alone)
    for t in range(4, 7):
        for i, p in enumerate(alone, start=len(params)):
            p.grad = wave(p.shape, 1.7 * i + 0.3 * (t - 4)) * 0.1
        other.step()
    close(late, alone, rtol=0, atol=0)
    assert optimizer.param_groups[1]["lr_scale"] == 0.5


def test_a_closure_computes_gradients_and_its_loss_is_returned():
    params = parameters(shapes=[(3,)])
    optimizer = build("adamw", params)

    def closure():
        optimizer.zero_grad()
        loss = (params[0] ** 2).sum()
        loss.backward()
        return loss

    first = optimizer.step(closure)
    assert optimizer.step(closure) < first


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
def test_optimizers_can_be_copied(copied):
    params = parameters()
    optimizer = build("lamb", params)
    train(optimizer, params, 3)
    twin = copied(optimizer)
    others = twin.param_groups[0]["params"]
    train(optimizer, params, 2, start=3), train(twin, others, 2, start=3)
    close(params, others, rtol=0, atol=0)


@pytest.mark.parametrize("case", CASES)
def test_the_state_holds_nothing_but_itself(case):
    params = parameters()
    optimizer = build(case, params)
    train(optimizer, params, 2)
    for state in optimizer.state.values():
        for value in state.values():
            if isinstance(value, torch.Tensor):
                assert value.untyped_storage().nbytes() == value.numel() * value.element_size()


def test_sparse_gradients_are_refused_with_what_to_do_instead():
    table = nn.Embedding(4, 2, sparse=True)
    optimizer = Lion(table.parameters())
    table(torch.tensor([1])).sum().backward()
    with pytest.raises(ValueError, match=r"\(4, 2\) is torch.sparse_coo; use .*SparseAdam"):
        optimizer.step()


@pytest.mark.parametrize(
    ("cls", "options", "message"),
    [
        (Lion, dict(lr=-1.0), "lr is -1.0; it must be 0 or more"),
        (Lion, dict(betas=(0.9, 1.0)), r"betas\[1\] is 1.0; it must be at least 0 and below 1"),
        (SGDW, dict(nesterov=True), "nesterov=True needs momentum above 0"),
        (Lion, dict(lr=0.0, corrected_weight_decay=True), "build the optimizer with the highest"),
    ],
)
def test_what_is_out_of_range_is_refused_with_the_range(cls, options, message):
    with pytest.raises(ValueError, match=message):
        cls(parameters(), **options)


def test_an_unknown_keyword_is_answered_with_the_known_ones():
    with pytest.raises(TypeError, match=r"Lion takes no momentum; it takes lr, betas, .*compile"):
        Lion(parameters(), momentum=0.9)


def test_an_update_that_says_nothing_of_itself_is_no_optimizer():
    params = parameters()
    optimizer = BlockedOptimizer(params, dict(lr=LR))
    with pytest.raises(NotImplementedError):
        train(optimizer, params, 1)
