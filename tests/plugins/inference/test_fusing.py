"""Networks made ready for inference: equal outputs, fewer steps, and nothing folded on a guess."""

import copy

import hub
import pytest
import torch
from hub_inference import fuse
from hub_layers import BatchNormAct2d, Conv2dSame
from torch import nn

NAMES = [
    *("test_resnet", "resnet18", "resnet26", "seresnet18", "ecaresnet26t", "resnetblur18"),
    *("resnet50_gn", "ecaresnet50d_pruned"),
]


def stir(model):
    """Give a network norms that do something, as after training."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.1)
    return model.eval()


def count(model, kind=nn.modules.batchnorm._BatchNorm):
    return sum(isinstance(module, kind) for module in model.modules())


def close(found, expected, tolerance=1e-4):
    scale = expected.abs().max().item()
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance * scale)


@pytest.fixture
def x():
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", NAMES)
@torch.inference_mode()
def test_outputs_stay_and_every_batch_norm_goes(name, x):
    with torch.inference_mode(False):
        model = stir(hub.create_model(name))
        fused = fuse(model)
    close(fused(x), model(x))
    assert count(fused) == 0
    assert count(model) > 0 or name == "resnet50_gn"
    assert len(fused.state_dict()) < len(model.state_dict()) or name == "resnet50_gn"
    assert [n for n, _ in fused.named_modules()] == [n for n, _ in model.named_modules()]


@pytest.mark.parametrize("kwargs", [dict(output_stride=8), dict(norm_layer="batchnormact2d")])
def test_networks_that_trace_only_in_parts_or_have_other_norms(kwargs, x):
    if "norm_layer" in kwargs:
        kwargs = dict(norm_layer=lambda n: BatchNormAct2d(n, act_layer=nn.LeakyReLU))
    model = stir(hub.create_model("test_resnet", **kwargs))
    fused = fuse(model)
    close(fused(x), model(x))
    assert count(fused) == 0


def test_feature_maps_stay(x):
    model = stir(hub.create_model("test_resnet"))
    fused = fuse(model)
    maps = model.forward_intermediates(x, intermediates_only=True)
    for a, b in zip(fused.forward_intermediates(x, intermediates_only=True), maps, strict=True):
        close(a, b)
    features = fuse(copy.deepcopy(model).as_features((0, 2)))
    for a, b in zip(features(x), (maps[0], maps[2]), strict=True):
        close(a, b)
    assert count(features) == 0
    assert features.feature_info.module_name() == ["act1", "layer2"]


def test_original_is_kept_unless_inplace(x):
    model = stir(hub.create_model("test_resnet"))
    before = copy.deepcopy(model.state_dict())
    fuse(model)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert fuse(model, inplace=True) is model
    assert count(model) == 0


def test_fused_networks_are_networks(x):
    model = stir(hub.create_model("test_resnet"))
    fused = fuse(model)
    assert torch.equal(copy.deepcopy(fused)(x), fused(x))
    program = torch.export.export(fused, (x,))
    close(program.module()(x), model(x))
    other = fuse(stir(hub.create_model("test_resnet", pretrained=False)))
    other.load_state_dict(fused.state_dict())
    assert torch.equal(other(x), fused(x))
    empty = fuse(hub.create_model("test_resnet", device="meta").eval())
    empty.load_state_dict(fused.state_dict(), assign=True)
    assert torch.equal(empty(x), fused(x))
    assert fuse(fused).state_dict().keys() == fused.state_dict().keys()


def test_format_and_dtype_are_kept(x):
    model = stir(hub.create_model("test_resnet")).to(memory_format=torch.channels_last)
    fused = fuse(model.bfloat16())
    assert {p.dtype for p in fused.parameters()} == {torch.bfloat16}
    weight = fused.layer1[0].conv1.weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert fused(x.bfloat16()).dtype == torch.bfloat16


def test_frozen_parts_stay_frozen():
    model = hub.create_model("test_resnet").eval()
    frozen = [n for n, p in model.named_parameters() if not p.requires_grad]
    assert not frozen
    model.conv1[0].weight.requires_grad_(False)
    fused = fuse(model)
    frozen = [n for n, p in fused.named_parameters() if not p.requires_grad]
    assert frozen == ["conv1.0.weight", "conv1.0.bias"]


@pytest.mark.parametrize("train", [lambda m: m, lambda m: m.bn1])
def test_training_mode_is_refused(train):
    model = hub.create_model("test_resnet").eval()
    train(model).train()
    with pytest.raises(ValueError, match=r"call model\.eval\(\) first"):
        fuse(model)


# --- what may be folded, and what not -----------------------------------------------------------

LAYERS = [
    (lambda: nn.Conv1d(4, 6, 3, groups=2), nn.BatchNorm1d, (2, 4, 9)),
    (lambda: nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"), nn.BatchNorm2d, (2, 4, 9, 9)),
    (lambda: nn.Conv3d(4, 6, 3, bias=False), nn.BatchNorm3d, (2, 4, 5, 5, 5)),
    (lambda: nn.ConvTranspose1d(4, 6, 3, groups=2), nn.BatchNorm1d, (2, 4, 9)),
    (lambda: nn.ConvTranspose2d(4, 6, 3, bias=False), nn.BatchNorm2d, (2, 4, 9, 9)),
    (lambda: Conv2dSame(4, 6, 3, stride=2), nn.BatchNorm2d, (2, 4, 9, 9)),
    (lambda: nn.Conv2d(4, 6, 3), lambda n: nn.BatchNorm2d(n, 0.1), (2, 4, 9, 9)),
    (lambda: nn.Conv2d(4, 6, 3), BatchNormAct2d, (2, 4, 9, 9)),
    (
        lambda: nn.Conv2d(4, 6, 3),
        lambda n: BatchNormAct2d(n, act_layer=nn.GELU, inplace=False, drop_layer=nn.Dropout),
        (2, 4, 9, 9),
    ),
    (lambda: nn.Conv2d(4, 6, 3), nn.SyncBatchNorm, (2, 4, 9, 9)),
    (lambda: nn.Sequential(nn.Flatten(), nn.Linear(4, 6)), nn.BatchNorm1d, (2, 4)),
]


@pytest.mark.parametrize(("conv", "norm", "size"), LAYERS)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_kinds_of_layers(conv, norm, size, device):
    model = stir(nn.Sequential(conv(), norm(6)))
    x = torch.rand(size)
    if device == "cpu":
        fused = fuse(model)
        close(fused(x), model(x))
    else:
        fused = fuse(copy.deepcopy(model).to("meta"))
        fused.load_state_dict(fuse(model).state_dict(), assign=True)
        close(fused(x), model(x))
    assert count(fused) == 0
    assert count(fused, nn.GELU) == count(model, nn.GELU)


def test_norm_without_parameters_of_its_own():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, affine=False)).eval()
    model[1].running_var.uniform_(0.5, 2)
    x = torch.rand(2, 3, 4, 4)
    close(fuse(model)(x), model(x))
    assert count(fuse(model)) == 0


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
        self.bn2 = nn.BatchNorm2d(3)

    def forward(self, x):
        return self.bn2(self.bn(self.conv(x)))


class Tapped(Net):
    def forward(self, x):
        x = self.conv(x)
        return self.bn(x) + x


class Twice(Net):
    def forward(self, x):
        return self.bn(self.conv(self.bn(self.conv(x))))


class TwoNorms(Net):
    def forward(self, x):
        x = self.conv(x)
        return self.bn(x) + self.bn2(self.conv(x * 2))


class Between(Net):
    def forward(self, x):
        return self.bn(self.conv(x).relu())


class Reader(Net):
    def forward(self, x):
        return self.bn(self.conv(x)) + nn.functional.conv2d(x, self.conv.weight)


class Other(Net):
    def forward(self, x):
        return self.bn(x) + self.conv(x)


class Sums(Net):
    def forward(self, x):  # no norm consumes the output of one layer alone
        return self.bn(self.conv(x) + self.bn2(x))


class Tokens(Net):
    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Linear(3, 3), nn.BatchNorm1d(3)

    def forward(self, x):  # the norm is that of the rows, (B, 3, 3), not of the channels
        return self.bn(self.conv(x[:, :, 0, :3]))


class Branches(Net):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))

    def forward(self, x):  # untraceable, and the stem is never called as a whole
        x = self.stem[0](x if x.sum() > 0 else -x)
        return self.stem[1](x) + x


class Squared(nn.Conv2d):
    def forward(self, x):
        return super().forward(x).square()


class SquaredNet(Net):
    def __init__(self):
        super().__init__()
        self.conv = Squared(3, 3, 1)

    def forward(self, x):
        return self.bn(self.conv(x))


class Before(nn.BatchNorm2d):
    def __init__(self, n):
        super().__init__(n)
        self.act = nn.ReLU()

    def forward(self, x):
        return super().forward(self.act(x))


class BeforeNet(Net):
    def __init__(self):
        super().__init__()
        self.bn = Before(3)

    def forward(self, x):
        return self.bn(self.conv(x))


class Hooked(Net):
    def __init__(self):
        super().__init__()
        self.bn.register_forward_hook(lambda m, a, out: out * 2)

    def forward(self, x):
        return self.bn(self.conv(x))


class Normed(Net):
    def __init__(self):
        super().__init__()
        nn.utils.parametrizations.weight_norm(self.conv)

    def forward(self, x):
        return self.bn(self.conv(x))


class NoStatistics(Net):
    def __init__(self):
        super().__init__()
        self.bn = nn.BatchNorm2d(3, track_running_stats=False)

    def forward(self, x):
        return self.bn(self.conv(x))


UNSAFE = [
    *(Tapped, Twice, TwoNorms, Between, Reader, Other, Sums, Tokens, Branches, SquaredNet),
    *(BeforeNet, Hooked, Normed, NoStatistics),
]


@pytest.mark.parametrize("cls", UNSAFE)
def test_what_cannot_be_proven_is_left_alone(cls):
    model = stir(cls())
    fused = fuse(model)
    x = torch.rand(2, 3, 4, 4)
    close(fused(x), model(x))
    assert count(fused) == count(model)


def test_only_the_first_of_two_norms_is_folded():
    model = stir(Net())
    fused = fuse(model)
    x = torch.rand(2, 3, 4, 4)
    close(fused(x), model(x))
    assert (count(model), count(fused)) == (2, 1)


def test_convolution_shared_by_two_blocks_is_left_alone():
    class Pair(nn.Module):
        def __init__(self, conv):
            super().__init__()
            self.conv, self.bn = conv, nn.BatchNorm2d(3)

        def forward(self, x):
            return self.bn(self.conv(x))

    class Whole(nn.Module):
        def __init__(self, branch):
            super().__init__()
            conv = nn.Conv2d(3, 3, 1)
            self.a, self.b, self.c = Pair(conv), Pair(conv), Pair(nn.Conv2d(3, 3, 1))
            self.branch = branch

        def forward(self, x):
            if self.branch and x.sum() < 0:
                x = -x
            return self.c(self.b(self.a(x)))

    x = torch.rand(2, 3, 4, 4)
    for branch in (False, True):
        model = stir(Whole(branch))
        fused = fuse(model)
        close(fused(x), model(x))
        assert (count(model), count(fused)) == (3, 2)


def test_level_before_its_norm_keeps_its_value(x):
    class Early(hub.Backbone):
        head = ()

        def __init__(self):
            super().__init__()
            self.conv, self.bn = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)
            rows = [dict(num_chs=4, reduction=1, module=name) for name in ("conv", "bn")]
            self.feature_info = hub.FeatureInfo(rows)
            self.drop_rate, self.fc = 0.0, nn.Identity()

        def forward_levels(self, x):
            x = self.conv(x)
            yield x
            yield self.bn(x)

        def build_head(self, num_classes, global_pool):
            pass

        def forward_pool(self, x):
            return x

    model = stir(Early())
    fused = fuse(model)
    found, expected = (net.forward_intermediates(x)[1] for net in (fused, model))
    for a, b in zip(found, expected, strict=True):
        close(a, b)
    assert count(fused) == 1
