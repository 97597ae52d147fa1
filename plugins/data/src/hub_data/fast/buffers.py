"""Memory for batches, used again once nobody holds it any more.

Fresh memory costs the kernel a page fault every 4 KiB: on a batch of 64 images of 224 x 224, more
than its normalisation. A pool that hands out the same buffers in turn would overwrite batches that
somebody kept; this one looks whether the memory is still referred to.
"""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Sequence

import numpy as np
import torch

_ITEM_BYTES = {torch.uint8: 1, torch.float16: 2, torch.bfloat16: 2, torch.float32: 4}
# The list of the pool, the loop variable, the argument of getrefcount: an idle block has no more.
_IDLE_REFERENCES = 3


class BufferPool:
    """Hand out uninitialised tensors on the CPU.

    Args:
        kept: blocks to keep at most; more are made where more are held, and then forgotten.
    """

    def __init__(self, kept: int = 8) -> None:
        self._kept = kept
        self._blocks: list[np.ndarray] = []
        self._lock = threading.Lock()

    def empty(self, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        """Return a tensor of this shape and type whose memory no other living tensor shares."""
        size = math.prod(shape) * _ITEM_BYTES.get(dtype, 8)
        with self._lock:
            block = self._idle_block(size)
            # The tensor's storage holds a reference to the array for as long as any view lives.
            memory = torch.from_numpy(block)
            del block
        return memory[:size].view(dtype).view(*shape)

    def _idle_block(self, size: int) -> np.ndarray:
        for block in self._blocks:
            if block.nbytes >= size and sys.getrefcount(block) <= _IDLE_REFERENCES:
                return block
        block = np.empty(max(size, 1), np.uint8)
        self._blocks = [*self._blocks[1 - self._kept :], block]
        return block

    def __reduce__(self) -> tuple[type[BufferPool], tuple[int]]:
        return type(self), (self._kept,)  # a worker process begins with a pool of its own
