"""Networks survive what users do to them: compile, export, ONNX, processes, formats, copies."""

import copy
import multiprocessing
import pickle
import socket

import hub
import pytest
import torch
from survivors import build, images, run_pickled, train_one
from torch import nn

# Each installed architecture made for tests; a family not installed here brings its own later.
NAMES = sorted(hub.list_models("test_*"))
#: Half precision against single, relative to the largest output.
BF16 = 5e-2


def close(found, expected, tolerance=1e-4):
    if isinstance(expected, torch.Tensor):
        scale = expected.abs().max().item()
        torch.testing.assert_close(
            found.float(), expected.float(), rtol=tolerance, atol=tolerance * scale
        )
    else:
        for a, b in zip(found, expected, strict=True):
            close(a, b, tolerance)


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


class Intermediates(nn.Module):
    """Make a method of a network its forward, for what calls only that."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        final, maps = self.net.forward_intermediates(x, indices=(0, -1))
        return [final, *maps]


NETWORKS = {
    "logits": build,
    "features": lambda name: build(name, features_only=True),
    "intermediates": lambda name: Intermediates(build(name)),
}


def test_there_is_something_to_test():
    assert "test_resnet" in NAMES


def test_vision_transformers_are_among_them():
    pytest.importorskip("hub_vit")
    assert "test_vit" in NAMES


# --- compile ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", NETWORKS)
def test_compiles_in_one_graph(name, kind):
    torch.compiler.reset()
    model, x = NETWORKS[kind](name), images(name)
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    close(compiled(x), model(x))


@pytest.mark.parametrize("checkpointing", [False, True])
def test_training_step_compiles_in_one_graph(name, checkpointing):
    torch.compiler.reset()
    model, x = build(name).train(), images(name)
    twin = copy.deepcopy(model)
    model.set_grad_checkpointing(checkpointing)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    for net in (compiled, twin):
        net(x).square().mean().backward()
    for (key, a), b in zip(model.named_parameters(), twin.parameters(), strict=True):
        assert a.grad is not None, key
        close(a.grad, b.grad, 1e-3)
    for a, b in zip(model.buffers(), twin.buffers(), strict=True):
        close(a, b)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the compilers that inductor calls
def test_compiles_with_inductor():
    torch.compiler.reset()
    model, x = build("test_resnet"), images("test_resnet")
    with torch.inference_mode():
        close(torch.compile(model, fullgraph=True)(x), model(x))


# --- export -------------------------------------------------------------------------------------


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("kind", NETWORKS)
def test_exports_with_a_dynamic_batch(name, kind, strict):
    model = NETWORKS[kind](name)
    shapes = ({0: torch.export.Dim("batch")},)
    program = torch.export.export(model, (images(name),), dynamic_shapes=shapes, strict=strict)
    for batch in (1, 5):
        x = images(name, batch, seed=2)
        close(program.module()(x), model(x))


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("kind", ["logits", "features"])
def test_exports_with_dynamic_sizes_where_they_are_free(name, kind, strict):
    if hub.get_pretrained_cfg(name).fixed_input_size:
        pytest.skip("an image of another size needs another network")
    model = NETWORKS[kind](name)
    batch = torch.export.Dim("batch")
    height, width = (torch.export.Dim(axis, min=1, max=64) for axis in ("height", "width"))
    shapes = ({0: batch, 2: 32 * height, 3: 32 * width},)
    program = torch.export.export(model, (images(name),), dynamic_shapes=shapes, strict=strict)
    x = torch.rand(3, 3, 96, 160, generator=torch.Generator().manual_seed(2))
    close(program.module()(x), model(x))


@pytest.mark.parametrize("kind", ["logits", "features"])
def test_onnxruntime_gives_the_same(name, kind, tmp_path):
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    model = NETWORKS[kind](name)
    shapes = ({0: torch.export.Dim("batch")},)
    program = torch.onnx.export(
        model, (images(name),), dynamo=True, dynamic_shapes=shapes, verbose=False
    )
    path = tmp_path / "model.onnx"
    program.save(path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for batch in (1, 5):
        x = images(name, batch, seed=2)
        with torch.no_grad():
            expected = model(x)
        found = session.run(None, {session.get_inputs()[0].name: x.numpy()})
        listed = [expected] if isinstance(expected, torch.Tensor) else expected
        close([torch.from_numpy(y) for y in found], listed)


# --- dtypes, formats, devices -------------------------------------------------------------------


def test_runs_in_bfloat16(name):
    model, x = build(name), images(name)
    half = copy.deepcopy(model).bfloat16()
    with torch.no_grad():
        found, maps = half.forward_intermediates(x.bfloat16())
        assert {y.dtype for y in (found, *maps, half(x.bfloat16()))} == {torch.bfloat16}
        close(half(x.bfloat16()), model(x), BF16)
    half.train()(x.bfloat16()).square().mean().backward()
    assert {p.grad.dtype for p in half.parameters()} == {torch.bfloat16}


def test_runs_under_autocast(name):
    model, x = build(name), images(name)
    with torch.autocast("cpu", torch.bfloat16):
        found = model(x)
        loss = model(x).square().mean()
    assert found.dtype == torch.bfloat16
    close(found, model(x), BF16)
    loss.backward()
    assert all(p.grad.dtype == torch.float32 for p in model.parameters())


def test_channels_last_gives_the_same_and_stays(name):
    model, x = build(name), images(name)
    last = copy.deepcopy(model).to(memory_format=torch.channels_last)
    with torch.no_grad():
        close(last(x.to(memory_format=torch.channels_last)), model(x))
        maps = last.forward_intermediates(x.to(memory_format=torch.channels_last))[1]
        close(maps, model.forward_intermediates(x)[1])
    if model.layout == "NCHW":
        assert all(m.is_contiguous(memory_format=torch.channels_last) for m in maps)


@pytest.mark.parametrize("kind", NETWORKS)
def test_runs_on_meta(name, kind):
    with torch.device("meta"):
        model = NETWORKS[kind](name)
    assert all(p.is_meta for p in model.parameters())
    found, expected = model(images(name).to("meta")), NETWORKS[kind](name)(images(name))
    if isinstance(expected, torch.Tensor):
        found, expected = [found], [expected]
    assert [y.shape for y in found] == [y.shape for y in expected]
    assert all(y.is_meta for y in found)


# --- copies and processes -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", NETWORKS)
def test_copies_are_equal_and_apart(name, kind):
    model, x = NETWORKS[kind](name), images(name)
    expected = model(x)
    twin = copy.deepcopy(model)
    close(twin(x), expected, 0)
    for parameter in twin.parameters():
        parameter.data.zero_()
    close(model(x), expected, 0)


@pytest.mark.slow
def test_pickles_run_in_another_process(name):
    model, x = build(name, features_only=True), images(name)
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=run_pickled, args=(pickle.dumps(model), x, queue))
    process.start()
    try:
        found = queue.get(timeout=120)
    finally:
        process.join(10)
        process.kill()
    close([torch.from_numpy(y) for y in found], model(x))


@pytest.mark.slow
def test_two_processes_average_their_gradients(name):
    model = build(name)  # eval: its norms do not mix examples
    model(images(name, batch=4)).square().mean().backward()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    workers = [context.Process(target=train_one, args=(rank, port, name, queue)) for rank in (0, 1)]
    for worker in workers:
        worker.start()
    try:
        found = dict(queue.get(timeout=120) for _ in workers)
    finally:
        for worker in workers:
            worker.join(10)
            worker.kill()
    for rank in (0, 1):
        for grad, parameter in zip(found[rank], model.parameters(), strict=True):
            close(torch.from_numpy(grad), parameter.grad)
