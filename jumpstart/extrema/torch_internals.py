"""The only places where torch's private parts are touched: one function each, and what holds where they are missing."""

from __future__ import annotations

import functools
import sys
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def holders(grad: Tensor) -> tuple[int, ...] | None:
    """Who holds a gradient: references to the tensor, to its storage and to its Python object.

    None if torch won't tell: the gradient is then copied before it is written into.
    """
    try:
        storage = torch._C._storage_Use_Count(grad.untyped_storage()._cdata)
        tensor = grad._use_count()  # type: ignore[attr-defined]
        return tensor, storage, sys.getrefcount(grad), int(grad._is_view())
    except AttributeError:
        return None


@functools.cache
def alone() -> tuple[int, ...]:
    """What :func:`holders` finds in the backward pass of a tap whose gradient nobody else holds."""
    found: list[tuple[int, ...] | None] = []

    class Probe(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, z: Tensor) -> tuple[Tensor, Tensor]:
            return z.view_as(z), z.amax()

        @staticmethod
        @once_differentiable
        def backward(ctx: Any, *grads: Tensor | None) -> Tensor | None:
            through, *_ = grads
            found.append(None if through is None else holders(through))
            return through

    with torch.inference_mode(False), torch.enable_grad():
        z = torch.zeros(2, requires_grad=True)
        torch.autograd.backward(Probe.apply(z)[0].relu().sum(), inputs=[z])
    return found[0] or (-1,)


def in_backward() -> bool:
    """Whether a backward pass is running in this thread. Where torch won't tell, none is."""
    try:
        return bool(torch._C._current_graph_task_id() != -1)
    except AttributeError:
        return False


def transformed() -> bool:
    """Whether a transform of ``torch.func`` (grad, vmap, ...) is running, or ``torch.compile`` is tracing.

    Both need plain differentiable operations. Where torch won't tell of the first, functions of ours raise an error of
    torch's own inside a transform.
    """
    if torch.compiler.is_compiling():
        return True
    try:
        return bool(torch._C._are_functorch_transforms_active())
    except AttributeError:
        return False
