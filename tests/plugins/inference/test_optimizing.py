"""`hub.optimize`: equal outputs, and nothing done that the graph does not prove."""

import copy
import logging
import pickle

import hub
import pytest
import torch
import torch.nn.functional as F
from hub_inference import OptimizationError, onednn, optimizing
from torch import nn

pytestmark = pytest.mark.skipif(bool(onednn.unavailable()), reason=onednn.unavailable() or "-")


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(optimizing, "TIMING", 0.0)
    torch.manual_seed(0)


class Net(nn.Module):
    """A convolution, its norm and activation, and a linear layer with one."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(8)
        self.act = nn.ReLU()
        self.fc = nn.Linear(8, 5)
        self.last = nn.GELU()

    def forward(self, x):
        x = self.act(self.bn(self.conv(x)))
        return self.last(self.fc(x.mean((2, 3))))


def settled(model):
    """Return a network in evaluation mode, with statistics that a fold has to reckon with."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.affine:
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.normal_(module.weight, 1.0, 0.2)
            nn.init.normal_(module.bias, std=0.2)
    return model.eval()


def done(model, x=None, **kwargs):
    """Optimise; return the copy and (folded, packed, fused), having compared outputs once more."""
    x = torch.rand(2, 3, 16, 16) if x is None else x
    fast = hub.optimize(model, x, **kwargs)
    with torch.no_grad():
        torch.testing.assert_close(fast(x), model(x), rtol=1e-4, atol=1e-5)
    report = fast.optimization
    return fast, (report.folded, report.packed, report.fused)


def test_all_is_done_where_all_is_proven():
    model = settled(Net())
    fast, counts = done(model)
    assert counts == (1, 2, 2)
    assert str(fast.optimization).startswith("folded 1, packed 2, fused 2 (onednn); ")
    assert fast.optimization.left == {}
    assert isinstance(fast.bn, nn.Identity) and isinstance(fast.act, nn.Identity)


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
@pytest.mark.parametrize("kwargs", [{}, {"features_only": True}, {"num_classes": 0}])
def test_networks_of_hub_keep_their_outputs_at_other_sizes(name, kwargs):
    model = settled(hub.create_model(name, **kwargs))
    fast = hub.optimize(model)
    size = model.img_size or (96, 64)
    for batch in (1, 3):
        x = torch.rand(batch, 3, *size)
        with torch.no_grad():
            found, wanted = fast(x), model(x)
        pairs = zip(found, wanted, strict=True) if isinstance(found, list) else [(found, wanted)]
        for a, b in pairs:
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)
    assert fast.optimization.packed > 10


def test_original_is_untouched():
    model = settled(hub.create_model("test_resnet"))
    before = copy.deepcopy(model.state_dict())
    modules = [(name, type(m)) for name, m in model.named_modules()]
    hub.optimize(model)
    assert [(name, type(m)) for name, m in model.named_modules()] == modules
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(p.requires_grad for p in model.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


@pytest.mark.skipif(not onednn._is_supported(torch.bfloat16), reason="no bfloat16 on this CPU")
def test_bfloat16():
    model = settled(hub.create_model("test_resnet"))
    x = torch.rand(2, 3, 64, 64)
    fast = hub.optimize(model, x, dtype=torch.bfloat16)
    found = fast(x.bfloat16())
    assert found.dtype is torch.bfloat16
    wanted = model(x)
    assert (found.float() - wanted).norm() / wanted.norm() < 0.02
    with pytest.raises(TypeError, match="was optimised for torch"):
        fast(x)


def test_layers_are_packed_again_for_other_sizes_and_once_per_layout(monkeypatch):
    monkeypatch.setattr(onednn, "CASES", 3)
    alike = []
    monkeypatch.setattr(onednn, "_lie_alike", lambda a, b: alike[-1])
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Linear(14, 5)).eval()
    fast = hub.optimize(model, torch.rand(1, 3, 16, 16))
    for batch, is_alike, shapes, layouts in [
        (1, True, 1, 1),
        (2, True, 2, 1),
        (3, False, 3, 2),
        (4, False, 3, 2),  # one too many: computed with the first layout
    ]:
        alike.append(is_alike)
        x = torch.rand(batch, 3, 16, 16)
        with torch.inference_mode():
            torch.testing.assert_close(fast(x), model(x))
        for layer in (fast[0], fast[2]):
            assert len(layer._layouts) == shapes
            assert len({id(held) for held in layer._layouts.values()}) == layouts
    again = pickle.loads(pickle.dumps(fast))
    assert len(again[0]._layouts) == 1
    assert torch.equal(again(x), fast(x))


def test_layers_are_packed_again_for_another_number_of_threads():
    fast = hub.optimize(settled(Net()), x := torch.rand(1, 3, 16, 16))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(before + 1)
        for _ in range(2):
            fast(x)
            assert len(fast.conv._layouts) == 2
    finally:
        torch.set_num_threads(before)


def test_layouts_are_told_apart():
    conv = nn.Conv2d(64, 64, 3)
    one, same = (onednn.pack(conv, (1, 64, 9, 9))._packed for _ in range(2))
    assert onednn._lie_alike(one, same)
    assert not onednn._lie_alike(one, torch.rand(64, 64, 3, 3).to_mkldnn())


@pytest.mark.parametrize("shape", [(3, 9, 14), (0, 3, 9, 14)])
def test_one_image_and_none(shape):
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Linear(12, 5)).eval()
    done(model, torch.rand(shape))
    fast, _ = done(model, torch.rand(2, 3, 9, 14))
    torch.testing.assert_close(fast(x := torch.rand(shape)), model(x))


@pytest.mark.skipif(not onednn._is_supported(torch.bfloat16), reason="no bfloat16 on this CPU")
@pytest.mark.parametrize("ratio", [0.9, 1.01, 1.2])
def test_attention_goes_step_by_step_where_that_is_faster(monkeypatch, ratio):
    model = hub.create_model("test_vit").eval()
    kernel, fused, tried = F.scaled_dot_product_attention, [], []
    monkeypatch.setattr(
        F, "scaled_dot_product_attention", lambda *a, **k: fused.append(1) or kernel(*a, **k)
    )

    def time_them(first, second, device):
        for call in (first, second):
            fused.clear()
            call()
            tried.append(len(fused))
        return ratio

    monkeypatch.setattr(optimizing, "_ratio", time_them)
    monkeypatch.setattr(optimizing, "_speedup", lambda *_: 1.0)
    fast = hub.optimize(model, dtype=torch.bfloat16)
    depth = len(fast.blocks)
    assert tried == [depth, 0]
    faster = ratio > 1.1
    assert all(block.attn.fused_attn is not faster for block in fast.blocks)
    assert fast.optimization.unfused == depth * faster
    assert (f", unfused {depth}" in str(fast.optimization)) is faster
    assert all(block.attn.fused_attn for block in model.blocks)
    hub.optimize(model)  # in float32 the fused kernel is never slower
    assert tried == [depth, 0]


# --- what may not be done -----------------------------------------------------------------------


def test_norm_with_a_hook_is_left():
    model = settled(Net())
    seen = []
    model.bn.register_forward_hook(lambda module, given, output: seen.append(output))
    fast, counts = done(model)
    assert counts == (0, 2, 1)
    assert fast.optimization.left == {"bn": "something is hooked to it"}
    seen.clear()
    fast(torch.rand(1, 3, 8, 8))
    assert len(seen) == 1


def test_layer_with_a_hook_is_left():
    model = settled(Net())
    model.conv.register_forward_pre_hook(lambda module, given: None)
    fast, counts = done(model)
    assert counts == (0, 1, 1)
    assert fast.optimization.left["conv"] == "something is hooked to it"


def test_activation_with_a_hook_is_left():
    model = settled(Net())
    model.act.register_forward_hook(lambda module, given, output: output + 1)
    assert done(model)[1] == (1, 2, 1)


def test_convolution_used_twice_is_not_folded():
    class Twice(Net):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)
            self.bn = nn.BatchNorm2d(3)
            self.fc = nn.Linear(3, 5)

        def forward(self, x):
            return super().forward(self.conv(x))

    fast, counts = done(settled(Twice()))
    assert counts == (0, 2, 1)
    assert "bn" in fast.optimization.left


def test_norm_used_twice_is_not_folded():
    class Twice(Net):
        def forward(self, x):
            return super().forward(x) + self.bn(x.repeat(1, 3, 1, 1)[:, :8]).mean()

    assert done(settled(Twice()))[1][0] == 0


@pytest.mark.parametrize(
    "change", ["y.add_(1.0)", "y[:, 0] = 0.0", "y.permute(0, 3, 1, 2).mul_(2)"]
)
def test_change_in_place_between_is_seen(change):
    class Changed(Net):
        def forward(self, x):
            y = self.conv(x)
            exec(change)
            return self.last(self.fc(self.act(self.bn(y)).mean((2, 3))))

    assert done(settled(Changed()))[1][0] == 0


def test_network_that_takes_no_channels_last_is_told():
    class Viewed(Net):
        def forward(self, x):
            return self.last(self.fc(self.bn(self.conv(x)).view(-1, 8)))

    with pytest.raises(OptimizationError, match="write `reshape`, or use hub"):
        hub.optimize(settled(Viewed()), torch.rand(2, 3, 16, 16))


def test_output_that_another_reads_is_kept():
    class Tapped(Net):
        def forward(self, x):
            y = self.conv(x)
            return super().forward(x) + y.mean()

    assert done(settled(Tapped()))[1][0] == 0

    class TappedBeforeTheActivation(Net):
        def forward(self, x):
            y = self.bn(self.conv(x))
            return self.last(self.fc(self.act(y).mean((2, 3)))) + y.mean()

    assert done(settled(TappedBeforeTheActivation()))[1] == (1, 2, 1)


def test_norm_in_training_mode_is_left():
    model = settled(Net())
    model.bn.train()
    model.bn.momentum = 0.0
    fast, counts = done(model)
    assert counts == (0, 2, 1)
    assert fast.optimization.left == {"bn": "it is in training mode"}


def test_norm_without_statistics_is_left():
    model = Net()
    model.bn = nn.BatchNorm2d(8, track_running_stats=False)
    fast, _ = done(model.eval())
    assert fast.optimization.left == {"bn": "it has no running statistics"}


def test_weight_that_is_no_plain_tensor_is_left():
    model = settled(Net())

    class Quantised(torch.Tensor):
        def __deepcopy__(self, memo):
            return nn.Parameter(self.detach().clone().as_subclass(Quantised))

    model.fc.weight = nn.Parameter(model.fc.weight.detach().as_subclass(Quantised))
    fast, counts = done(model)
    assert counts == (1, 1, 1)
    assert "its weight is a " in fast.optimization.left["fc"]


def test_parametrised_layer_is_left():
    model = settled(Net())
    nn.utils.parametrizations.weight_norm(model.fc)
    fast, counts = done(model)
    assert counts == (1, 1, 1)
    assert "fc" in fast.optimization.left


def test_layer_of_another_forward_is_left():
    class Doubled(nn.Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    model = settled(Net())
    model.fc = Doubled(8, 5)
    fast, counts = done(model)
    assert counts[1] == 1
    assert fast.optimization.left == {"fc": "Doubled is no plain Conv2d or Linear"}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize(
    ("conv", "packed"),
    [
        (nn.Conv2d(3, 8, 3, padding=1, padding_mode="reflect"), False),
        (nn.Conv2d(3, 8, 3, padding="same"), True),
        (nn.Conv2d(3, 8, 4, padding="same"), False),
        (nn.Conv2d(3, 8, 3, padding="valid", stride=2), True),
        (nn.Conv2d(3, 9, 3, padding=(2, 1), dilation=(2, 1), groups=3), True),
    ],
)
def test_padding(conv, packed):
    model = nn.Sequential(conv, nn.ReLU(inplace=True)).eval()
    _, counts = done(model)
    assert counts == (0, int(packed), int(packed))


@pytest.mark.parametrize(
    ("module", "fused"),
    [
        (nn.ReLU(inplace=True), True),
        (nn.ReLU6(), True),
        (nn.SiLU(), True),
        (nn.Hardswish(), True),
        (nn.Sigmoid(), True),
        (nn.Tanh(), True),
        (nn.GELU(), True),
        (nn.GELU("tanh"), True),
        (nn.Softplus(), False),
        (nn.Softmax(1), False),
        (nn.ELU(), False),
        (nn.Hardtanh(0, 5), False),
        (nn.Flatten(), False),
    ],
)
def test_activation_is_told_by_what_it_computes(module, fused):
    model = nn.Sequential(nn.Conv2d(3, 8, 3), module).eval()
    assert done(model)[1] == (0, 1, int(fused))


def test_activation_of_any_class():
    class Mine(nn.Module):
        def forward(self, x):
            return F.silu(x)

    assert done(nn.Sequential(nn.Linear(16, 8), Mine()).eval())[1] == (0, 1, 1)


def test_shared_layer_stays_shared():
    layer = nn.Linear(16, 16)
    fast, counts = done(nn.Sequential(layer, nn.ReLU(), layer).eval())
    assert counts == (0, 1, 0)
    assert fast[0] is fast[2]


# --- what is refused ----------------------------------------------------------------------------


def test_wrong_output_raises_and_names_the_layer(monkeypatch):
    right = onednn.PackedLinear.forward
    monkeypatch.setattr(onednn.PackedLinear, "forward", lambda self, x: 1.01 * right(self, x))
    with pytest.raises(OptimizationError, match=r"differ by 0\.01.*, first at last;"):
        hub.optimize(settled(Net()), torch.rand(2, 3, 16, 16))
    with pytest.raises(OptimizationError, match=r"first at blocks\.0\.attn\.qkv;"):
        hub.optimize(hub.create_model("test_vit").eval())


def test_requests_that_cannot_be_met():
    model = settled(Net())
    with pytest.raises(ValueError, match="call model"):
        hub.optimize(Net(), torch.rand(1, 3, 8, 8))
    with pytest.raises(ValueError, match="a Net does not say what it takes: give an example_input"):
        hub.optimize(model)
    with pytest.raises(ValueError, match="backend='fastest': it can be auto, fold, onednn, compil"):
        hub.optimize(model, torch.rand(1, 3, 8, 8), backend="fastest")
    with pytest.raises(ValueError, match="must be a tensor with values"):
        hub.optimize(model, torch.rand(1, 3, 8, 8, device="meta"))


def test_changed_operator_is_done_without(monkeypatch):
    monkeypatch.setitem(onednn._SCHEMAS, "_linear_pointwise", "(Tensor X) -> Tensor Y")
    onednn.unavailable.cache_clear()
    try:
        assert "_linear_pointwise has other arguments" in onednn.unavailable()
        fast, counts = done(settled(Net()))
        assert counts == (1, 0, 0)
        assert fast.optimization.backend == "fold"
        with pytest.raises(ValueError, match="backend='onednn' cannot be had: mkldnn::_linear"):
            hub.optimize(settled(Net()), torch.rand(1, 3, 8, 8), backend="onednn")
    finally:
        onednn.unavailable.cache_clear()


def test_copy_is_for_inference_only(tmp_path):
    fast = hub.optimize(settled(hub.create_model("test_resnet")))
    with pytest.raises(RuntimeError, match="has no state dict: save the network that it was made"):
        fast.state_dict()
    with pytest.raises(RuntimeError, match="convert or move the network that it was made from"):
        fast.double()
    with pytest.raises(hub.HubError):
        hub.save_pretrained(fast, tmp_path / "x")
    assert fast.float() is fast
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        for again in (copy.deepcopy(fast), pickle.loads(pickle.dumps(fast))):
            assert torch.equal(again(x), fast(x))
    assert fast.conv1[0].weight.shape == (16, 3, 3, 3)


def test_it_says_what_it_did_and_warns_of_a_slower_copy(caplog, monkeypatch):
    caplog.set_level(logging.DEBUG, logger="hub")
    model = settled(Net())
    model.bn.register_forward_hook(lambda *_: None)
    monkeypatch.setattr(optimizing, "_speedup", lambda *_: 1.5)
    hub.optimize(model, torch.rand(1, 3, 8, 8))
    summary, detail = caplog.records
    assert summary.levelno == logging.INFO
    assert "folded 0, packed 2, fused 1, left 1 as they are (onednn); 1.50 times" in summary.message
    assert "left bn as it is: something is hooked to it" in detail.message
    caplog.clear()
    monkeypatch.setattr(optimizing, "_speedup", lambda *_: 0.5)
    hub.optimize(model, torch.rand(1, 3, 8, 8))
    assert caplog.records[0].levelno == logging.WARNING


def test_several_inputs_and_structured_outputs():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x, y):
            return {"a": self.fc(x), "b": [x + y]}

    fast = hub.optimize(Two().eval(), (torch.rand(2, 4), torch.rand(2, 4)))
    assert fast.optimization.packed == 1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_compiled_copy():
    model = settled(hub.create_model("test_resnet"))
    _, counts = done(model, torch.rand(2, 3, 64, 64), backend="compile")
    assert counts == (15, 0, 0)
    torch._dynamo.reset()


@pytest.mark.skipif(not onednn._is_supported(torch.bfloat16), reason="no bfloat16 on this CPU")
@pytest.mark.parametrize("name", ["test_vit", "test_resnet"])
@pytest.mark.parametrize("is_converted", [False, True])
def test_copy_in_16_bits_is_held_to_what_the_network_is_off_in_16_bits(
    name, is_converted, monkeypatch
):
    right = optimizing._error
    errors = []
    monkeypatch.setattr(optimizing, "_error", lambda *a: errors.append(right(*a)) or errors[-1])
    model = settled(hub.create_model(name))
    fast = hub.optimize(
        model.bfloat16() if is_converted else model, dtype=None if is_converted else torch.bfloat16
    )
    of_the_copy, of_the_network = errors
    assert fast.optimization.error == of_the_copy  # against float32, also where it never was
    assert 1e-3 < of_the_network < 0.05
    monkeypatch.setattr(optimizing, "_error", right)
    packed = onednn.PackedConv2d if name == "test_resnet" else onednn.PackedLinear
    forward = packed.forward
    monkeypatch.setattr(packed, "forward", lambda self, x: 1.1 * forward(self, x))
    with pytest.raises(OptimizationError, match="differ by"):
        hub.optimize(model.bfloat16())


def test_network_that_is_not_what_its_description_says_needs_an_example():
    model = settled(hub.create_model("test_resnet"))
    model.conv1[0] = nn.Conv2d(5, 16, 3, 2, 1, bias=False)
    with pytest.raises(ValueError, match=r"\(1, 3, 160, 160\): give an example_input .*5 channels"):
        hub.optimize(model)
    done(model, torch.rand(1, 5, 64, 64))
