"""Blocks that are trained in one form and run in another: one protocol, and timm's names for it."""

import copy

import hub
import pytest
import torch
import torch.nn.functional as F
from hub_inference import Reparameterizable, fuse, onednn, optimize, reparameterize_model
from hub_inference.reparameterizing import METHODS
from torch import nn

CHANNELS = 4


def stir(model):
    """Give a network norms that do something, as after training."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.1)
    return model.eval()


def count(model, kind):
    return sum(isinstance(module, kind) for module in model.modules())


class Block(nn.Module):
    """relu(norm(conv3x3(x)) + norm(conv1x1(x)) + norm(x)), which is relu(conv3x3(x))."""

    def __init__(self):
        super().__init__()
        self.wide = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, bias=False)
        self.point = nn.Conv2d(CHANNELS, CHANNELS, 1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(CHANNELS) for _ in range(3))
        self.conv = None
        self.calls = 0

    def forward(self, x):
        if self.conv is not None:
            return F.relu(self.conv(x))
        branches = self.wide(x), self.point(x), x
        return F.relu(sum(norm(y) for norm, y in zip(self.norms, branches, strict=True)))

    def merge(self):
        self.calls += 1
        if self.conv is not None:
            return
        point = F.pad(self.point.weight, [1, 1, 1, 1])
        alone = torch.zeros_like(self.wide.weight)
        alone[range(CHANNELS), range(CHANNELS), 1, 1] = 1
        weight, bias = 0, 0
        for norm, kernel in zip(self.norms, (self.wide.weight, point, alone), strict=True):
            scale = norm.weight / (norm.running_var + norm.eps).sqrt()
            weight = weight + kernel * scale.view(-1, 1, 1, 1)
            bias = bias + norm.bias - norm.running_mean * scale
        self.conv = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, device=weight.device)
        self.conv.weight, self.conv.bias = nn.Parameter(weight), nn.Parameter(bias)
        del self.wide, self.point, self.norms


#: The same block with each of the methods that it may have.
KINDS = {
    name: type(f"Block_{name}", (Block,), {name: lambda self: self.merge()}) for name in METHODS
}
Own = KINDS["reparameterize"]


@pytest.fixture
def x():
    return torch.rand(2, CHANNELS, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("how", [reparameterize_model, fuse])
def test_block_becomes_one_convolution_with_equal_outputs(name, how, x):
    model = stir(nn.Sequential(KINDS[name](), KINDS[name]()))
    made = how(model)
    with torch.no_grad():
        torch.testing.assert_close(made(x), model(x))
    assert (count(made, nn.Conv2d), count(made, nn.BatchNorm2d)) == (2, 0)
    assert list(made.state_dict()) == [f"{i}.conv.{p}" for i in (0, 1) for p in ("weight", "bias")]
    assert [block.calls for block in made] == [1, 1]
    assert all(parameter.requires_grad for parameter in made.parameters())
    assert torch.equal(copy.deepcopy(made)(x), made(x))
    other = how(stir(nn.Sequential(KINDS[name](), KINDS[name]())))
    other.load_state_dict(made.state_dict())
    assert torch.equal(other(x), made(x))


def test_protocol_is_told_by_the_method():
    assert isinstance(Own(), Reparameterizable)
    assert not isinstance(KINDS["fuse"](), Reparameterizable)
    assert not isinstance(nn.Conv2d(3, 3, 1), Reparameterizable)
    assert hub.reparameterize_model is reparameterize_model


def test_network_is_kept_unless_inplace(x):
    model = stir(nn.Sequential(Own()))
    before = copy.deepcopy(model.state_dict())
    reparameterize_model(model)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    wanted = model(x)
    assert reparameterize_model(model, inplace=True) is model
    torch.testing.assert_close(model(x), wanted)
    assert list(model.state_dict()) == ["0.conv.weight", "0.conv.bias"]
    assert "reparameterize" not in vars(model[0])  # nothing of the call stays behind


def test_again_changes_nothing(x):
    made = reparameterize_model(stir(nn.Sequential(Own())))
    again = reparameterize_model(made)
    assert torch.equal(again(x), made(x))
    assert again.state_dict().keys() == made.state_dict().keys()


def test_norms_outside_blocks_are_left_to_fuse(x):
    model = stir(nn.Sequential(Own(), nn.Conv2d(CHANNELS, 3, 1), nn.BatchNorm2d(3)))
    assert count(reparameterize_model(model), nn.BatchNorm2d) == 1
    assert count(fuse(model), nn.BatchNorm2d) == 0


def test_on_meta_the_form_can_be_had_for_its_state_dict(x):
    made = reparameterize_model(stir(nn.Sequential(Own())))
    empty = reparameterize_model(nn.Sequential(Own()).eval().to("meta"))
    empty.load_state_dict(made.state_dict(), assign=True)
    assert torch.equal(empty(x), made(x))


@pytest.mark.parametrize("train", [lambda m: m, lambda m: m[0].norms[1]])
@pytest.mark.parametrize("how", [reparameterize_model, fuse])
def test_training_mode_is_refused(train, how):
    model = stir(nn.Sequential(Own()))
    train(model).train()
    with pytest.raises(
        ValueError, match=r"in training mode cannot be .*call model\.eval\(\) first"
    ):
        how(model)


def test_result_cannot_be_saved_as_the_network_that_it_was(tmp_path):
    model = hub.create_model("test_resnet").eval()
    hub.save_pretrained(reparameterize_model(model), tmp_path)  # it has no such block
    model.layer1[0].act2 = stir(Own())
    with pytest.raises(hub.HubError, match="was fused for inference"):
        hub.save_pretrained(reparameterize_model(model), tmp_path)


# --- blocks in blocks ---------------------------------------------------------------------------


@pytest.mark.parametrize("how", [reparameterize_model, fuse])
def test_outer_block_comes_first_and_none_is_asked_twice(how):
    order = []

    class Inner(nn.Module):
        def fuse(self):
            order.append("inner")

    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.gone, self.other = Inner(), Inner(), Own().eval()

        def reparameterize(self):
            order.append("outer")
            self.inner.fuse()
            del self.gone

    made = how(nn.ModuleList([Outer()]).eval())
    assert order == ["outer", "inner"]
    assert made[0].other.calls == 1  # the outer block left this one to whoever asks


class Residual(nn.Module):
    """x + block(x), which returns what takes its place; the inner block becomes a convolution."""

    class Inner(Block):
        def fuse(self):
            self.merge()
            return self.conv

    def __init__(self):
        super().__init__()
        self.block = self.Inner()

    def forward(self, x):
        # Without its ReLU the inner block is linear, so the sum is one convolution, too.
        branches = self.block.wide(x), self.block.point(x), x
        return x + sum(norm(y) for norm, y in zip(self.block.norms, branches, strict=True))

    def reparameterize(self):
        made = self.block.fuse()
        made.weight[range(CHANNELS), range(CHANNELS), 1, 1] += 1
        return made


@pytest.mark.parametrize("is_whole", [True, False])
def test_what_is_returned_takes_the_place(is_whole, x):
    model = stir(Residual() if is_whole else nn.Sequential(Residual(), nn.ReLU()))
    made = reparameterize_model(model)
    torch.testing.assert_close(made(x), model(x))
    conv = made if is_whole else made[0]
    assert type(conv) is nn.Conv2d and not conv.training
    assert reparameterize_model(copy.deepcopy(model), inplace=True)(x).equal(made(x))


def test_shared_block_stays_shared(x):
    block = stir(Residual())
    made = reparameterize_model(nn.Sequential(block, nn.ReLU(), block).eval())
    assert made[0] is made[2] and type(made[0]) is nn.Conv2d


# --- what is no such block ----------------------------------------------------------------------


def test_layers_called_like_the_method_are_layers():
    class Merge(nn.Module):
        def __init__(self):
            super().__init__()
            self.fuse = nn.Conv2d(3, 3, 1)

        def reparameterize(self, how):
            raise AssertionError("needs an argument that nobody can know")

        def forward(self, x):
            return self.fuse(x)

    x = torch.rand(1, 3, 4, 4)
    model = Merge().eval()
    assert torch.equal(fuse(model)(x), model(x))


@pytest.mark.parametrize("hooked", [lambda m: m[0], lambda m: m[0].norms[2]])
def test_block_with_a_hook_is_left(hooked, x):
    model = stir(nn.Sequential(Own(), Own()))
    seen = []
    hooked(model).register_forward_hook(lambda module, given, output: seen.append(output))
    made = reparameterize_model(model)
    assert [block.conv is None for block in made] == [True, False]
    made(x)
    assert len(seen) == 1


def test_block_that_fails_leaves_no_trace():
    class Failing(nn.Module):
        def fuse(self):
            raise RuntimeError("no")

    model = nn.Sequential(Failing()).eval()
    with pytest.raises(RuntimeError, match="no"):
        reparameterize_model(model, inplace=True)
    assert "fuse" not in vars(model[0])


# --- in optimize --------------------------------------------------------------------------------


@pytest.mark.skipif(bool(onednn.unavailable()), reason=onednn.unavailable() or "-")
def test_optimize_packs_what_came_in_place_of_the_branches(x, monkeypatch):
    monkeypatch.setattr("hub_inference.optimizing.TIMING", 0.0)
    model = stir(nn.Sequential(Own(), Own(), nn.Conv2d(CHANNELS, 3, 1), nn.BatchNorm2d(3)))
    model[1].register_forward_hook(lambda *_: None)
    fast = optimize(model, x)
    torch.testing.assert_close(fast(x), model(x))
    done = fast.optimization
    assert (done.reparameterized, done.folded) == (1, 3)  # two in the branches that stay
    assert isinstance(fast[0].conv, onednn.PackedConv2d)
    assert done.left["1"] == "something is hooked to it or to its parts"
    assert str(done).startswith("re-parameterised 1, folded 3, packed ")
