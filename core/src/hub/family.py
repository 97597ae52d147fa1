"""How a plugin declares what it has: `Family` and `Weights`, plain data without torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from hub.errors import PluginError
from hub.suggest import did_you_mean

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

#: What a family can lack, and what that means; hub-kit holds it to both.
CAPABILITIES = {
    "compile": "torch.compile takes it as one graph (fullgraph=True)",
    "export": "torch.export takes it with a dynamic batch",
}

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_\-]*")


@dataclass(frozen=True, kw_only=True, slots=True)
class Weights:
    """One set of weights: where it is, how its images were prepared, what it predicts, its licence.

    Field names and defaults are those of timm's `PretrainedCfg`, which is an alias of this class.

    Args:
        url: address of the original checkpoint.
        file: path of a checkpoint on this machine; goes before every other source.
        state_dict: tensors in memory; goes before `file`.
        hf_hub_id: repository on the Hugging Face Hub. An id that ends in "/" is completed
            with "arch.tag".
        hf_hub_filename: file in that repository, if it is not one of the usual names.
        source: set by hub when weights were resolved ("hf-hub", "local-dir", ...).
        architecture: the architecture; filled in from the table's key.
        tag: the weight tag; filled in from the table's key.
        custom_load: the file is not a state dict and needs the family's converter.
        input_size: (channels, height, width) in training.
        test_input_size: the same for evaluation, where a larger one is better.
        min_input_size: smallest (channels, height, width) that works.
        fixed_input_size: the network takes no other size unless built for it.
        interpolation: resize filter: bilinear, bicubic, ...
        crop_pct: share of the resized image that the evaluation crop keeps.
        test_crop_pct: the same for `test_input_size`.
        crop_mode: center, squash or border.
        mean: mean per channel of images in [0, 1].
        std: standard deviation per channel of images in [0, 1].
        num_classes: width of the classifier; 0 for none.
        label_offset: leading outputs to drop when the class counts differ by it.
        label_names: names of the classes, in order.
        label_descriptions: class name to description.
        pool_size: (height, width) of the map before pooling at `input_size`.
        test_pool_size: the same at `test_input_size`.
        first_conv: path of the convolution(s) that see the image.
        classifier: path of the classifier layer(s).
        license: SPDX-like id of the licence of the weights.
        description: a sentence for people.
        origin_url: where the weights were published first.
        paper_name: title of the paper.
        paper_ids: "arXiv:..." id or ids.
        notes: anything else worth showing.
    """

    url: str | None = None
    file: str | None = None
    state_dict: Mapping[str, Any] | None = None
    hf_hub_id: str | None = None
    hf_hub_filename: str | None = None
    source: str | None = None
    architecture: str | None = None
    tag: str | None = None
    custom_load: bool | str = False
    input_size: tuple[int, int, int] = (3, 224, 224)
    test_input_size: tuple[int, int, int] | None = None
    min_input_size: tuple[int, int, int] | None = None
    fixed_input_size: bool = False
    interpolation: str = "bicubic"
    crop_pct: float = 0.875
    test_crop_pct: float | None = None
    crop_mode: str = "center"
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    num_classes: int = 1000
    label_offset: int | None = None
    label_names: tuple[str, ...] | None = None
    label_descriptions: Mapping[str, str] | None = None
    pool_size: tuple[int, ...] | None = None
    test_pool_size: tuple[int, ...] | None = None
    first_conv: str | tuple[str, ...] | None = None
    classifier: str | tuple[str, ...] | None = None
    license: str | None = None
    description: str | None = None
    origin_url: str | None = None
    paper_name: str | None = None
    paper_ids: str | tuple[str, ...] | None = None
    notes: tuple[str, ...] | None = None

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Weights:
        """Return the weights that a dict (of a config.json, say) describes; other keys are left."""
        names = {f.name for f in fields(cls)}
        given = {k: _frozen(v) for k, v in data.items() if k in names}
        return cls(**{**given, "tag": given.get("tag") or ""})

    @classmethod
    def undeclared(cls, architecture: str) -> Weights:
        """Return what stands in for the weights of an architecture that declares none."""
        return _Undeclared(architecture=architecture)

    @property
    def is_declared(self) -> bool:
        """Whether somebody stated these fields, rather than them being mere defaults."""
        return not isinstance(self, _Undeclared)

    def with_fields(self, overlay: Mapping[str, Any]) -> Weights:
        """Return these weights with other values in some fields.

        Raises:
            TypeError: `Weights` has no such field.
        """
        names = {f.name for f in fields(self)}
        for key in overlay.keys() - names:
            raise TypeError(
                f"{key!r} is no field of hub.Weights{did_you_mean(key, names)} "
                f"Fields: {', '.join(sorted(names))}"
            )
        return replace(self, **{k: _frozen(v) for k, v in overlay.items()})

    def wrong_types(self) -> list[str]:
        """Return what is wrong with the fields that others calculate with: "mean='x'", ..."""
        numbers = {"input_size": int, "test_input_size": int, "mean": float, "std": float}
        wrong = []
        for name, kind in numbers.items():
            value = getattr(self, name)
            if value is not None and not _are_numbers(value, kind):
                wrong.append(f"{name}={value!r}")
        for name, kinds in _SCALARS.items():
            value = getattr(self, name)
            if value is not None and (not isinstance(value, kinds) or isinstance(value, bool)):
                wrong.append(f"{name}={value!r}")
        return wrong

    @property
    def has_weights(self) -> bool:
        """Whether there is anything to load."""
        return any((self.url, self.file, self.state_dict, self.hf_hub_id))

    def to_dict(self, remove_source: bool = False, remove_null: bool = True) -> dict[str, Any]:
        """Return the fields as a dict.

        Args:
            remove_source: leave out where the weights come from.
            remove_null: leave out fields that are None, except those whose None means something.
        """
        data = {f.name: getattr(self, f.name) for f in fields(self)}
        if remove_source:
            data = {k: v for k, v in data.items() if k not in _SOURCE_FIELDS}
        if remove_null:
            data = {k: v for k, v in data.items() if v is not None or k in _NULL_MATTERS}
        return data

    def completed(self, architecture: str, tag: str) -> Weights:
        """Return these weights with architecture, tag and a full Hub id."""
        hub_id = self.hf_hub_id
        if hub_id and hub_id.endswith("/"):
            hub_id += f"{architecture}.{tag}" if tag else architecture
        return replace(self, architecture=architecture, tag=tag, hf_hub_id=hub_id)


class _Undeclared(Weights):
    """What nobody described: its fields are mere defaults."""

    __slots__ = ()


def _are_numbers(value: Any, kind: type) -> bool:
    kinds = (int,) if kind is int else (int, float)
    return isinstance(value, tuple) and all(isinstance(v, kinds) for v in value)


_SCALARS: dict[str, type | tuple[type, ...]] = {
    "num_classes": int,
    "crop_pct": (int, float),
    "test_crop_pct": (int, float),
    "label_offset": int,
    "interpolation": str,
    "crop_mode": str,
    "hf_hub_filename": str,
    "first_conv": (str, tuple),
    "classifier": (str, tuple),
    "label_names": tuple,
    "license": str,
}


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


_SOURCE_FIELDS = {"url", "file", "state_dict", "hf_hub_id", "hf_hub_filename", "source"}
_NULL_MATTERS = {"num_classes", "first_conv", "classifier", "pool_size"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """A group of architectures that one network class builds.

    Args:
        name: family name, what `list_models(module=...)` filters by. A plugin may return several
            families, also several of one name where different classes build its variants.
        model: "package.module:Class" of the network; imported when one is first built.
        variants: architecture name to constructor keywords, JSON-able.
        weights: "arch.tag" (or "arch" for an untagged entry) to `Weights`. The first entry of an
            architecture is its default.
        renamed: old name to "arch" or "arch.tag"; the old name warns and forwards.
        converter: "package.module:function" that turns a foreign checkpoint into a state dict of
            the network: `function(state_dict, model) -> state_dict`.
        lacks: which of `CAPABILITIES` its networks do not have.

    Raises:
        PluginError: a name or reference in the tables is malformed.
    """

    name: str
    model: str
    variants: Mapping[str, Mapping[str, Any]]
    weights: Mapping[str, Weights] = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)
    converter: str | None = None
    lacks: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        for name in set(self.lacks) - CAPABILITIES.keys():
            raise PluginError(
                f"family {self.name!r} lacks {name!r}, which is no capability"
                f"{did_you_mean(name, CAPABILITIES)} They are {', '.join(CAPABILITIES)}"
            )
        for name in (self.name, *self.variants, *self.renamed):
            if not _NAME.fullmatch(name):
                raise PluginError(
                    f"family {self.name!r} declares the name {name!r}: use letters, digits, "
                    "'_' and '-' (a '.' separates the weight tag, a '/' the plugin)"
                )
        for reference in (self.model, self.converter):
            if reference is not None and reference.count(":") != 1:
                raise PluginError(
                    f"family {self.name!r} refers to {reference!r}: write 'package.module:Class'"
                )
        for key in self.weights:
            self._check_target(key, "weights")
        for new in self.renamed.values():
            self._check_target(new, "renamed")

    def _check_target(self, key: str, table: str) -> None:
        arch = key.partition(".")[0]
        if arch not in self.variants:
            raise PluginError(
                f"family {self.name!r}: {table} names {key!r}, but there is no variant {arch!r}"
            )
