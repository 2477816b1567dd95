"""The hot path: the extrema of every unit and every point, once per layer call.

A forward pass leaves one small record per layer call (:class:`~jumpstart.extrema.Extrema`). The loss, the status
metrics and the plots read that record; nothing else reads a preactivation. A record is made in one of two ways:

* A **small** preactivation is kept, as a tensor, until the record is read. Those of one shape are then reduced together
  by one autograd function (:class:`_Reduce`), so that a deep thin network costs a few calls instead of hundreds.
* A **large** one is reduced during the forward pass, by an identity function in the graph (:class:`_Tap`), which keeps
  the positions of the extrema only. Its backward pass adds a few entries to the gradient of the network.

Symbols: L layer calls, N samples, C units, S positions in space (or time), P points (N, or N * S by location).
Autograd functions are in this file, and in ``distributed.py`` for several processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from jumpstart.choices import Margins, PointMode, Ties
from jumpstart.extrema import kernel
from jumpstart.extrema.record import Extrema, margin_of
from jumpstart.extrema.routing import (
    LONG,
    Entries,
    add_entries,
    add_penalty_grad,
    entries_at,
    extreme_over,
    penalty_of,
    route,
    route_to_first,
    scan,
    window_extrema,
)
from jumpstart.extrema.rule import NextOp, Rule
from jumpstart.extrema.torch_internals import holders, is_view, sole_holder, transformed
from jumpstart.extrema.traceable import record_dtype, reduce_traceable

Weights: TypeAlias = kernel.Weights
Grads: TypeAlias = tuple[Tensor | None, ...]
NO_WEIGHTS = kernel.NO_WEIGHTS
SMALL = 128 * 1024
"""Elements up to which a preactivation is kept and reduced later."""
SMALL_COPY, SMALL_COPY_WITHOUT_KERNEL = 16 * 1024, 64 * 1024
"""The same for a preactivation that must be kept as a copy, because the next operation may write into it: the copies
take memory and time, and a tap takes less time with the kernel than without."""
GROUP = 256 * 1024
"""Elements that are reduced together: larger groups take longer, because their copies no longer fit into the cache."""


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
        weights: Weights of the hinges of units and points, positive and negative. The record then has a penalty, which
            costs less than one computed from the record.

    Returns:
        The record of the L calls.

    Example:
        >>> z = torch.tensor([[0.5, -0.5]], requires_grad=True)
        >>> extrema_of([z], ["layer"]).point_max.sum().backward()
        >>> z.grad
        tensor([[1., 0.]])
    """
    rule = rule or Rule()
    penalty = None
    if transformed():
        unit, point = reduce_traceable(torch.stack(tensors), rule, unit_dim)
    elif weights is None and not torch.is_grad_enabled():
        layout = _one_layout(tensors, unit_dim, rule)
        if layout is None:
            unit, point, *_ = _reduce_in_torch(tensors, unit_dim, rule)
        else:
            unit, point, *_ = kernel.reduce(tensors, layout, rule.margins, NO_WEIGHTS, locate=False)
    else:
        unit, point, penalty = _Reduce.apply(rule, unit_dim, weights or NO_WEIGHTS, *tensors)
    order = list(range(len(tensors))) if order is None else order
    penalty = None if weights is None else penalty
    return Extrema(tuple(names), tuple(order), unit, point, tensors[0].shape[0], penalty)


def tap(
    z: Tensor,
    name: str,
    order: int = 0,
    *,
    unit_dim: int = 1,
    rule: Rule | None = None,
    after: NextOp = NextOp.UNKNOWN,
) -> tuple[Tensor, Extrema]:
    """Reduce one large preactivation during the forward pass, without keeping it.

    Args:
        z: (N, C) or (N, C, *space) with the units in ``unit_dim``.
        name: The name of the call.
        order: Its position in the order of calls.
        unit_dim: The dimension of the units.
        rule: How extrema are taken.
        after: What the next operation does with the tensor.

    Returns:
        The tensor that must replace ``z`` in the network, with equal values, and the record.

    Example:
        >>> z = torch.tensor([[0.5, -0.25]], requires_grad=True)
        >>> out, record = tap(z, "layer")
        >>> (out.sum() + record.unit_max.sum()).backward()
        >>> z.grad
        tensor([[2., 2.]])
    """
    rule = rule or Rule()
    if z.requires_grad and torch.is_grad_enabled():
        if after is NextOp.WRITES and is_view(z):
            after = NextOp.UNKNOWN  # a function that writes into a view may return nothing else: return a copy
        out, unit, point = _Tap.apply(z, rule, unit_dim, after)
    else:
        out = z
        unit, point, *_ = scan(z, rule, unit_dim, locate=False)
    return out, Extrema((name,), (order,), unit.unsqueeze(1), point.unsqueeze(1), z.shape[0])


# Small preactivations: one function for all the calls of one shape ------------------------------------------------


class _ReduceContext(FunctionCtx):
    """The attributes of ``ctx`` in :class:`_Reduce`.

    With the kernel, ``at`` and ``like`` are set; without it, ``shape``, ``dtype`` and the saved tensors are.
    """

    rule: Rule
    unit_dim: int
    weights: Weights
    layout: kernel.Layout | None
    at: kernel.Places | None
    like: tuple[torch.Size, tuple[int, ...]]
    shape: torch.Size
    dtype: torch.dtype
    needs_input_grad: tuple[bool, ...]
    saved_tensors: tuple[Tensor, ...]


class _Reduce(torch.autograd.Function):
    """L tensors (N, C, *space) -> unit reach (2, L, C), point reach (2, L, P), penalty ()."""

    @staticmethod
    def forward(
        ctx: _ReduceContext, rule: Rule, unit_dim: int, weights: Weights, *tensors: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        ctx.rule, ctx.unit_dim, ctx.weights = rule, unit_dim, weights
        ctx.layout = _one_layout(tensors, unit_dim, rule)
        if ctx.layout is not None:
            locate = any(ctx.needs_input_grad)
            unit, point, penalty, ctx.at = kernel.reduce(tensors, ctx.layout, rule.margins, weights, locate=locate)
            ctx.like = tensors[0].shape, tensors[0].stride()
            return unit, point, penalty
        unit, point, z, windows, ctx.shape = _reduce_in_torch(tensors, unit_dim, rule)
        ctx.dtype = tensors[0].dtype
        ctx.save_for_backward(z, windows, unit, point)  # type: ignore[arg-type]  # None is stored as None
        return unit, point, penalty_of((unit, point), weights, rule.margins)

    @staticmethod
    def backward(ctx: _ReduceContext, *grads: Tensor | None) -> Grads:
        *reach_grads, penalty_grad = grads
        if ctx.layout is None:
            tensor_grads = _grads_in_torch(ctx, reach_grads, penalty_grad)
        elif torch.is_grad_enabled():
            tensor_grads = _grads_with_graph(ctx, reach_grads, penalty_grad)
        else:
            assert ctx.at is not None
            tensor_grads = _zeros_like_inputs(ctx).unbind()
            kernel.spread(tensor_grads, ctx.layout, ctx.at, reach_grads, penalty_grad, ctx.weights)
        return None, None, None, *tensor_grads


def _zeros_like_inputs(ctx: _ReduceContext) -> Tensor:
    """(L, *shape) zeros in the memory layout of the tensors that the kernel has reduced."""
    assert ctx.layout is not None
    assert ctx.at is not None
    shape, stride = ctx.like
    dtype = torch.float64 if ctx.layout.double else torch.float32
    zeros = ctx.at[0].new_zeros(ctx.at[0].shape[1], *shape, dtype=dtype)
    if zeros[0].stride() != stride:  # channels last
        zeros = zeros.as_strided(zeros.shape, (shape.numel(), *stride))
    return zeros


def _grads_with_graph(
    ctx: _ReduceContext, reach_grads: Sequence[Tensor | None], penalty_grad: Tensor | None
) -> tuple[Tensor, ...]:
    """The gradients of L tensors after the kernel, in operations that can be differentiated once more.

    They are linear in the incoming gradients, and depend on the preactivations through the positions only.
    """
    assert ctx.at is not None
    total = [
        add_penalty_grad(at >= 0, grad, penalty_grad, pair)
        for at, grad, pair in zip(ctx.at, reach_grads, (ctx.weights[:2], ctx.weights[2:]), strict=True)
    ]
    tensor_grads = _zeros_like_inputs(ctx)
    shape, _ = ctx.like
    for call in range(len(tensor_grads)):
        of_call = [None if grad is None else grad[:, call] for grad in total]
        add_entries(tensor_grads[call], entries_at(ctx.at, call, shape, ctx.unit_dim), of_call, ctx.unit_dim)
    return tuple(tensor_grads)


def _grads_in_torch(
    ctx: _ReduceContext, reach_grads: Sequence[Tensor | None], penalty_grad: Tensor | None
) -> tuple[Tensor, ...]:
    """The gradients of L tensors after the reduction in PyTorch."""
    z, windows, *reaches = ctx.saved_tensors
    unit, point = (reach.detach() for reach in reaches)
    unit_grad, point_grad = (
        add_penalty_grad(_short(reach, ctx.rule.margins), grad, penalty_grad, pair)
        for reach, grad, pair in zip((unit, point), reach_grads, (ctx.weights[:2], ctx.weights[2:]), strict=True)
    )
    grad = torch.zeros_like(z)
    if point_grad is not None:
        _route_points(grad, z, point, point_grad, ctx.shape, ctx.rule.ties)
    if unit_grad is not None and ctx.rule.ties is Ties.SINGLE and windows is not None:
        route_to_first(grad, z, windows, unit, unit_grad)
    elif unit_grad is not None:
        route(grad, z, unit, unit_grad, 2, ctx.rule.ties)
    stacked = grad.view(ctx.shape).movedim(1, ctx.unit_dim + 1)
    return stacked.to(ctx.dtype).contiguous().unbind()


def _short(reach: Tensor, margins: Margins) -> Tensor:
    """One where a reach is short of the margin of its side, else zero."""
    ones = torch.empty_like(reach)  # a comparison into floats is faster on a CPU than one into booleans
    return torch.lt(reach, margin_of(reach, margins), out=ones)


def _route_points(grad: Tensor, z: Tensor, reach: Tensor, reach_grad: Tensor, shape: torch.Size, ties: Ties) -> None:
    """Add the gradients of the point reach (2, L, P) to ``grad`` (L, C, N * S), where ``z`` attains it."""
    if reach.shape[2] == z.shape[2]:
        route(grad, z, reach, reach_grad, 1, ties)
        return
    # The slice of a sample extends over units and positions: lay each slice out as one row.
    calls, units, batch, *_ = shape
    rows = z.view(calls, units, batch, -1).transpose(1, 2).flatten(2)
    row_grad = torch.zeros_like(rows)
    route(row_grad, rows, reach, reach_grad, 2, ties)
    grad.view(calls, units, batch, -1).add_(row_grad.view(calls, batch, units, -1).transpose(1, 2))


def _reduce_in_torch(
    tensors: Sequence[Tensor], unit_dim: int, rule: Rule
) -> tuple[Tensor, Tensor, Tensor, Tensor | None, torch.Size]:
    """Unit reach and point reach of L tensors of one shape, and what a backward pass needs to locate the extrema.

    The backward pass needs the preactivations (L, C, N * S), the extrema of their windows if rows are long, and the
    shape (L, C, N, *space).
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
    """The layout of tensors of one shape and dtype, if all share it and the kernel can read it; else None."""
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


class _TapContext(FunctionCtx):
    """The attributes of ``ctx`` in :class:`_Tap`."""

    rule: Rule
    unit_dim: int
    like: tuple[torch.Size, torch.dtype, torch.device]
    entries: list[Entries]
    at: kernel.Places | None


class _Tap(torch.autograd.Function):
    """z -> z, unit reach (2, C), point reach (2, P).

    Keeps positions only, and not as saved tensors: a checkpointed region that is recomputed without the tap would
    otherwise miss them.
    """

    @staticmethod
    def forward(ctx: _TapContext, z: Tensor, rule: Rule, unit_dim: int, after: NextOp) -> tuple[Tensor, Tensor, Tensor]:
        sole_holder()  # cached here, because it runs a backward pass, which must not be nested in another
        ctx.set_materialize_grads(False)
        ctx.rule, ctx.unit_dim, ctx.like = rule, unit_dim, (z.shape, z.dtype, z.device)
        unit, point, ctx.entries, ctx.at = scan(z, rule, unit_dim)
        if after is NextOp.WRITES:
            ctx.mark_dirty(z)
            return z, unit, point
        return (z.view_as(z) if after is NextOp.READS else z.clone()), unit, point

    @staticmethod
    def backward(ctx: _TapContext, *grads: Tensor | None) -> Grads:
        through, *reach_grads = grads
        shape, dtype, device = ctx.like
        graph = torch.is_grad_enabled()  # the gradient, linear in the incoming ones, is differentiated once more
        if through is None:
            grad = torch.zeros(shape, dtype=dtype, device=device)
        else:
            # Another holder may need the gradient unchanged: a residual sum passes the same one to both its terms.
            held = holders(through)
            grad = through if held and held == sole_holder() and not graph else through.clone()
        entries = ctx.entries
        if ctx.at is not None:
            layout = None if graph else kernel.layout_of(grad, ctx.unit_dim, ctx.rule)
            if layout is not None:
                kernel.spread([grad], layout, ctx.at, reach_grads, None, NO_WEIGHTS)
                return grad, None, None, None
            entries = entries_at(ctx.at, 0, shape, ctx.unit_dim)
        add_entries(grad, entries, reach_grads, ctx.unit_dim)
        return grad, None, None, None
