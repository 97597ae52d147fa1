"""What every optimizer promises beside its numbers: resuming, copying, kinds of input."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import pytest
import torch
from hub_optim import create_optimizer_v2
from optimizer_cases import CASES, NAMES
from torch import nn
from trajectory import FormulaTrack, advance, groups

# One name of every class, and those whose options make another path.
OWN = """
    adabelief radabelief adafactor cadafactor adafactorbv cadafactorbv adahessian adamp cadamp
    adamuon adamwlegacy cadamw adan adanw adopt adoptw kron kronw lamb lambc laprop lars larc
    lion clion madgrad madgradw mars muon nmuon nadamlegacy nadamw novograd radamlegacy
    rmsproptf sgdp sgdw
""".split()
TORCHS = "sgd fusedsgd adam adamw nadam radam adamax adadelta adagrad rmsprop".split()
WRAPPED = ["lookahead_adamw", "lookahead_kron", "lookahead_lamb"]
# What multiplies gradients by the graph they came from has no meaning for complex numbers.
NO_COMPLEX = {"adahessian"}


def make(opt: str, params: Any, **options: Any) -> torch.optim.Optimizer:
    arguments = {"opt": opt, "lr": 0.01, "weight_decay": 0.05}
    if opt in CASES:
        arguments |= CASES[opt].arguments()
    return create_optimizer_v2(params, **arguments, **options)


def run(opt: str, track: FormulaTrack, steps: int = 5, **options: Any) -> torch.optim.Optimizer:
    optimizer = make(opt, groups(track), **options)
    advance(track, optimizer, range(1, steps + 1))
    return optimizer


def assert_equal(a: FormulaTrack, b: FormulaTrack, **tolerance: float) -> None:
    for name, p in a.params.items():
        torch.testing.assert_close(
            p, b.params[name], msg=lambda m, n=name: f"{n}: {m}", **tolerance
        )


EXACT = {"rtol": 0.0, "atol": 0.0}
CLOSE = {"rtol": 2e-5, "atol": 2e-6}


def saved_and_loaded(state: dict[str, Any]) -> dict[str, Any]:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("opt", [*NAMES, *WRAPPED])
def test_resuming_from_a_checkpoint_is_exact(opt, dtype):
    if dtype == torch.bfloat16 and opt not in OWN:
        pytest.skip("float32 has shown it")
    track = FormulaTrack(dtype)
    optimizer = run(opt, track, 25)
    state = saved_and_loaded(optimizer.state_dict())
    resumed = FormulaTrack(dtype)
    for name, p in resumed.params.items():
        p.data.copy_(track.params[name].data)
    again = make(opt, groups(resumed))
    again.load_state_dict(state)
    for t, o in ((track, optimizer), (resumed, again)):
        advance(t, o, range(26, 31))
    assert_equal(resumed, track, **EXACT)


@pytest.mark.parametrize("way", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
@pytest.mark.parametrize("opt", [*OWN, *WRAPPED])
def test_a_copy_goes_on_as_the_original(opt, way):
    track = FormulaTrack()
    optimizer = run(opt, track)
    twin, other = way((track, optimizer))
    for t, o in ((track, optimizer), (twin, other)):
        advance(t, o, range(6, 9))
    assert_equal(twin, track, **EXACT)


@pytest.mark.parametrize("opt", [*OWN, *TORCHS])
def test_bfloat16_parameters_go_the_way_of_float32(opt):
    half, full = FormulaTrack(torch.bfloat16), FormulaTrack()
    start = {name: p.detach().clone() for name, p in full.params.items()}
    run(opt, half), run(opt, full)
    for name, p in half.params.items():
        assert p.dtype == torch.bfloat16
        moved = full.params[name].detach() - start[name]
        off = (p.detach().float() - full.params[name].detach()).norm()
        assert off < 0.2 * moved.norm() + 0.02 * start[name].norm(), name


class Downhill(FormulaTrack):
    """A track whose loss has the other sign."""

    def loss(self, step: int) -> torch.Tensor:
        return -super().loss(step)


@pytest.mark.parametrize("opt", OWN)
def test_maximize_goes_up_where_minimizing_goes_down(opt):
    up, down = Downhill(), FormulaTrack()
    run(opt, up, maximize=True), run(opt, down)
    assert_equal(up, down, **CLOSE)


@pytest.mark.parametrize("opt", [o for o in OWN if o not in NO_COMPLEX])
def test_complex_parameters_learn(opt):
    torch.manual_seed(0)
    shapes = (18, 20), (6, 5, 3, 3), (7,), ()
    params = [nn.Parameter(torch.randn(s, dtype=torch.complex64)) for s in shapes]
    targets = [torch.randn(s, dtype=torch.complex64) * 2 for s in shapes]
    optimizer = make(opt, params)

    def loss() -> torch.Tensor:
        return sum((p - t).abs().square().sum() for p, t in zip(params, targets, strict=True))

    before = loss().item()
    for _ in range(20):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    assert loss().item() < before
    assert all(p.is_complex() and p.isfinite().all() for p in params)


def test_adahessian_refuses_complex_parameters():
    p = nn.Parameter(torch.ones(2, dtype=torch.complex64))
    optimizer = make("adahessian", [p])
    p.grad = torch.ones_like(p)
    with pytest.raises(ValueError, match="view_as_real"):
        optimizer.step()


def test_adahessian_says_that_it_needs_the_graph():
    p = nn.Parameter(torch.ones(2))
    optimizer = make("adahessian", [p])
    (p * p).sum().backward()
    with pytest.raises(RuntimeError, match="create_graph=True"):
        optimizer.step()


@pytest.mark.parametrize("opt", OWN)
def test_a_tensor_is_as_good_a_rate_as_a_number(opt):
    by_tensor, by_number = FormulaTrack(), FormulaTrack()
    for track, kind in ((by_tensor, torch.tensor), (by_number, float)):
        optimizer = create_optimizer_v2(groups(track), opt, lr=kind(0.01), weight_decay=0.05)
        advance(track, optimizer, range(1, 4), falling=False)
    assert_equal(by_tensor, by_number, **CLOSE)


@pytest.mark.parametrize("opt", [*OWN, *WRAPPED])
def test_step_calls_the_closure_and_returns_its_loss(opt):
    track, other = FormulaTrack(), FormulaTrack()
    optimizer = make(opt, groups(track))

    def closure() -> float:
        assert torch.is_grad_enabled()
        track.backward(1, create_graph=opt == "adahessian")
        return 2.5

    assert optimizer.step(closure) == 2.5
    run(opt, other, 1)
    assert_equal(track, other, **EXACT)


@pytest.mark.parametrize("opt", OWN)
def test_parameters_without_gradient_and_empty_groups_are_left_alone(opt):
    track = FormulaTrack()
    idle = nn.Parameter(torch.ones(5, 5))
    optimizer = make(opt, [*groups(track), {"params": []}, {"params": [idle]}])
    advance(track, optimizer, range(1, 3))
    assert torch.equal(idle, torch.ones(5, 5))
    optimizer.zero_grad()
    before = [p.detach().clone() for p in track.params.values()]
    optimizer.step()
    assert all(map(torch.equal, before, track.params.values()))


@pytest.mark.parametrize("opt", OWN)
def test_a_group_that_joins_late_starts_from_its_first_step(opt):
    track, late, alone = FormulaTrack(), FormulaTrack(), FormulaTrack()
    optimizer = run(opt, track, 3)
    for group in groups(late):
        optimizer.add_param_group(group)
    for p in track.params.values():
        p.grad = None
    advance(late, optimizer, range(1, 4), falling=False)
    advance(alone, make(opt, groups(alone)), range(1, 4), falling=False)
    if "kron" in opt:  # which draws on
        assert all(p.isfinite().all() for p in late.params.values())
    elif opt != "adahessian":
        assert_equal(late, alone, **CLOSE)


@pytest.mark.parametrize("opt", [o for o in OWN if o != "adahessian"])
def test_channels_last_changes_no_result(opt):
    ordinary, other = FormulaTrack(), FormulaTrack()
    for p in other.params.values():
        if p.ndim == 4:
            p.data = p.data.contiguous(memory_format=torch.channels_last)
    run(opt, ordinary), run(opt, other)
    assert other.params["conv"].is_contiguous(memory_format=torch.channels_last)
    if "kron" not in opt:  # whose draws fall on other elements
        assert_equal(ordinary, other, **CLOSE)


@pytest.mark.parametrize("opt", [o for o in OWN if o != "adahessian"])
def test_a_sparse_gradient_is_refused_with_a_reason(opt):
    p = nn.Parameter(torch.ones(5, 6))
    optimizer = make(opt, [p])
    p.grad = torch.ones(5, 6).to_sparse()
    with pytest.raises(ValueError, match="SparseAdam"):
        optimizer.step()


# Slow to trace. Kron and adahessian decide on the host what to do next.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Profiler record_function:UserWarning")
@pytest.mark.parametrize("opt", ["adafactor", "adafactorbv", "adamp", "csgdp", "nadamuon"])
def test_a_step_can_be_captured_with_rates_and_counters_as_tensors(opt):
    captured, eager = FormulaTrack(), FormulaTrack()
    optimizer = create_optimizer_v2(groups(captured), opt, lr=torch.tensor(0.01), weight_decay=0.05)
    step = torch.compile(lambda: type(optimizer).step(optimizer), backend="eager")
    try:
        for number in range(1, 4):
            captured.backward(number, create_graph=False)
            step()
    finally:
        torch.compiler.reset()
    other = create_optimizer_v2(groups(eager), opt, lr=0.01, weight_decay=0.05)
    advance(eager, other, range(1, 4), falling=False)
    assert_equal(captured, eager, **CLOSE)
