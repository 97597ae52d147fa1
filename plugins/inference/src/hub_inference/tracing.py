"""Which modules of a network only follow another: what the graph shows, never a guess.

A network is traced as a whole where that works, else in parts. A module follows another if it
alone consumes the output of the other, both are called once, and nobody else sees that output.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from hub import Backbone
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd


class _Levels(nn.Module):
    """Everything that a backbone hands out, so that no level is taken for a passing value."""

    def __init__(self, net: Backbone) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        levels, features = self.net.run_levels(x)
        return (*levels, features)


def is_bare(module: nn.Module) -> bool:
    """Return whether a module holds nothing, as an activation does."""
    held = (module._modules, module._parameters, module._buffers)
    return not any(value is not None for values in held for value in values.values())


def is_watched(module: nn.Module | None) -> bool:
    """Return whether somebody is called along with a module."""
    if module is None:
        return False
    return bool(module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module))


class _Tracer(fx.Tracer):
    """Take layers, norms and activations, of any class, and what cannot be traced as one step."""

    def __init__(self, opaque: set[nn.Module]) -> None:
        super().__init__()
        self.opaque = opaque

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        whole = isinstance(m, _BatchNorm | _ConvNd | nn.Linear) or m in self.opaque
        return whole or is_bare(m) or super().is_leaf_module(m, module_qualified_name)


class _Graph:
    """Which modules a traced piece of the network uses, and which of them only follow a layer."""

    def __init__(self, root: nn.Module, opaque: set[nn.Module]) -> None:
        graph = _Tracer(opaque).trace(root)
        self.modules = dict(root.named_modules())
        self.calls: Counter[nn.Module] = Counter()
        self.read: set[nn.Module] = set()
        self.pairs: dict[nn.Module, nn.Module] = {}
        for node in graph.nodes:
            if node.op == "get_attr":  # someone uses the tensors of the module without calling it
                self.read.add(self.modules[str(node.target).rpartition(".")[0]])
            elif (module := self._called(node)) is not None:
                self.calls[module] += 1
                follows = isinstance(module, _BatchNorm) or is_bare(module)
                if follows and (layer := self._only_source(node)) is not None:
                    self.pairs[module] = layer

    def _called(self, node: fx.Node) -> nn.Module | None:
        return self.modules[str(node.target)] if node.op == "call_module" else None

    def _only_source(self, node: fx.Node) -> nn.Module | None:
        """Return the layer whose output this module, and nobody else, consumes."""
        if len(node.args) != 1 or node.kwargs or not isinstance(node.args[0], fx.Node):
            return None
        source, follower = node.args[0], self._called(node)
        while len(source.users) == 1 and self._passes(source):
            source = source.all_input_nodes[0]
        module = self._called(source)
        if len(source.users) != 1:
            return None
        if isinstance(module, nn.Linear) and isinstance(follower, _BatchNorm):
            # A norm of (B, N, C) would normalise each token instead of each channel.
            same = isinstance(follower, nn.BatchNorm1d) and self._is_flat(source)
            return module if same else None
        return module if isinstance(module, _ConvNd | nn.Linear) else None

    def _passes(self, node: fx.Node) -> bool:
        """Return whether a step hands on what it is given."""
        module = self._called(node)
        idle = isinstance(module, nn.Identity) or (
            isinstance(module, nn.Dropout) and not module.training
        )
        return idle and not is_watched(module)

    def _is_flat(self, node: Any) -> bool:
        """Return whether the value is known to be (B, C)."""
        if not isinstance(node, fx.Node) or not node.args:
            return False
        module = self._called(node)
        if isinstance(module, nn.Flatten):
            return (module.start_dim, module.end_dim) == (1, -1)
        if node.op != "call_module" and node.target in (torch.flatten, "flatten"):
            return (node.args[1:], node.kwargs) in (((1,), {}), ((), {"start_dim": 1}))
        same_rank = nn.Linear | nn.BatchNorm1d | nn.ReLU | nn.GELU | nn.Dropout | nn.Identity
        return isinstance(module, same_rank) and self._is_flat(node.args[0])

    def allows(self, follower: nn.Module, layer: nn.Module) -> bool:
        """Return whether making one step of this pair changes nothing here."""
        if follower in self.read or layer in self.read:
            return False
        calls = self.calls[follower], self.calls[layer]
        return calls == (0, 0) or (calls == (1, 1) and self.pairs.get(follower) is layer)


def followers(model: nn.Module) -> Iterator[tuple[nn.Module, nn.Module]]:
    """Yield the norms and bare modules that only follow a convolution or linear layer, with it."""
    opaque: set[nn.Module] = set()
    graphs = _graphs(model, opaque)
    # Nothing is known of how an opaque module uses what it holds itself.
    hidden = {part for module in opaque for part in _parts(module)}
    for follower, layer in {pair: None for graph in graphs for pair in graph.pairs.items()}:
        shown = follower not in hidden and layer not in hidden
        if shown and all(graph.allows(follower, layer) for graph in graphs):
            yield follower, layer


def _graphs(module: nn.Module, opaque: set[nn.Module]) -> list[_Graph]:
    """Trace a module; where that fails, its parts, and the module again around those that fail."""
    if module in opaque or _Tracer(opaque).is_leaf_module(module, ""):
        return []
    try:
        return _trace(module, opaque)
    except Exception:  # tracing runs the code of the network, which may do anything with a proxy
        found = [graph for part in _parts(module) for graph in _graphs(part, opaque)]
    try:
        return _trace(module, opaque) + found
    except Exception:
        opaque.add(module)
        return found


def _trace(module: nn.Module, opaque: set[nn.Module]) -> list[_Graph]:
    roots = [module]
    roots += [_Levels(m) for m in module.modules() if isinstance(m, Backbone) and m not in opaque]
    return [_Graph(root, opaque) for root in roots]


def _parts(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the children, and in place of plain containers what they hold.

    A container may never be called: its owner can run, and tap, what it holds one by one.
    """
    for child in module.children():
        if type(child) in (nn.Sequential, nn.ModuleList, nn.ModuleDict):
            yield from _parts(child)
        else:
            yield child
