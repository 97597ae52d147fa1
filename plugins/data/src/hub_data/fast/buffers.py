"""Memory for batches, used again once nobody holds it any more.

Fresh memory costs the kernel a page fault every 4 KiB: on a batch of 64 images of 224 x 224, more
than its normalisation. A pool that hands out the same buffers in turn would overwrite batches that
somebody kept; this one hands out a view of a block, and takes the block back when the view dies.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Sequence
from weakref import finalize

import numpy as np
import torch

_ITEM_BYTES = {torch.uint8: 1, torch.float16: 2, torch.bfloat16: 2, torch.float32: 4}


class BufferPool:
    """Hand out uninitialised tensors on the CPU.

    Args:
        kept: idle blocks to keep at most; the longest idle ones are forgotten.
    """

    def __init__(self, kept: int = 8) -> None:
        self._kept = kept
        self._idle: deque[np.ndarray] = deque(maxlen=kept)
        self._lock = threading.Lock()

    def empty(self, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        """Return a tensor of this shape and type whose memory no other living tensor shares."""
        size = math.prod(shape) * _ITEM_BYTES.get(dtype, 8)
        block = self._idle_block(size)
        view = block[:size]
        # The tensor's storage holds the view for as long as any tensor or array shares it.
        memory = torch.from_numpy(view)
        finalize(view, self._idle.append, block).atexit = False
        return memory.view(dtype).view(*shape)

    def _idle_block(self, size: int) -> np.ndarray:
        # A view may die, and add its block, at any moment; only the lock's owner takes blocks away.
        with self._lock:
            for _ in range(len(self._idle)):
                block = self._idle.popleft()
                if block.nbytes >= size:
                    return block
                self._idle.append(block)
        return np.empty(max(size, 1), np.uint8)

    def __reduce__(self) -> tuple[type[BufferPool], tuple[int]]:
        return type(self), (self._kept,)  # a worker process begins with a pool of its own
