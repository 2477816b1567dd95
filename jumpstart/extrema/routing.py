"""Where extrema are attained, their penalty, and the routing of gradients to them, in PyTorch without autograd code.

Symbols as in :mod:`jumpstart.extrema.reduction`: L layer calls, N samples, C units, S positions, M = N * S.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from jumpstart.choices import Margins, PointMode, Ties
from jumpstart.extrema import kernel
from jumpstart.extrema.record import margin_of
from jumpstart.extrema.rule import Rule
from jumpstart.extrema.traceable import random_one, record_dtype

WINDOW = 64
"""Entries of a row that are reduced together: the shortest run that ``amax`` reduces quickly on a CPU."""
LONG = 1024
"""Length of a row from which windows are faster than one reduction of the row."""
LANES = 32
"""Entries that the vector registers of a CPU hold in one iteration of the loop."""


class Extreme(Protocol):
    """``torch.amax`` or ``torch.amin``."""

    def __call__(self, z: Tensor, dim: int, /, *, out: Tensor | None = None) -> Tensor:
        """Reduce one dimension."""


# Small preactivations, (L, C, M) -----------------------------------------------------------------------------------


def penalty_of(reaches: tuple[Tensor, Tensor], weights: kernel.Weights, margins: Margins) -> Tensor:
    """The weighted sum of the hinges of units and points, a scalar.

    Args:
        reaches: Unit reach (2, L, C) and point reach (2, L, P).
        weights: Weights of the hinges of units and points, each positive and negative.
        margins: Margins of the positive and of the negative hinges, in the units of the preactivations.
    """
    penalty = reaches[0].new_zeros(())
    for reach, (positive, negative) in zip(reaches, (weights[:2], weights[2:]), strict=True):
        if positive == negative == 0:
            continue
        hinges = (margin_of(reach, margins) - reach).clamp_(min=0)
        if positive == negative:
            penalty += hinges.sum() * positive
        else:
            penalty += hinges[0].sum() * positive + hinges[1].sum() * negative
    return penalty


def add_penalty_grad(
    short: Tensor, grad: Tensor | None, penalty_grad: Tensor | None, weights: tuple[float, float]
) -> Tensor | None:
    """The total gradient of a reach: its own, and that of the penalty of its hinges.

    Args:
        short: (2, L, K) one where the reach is short of the margin of its side, else zero; overwritten if it holds
            floats.
        grad: (2, L, K), the reach's own gradient.
        penalty_grad: The gradient of the penalty, a scalar.
        weights: Weights of the hinges, positive and negative.
    """
    positive, negative = weights
    if penalty_grad is None or positive == negative == 0:
        return grad
    if positive == negative:
        slope = penalty_grad * -positive
        slopes = short.mul_(slope) if short.is_floating_point() else short * slope
    else:
        slopes = short * torch.stack([penalty_grad * -positive, penalty_grad * -negative]).view(2, 1, 1)
    return slopes if grad is None else slopes + grad


def extreme_over(extreme: Extreme, z: Tensor, dim: int, out: Tensor | None = None) -> Tensor:
    """``torch.amax`` or ``torch.amin`` over one of the last two dimensions.

    On a CPU either is several times slower where the length of a row is no multiple of LANES, because of the few
    entries that are left over. Short rows are cut into two overlapping parts that are multiples.
    """
    length = z.shape[-1]
    whole = length - length % LANES
    if not 0 < whole < length < LONG or z.device.type != "cpu":
        return extreme(z, dim, out=out)
    if dim % z.dim() == z.dim() - 1:
        first, last = extreme(z[..., :whole], dim), extreme(z[..., -LANES:], dim)
        return (torch.maximum if extreme is torch.amax else torch.minimum)(first, last, out=out)
    reduced = z.new_empty(z.shape[:-2] + z.shape[-1:]) if out is None else out
    extreme(z[..., :whole], dim, out=reduced[..., :whole])
    extreme(z[..., -LANES:], dim, out=reduced[..., -LANES:])
    return reduced


def window_extrema(z: Tensor) -> Tensor:
    """(L, C, M) -> (2, L, C, W) maxima and minima of windows of each row, in order; the last two may overlap."""
    length = z.shape[2]
    whole = length // WINDOW
    windows = z.new_empty(2, *z.shape[:2], -(-length // WINDOW))
    for side, extreme in enumerate((torch.amax, torch.amin)):
        windows[side, :, :, :whole] = extreme(z[:, :, : whole * WINDOW].unflatten(2, (whole, WINDOW)), 3)
        if whole < windows.shape[3]:
            windows[side, :, :, whole] = extreme(z[:, :, -WINDOW:], 2)
    return windows


def route_to_first(grad: Tensor, z: Tensor, windows: Tensor, reach: Tensor, reach_grad: Tensor) -> None:
    """Add the gradients of the extrema of rows to ``grad`` (L, C, M), at the first entry that attains each."""
    length = z.shape[2]
    extremum = torch.stack([reach[0], -reach[1]]).unsqueeze(3)  # (2, L, C, 1)
    start = (windows == extremum).to(torch.uint8).argmax(3, keepdim=True).mul_(WINDOW).clamp_(max=length - WINDOW)
    offsets = torch.arange(WINDOW, device=z.device)
    inside = z.unsqueeze(0).expand(2, *z.shape).gather(3, start + offsets)
    at = start + (inside == extremum).to(torch.uint8).argmax(3, keepdim=True)
    at += length * torch.arange(reach[0].numel(), device=z.device).view(*reach.shape[1:], 1)
    value = torch.stack([reach_grad[0], -reach_grad[1]])
    grad.view(-1).index_add_(0, at.flatten(), value.flatten())


def route(grad: Tensor, z: Tensor, reach: Tensor, reach_grad: Tensor, dim: int, ties: Ties) -> None:
    """Add the gradients of the extrema over ``dim`` to ``grad`` (L, A, B), where ``z`` (L, A, B) attains them."""
    attained = z.new_empty(2, *z.shape)
    for side in (0, 1):
        # A comparison into floats is ten times as fast on a CPU as one into booleans.
        extremum = reach[0] if side == 0 else reach[1].neg()
        torch.eq(z, extremum.unsqueeze(dim), out=attained[side])
    value = torch.stack([reach_grad[0], reach_grad[1].neg()])
    unique = ties is Ties.SINGLE and dim == 1 and _no_ties(attained, value.numel())
    if unique or ties is Ties.AVERAGE:
        share = value if unique else value / attained.sum(dim + 1).clamp_(min=1)
        for side in (0, 1):
            grad.addcmul_(attained[side], share[side].unsqueeze(dim))
        return
    at = _first(attained, dim + 1) if ties is Ties.SINGLE else random_one(attained, dim + 1)
    grad.scatter_add_(dim, at.movedim(0, dim), value.movedim(0, dim))


def _no_ties(attained: Tensor, slices: int) -> bool:
    """Whether every slice attains its extremum once. False on an accelerator, where the test would stall."""
    return attained.device.type == "cpu" and bool(attained.sum() == slices)


def _first(attained: Tensor, dim: int) -> Tensor:
    """The position of the first 1 along ``dim`` in a tensor of zeros and ones, which is overwritten.

    ``argmax`` would give the same; a product with a falling ramp and ``amax`` are vectorized and ten times as fast on
    a CPU.
    """
    size = attained.shape[dim]
    ramp = torch.arange(size, 0, -1, dtype=attained.dtype, device=attained.device)
    falling = extreme_over(torch.amax, attained.mul_(ramp.view([-1] + [1] * (attained.dim() - 1 - dim))), dim)
    # Nothing equals a NaN: clamp the position to the last entry.
    return falling.clamp_(min=1).neg_().add_(size).long()


# Large preactivations, (N, C, *space) ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Entries:
    """Where the extrema of one kind of slice and one side lie: E entries of (N, C, S).

    Attributes:
        kind: 0 for units, 1 for points.
        side: 0 for maxima, 1 for minima.
        slice: (E,) index of the unit or point.
        at: Sample, unit and position, (E,) each.
        share: (E,) share of the gradient; None for all of it.
    """

    kind: int
    side: int
    slice: Tensor
    at: tuple[Tensor, Tensor, Tensor]
    share: Tensor | None = None


def scan(
    z: Tensor, rule: Rule, unit_dim: int, *, locate: bool = True
) -> tuple[Tensor, Tensor, list[Entries], kernel.Places | None]:
    """Reduce one tensor to unit reach (2, C) and point reach (2, P), and find the entries that attain them.

    Every block (sample, unit) is reduced first; only the blocks that hold an extremum are read again.

    Returns:
        Unit reach, point reach, and the entries: as a list, or as the places that the kernel returns.
    """
    layout = kernel.layout_of(z, unit_dim, rule) if kernel.quick_for_large() else None
    if layout is not None:
        unit, point, _, at = kernel.reduce([z], layout, rule.margins, kernel.NO_WEIGHTS, locate=locate)
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
    entries: list[Entries] = []
    for side in (0, 1) if locate else ():
        for kind, value in enumerate((units[side], points[side])):
            entries += _locate(z, block[side], value, kind, side, rule)
    unit, point = (torch.stack([pair[0], -pair[1]]).to(dtype) for pair in (units, points))
    return unit, point, entries, None


def add_entries(grad: Tensor, entries: list[Entries], reach_grads: Sequence[Tensor | None], unit_dim: int) -> None:
    """Add the gradients (2, K) of unit reach and point reach to the entries of ``grad`` that attain them."""
    by_unit = grad.movedim(unit_dim, 1)
    for group in entries:
        reach_grad = reach_grads[group.kind]
        if reach_grad is None:
            continue
        value = reach_grad[group.side][group.slice] * (1 - 2 * group.side)
        value = value if group.share is None else value * group.share
        sample, unit, position = group.at
        space = torch.unravel_index(position, by_unit.shape[2:]) if by_unit.dim() > 2 else ()
        by_unit.index_put_((sample, unit, *space), value.to(grad.dtype), accumulate=True)


def entries_at(at: kernel.Places, call: int, shape: torch.Size, unit_dim: int) -> list[Entries]:
    """The kernel's places in one call as entries, for a gradient that the kernel can't write into."""
    units, places = shape[unit_dim], shape.numel() // (shape[0] * shape[unit_dim])
    entries = []
    for kind in (0, 1):
        for side in (0, 1):
            (index,) = (at[kind][side, call] >= 0).nonzero(as_tuple=True)
            where = at[kind][side, call][index].long()
            entries.append(
                Entries(kind, side, index, (where // (units * places), where // places % units, where % places))
            )
    return entries


def _locate(z: Tensor, block: Tensor, value: Tensor, kind: int, side: int, rule: Rule) -> list[Entries]:
    """The entries of ``z`` (N, C, *space) that attain ``value`` (C,) or (P,).

    On a CPU, of the slices that are short of the margin alone; on an accelerator of all slices, because selecting
    some would wait for the device.
    """
    short = (value if side == 0 else -value) < rule.margins[side]
    index = short.nonzero().squeeze(1) if z.device.type == "cpu" else torch.arange(len(value), device=z.device)
    if index.numel() == 0:
        return []
    by_location = kind == 1 and rule.point is PointMode.LOCATION and z.dim() > 2
    if rule.ties is Ties.SINGLE and not by_location:
        return [_locate_in_blocks(z, block, index, kind, side)]
    return [_locate_in_rows(z, value, index, kind, side, rule.ties, by_location=by_location)]


def _locate_in_blocks(z: Tensor, block: Tensor, index: Tensor, kind: int, side: int) -> Entries:
    """The first entry of each slice: by the extrema of the blocks (N, C), then inside one block."""
    along = (block.transpose(0, 1) if kind == 0 else block)[index]
    other = along.argmax(1) if side == 0 else along.argmin(1)
    sample, unit = (other, index) if kind == 0 else (index, other)
    inside = z[sample, unit].reshape(len(index), -1)
    position = inside.argmax(1) if side == 0 else inside.argmin(1)
    return Entries(kind, side, index, (sample, unit, position))


def _locate_in_rows(
    z: Tensor, value: Tensor, index: Tensor, kind: int, side: int, ties: Ties, *, by_location: bool
) -> Entries:
    """The entries of each slice, laid out as one row (E, entries): slower than blocks, for the rare options."""
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
    if ties is Ties.AVERAGE:
        row, column = attained.nonzero(as_tuple=True)
        share = 1 / attained.sum(1)[row]
    else:
        row = torch.arange(len(index), device=z.device)
        column = attained.argmax(1) if ties is Ties.SINGLE else random_one(attained, 1)
    index = index[row]
    if by_location:
        return Entries(kind, side, index, (index // places, column, index % places), share)
    other = column // places
    sample, unit = (other, index) if kind == 0 else (index, other)
    return Entries(kind, side, index, (sample, unit, column % places), share)
