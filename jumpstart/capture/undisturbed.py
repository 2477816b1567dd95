"""Running a model and restoring its state afterwards, in two variants.

:func:`restored` is for any use of the model, with backward passes and in its own mode: it copies the buffers, which
takes memory. :func:`evaluating` is for frequent passes in evaluation mode during training: it copies nothing, and
hides the passes from attached regularizers and monitors.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import nn

from jumpstart.capture.copies import Hook
from jumpstart.extrema.torch_internals import forward_hooks, is_compiled_in_place


@contextmanager
def restored(model: nn.Module) -> Iterator[None]:
    """Restore modes, buffers, gradients and all random generators after the block, in which gradients start as None.

    Args:
        model: The model that is run in the block.

    Example:
        >>> model = nn.BatchNorm1d(2)
        >>> with restored(model):
        ...     _ = model(torch.randn(4, 2))
        >>> int(model.num_batches_tracked)
        0
    """
    with _restored_modes(model), _restored_buffers(model), _restored_gradients(model), restored_generators():
        yield


@contextmanager
def evaluating(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Run a model in evaluation mode, without a graph and without Jumpstart's hooks, and restore modes and generators.

    Args:
        model: The model that is run in the block.
        device: The device of the model, whose random generator is restored along with that of the CPU.

    Example:
        >>> model = nn.Dropout()
        >>> with evaluating(model, torch.device("cpu")):
        ...     model(torch.ones(3))
        tensor([1., 1., 1.])
        >>> model.training
        True
    """
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(torch.random.fork_rng([device] if device.type == "cuda" else []))
        if any(is_compiled_in_place(module) for module in model.modules()):
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(_without_our_hooks(model))
        stack.enter_context(_restored_modes(model))
        for module in model.modules():
            module.training = False
        yield


@contextmanager
def _restored_modes(model: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def _restored_buffers(model: nn.Module) -> Iterator[None]:
    buffers = [
        (module, name, buffer, buffer.detach().clone())
        for module in model.modules()
        for name, buffer in module.named_buffers(recurse=False, remove_duplicate=False)
    ]
    try:
        yield
    finally:
        with torch.no_grad():
            for module, name, buffer, before in buffers:
                buffer.copy_(before)
                setattr(module, name, buffer)


@contextmanager
def _restored_gradients(model: nn.Module) -> Iterator[None]:
    gradients = [(parameter, parameter.grad) for parameter in model.parameters()]
    for parameter, _ in gradients:
        parameter.grad = None
    try:
        yield
    finally:
        for parameter, gradient in gradients:
            parameter.grad = gradient


@contextmanager
def restored_generators() -> Iterator[None]:
    """Restore the random generators of Python, of NumPy if it is imported, and of torch on all devices in use."""
    numpy = sys.modules.get("numpy")
    python, arrays = random.getstate(), numpy.random.get_state() if numpy else None
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            random.setstate(python)
            if numpy:
                numpy.random.set_state(arrays)


@contextmanager
def _without_our_hooks(model: nn.Module) -> Iterator[None]:
    """Hide the passes in the block from attached regularizers and monitors, which would record or count them."""
    before = {
        id(table): (table, dict(table))
        for module in model.modules()
        for table, _, hook in forward_hooks(module)
        if isinstance(hook, Hook)
    }
    try:
        for table, hooks in before.values():
            for key, hook in hooks.items():
                if isinstance(hook, Hook):
                    del table[key]
        yield
    finally:
        for table, hooks in before.values():
            table.clear()
            table.update(hooks)
