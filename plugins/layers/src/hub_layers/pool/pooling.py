"""Global pooling of maps and tokens, and local pooling with TensorFlow's SAME padding."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ..layout import get_channel_dim, get_spatial_dim
from ..names import LayerFactory, NameTable
from ..padding import PadType, Size, pad_same, resolve_padding
from ..tuples import to_2tuple


def adaptive_avgmax_pool2d(x: torch.Tensor, output_size: Size = 1) -> torch.Tensor:
    """Mean of average and max pooling: (B, C, H, W) -> (B, C, *output_size)."""
    size = to_2tuple(output_size)
    return 0.5 * (F.adaptive_avg_pool2d(x, size) + F.adaptive_max_pool2d(x, size))


def adaptive_catavgmax_pool2d(x: torch.Tensor, output_size: Size = 1) -> torch.Tensor:
    """Average and max pooling side by side: (B, C, H, W) -> (B, 2C, *output_size)."""
    size = to_2tuple(output_size)
    return torch.cat((F.adaptive_avg_pool2d(x, size), F.adaptive_max_pool2d(x, size)), dim=1)


class AdaptiveAvgMaxPool2d(nn.Module):
    """`adaptive_avgmax_pool2d` as a module."""

    def __init__(self, output_size: Size = 1) -> None:
        super().__init__()
        self.output_size = output_size

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (B, C, H, W). Returns: (B, C, *output_size)."""
        return adaptive_avgmax_pool2d(x, self.output_size)


class AdaptiveCatAvgMaxPool2d(AdaptiveAvgMaxPool2d):
    """`adaptive_catavgmax_pool2d` as a module."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (B, C, H, W). Returns: (B, 2C, *output_size)."""
        return adaptive_catavgmax_pool2d(x, self.output_size)


class FastAdaptivePool2d(nn.Module):
    """Pooling to one position by plain reductions, in either layout.

    Args:
        kind: `"avg"`, `"max"`, `"avgmax"` (their mean) or `"catavgmax"` (side by side, 2C
            channels).
        flatten: drop the spatial axes instead of keeping them as ones.
        input_fmt: `"NCHW"` or `"NHWC"`.
    """

    def __init__(self, kind: str = "avg", flatten: bool = False, input_fmt: str = "NCHW") -> None:
        super().__init__()
        self.kind = kind
        self.flatten = flatten
        self.dim = get_spatial_dim(input_fmt)
        self.channel_dim = 1 if flatten else get_channel_dim(input_fmt)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: a map in `input_fmt`. Returns: (B, C) if flatten, else the map with H = W = 1."""
        keepdim = not self.flatten
        if self.kind == "max":
            return x.amax(self.dim, keepdim=keepdim)
        avg = x.mean(self.dim, keepdim=keepdim)
        if self.kind == "avg":
            return avg
        top = x.amax(self.dim, keepdim=keepdim)
        if self.kind == "avgmax":
            return 0.5 * (avg + top)
        return torch.cat((avg, top), dim=self.channel_dim)

    def extra_repr(self) -> str:
        """What `repr` shows."""
        return f"{self.kind!r}, flatten={self.flatten}"


ADAPTIVE_POOLS: NameTable[LayerFactory] = NameTable(
    "pool type",
    {
        "avg": nn.AdaptiveAvgPool2d,
        "max": nn.AdaptiveMaxPool2d,
        "avgmax": AdaptiveAvgMaxPool2d,
        "catavgmax": AdaptiveCatAvgMaxPool2d,
    },
)

ADAPTIVE_POOL_FNS: NameTable[Callable[..., torch.Tensor]] = NameTable(
    "pool type",
    {
        "avg": F.adaptive_avg_pool2d,
        "max": F.adaptive_max_pool2d,
        "avgmax": adaptive_avgmax_pool2d,
        "catavgmax": adaptive_catavgmax_pool2d,
    },
)


def select_adaptive_pool2d(
    x: torch.Tensor, pool_type: str = "avg", output_size: Size = 1
) -> torch.Tensor:
    """Pool x: (B, C, H, W) to (B, C or 2C, *output_size) by name: avg, max, avgmax, catavgmax.

    Raises:
        UnknownLayerError: another name.
    """
    return ADAPTIVE_POOL_FNS[pool_type](x, to_2tuple(output_size))


def adaptive_pool_feat_mult(pool_type: str | None = "avg") -> int:
    """Output channels per input channel."""
    return 2 if (pool_type or "").endswith("catavgmax") else 1


class SelectAdaptivePool2d(nn.Module):
    """Global pooling by name.

    Args:
        output_size: H and W of the output; only 1 where the `fast` kinds or NHWC are asked for.
        pool_type: `""` (leave the map as it is), `"avg"`, `"max"`, `"avgmax"` (their mean),
            `"catavgmax"` (side by side), with the prefix `"fast"` for plain reductions; `"fast"`
            alone is `"fastavg"`.
        flatten: return (B, C); with `""` all but the first axis is flattened.
        input_fmt: `"NCHW"` or `"NHWC"`.

    Raises:
        UnknownLayerError: unknown `pool_type`.
        ValueError: unknown `input_fmt`, or an `output_size` that the pool cannot give.
    """

    def __init__(
        self,
        output_size: Size = 1,
        pool_type: str | None = "fast",
        flatten: bool = False,
        input_fmt: str = "NCHW",
    ) -> None:
        super().__init__()
        self.pool_type = (pool_type or "").lower()
        kind = self.pool_type.removeprefix("fast") or "avg"
        pool = ADAPTIVE_POOLS[kind]  # also for the fast kinds: checks the name
        fast = self.pool_type.startswith("fast") or get_channel_dim(input_fmt) != 1
        self.pool: nn.Module = nn.Identity()
        self.flatten: nn.Module = nn.Flatten(1) if flatten else nn.Identity()
        if self.pool_type and not fast:
            self.pool = pool(output_size)
        elif self.pool_type:
            if to_2tuple(output_size) != (1, 1):
                raise ValueError(
                    f"pool_type={pool_type!r} of {input_fmt} reduces to one position, got "
                    f"output_size={output_size!r}: give 1, or {kind!r} of NCHW"
                )
            self.pool = FastAdaptivePool2d(kind, flatten, input_fmt)
            self.flatten = nn.Identity()  # the reduction does it

    def is_identity(self) -> bool:
        """Whether the map stays as it is."""
        return not self.pool_type

    def feat_mult(self) -> int:
        """Output channels per input channel: 2 for the concatenated kinds."""
        return adaptive_pool_feat_mult(self.pool_type)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: a map in `input_fmt`. Returns: (B, C) if flatten, else a map."""
        return self.flatten(self.pool(x))

    def extra_repr(self) -> str:
        """What `repr` shows."""
        return f"pool_type={self.pool_type!r}"


class AvgPool2dSame(nn.AvgPool2d):
    """`nn.AvgPool2d` with TensorFlow's SAME padding; `padding` is ignored."""

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: PadType = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        kernel = to_2tuple(kernel_size)
        window = kernel, kernel if stride is None else to_2tuple(stride)
        super().__init__(*window, 0, ceil_mode, count_include_pad)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """input: (B, C, H, W). Returns: (B, C, ceil(H / stride), ceil(W / stride))."""
        x = pad_same(input, to_2tuple(self.kernel_size), to_2tuple(self.stride))
        return F.avg_pool2d(
            x, self.kernel_size, self.stride, 0, self.ceil_mode, self.count_include_pad
        )


class MaxPool2dSame(nn.MaxPool2d):
    """`nn.MaxPool2d` with TensorFlow's SAME padding; `padding` is ignored."""

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: PadType = 0,
        dilation: Size = 1,
        ceil_mode: bool = False,
    ) -> None:
        kernel = to_2tuple(kernel_size)
        window = kernel, kernel if stride is None else to_2tuple(stride)
        super().__init__(*window, 0, to_2tuple(dilation), ceil_mode=ceil_mode)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """input: (B, C, H, W). Returns: (B, C, ceil(H / stride), ceil(W / stride))."""
        kernel, stride = to_2tuple(self.kernel_size), to_2tuple(self.stride)
        x = pad_same(input, kernel, stride, to_2tuple(self.dilation), value=float("-inf"))
        return F.max_pool2d(x, kernel, stride, 0, self.dilation, self.ceil_mode)


POOLS: NameTable[tuple[LayerFactory, LayerFactory]] = NameTable(
    "pooling", {"avg": (nn.AvgPool2d, AvgPool2dSame), "max": (nn.MaxPool2d, MaxPool2dSame)}
)


def create_pool2d(
    pool_type: str,
    kernel_size: Size,
    stride: Size | None = None,
    padding: PadType | None = "",
    dilation: int = 1,
    **kwargs: Any,
) -> nn.Module:
    """Build a local pooling.

    Args:
        pool_type: `"avg"` or `"max"`.
        kernel_size: a number or a pair.
        stride: likewise; `kernel_size` if not given.
        padding: as in `create_conv2d`.
        dilation: of max pooling.
        **kwargs: more options of the pooling (`ceil_mode`, `count_include_pad`).

    Raises:
        UnknownLayerError: another `pool_type`.
        ValueError: unknown padding.
    """
    static, dynamic = POOLS[pool_type]
    stride = kernel_size if stride is None else stride
    pad = resolve_padding(padding, kernel_size, stride, dilation)
    if dilation != 1:
        kwargs["dilation"] = dilation
    if pad is None:
        return dynamic(kernel_size, stride, **kwargs)
    return static(kernel_size, stride, pad, **kwargs)


def global_pool_nlc(
    x: torch.Tensor,
    pool_type: str | None = "token",
    num_prefix_tokens: int = 1,
    reduce_include_prefix: bool = False,
) -> torch.Tensor:
    """Pool tokens.

    Args:
        x: (B, N, D).
        pool_type: `""` (all tokens), `"token"` (the first), `"avg"`, `"max"` or `"avgmax"` (their
            mean).
        num_prefix_tokens: class and register tokens at the start.
        reduce_include_prefix: reduce over the prefix tokens too.

    Returns: (B, D), or `x` for `""`.

    Raises:
        ValueError: another `pool_type`.
    """
    if not pool_type:
        return x
    if pool_type == "token":
        return x[:, 0]
    if not reduce_include_prefix:
        x = x[:, num_prefix_tokens:]
    match pool_type:
        case "avg":
            return x.mean(1)
        case "max":
            return x.amax(1)
        case "avgmax":
            return 0.5 * (x.mean(1) + x.amax(1))
    raise ValueError(f"unknown token pooling {pool_type!r}. Known: '', token, avg, max, avgmax")
