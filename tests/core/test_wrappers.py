"""Every form of a feature extractor gives the same maps."""

import copy

import hub
import pytest
import torch
from torch import nn


@pytest.fixture
def whole():
    torch.manual_seed(0)
    return hub.create_model("test_resnet").eval()


@pytest.mark.parametrize("form", ["list", "getter", "dict", "hook", "fx", hub.FeatureDictNet])
def test_forms_agree(whole, form):
    torch.manual_seed(0)
    net = hub.create_model(
        "test_resnet", features_only=True, out_indices=(1, -2), feature_cls=form
    ).eval()
    own = {
        k.removeprefix("model.").removeprefix("graph_module."): v
        for k, v in net.state_dict().items()
    }
    for name, tensor in own.items():
        tensor.copy_(whole.state_dict()[name])
    x = torch.rand(1, 3, 64, 64)
    found = net(x)
    if isinstance(found, dict):
        assert list(found) == ["1", "3"]
        found = list(found.values())
    expected = whole.forward_intermediates(x, (1, 3), intermediates_only=True)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(found, expected, strict=True))
    assert net.feature_info.channels() == [32, 192]
    assert net.feature_info.reduction() == [4, 16]


def test_getter_drops_what_it_does_not_need():
    net = hub.FeatureGetterNet(hub.create_model("test_resnet"), out_indices=[1])
    assert {name.split(".")[1] for name in net.state_dict()} == {"conv1", "bn1", "layer1"}
    assert copy.deepcopy(net)(torch.rand(1, 3, 64, 64))[0].shape == (1, 32, 16, 16)


@pytest.mark.parametrize("form", ["list", "getter"])
@pytest.mark.parametrize(("layout", "shape"), [("NHWC", (1, 8, 8, 48)), ("NLC", (1, 64, 48))])
def test_layouts(form, layout, shape):
    net = hub.create_model(
        "test_resnet", features_only=True, out_indices=[2], output_fmt=layout, feature_cls=form
    )
    assert net(torch.rand(1, 3, 64, 64))[0].shape == shape


def test_hooks_serve_networks_without_the_contract():
    @hub.register_model(name="plain_net")
    class PlainNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 8, 3, 2, 1)
            self.feature_info = [
                dict(num_chs=4, reduction=2, module="a"),
                dict(num_chs=8, reduction=4, module="b"),
            ]

        def forward(self, x):
            return self.b(self.a(x))

    net = hub.create_model("plain_net", features_only=True, feature_cls="hook", out_indices=[-1])
    assert [m.shape for m in net(torch.rand(1, 3, 8, 8))] == [(1, 8, 2, 2)]
    with pytest.raises(TypeError, match=r"PlainNet is none; with a feature_info, feature_cls='h"):
        hub.create_model("plain_net", features_only=True)
    with pytest.raises(ValueError, match=r"feature_cls='hok'\. Did you mean hook\? It can be list"):
        hub.create_model("plain_net", features_only=True, feature_cls="hok")
