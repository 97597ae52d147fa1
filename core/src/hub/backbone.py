"""The contract of a network, written once.

A network states its levels, its head and its feature table; `Backbone` derives the rest.
"""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, cast, overload

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hub.blocks import recompute, run_each
from hub.features import FeatureInfo, Indices, check_layout, take_indices, to_layout
from hub.groups import depth_of_parameters

if TYPE_CHECKING:
    from hub_inference.optimizing import Optimization
    from typing_extensions import TypeVar

    Out = TypeVar("Out", default=Tensor)
else:  # the default is of use to checkers alone, and older Pythons do not know it
    from typing import TypeVar

    Out = TypeVar("Out")


class Backbone(nn.Module, Generic[Out]):
    """Base class of networks. A subclass states three things.

    * its **levels**: the method `forward_levels` computes the network from the image on and yields
      each feature map when it has it. Whoever wants fewer stops asking, so nothing is computed in
      vain. `layout` says what it yields; `final_modules` names what is applied after the last.
    * its **head**: `build_head` makes it, `forward_pool` is what comes before the classifier.
    * its **feature table**: the attribute `feature_info`, one row per level.

    The constructor sets `num_classes`, `num_features` (channels after the last level),
    `head_hidden_size` (width of what the classifier sees), `in_chans`, `drop_rate` (dropout before
    the classifier) and calls `build_head`. Modules must be registered in the order in which they
    run: what comes after a level is dropped when only the earlier ones are wanted, and the depth of
    a parameter is told by it.

    Example:
        >>> import hub, torch
        >>> model = hub.create_model("test_resnet", features_only=True, out_indices=(1, -1))
        >>> [tuple(f.shape) for f in model(torch.rand(1, 3, 64, 64))]
        [(1, 32, 16, 16), (1, 96, 2, 2)]
    """

    #: Path of the layer that gives the logits.
    classifier_path: ClassVar[str] = "fc"
    #: Modules of the head, in the order in which they run.
    head_modules: ClassVar[tuple[str, ...]] = ("global_pool", "fc")
    #: Modules that run between the last level and the head.
    final_modules: ClassVar[tuple[str, ...]] = ()
    #: What `forward_levels` yields: "NCHW", "NHWC", or "NLC" with `num_prefix_tokens` in front.
    layout: ClassVar[str] = "NCHW"
    #: Levels that a feature extractor hands out unless told otherwise.
    default_indices: ClassVar[Indices] = None
    #: Parameters of the network itself that weight decay should spare.
    no_decay: ClassVar[tuple[str, ...]] = ()

    num_classes: int
    num_features: int
    head_hidden_size: int
    in_chans: int
    drop_rate: float
    num_prefix_tokens: int = 0
    global_pool: nn.Module | str
    feature_info: FeatureInfo
    pretrained_cfg: dict[str, Any]
    default_cfg: dict[str, Any]
    #: What `hub.optimize` did; only copies that it made have this.
    optimization: Optimization

    if TYPE_CHECKING:

        def __call__(self, x: Tensor) -> Out:
            """Return logits; a list of maps if this is a `Backbone[list[Tensor]]`."""

    def __init__(self) -> None:
        super().__init__()
        self.grad_checkpointing = False
        #: How many levels are left; fewer than the table has after `prune_intermediate_layers`.
        self._num_levels: int | None = None
        #: Set by `as_features`: `forward` returns the maps of these levels, in this layout.
        self._out_indices: tuple[int, ...] | None = None
        self._out_layout = "NCHW"

    # --- what a network states ------------------------------------------------------------------

    @abstractmethod
    def forward_levels(self, x: Tensor) -> Iterator[Tensor]:
        """Yield the feature map of each level, in order.

        Args:
            x: (B, in_chans, H, W) images, normalised.
        """

    @abstractmethod
    def build_head(self, num_classes: int, global_pool: str) -> None:
        """Set the modules of the head, for `num_classes` outputs (0: none) and a pool by name."""

    def forward_pool(self, x: Tensor) -> Tensor:
        """Reduce features to what the classifier sees: (B, C, H, W) to (B, head_hidden_size)."""
        assert isinstance(self.global_pool, nn.Module), "a network with a pool by name has a method"
        pooled: Tensor = self.global_pool(x)
        return pooled

    def feature_size(self, height: int, width: int, index: int) -> tuple[int, int]:
        """Return (height, width) of the map of a level, for an image of that size."""
        reduction = self.feature_info[index]["reduction"]
        return height // reduction, width // reduction

    # --- what follows: forward ------------------------------------------------------------------

    def forward(self, x: Tensor) -> Any:
        """Return logits; a list of feature maps after `as_features`.

        Args:
            x: (B, in_chans, H, W) images, normalised.

        Returns:
            (B, num_classes) logits; with `num_classes=0` what the classifier would have seen.
        """
        if self._out_indices is not None:
            return self.forward_intermediates(
                x, self._out_indices, output_fmt=self._out_layout, intermediates_only=True
            )
        return self.forward_head(self.forward_features(x))

    def forward_features(self, x: Tensor) -> Tensor:
        """Return what the head sees, unpooled: (B, num_features, H', W') for convolutions."""
        for level in self._run_levels(x):
            x = level
        return self.forward_final(x)

    def forward_final(self, x: Tensor) -> Tensor:
        """Apply the modules of `final_modules`."""
        for name in self.final_modules:
            x = getattr(self, name)(x)
        return x

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Pool and classify what `forward_features` returned.

        Args:
            x: features.
            pre_logits: stop before the classifier: (B, head_hidden_size).
        """
        x = self.forward_pool(x)
        drop = self._modules.get("head_drop")  # a network may have it as a module, for its hooks
        x = F.dropout(x, self.drop_rate, self.training) if drop is None else drop(x)
        return x if pre_logits else self.get_classifier()(x)

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
    def forward_intermediates(self, x: Tensor, *args: Any, **kwargs: Any) -> Any: ...
    def forward_intermediates(
        self,
        x: Tensor,
        indices: Indices = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
        return_prefix_tokens: bool = False,
        output_dict: bool = False,
    ) -> Any:
        """Return the final features and the maps of the levels asked for.

        Args:
            x: (B, in_chans, H, W) images, normalised.
            indices: levels, see `hub.features.take_indices`.
            norm: apply `forward_final` to each map.
            stop_early: compute nothing after the last level asked for.
            output_fmt: layout of the maps: "NCHW", "NHWC" or "NLC".
            intermediates_only: return the list of maps alone.
            return_prefix_tokens: pair each map with its prefix tokens (B, num_prefix_tokens, C).
            output_dict: return "image_features", "image_intermediates" and, if asked for,
                "image_intermediates_prefix" in a dict.

        Returns:
            (final, maps), or maps, or a dict. Maps come in the order of levels.

        Raises:
            ValueError: a level or layout that does not exist.
        """
        check_layout(output_fmt)
        wanted = self._check_levels(indices)
        height, width = x.shape[-2:]
        maps, prefixes = [], []
        for index, level in enumerate(self._run_levels(x)):
            x = level
            if index in wanted:
                prefix, y = self._split(self.forward_final(x) if norm else x)
                size = self.feature_size(height, width, index)
                maps.append(to_layout(y, self.layout, output_fmt, size))
                prefixes.append(prefix)
            if index == wanted[-1] and (stop_early or intermediates_only):
                break
        with_prefix = return_prefix_tokens and self.num_prefix_tokens > 0
        if output_dict:
            found: dict[str, Any] = {"image_intermediates": maps}
            if with_prefix:
                found["image_intermediates_prefix"] = prefixes
            return (
                found if intermediates_only else {**found, "image_features": self.forward_final(x)}
            )
        listed = list(zip(maps, prefixes, strict=True)) if with_prefix else maps
        return listed if intermediates_only else (self.forward_final(x), listed)

    def _check_levels(self, indices: Indices) -> list[int]:
        wanted = take_indices(len(self.feature_info), indices)
        if self._num_levels is not None and wanted[-1] >= self._num_levels:
            raise ValueError(
                f"level {wanted[-1]} was pruned; levels 0 to {self._num_levels - 1} are left"
            )
        return wanted

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return prefix tokens and patches of (B, N, C); maps have no prefix."""
        if self.layout != "NLC":
            return x[:0], x
        return x[:, : self.num_prefix_tokens], x[:, self.num_prefix_tokens :]

    def _run_levels(self, x: Tensor) -> Iterator[Tensor]:
        for index, level in enumerate(self.forward_levels(x)):
            yield level
            if index + 1 == self._num_levels:
                break

    def apply_block(self, block: nn.Module, x: Tensor, *args: Any) -> Tensor:
        """Run a block; with gradient checkpointing, it is run again in the backward pass."""
        if self.grad_checkpointing and self.training and torch.is_grad_enabled():
            return recompute(block, x, *args)
        out: Tensor = block(x, *args)
        return out

    def run(self, stage: nn.Module, x: Tensor) -> Tensor:
        """Run a stage: with gradient checkpointing block by block, if it is an nn.Sequential."""
        if not (self.grad_checkpointing and isinstance(stage, nn.Sequential)):
            return self.apply_block(stage, x)
        for level in self.run_each(stage, x):
            x = level
        return x

    def run_each(self, stage: nn.Sequential, x: Tensor) -> Iterator[Tensor]:
        """Run a stage of which each block is a level; yield what each gives.

        The hooks of the stage fire as if it were called; those after it with its last block, so
        not where somebody stopped early.
        """
        return run_each(stage, x, self.apply_block)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Trade time for memory: keep only the borders of blocks, recompute what is inside."""
        self.grad_checkpointing = enable

    # --- what follows: head ---------------------------------------------------------------------

    @property
    def pool_name(self) -> str:
        """Name of the pool; empty for none."""
        pool = self.global_pool
        return pool if isinstance(pool, str) else getattr(pool, "pool_type", type(pool).__name__)

    def get_classifier(self) -> nn.Module:
        """Return the layer that gives the logits; Identity with `num_classes=0`."""
        # get_submodule is nothing that torch 2.9 can trace in a strict export.
        classifier: nn.Module = attrgetter(self.classifier_path)(self)
        return classifier

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Give the network a fresh head, on the device and in the dtype and mode of the old.

        Args:
            num_classes: outputs; 0 for none.
            global_pool: name of the pool; None keeps the present one.
        """
        first = next(self.parameters())
        pool = self.pool_name if global_pool is None else global_pool
        # A network without a pool has nothing that a classifier could see: give it the usual one.
        if num_classes > 0 and not pool:
            pool = "avg"
        self.num_classes = num_classes
        self.build_head(num_classes, pool)
        for name in self.head_modules:
            module = getattr(self, name)
            if isinstance(module, nn.Module):
                module.to(device=first.device, dtype=first.dtype).train(self.training)

    def present_arguments(self) -> dict[str, Any]:
        """Return the constructor keywords that a network answers for as it is now.

        These are the ones that it holds as attributes of their names, and its pool. A family adds
        those that a method of its own can change. `hub.save_pretrained` writes what is not as the
        network was built.
        """
        held = {key: getattr(self, key, None) for key in inspect.signature(type(self)).parameters}
        data = {k: v for k, v in held.items() if isinstance(v, int | float | str | list | tuple)}
        return data | {"global_pool": self.pool_name}

    # --- what follows: parts of it --------------------------------------------------------------

    @property
    def is_part(self) -> bool:
        """Whether levels were cut off or the head gives way to feature maps."""
        return self._num_levels is not None or self._out_indices is not None

    def prune_intermediate_layers(
        self, indices: Indices = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Drop, in place, what comes after the last of these levels.

        Args:
            indices: levels to keep the way to; see `hub.features.take_indices`.
            prune_norm: drop what `forward_final` applies as well.
            prune_head: drop pool and classifier.

        Returns:
            The levels, counted from the start.
        """
        wanted = take_indices(len(self.feature_info), indices)
        last = wanted[-1]
        self._num_levels = last + 1
        self.num_features = self.head_hidden_size = self.feature_info[last]["num_chs"]
        _drop_after(
            self, self.feature_info[last]["module"], keep={*self.final_modules, *self._head_roots()}
        )
        if prune_norm:
            for name in self.final_modules:
                setattr(self, name, nn.Identity())
        if prune_head:
            for name in self.head_modules:
                module = getattr(self, name)
                if isinstance(module, nn.Module) and any(True for _ in module.parameters()):
                    setattr(self, name, nn.Identity())
            self.reset_classifier(0, "")
        return wanted

    def as_features(
        self, out_indices: Indices = None, output_fmt: str = "NCHW"
    ) -> Backbone[list[Tensor]]:
        """Turn this network into one whose forward returns feature maps; drop what they don't need.

        Args:
            out_indices: levels, see `hub.features.take_indices`; default: `default_indices`.
            output_fmt: layout of the maps, see `forward_intermediates`.

        Returns:
            The network itself. `feature_info` now describes what forward returns.
        """
        check_layout(output_fmt)
        if out_indices is None:
            out_indices = self.default_indices
        self.feature_info = self.feature_info.from_other(out_indices)
        self._out_indices, self._out_layout = self.feature_info.out_indices, output_fmt
        self.prune_intermediate_layers(self._out_indices, prune_norm=True)
        return cast("Backbone[list[Tensor]]", self)

    @property
    def return_layers(self) -> dict[str, str]:
        """Module to number of each level that a feature extractor hands out, as timm's has it.

        transformers' TimmBackbone sets it to have the maps of all levels that are left.
        """
        return {row["module"]: str(row["index"]) for row in self.feature_info.get_dicts()}

    @return_layers.setter
    def return_layers(self, layers: Mapping[str, str]) -> None:
        left = self.feature_info[: self._num_levels]
        self._out_indices = tuple(row["index"] for row in left if row["module"] in layers)

    def _head_roots(self) -> set[str]:
        return {self.classifier_path.partition(".")[0], *self.head_modules}

    # --- what follows: depth --------------------------------------------------------------------

    def group_matcher(self, coarse: bool = False) -> Callable[[str], int]:
        """Return a function from the name of a parameter to its depth, for `group_parameters`.

        0 is the stem, then come the blocks (`coarse`: the levels), the last is the head.
        """
        paths = [row["module"] for row in self.feature_info[: self._num_levels]]
        return depth_of_parameters(self, paths, head=self._head_roots(), coarse=coarse)

    def no_weight_decay(self) -> set[str]:
        """Return the names of parameters that weight decay should spare."""
        own = dict(self.named_parameters(recurse=False))
        return {name for name in self.no_decay if name in own}


def _drop_after(root: nn.Module, path: str, keep: Iterable[str]) -> None:
    """Remove all modules registered after `path`, at each depth, but for `keep` at the top."""
    module = root
    for name in path.split("."):
        names = list(module._modules)
        for later in names[names.index(name) + 1 :]:
            if module is not root or later not in keep:
                del module._modules[later]
        module = module.get_submodule(name)
