"""The contract of a network, written once.

A network states its levels and its head (`hub.backbone.stated`); `Backbone` derives the rest.
"""

from __future__ import annotations

import fnmatch
import inspect
from collections.abc import Iterator, Mapping
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Generic, Literal, cast, final, overload

import torch.nn.functional as F
from torch import Tensor, nn

from hub.backbone.blocks import run_block
from hub.backbone.completion import (
    check_head_object,
    check_statements,
    completed_table,
    completing,
    is_isotropic,
)
from hub.backbone.cutting import drop, parts_after
from hub.backbone.depth import Matcher, depth_of_parameters
from hub.backbone.head import POOLS, is_head, layers_of_classes
from hub.backbone.stated import Stated
from hub.features import Indices, check_layout, take_indices, to_layout

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    Out = TypeVar("Out", default=Tensor)
else:  # the default is of use to checkers alone, and older Pythons do not know it
    from typing import TypeVar

    Out = TypeVar("Out")


class Backbone(Stated, Generic[Out]):
    """Base class of networks. A subclass states what it is; everything else follows.

    Obligatory are `forward_levels` and, set in the constructor, `feature_info`: one row per level,
    a dict with `num_chs`, `reduction` and `module` (path of what the level ends with; None where
    there is no one). A row may have, where it differs from the network,

    * `layout` and `num_prefix_tokens`;
    * `norm`: path of what `norm=True` applies to it, where the rule of `final_norm` does not hold;
    * `modules` (then in every row): paths of modules and parameters that the level needs, where
      what is registered after `module` is not what a cut may drop.

    The call order is `forward_levels`, `forward_final` (the norm, then `final_modules`), then the
    head: `forward_pool`, other modules of the head, dropout, `forward_classifier`. Modules are
    registered in the order in which they run. A subclass sets the attributes and overrides the
    methods of `hub.backbone.stated`, and none of those below. When the constructor of the outermost
    class is through, the network is completed and checked.

    Args:
        num_classes: outputs of the classifier; 0 for none.
        in_chans: channels of the images.
        global_pool: name of the pool; its default in the subclass is the network's own pool.
        drop_rate: dropout before the classifier.

    Example:
        >>> import hub, torch
        >>> model = hub.create_model("test_resnet", features_only=True, out_indices=(1, -1))
        >>> [tuple(f.shape) for f in model(torch.rand(1, 3, 64, 64))]
        [(1, 32, 16, 16), (1, 96, 2, 2)]
    """

    if TYPE_CHECKING:

        def __call__(self, x: Tensor, **kwargs: Any) -> Out:
            """Return logits; a list of maps if this is a `Backbone[list[Tensor]]`."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in vars(cls):
            cls.__init__ = completing(cls.__init__)  # type: ignore[method-assign]

    def _complete(self) -> None:
        """Fill in what follows from what the constructor has set, and check it."""
        stated = getattr(self, "feature_info", None)
        if not stated:
            raise TypeError(
                f"the constructor of {type(self).__name__} sets no feature_info: one dict per "
                "level, with num_chs, reduction and module"
            )
        self.feature_info = completed_table(self, stated)
        self._num_levels = len(self.feature_info)
        self._is_isotropic = is_isotropic(self.feature_info)
        self._whole_layout = self.layout, self.num_prefix_tokens
        check_head_object(self)
        self._set_widths()
        self._check_head(self.num_classes, self.pool_name)
        if self._head_object is None and None in map(self._at, self._paths):
            self.build_head(self.num_classes, self.pool_name)
        check_statements(self)

    # --- forward -----------------------------------------------------------------------

    def forward(self, x: Any, **kwargs: Any) -> Any:
        """Return logits; a list of feature maps after `as_features`.

        Args:
            x: (B, in_chans, H, W) images, normalised; or a dict of "patches" and of what else
                `forward_levels` takes.
            **kwargs: what `forward_levels` takes besides.

        Returns:
            (B, num_classes) logits; with `num_classes=0` what the classifier would have seen. In
            training, after `set_distilled_training(True)`, a tuple with those of each classifier.
        """
        x, kwargs = _unpacked(x, kwargs)
        if self._outputs is not None:
            return self.forward_intermediates(x, intermediates_only=True, **self._outputs, **kwargs)
        return self.forward_head(self.forward_features(x, **kwargs))

    def _forward_of_images(self, x: Any) -> Any:
        """What `torch.fx` takes the signature of `forward` from: it cannot trace keywords."""

    forward.__wrapped__ = _forward_of_images  # type: ignore[attr-defined]

    @final
    def forward_features(self, x: Any, **kwargs: Any) -> Tensor:
        """Return what the head sees, unpooled: (B, num_features, H', W') for convolutions.

        Without its head, or cut and hierarchical, a network returns its last level; normed, where
        its row names a norm that was not pruned.
        """
        x, kwargs = _unpacked(x, kwargs)
        features: Tensor = self._run(x, self._num_levels, (), kwargs)[1]
        return features

    @final
    def run_levels(self, x: Any, indices: Indices = None, **kwargs: Any) -> tuple[list[Any], Any]:
        """Return levels as the network computes them, and what the head sees.

        Args:
            x: (B, in_chans, H, W) images, normalised.
            indices: levels, see `hub.features.take_indices`; default: all that are left.
            **kwargs: what `forward_levels` takes besides.
        """
        x, kwargs = _unpacked(x, kwargs)
        wanted = self._check_levels(indices)
        return self._run(x, self._num_levels, wanted, kwargs)

    def _run(
        self, x: Any, end: int, wanted: Any, kwargs: Mapping[str, Any]
    ) -> tuple[list[Any], Any]:
        """Run `end` levels; return the wanted ones, and features made of the last."""
        levels = self._levels(x, kwargs)
        found, x = self._collect(levels, end, wanted)
        if not self._has_final or end < self._num_levels:  # what follows the last level is not due
            has_norm = self._has_norm and self.feature_info[end - 1]["norm"]
            return found, self.forward_norm(x, end - 1) if has_norm else x
        returned = next(levels)  # a loop over blocks ends with those that a cut has left
        x = x if returned is None else returned
        return found, self.forward_final(x)

    def _levels(self, x: Any, kwargs: Mapping[str, Any]) -> Iterator[Any]:
        """Yield each level, and then what `forward_levels` returns."""
        levels: Any = self.forward_levels
        returned = yield from levels(x, **kwargs)  # torch 2.9 traces no StopIteration.value
        yield returned

    def _collect(self, levels: Iterator[Any], end: int, wanted: Any) -> tuple[list[Any], Any]:
        """Take `end` levels; return those wanted, and the last."""
        found: list[Any] = []
        level: Any = None
        for index in range(end):
            level = next(levels)
            if level is None:  # what a function returns that returns nothing
                raise RuntimeError(
                    f"forward_levels of {type(self).__name__} ended after {index} levels, and its "
                    f"feature_info has rows for {len(self.feature_info)}"
                )
            if index in wanted:
                found.append(level)
        return found, level

    @overload
    def forward_intermediates(
        self,
        x: Tensor,
        indices: Indices = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: Literal[False] = False,
        return_prefix_tokens: Literal[False] = False,
        output_dict: Literal[False] = False,
    ) -> tuple[Tensor, list[Tensor]]: ...
    @overload
    def forward_intermediates(
        self,
        x: Tensor,
        indices: Indices = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        *,
        intermediates_only: Literal[True],
        return_prefix_tokens: Literal[False] = False,
        output_dict: Literal[False] = False,
    ) -> list[Tensor]: ...
    @overload
    def forward_intermediates(self, x: Any, *args: Any, **kwargs: Any) -> Any: ...
    @final
    def forward_intermediates(
        self,
        x: Any,
        indices: Indices = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
        return_prefix_tokens: bool = False,
        output_dict: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Return what the head sees and the maps of the levels asked for.

        Args:
            x: (B, in_chans, H, W) images, normalised.
            indices: levels, see `hub.features.take_indices`.
            norm: apply to each map the norm that its row names.
            stop_early: compute nothing after the last level asked for.
            output_fmt: layout of the maps: "NCHW", "NHWC" or "NLC".
            intermediates_only: return the list of maps alone.
            return_prefix_tokens: pair each map with its prefix tokens (B, num_prefix_tokens, C).
            output_dict: return "image_features", "image_intermediates" and, if asked for,
                "image_intermediates_prefix" in a dict.
            **kwargs: what `forward_levels` takes besides.

        Returns:
            (features, maps), or maps, or a dict. Maps come in the order of levels.

        Raises:
            ValueError: a level or layout that does not exist.
        """
        check_layout(output_fmt)
        x, kwargs = _unpacked(x, kwargs)
        wanted = self._check_levels(indices)
        if isinstance(x, Tensor) and x.ndim != 4 and output_fmt != "NLC":
            raise ValueError(
                f"output_fmt={output_fmt!r}: patches of shape {tuple(x.shape)} have no grid that a "
                "map could be made of; give output_fmt='NLC', or images"
            )
        height, width = x.shape[-2:]
        end = wanted[-1] + 1 if stop_early or intermediates_only else self._num_levels
        features: Any = None
        if intermediates_only:
            found, _ = self._collect(self._levels(x, kwargs), end, wanted)
        else:
            found, features = self._run(x, end, wanted, kwargs)
        has_prefix = any(row["num_prefix_tokens"] for row in self.feature_info)
        with_prefix = return_prefix_tokens and has_prefix
        maps, prefixes = [], []
        for index, level in zip(wanted, found, strict=True):
            row, grid = self.feature_info[index], (0, 0)
            if norm and self._has_norm and row["norm"]:
                level = self.forward_norm(level, index)
            if row["layout"] == "NLC":
                if output_fmt != "NLC":
                    grid = self.feature_size(height, width, index)
                if with_prefix:
                    prefixes.append(level[:, : row["num_prefix_tokens"]])
                level = level[:, row["num_prefix_tokens"] :]
            elif with_prefix:  # a map among tokens
                prefixes.append(level[:, :0])
            maps.append(to_layout(level, row["layout"], output_fmt, grid))
        if output_dict:
            named: dict[str, Any] = {"image_intermediates": maps}
            if with_prefix:
                named["image_intermediates_prefix"] = prefixes
            return named if intermediates_only else {**named, "image_features": features}
        listed = list(zip(maps, prefixes, strict=True)) if with_prefix else maps
        return listed if intermediates_only else (features, listed)

    def _check_levels(self, indices: Indices) -> list[int]:
        if indices is None or isinstance(indices, int):  # all that are left, or the last of them
            return take_indices(self._num_levels, indices)
        wanted = take_indices(len(self.feature_info), indices)
        if wanted[-1] >= self._num_levels:
            raise ValueError(
                f"level {wanted[-1]} was pruned; levels 0 to {self._num_levels - 1} are left"
            )
        return wanted

    # --- head --------------------------------------------------------------------------

    @final
    def forward_head(self, x: Any, pre_logits: bool = False) -> Any:
        """Pool and classify what `forward_features` returned.

        Args:
            x: features.
            pre_logits: stop before the classifier: (B, head_hidden_size).
        """
        if not self._has_head:
            return x
        is_pooled, roots = self.pool_name != "", self._roots
        for name in self._head_order:
            if name == "global_pool":
                if is_pooled:
                    x = self.forward_pool(x)
                elif isinstance(x, Mapping):  # without what no pool asks for
                    x = x["patches"]
                continue
            module = getattr(self, name)
            if is_head(module):
                return module(x, pre_logits=pre_logits)
            if module is not None and name not in roots:
                x = module(x)
        each = list(x) if isinstance(x, (tuple, list)) else [x]
        if len(each) > 1 and not is_pooled:
            return x  # branches of several sizes, which nothing has pooled, have no mean
        if is_pooled and self.layout == "NCHW":  # maps of one pixel; a pool may leave tokens
            each = [y.flatten(1) for y in each]
        if self.training and self._drop_rate and not self._dropouts:
            each = [F.dropout(y, self._drop_rate) for y in each]
        if pre_logits or not self.num_classes:
            return self.join_pooled(each)
        return self.forward_classifier(each)

    @property
    @final
    def classifier_layers(self) -> tuple[str, ...]:
        """Paths of the layers whose rows are classes, which other classes change."""
        return tuple(layers_of_classes(self, self._paths, self.num_classes))

    @final
    def get_classifier(self) -> nn.Module:
        """Return what `reset_classifier` makes anew; a tuple where there are several."""
        # get_submodule is nothing that torch 2.9 can trace in a strict export.
        layers: Any = tuple(attrgetter(path)(self) for path in self._paths)
        found: nn.Module = layers[0] if len(layers) == 1 else layers
        return found

    @final
    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Give the network fresh classifiers, on the device and in the dtype and mode of the old.

        Args:
            num_classes: outputs; 0 for none.
            global_pool: name of the pool; None keeps the present one, or where there is none
                brings the network's own back.

        Raises:
            ValueError: there is no such pool, or nothing that a classifier could see.
        """
        pool = self.pool_name if global_pool is None else global_pool
        if num_classes and not pool and global_pool is None:
            pool = self._own_pool_name()
        self._check_head(num_classes, None if global_pool is None and not num_classes else pool)
        first = next(self.parameters())
        self.num_classes, self._has_head = num_classes, True
        head = self._head_object
        if head is None:
            self.build_head(num_classes, pool)
        else:
            head.reset(num_classes, pool)
            self.global_pool, self.head_hidden_size = pool, head.num_features
        for name in self.head_names:
            module = self._modules.get(name)
            if module is not None:
                module.to(device=first.device, dtype=first.dtype).train(self.training)

    def _own_pool_name(self) -> str:
        """Return the pool that the network was built with, or else the one of its class."""
        default = inspect.signature(type(self)).parameters.get("global_pool")
        legal = self._legal_pools
        for name in (self._own_pool, None if default is None else default.default):
            if name and isinstance(name, str) and (legal is None or name in legal):
                return name
        return next(filter(None, legal or ()), "avg")

    @property
    def _legal_pools(self) -> tuple[str, ...] | None:
        """Names of the pools that the network can have; None where its pool or head decides."""
        if self.pools is not None:
            return self.pools
        is_own = type(self).forward_pool is not Backbone.forward_pool
        if is_own or self._head_object is not None or isinstance(self.global_pool, nn.Module):
            return None
        return POOLS if self.num_prefix_tokens else POOLS[1:]

    def _check_head(self, num_classes: int, pool: str | None) -> None:
        """Raise ValueError unless the network can have such a head; None: no pool is asked for."""
        name, legal = type(self).__name__, self._legal_pools
        if num_classes and not self._paths:
            raise ValueError(
                f"num_classes={num_classes}: {name} is an encoder and has no classifier; "
                "num_classes=0 builds it"
            )
        if pool is not None and legal is not None and pool not in legal:
            known = ", ".join(map(repr, legal))
            raise ValueError(f"global_pool={pool!r}: it can be {known} in this {name}")
        if num_classes and not self._has_final and not self._fits_a_head:
            raise ValueError(
                f"this {name} was cut, and what its head needs is gone: it hands out features. For "
                "a classifier build it whole, or put one of your own behind it"
            )

    @property
    def _fits_a_head(self) -> bool:
        """Whether a network whose head fell returns what a new one, of its kind, can take."""
        cls = type(self)
        is_own = (
            cls.forward_pool is not Backbone.forward_pool
            or cls.forward_classifier is not Backbone.forward_classifier
        )
        is_same = (self.layout, self.num_prefix_tokens) == self._whole_layout
        return is_same and (not is_own or (self._is_isotropic and not self.final_modules))

    @final
    def set_distilled_training(self, enable: bool = True) -> None:
        """In training return the logits of each classifier, the main one's first.

        Raises:
            ValueError: there is one classifier only.
        """
        if len(self._paths) < 2:
            raise ValueError(
                f"{type(self).__name__} has one classifier: there is nothing to distil into"
            )
        self.distilled_training = enable

    # --- parts of it -------------------------------------------------------------------

    @property
    @final
    def is_part(self) -> bool:
        """Whether levels were cut off or the head gives way to feature maps."""
        whole = self._num_levels == len(self.feature_info)
        return not (whole and self._has_final and self._has_norm) or self._outputs is not None

    @property
    @final
    def levels_left(self) -> list[dict[str, Any]]:
        """Rows of the levels that were not cut off."""
        return self.feature_info[: self._num_levels]

    @final
    def prune_intermediate_layers(
        self, indices: Indices = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Drop, in place, what comes after the last of these levels.

        In a hierarchical network norm, final modules and head were made for the last level and go
        with it; in an isotropic one they fit every level and stay, unless the flags say otherwise.

        Args:
            indices: levels to keep the way to; see `hub.features.take_indices`.
            prune_norm: drop the norm as well.
            prune_head: drop final modules, pool and classifier.

        Returns:
            The levels, counted from the start.
        """
        wanted, rows = self._check_levels(indices), self.feature_info
        last, tokens = wanted[-1], "num_prefix_tokens"
        later = parts_after(self, rows, last)
        misfit = last + 1 < len(rows) and not self._fits_each_level
        misfit |= any(path.startswith(f"{part}.") for part in later for path in self.final_modules)
        no_head = prune_head or misfit or rows[last][tokens] != rows[-1][tokens]
        norms = {row["norm"] for row in rows} - {None}
        # Without a head nothing but the maps needs norms.
        needed = {rows[i]["norm"] for i in wanted} - {None} if no_head else norms
        keep = {*norms, *self.final_modules, *self.head_names}
        if no_head:  # what lies within a level goes with it
            keep = {path for path in keep if "." not in path or path in needed}
        for part in later:
            if not any(f"{path}.".startswith(f"{part}.") for path in keep):
                drop(self, part, gone=True)
        self._num_levels = last + 1
        for path in norms if prune_norm else norms - needed:
            drop(self, path)
        self._has_norm = not prune_norm and bool(needed)
        if no_head:
            self._drop_head(rows[last])
        return wanted

    @property
    def _fits_each_level(self) -> bool:
        """Whether norm and head, made for the last level, can take every other.

        So it is where the levels are alike, a cut ends a loop over them, and the head sees what a
        level is, or what final modules make of it.
        """
        row = self.feature_info[-1]
        is_level = self.num_features == row["num_chs"] or bool(self.final_modules)
        return self._is_isotropic and "modules" not in row and is_level

    def _drop_head(self, row: Mapping[str, Any]) -> None:
        """Let the network end with a level: drop what was made to follow it."""
        self._has_final = self._has_head = False
        for path in self.final_modules:
            drop(self, path)
        self.num_classes = 0
        self.num_features = self.head_hidden_size = row["num_chs"]
        self.layout, self.num_prefix_tokens = row["layout"], row["num_prefix_tokens"]
        head = self._head_object
        if head is not None:
            head.strip(self.num_features)
            self.global_pool = ""
        else:
            self.build_head(0, "")
        for name in self._head_order:
            kept = name in (*self._roots, "global_pool")
            if not kept and not isinstance(getattr(self, name), nn.Dropout):
                drop(self, name)

    @final
    def as_features(
        self, out_indices: Indices = None, output_fmt: str = "NCHW", norm: bool = False
    ) -> Backbone[list[Tensor]]:
        """Turn this network into one whose forward returns feature maps; drop what they don't need.

        Args:
            out_indices: levels, see `hub.features.take_indices`; default: `default_indices`.
            output_fmt: layout of the maps, see `forward_intermediates`.
            norm: apply to each map the norm that its row names.

        Returns:
            The network itself. `feature_info` now describes what forward returns.
        """
        check_layout(output_fmt)
        if out_indices is None:
            out_indices = self.default_indices
        self.feature_info = self.feature_info.from_other(out_indices)
        indices = self.feature_info.out_indices
        self.prune_intermediate_layers(indices, prune_norm=not norm)
        self._outputs = {"indices": indices, "output_fmt": output_fmt, "norm": norm}
        return cast("Backbone[list[Tensor]]", self)

    @property
    def return_layers(self) -> dict[str, str]:
        """Module to number of each level that a feature extractor hands out, as timm's has it.

        transformers' TimmBackbone sets it to have the maps of all levels that are left.
        """
        return {_name(row): str(row["index"]) for row in self.feature_info.get_dicts()}

    @return_layers.setter
    def return_layers(self, layers: Mapping[str, str]) -> None:
        indices = tuple(row["index"] for row in self.levels_left if _name(row) in layers)
        self._outputs = {"output_fmt": "NCHW", **(self._outputs or {}), "indices": indices}

    # --- training ----------------------------------------------------------------------

    @final
    def apply_block(self, block: nn.Module, *args: Any, **kwargs: Any) -> Any:
        """Run a block of a loop; with gradient checkpointing again in the backward pass."""
        return run_block(self, block, *args, **kwargs)

    @final
    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Trade time for memory: keep only the borders of blocks, recompute what is inside.

        Raises:
            ValueError: the network has no blocks to recompute.
        """
        if enable and not self.can_checkpoint:
            raise ValueError(f"{type(self).__name__} has no blocks to recompute")
        module: Any
        for module in self.modules():
            if hasattr(module, "grad_checkpointing"):
                module.grad_checkpointing = enable

    @final
    def group_matcher(self, coarse: bool = False) -> Matcher:
        """Return a function from the name of a parameter to its depth, for `group_parameters`.

        0 is the stem, then come the blocks (`coarse`: the levels), the last is the head.
        """
        paths = [p for row in self.levels_left for p in row.get("modules", (row["module"],)) if p]
        return depth_of_parameters(self, paths, head=self.head_names, coarse=coarse)

    @final
    def no_weight_decay(self) -> set[str]:
        """Return the names of parameters that weight decay should spare."""
        names = [name for name, _ in self.named_parameters()]
        return {name for pattern in self.no_decay for name in fnmatch.filter(names, pattern)}


def _unpacked(x: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return images or patches, and what belongs to them, of what a network was given."""
    if not isinstance(x, Mapping):
        return x, kwargs
    kwargs = {**x, **kwargs}
    return kwargs.pop("patches"), kwargs


def _name(row: Mapping[str, Any]) -> str:
    """Return what a level is called: its module, or where it has none, its number."""
    return row["module"] or f"level{row['index']}"
