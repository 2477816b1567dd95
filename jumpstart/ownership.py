"""Whether a gradient may be written into: the one place where torch's private reference counts are asked.

Without them (another release of torch) the answer is always no, and gradients are copied.
"""

from __future__ import annotations

import functools
import sys
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def holders(grad: Tensor) -> tuple[int, ...] | None:
    """Who holds a gradient: references to the tensor, its storage and its Python object. None if torch won't tell."""
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
