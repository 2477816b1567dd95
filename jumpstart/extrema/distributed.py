"""The records of the whole batch of all processes, for ``JumpstartRegularization(model, sync=True)``.

Every process reads its part of the batch. A unit that is alive in one part is alive, so the loss of a unit must not
depend on how the batch was divided. The records of all processes are therefore combined before the penalty is computed:
the largest reach of every unit, and the reaches of all points. The loss is then the same number in every process.

The backward pass sends nothing. The gradient of the combined record is the same in every process, so each process keeps
the part that belongs to its own entries, times the number of processes: ``DistributedDataParallel`` and ``fully_shard``
take the mean over processes, and that mean is the gradient of one process with the whole batch.

Symbols: W processes, U units of all layer calls, P points of all layer calls in this process.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from jumpstart.extrema.record import Extrema
from jumpstart.extrema.torch_internals import transformed


def whole_batch(records: Sequence[Extrema], group: dist.ProcessGroup | None = None) -> list[Extrema]:
    """Combine the records of all processes. Every process of the group must call this function.

    Args:
        records: The records of this process. They may be grouped in other ways than those of another process, and
            have another number of points, but the layer calls and their units must be the same.
        group: A ``torch.distributed`` process group; None for the default one.

    Returns:
        One record of all layer calls, with the largest reach of every unit over the processes, (2, 1, U), and the
        reaches of all their points, (2, 1, sum of P). In a single process, ``records`` unchanged.

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
            "sync=True cannot reach other processes inside torch.func or a compiled function. Read .loss outside of "
            "it, or use sync=False for the loss of this process alone."
        )
    unit, point = _flat(records)
    points = _agree(records, point.shape[1], unit, group)
    unit, point = _Gather.apply(unit, point, points, group)
    samples = sum(points)
    return [Extrema(("all",), (0,), unit.unsqueeze(1), point.unsqueeze(1), samples)]


def _several(group: dist.ProcessGroup | None) -> bool:
    """Whether the group has more than one process."""
    if not (dist.is_available() and dist.is_initialized()):
        return False
    if dist.get_rank(group) < 0:
        raise RuntimeError(
            f"process {dist.get_rank()} reads .loss with sync=True but is not in process_group. Give each process a "
            "group that it belongs to, or sync=False."
        )
    return dist.get_world_size(group) > 1


def _flat(records: Sequence[Extrema]) -> tuple[Tensor, Tensor]:
    """Unit reach (2, U) in the order of calls, whatever the grouping, and point reach (2, P) in that of the records."""
    device = records[0].unit.device
    dtype = torch.float64 if any(record.unit.dtype == torch.float64 for record in records) else torch.float32
    calls = [call for record in records for call in zip(record.order, record.unit.unbind(1), strict=True)]
    units = [reach.to(device, dtype) for _, reach in sorted(calls, key=lambda call: call[0])]
    points = [record.point.flatten(1).to(device, dtype) for record in records]
    return torch.cat(units, 1), torch.cat(points, 1)


def _agree(records: Sequence[Extrema], points: int, unit: Tensor, group: dist.ProcessGroup | None) -> list[int]:
    """The number of points of every process, after a check that all processes ran the same layers."""
    calls = sorted(
        (position, name, record.unit.shape[2])
        for record in records
        for position, name in zip(record.order, record.names, strict=True)
    )
    checksum = zlib.crc32(repr([call[1:] for call in calls]).encode())
    mine = torch.tensor([checksum, len(calls), unit.shape[1], unit.element_size(), points], device=unit.device)
    theirs = [torch.empty_like(mine) for _ in range(dist.get_world_size(group))]
    dist.all_gather(theirs, mine, group=group)
    rows = torch.stack(theirs).tolist()
    if any(row[:4] != rows[0][:4] for row in rows):
        layers = "; ".join(
            f"{rank}: {count} layer calls, {units} units, float{8 * size}"
            for rank, (_, count, units, size, _) in enumerate(rows)
        )
        raise RuntimeError(
            "sync=True needs the same layers, units and dtype in the forward pass of every process, but the processes "
            f"have {layers}. Here they are {', '.join(call[1] for call in calls[:5])}... Use the same model "
            "everywhere, or sync=False."
        )
    return [row[4] for row in rows]


class _GatherContext(FunctionCtx):
    """The attributes of ``ctx`` in :class:`_Gather`: which unit extrema and which points belong to this process."""

    mine: Tensor
    own: slice
    processes: int


class _Gather(torch.autograd.Function):
    """Unit reach (2, U) -> the largest over processes (2, U); point reach (2, P) -> those of all (2, sum of P)."""

    @staticmethod
    def forward(
        ctx: _GatherContext, unit: Tensor, point: Tensor, points: list[int], group: dist.ProcessGroup | None
    ) -> tuple[Tensor, Tensor]:
        rank, most, units = dist.get_rank(group), max(points), unit.numel()
        # One message holds both; all messages are as long as the longest.
        mine = unit.new_zeros(units + 2 * most)
        mine[:units], mine[units : units + point.numel()] = unit.flatten(), point.flatten()
        theirs = [torch.empty_like(mine) for _ in points]
        dist.all_gather(theirs, mine, group=group)
        reaches = torch.stack([message[:units].view(2, -1) for message in theirs])
        largest = reaches.amax(0)
        # Of several processes that attain an extremum, the first: it has the first entry in the whole batch.
        attained = reaches == largest
        ctx.mine = attained[rank] & ~attained[:rank].any(0)
        ctx.own = slice(sum(points[:rank]), sum(points[: rank + 1]))
        ctx.processes = len(points)
        ctx.set_materialize_grads(False)
        parts = [message[units : units + 2 * count].view(2, -1) for message, count in zip(theirs, points, strict=True)]
        return largest, torch.cat(parts, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: _GatherContext, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        unit_grad, point_grad = grads
        unit = None if unit_grad is None else unit_grad * ctx.mine * ctx.processes
        point = None if point_grad is None else point_grad[:, ctx.own] * ctx.processes
        return unit, point, None, None
