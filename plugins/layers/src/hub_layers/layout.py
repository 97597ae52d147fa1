"""The four layouts of a feature map and the ways between them."""

from enum import StrEnum

import torch


class Format(StrEnum):
    """Order of the axes: B is first everywhere, L = H * W counts the flattened positions."""

    NCHW = "NCHW"
    NHWC = "NHWC"
    NCL = "NCL"
    NLC = "NLC"


SPATIAL_DIMS: dict[Format, tuple[int, ...]] = {
    Format.NCHW: (2, 3),
    Format.NHWC: (1, 2),
    Format.NCL: (2,),
    Format.NLC: (1,),
}


def get_spatial_dim(fmt: str | Format) -> tuple[int, ...]:
    """Indices of the spatial axes: `"NHWC"` -> `(1, 2)`."""
    return SPATIAL_DIMS[Format(fmt)]


def get_channel_dim(fmt: str | Format) -> int:
    """Index of the channel axis: `"NHWC"` -> 3."""
    return Format(fmt).value.index("C")


def nchw_to(x: torch.Tensor, fmt: str | Format) -> torch.Tensor:
    """Bring x: (B, C, H, W) into the layout `fmt`."""
    match Format(fmt):
        case Format.NHWC:
            return x.permute(0, 2, 3, 1)
        case Format.NCL:
            return x.flatten(2)
        case Format.NLC:
            return x.flatten(2).transpose(1, 2)
    return x


def nhwc_to(x: torch.Tensor, fmt: str | Format) -> torch.Tensor:
    """Bring x: (B, H, W, C) into the layout `fmt`."""
    match Format(fmt):
        case Format.NCHW:
            return x.permute(0, 3, 1, 2)
        case Format.NLC:
            return x.flatten(1, 2)
        case Format.NCL:
            return x.flatten(1, 2).transpose(1, 2)
    return x
