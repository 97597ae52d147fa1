"""What a network states, with defaults that suit most of them."""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar, cast

import torch
from torch import Tensor, nn

from hub.backbone.head import is_head, layers_of_image, pool_by_name
from hub.features import FeatureInfo, Indices

if TYPE_CHECKING:
    from hub_inference.optimizing import Optimization


class Stated(nn.Module):
    """The attributes and methods of the contract that a network sets or overrides.

    See `hub.Backbone`, which derives everything else from them.
    """

    #: Layout of what `forward_features` returns, and of levels whose row has none: "NCHW", "NHWC",
    #: or "NLC" with `num_prefix_tokens` in front.
    layout: str = "NCHW"
    num_prefix_tokens: int = 0
    #: Path of the norm after the last level; it keeps the width. `norm=True` applies it: where all
    #: levels have one width, stride and layout (an isotropic network) to each, else to the last.
    final_norm: str | None = None
    #: Paths of other modules after the last level, and of bare parameters that they need;
    #: `norm=True` never applies them, and they fall with the head.
    final_modules: tuple[str, ...] = ()
    #: Paths of what `reset_classifier` makes anew: one, several, or () for an encoder.
    classifier_path: str | tuple[str, ...] = "fc"
    #: What the head runs, in order, "global_pool" for the pool. None: the `Head` that the
    #: classifier lies in, or else pool and classifier.
    head_modules: tuple[str, ...] | None = None
    #: Names of legal pools, "" among them if features may stay unpooled. None: all that the pool
    #: knows.
    pools: tuple[str, ...] | None = None
    #: Levels that a feature extractor hands out unless told otherwise.
    default_indices: ClassVar[Indices] = None
    #: Patterns over the names of all parameters: those that weight decay should spare.
    no_decay: tuple[str, ...] = ()
    #: Whether blocks can be recomputed in the backward pass.
    can_checkpoint: bool = True
    #: (height, width) of the images that it is built for; None where any will do.
    img_size: tuple[int, int] | None = None
    #: What height and width of an image must be multiples of.
    size_divisibility: int = 1

    num_classes: int
    in_chans: int
    #: Channels of what `forward_features` returns; default: those of the last level.
    num_features: int
    #: Width of what the classifier sees; default: what the `Head` says, or `num_features`.
    head_hidden_size: int
    global_pool: nn.Module | str
    pretrained_cfg: dict[str, Any]
    default_cfg: dict[str, Any]
    #: What `hub.optimize` did; only copies that it made have this.
    optimization: Optimization

    if TYPE_CHECKING:  # plain dicts will do: they are completed after the constructor

        @property
        def feature_info(self) -> FeatureInfo:
            """What is known of each level."""

        @feature_info.setter
        def feature_info(self, rows: Iterable[dict[str, Any]]) -> None: ...

    def __init__(
        self,
        num_classes: int = 1000,
        in_chans: int = 3,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__()
        self.num_classes, self.in_chans = num_classes, in_chans
        self.global_pool = self._own_pool = global_pool
        self._drop_rate = drop_rate
        self._first_conv: tuple[str, ...] | None = None
        self.grad_checkpointing = self.distilled_training = False
        self._num_levels = 0  # how many are left; all once the network is completed
        self._has_norm = self._has_final = self._has_head = True
        #: Set by `as_features`: `forward` returns these maps.
        self._outputs: dict[str, Any] | None = None

    # --- methods, each to be overridden where the default does not hold -------------------------

    @abstractmethod
    def forward_levels(self, x: Any) -> Iterator[Any]:
        """Yield the feature map of each level; what is returned goes on in place of the last.

        It is left at the last level that is wanted. So it may not look at what comes later
        (`self.stages[-1]`, `len(self.blocks)`), after the last yield nothing may run, and where
        levels are alike it loops over its blocks, so that a cut ends the loop.

        Args:
            x: (B, in_chans, H, W) images, normalised. What else a caller may give (masks,
                coordinates) a subclass declares by name, with defaults. Keywords end here: what
                the head needs of them is returned, in a dict with the features as "patches".
        """

    def forward_final(self, x: Any) -> Any:
        """Apply what runs after the last level: the norm, then the final modules."""
        if self.final_norm:
            x = self.forward_norm(x, len(self.feature_info) - 1)
        for path in self.final_modules:
            x = attrgetter(path)(self)(x)
        return x

    def forward_norm(self, x: Any, index: int) -> Any:
        """Apply the norm of a level."""
        return attrgetter(self.feature_info[index]["norm"])(self)(x)

    def forward_pool(self, x: Any) -> Any:
        """Reduce features to (B, num_features), (B, num_features, 1, 1), or to tokens.

        A tuple gives each of several classifiers its own. It is not called with a pool of "".
        """
        if isinstance(self.global_pool, nn.Module):
            return self.global_pool(x)
        return pool_by_name(x, self.global_pool, self.layout, self.num_prefix_tokens)

    def join_pooled(self, each: list[Tensor]) -> Tensor:
        """Return the one tensor that stands for what several classifiers see: their mean."""
        return torch.stack(each).mean(0) if len(each) > 1 else each[0]

    def forward_classifier(self, each: list[Tensor]) -> Any:
        """Return logits; of several classifiers the mean, in distilled training a tuple.

        Args:
            each: (B, head_hidden_size) for each classifier, or one for all.
        """
        layers = [attrgetter(path)(self) for path in self._paths]
        each = each if len(each) == len(layers) else each * len(layers)
        logits = [_classify(layer, x) for layer, x in zip(layers, each, strict=True)]
        if self.distilled_training and self.training:
            return tuple(logits)
        return torch.stack(logits).mean(0) if len(logits) > 1 else logits[0]

    def build_head(self, num_classes: int, global_pool: str) -> None:
        """Set pool and classifiers, and nothing else of the head.

        Args:
            num_classes: outputs; 0 for an identity.
            global_pool: name of the pool; "", be it legal or not, where a cut takes the head.
        """
        if num_classes and not global_pool and self.layout == "NCHW":
            raise ValueError(
                f"without a pool (global_pool={global_pool!r}) a linear classifier for "
                f"{num_classes} classes has nothing to see: name a pool, or use num_classes=0"
            )
        self._set_widths()
        self._modules.pop("global_pool", None)
        self.global_pool = global_pool
        for path in self._paths:
            linear = nn.Linear(self.head_hidden_size, num_classes) if num_classes else nn.Identity()
            owner, _, name = path.rpartition(".")
            self.get_submodule(owner).register_module(name, linear)

    def init_weights(self, mode: str = "") -> None:
        """Initialise all weights again; by default as the layers do it themselves.

        Args:
            mode: name of a scheme, where the network has several.
        """
        if mode:
            raise ValueError(f"weight_init={mode!r}: {type(self).__name__} has one scheme, ''")
        for module in self.modules():
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()

    @property
    def first_conv(self) -> tuple[str, ...]:
        """Paths of the layers that see the image, which other channels change; may be empty.

        Set where it is not the first convolution of the network and those of the same stem.
        """
        if self._first_conv is not None:
            return self._first_conv
        return tuple(layers_of_image(self, self.in_chans))

    @first_conv.setter
    def first_conv(self, paths: tuple[str, ...]) -> None:
        self._first_conv = paths

    def feature_size(self, height: int, width: int, index: int) -> tuple[int, int]:
        """Return (height, width) of a level of tokens for an image; a map's is read off the map."""
        reduction = self.feature_info[index]["reduction"]
        return -(-height // reduction), -(-width // reduction)

    def set_input_size(
        self,
        img_size: int | tuple[int, int] | None = None,
        patch_size: int | tuple[int, int] | None = None,
    ) -> None:
        """Take images of another size; a network that can do more than this states how.

        Args:
            img_size: (height, width) of the images; None keeps it.
            patch_size: (height, width) of a patch, in networks that can change it.

        Raises:
            ValueError: the network cannot take such images.
        """
        name = type(self).__name__
        if patch_size is not None:
            raise ValueError(f"patch_size={patch_size!r}: {name} cannot change its patches")
        if img_size is None:
            return
        size = (img_size, img_size) if isinstance(img_size, int) else tuple(img_size)
        if self.img_size is not None and size != tuple(self.img_size):
            raise ValueError(
                f"img_size={img_size!r}: this {name} takes images of {tuple(self.img_size)} only; "
                "build it for others with create_model(..., img_size=...)"
            )
        if any(side % self.size_divisibility for side in size):
            raise ValueError(
                f"img_size={img_size!r}: {name} takes images whose height and width are multiples "
                f"of {self.size_divisibility}"
            )

    def present_arguments(self) -> dict[str, Any]:
        """Return the constructor keywords that a network answers for as it is now.

        These are the ones that it holds as attributes of their names, and its pool. A family adds
        those that a method of its own can change. `hub.save_pretrained` writes what is not as the
        network was built.
        """
        held = {key: getattr(self, key, None) for key in inspect.signature(type(self)).parameters}
        data = {k: v for k, v in held.items() if isinstance(v, int | float | str | list | tuple)}
        return data | {"global_pool": self.pool_name}

    # --- what the statements come to ------------------------------------------------------------

    @property
    def _paths(self) -> tuple[str, ...]:
        path = self.classifier_path
        return (path,) if isinstance(path, str) else path

    @property
    def _roots(self) -> tuple[str, ...]:
        """Names of the modules that the classifiers are, or lie in."""
        return tuple(dict.fromkeys(path.partition(".")[0] for path in self._paths))

    @property
    def _head_object(self) -> Any:
        """The `Head` that the classifier lies in, or None."""
        found = self._modules.get(self._roots[0]) if self._roots else None
        return found if is_head(found) else None

    @property
    def _head_order(self) -> tuple[str, ...]:
        """Names of what the head runs."""
        if self.head_modules is not None:
            return self.head_modules
        return self._roots if self._head_object is not None else ("global_pool", *self._roots)

    @property
    def head_names(self) -> frozenset[str]:
        """Names of the modules that are the head."""
        return frozenset(name.partition(".")[0] for name in (*self._roots, *self._head_order))

    def _at(self, path: str) -> nn.Module | None:
        """Return a module; None where there is none, as there may be in a constructor."""
        module: nn.Module | None = self
        for name in path.split("."):
            module = None if module is None else module._modules.get(name)
        return module

    @property
    def _dropouts(self) -> list[nn.Dropout]:
        """The modules of the head that drop; where there are none, `forward_head` drops itself."""
        roots = self._roots
        parts = [self._modules.get(name) for name in self._head_order if name not in roots]
        head = self._head_object
        parts += [head] if head is not None else [self._at(path) for path in self._paths]
        found = (m for part in parts if part is not None for m in part.modules())
        return [m for m in found if isinstance(m, nn.Dropout)]

    @property
    def drop_rate(self) -> float:
        """Dropout before the classifier."""
        dropouts = self._dropouts
        return dropouts[0].p if dropouts else self._drop_rate

    @drop_rate.setter
    def drop_rate(self, rate: float) -> None:
        self._drop_rate = rate
        for dropout in self._dropouts:
            dropout.p = rate

    @property
    def pool_name(self) -> str:
        """Name of the pool; empty for none."""
        head = self._head_object
        pool = self.global_pool if head is None else head.pool_type
        return pool if isinstance(pool, str) else getattr(pool, "pool_type", type(pool).__name__)

    def _set_widths(self) -> None:
        """Set the widths that the constructor leaves to the table and the head."""
        if not hasattr(self, "num_features"):
            self.num_features = self.feature_info[-1]["num_chs"]
        if not hasattr(self, "head_hidden_size"):
            head = self._head_object
            self.head_hidden_size = self.num_features if head is None else head.num_features


def _classify(layer: nn.Module, x: Tensor) -> Tensor:
    """Return logits; a 1x1 convolution sees a pooled (B, C) as a map of one pixel."""
    if isinstance(layer, nn.Conv2d) and x.ndim == 2:
        return cast("Tensor", layer(x[..., None, None]).flatten(1))
    return cast("Tensor", layer(x))
