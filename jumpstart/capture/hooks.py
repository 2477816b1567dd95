"""The hooks that Jumpstart attaches to a model: small picklable objects that report its calls to a recorder.

A hook holds its recorder by a weak reference. Copies and pickles of a hook are dead: they hold nothing and do nothing.
A deep copy or a pickle of the model has dead hooks, which are removed when a recorder is attached to that model.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.compiler import is_compiling

from jumpstart.capture.targets import Target, first_tensor
from jumpstart.extrema.torch_internals import drop_forward_hook, forward_hooks, version_of

Owner = TypeVar("Owner")


class PassRecorder(Protocol):
    """The recorder of forward passes, as the hooks use it.

    Attributes:
        active: Whether a forward pass is running.
        grad: Whether gradients were enabled when the pass began.
        small: Elements up to which a preactivation is kept and reduced later.
        calls: The hooks of the pass that have read a preactivation, in the order of the calls.
        kept: The preactivations that are kept: position in ``calls``, tensor, and version where torch counts it.
    """

    active: bool
    grad: bool
    small: int
    calls: list[Read]
    kept: list[tuple[int, Tensor, int | None]]

    def begin(self, module: nn.Module | None = None) -> None:
        """Start a forward pass."""

    def end(self) -> None:
        """End the forward pass."""

    def learn(self, dim: int | None) -> None:
        """Store which dimension of the latest output holds the units; None if unknown."""

    def record(self, read: Read, z: Tensor) -> Tensor | None:
        """Record one preactivation. The result, if any, replaces it in the model."""


class Hook(Generic[Owner]):
    """A hook with a weak reference to its owner. Copies and pickles of it are dead."""

    def __init__(self, owner: Owner | None = None) -> None:
        self._owner = weakref.ref(owner) if owner is not None else None

    @property
    def owner(self) -> Owner | None:
        """The owner while it exists, else None."""
        return self._owner() if self._owner is not None else None

    def __reduce__(self) -> tuple[type[Hook[Owner]], tuple[()]]:
        return (Hook, ())

    def __deepcopy__(self, memo: dict[int, object]) -> Hook[Owner]:
        return Hook()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Do nothing: a plain hook is dead."""


class RecorderHook(Hook[PassRecorder]):
    """A hook that reports to a recorder."""


class Begin(RecorderHook):
    """Runs before the attached model and starts a forward pass."""

    def __call__(self, module: nn.Module, args: object) -> None:
        """Start the pass."""
        recorder = self.owner
        if recorder is not None:
            recorder.begin(module)


class End(RecorderHook):
    """Runs after the attached model, also when it fails, and ends the forward pass."""

    def __call__(self, module: nn.Module, args: object, output: object) -> None:
        """End the pass."""
        recorder = self.owner
        if recorder is not None:
            recorder.end()


class Feed(RecorderHook):
    """Runs after a module and records which output dimension holds the units (None if unknown)."""

    def __init__(self, recorder: PassRecorder, dim: int | None) -> None:
        super().__init__(recorder)
        self.dim = dim

    def __call__(self, module: nn.Module, args: object, output: object) -> None:
        """Record the dimension."""
        recorder = self.owner
        if recorder is not None:
            recorder.learn(self.dim)


class Read(RecorderHook):
    """Reads the preactivation of one module.

    Attributes:
        name: The path of the module.
        after: What the operation after the preactivation does with it.
        reads_input: Whether the preactivation is the input of the module, else it is the output.
        quick: Whether a small preactivation can be kept without a copy, because its unit dimension is settled and the
            next operation only reads it.
        unit_dim: The dimension of the units, learned from the module that ran before; None if unknown. The attributes
            from here on belong to :class:`~jumpstart.capture.unit_dims.UnitDims`.
        resolved: Whether ``unit_dim`` is final.
        varies: Whether the dimension differs between calls. ``unit_dim`` is then the dimension in the first call.
    """

    def __init__(self, recorder: PassRecorder, target: Target) -> None:
        super().__init__(recorder)
        self.name, self.after, self.reads_input = target.name, target.after, target.reads_input
        self.quick = False
        self.unit_dim: int | None = None
        self.resolved = self.varies = False


class ReadInput(Read):
    """Runs before a module whose input is a preactivation."""

    def __call__(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[object, ...], dict[str, object]] | None:
        """Record the preactivation."""
        recorder = self._owner() if self._owner is not None else None
        if recorder is None or not recorder.active:
            return None
        if args:
            z = args[0]
            # The short form of `record`. A 50 x 4 network makes 50 of these calls in a forward pass, and the full form
            # would be slow beside such small layers.
            if (
                self.quick
                and type(z) is Tensor
                and z.numel() <= recorder.small
                and (torch.is_grad_enabled() or not recorder.grad)
                and not is_compiling()
                and not z.is_inference()
                and not z.is_nested
            ):
                recorder.kept.append((len(recorder.calls), z, version_of(z)))
                recorder.calls.append(self)
                return None
            new = recorder.record(self, z if isinstance(z, Tensor) else first_tensor(z, self.name))
            return None if new is None else ((new, *args[1:]), kwargs)
        key = next(iter(kwargs))
        new = recorder.record(self, first_tensor(kwargs[key], self.name))
        return None if new is None else (args, {**kwargs, key: new})


class ReadOutput(Read):
    """Runs after a module whose output is a preactivation."""

    def __call__(self, module: nn.Module, args: object, output: object) -> object:
        """Record the preactivation."""
        recorder = self.owner
        if recorder is None or not recorder.active:
            return None
        z = first_tensor(output, self.name)
        new = recorder.record(self, z)
        return new if new is None or output is z else _replaced(output, z, new)


def _replaced(output: Any, old: Tensor, new: Tensor) -> object:
    """A dictionary, tuple or list with one tensor replaced."""
    if isinstance(output, dict):
        return type(output)((key, new if value is old else value) for key, value in output.items())
    items = [new if value is old else value for value in output]
    return type(output)(*items) if hasattr(output, "_fields") else type(output)(items)


def attached(model: nn.Module) -> PassRecorder | None:
    """The recorder that is attached to ``model`` or to a part of it, or None."""
    return next((hook.owner for _, hook in recorder_hooks(model) if hook.owner is not None), None)


def recorder_hooks(model: nn.Module) -> Iterator[tuple[nn.Module, RecorderHook]]:
    """The hooks of recorders on all modules of a model, each with its module. Some may be dead."""
    for module in model.modules():
        for _, _, hook in forward_hooks(module):
            if isinstance(hook, RecorderHook):
                yield module, hook


def clear_dead(model: nn.Module) -> None:
    """Remove the dead hooks, which a deep copy or a pickle of an attached model has, from all modules."""
    for module in model.modules():
        for _, key, hook in forward_hooks(module):
            if isinstance(hook, Hook) and hook.owner is None:
                drop_forward_hook(module, key)
