"""The hot path: the extrema of every unit and every point, once per layer call.

A forward pass leaves one small record per layer call (:class:`Extrema`). The loss, the status metrics and the plots
read that record; nothing else looks at a preactivation. Two ways lead to it:

* A **small** preactivation waits, as a tensor, until the record is read. Those of one shape are then reduced together
  by one autograd function (:class:`_Reduce`), so a deep thin network pays for a few calls instead of hundreds.
* A **large** one is reduced as it passes, by an identity function put into the graph (:class:`_Tap`). It keeps the
  positions of the extrema only, and in the backward pass adds its few entries to the gradient that comes through.

Symbols: L layer calls, N samples, C units, S positions in space (or time), P points (N, or N * S by location).
Autograd code is in this file, and in ``ranks.py`` for several processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from jumpstart.choices import PointMode, Ties
from jumpstart.extrema import kernel
from jumpstart.extrema.record import Extrema
from jumpstart.extrema.routing import (
    LONG,
    add_entries,
    entries_at,
    extreme_over,
    pay,
    route,
    route_to_first,
    scan,
    window_extrema,
    with_pay,
)
from jumpstart.extrema.rule import NextOp, Rule
from jumpstart.extrema.torch_internals import alone, holders, transformed
from jumpstart.extrema.traceable import record_dtype, reduce_plainly

Weights: TypeAlias = kernel.Weights
NO_WEIGHTS = kernel.NO_WEIGHTS
SMALL = 128 * 1024
"""Elements up to which a preactivation waits."""
SMALL_COPY, SMALL_COPY_WITHOUT_KERNEL = 16 * 1024, 64 * 1024
"""The same for one that would wait as a copy, since what follows may write into it: the copies take memory, and the
other way takes time, less with the kernel than without."""
GROUP = 256 * 1024
"""Elements that are reduced together: more take longer, since their copies no longer stay in the cache."""


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
    elif weights is None and not torch.is_grad_enabled():
        layout = _one_layout(tensors, unit_dim, rule)
        if layout is None:
            unit, point, *_ = _reduce_in_torch(tensors, unit_dim, rule)
        else:
            unit, point, *_ = kernel.reduce(tensors, layout, rule.margin, NO_WEIGHTS, locate=False)
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
    after: NextOp | None = None,
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
        after = after or NextOp.UNKNOWN
        if after is NextOp.WRITES and z._base is not None:
            after = NextOp.UNKNOWN  # a function that writes into a view may return nothing else: go on with a copy
        out, unit, point = _Tap.apply(z, rule, unit_dim, after)
    else:
        out = z
        unit, point, *_ = scan(z, rule, unit_dim, locate=False)
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
        unit, point, z, windows, ctx.shape = _reduce_in_torch(tensors, unit_dim, rule)
        ctx.dtype = tensors[0].dtype
        ctx.save_for_backward(z, windows, unit, point)
        return unit, point, pay((unit, point), weights, rule.margin)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        *reach_grads, paid_grad = grads
        nothing = (None, None, None)
        sides = ctx.weights[:2], ctx.weights[2:]
        if ctx.layout is not None:
            shape, stride = ctx.like
            calls, dtype = ctx.at[0].shape[1], torch.float64 if ctx.layout.double else torch.float32
            grads_of = torch.zeros(calls, *shape, dtype=dtype)
            if grads_of[0].stride() != stride:  # channels last
                grads_of = grads_of.as_strided(grads_of.shape, (shape.numel(), *stride))
            if torch.is_grad_enabled():  # the gradient, linear in what comes in, has a graph
                whole = [
                    with_pay(at >= 0, grad, paid_grad, pair)
                    for at, grad, pair in zip(ctx.at, reach_grads, sides, strict=True)
                ]
                for call in range(calls):
                    of_call = [None if grad is None else grad[:, call] for grad in whole]
                    add_entries(grads_of[call], entries_at(ctx.at, call, shape, ctx.unit_dim), of_call, ctx.unit_dim)
                return *nothing, *grads_of
            rows = grads_of.unbind()
            kernel.spread(rows, ctx.layout, ctx.at, reach_grads, paid_grad, ctx.weights)
            return *nothing, *rows
        z, windows, *reaches = ctx.saved_tensors
        reaches = [reach.detach() for reach in reaches]
        calls, units, batch, *_ = ctx.shape
        unit_grad, point_grad = (
            with_pay(torch.lt(reach, ctx.rule.margin, out=torch.empty_like(reach)), grad, paid_grad, pair)
            for reach, grad, pair in zip(reaches, reach_grads, sides, strict=True)
        )
        unit, point = reaches
        grad = torch.zeros_like(z)
        spread = point.shape[2] != z.shape[2]
        if point_grad is not None and not spread:
            route(grad, z, point, point_grad, 1, ctx.rule.ties)
        elif point_grad is not None:
            # A sample's slice is spread over units and positions: lay each out as one row.
            rows = z.view(calls, units, batch, -1).transpose(1, 2).flatten(2)
            row_grad = torch.zeros_like(rows)
            route(row_grad, rows, point, point_grad, 2, ctx.rule.ties)
            grad.view(calls, units, batch, -1).add_(row_grad.view(calls, batch, units, -1).transpose(1, 2))
        if unit_grad is not None and ctx.rule.ties is Ties.SINGLE and windows is not None:
            route_to_first(grad, z, windows, unit, unit_grad)
        elif unit_grad is not None:
            route(grad, z, unit, unit_grad, 2, ctx.rule.ties)
        stacked = grad.view(ctx.shape).movedim(1, ctx.unit_dim + 1)
        return *nothing, *stacked.to(ctx.dtype).contiguous().unbind()


def _reduce_in_torch(
    tensors: Sequence[Tensor], unit_dim: int, rule: Rule
) -> tuple[Tensor, Tensor, Tensor, Tensor | None, torch.Size]:
    """Unit reach and point reach of L tensors of one shape, and what a backward pass looks for them in.

    That is: the numbers (L, C, N * S), their windows if there are any, and the shape (L, C, N, *space).
    """
    stacked = torch.stack(list(tensors))
    by_unit = stacked.to(record_dtype(stacked.dtype)).movedim(unit_dim + 1, 1)
    # Both reductions run over long rows, whatever the width.
    z = by_unit.flatten(2).contiguous()
    calls, units, places = z.shape
    batch = by_unit.shape[2]
    windows = window_extrema(z) if places >= LONG else None
    unit, point = z.new_empty(2, calls, units), z.new_empty(2, calls, places)
    for side, extreme in enumerate((torch.amax, torch.amin)):
        extreme_over(extreme, z if windows is None else windows[side], 2, unit[side])
        extreme_over(extreme, z, 1, point[side])
    unit[1].neg_(), point[1].neg_()
    if places != batch and rule.point is PointMode.SAMPLE:
        point = point.view(2, calls, batch, -1).amax(3)
    return unit, point, z, windows, by_unit.shape


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


# Large preactivations: an identity in the graph --------------------------------------------------------------------


class _Tap(torch.autograd.Function):
    """z -> z, unit reach (2, C), point reach (2, P).

    Keeps indices only, and not as saved tensors: a checkpointed region that is run again without it would miss them.
    """

    @staticmethod
    def forward(ctx: Any, z: Tensor, rule: Rule, unit_dim: int, after: NextOp) -> tuple[Tensor, Tensor, Tensor]:
        alone()  # asked here, since a backward pass is no place to run another
        ctx.set_materialize_grads(False)
        ctx.rule, ctx.unit_dim, ctx.like = rule, unit_dim, (z.shape, z.dtype, z.device)
        unit, point, ctx.entries, ctx.at = scan(z, rule, unit_dim)
        if after is NextOp.WRITES:
            ctx.mark_dirty(z)
            return z, unit, point
        return (z.view_as(z) if after is NextOp.READS else z.clone()), unit, point

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        through, *reach_grads = grads
        shape, dtype, device = ctx.like
        graph = torch.is_grad_enabled()  # of the gradient, which is linear in what comes in
        if through is None:
            grad = torch.zeros(shape, dtype=dtype, device=device)
        else:
            # Somebody else may hold it: a residual sum hands the same gradient to both its terms.
            grad = through if not graph and holders(through) == alone() else through.clone()
        entries = ctx.entries
        if ctx.at is not None:
            layout = None if graph else kernel.layout_of(grad, ctx.unit_dim, ctx.rule)
            if layout is not None:
                reaches = [None if reach is None else reach.unsqueeze(1) for reach in reach_grads]
                kernel.spread([grad], layout, ctx.at, reaches, None, NO_WEIGHTS)
                return grad, None, None, None
            entries = entries_at(ctx.at, 0, shape, ctx.unit_dim)
        add_entries(grad, entries, reach_grads, ctx.unit_dim)
        return grad, None, None, None
