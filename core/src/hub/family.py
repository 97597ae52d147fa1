"""How a plugin declares what it has: `Family` and `Weights`, plain data without torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from hub.errors import PluginError
from hub.suggest import did_you_mean

# Mean and standard deviation per channel of images in [0, 1].
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
INCEPTION_MEAN, INCEPTION_STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

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
    Sizes are (channels, height, width) in pixels.
    """

    url: str | None = None  # address of the original checkpoint
    file: str | None = None  # path of a checkpoint on this machine; goes before every other source
    state_dict: Mapping[str, Any] | None = None  # tensors in memory; goes before `file`
    hf_hub_id: str | None = None  # repository on the Hub; "org/" is completed with "arch.tag"
    hf_hub_filename: str | None = None  # file in it, if it is not one of the usual names
    source: str | None = None  # set by hub when weights were resolved ("hf-hub", "local-dir", ...)
    architecture: str | None = None  # the architecture; filled in from the table's key
    tag: str | None = None  # the weight tag; filled in from the table's key
    custom_load: bool | str = False  # the file is not a state dict and needs the family's converter
    input_size: tuple[int, int, int] = (3, 224, 224)  # in training
    test_input_size: tuple[int, int, int] | None = None  # in evaluation, where larger is better
    min_input_size: tuple[int, int, int] | None = None  # the smallest that works
    fixed_input_size: bool = False  # the network takes no other size unless built for it
    interpolation: str = "bicubic"  # resize filter: bilinear, bicubic, ...
    crop_pct: float = 0.875  # share of the resized image that the evaluation crop keeps
    test_crop_pct: float | None = None  # the same for `test_input_size`
    crop_mode: str = "center"  # center, squash or border
    mean: tuple[float, ...] = IMAGENET_MEAN  # mean per channel of images in [0, 1]
    std: tuple[float, ...] = IMAGENET_STD  # standard deviation per channel of images in [0, 1]
    num_classes: int = 1000  # width of the classifier; 0 for none
    label_offset: int | None = None  # leading outputs to drop when the class counts differ by it
    label_names: tuple[str, ...] | None = None  # names of the classes, in order
    label_descriptions: Mapping[str, str] | None = None  # class name to description
    pool_size: tuple[int, ...] | None = None  # (height, width) of the last map at `input_size`
    test_pool_size: tuple[int, ...] | None = None  # the same at `test_input_size`
    first_conv: str | tuple[str, ...] | None = None  # path of the convolution(s) that see the image
    classifier: str | tuple[str, ...] | None = None  # path of the classifier layer(s)
    license: str | None = None  # SPDX-like id of the licence of the weights
    description: str | None = None  # a sentence for people
    origin_url: str | None = None  # where the weights were published first
    paper_name: str | None = None  # title of the paper
    paper_ids: str | tuple[str, ...] | None = None  # "arXiv:..." id or ids
    notes: tuple[str, ...] | None = None  # anything else worth showing

    @classmethod
    def imagenet(
        cls,
        url: str = "",
        *,
        hub: str | None = "timm/",
        size: int = 224,
        test: int | None = None,
        crop: float = 0.875,
        test_crop: float | None = None,
        license: str | None = "apache-2.0",
        origin: str | None = None,
        paper: str | None = None,
        **fields: Any,
    ) -> Weights:
        """Return published weights for square images, as the tables of families write them.

        Short words stand for `hf_hub_id`, the sides in pixels of `input_size` and
        `test_input_size`, `crop_pct`, `test_crop_pct`, `origin_url` and `paper_ids`; other fields
        go by their own names. An empty address means: only on the Hub.
        """
        return cls(
            url=url,
            hf_hub_id=hub,
            input_size=(3, size, size),
            test_input_size=(3, test, test) if test else None,
            crop_pct=crop,
            test_crop_pct=test_crop,
            license=license,
            origin_url=origin,
            paper_ids=paper,
            **fields,
        )

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Weights:
        """Return the weights that a dict (of a config.json, say) describes; other keys are left."""
        given = {k: _frozen(v) for k, v in data.items() if k in _FIELDS}
        return cls(**{**given, "tag": given.get("tag") or ""})

    @classmethod
    def undeclared(cls, architecture: str) -> Weights:
        """Return what stands in for the weights of an architecture that declares none."""
        return _Undeclared(architecture=architecture)

    @property
    def stated(self) -> frozenset[str]:
        """The fields that somebody stated: all, or, of undeclared weights, those of an overlay."""
        return frozenset(_FIELDS)

    @property
    def is_declared(self) -> bool:
        """Whether somebody stated these fields, rather than them being mere defaults."""
        return not isinstance(self, _Undeclared)

    def with_fields(self, overlay: Mapping[str, Any]) -> Weights:
        """Return these weights with other values in some fields.

        Raises:
            TypeError: `Weights` has no such field.
        """
        for key in overlay.keys() - set(_FIELDS):
            raise TypeError(
                f"{key!r} is no field of hub.Weights{did_you_mean(key, _FIELDS)} "
                f"Fields: {', '.join(sorted(_FIELDS))}"
            )
        changes = {k: _frozen(v) for k, v in overlay.items()}
        if not self.is_declared:
            changes["stated"] = self.stated | overlay.keys()
        return replace(self, **changes)

    def wrong_types(self) -> list[str]:
        """Return what is wrong with the fields that others calculate with: "mean='x'", ..."""
        given = {name: getattr(self, name) for name in _TYPES}
        return [
            f"{name}={value!r}"
            for name, value in given.items()
            if value is not None and not _is_kind(value, _TYPES[name])
        ]

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
        data = {name: getattr(self, name) for name in _FIELDS}
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


_FIELDS = tuple(f.name for f in fields(Weights))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Undeclared(Weights):
    """What nobody described: its fields are mere defaults, but for those of an overlay."""

    stated: frozenset[str] = frozenset()


_NUMBER = (int, float)
#: Fields that others calculate with, and what they can be; a list stands for a tuple of such.
_TYPES: dict[str, Any] = {
    "input_size": [int],
    "test_input_size": [int],
    "mean": [_NUMBER],
    "std": [_NUMBER],
    "num_classes": int,
    "crop_pct": _NUMBER,
    "test_crop_pct": _NUMBER,
    "label_offset": int,
    "interpolation": str,
    "crop_mode": str,
    "hf_hub_filename": str,
    "first_conv": (str, tuple),
    "classifier": (str, tuple),
    "label_names": tuple,
    "license": str,
}


def _is_kind(value: Any, kind: Any) -> bool:
    if isinstance(kind, list):
        return isinstance(value, tuple) and all(isinstance(v, kind[0]) for v in value)
    return isinstance(value, kind) and not isinstance(value, bool)


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
