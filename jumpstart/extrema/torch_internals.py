"""All uses of torch's private API, one function each, with a fallback for releases of torch that lack it."""

from __future__ import annotations

import functools
import operator
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.autograd.function import FunctionCtx
from torch.utils import checkpoint
from torch.utils.hooks import RemovableHandle

# Tensors -----------------------------------------------------------------------------------------------------------

version_of: Callable[[Tensor], int] = operator.attrgetter("_version") if hasattr(Tensor, "_version") else lambda z: 0
"""How many times a tensor has been written into. An ``attrgetter``, because it is called for every captured layer and
costs no Python frame. Fallback: 0, so that a preactivation that is overwritten later is not noticed."""


def is_view(z: Tensor) -> bool:
    """Whether a tensor is a view of another one. Fallback: True, which costs a copy."""
    return getattr(z, "_base", z) is not None


def holders(grad: Tensor) -> tuple[int, ...] | None:
    """References to a gradient: to the tensor, to its storage and to its Python object.

    Fallback: None, so that the gradient is copied before it is written into.
    """
    try:
        storage = torch._C._storage_Use_Count(grad.untyped_storage()._cdata)
        tensor = grad._use_count()  # type: ignore[attr-defined]
        return tensor, storage, sys.getrefcount(grad), int(grad._is_view())
    except AttributeError:
        return None


@functools.cache
def sole_holder() -> tuple[int, ...] | None:
    """What :func:`holders` returns in the backward pass of a tap whose gradient is referenced nowhere else."""
    counted: list[tuple[int, ...] | None] = []

    class Probe(torch.autograd.Function):
        @staticmethod
        def forward(ctx: FunctionCtx, z: Tensor) -> tuple[Tensor, Tensor]:
            return z.view_as(z), z.clone()

        @staticmethod
        def backward(ctx: FunctionCtx, *grads: Tensor) -> Tensor:
            through, *_ = grads
            counted.append(holders(through))
            return through

    with torch.inference_mode(False), torch.enable_grad():
        z = torch.zeros((), requires_grad=True, device="cpu")
        out, _ = Probe.apply(z)
        torch.autograd.backward(out.neg(), inputs=[z])
    return counted.pop()


# What is running ---------------------------------------------------------------------------------------------------


def in_backward() -> bool:
    """Whether a backward pass is running in this thread. Fallback: False."""
    try:
        return bool(torch._C._current_graph_task_id() != -1)
    except AttributeError:
        return False


def traced_in_backward() -> bool:
    """:func:`in_backward` when the caller was traced by ``torch.compile``. The graph keeps that answer."""
    return in_backward()


# This is what torch.compiler.assume_constant_result does, but for the import of the compiler, which takes a second.
traced_in_backward._dynamo_marked_constant = True  # type: ignore[attr-defined]


def transformed() -> bool:
    """Whether a transform of ``torch.func`` (grad, vmap, ...) or forward-mode AD is running, or ``torch.compile``.

    All of them need operations that torch itself can differentiate and batch. Fallback for the first two: False; torch
    then raises its own error at Jumpstart's autograd functions.
    """
    if torch.compiler.is_compiling() or getattr(forward_ad, "_current_level", -1) >= 0:
        return True
    try:
        return bool(torch._C._are_functorch_transforms_active())
    except AttributeError:
        return False


def check_values(tensor: Tensor) -> None:
    """Refuse to count a pass of ``torch.export`` or ``torch.func``, which has no numbers.

    Args:
        tensor: A preactivation or a record of the pass. Fallback for ``torch.func``: any has numbers.

    Raises:
        RuntimeError: If it has none that can be read now.
    """
    if not _has_values(tensor):
        raise RuntimeError(
            "a forward pass under torch.export or torch.func.vmap has no numbers that can be counted. Leave such "
            "passes out, for example with `with monitor.pause():`."
        )


def _has_values(tensor: Tensor) -> bool:
    if type(tensor).__name__ == "FakeTensor":
        return False
    try:
        return not torch._C._functorch.is_functorch_wrapped_tensor(tensor)
    except AttributeError:
        return True


def in_jit_trace() -> bool:
    """Whether ``torch.jit.trace`` is tracing. Fallback: False, so that the trace keeps the loss as a constant."""
    try:
        return torch._C._get_tracing_state() is not None
    except AttributeError:
        return False


def in_reentrant_checkpoint() -> bool:
    """Whether the caller runs inside ``torch.utils.checkpoint.checkpoint(..., use_reentrant=True)``.

    Fallback: False, so that a loss without a gradient is not noticed.
    """
    try:
        code = checkpoint.CheckpointFunction.forward.__code__
    except AttributeError:
        return False
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_code is code:
            return True
        frame = frame.f_back
    return False


# Modules -----------------------------------------------------------------------------------------------------------


def callers() -> Iterator[nn.Module]:
    """The modules of which a method is running in this thread, the innermost first; one item per frame."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_code.co_varnames[:1] == ("self",) and isinstance(caller := frame.f_locals.get("self"), nn.Module):
            yield caller
        frame = frame.f_back


def running_calls(module: nn.Module, thread: int | None = None) -> int:
    """How many calls of a module are running in a thread; None: in this one. Fallback: a number no model reaches."""
    code = getattr(getattr(nn.Module, "_call_impl", None), "__code__", None)
    frame = sys._getframe() if thread is None else sys._current_frames().get(thread)
    count = 0
    while frame is not None:
        count += frame.f_code is code and frame.f_locals.get("self") is module
        frame = frame.f_back
    return count if code is not None else sys.maxsize


def is_replica(module: nn.Module) -> bool:
    """Whether a module is one of the copies that ``torch.nn.DataParallel`` runs in threads. Fallback: False."""
    return bool(getattr(module, "_is_replica", False))


def is_compiled_in_place(module: nn.Module) -> bool:
    """Whether ``module.compile()`` was called. Fallback: False."""
    return getattr(module, "_compiled_call_impl", None) is not None


HOOK_TABLES = (
    "_forward_pre_hooks",
    "_forward_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
)
"""The attributes of a module that hold its forward hooks: two tables of hooks, then their options by the same keys."""


def forward_hooks(module: nn.Module) -> Iterator[tuple[dict[int, object], int, object]]:
    """The forward hooks and pre-hooks of one module: the table, its key and the hook.

    Fallback: none, so that copies of hooks stay on copies of a model, where they do nothing.
    """
    for name in HOOK_TABLES[:2]:
        table = getattr(module, name, {})
        for key, hook in list(table.items()):
            yield table, key, hook


def drop_forward_hook(module: nn.Module, key: int) -> None:
    """Remove a forward hook or pre-hook, for which the handle is gone, from all tables of its module."""
    for name in HOOK_TABLES:
        getattr(module, name, {}).pop(key, None)


class _NoCounter:
    @property
    def next_id(self) -> object:
        return object()


HANDLES: Any = RemovableHandle if hasattr(RemovableHandle, "next_id") else _NoCounter()
"""``HANDLES.next_id`` changes when a hook is registered anywhere. Fallback: at each look, which costs time."""
