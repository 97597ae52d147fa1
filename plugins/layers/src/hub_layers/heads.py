"""Classifier heads: pool, drop, linear; and with norm and a hidden layer before."""

from typing import Any

import torch
from torch import nn

from .act.activations import create_act_layer
from .layout import get_spatial_dim
from .names import LayerType
from .norm.norms import create_norm_layer
from .pool.pooling import SelectAdaptivePool2d


def _linear(
    in_features: int, out_features: int, use_conv: bool = False, **factory: Any
) -> nn.Module:
    if out_features <= 0:
        return nn.Identity()
    if use_conv:
        return nn.Conv2d(in_features, out_features, 1, **factory)
    return nn.Linear(in_features, out_features, **factory)


def _pool_and_linear(
    num_features: int,
    num_classes: int,
    pool_type: str | None,
    use_conv: bool,
    input_fmt: str,
    **factory: Any,
) -> tuple[SelectAdaptivePool2d, nn.Module]:
    # A 1x1 convolution wants the spatial axes, and a map that is not pooled keeps them.
    flatten = bool(pool_type) and not use_conv
    pool = SelectAdaptivePool2d(pool_type=pool_type, flatten=flatten, input_fmt=input_fmt)
    return pool, _linear(num_features * pool.feat_mult(), num_classes, use_conv, **factory)


def create_classifier(
    num_features: int,
    num_classes: int,
    pool_type: str | None = "avg",
    use_conv: bool = False,
    input_fmt: str = "NCHW",
    drop_rate: float | None = None,
    device: Any = None,
    dtype: Any = None,
) -> tuple[nn.Module, ...]:
    """Build the parts of a head, for networks that hold them as own attributes.

    Args:
        num_features: C of the map.
        num_classes: K; 0 gives an identity instead of the linear layer.
        pool_type: see `SelectAdaptivePool2d`.
        use_conv: a 1x1 convolution instead of a linear layer; spatial axes stay.
        input_fmt: `"NCHW"` or `"NHWC"`.
        drop_rate: if given, a dropout stands between the two.
        device: where the parameters live.
        dtype: type of the parameters.

    Raises:
        ValueError: a linear classifier without a pool.

    Returns: (pool, linear), or (pool, dropout, linear) if `drop_rate` is given.
    """
    if not pool_type and num_classes > 0 and not use_conv and input_fmt == "NCHW":
        raise ValueError(
            f"without a pool (pool_type={pool_type!r}) a linear classifier for {num_classes} "
            "classes has nothing to see: name a pool, or use num_classes=0"
        )
    kind = pool_type, use_conv, input_fmt
    pool, fc = _pool_and_linear(num_features, num_classes, *kind, device=device, dtype=dtype)
    return (pool, fc) if drop_rate is None else (pool, nn.Dropout(drop_rate), fc)


class ClassifierHead(nn.Module):
    """Pool, dropout, linear.

    Args:
        in_features: C of the map.
        num_classes: K; 0 gives features.
        pool_type: see `SelectAdaptivePool2d`.
        drop_rate: dropout before the linear layer.
        use_conv: a 1x1 convolution instead of a linear layer.
        input_fmt: `"NCHW"` or `"NHWC"`.
        device: where the parameters live.
        dtype: type of the parameters.
    """

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        pool_type: str | None = "avg",
        drop_rate: float = 0.0,
        use_conv: bool = False,
        input_fmt: str = "NCHW",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.in_features = in_features
        self.use_conv = use_conv
        self.input_fmt = input_fmt
        self.drop = nn.Dropout(drop_rate)
        self._build(num_classes, pool_type, device=device, dtype=dtype)

    def _build(self, num_classes: int, pool_type: str | None, **factory: Any) -> None:
        kind = pool_type, self.use_conv, self.input_fmt
        pool, fc = _pool_and_linear(self.in_features, num_classes, *kind, **factory)
        self.num_features = self.in_features * pool.feat_mult()
        self.global_pool = pool
        self.fc = fc
        self.flatten = nn.Flatten(1) if self.use_conv and pool_type else nn.Identity()

    def reset(
        self,
        num_classes: int,
        pool_type: str | None = None,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        """Replace the linear layer by a new one, and the pooling if given.

        Args:
            num_classes: K; 0 gives features.
            pool_type: `None` keeps the pooling.
            device: where the new parameters live; where the old ones do if not given.
            dtype: type of the new parameters; likewise.
        """
        pool_type = self.global_pool.pool_type if pool_type is None else pool_type
        self._build(num_classes, pool_type, **_factory_like(self, device, dtype))

    @property
    def pool_type(self) -> str:
        """Name of the pool; empty for none."""
        return self.global_pool.pool_type

    def strip(self, in_features: int) -> None:
        """Drop pool and linear layer: what is given, of `in_features` channels, comes out."""
        self.in_features = in_features
        self.reset(0, "")

    def forward(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """x: a map in `input_fmt`. Returns: (B, K) logits, or (B, C) before the linear layer."""
        x = self.drop(self.global_pool(x))
        return self.flatten(x if pre_logits else self.fc(x))


def _factory_like(module: nn.Module, device: Any, dtype: Any) -> dict[str, Any]:
    like = next(module.parameters(), None)
    if like is None:
        return dict(device=device, dtype=dtype)
    return dict(device=device or like.device, dtype=dtype or like.dtype)


class NormMlpClassifierHead(nn.Module):
    """Pool, norm, optional hidden layer, dropout, linear; of (B, C, H, W).

    Without pooling the layers are 1x1 convolutions and the output is a map.

    Args:
        in_features: C of the map.
        num_classes: K; 0 gives features.
        hidden_size: width of the hidden layer; none if not given.
        pool_type: see `SelectAdaptivePool2d`.
        drop_rate: dropout before the linear layer.
        norm_layer: norm of (B, C, H, W) by name, class or partial.
        act_layer: activation of the hidden layer.
        device: where the parameters live.
        dtype: type of the parameters.
    """

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        hidden_size: int | None = None,
        pool_type: str | None = "avg",
        drop_rate: float = 0.0,
        norm_layer: LayerType = "layernorm2d",
        act_layer: LayerType = "tanh",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        factory: dict[str, Any] = dict(device=device, dtype=dtype)
        self.in_features = in_features
        self.hidden_size = hidden_size
        self.num_features = hidden_size or in_features
        self.use_conv = not pool_type
        self.global_pool = SelectAdaptivePool2d(pool_type=pool_type)
        self.norm = create_norm_layer(norm_layer, in_features, **factory)
        self.flatten = nn.Flatten(1) if pool_type else nn.Identity()
        self.pre_logits: nn.Module = nn.Identity()
        if hidden_size:
            self.pre_logits = nn.Sequential()
            fc = _linear(in_features, hidden_size, self.use_conv, **factory)
            self.pre_logits.add_module("fc", fc)
            self.pre_logits.add_module("act", create_act_layer(act_layer) or nn.Identity())
        self.drop = nn.Dropout(drop_rate)
        self.fc = _linear(self.num_features, num_classes, self.use_conv, **factory)

    def reset(
        self,
        num_classes: int,
        pool_type: str | None = None,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        """Replace the last layer, and the pooling if given; the hidden layer keeps its weights.

        Args:
            num_classes: K; 0 gives features.
            pool_type: `None` keeps the pooling.
            device: where the new parameters live; where the old ones do if not given.
            dtype: type of the new parameters; likewise.
        """
        factory = _factory_like(self, device, dtype)
        if pool_type is not None:
            self.global_pool = SelectAdaptivePool2d(pool_type=pool_type)
            self.flatten = nn.Flatten(1) if pool_type else nn.Identity()
            self._use_conv(not pool_type)
        self.fc = _linear(self.num_features, num_classes, self.use_conv, **factory)

    @property
    def pool_type(self) -> str:
        """Name of the pool; empty for none."""
        return self.global_pool.pool_type

    def strip(self, in_features: int) -> None:
        """Drop every layer: what is given, of `in_features` channels, comes out as it is."""
        _strip(self, in_features)

    def _use_conv(self, use_conv: bool) -> None:
        """Turn the hidden layer from linear to 1x1 convolution or back."""
        self.use_conv = use_conv
        old = getattr(self.pre_logits, "fc", None)
        if not isinstance(old, nn.Linear | nn.Conv2d) or isinstance(old, nn.Conv2d) == use_conv:
            return
        like = dict(device=old.weight.device, dtype=old.weight.dtype)
        new = _linear(self.in_features, self.num_features, use_conv, **like)
        state = old.state_dict()
        state["weight"] = state["weight"].flatten(1)[(..., None, None) if use_conv else ...]
        new.load_state_dict(state)
        for name, parameter in new.named_parameters():
            parameter.requires_grad_(old.get_parameter(name).requires_grad)
        self.pre_logits.fc = new.train(old.training)

    def forward(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """x: (B, C, H, W). Returns: (B, K) logits, or the input of the linear layer."""
        x = self.flatten(self.norm(self.global_pool(x)))
        x = self.drop(self.pre_logits(x))
        return x if pre_logits else self.fc(x)


def _strip(head: Any, in_features: int) -> None:
    """Leave nothing in a head with norm and hidden layer."""
    head.norm, head.pre_logits, head.hidden_size = nn.Identity(), nn.Identity(), None
    head.in_features = head.num_features = in_features
    head.reset(0, "")


class ClNormMlpClassifierHead(nn.Module):
    """Pool, norm, optional hidden layer, dropout, linear; of channels-last maps or tokens.

    Args:
        in_features: C of the map.
        num_classes: K; 0 gives features.
        hidden_size: width of the hidden layer; none if not given.
        pool_type: `""`, `"avg"`, `"max"` or `"avgmax"`.
        drop_rate: dropout before the linear layer.
        norm_layer: norm of (..., C) by name, class or partial.
        act_layer: activation of the hidden layer.
        input_fmt: `"NHWC"` or `"NLC"`.
        device: where the parameters live.
        dtype: type of the parameters.

    Raises:
        ValueError: another `pool_type` or `input_fmt`.
    """

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        hidden_size: int | None = None,
        pool_type: str | None = "avg",
        drop_rate: float = 0.0,
        norm_layer: LayerType = "layernorm",
        act_layer: LayerType = "gelu",
        input_fmt: str = "NHWC",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if input_fmt not in ("NHWC", "NLC"):
            raise ValueError(f"unknown input_fmt {input_fmt!r}. Known: NHWC, NLC")
        factory: dict[str, Any] = dict(device=device, dtype=dtype)
        self.in_features = in_features
        self.hidden_size = hidden_size
        self.num_features = hidden_size or in_features
        self.pool_dim = get_spatial_dim(input_fmt)
        self._set_pool(pool_type)
        self.norm = create_norm_layer(norm_layer, in_features, **factory)
        self.pre_logits: nn.Module = nn.Identity()
        if hidden_size:
            self.pre_logits = nn.Sequential()
            self.pre_logits.add_module("fc", nn.Linear(in_features, hidden_size, **factory))
            self.pre_logits.add_module("act", create_act_layer(act_layer) or nn.Identity())
        self.drop = nn.Dropout(drop_rate)
        self.fc = _linear(self.num_features, num_classes, **factory)

    def _set_pool(self, pool_type: str | None) -> None:
        self.pool_type = pool_type or ""
        if self.pool_type not in ("", "avg", "max", "avgmax"):
            raise ValueError(f"unknown pool type {pool_type!r}. Known: '', avg, max, avgmax")

    def reset(
        self,
        num_classes: int,
        pool_type: str | None = None,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        """Replace the last layer, and the pooling if given; see `ClassifierHead.reset`."""
        factory = _factory_like(self, device, dtype)
        if pool_type is not None:
            self._set_pool(pool_type)
        self.fc = _linear(self.num_features, num_classes, **factory)

    def strip(self, in_features: int) -> None:
        """Drop every layer: what is given, of `in_features` channels, comes out as it is."""
        _strip(self, in_features)

    def _pool(self, x: torch.Tensor) -> torch.Tensor:
        match self.pool_type:
            case "avg":
                return x.mean(self.pool_dim)
            case "max":
                return x.amax(self.pool_dim)
            case "avgmax":
                return 0.5 * (x.mean(self.pool_dim) + x.amax(self.pool_dim))
        return x

    def forward(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """x: (B, H, W, C) or (B, N, C). Returns: (B, K) logits, or what precedes them."""
        x = self.drop(self.pre_logits(self.norm(self._pool(x))))
        return x if pre_logits else self.fc(x)
