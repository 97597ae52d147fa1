"""Blocks run one by one: hooks fire as if the stage were called, recomputing leaves no trace."""

import copy

import hub
import pytest
import torch
from hub import BlockSequence
from torch import nn

SIZES = {"test_resnet": 64, "test_vit": 160}


class Renorm(nn.Module):
    """A norm that somebody brings: what it computes depends on the statistics that it moves."""

    def __init__(self, width, inplace=True, saved=True):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.register_buffer("mean", torch.zeros(width), persistent=saved)
        self.register_buffer("steps", torch.tensor(0), persistent=saved)
        self.inplace = inplace

    def forward(self, x):
        moved = 0.5 * self.mean + 0.5 * x.detach().mean((0, 2, 3))
        if self.training and self.inplace:
            self.mean.copy_(moved)
            self.steps.add_(1)
        elif self.training:
            self.mean, self.steps = moved, self.steps + 1
        return (x - self.mean[:, None, None]) * self.weight[:, None, None]


def step(model, x):
    torch.manual_seed(1)
    outputs = model.train()(x)
    outputs = outputs if isinstance(outputs, list) else [outputs]
    sum(y.square().mean() for y in outputs).backward()
    gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return {**gradients, **{f"state {n}": b.clone() for n, b in model.named_buffers()}}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("test_resnet", {}),
        ("test_resnet", dict(features_only=True, out_indices=(1, 2))),
        ("test_resnet", dict(features_only=True, feature_cls="getter")),
        ("test_resnet", dict(features_only=True, feature_cls="hook")),
        ("test_resnet", dict(norm_layer=Renorm)),
        ("test_resnet", dict(norm_layer=lambda width: Renorm(width, inplace=False))),
        ("test_resnet", dict(norm_layer=lambda width: Renorm(width, saved=False))),
        ("test_resnet", dict(drop_path_rate=0.5)),
        ("test_resnet", dict(norm_layer="groupnorm1")),
        ("test_vit", dict(proj_drop_rate=0.5, attn_drop_rate=0.5)),
    ],
)
def test_a_step_with_recomputation_is_a_step(name, options):
    torch.manual_seed(0)
    plain = hub.create_model(name, **options)
    spared = copy.deepcopy(plain)
    spared.set_grad_checkpointing()
    for _ in range(2):
        x = torch.rand(2, 3, SIZES[name], SIZES[name])
        wanted, found = step(plain, x), step(spared, x)
        assert wanted.keys() == found.keys()
        for key, value in wanted.items():
            torch.testing.assert_close(found[key], value, msg=key)


def test_a_graph_kept_for_a_second_backward_pass_leaves_no_trace_either():
    model = hub.create_model("test_resnet").train()
    model.set_grad_checkpointing()
    loss = model(torch.rand(2, 3, 64, 64)).sum()
    state = copy.deepcopy(model.state_dict())
    loss.backward(retain_graph=True)
    loss.backward()
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert model.layer1[0].bn1.num_batches_tracked == 1


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("kind", ["forward", "forward_pre"])
def test_hook_of_each_top_module_fires_once(name, checkpointing, kind):
    model = hub.create_model(name).train()
    model.set_grad_checkpointing(checkpointing)
    fired = []
    for path, module in model.named_children():
        register = getattr(module, f"register_{kind}_hook")
        register(lambda *_, path=path: fired.append(path))
    model(torch.rand(1, 3, SIZES[name], SIZES[name]).repeat(2, 1, 1, 1))
    assert fired == [path for path, _ in model.named_children()]


def doubling(kind):
    """Return a hook of this kind that doubles what it sees, and how it is registered."""
    return {
        "forward": lambda m, given, output: 2 * output,
        "forward with kwargs": lambda m, given, kwargs, output: 2 * output,
        "forward_pre": lambda m, given: 2 * given[0],
        "forward_pre as a tuple": lambda m, given: (2 * given[0],),
        "forward_pre with kwargs": lambda m, given, kwargs: ((2 * given[0],), kwargs),
        "full_backward": lambda m, inner, outer: tuple(2 * g for g in inner),
        "full_backward_pre": lambda m, outer: tuple(2 * g for g in outer),
    }[kind]


@pytest.mark.parametrize(
    "kind",
    [
        *("forward", "forward with kwargs", "full_backward", "full_backward_pre"),
        *("forward_pre", "forward_pre as a tuple", "forward_pre with kwargs"),
    ],
)
def test_hooks_do_what_they_do_in_a_call(kind):
    torch.manual_seed(0)
    stage = BlockSequence(nn.Linear(4, 4), nn.Linear(4, 4))
    options = {"with_kwargs": True} if "kwargs" in kind else {}
    getattr(stage, f"register_{kind.split()[0]}_hook")(doubling(kind), **options)

    def one_by_one(x):
        return [*stage.each(x)][-1]

    results = []
    for run in (stage, one_by_one):
        x = torch.rand(3, 4, generator=torch.Generator().manual_seed(1)).requires_grad_()
        y = run(2 * x)
        y.sum().backward()
        results.append((y, x.grad))
    for a, b in zip(*results, strict=True):
        assert torch.equal(a, b)


def test_stack_that_is_cut_or_left_early_keeps_its_hooks_in_step():
    x = torch.rand(1, 3, 160, 160)
    model = hub.create_model("test_vit").eval()
    seen = []
    model.blocks.register_forward_hook(lambda m, given, output: seen.append(output))
    final = model.forward_features(x)
    assert torch.equal(model.norm(seen[-1]), final)
    model.forward_intermediates(x, [1], stop_early=True)
    assert len(seen) == 1  # the stack did not run to its end
    (level,) = model.as_features([2])(x)
    assert len(seen) == 2
    assert torch.equal(seen[-1][:, 1:], level.flatten(2).transpose(1, 2))


@pytest.mark.parametrize("hooked", [False, True])
def test_stack_with_a_hook_compiles_and_exports(hooked):
    x = torch.rand(1, 3, 160, 160)
    model = hub.create_model("test_vit").eval()
    if hooked:
        model.blocks.register_forward_hook(lambda m, given, output: 2 * output)
    wanted = model(x)
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x), wanted)
    program = torch.export.export(model, (x,), strict=False)
    torch.testing.assert_close(program.module()(x), wanted)


def test_dropout_before_the_classifier_is_a_module_where_timm_has_one():
    model = hub.create_model("test_vit", drop_rate=0.5).train()
    assert model.head_drop.p == model.drop_rate == 0.5
    model.drop_rate = 0.0
    assert model.head_drop.p == 0.0
    model.prune_intermediate_layers([1])
    model.drop_rate = 0.25
    model.reset_classifier(3)
    assert model.head_drop.p == 0.25
