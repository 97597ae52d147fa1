"""Promises about torch's fused kernels: right for any layout, though they look at none."""

import copy
import pickle

import hub_optim
import pytest
import torch
from hub_optim import create_optimizer_v2
from torch import nn

NAMES = ("sgd", "adam", "adamw", "adagrad", "fusedadam", "fusedadamw", "fusedsgd")
SHAPE = (4, 6, 3, 3)


def values(seed=0):
    steps = torch.arange(4 * 6 * 9, dtype=torch.float64).reshape(SHAPE)
    return torch.sin(steps + seed)


def contiguous(x):
    return x.clone(memory_format=torch.contiguous_format)


def channels_last(x):
    return x.clone(memory_format=torch.channels_last)


def transposed(x):
    return x.transpose(0, 1).contiguous().transpose(0, 1)


def every_second(x):
    """Return a view with gaps."""
    return torch.stack([x, x], dim=-1)[..., 0]


LAYOUTS = (contiguous, channels_last, transposed, every_second)


def run(name, lay, lay_gradient, *, steps=4, **options):
    parameter = nn.Parameter(lay(values()))
    optimizer = create_optimizer_v2([parameter], name, lr=0.1, weight_decay=0.01, **options)
    for step in range(steps):
        parameter.grad = lay_gradient(values(step + 1))
        optimizer.step()
    return parameter.detach(), optimizer


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("lay", LAYOUTS)
@pytest.mark.parametrize("lay_gradient", LAYOUTS[:3])
def test_layout_in_memory_changes_nothing(name, lay, lay_gradient):
    if "fused" in name and lay is every_second:
        with pytest.raises(ValueError, match=r"strides \(108, 18, 6, 2\) has gaps in memory"):
            run(name, lay, lay_gradient)
        return
    plain = dict(fused=False, foreach=False)
    expected, _ = run(name, contiguous, contiguous, **plain)
    found, optimizer = run(name, lay, lay_gradient)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)
    assert bool(optimizer.param_groups[0]["fused"]) == (lay is not every_second)


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_checkpoint_of_another_layout_continues(name):
    expected, _ = run(name, contiguous, contiguous, steps=8)
    half, first = run(name, contiguous, contiguous, steps=4)
    parameter = nn.Parameter(channels_last(half))
    second = create_optimizer_v2([parameter], name, lr=0.1, weight_decay=0.01)
    second.load_state_dict(first.state_dict())
    for step in range(4, 8):
        parameter.grad = channels_last(values(step + 1))
        second.step()
    torch.testing.assert_close(parameter.detach(), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("by_keyword", [True, False])
def test_gradients_of_a_closure_are_laid_out_too(by_keyword):
    expected, _ = run("adamw", contiguous, contiguous, steps=1)
    parameter = nn.Parameter(channels_last(values()))
    optimizer = create_optimizer_v2([parameter], "adamw", lr=0.1, weight_decay=0.01)

    def closure():
        parameter.grad = contiguous(values(1))
        return 3.0

    loss = optimizer.step(closure=closure) if by_keyword else optimizer.step(closure)
    assert loss == 3.0
    torch.testing.assert_close(parameter.detach(), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
def test_copy_is_as_safe_as_the_original(copied):
    expected, _ = run("adamw", contiguous, contiguous, steps=5)
    _, optimizer = run("adamw", channels_last, channels_last, steps=4)
    twin = copied(optimizer)
    [parameter] = twin.param_groups[0]["params"]
    parameter.grad = contiguous(values(5))
    twin.step()
    torch.testing.assert_close(parameter.detach(), expected, rtol=1e-12, atol=1e-14)


def test_gradient_that_lies_right_is_not_copied():
    parameter = nn.Parameter(torch.ones(4, 3, 1, 1).to(memory_format=torch.channels_last))
    optimizer = create_optimizer_v2([parameter], "adamw")
    gradient = torch.ones(4, 3, 1, 1)  # other strides, of axes of length 1
    parameter.grad = gradient
    optimizer.step()
    assert parameter.grad.data_ptr() == gradient.data_ptr()


def test_hooks_of_the_caller_run_once_a_step():
    parameter, calls = nn.Parameter(torch.ones(2)), []
    torch.optim.Adam([parameter])  # whose step torch wraps when the first one is made
    optimizer = create_optimizer_v2([parameter], "adam")
    optimizer.load_state_dict(optimizer.state_dict())
    optimizer.register_step_pre_hook(lambda *a: calls.append("before"))
    optimizer.register_step_post_hook(lambda *a: calls.append("after"))
    parameter.grad = torch.ones(2)
    optimizer.step()
    assert calls == ["before", "after"]
    assert len(optimizer._optimizer_step_pre_hooks) == 2  # the caller's, and one of ours


def test_class_of_an_apex_name_is_as_safe():
    expected, _ = run("adam", contiguous, contiguous, steps=1)
    parameter = nn.Parameter(channels_last(values()))
    optimizer = hub_optim.get_optimizer_class("fusedadam")([parameter], lr=0.1, weight_decay=0.01)
    parameter.grad = contiguous(values(1))
    optimizer.step()
    torch.testing.assert_close(parameter.detach(), expected, rtol=1e-12, atol=1e-14)


def test_keywords_are_checked_as_torchs():
    with pytest.raises(ValueError, match="fusedadam takes no 'amsgard'"):
        create_optimizer_v2([nn.Parameter(torch.ones(2))], "fusedadam", amsgard=True)


def test_optimizer_is_still_torchs():
    optimizer = create_optimizer_v2([nn.Parameter(torch.ones(2))], "adamw")
    assert isinstance(optimizer, torch.optim.AdamW)
    assert repr(optimizer).startswith("AdamW (")
    assert hub_optim.get_optimizer_class("adamw") is torch.optim.AdamW
