"""Running a model without leaving a trace: modes, buffers, gradients, hooks and random generators are restored."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import nn


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Give modes, buffers, gradients and all random generators back as they were.

    Args:
        model: The one that is run inside.
    """
    modes = [(module, module.training) for module in model.modules()]
    buffers = [
        (module, name, buffer, buffer.detach().clone())
        for module in model.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    gradients = [(parameter, parameter.grad) for parameter in model.parameters()]
    for parameter, _ in gradients:
        parameter.grad = None
    with _random_state():
        try:
            yield
        finally:
            for module, training in modes:
                module.training = training
            with torch.no_grad():
                for module, name, buffer, before in buffers:
                    buffer.copy_(before)
                    module._buffers[name] = buffer
            for parameter, gradient in gradients:
                parameter.grad = gradient


@contextmanager
def _random_state() -> Iterator[None]:
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
def undisturbed(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Evaluation mode without a graph; nothing is different afterwards."""
    modes = {module: module.training for module in model.modules()}
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(torch.random.fork_rng([device] if device.type == "cuda" else []))
        if any(getattr(module, "_compiled_call_impl", None) is not None for module in modes):
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(_without_our_hooks(model))
        stack.callback(_set_modes, modes)
        for module in modes:
            module.training = False
        yield


def _set_modes(modes: dict[nn.Module, bool]) -> None:
    for module, mode in modes.items():
        module.training = mode


@contextmanager
def _without_our_hooks(model: nn.Module) -> Iterator[None]:
    """Whoever records or counts passes of the model shall not see those over the grid."""
    package = f"{__name__.partition('.')[0]}."
    before = [
        (table, dict(table))
        for module in model.modules()
        for table in (module._forward_pre_hooks, module._forward_hooks)
        if any(type(hook).__module__.startswith(package) for hook in table.values())
    ]
    try:
        for table, hooks in before:
            for key, hook in hooks.items():
                if type(hook).__module__.startswith(package):
                    del table[key]
        yield
    finally:
        for table, hooks in before:
            table.clear()
            table.update(hooks)
