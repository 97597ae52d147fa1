"""Other forms of a feature extractor, by timm's names.

`features_only=True` alone gives the network itself, cut and with `forward` returning its maps
(`Backbone.as_features`): no wrapper, no other parameter names. That is the one to choose. The
others are for code that expects them, and for networks that are no `Backbone`:

* `FeatureListNet` ("list"): the network itself, as above.
* `FeatureGetterNet` ("getter"): holds the network as `model` and asks `forward_intermediates`.
* `FeatureDictNet` ("dict"): the same, returning a dict from level ("0", "1", ...) to map.
* `FeatureHookNet` ("hook"): collects outputs of modules by hooks; any network with a
  `feature_info`, and what runs after the last map runs too.
* `FeatureGraphNet` ("fx"): rebuilds the network from its traced graph; needs torchvision.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from hub.backbone.backbone import Backbone
from hub.features import FeatureInfo, Indices, check_layout


class _FeatureNet(nn.Module):
    """What holds a network and hands out its maps.

    Args:
        model: the network, whose description it takes over.
        info: the feature table, with the levels to hand out.
        keys: keys of these levels in a dict of maps.
        return_dict: return a dict instead of a list.
    """

    def __init__(
        self, model: nn.Module, info: FeatureInfo, keys: Sequence[object], return_dict: bool
    ) -> None:
        super().__init__()
        if len(keys) != len(info.out_indices):
            raise ValueError(
                f"out_map={keys!r} names {len(keys)} maps, and {len(info.out_indices)} are handed "
                f"out: levels {info.out_indices}"
            )
        self.feature_info, self.return_dict = info, return_dict
        self.keys = [str(key) for key in keys]
        for name in ("pretrained_cfg", "default_cfg"):
            if hasattr(model, name):
                setattr(self, name, getattr(model, name))

    def _named(self, maps: list[Tensor]) -> list[Tensor] | dict[str, Tensor]:
        return dict(zip(self.keys, maps, strict=True)) if self.return_dict else maps


class FeatureGetterNet(_FeatureNet):
    """Hands out the maps of the network that it holds as `model`.

    Args:
        model: a `Backbone`; what comes after the last map asked for is dropped from it.
        out_indices: levels, see `hub.features.take_indices`; default: the network's.
        out_map: keys of the maps in a dict; default: the numbers of their levels, as text.
        return_dict: return a dict instead of a list.
        output_fmt: layout of the maps, see `Backbone.forward_intermediates`.
        norm: apply the network's final norm to each map.
    """

    def __init__(
        self,
        model: Backbone,
        out_indices: Indices = None,
        out_map: Sequence[int | str] | None = None,
        return_dict: bool = False,
        output_fmt: str = "NCHW",
        norm: bool = False,
    ) -> None:
        check_layout(output_fmt)
        info = model.feature_info.from_other(
            model.default_indices if out_indices is None else out_indices
        )
        super().__init__(model, info, out_map or info.out_indices, return_dict)
        model.prune_intermediate_layers(info.out_indices, prune_norm=not norm)
        self.model, self.output_fmt, self.norm = model, output_fmt, norm

    def forward(self, x: Tensor) -> list[Tensor] | dict[str, Tensor]:
        """x: (B, in_chans, H, W). Returns: the maps, in the order of levels."""
        maps: list[Tensor] = self.model.forward_intermediates(
            x,
            self.feature_info.out_indices,
            norm=self.norm,
            output_fmt=self.output_fmt,
            intermediates_only=True,
        )
        return self._named(maps)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """See `Backbone.set_grad_checkpointing`."""
        self.model.set_grad_checkpointing(enable)


class FeatureDictNet(FeatureGetterNet):
    """A `FeatureGetterNet` that returns a dict: level as text, or name of `out_map`, to map."""

    def __init__(
        self,
        model: Backbone,
        out_indices: Indices = None,
        out_map: Sequence[int | str] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(model, out_indices, out_map, True, **options)


class FeatureHookNet(_FeatureNet):
    """Collects the outputs of the modules that a feature table names.

    Args:
        model: any network with a `feature_info`: a list of dicts with num_chs, reduction, module.
            A `Backbone` loses its classifier, which no map needs.
        out_indices: levels; default: all.
        out_map: keys of the maps in a dict; default: the paths of their modules.
        return_dict: return a dict instead of a list.
    """

    def __init__(
        self,
        model: nn.Module,
        out_indices: Indices = None,
        out_map: Sequence[int | str] | None = None,
        return_dict: bool = False,
    ) -> None:
        info = FeatureInfo(_table(model), out_indices)
        super().__init__(model, info, out_map or info.module_name(), return_dict)
        if isinstance(model, Backbone):
            model.reset_classifier(0)
        self.model = model

    def forward(self, x: Tensor) -> list[Tensor] | dict[str, Tensor]:
        """x: (B, in_chans, H, W). Returns: the outputs of the modules, as they are."""
        found: dict[str, Tensor] = {}
        handles = [
            self.model.get_submodule(name).register_forward_hook(_keep(found, name))
            for name in self.feature_info.module_name()
        ]
        try:
            self.model(x)
        finally:
            for handle in handles:
                handle.remove()
        return self._named([found[name] for name in self.feature_info.module_name()])

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """See `Backbone.set_grad_checkpointing`."""
        switch: Any = self.model.set_grad_checkpointing
        switch(enable)


class FeatureGraphNet(_FeatureNet):
    """Rebuilds, from its traced graph, the part of a network that its maps need.

    Args:
        model: any traceable network with a `feature_info`.
        out_indices: levels; default: all.
        out_map: keys of the maps in a dict; default: the numbers of their levels, as text.
        return_dict: return a dict instead of a list.

    Raises:
        ImportError: torchvision is not installed.
    """

    def __init__(
        self,
        model: nn.Module,
        out_indices: Indices = None,
        out_map: Sequence[int | str] | None = None,
        return_dict: bool = False,
    ) -> None:
        try:
            from torchvision.models.feature_extraction import (  # type: ignore[import-untyped]
                create_feature_extractor,
            )
        except ImportError as e:
            raise ImportError(
                "feature_cls='fx' needs torchvision: pip install torchvision, or leave feature_cls "
                "out to get the maps without it"
            ) from e
        info = FeatureInfo(_table(model), out_indices)
        super().__init__(model, info, out_map or info.out_indices, return_dict)
        self.graph_module = create_feature_extractor(model, info.module_name())

    def __deepcopy__(self, memo: dict[int, Any]) -> FeatureGraphNet:
        # A copy that torch.fx makes is in training, whatever the mode, and never leaves it.
        twin: FeatureGraphNet = pickle.loads(pickle.dumps(self))
        memo[id(self)] = twin
        return twin

    def forward(self, x: Tensor) -> list[Tensor] | dict[str, Tensor]:
        """x: (B, in_chans, H, W). Returns: the outputs of the modules, as they are."""
        return self._named(list(self.graph_module(x).values()))


def FeatureListNet(
    model: Backbone, out_indices: Indices = None, output_fmt: str = "NCHW", norm: bool = False
) -> Backbone[list[Tensor]]:
    """Return the network itself as a feature extractor; see `Backbone.as_features`."""
    return model.as_features(out_indices, output_fmt, norm)


FEATURE_CLASSES: dict[str, Callable[..., nn.Module]] = {
    "list": FeatureListNet,
    "getter": FeatureGetterNet,
    "dict": FeatureDictNet,
    "hook": FeatureHookNet,
    "fx": FeatureGraphNet,
    "graph": FeatureGraphNet,
}


def _table(model: nn.Module) -> FeatureInfo:
    info = getattr(model, "feature_info", None)
    if not isinstance(info, list) or not info:
        raise TypeError(
            f"{type(model).__name__} has no feature_info, so nobody knows its levels; derive it "
            "from hub.Backbone"
        )
    return info if isinstance(info, FeatureInfo) else FeatureInfo(info)


def _keep(found: dict[str, Tensor], name: str) -> Any:
    def hook(module: nn.Module, args: object, output: Tensor) -> None:
        found[name] = output

    return hook
