"""Deferred initialisation changes when parameters are written, never what a network is."""

import torch
from hub.pretrained.noinit import DeferredInit
from torch import nn


class Odd(nn.Module):
    """Does in its constructor what real networks do: reads parameters, writes through views."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)
        nn.init.constant_(self.linear.weight, 3.0)
        nn.init.constant_(self.linear.bias, 1.0)
        self.register_buffer("norm", self.linear.weight.norm())
        self.scale = nn.Parameter(torch.full((4,), 5.0))
        self.scale.data.mul_(2)
        self.gain = nn.Parameter(torch.empty(4))
        nn.init.ones_(self.gain)
        with torch.no_grad():
            self.gain[0] = 7.0
        self.copy = nn.Parameter(self.linear.bias.detach().clone())
        self.table = nn.Parameter(torch.empty(2, 2))
        self.table.data[0].zero_()
        nn.init.ones_(self.table)
        self.same = nn.Parameter(torch.empty(4))
        with torch.no_grad():
            self.same.copy_(self.gain)
            self.same.add_(1).mul_(2)


def test_what_a_constructor_reads_is_there():
    with DeferredInit() as init:
        model = Odd()
    init.run(model.parameters())
    expected = Odd().state_dict()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, expected[name]), name


def test_only_what_is_asked_for_is_written():
    with DeferredInit() as init:
        model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    for parameter in model.parameters():
        parameter.data.fill_(42.0)
    init.run(model[1].parameters())
    assert (model[0].weight == 42).all()
    assert model[1].weight.abs().max() < 1


def test_an_initialiser_that_is_overwritten_does_not_run():
    calls = []

    class Spy(nn.Linear):
        def reset_parameters(self):
            calls.append("default")
            super().reset_parameters()

    with DeferredInit() as init:
        model = Spy(4, 4)
        nn.init.zeros_(model.weight)
    notes = init._notes[id(model.weight)]
    assert calls == ["default"]
    assert len(notes) == 1
    init.run(model.parameters())
    assert (model.weight == 0).all()


def test_the_usual_initialisers_are_deferred_as_a_whole():
    makers = {
        "uniform_": lambda p: nn.init.uniform_(p),
        "normal_": lambda p: nn.init.normal_(p),
        "trunc_normal_": lambda p: nn.init.trunc_normal_(p, std=0.02),
        "narrow": lambda p: nn.init.trunc_normal_(p, a=1.0, b=1.1),
        "kaiming_normal_": lambda p: nn.init.kaiming_normal_(p),
        "xavier_uniform_": lambda p: nn.init.xavier_uniform_(p),
        "constant_": lambda p: nn.init.constant_(p, 3.0),
    }
    for name, make in makers.items():
        parameter = nn.Parameter(torch.full((64, 64), 42.0))
        with DeferredInit() as init:
            make(parameter)
        assert (parameter == 42).all(), f"{name} was not deferred"
        init.run([parameter])
        assert not (parameter == 42).any(), f"{name} was not carried out"
    before = torch.full((4, 4), 42.0)
    nn.init.trunc_normal_(before)
    assert before.abs().max() <= 2  # outside of the context all is as ever


def test_a_seed_decides_the_parameters():
    def build():
        torch.manual_seed(3)
        with DeferredInit() as init:
            model = nn.Linear(64, 64)
        init.run(model.parameters())
        return model.weight

    assert torch.equal(build(), build())


def test_parameters_are_trainable_leaves_with_the_usual_distribution():
    with DeferredInit() as init:
        model = nn.Conv2d(64, 64, 3)
        nn.init.kaiming_normal_(model.weight, mode="fan_out", nonlinearity="relu")
    init.run(model.parameters())
    assert model.weight.is_leaf
    assert model.weight.requires_grad
    assert abs(model.weight.std() - (2 / (64 * 9)) ** 0.5) < 1e-3
