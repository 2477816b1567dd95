"""The hot path: the extrema of every unit and every point, once per layer call.

A forward pass leaves one small record per layer call (:class:`Extrema`). The loss, the status metrics and the plots
read that record; nothing else looks at a preactivation. Two ways lead to it:

* A **small** preactivation waits, as a tensor, until the record is read. Those of one shape are then reduced together
  by one autograd function (:class:`_Reduce`), so a deep thin network pays for a few calls instead of hundreds.
* A **large** one is reduced as it passes, by an identity function put into the graph (:class:`_Tap`). It keeps the
  positions of the extrema only, and in the backward pass adds its few entries to the gradient that comes through.

Symbols: L layer calls, N samples, C units, S positions in space (or time), P points (N, or N * S by location).
This is the only file with autograd code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from jumpstart import kernel
from jumpstart.internals import alone, holders, transformed
from jumpstart.options import After, PointMode, Rule, Ties
from jumpstart.plain import any_of, record_dtype, reduce_plainly

Weights: TypeAlias = kernel.Weights
NO_WEIGHTS: Weights = (0.0, 0.0, 0.0, 0.0)
SMALL = 128 * 1024
"""Elements up to which a preactivation waits."""
SMALL_COPY = 16 * 1024
"""The same for one that would wait as a copy, since what follows may write into it."""
GROUP = 256 * 1024
"""Elements that are reduced together: more take longer, since their copies no longer stay in the cache."""


@dataclass(frozen=True, slots=True, eq=False)
class Extrema:
    r"""How far units and points reach on both sides of zero, for L layer calls of one shape.

    The *reach* of a slice is :math:`(\max z, -\min z)`: where both are at least the margin, there is nothing to pay.

    Attributes:
        names: L names, ``"layer"`` or ``"layer#2"`` for the second call of one module.
        order: L positions in the order of the calls of the whole forward pass.
        unit: (2, L, C), the reach of every unit. Float32, or float64 for float64 preactivations.
        point: (2, L, P), the reach of every point.
        samples: N.
        paid: What the hinges of these slices add to a loss that is linear in them, a scalar, if it was asked for.

    Example:
        >>> z = torch.tensor([[1.0, -2.0], [3.0, -4.0]])
        >>> record = extrema_of([z], ["layer"])
        >>> record.unit_max, record.unit_min
        (tensor([[ 3., -2.]]), tensor([[ 1., -4.]]))
        >>> record.point_max, record.point_min
        (tensor([[1., 3.]]), tensor([[-2., -4.]]))
    """

    names: tuple[str, ...]
    order: tuple[int, ...]
    unit: Tensor
    point: Tensor
    samples: int
    paid: Tensor | None = None

    @property
    def unit_max(self) -> Tensor:
        """(L, C) maxima of the units."""
        return self.unit[0]

    @property
    def unit_min(self) -> Tensor:
        """(L, C) minima of the units."""
        return -self.unit[1]

    @property
    def point_max(self) -> Tensor:
        """(L, P) maxima of the points."""
        return self.point[0]

    @property
    def point_min(self) -> Tensor:
        """(L, P) minima of the points."""
        return -self.point[1]

    def named(self, name: str) -> Extrema:
        """The record of one call under another name."""
        return self if name == self.names[0] else replace(self, names=(name,))

    def detach(self) -> Extrema:
        """The same record without a graph."""
        return replace(self, unit=self.unit.detach(), point=self.point.detach(), paid=None)


def extrema_of(
    tensors: list[Tensor],
    names: list[str],
    order: list[int] | None = None,
    *,
    unit_dim: int = 1,
    rule: Rule | None = None,
    weights: Weights | None = None,
) -> Extrema:
    """Reduce preactivations of one shape and dtype together, differentiably.

    Args:
        tensors: L preactivations, each (N, C) or (N, C, *space) with the units in ``unit_dim``.
        names: L names.
        order: L positions in the order of calls; 0 to L - 1 by default.
        unit_dim: The dimension of the units; not 0, which is that of the samples.
        rule: How extrema are taken.
        weights: Those of the hinges of units and points, positive and negative: what they pay is then a part of the
            record, at less cost than from the record.

    Returns:
        The record of the L calls.

    Example:
        >>> z = torch.tensor([[0.5, -0.5]], requires_grad=True)
        >>> extrema_of([z], ["layer"]).point_max.sum().backward()
        >>> z.grad
        tensor([[1., 0.]])
    """
    rule = rule or Rule()
    paid = None
    if transformed():
        unit, point = reduce_plainly(torch.stack(tensors), rule, unit_dim)
    else:
        unit, point, paid = _Reduce.apply(rule, unit_dim, weights or NO_WEIGHTS, *tensors)
    order = list(range(len(tensors))) if order is None else order
    paid = None if weights is None else paid
    return Extrema(tuple(names), tuple(order), unit, point, tensors[0].shape[0], paid)


def tap(
    z: Tensor,
    name: str,
    order: int = 0,
    *,
    unit_dim: int = 1,
    rule: Rule | None = None,
    after: After | None = None,
) -> tuple[Tensor, Extrema]:
    """Reduce one large preactivation as it passes.

    Args:
        z: (N, C) or (N, C, *space) with the units in ``unit_dim``.
        name: The name of the call.
        order: Its position in the order of calls.
        unit_dim: The dimension of the units.
        rule: How extrema are taken.
        after: What the next operation does with the tensor that it gets; unknown by default.

    Returns:
        What the network goes on with in place of ``z`` (equal to it), and the record.

    Example:
        >>> z = torch.tensor([[0.5, -0.25]], requires_grad=True)
        >>> out, record = tap(z, "layer")
        >>> (out.sum() + record.unit_max.sum()).backward()
        >>> z.grad
        tensor([[2., 2.]])
    """
    rule = rule or Rule()
    if z.requires_grad and torch.is_grad_enabled():
        out, unit, point = _Tap.apply(z, rule, unit_dim, after or After.UNKNOWN)
    else:
        out = z
        unit, point, *_ = _scan(z, rule, unit_dim, locate=False)
    return out, Extrema((name,), (order,), unit.unsqueeze(1), point.unsqueeze(1), z.shape[0])


# Small preactivations: one function for all the calls of one shape ------------------------------------------------


class _Reduce(torch.autograd.Function):
    """L tensors (N, C, *space) -> unit reach (2, L, C), point reach (2, L, P), what their hinges pay."""

    @staticmethod
    def forward(
        ctx: Any, rule: Rule, unit_dim: int, weights: Weights, *tensors: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        ctx.rule, ctx.unit_dim, ctx.weights = rule, unit_dim, weights
        ctx.layout = _one_layout(tensors, unit_dim, rule)
        if ctx.layout is not None:
            locate = any(ctx.needs_input_grad)
            unit, point, paid, ctx.at = kernel.reduce(tensors, ctx.layout, rule.margin, weights, locate=locate)
            ctx.like = tensors[0].shape, tensors[0].stride()
            return unit, point, paid
        stacked = torch.stack(tensors)
        batch = stacked.shape[1]
        by_unit = stacked.to(record_dtype(stacked.dtype)).movedim(unit_dim + 1, 1)
        # (L, C, N * S): both reductions run over long rows, whatever the width.
        z = by_unit.flatten(2).contiguous()
        calls, units, places = z.shape
        windows = _window_extrema(z) if places >= LONG else None
        unit, place = z.new_empty(2, calls, units), z.new_empty(2, calls, places)
        for side, extreme in enumerate((torch.amax, torch.amin)):
            extreme(z if windows is None else windows[side], 2, out=unit[side])
            extreme(z, 1, out=place[side])
        unit[1].neg_(), place[1].neg_()
        spread = places != batch and rule.point is PointMode.SAMPLE
        point = place.view(2, calls, batch, -1).amax(3) if spread else place
        ctx.spread, ctx.dtype, ctx.shape = spread, stacked.dtype, by_unit.shape
        ctx.save_for_backward(z, windows, unit, point)
        return unit, point, _pay((unit, point), weights, rule.margin)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        *reach_grads, paid_grad = grads
        nothing = (None, None, None)
        if ctx.layout is not None:
            shape, stride = ctx.like
            calls, dtype = ctx.at[0].shape[1], torch.float64 if ctx.layout.double else torch.float32
            grads_of = torch.zeros(calls, *shape, dtype=dtype)
            if grads_of[0].stride() != stride:  # channels last
                grads_of = grads_of.as_strided(grads_of.shape, (shape.numel(), *stride))
            rows = grads_of.unbind()
            kernel.spread(rows, ctx.layout, ctx.at, reach_grads, paid_grad, ctx.weights)
            return *nothing, *rows
        z, windows, *reaches = ctx.saved_tensors
        calls, units, batch, *_ = ctx.shape
        sides = ctx.weights[:2], ctx.weights[2:]
        unit_grad, point_grad = (
            _reach_grad(reach, grad, paid_grad, pair, ctx.rule.margin)
            for reach, grad, pair in zip(reaches, reach_grads, sides, strict=True)
        )
        unit, point = reaches
        grad = torch.zeros_like(z)
        if point_grad is not None and not ctx.spread:
            _route(grad, z, point, point_grad, 1, ctx.rule.ties)
        elif point_grad is not None:
            # A sample's slice is spread over units and positions: lay each out as one row.
            rows = z.view(calls, units, batch, -1).transpose(1, 2).flatten(2)
            row_grad = torch.zeros_like(rows)
            _route(row_grad, rows, point, point_grad, 2, ctx.rule.ties)
            grad.view(calls, units, batch, -1).add_(row_grad.view(calls, batch, units, -1).transpose(1, 2))
        if unit_grad is not None and ctx.rule.ties is Ties.SINGLE and windows is not None:
            _route_to_first(grad, z, windows, unit, unit_grad)
        elif unit_grad is not None:
            _route(grad, z, unit, unit_grad, 2, ctx.rule.ties)
        stacked = grad.view(ctx.shape).movedim(1, ctx.unit_dim + 1)
        return *nothing, *stacked.to(ctx.dtype).contiguous().unbind()


def _one_layout(tensors: Sequence[Tensor], unit_dim: int, rule: Rule) -> kernel.Layout | None:
    """The kernel's layout, if all the tensors have it: they have one shape and dtype."""
    layout = kernel.layout_of(tensors[0], unit_dim, rule)
    if layout is None:
        return None
    if tensors[0].is_contiguous():
        alike = all(type(z) is Tensor and z.is_contiguous() for z in tensors)
    else:
        stride = tensors[0].stride()
        alike = all(type(z) is Tensor and z.stride() == stride for z in tensors)
    return layout if alike else None


def _pay(reaches: tuple[Tensor, Tensor], weights: Weights, margin: float) -> Tensor:
    """The weighted sum of the hinges of units and points."""
    paid = reaches[0].new_zeros(())
    for reach, (positive, negative) in zip(reaches, (weights[:2], weights[2:]), strict=True):
        if positive == negative == 0:
            continue
        hinges = (margin - reach).clamp_(min=0)
        if positive == negative:
            paid += hinges.sum() * positive
        else:
            paid += hinges[0].sum() * positive + hinges[1].sum() * negative
    return paid


def _reach_grad(
    reach: Tensor, grad: Tensor | None, paid_grad: Tensor | None, weights: tuple[float, float], margin: float
) -> Tensor | None:
    """The whole gradient of a reach: its own, and that of what its hinges pay."""
    if paid_grad is None or weights == (0.0, 0.0):
        return grad
    slopes = torch.lt(reach, margin, out=torch.empty_like(reach))
    positive, negative = weights
    slopes *= paid_grad * -positive
    if negative != positive:
        slopes[1] = torch.lt(reach[1], margin) * (paid_grad * -negative)
    return slopes if grad is None else slopes.add_(grad)


WINDOW = 64
"""Entries of a row that are reduced together: the shortest run that ``amax`` does quickly on a CPU."""
LONG = 1024
"""Entries of a row from which on windows pay."""


def _window_extrema(z: Tensor) -> Tensor:
    """(L, C, M) -> (2, L, C, W) maxima and minima of windows of each row, in order; the last two may overlap."""
    places = z.shape[2]
    whole = places // WINDOW
    windows = z.new_empty(2, *z.shape[:2], -(-places // WINDOW))
    for side, extreme in enumerate((torch.amax, torch.amin)):
        windows[side, :, :, :whole] = extreme(z[:, :, : whole * WINDOW].unflatten(2, (whole, WINDOW)), 3)
        if whole < windows.shape[3]:
            windows[side, :, :, whole] = extreme(z[:, :, -WINDOW:], 2)
    return windows


def _route_to_first(grad: Tensor, z: Tensor, windows: Tensor, reach: Tensor, reach_grad: Tensor) -> None:
    """Add to ``grad`` (L, C, M) what the extrema of rows send to the first entry that attains them."""
    places = z.shape[2]
    extremum = torch.stack([reach[0], -reach[1]]).unsqueeze(3)  # (2, L, C, 1)
    start = (windows == extremum).to(torch.uint8).argmax(3, keepdim=True).mul_(WINDOW).clamp_(max=places - WINDOW)
    offsets = torch.arange(WINDOW, device=z.device)
    inside = z.unsqueeze(0).expand(2, *z.shape).gather(3, start + offsets)
    at = start + (inside == extremum).to(torch.uint8).argmax(3, keepdim=True)
    at += places * torch.arange(reach[0].numel(), device=z.device).view(*reach.shape[1:], 1)
    value = torch.stack([reach_grad[0], -reach_grad[1]])
    grad.view(-1).index_add_(0, at.flatten(), value.flatten())


def _route(grad: Tensor, z: Tensor, reach: Tensor, reach_grad: Tensor, dim: int, ties: Ties) -> None:
    """Add to ``grad`` (L, A, B) what the extrema over ``dim`` send to the entries of ``z`` that attain them."""
    attained = torch.empty_like(z)
    for extremum, weight in ((reach[0], reach_grad[0]), (-reach[1], -reach_grad[1])):
        if ties is Ties.SINGLE and dim == 2:
            # Where a network has collapsed, all entries of a row are equal: the first is found at once.
            at_once = torch.eq(z[:, :, 0], extremum, out=torch.empty_like(extremum)).mul_(weight)
            grad[:, :, 0] += at_once
            weight = weight - at_once
        # A comparison into floats is ten times as fast on a CPU as one into booleans.
        torch.eq(z, extremum.unsqueeze(dim), out=attained)
        if ties is Ties.SINGLE and not _no_ties(attained, weight, dim):
            at = _first(attained, dim)
            grad.scatter_add_(dim, at.unsqueeze(dim), weight.unsqueeze(dim))
        elif ties is Ties.RANDOM:
            grad.scatter_add_(dim, any_of(attained, dim).unsqueeze(dim), weight.unsqueeze(dim))
        else:
            share = weight / attained.sum(dim).clamp_(min=1) if ties is Ties.AVERAGE else weight
            grad.addcmul_(attained, share.unsqueeze(dim))


def _no_ties(attained: Tensor, weight: Tensor, dim: int) -> bool:
    """Whether no slice attains its extremum twice; of rows, none that still has a gradient to route.

    Not asked on an accelerator, which would have to be waited for.
    """
    if attained.device.type != "cpu":
        return False
    if dim == 1:  # too many slices to look at each
        return bool(attained.sum() == weight.numel())
    return not bool(((attained.sum(2) > 1) & (weight != 0)).any())


def _first(attained: Tensor, dim: int) -> Tensor:
    """The first one along ``dim`` of a tensor of zeros and ones, which is used up.

    ``argmax`` would do; a product with a falling ramp and ``amax`` are vectorised and ten times as fast on a CPU.
    """
    size = attained.shape[dim]
    ramp = torch.arange(size, 0, -1, dtype=attained.dtype, device=attained.device)
    falling = attained.mul_(ramp.view([-1 if i == dim else 1 for i in range(attained.dim())]))
    return size - falling.amax(dim).clamp_(min=1).long()  # nothing equals a NaN: point at the last entry


# Large preactivations: an identity in the graph --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Entries:
    """Where the extrema of one kind of slice and one side lie: E entries of (N, C, S)."""

    kind: int  # 0: units, 1: points
    side: int  # 0: maxima, 1: minima
    slice: Tensor  # (E,) which unit or point
    at: tuple[Tensor, Tensor, Tensor]  # (E,) each: sample, unit, position
    share: Tensor | None = None  # (E,) of the gradient; None: all of it


class _Tap(torch.autograd.Function):
    """z -> z, unit reach (2, C), point reach (2, P).

    Keeps indices only, and not as saved tensors: a checkpointed region that is run again without it would miss them.
    """

    @staticmethod
    def forward(ctx: Any, z: Tensor, rule: Rule, unit_dim: int, after: After) -> tuple[Tensor, Tensor, Tensor]:
        alone()  # asked here, since a backward pass is no place to run another
        ctx.set_materialize_grads(False)
        ctx.rule, ctx.unit_dim, ctx.like = rule, unit_dim, (z.shape, z.dtype, z.device)
        unit, point, ctx.entries, ctx.at = _scan(z, rule, unit_dim)
        if after is After.WRITES:
            ctx.mark_dirty(z)
            return z, unit, point
        return (z.view_as(z) if after is After.READS else z.clone()), unit, point

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        through, *reach_grads = grads
        shape, dtype, device = ctx.like
        if through is None:
            grad = torch.zeros(shape, dtype=dtype, device=device)
        else:
            # Somebody else may hold it: a residual sum hands the same gradient to both its terms.
            grad = through if holders(through) == alone() else through.clone()
        entries = ctx.entries
        if ctx.at is not None:
            layout = kernel.layout_of(grad, ctx.unit_dim, ctx.rule)
            if layout is not None:
                reaches = [None if reach is None else reach.unsqueeze(1) for reach in reach_grads]
                kernel.spread([grad], layout, ctx.at, reaches, None, NO_WEIGHTS)
                return grad, None, None, None
            entries = _entries_at(ctx.at, shape, ctx.unit_dim)
        by_unit = grad.movedim(ctx.unit_dim, 1)
        for found in entries:
            reach_grad = reach_grads[found.kind]
            if reach_grad is None:
                continue
            value = reach_grad[found.side][found.slice] * (1 - 2 * found.side)
            value = value if found.share is None else value * found.share
            sample, unit, position = found.at
            space = torch.unravel_index(position, by_unit.shape[2:]) if by_unit.dim() > 2 else ()
            by_unit.index_put_((sample, unit, *space), value.to(dtype), accumulate=True)
        return grad, None, None, None


def _scan(
    z: Tensor, rule: Rule, unit_dim: int, *, locate: bool = True
) -> tuple[Tensor, Tensor, list[_Entries], kernel.Places | None]:
    """Unit reach (2, C), point reach (2, P) and where they are attained, of one tensor: as entries, or as the kernel says.

    Every block (sample, unit) is reduced first; only the blocks that hold an extremum are looked into again.
    """
    layout = kernel.layout_of(z, unit_dim, rule) if kernel.quick_for_large() else None
    if layout is not None:
        unit, point, _, at = kernel.reduce([z], layout, rule.margin, NO_WEIGHTS, locate=locate)
        return unit.squeeze(1), point.squeeze(1), [], at
    z = z.detach().movedim(unit_dim, 1)
    dtype = record_dtype(z.dtype)
    space = tuple(range(2, z.dim()))
    block = [z.amax(space), z.amin(space)] if space else [z, z]
    if rule.point is PointMode.LOCATION and space:
        points = [z.amax(1).flatten(), z.amin(1).flatten()]
    else:
        points = [block[0].amax(1), block[1].amin(1)]
    units = [block[0].amax(0), block[1].amin(0)]
    entries: list[_Entries] = []
    for side in (0, 1) if locate else ():
        for kind, value in enumerate((units[side], points[side])):
            entries += _locate(z, block[side], value, kind, side, rule)
    unit, point = (torch.stack([pair[0], -pair[1]]).to(dtype) for pair in (units, points))
    return unit, point, entries, None


def _entries_at(at: kernel.Places, shape: torch.Size, unit_dim: int) -> list[_Entries]:
    """The kernel's places, for a gradient that it can't write into."""
    units, places = shape[unit_dim], shape.numel() // (shape[0] * shape[unit_dim])
    entries = []
    for kind in (0, 1):
        for side in (0, 1):
            (index,) = (at[kind][side, 0] >= 0).nonzero(as_tuple=True)
            where = at[kind][side, 0][index].long()
            entries.append(
                _Entries(kind, side, index, (where // (units * places), where // places % units, where % places))
            )
    return entries


def _locate(z: Tensor, block: Tensor, value: Tensor, kind: int, side: int, rule: Rule) -> list[_Entries]:
    """The entries of ``z`` (N, C, *space) that attain ``value`` (C,) or (P,).

    Of the slices that pay, on a CPU; of all on an accelerator, where asking which ones pay would wait for the device.
    """
    pays = (value if side == 0 else -value) < rule.margin
    index = pays.nonzero().squeeze(1) if z.device.type == "cpu" else torch.arange(len(value), device=z.device)
    if index.numel() == 0:
        return []
    by_location = kind == 1 and rule.point is PointMode.LOCATION and z.dim() > 2
    if rule.ties is Ties.SINGLE and not by_location:
        along = (block.transpose(0, 1) if kind == 0 else block)[index]
        other = along.argmax(1) if side == 0 else along.argmin(1)
        sample, unit = (other, index) if kind == 0 else (index, other)
        inside = z[sample, unit].reshape(len(index), -1)
        position = inside.argmax(1) if side == 0 else inside.argmin(1)
        return [_Entries(kind, side, index, (sample, unit, position))]
    # One row per slice, (E, entries): rare options pay for simplicity.
    positions = z.reshape(*z.shape[:2], -1)
    places = positions.shape[2]
    if kind == 0:
        rows = positions[:, index].transpose(0, 1).flatten(1)
    elif by_location:
        rows = positions.transpose(1, 2).flatten(0, 1)[index]
    else:
        rows = positions[index].flatten(1)
    attained = (rows == value[index].unsqueeze(1)).to(record_dtype(z.dtype))
    share = None
    if rule.ties is Ties.AVERAGE:
        row, column = attained.nonzero(as_tuple=True)
        share = 1 / attained.sum(1)[row]
    else:
        row = torch.arange(len(index), device=z.device)
        column = attained.argmax(1) if rule.ties is Ties.SINGLE else any_of(attained, 1)
    index = index[row]
    if by_location:
        at = (index // places, column, index % places)
    else:
        other = column // places
        at = (*((other, index) if kind == 0 else (index, other)), column % places)
    return [_Entries(kind, side, index, at, share)]
