"""The contract of a network, written once.

A network states its levels, its head and its feature table; `Backbone` derives the rest.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from hub.features import FeatureInfo, Indices, take_indices


class Backbone(nn.Module):
    """Base class of networks. A subclass states three things.

    * its **levels**: the method `levels` computes the network from the image on and yields each
      feature map when it has it. Whoever wants fewer stops asking, so nothing is computed in vain.
    * its **head**: `build_head` makes it, `classifier` is the path of its last layer, `pool` is
      what comes before that.
    * its **feature table**: the attribute `feature_info`, one row per level.

    The constructor sets `num_classes`, `num_features` (channels after the last level),
    `head_hidden_size` (width of what the classifier sees), `in_chans`, `drop_rate` (dropout before
    the classifier) and calls `build_head`. Modules must be registered in the order in which they
    run: what comes after a level is dropped when only the earlier ones are wanted.

    Example:
        >>> import hub, torch
        >>> model = hub.create_model("test_resnet", features_only=True, out_indices=(1, -1))
        >>> [tuple(f.shape) for f in model(torch.rand(1, 3, 64, 64))]
        [(1, 32, 16, 16), (1, 96, 2, 2)]
    """

    #: Path of the layer that gives the logits.
    classifier: ClassVar[str] = "fc"

    global_pool: nn.Module
    num_classes: int
    num_features: int
    head_hidden_size: int
    in_chans: int
    drop_rate: float
    feature_info: FeatureInfo
    pretrained_cfg: dict[str, Any]
    default_cfg: dict[str, Any]

    def __init__(self) -> None:
        super().__init__()
        self.grad_checkpointing = False
        #: How many levels are left; fewer than the table has after `prune_intermediate_layers`.
        self._num_levels: int | None = None
        #: Set by `as_features`: `forward` returns the maps of these levels.
        self._out_indices: tuple[int, ...] | None = None

    # --- what a network states ------------------------------------------------------------------

    @abstractmethod
    def levels(self, x: Tensor) -> Iterator[Tensor]:
        """Yield the feature map of each level, in order.

        Args:
            x: (B, in_chans, H, W) images, normalised.
        """

    @abstractmethod
    def build_head(self, num_classes: int, global_pool: str) -> None:
        """Set the modules of the head, for `num_classes` outputs (0: none) and a pool by name."""

    def finish(self, x: Tensor) -> Tensor:
        """Compute what stands between the last level and the head; usually nothing."""
        return x

    def pool(self, x: Tensor) -> Tensor:
        """Reduce features to what the classifier sees: (B, C, H, W) to (B, head_hidden_size)."""
        pooled: Tensor = self.global_pool(x)
        return pooled

    @property
    def is_part(self) -> bool:
        """Whether levels were cut off or the head gives way to feature maps."""
        return self._num_levels is not None or self._out_indices is not None

    # --- what follows from it -------------------------------------------------------------------

    def forward(self, x: Tensor) -> Any:
        """Return logits; a list of feature maps after `as_features`.

        Args:
            x: (B, in_chans, H, W) images, normalised.

        Returns:
            (B, num_classes) logits; with `num_classes=0` what the classifier would have seen.
        """
        if self._out_indices is not None:
            return self.forward_intermediates(
                x, self._out_indices, stop_early=True, intermediates_only=True
            )
        return self.forward_head(self.forward_features(x))

    def forward_features(self, x: Tensor) -> Tensor:
        """Return what the head sees, unpooled: (B, num_features, H', W') for convolutions."""
        for level in self._run_levels(x):
            x = level
        return self.finish(x)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Pool and classify what `forward_features` returned.

        Args:
            x: features.
            pre_logits: stop before the classifier: (B, head_hidden_size).
        """
        x = F.dropout(self.pool(x), self.drop_rate, self.training)
        return x if pre_logits else self.get_classifier()(x)

    def forward_intermediates(
        self,
        x: Tensor,
        indices: Indices = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> Any:
        """Return the final features and the maps of the levels asked for.

        Args:
            x: (B, in_chans, H, W) images, normalised.
            indices: levels, see `hub.features.take_indices`.
            norm: apply `finish` to each map.
            stop_early: compute nothing after the last level asked for.
            output_fmt: layout of the maps; only "NCHW".
            intermediates_only: return the list of maps alone.

        Returns:
            (final, maps), or maps. Maps come in the order of levels.
        """
        if output_fmt != "NCHW":
            raise ValueError(f"output_fmt={output_fmt!r}: this network gives 'NCHW' only")
        wanted = take_indices(len(self.feature_info), indices)
        if self._num_levels is not None and wanted[-1] >= self._num_levels:
            raise ValueError(
                f"level {wanted[-1]} was pruned; levels 0 to {self._num_levels - 1} are left"
            )
        maps = []
        for index, level in enumerate(self._run_levels(x)):
            x = level
            if index in wanted:
                maps.append(self.finish(x) if norm else x)
            if index == wanted[-1] and (stop_early or intermediates_only):
                break
        return maps if intermediates_only else (self.finish(x), maps)

    def _run_levels(self, x: Tensor) -> Iterator[Tensor]:
        for index, level in enumerate(self.levels(x)):
            yield level
            if index + 1 == self._num_levels:
                break

    def run(self, stage: nn.Sequential, x: Tensor) -> Tensor:
        """Run the blocks of a stage, each recomputed in the backward pass if so set."""
        if not (self.grad_checkpointing and self.training and torch.is_grad_enabled()):
            out: Tensor = stage(x)  # called as a module, so that its hooks fire
            return out
        for block in stage:
            x = checkpoint(block, x, use_reentrant=False)
        return x

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Trade time for memory: keep only the borders of blocks, recompute what is inside."""
        self.grad_checkpointing = enable

    def get_classifier(self) -> nn.Module:
        """Return the layer that gives the logits; Identity with `num_classes=0`."""
        return self.get_submodule(self.classifier)

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Give the network a fresh head, on the device and in the dtype and mode of the old.

        Args:
            num_classes: outputs; 0 for none.
            global_pool: name of the pool; None keeps the present one.
        """
        first = next(self.parameters())
        pool = str(self.global_pool.pool_type) if global_pool is None else global_pool
        # A network without a pool has nothing that a classifier could see: give it the usual one.
        if num_classes > 0 and not pool:
            pool = "avg"
        self.num_classes = num_classes
        self.build_head(num_classes, pool)
        for module in (self.global_pool, self.get_classifier()):
            module.to(device=first.device, dtype=first.dtype).train(self.training)

    def prune_intermediate_layers(
        self, indices: Indices = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Drop, in place, what comes after the last of these levels.

        Args:
            indices: levels to keep the way to; see `hub.features.take_indices`.
            prune_norm: drop what `finish` applies as well.
            prune_head: drop pool and classifier.

        Returns:
            The levels, counted from the start.
        """
        wanted = take_indices(len(self.feature_info), indices)
        last = wanted[-1]
        self._num_levels = last + 1
        self.num_features = self.head_hidden_size = self.feature_info[last]["num_chs"]
        if prune_head:
            self.reset_classifier(0, "")
        head = {"global_pool", self.classifier.partition(".")[0]}
        _drop_after(self, self.feature_info[last]["module"], keep=head)
        return wanted

    def as_features(self, out_indices: Indices = None) -> Self:
        """Turn this network into one whose forward returns feature maps; drop what they don't need.

        Args:
            out_indices: levels, see `hub.features.take_indices`; default: all.

        Returns:
            The network itself. `feature_info` now describes what forward returns.
        """
        self.feature_info = self.feature_info.from_other(out_indices)
        self._out_indices = self.feature_info.out_indices
        self.prune_intermediate_layers(self._out_indices)
        return self


def _drop_after(root: nn.Module, path: str, keep: Iterable[str]) -> None:
    """Remove all modules registered after `path`, at each depth, but for `keep` at the top."""
    module = root
    for name in path.split("."):
        names = list(module._modules)
        for later in names[names.index(name) + 1 :]:
            if module is not root or later not in keep:
                del module._modules[later]
        module = module.get_submodule(name)
