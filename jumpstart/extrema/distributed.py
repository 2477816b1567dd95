"""The whole batch across processes: what ``JumpstartRegularization(model, sync=True)`` does.

Every process sees its part of the batch. A unit that one of them finds alive is alive, so its loss must not depend on
how the batch was cut. The records of all processes are therefore put together before the penalty looks at them: the
largest reach of every unit, and the reaches of all points. The loss is then the same number everywhere.

Nothing is sent in the backward pass. The gradient of the whole record is the same in every process, so each keeps the
part that belongs to its own entries, times the number of processes: ``DistributedDataParallel`` and ``fully_shard``
take the mean over processes, and that mean is the gradient of one process with the whole batch.

Symbols: W processes, U units of all layer calls, P points of all layer calls in this process.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

from jumpstart.extrema.record import Extrema
from jumpstart.extrema.torch_internals import transformed


def whole_batch(records: Sequence[Extrema], group: Any = None) -> list[Extrema]:
    """The records of the batch of all processes together. Every process of the group must call this.

    Args:
        records: Those of this process. They may be grouped in other ways than those of another process, and have
            another number of points, but the layer calls and their units must be the same.
        group: A ``torch.distributed`` process group; None: the default one.

    Returns:
        One record of all layer calls, with the largest reach of every unit over the processes, (2, 1, U), and the
        reaches of all their points, (2, 1, sum of P). In a single process, ``records`` as they are.

    Raises:
        RuntimeError: If the processes have run different layers, inside ``torch.func`` or ``torch.compile``, or if
            this process is not in the group.

    Example:
        >>> from jumpstart.extrema import extrema_of
        >>> record = extrema_of([torch.tensor([[1.0, -2.0]])], ["layer"])
        >>> whole_batch([record])[0] is record
        True
    """
    if not _several(group):
        return list(records)
    if transformed():
        raise RuntimeError(
            "sync=True cannot talk to other processes inside torch.func or a compiled function. Read .loss outside of "
            "it, or use sync=False for the loss of this process alone."
        )
    unit, point = _flat(records)
    points = _agree(records, point.shape[1], unit, group)
    unit, point = _Gather.apply(unit, point, points, group)
    samples = sum(points)
    return [Extrema(("all",), (0,), unit.unsqueeze(1), point.unsqueeze(1), samples)]


def _several(group: Any) -> bool:
    """Whether there is anyone to talk to."""
    if not (dist.is_available() and dist.is_initialized()):
        return False
    if dist.get_rank(group) < 0:
        raise RuntimeError(
            f"process {dist.get_rank()} reads .loss with sync=True but is not in process_group. Give each process a "
            "group that it belongs to, or sync=False."
        )
    return dist.get_world_size(group) > 1


def _flat(records: Sequence[Extrema]) -> tuple[Tensor, Tensor]:
    """(2, U) in the order of calls, which no grouping changes, and (2, P) in the order of the records."""
    home = records[0].unit.device
    dtype = torch.float64 if any(record.unit.dtype == torch.float64 for record in records) else torch.float32
    calls = [call for record in records for call in zip(record.order, record.unit.unbind(1), strict=True)]
    units = [reach.to(home, dtype) for _, reach in sorted(calls, key=lambda call: call[0])]
    points = [record.point.flatten(1).to(home, dtype) for record in records]
    return torch.cat(units, 1), torch.cat(points, 1)


def _agree(records: Sequence[Extrema], points: int, unit: Tensor, group: Any) -> list[int]:
    """How many points every process has, after all have seen that they ran the same layers."""
    calls = sorted(
        (position, name, record.unit.shape[2])
        for record in records
        for position, name in zip(record.order, record.names, strict=True)
    )
    mark = zlib.crc32(repr([call[1:] for call in calls]).encode())
    mine = torch.tensor([mark, len(calls), unit.shape[1], unit.element_size(), points], device=unit.device)
    theirs = [torch.empty_like(mine) for _ in range(dist.get_world_size(group))]
    dist.all_gather(theirs, mine, group=group)
    found = torch.stack(theirs).tolist()
    if any(row[:4] != found[0][:4] for row in found):
        seen = "; ".join(
            f"{rank}: {count} layer calls, {units} units, float{8 * size}"
            for rank, (_, count, units, size, _) in enumerate(found)
        )
        raise RuntimeError(
            "sync=True needs the same layers, units and dtype in the forward pass of every process, but the processes "
            f"have {seen}. Here they are {', '.join(call[1] for call in calls[:5])}... Use the same model everywhere, "
            "or sync=False."
        )
    return [row[4] for row in found]


class _Gather(torch.autograd.Function):
    """Unit reach (2, U) -> the largest over processes (2, U); point reach (2, P) -> those of all (2, sum of P)."""

    @staticmethod
    def forward(ctx: Any, unit: Tensor, point: Tensor, points: list[int], group: Any) -> tuple[Tensor, Tensor]:
        rank, most, units = dist.get_rank(group), max(points), unit.numel()
        # One message with both; all messages have the length of the longest.
        mine = unit.new_zeros(units + 2 * most)
        mine[:units], mine[units : units + point.numel()] = unit.flatten(), point.flatten()
        theirs = [torch.empty_like(mine) for _ in points]
        dist.all_gather(theirs, mine, group=group)
        reaches = torch.stack([message[:units].view(2, -1) for message in theirs])
        whole = reaches.amax(0)
        # The first process that attains it: that of the first entry in the whole batch.
        attained = reaches == whole
        ctx.mine = attained[rank] & ~attained[:rank].any(0)
        ctx.own = slice(sum(points[:rank]), sum(points[: rank + 1]))
        ctx.processes = len(points)
        ctx.set_materialize_grads(False)
        parts = [message[units : units + 2 * count].view(2, -1) for message, count in zip(theirs, points, strict=True)]
        return whole, torch.cat(parts, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        unit_grad, point_grad = grads
        unit = None if unit_grad is None else unit_grad * ctx.mine * ctx.processes
        point = None if point_grad is None else point_grad[:, ctx.own] * ctx.processes
        return unit, point, None, None
