"""The contract of a network, derived by `hub.Backbone` for whatever network states its levels."""

import copy
import pickle

import hub
import pytest
import torch


@pytest.fixture
def model():
    torch.manual_seed(0)
    return hub.create_model("test_resnet").eval()


@pytest.fixture
def x():
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def test_forward_is_features_then_head(model, x):
    features = model.forward_features(x)
    assert features.shape == (2, model.num_features, 2, 2)
    assert torch.equal(model(x), model.forward_head(features))
    pooled = model.forward_head(features, pre_logits=True)
    assert pooled.shape == (2, model.head_hidden_size)
    assert torch.equal(model.get_classifier()(pooled), model(x))


def test_table_describes_the_maps(model, x):
    final, maps = model.forward_intermediates(x)
    assert torch.equal(final, model.forward_features(x))
    assert [m.shape[1] for m in maps] == model.feature_info.channels()
    assert [64 // m.shape[2] for m in maps] == model.feature_info.reduction()
    outputs = []
    for name in model.feature_info.module_name():
        model.get_submodule(name).register_forward_hook(lambda *a: outputs.append(a[2]))
    model(x)
    assert all(torch.equal(a, b) for a, b in zip(outputs, maps, strict=True))


def test_intermediates_stop_when_nothing_more_is_wanted(model, x):
    def refuse(*args):
        raise AssertionError("computed in vain")

    model.layer3.register_forward_hook(refuse)
    maps = model.forward_intermediates(x, [0, -4], intermediates_only=True)
    assert [m.shape[1] for m in maps] == [32, 32]
    final, maps = model.forward_intermediates(x, [2], stop_early=True)
    assert torch.equal(final, maps[0])
    with pytest.raises(AssertionError, match="in vain"):
        model.forward_intermediates(x, [2])


def test_intermediates_refuse_what_they_cannot_give(model, x):
    with pytest.raises(ValueError, match="there is no feature level 5: this network has 5"):
        model.forward_intermediates(x, [5])
    with pytest.raises(ValueError, match="output_fmt='CHW': it can be NCHW, NHWC, NLC"):
        model.forward_intermediates(x, output_fmt="CHW")


def test_pruning_keeps_the_levels_and_drops_the_rest(model, x):
    expected = model.forward_intermediates(x, [1, 2], intermediates_only=True)
    before = sum(p.numel() for p in model.parameters())
    assert model.prune_intermediate_layers([1, -3]) == [1, 2]
    assert sum(p.numel() for p in model.parameters()) < before / 2
    maps = model.forward_intermediates(x, [1, 2], intermediates_only=True)
    assert all(torch.equal(a, b) for a, b in zip(maps, expected, strict=True))
    assert torch.equal(model(x), expected[-1])
    assert model.num_features == 48
    with pytest.raises(ValueError, match="level 3 was pruned; levels 0 to 2 are left"):
        model.forward_intermediates(x, [3])
    model.reset_classifier(7)
    assert model(x).shape == (2, 7)


@pytest.mark.parametrize("indices", [None, 2, (0,), (1, -1), (-2, 0)])
def test_features_only_returns_the_maps_of_the_whole_network(x, indices):
    torch.manual_seed(0)
    model = hub.create_model("test_resnet").eval()
    features = hub.create_model("test_resnet", features_only=True, out_indices=indices).eval()
    features.load_state_dict(
        {k: v for k, v in model.state_dict().items() if k in features.state_dict()}
    )
    expected = model.forward_intermediates(x, indices, intermediates_only=True)
    found = features(x)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert features.feature_info.channels() == [m.shape[1] for m in found]
    assert not [name for name in features.state_dict() if name.startswith("fc")]


def test_head_is_replaced_in_place(model, x):
    model.bfloat16().train()
    model.reset_classifier(5)
    assert model.fc.weight.dtype == torch.bfloat16
    assert model.fc.training
    assert model.num_classes == 5
    model.float().eval().reset_classifier(0)
    assert torch.equal(model(x), model.forward_head(model.forward_features(x), pre_logits=True))
    model.reset_classifier(0, "")
    assert model(x).shape == (2, 96, 2, 2)
    model.reset_classifier(3)
    assert model(x).shape == (2, 3)
    model.reset_classifier(3, "catavgmax")
    assert model.fc.in_features == 192
    model.reset_classifier(4)
    assert model.fc.in_features == 192


def test_checkpointed_blocks_give_the_same_gradients(model, x):
    def gradients():
        model.zero_grad()
        model.train()(x).square().mean().backward()
        return [p.grad.clone() for p in model.parameters()]

    expected = gradients()
    calls = []
    model.layer2[0].register_forward_pre_hook(lambda *a: calls.append(1))
    model.set_grad_checkpointing()
    found = gradients()
    assert len(calls) == 2  # forward, and again in the backward pass
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)
    model.set_grad_checkpointing(False)
    gradients()
    assert len(calls) == 3


def test_copies_and_pickles_work_alone(x):
    features = hub.create_model("test_resnet", features_only=True, out_indices=(1, 3)).eval()
    for twin in (copy.deepcopy(features), pickle.loads(pickle.dumps(features))):
        assert all(torch.equal(a, b) for a, b in zip(twin(x), features(x), strict=True))
        assert twin.feature_info.channels() == [32, 192]
        twin.conv1[0].weight.data.zero_()
    assert features.conv1[0].weight.abs().max() > 0


def test_compiles_without_graph_breaks(model, x):
    features = copy.deepcopy(model).as_features((1, 2))
    for network in (model, features):
        compiled = torch.compile(network, fullgraph=True, backend="eager")
        torch.testing.assert_close(compiled(x), network(x))


@pytest.mark.parametrize("strict", [False, True])
def test_exports_with_a_dynamic_batch(model, x, strict):
    shapes = ({0: torch.export.Dim("batch", min=1)},)
    program = torch.export.export(model, (x,), dynamic_shapes=shapes, strict=strict)
    more = torch.cat([x, x, x])
    torch.testing.assert_close(program.module()(more), model(more))


def test_networks_without_the_contract_give_no_features():
    @hub.register_model(name="plain_net")
    class PlainNet(torch.nn.Linear):
        def __init__(self):
            super().__init__(1, 1)

    with pytest.raises(TypeError, match=r"features_only needs a hub\.Backbone, and PlainNet"):
        hub.create_model("plain_net", features_only=True)
