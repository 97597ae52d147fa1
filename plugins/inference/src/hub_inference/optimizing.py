"""A copy of a network that runs as fast as the device allows, with equal outputs."""

from __future__ import annotations

import copy
import logging
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from hub import Backbone
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from hub_inference import fusing, onednn
from hub_inference.errors import OptimizationError
from hub_inference.reparameterizing import reparameterize, replace
from hub_inference.tracing import followers, is_bare, is_watched

_logger = logging.getLogger("hub")

Module = TypeVar("Module", bound=nn.Module)

#: How a copy may run, and what that means.
BACKENDS = {
    "auto": "onednn on a CPU where it can be had, fold elsewhere",
    "fold": "norms folded into convolutions, memory in channels_last",
    "onednn": "that, weights packed for oneDNN, activations computed by the layer before (CPU)",
    "compile": "fold, then torch.compile; with CUDA graphs on CUDA",
}
#: Largest relative error (of the norm) of a copy in float32; of others beyond what theirs costs.
BOUND = 1e-4
_SHORT = (torch.bfloat16, torch.float16)
#: Seconds spent at most on telling how much faster the copy is, and how often it is timed.
TIMING, ROUNDS = 2.0, 5


@dataclass(kw_only=True)
class Optimization:
    """What `optimize` did to a network.

    Args:
        backend: how the copy runs.
        reparameterized: blocks that were asked for the form that they run in.
        folded: norms that went into the layer before.
        packed: layers whose weights were packed.
        fused: activations that the layer before computes.
        unfused: attentions (modules with a switch `fused_attn`) that are computed step by step.
        left: path of a norm or layer that was left as it is, to the reason.
        merged: path of a layer to those of the norm and the activation that it now computes too.
        error: relative error of the outputs on the example, against the network in float32.
        speedup: how many times as fast the copy ran on the example.
    """

    backend: str
    reparameterized: int = 0
    folded: int = 0
    packed: int = 0
    fused: int = 0
    unfused: int = 0
    left: dict[str, str] = field(default_factory=dict)
    merged: dict[str, list[str]] = field(default_factory=dict)
    error: float = 0.0
    speedup: float = 1.0

    def __str__(self) -> str:
        text = f"folded {self.folded}, packed {self.packed}, fused {self.fused}"
        if self.reparameterized:
            text = f"re-parameterised {self.reparameterized}, {text}"
        if self.unfused:
            text += f", unfused {self.unfused}"
        if self.left:
            text += f", left {len(self.left)} as they are"
        return f"{text} ({self.backend}); {self.speedup:.2f} times as fast, error {self.error:.0e}"


def optimize(
    model: Module,
    example_input: Tensor | tuple[Any, ...] | None = None,
    *,
    dtype: torch.dtype | None = None,
    backend: str = "auto",
) -> Module:
    """Return a copy of a network for inference, faster and with equal outputs.

    Blocks take the form that they run in, BatchNorms are folded into the layers that they only
    follow (see `hub.fuse`), memory is channels_last, and on CPUs weights are packed for oneDNN,
    activations computed by the layer before them, and attention in 16 bits goes step by step where
    that is faster. Only what the graph of the network proves is done; the outputs are compared on
    the example before the copy is returned. Inputs of other sizes work as before. The copy has no
    gradients and no state dict: save, load, train and move the network itself.

    Args:
        model: any network in evaluation mode, a feature extractor too. It is not changed.
        example_input: an input (or a tuple of inputs) as it will be used: its size is the fastest.
            A hub network has one of its own: one image of the size in its `pretrained_cfg`.
        dtype: the copy's, and that of its inputs; None keeps the network's.
        backend: one of `BACKENDS`.

    Returns:
        The copy. Its attribute `optimization` says what was done, and what was left and why.

    Raises:
        ValueError: the network is in training mode, there is no example, no such backend.
        OptimizationError: the outputs differ; the message names the layer.

    Example:
        >>> import hub, torch
        >>> model = hub.create_model("test_resnet").eval()
        >>> fast = hub.optimize(model, torch.rand(1, 3, 64, 64))
        >>> x = torch.rand(2, 3, 96, 96)
        >>> torch.allclose(fast(x), model(x), atol=1e-5)
        True
    """
    inputs = _inputs(model, example_input)
    backend = _chosen(backend, inputs)
    with torch.no_grad():
        twin = copy.deepcopy(model).requires_grad_(False)
        shapes = _input_shapes(twin, inputs, is_made_up=example_input is None)
        done = Optimization(backend=backend)
        fast: Any
        fast, asked = reparameterize(twin)
        if asked.changed:  # what came in place of branches has inputs, too
            shapes |= _input_shapes(fast, inputs, is_made_up=False)
        done.reparameterized = len(asked.changed)
        done.left.update(dict.fromkeys(asked.left, "something is hooked to it or to its parts"))
        for norm, layer in fusing.fold_norms(fast):
            done.merged[layer] = [norm]
        done.folded = len(done.merged)
        fast = fast.to(dtype) if dtype is not None else fast
        fast = fast.to(memory_format=torch.channels_last)
        if backend == "onednn":
            _pack(fast, shapes, done)
            _unfuse_attention(fast, _converted(inputs, dtype), done)
        _note_norms(fast, done)
        fast._is_fused = True
        fast.optimization = done
        run = fast
        if backend == "compile":
            on_cuda = inputs[0].device.type == "cuda"
            run = torch.compile(fast, mode="reduce-overhead" if on_cuda else None)
        _verify(model, run, inputs, dtype, done)
        done.speedup = _speedup(model, run, inputs, dtype)
    _say(done)
    optimised: Module = run
    return optimised


def _inputs(model: nn.Module, example: Tensor | tuple[Any, ...] | None) -> tuple[Any, ...]:
    """Return the inputs of the example."""
    if model.training:
        raise ValueError("a network in training mode cannot be optimised: call model.eval() first")
    if example is None:
        if not isinstance(model, Backbone) or not hasattr(model, "pretrained_cfg"):
            raise ValueError(
                f"a {type(model).__name__} does not say what it takes: give an example_input, as "
                "in hub.optimize(model, torch.rand(1, 3, 224, 224))"
            )
        first = next(model.parameters())
        size = getattr(model, "img_size", None) or model.pretrained_cfg["input_size"][1:]
        height, width = (size, size) if isinstance(size, int) else size
        example = torch.rand(1, model.in_chans, height, width, device=first.device)
        example = example.to(first.dtype)
    inputs = example if isinstance(example, tuple) else (example,)
    if not isinstance(inputs[0], Tensor) or inputs[0].is_meta:
        raise ValueError("example_input must be a tensor with values, or a tuple that begins so")
    return inputs


def _chosen(backend: str, inputs: tuple[Any, ...]) -> str:
    """Return the backend to use here."""
    if backend not in BACKENDS:
        raise ValueError(f"backend={backend!r}: it can be {', '.join(BACKENDS)}")
    on_cpu = inputs[0].device.type == "cpu"
    if backend == "onednn" and (not on_cpu or onednn.unavailable()):
        why = onednn.unavailable() or f"the example is on {inputs[0].device}"
        raise ValueError(f"backend='onednn' cannot be had: {why}; 'auto' does without")
    if backend == "auto":
        return "onednn" if on_cpu and not onednn.unavailable() else "fold"
    return backend


def _input_shapes(
    model: nn.Module, inputs: tuple[Any, ...], is_made_up: bool
) -> dict[nn.Module, tuple[int, ...]]:
    """Run a network and return the shape of the first input of each module."""
    shapes: dict[nn.Module, tuple[int, ...]] = {}

    def note(module: nn.Module, given: tuple[Any, ...]) -> None:
        if given and isinstance(given[0], Tensor):
            shapes.setdefault(module, tuple(given[0].shape))

    handles = [module.register_forward_pre_hook(note) for module in model.modules()]
    try:
        model(*inputs)
    except RuntimeError as e:
        if not is_made_up:
            raise
        raise ValueError(
            f"the network does not take what its description says, {tuple(inputs[0].shape)}: give "
            f"an example_input ({e})"
        ) from e
    finally:
        for handle in handles:
            handle.remove()
    return shapes


def _pack(model: nn.Module, shapes: dict[nn.Module, tuple[int, ...]], done: Optimization) -> None:
    """Pack the layers of a network, each with the activation that only follows it, in place."""
    names = {module: name for name, module in model.named_modules()}
    after = {}
    for follower, layer in followers(model):
        if is_bare(follower) and not is_watched(follower) and fusing.is_plain(layer):
            known = onednn.activation(follower)
            if known is not None:
                after[layer] = follower, known
    for layer in list(names):
        if not isinstance(layer, nn.Conv2d | nn.Linear):
            continue
        why = _refusal(layer, shapes)
        if why:
            done.left[names[layer]] = why
            continue
        if layer in after:
            follower, known = after[layer]
            replace(model, follower, nn.Identity().eval())
            replace(model, layer, onednn.pack(layer, shapes[layer], known))
            done.merged.setdefault(names[layer], []).append(names[follower])
            done.fused += 1
        else:
            replace(model, layer, onednn.pack(layer, shapes[layer]))
        done.packed += 1


def _unfuse_attention(model: nn.Module, inputs: tuple[Any, ...], done: Optimization) -> None:
    """Compute attention step by step where that is faster, in place.

    In 16 bits torch's fused kernel for CPUs can be slower than oneDNN's products with a softmax
    between. The price is memory for the weights, (B, heads, N, N).
    """
    switches: list[Any] = [m for m in model.modules() if getattr(m, "fused_attn", None) is True]
    first = next(model.parameters(), None)
    if not switches or first is None or first.dtype not in _SHORT:
        return

    def run(is_fused: bool) -> None:
        for module in switches:
            module.fused_attn = is_fused
        model(*inputs)

    faster = _ratio(lambda: run(True), lambda: run(False), inputs[0].device) > 1.03
    for module in switches:
        module.fused_attn = not faster
    done.unfused = len(switches) if faster else 0


def _refusal(layer: onednn.Layer, shapes: dict[nn.Module, tuple[int, ...]]) -> str:
    """Return why a layer is not packed; empty if it is."""
    if is_watched(layer) or not fusing.is_plain(layer):
        return "something is hooked to it"
    if layer not in shapes:
        return "the example does not run through it"
    return onednn.refusal(layer)


def _note_norms(model: nn.Module, done: Optimization) -> None:
    """Note why norms are still there."""
    for name, norm in model.named_modules():
        if isinstance(norm, _BatchNorm):
            if norm.training:
                why = "it is in training mode"
            elif norm.running_mean is None:
                why = "it has no running statistics"
            elif is_watched(norm):
                why = "something is hooked to it"
            else:
                why = "the graph does not show that it only follows a layer that may be changed"
            done.left[name] = why


# --- proof --------------------------------------------------------------------------------------


def _verify(
    model: nn.Module,
    fast: Any,
    inputs: tuple[Any, ...],
    dtype: torch.dtype | None,
    done: Optimization,
) -> None:
    """Compare outputs on the example with those of the network in float32.

    Raises:
        OptimizationError: they are further off than rounding explains: in 16 bits, four times
            what the network itself is off in these.
    """
    plain = list(_tensors(model(*inputs)))
    is_exact = all(t.dtype not in _SHORT for t in plain)
    exact = model if is_exact else copy.deepcopy(model).float()
    exact_inputs = inputs if is_exact else _converted(inputs, torch.float32)
    wanted = plain if is_exact else list(_tensors(exact(*exact_inputs)))
    try:
        found = list(_tensors(fast(*_converted(inputs, dtype))))
    except RuntimeError as e:
        raise OptimizationError(
            f"the optimised copy cannot run: {e}\nA network that reads maps by `view` does not "
            "take those in channels_last: write `reshape`, or use hub.fuse, which keeps the layout"
        ) from e
    done.error = _error(found, wanted)
    if dtype is not None:
        plain = list(_tensors(copy.deepcopy(model).to(dtype)(*_converted(inputs, dtype))))
    # A weight that a norm was folded into is rounded once more.
    bound = 4 * _error(plain, wanted) + BOUND
    if not done.error <= bound:
        found_by_layer = _outputs(fast, _converted(inputs, dtype))
        layer = _first_difference(
            _outputs(copy.deepcopy(exact), exact_inputs), found_by_layer, bound, done.merged
        )
        raise OptimizationError(
            f"the outputs of the optimised copy differ by {done.error:.2g} of their norm, more "
            f"than {bound:.0e}, first at {layer}; backend='fold' does less, and please report it"
        )


def _first_difference(
    wanted: dict[str, list[Tensor]],
    found: dict[str, list[Tensor]],
    bound: float,
    merged: dict[str, list[str]],
) -> str:
    """Return the first module whose output differs and should not."""
    # Only the last of what is now one step returns what it returned before.
    passing = {name for layer, rest in merged.items() for name in (layer, *rest)}
    passing -= {rest[-1] for rest in merged.values()}
    for name, values in wanted.items():
        compared = name and name in found and name not in passing
        if compared and not _error(found[name], values) <= bound:
            return name
    return "its output"


def _outputs(model: nn.Module, inputs: tuple[Any, ...]) -> dict[str, list[Tensor]]:
    """Run a network and return the tensors that each module returned first, in order."""
    outputs: dict[str, list[Tensor]] = {}

    def note(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, given: Any, output: Any) -> None:
            outputs.setdefault(name, [t.clone() for t in _tensors(output)])

        return hook

    handles = [module.register_forward_hook(note(name)) for name, module in model.named_modules()]
    try:
        model(*inputs)
    finally:
        for handle in handles:
            handle.remove()
    return outputs


def _error(found: list[Tensor], wanted: list[Tensor]) -> float:
    """Return the largest relative error (of the norm) among tensors; infinite if shapes differ."""
    if [t.shape for t in found] != [t.shape for t in wanted]:
        return float("inf")
    errors = [
        float((a.double() - b.double()).norm() / b.double().norm().clamp(min=1e-12))
        for a, b in zip(found, wanted, strict=True)
    ]
    return max(errors, default=0.0) if all(e == e for e in errors) else float("inf")


def _tensors(value: Any) -> Iterator[Tensor]:
    """Yield the tensors in what a network returned."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _tensors(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _tensors(part)


def _converted(inputs: tuple[Any, ...], dtype: torch.dtype | None) -> tuple[Any, ...]:
    def convert(value: Any) -> Any:
        is_real = isinstance(value, Tensor) and value.is_floating_point()
        return value.to(dtype) if is_real and dtype is not None else value

    return tuple(map(convert, inputs))


# --- time ---------------------------------------------------------------------------------------


def _speedup(
    model: nn.Module, fast: Callable[..., Any], inputs: tuple[Any, ...], dtype: torch.dtype | None
) -> float:
    """Return how many times as fast the copy is on the example."""
    converted = _converted(inputs, dtype)
    return _ratio(lambda: model(*inputs), lambda: fast(*converted), inputs[0].device)


def _ratio(first: Callable[[], Any], second: Callable[[], Any], device: torch.device) -> float:
    """Return how many times as long the first takes as the second: in turn, median of ratios."""
    ratios: list[float] = []
    end = time.perf_counter() + TIMING
    while not ratios or (len(ratios) < ROUNDS and time.perf_counter() < end):
        ratios.append(_seconds(first, device) / _seconds(second, device))
    return statistics.median(ratios)


def _seconds(call: Callable[[], Any], device: torch.device) -> float:
    start = time.perf_counter()
    call()
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return time.perf_counter() - start


def _say(done: Optimization) -> None:
    level = logging.WARNING if done.speedup < 0.9 else logging.INFO
    _logger.log(level, "hub.optimize: %s", done)
    for name, why in done.left.items():
        _logger.debug("hub.optimize: left %s as it is: %s", name, why)
