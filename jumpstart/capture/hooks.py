"""The hooks that Jumpstart attaches to a model: small objects that report its calls to a recorder.

A hook holds its recorder by a weak reference. Copies and pickles of the model have no hooks.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.compiler import is_compiling

from jumpstart.capture.copies import Hook, HookHandle, remove_dead
from jumpstart.capture.targets import Target
from jumpstart.extrema.torch_internals import HANDLES, HOOK_TABLES, forward_hooks, version_of


class PassRecorder(Protocol):
    """The recorder of forward passes, as the hooks use it.

    Attributes:
        root: A weak reference to the model.
        active: Whether a forward pass is running.
        grad: Whether gradients were enabled when the pass began.
        small: Elements up to which a preactivation is kept and reduced later.
        calls: The hooks of the pass that have read a preactivation, in the order of the calls.
        kept: The preactivations that are kept: position in ``calls``, tensor, and version where torch counts it.
        hooks_seen: ``HANDLES.next_id`` when the hooks that read were last moved behind all others.
    """

    root: Callable[[], nn.Module | None]
    active: bool
    grad: bool
    small: int
    calls: list[Read]
    kept: list[tuple[int, Tensor, int | None]]
    hooks_seen: object

    def begin(self, module: nn.Module | None = None) -> object:
        """Begin a call of the model."""

    def end(self) -> None:
        """End the forward pass."""

    def learn(self, dim: int | None, shape: torch.Size | None, rank: int | None) -> None:
        """Store which dimension of the latest output holds the units, its shape and its rank; None if unknown.

        Dimension 0 says that the output is that of a single sample without a batch.
        """

    def record(self, read: Read, value: object, module: nn.Module) -> object:
        """Record one preactivation, the value or a part of it. The result, if any, replaces the value in the model."""

    def note_outside(self, read: Read) -> None:
        """Note that a captured module ran outside of a forward pass."""

    def note_sizes(self, sizes: Iterable[torch.Size]) -> None:
        """Note the shapes of tensors that are time-major."""


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
    """Runs after a module and records which output dimension holds the units (None if unknown).

    A module whose output has a fixed number of dimensions, its ``rank``, has worked on a single sample if the output
    has fewer.
    """

    def __init__(self, recorder: PassRecorder, dim: int | None, rank: int | None) -> None:
        super().__init__(recorder)
        self.dim, self.rank = dim, rank

    def __call__(self, module: nn.Module, args: object, output: object) -> None:
        """Record the dimension."""
        recorder = self.owner
        if recorder is not None:
            shape = output.shape if isinstance(output, Tensor) and not output.is_nested else None
            single = self.rank is not None and shape is not None and len(shape) < self.rank
            recorder.learn(0 if single else self.dim, shape, self.rank)


class Sizes(RecorderHook):
    """Runs after a time-major module and reports the shapes of its inputs and of its first output."""

    def __call__(self, module: nn.Module, args: tuple[object, ...], output: object) -> None:
        """Report the shapes."""
        recorder = self.owner
        if recorder is not None and recorder.active:
            first = output[:1] if isinstance(output, tuple | list) else (output,)
            recorder.note_sizes([part.shape for part in (*args, *first) if isinstance(part, Tensor)])


class Read(RecorderHook):
    """Reads the preactivation of one module.

    Attributes:
        name: The path of the module.
        after: What the operation after the preactivation does with it.
        reads_input: Whether the preactivation is the input of the module, else it is the output.
        quick: Whether a small preactivation can be kept without a copy, because its dimensions are settled and the next
            operation only reads it.
        batch_first: Whether dimension 0 holds the samples, and not dimension 1; None while that is not settled. Belongs
            to :class:`~jumpstart.capture.sample_dims.SampleDims`.
        unit_dim: The dimension of the units, learned from the module that ran before; None if unknown. The attributes
            from here on belong to :class:`~jumpstart.capture.unit_dims.UnitDims`.
        resolved: Whether ``unit_dim`` is final.
        varies: Whether the dimension differs between calls. ``unit_dim`` is then the dimension in the first call.
        rank: The dimensions of a batch of preactivations; None if other numbers of dimensions are possible.
    """

    def __init__(self, recorder: PassRecorder, target: Target) -> None:
        super().__init__(recorder)
        self.name, self.after, self.reads_input = target.name, target.after, target.reads_input
        self.quick = False
        self.batch_first: bool | None = True
        self.unit_dim: int | None = None
        self.resolved = self.varies = False
        self.rank: int | None = None


class ReadInput(Read):
    """Runs before a module whose input is a preactivation."""

    def __call__(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[object, ...], dict[str, object]] | None:
        """Record the preactivation."""
        recorder = self._owner() if self._owner is not None else None
        if recorder is None or not recorder.active:
            if recorder is not None:
                recorder.note_outside(self)
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
                and HANDLES.next_id == recorder.hooks_seen
                and not z.is_inference()
                and not z.is_nested
            ):
                recorder.kept.append((len(recorder.calls), z, version_of(z)))
                recorder.calls.append(self)
                return None
            new = recorder.record(self, z, module)
            return None if new is None else ((new, *args[1:]), kwargs)
        key = next(iter(kwargs), "")
        new = recorder.record(self, kwargs.get(key), module)
        return None if new is None else (args, {**kwargs, key: new})


class ReadOutput(Read):
    """Runs after a module whose output is a preactivation."""

    def __call__(self, module: nn.Module, args: object, output: object) -> object:
        """Record the preactivation."""
        recorder = self.owner
        if recorder is not None and recorder.active:
            return recorder.record(self, output, module)
        if recorder is not None:
            recorder.note_outside(self)
        return None


def replaced(value: Any, old: Tensor, new: Tensor) -> object:
    """A tensor, or a dictionary, tuple or list with one tensor, in which that tensor is replaced.

    Args:
        value: The input or output of a module.
        old: The tensor.
        new: What replaces it.
    """
    if value is old:
        return new
    if isinstance(value, dict):
        return type(value)((key, new if part is old else part) for key, part in value.items())
    items = [new if part is old else part for part in value]
    return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)


def attached(model: nn.Module) -> PassRecorder | None:
    """The recorder that is attached to ``model`` or to a part of it, or None."""
    return next((hook.owner for _, hook in recorder_hooks(model) if hook.owner is not None), None)


def recorder_hooks(model: nn.Module) -> Iterator[tuple[nn.Module, RecorderHook]]:
    """The hooks of recorders on all modules of a model, each with its module. Some may be dead.

    Hooks of another model that only shares modules without parameters, such as one activation, are left out.
    """
    for module in model.modules():
        for _, _, hook in forward_hooks(module):
            if isinstance(hook, RecorderHook):
                root = hook.owner.root() if hook.owner is not None else None
                if root is None or have_common_parts(root, model):
                    yield module, hook


def have_common_parts(one: nn.Module, other: nn.Module) -> bool:
    """Whether two modules have a parameter in common, or one of them contains the other."""
    parameters = {id(parameter) for parameter in one.parameters()}
    return (
        any(id(parameter) in parameters for parameter in other.parameters())
        or any(module is other for module in one.modules())
        or any(module is one for module in other.modules())
    )


def clear_dead(model: nn.Module) -> None:
    """Remove the dead hooks, which an unusual kind of copy may have, from all modules."""
    for module in model.modules():
        remove_dead(module)


def before_module(module: nn.Module, hook: Hook[Any], *, first: bool = False, with_kwargs: bool = False) -> HookHandle:
    """Register a hook that runs before a module.

    Args:
        module: The module.
        hook: The hook.
        first: Whether it runs before the other hooks.
        with_kwargs: Whether it takes the keyword arguments of the module.
    """
    return HookHandle(module, hook, module.register_forward_pre_hook(hook, prepend=first, with_kwargs=with_kwargs))


def after_module(module: nn.Module, hook: Hook[Any], *, always: bool = False) -> HookHandle:
    """Register a hook that runs after a module.

    Args:
        module: The module.
        hook: The hook.
        always: Whether it also runs after an error.
    """
    return HookHandle(module, hook, module.register_forward_hook(hook, always_call=always))


def read_last(module: nn.Module) -> None:
    """Move the hook that reads a preactivation behind the hooks of others, which may replace the tensor it reads."""
    for name in HOOK_TABLES[:2]:
        table: OrderedDict[int, object] = vars(module).get(name, OrderedDict())
        if not is_read_last(table):
            start = False
            for key, hook in list(table.items()):
                start = start or isinstance(hook, Read)
                if start and isinstance(hook, Hook):
                    table.move_to_end(key)


def is_read_last(table: Mapping[int, object]) -> bool:
    """Whether only hooks of Jumpstart come after the one in a table that reads a preactivation."""
    started = False
    for hook in table.values():
        if isinstance(hook, Read):
            started = True
        elif started and not isinstance(hook, Hook):
            return False
    return True
