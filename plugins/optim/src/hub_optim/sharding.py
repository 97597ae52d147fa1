"""Parameters that several processes hold together: the DTensors of FSDP2 and tensor parallelism.

What works element by element works on the part that lies here, as on any tensor; what it sums is
then added up over the processes. What must see a parameter as a whole gathers it, and keeps its
part of the result.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, TypeGuard

import torch
from torch import Tensor

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor


def is_plain(t: Tensor) -> bool:
    """Return whether a tensor is one of torch's own type, which kernels take."""
    return type(t) in (Tensor, torch.nn.Parameter)


def is_distributed(t: Any) -> TypeGuard[DTensor]:
    """Return whether other processes hold parts, or copies, of a tensor."""
    if not isinstance(t, Tensor) or is_plain(t):
        return False
    from torch.distributed.tensor import DTensor  # where there is one, this is imported already

    return isinstance(t, DTensor)


def local(t: Tensor) -> Tensor:
    """Return the part of a tensor that lies here, in the same memory: all of a plain one."""
    return t.to_local() if is_distributed(t) else t


def whole(t: Any) -> Any:
    """Return all of a tensor, gathered where it is distributed; anything else as it is."""
    return t.full_tensor() if is_distributed(t) else t


def distributed_as(t: Tensor, like: Tensor) -> Tensor:
    """Return a tensor that all processes hold, distributed as another of its shape."""
    if not is_distributed(like) or is_distributed(t):
        return t
    from torch.distributed.tensor import DTensor, Replicate

    mesh = like.device_mesh
    copies = DTensor.from_local(t, mesh, [Replicate()] * mesh.ndim, run_check=False)
    return copies.redistribute(mesh, like.placements)


def write_(t: Tensor, value: Tensor) -> None:
    """Write a whole value into a tensor, of which a part may lie here."""
    local(t).copy_(local(distributed_as(value, t)))


def distribution(t: Tensor) -> Hashable:
    """Return what tensors share that are distributed alike."""
    return (t.device_mesh, t.placements) if is_distributed(t) else None


def local_gradient(p: Tensor) -> Tensor:
    """Return the gradient of what of a parameter lies here."""
    g = p.grad
    assert g is not None
    if is_distributed(p) and is_distributed(g) and g.placements != p.placements:
        g = g.redistribute(p.device_mesh, p.placements)  # it may be a sum still to be taken
    return local(g)


def over_processes(sums: tuple[Any, ...], like: Tensor) -> tuple[Any, ...]:
    """Return sums over a whole parameter from those over the parts of each process."""
    if not sums or not is_distributed(like):
        return sums
    exact = torch.float64 if like.device.type == "cpu" else torch.float32
    parts = [torch.as_tensor(x, dtype=exact, device=like.device) for x in sums]
    joint = torch.cat([part.reshape(-1) for part in parts])
    for axis, placement in enumerate(like.placements):
        if not placement.is_replicate():
            torch.distributed.all_reduce(joint, group=like.device_mesh.get_group(axis))
    pieces = zip(torch.split(joint, [part.numel() for part in parts]), parts, sums, strict=True)
    return tuple(
        piece.reshape(part.shape).to(x.dtype if isinstance(x, Tensor) else exact)
        for piece, part, x in pieces
    )
