"""Strides of stages where a network is asked to keep its maps large."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple


class StageStride(NamedTuple):
    """How a stage steps over its input."""

    stride: int
    """Of the first block."""
    first_dilation: int
    """Of the first block, which still sees what the stage before left."""
    dilation: int
    """Of the other blocks."""
    reduction: int
    """How much smaller than the image the output is."""


def stage_strides(
    output_stride: int = 32, strides: Sequence[int] = (1, 2, 2, 2), stem_stride: int = 4
) -> Iterator[StageStride]:
    """Yield the stride of each stage; what `output_stride` forbids becomes dilation.

    Args:
        output_stride: the largest reduction that a stage may have (DeepLab, arXiv:1706.05587).
        strides: of the stages as published.
        stem_stride: reduction before the first stage.

    Raises:
        ValueError: `output_stride` is less than 1.

    Example:
        >>> [tuple(stage) for stage in stage_strides(16)][2:]
        [(2, 1, 1, 16), (1, 1, 2, 16)]
    """
    if output_stride < 1:
        raise ValueError(f"output_stride={output_stride}: give 1 or more (8, 16 and 32 are usual)")
    reduction, dilation = stem_stride, 1
    for stride in strides:
        before = dilation
        if reduction * stride > output_stride:
            stride, dilation = 1, dilation * stride
        reduction *= stride
        yield StageStride(stride, before, dilation, reduction)
