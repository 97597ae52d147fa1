"""Other forms of a feature extractor, by timm's names.

`features_only=True` alone gives the network itself, cut and with `forward` returning its maps
(`Backbone.as_features`): no wrapper, no other parameter names. That is the one to choose. The
others are for code that expects them, and for networks that are no `Backbone`:

* `FeatureListNet` ("list"): the network itself, as above.
* `FeatureGetterNet` ("getter"): holds the network as `model` and asks `forward_intermediates`.
* `FeatureDictNet` ("dict"): the same, returning a dict from module path to map.
* `FeatureHookNet` ("hook"): collects outputs of modules by hooks; any network with a
  `feature_info`, and what runs after the last map runs too.
* `FeatureGraphNet` ("fx"): rebuilds the network from its traced graph; needs torchvision.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from hub.backbone import Backbone
from hub.features import FeatureInfo, Indices


class FeatureGetterNet(nn.Module):
    """Hands out the maps of the network that it holds as `model`.

    Args:
        model: a `Backbone`; what comes after the last map asked for is dropped from it.
        out_indices: levels, see `hub.features.take_indices`; default: the network's.
        output_fmt: layout of the maps, see `Backbone.forward_intermediates`.
        norm: apply the network's final norm to each map.
        return_dict: return a dict from module path to map instead of a list.
    """

    def __init__(
        self,
        model: Backbone,
        out_indices: Indices = None,
        output_fmt: str = "NCHW",
        norm: bool = False,
        return_dict: bool = False,
    ) -> None:
        super().__init__()
        indices = model.default_indices if out_indices is None else out_indices
        self.feature_info = model.feature_info.from_other(indices)
        model.prune_intermediate_layers(self.feature_info.out_indices, prune_norm=not norm)
        self.model = model
        self.output_fmt, self.norm, self.return_dict = output_fmt, norm, return_dict

    def forward(self, x: Tensor) -> list[Tensor] | dict[str, Tensor]:
        """x: (B, in_chans, H, W). Returns: the maps, in the order of levels."""
        maps: list[Tensor] = self.model.forward_intermediates(
            x,
            self.feature_info.out_indices,
            norm=self.norm,
            output_fmt=self.output_fmt,
            intermediates_only=True,
        )
        return _named(self.feature_info, maps) if self.return_dict else maps

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """See `Backbone.set_grad_checkpointing`."""
        self.model.set_grad_checkpointing(enable)


class FeatureDictNet(FeatureGetterNet):
    """A `FeatureGetterNet` that returns a dict from module path to map."""

    def __init__(self, model: Backbone, out_indices: Indices = None, **options: Any) -> None:
        super().__init__(model, out_indices, return_dict=True, **options)


class FeatureHookNet(nn.Module):
    """Collects the outputs of the modules that a feature table names.

    Args:
        model: any network with a `feature_info`: a list of dicts with num_chs, reduction, module.
        out_indices: levels; default: all.
        return_dict: return a dict from module path to map instead of a list.
    """

    def __init__(
        self, model: nn.Module, out_indices: Indices = None, return_dict: bool = False
    ) -> None:
        super().__init__()
        self.feature_info = FeatureInfo(_table(model), out_indices)
        self.model, self.return_dict = model, return_dict

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
        maps = [found[name] for name in self.feature_info.module_name()]
        return _named(self.feature_info, maps) if self.return_dict else maps


class FeatureGraphNet(nn.Module):
    """Rebuilds, from its traced graph, the part of a network that its maps need.

    Args:
        model: any traceable network with a `feature_info`.
        out_indices: levels; default: all.
        return_dict: return a dict from module path to map instead of a list.

    Raises:
        ImportError: torchvision is not installed.
    """

    def __init__(
        self, model: nn.Module, out_indices: Indices = None, return_dict: bool = False
    ) -> None:
        super().__init__()
        try:
            from torchvision.models.feature_extraction import (  # type: ignore[import-untyped]
                create_feature_extractor,
            )
        except ImportError as e:
            raise ImportError(
                "feature_cls='fx' needs torchvision: pip install torchvision, or leave feature_cls "
                "out to get the maps without it"
            ) from e
        self.feature_info = FeatureInfo(_table(model), out_indices)
        self.graph_module = create_feature_extractor(model, self.feature_info.module_name())
        self.return_dict = return_dict

    def forward(self, x: Tensor) -> list[Tensor] | dict[str, Tensor]:
        """x: (B, in_chans, H, W). Returns: the outputs of the modules, as they are."""
        found: dict[str, Tensor] = self.graph_module(x)
        return found if self.return_dict else list(found.values())


def FeatureListNet(
    model: Backbone, out_indices: Indices = None, output_fmt: str = "NCHW"
) -> Backbone[list[Tensor]]:
    """Return the network itself as a feature extractor; see `Backbone.as_features`."""
    return model.as_features(out_indices, output_fmt)


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


def _named(info: FeatureInfo, maps: list[Tensor]) -> dict[str, Tensor]:
    return dict(zip(info.module_name(), maps, strict=True))


def _keep(found: dict[str, Tensor], name: str) -> Any:
    def hook(module: nn.Module, args: object, output: Tensor) -> None:
        found[name] = output

    return hook
