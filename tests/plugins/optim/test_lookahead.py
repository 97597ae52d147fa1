"""Promises about Lookahead: the paper's rule, one state, resumption bit for bit."""

import copy
import io
import pickle

import pytest
import torch
from hub_optim import Lookahead, create_optimizer_v2
from torch import nn


def parameter(values=(1.0, -2.0, 3.0)):
    return nn.Parameter(torch.tensor(values, dtype=torch.float64))


def step(optimizer, parameters, t):
    for p in parameters:
        p.grad = torch.sin(p.detach() + t)
    optimizer.step()


def test_slow_weights_follow_by_their_share():
    """The rule written out: fast steps, then a move of half the way, from the second time on."""
    fast = parameter()
    optimizer = Lookahead(torch.optim.SGD([fast], lr=0.1), alpha=0.25, k=3)
    expected, slow = fast.detach().clone(), None
    for t in range(10):
        gradient = torch.sin(expected + t)
        step(optimizer, [fast], t)
        expected = expected - 0.1 * gradient
        if (t + 1) % 3 == 0:
            slow = expected.clone() if slow is None else slow + 0.25 * (expected - slow)
            expected = slow.clone()
        torch.testing.assert_close(fast.detach(), expected, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("name", ["lookahead_sgd", "lookahead_adamw", "lookahead_radam"])
def test_checkpoint_continues_bit_for_bit(name):
    whole, resumed = parameter(), parameter()
    first = create_optimizer_v2([whole], name, lr=0.1)
    for t in range(9):
        step(first, [whole], t)
    file = io.BytesIO()
    torch.save(dict(model=whole.detach(), optimizer=first.state_dict()), file)
    file.seek(0)
    saved = torch.load(file)
    resumed.data.copy_(saved["model"])
    second = create_optimizer_v2([resumed], name, lr=0.1)
    second.load_state_dict(saved["optimizer"])
    for t in range(9, 25):
        step(first, [whole], t)
        step(second, [resumed], t)
    assert torch.equal(whole, resumed)


def test_checkpoint_without_lookahead_can_be_continued_with_it():
    p = parameter()
    plain = torch.optim.SGD([p], lr=0.1, momentum=0.9)
    step(plain, [p], 0)
    wrapped = Lookahead(torch.optim.SGD([p], lr=0.1, momentum=0.9), k=2)
    wrapped.load_state_dict(plain.state_dict())
    assert wrapped.param_groups[0]["lookahead_k"] == 2
    step(wrapped, [p], 1)
    step(wrapped, [p], 2)
    assert "lookahead_slow_buff" in wrapped.state[p]


def test_groups_and_state_are_those_inside():
    p, q = parameter(), parameter()
    optimizer = create_optimizer_v2([p], "lookahead_sgd", lr=0.1)
    optimizer.add_param_group(dict(params=[q], lr=0.5))
    assert optimizer.param_groups is optimizer.base_optimizer.param_groups
    assert optimizer.param_groups[1]["lookahead_step"] == 0
    step(optimizer, [p, q], 0)
    assert set(optimizer.state) == {p, q}


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
def test_copy_steps_like_the_original(copied):
    model = nn.Linear(2, 1).double()
    optimizer = create_optimizer_v2(model, "lookahead_adam", lr=0.1)
    for t in range(8):
        step(optimizer, list(model.parameters()), t)
    twin = copied(optimizer)
    own = [p for group in twin.param_groups for p in group["params"]]
    for t in range(8, 16):
        step(optimizer, list(model.parameters()), t)
        step(twin, own, t)
    mine = [p for group in optimizer.param_groups for p in group["params"]]
    assert all(torch.equal(a, b) for a, b in zip(mine, own, strict=True))


def test_parameter_without_gradient_is_left_alone():
    p, q = parameter(), parameter()
    optimizer = create_optimizer_v2([p, q], "lookahead_sgd", lr=0.1)
    before = q.detach().clone()
    for t in range(12):
        step(optimizer, [p], t)
    assert torch.equal(q, before)
    optimizer.sync_lookahead()
    assert q not in optimizer.state


def test_hooks_and_closures_work():
    p, calls = parameter(), []
    optimizer = create_optimizer_v2([p], "lookahead_sgd", lr=0.1)
    optimizer.register_step_post_hook(lambda *a: calls.append("after"))

    def closure():
        optimizer.zero_grad()
        loss = (p**2).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 14.0
    assert calls == ["after"]


def test_settings_out_of_range_are_refused():
    base = torch.optim.SGD([parameter()], lr=0.1)
    with pytest.raises(ValueError, match=r"alpha=1.5"):
        Lookahead(base, alpha=1.5)
    with pytest.raises(ValueError, match="k=0"):
        Lookahead(base, k=0)
