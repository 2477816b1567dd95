"""The recorder of an attached model: the preactivations of its latest forward pass, and the records made of them."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Protocol, TypeAlias

import torch
from torch import Tensor, nn
from torch.compiler import is_compiling

from jumpstart.capture import refusals
from jumpstart.capture.copies import HookHandle
from jumpstart.capture.hooks import (
    Begin,
    End,
    Read,
    ReadInput,
    ReadOutput,
    after_module,
    before_module,
    clear_dead,
    have_common_parts,
    is_read_last,
    read_last,
    replaced,
)
from jumpstart.capture.passes import Passes
from jumpstart.capture.sample_dims import SampleDims
from jumpstart.capture.targets import Target, first_tensor
from jumpstart.capture.unit_dims import UnitDims
from jumpstart.choices import PointMode
from jumpstart.extrema import kernel
from jumpstart.extrema.record import Extrema, count_slices
from jumpstart.extrema.reduction import GROUP, SMALL, SMALL_COPY, SMALL_COPY_WITHOUT_KERNEL, Weights, extrema_of, tap
from jumpstart.extrema.rule import NextOp, Rule
from jumpstart.extrema.torch_internals import (
    HANDLES,
    callers,
    in_backward,
    in_jit_trace,
    is_replica,
    traced_in_backward,
    transformed,
    version_of,
)

Kind: TypeAlias = tuple[torch.Size, torch.dtype, torch.device | None, int]
"""Shape, dtype, device and dimension of the units: tensors that share them can be reduced together."""
Groups: TypeAlias = dict[Kind, tuple[list[int], list[Tensor]]]
"""Positions in call order, and tensors."""
State: TypeAlias = tuple[list[Read], int]
Weigh: TypeAlias = Callable[[int, int], Weights | None]
"""From the number of units and of points of a pass to the weights of their hinges; None if the loss has none."""


class PassObserver(Protocol):
    """Counts the passes of a recorder, as a monitor does.

    Attributes:
        enabled: Whether passes count now.
    """

    @property
    def enabled(self) -> bool:
        """Whether passes count now."""

    def count_pending(self) -> None:
        """Count the pass that is over, before the next one replaces it."""

    def on_pass_end(self) -> None:
        """Note that a pass is over."""

    def note_outside(self, name: str) -> None:
        """Note that a captured module ran outside of a pass."""


class Recorder:
    """Keeps the preactivations of a forward pass until their extrema are read.

    Args:
        rule: How extrema are taken.
        unit_dim: The dimension of the units; None to learn it.
        batch_first: Whether dimension 0 of all preactivations holds the samples; None if the modules decide.
        drop_last: Whether to leave out the preactivation that is computed last (that of the output layer).

    Attributes:
        active: Whether a forward pass is running.
        ran: Whether there has been a forward pass.
        outside: The name of the first captured module that ran after the latest pass and outside of any; None if none.
        early: Whether a hook of the user's ran after a preactivation of the latest pass was read.
        defers: Whether an error in the latest pass is raised by :meth:`read`, and does not stop the model.
        grad: Whether gradients were enabled when the latest pass began.
        calls: The hooks that have read a preactivation in the latest pass, in the order of the calls. Each pass starts
            a new list.
        kept: The preactivations that are kept: position in ``calls``, tensor, and version where torch counts it.
        small: Elements up to which a preactivation is kept and reduced later.
        in_graph: Whether the records of the latest pass can be differentiated.
        root: A weak reference to the model.
        passes: Which calls form the pass that is running.
        hooks_seen: ``HANDLES.next_id`` when the hooks that read were last moved behind all others.
        monitors: Monitors that count the passes. They are called before a pass is dropped, and after a
            :meth:`scope`.

    Raises:
        ValueError: If ``unit_dim`` is no integer, or 0, or ``batch_first`` is no truth value.
    """

    in_graph = True
    defers = False

    def __init__(self, rule: Rule, unit_dim: int | None, batch_first: bool | None, *, drop_last: bool) -> None:
        self.rule, self.drop_last = rule, drop_last
        self.active = self.grad = self.ran = False
        self.small = SMALL
        self.calls: list[Read] = []
        self.kept: list[tuple[int, Tensor, int | None]] = []
        self.monitors: weakref.WeakSet[PassObserver] = weakref.WeakSet()
        self.outside: str | None = None
        self.early = False
        self._unit_dims = UnitDims(unit_dim)
        self._sample_dims = SampleDims(batch_first)
        self.learn, self.note_sizes = self._unit_dims.learn, self._sample_dims.note_sizes
        self.warning = self._sample_dims.warning
        self.root: Callable[[], nn.Module | None] = lambda: None
        self._modules: list[weakref.ref[nn.Module]] = []
        self.hooks_seen: object = None
        self._failure: Exception | None = None
        self.passes = Passes()
        self._records: list[Extrema] = []
        self._names: list[str] = []
        self._named: list[Read] = []  # the calls that _names belongs to

    # Attaching -------------------------------------------------------------------------------------------------------

    def attach(self, model: nn.Module, targets: list[Target]) -> list[HookHandle]:
        """Register the hooks on a model; the handles remove them."""
        clear_dead(model)
        self.root = self.passes.root = weakref.ref(model)
        handles = [before_module(model, Begin(self), first=True)]
        reads: list[tuple[Read, nn.Module]] = []
        for target in targets:
            module = target.module
            if target.reads_input:
                read: Read = ReadInput(self, target)
                handles.append(before_module(module, read, with_kwargs=True))
            else:
                read = ReadOutput(self, target)
                handles.append(after_module(module, read))
            reads.append((read, module))
        self._modules = [weakref.ref(module) for _, module in reads]
        self._sample_dims.attach(self, model, reads)
        self._unit_dims.attach(self, model, reads)
        handles.append(after_module(model, End(self), always=True))  # after the other hooks, if it is a target itself
        return handles + self._unit_dims.hooks + self._sample_dims.hooks

    def _read_last(self, called: nn.Module | None = None) -> bool:
        """Move the reading hooks behind those that others have registered since, if there are any.

        Args:
            called: The module whose call is in progress, so that the order of its own hooks before it is fixed.

        Returns:
            Whether that order is wrong.
        """
        hooks = HANDLES.next_id
        if hooks == self.hooks_seen:
            return False
        self.hooks_seen = hooks
        early = called is not None and not is_read_last(called._forward_pre_hooks)
        for ref in self._modules:
            module = ref()
            if module is not None:
                read_last(module)
        return early

    # During the forward pass -----------------------------------------------------------------------------------------

    def begin(self, module: nn.Module | None = None, *, scope: bool = False) -> bool:
        """Begin a call of the model, or a recording. If none is running, a new pass starts and the latest is dropped.

        Args:
            module: The module that is called.
            scope: Whether this is a recording.

        Returns:
            Whether a pass starts.

        Raises:
            RuntimeError: Inside ``torch.nn.DataParallel`` or a reentrant checkpoint.
        """
        if module is not None and is_replica(module):
            raise refusals.no_replicas()
        starts = self.passes.enter(module, scope=scope)
        if starts:
            self._start(module)
        if not is_compiling() and self.passes.overlapped:
            self._failure, self.active = self._failure or refusals.two_threads(), False
        return starts

    def _start(self, module: nn.Module | None) -> None:
        """Count the latest pass and drop it, and begin a new one."""
        early = False
        if not is_compiling():
            for monitor in list(self.monitors):
                monitor.count_pending()
            early = self._read_last(module)
        self.forget()
        self.early = early
        self.in_graph, self.defers = type(self).in_graph, type(self).defers
        self.active = self.ran = True
        self._unit_dims.begin()
        self.grad = self.in_graph and torch.is_grad_enabled()
        if self.in_graph and not self.grad and not is_compiling():
            refusals.refuse_reentrant_checkpoint("the model")

    def end(self) -> None:
        """End the pass. Later calls, such as those of a checkpoint that recomputes, are not part of it."""
        if self.passes.leave():
            self.active = False
            settled = [] if is_compiling() else self._sample_dims.end()
            self._unit_dims.end()
            for read in settled:
                read.quick = self._unit_dims.quick(read)

    @contextmanager
    def scope(self, *, grad: bool = True) -> Iterator[None]:
        """Record everything that runs inside as one forward pass, or as a part of the pass that is running.

        Args:
            grad: Whether the records are in the graph. Otherwise, an error does not stop the model. The pass that is
                running decides.
        """
        level = self.passes.depth + 1
        try:
            starts = self.begin(scope=True)
            level = self.passes.depth
            if starts and not grad:
                self.in_graph = self.grad = False
                self.defers = True
            yield
        finally:
            self.passes.depth = level  # calls inside may have been interrupted, and have not ended
            self.end()
        if starts:
            for monitor in list(self.monitors):
                monitor.on_pass_end()

    def note_outside(self, read: Read) -> None:
        """Note that a captured module ran outside of a pass.

        Not if a checkpoint recomputes it, or another model calls it, which may share an activation with this one.
        """
        if self.passes.depth or (self.outside is not None and not any(monitor.enabled for monitor in self.monitors)):
            return
        if traced_in_backward() if is_compiling() else in_backward() or self._called_by_another():
            return
        self.outside = self.outside or read.name
        if not is_compiling():
            for monitor in list(self.monitors):
                monitor.note_outside(read.name)

    def _called_by_another(self) -> bool:
        """Whether the innermost running module with parameters has none in common with the model."""
        root = self.root()
        caller = next((module for module in callers() if next(module.parameters(), None) is not None), None)
        return root is not None and caller is not None and not have_common_parts(root, caller)

    def record(self, read: Read, value: object, module: nn.Module) -> object:
        """Record one preactivation: keep a small one, reduce a large one.

        Args:
            read: The hook that has read it.
            value: The input or output of the module: the preactivation, or a tuple or dictionary with it.
            module: The module.

        Returns:
            What must replace the value in the model, if anything.

        Raises:
            RuntimeError: In a replica of ``torch.nn.DataParallel``, and inside a reentrant checkpoint, where the loss
                would have no gradient.
            TypeError: If the tensor is nested or not of floating point.
            ValueError: If the tensor is empty or the dimension of its units is not known.
        """
        if not self.defers:
            return self._record(read, value, module)
        try:
            return self._record(read, value, module)
        except Exception as error:  # nothing that fails here may stop the model
            self._failure = self._failure or error
            return None

    def _record(self, read: Read, value: object, module: nn.Module) -> object:
        if is_replica(module):
            raise refusals.no_replicas()
        # Compiling, begin() cannot move hooks. Otherwise, hooks were registered since it did.
        if is_compiling() or HANDLES.next_id != self.hooks_seen:
            self.early = self.early or not is_read_last(
                module._forward_pre_hooks if read.reads_input else module._forward_hooks
            )
            if not is_compiling():
                self._read_last()
        z = value if isinstance(value, Tensor) else first_tensor(value, read.name)
        new = self._record_tensor(read, z)
        return None if new is None else replaced(value, z, new)

    def _record_tensor(self, read: Read, z: Tensor) -> Tensor | None:
        """Record one preactivation; the result, if any, replaces it in the model."""
        if z.is_nested:
            raise TypeError(
                f"the preactivation of {read.name!r} is a nested tensor, whose samples have no common shape. Give "
                "torch.nn.TransformerEncoder(..., enable_nested_tensor=False), or pad the batch."
            )
        position = len(self.calls)
        if self._unit_dims.learning or not read.resolved:
            self._unit_dims.note(read, position, z)
        if self.grad and not torch.is_grad_enabled():
            refusals.refuse_reentrant_checkpoint(repr(read.name))
        if not self.in_graph:
            z = z.detach()
        turned = not read.batch_first and self._sample_dims.second(read, position, z, self._unit_dims)
        if turned:
            z = z.transpose(0, 1)
        self.calls.append(read)
        if z.numel() > self._largest_kept(read) and not transformed():
            new = self._reduce_now(read, position, z)
            return new.transpose(0, 1) if turned and new is not None else new
        compiling = is_compiling()
        if read.after is not NextOp.READS or (not compiling and z.is_inference()):
            self.kept.append((position, z.clone(), None))
        else:
            self.kept.append((position, z, None if compiling else version_of(z)))
        return None

    def _largest_kept(self, read: Read) -> int:
        """Elements up to which a preactivation is kept."""
        if read.after is NextOp.READS:
            return self.small
        return min(self.small, SMALL_COPY if kernel.available() else SMALL_COPY_WITHOUT_KERNEL)

    def _reduce_now(self, read: Read, position: int, z: Tensor) -> Tensor | None:
        """Reduce a large preactivation; the result, if any, replaces it in the model."""
        refusals.check_preactivation(read.name, z)
        unit_dim = self._unit_dims.of(read, position, z)
        new, record = tap(z, read.name, position, unit_dim=unit_dim, rule=self.rule, after=read.after)
        self._records.append(record)
        return None if new is z else new

    # After the forward pass ------------------------------------------------------------------------------------------

    def is_still(self, state: State) -> bool:
        """Whether nothing was recorded since :attr:`state` had this value."""
        calls, count = state
        whole = self._failure is None and not self.early and not in_jit_trace()
        return whole and calls is self.calls and count == len(calls)

    @property
    def state(self) -> State:
        """The pass and how much of it is recorded. A counter would make torch.compile recompile every step."""
        return self.calls, len(self.calls)

    def forget(self) -> None:
        """Drop every tensor, and what is noted about the latest pass."""
        self.calls, self.kept, self._records = [], [], []
        self.outside = self._failure = None
        self._unit_dims.forget()

    @property
    def names(self) -> list[str]:
        """The calls of the latest pass in order: ``layer``, then ``layer#2`` for the second call of a module."""
        if self.calls != self._named:  # most passes call the same modules in the same order
            seen: Counter[str] = Counter()
            self._names = []
            for read in self.calls:
                seen[read.name] += 1
                self._names.append(read.name if seen[read.name] == 1 else f"{read.name}#{seen[read.name]}")
            self._named = list(self.calls)
        return self._names[:-1] if self.drop_last else self._names

    def read(self, weigh: Weigh) -> list[Extrema]:
        """The records of the latest pass, in graph where gradients were enabled. Kept tensors are reduced and dropped.

        Args:
            weigh: The weights of the hinges for a loss that is linear in them. The records of kept tensors then have
                a penalty.

        Raises:
            RuntimeError: If a preactivation was overwritten after it was recorded, or read too early.
            TypeError: If one is not of floating point.
            ValueError: If one is empty, or the dimension of its units is not known.
            Exception: The first error of a pass whose errors do not stop the model.
        """
        self.passes.check_reader()
        if self._failure is not None:
            raise self._failure.with_traceback(None)
        if not is_compiling() and in_jit_trace():
            raise refusals.traced()
        if self.early:
            raise RuntimeError(
                "a hook that was registered after Jumpstart's ran after a preactivation was read, and may have changed "
                "it. Run the model again. If the model registers the hook during its pass, register it before. With "
                "torch.compile, register hooks first, then attach, then compile."
            )
        names = self.names
        if self.drop_last:
            self._records = [record for record in self._records if record.order[0] < len(names)]
        if self.kept:
            groups = self._group(names)
            self.kept = []
            with in_graph("cpu") if self.in_graph else torch.no_grad():
                weights = weigh(*self._count_slices(groups))
                for (*_, unit_dim), (positions, tensors) in groups.items():
                    self._records += self._reduce(positions, tensors, names, unit_dim, weights)
        # The record of a large tensor is made before it is known whether its module is called again.
        return [record if len(record.order) > 1 else record.named(names[record.order[0]]) for record in self._records]

    def _count_slices(self, groups: Groups) -> tuple[int, int]:
        """The numbers of units and points in the records and in the groups."""
        units, points = count_slices(self._records)
        for (shape, *_, unit_dim), (_, tensors) in groups.items():
            units += len(tensors) * shape[unit_dim]
            positions = shape.numel() // (shape[0] * shape[unit_dim]) if shape.numel() else 0
            points += len(tensors) * shape[0] * (positions if self.rule.point is PointMode.LOCATION else 1)
        return units, points

    def _group(self, names: list[str]) -> Groups:
        """The kept tensors in groups that can be reduced together."""
        groups: Groups = {}
        # Shape, dtype and device of the previous tensor: most tensors of a deep network equal it and need no look-up.
        shape: torch.Size | None = None
        dtype, device = torch.float32, None
        positions: list[int] = []
        tensors: list[Tensor] = []
        for position, z, version in self.kept:
            if position >= len(names):
                continue
            if version is not None and version != version_of(z):
                raise RuntimeError(
                    f"the preactivation of {names[position]!r} was written into after it was captured, so its extrema "
                    "are lost. Work on a copy after the activation (x = x + y instead of x += y)."
                )
            if z.shape != shape or z.dtype != dtype or z.device != device or len(shape) > 2:
                shape, dtype, device = z.shape, z.dtype, z.device
                unit_dim = self._unit_dims.of(self.calls[position], position, z)
                positions, tensors = groups.setdefault((shape, dtype, device, unit_dim), ([], []))
            positions.append(position)
            tensors.append(z)
        return groups

    def _reduce(
        self, positions: list[int], tensors: list[Tensor], names: list[str], unit_dim: int, weights: Weights | None
    ) -> list[Extrema]:
        """The records of one group."""
        z = tensors[0]
        refusals.check_preactivation(names[positions[0]], z)
        names = names if len(positions) == len(names) else [names[i] for i in positions]
        # The kernel reads the tensors in place, so that no number of them is too large for the cache.
        fits = kernel.layout_of(z, unit_dim, self.rule) is not None
        size = len(tensors) if fits else max(1, GROUP // z.numel())
        parts = [slice(start, start + size) for start in range(0, len(tensors), size)]
        return [
            extrema_of(tensors[part], names[part], positions[part], unit_dim=unit_dim, rule=self.rule, weights=weights)
            for part in parts
        ]


def in_graph(device: str) -> AbstractContextManager[object]:
    """A context with gradients and without autocast, so that a record does not depend on where it is read."""
    if is_compiling():
        return nullcontext()
    inference, grad = torch.is_inference_mode_enabled(), torch.is_grad_enabled()
    autocast = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    if grad and not inference and not autocast:
        return nullcontext()
    stack = ExitStack()
    if inference:
        stack.enter_context(torch.inference_mode(False))
    if not grad:
        stack.enter_context(torch.enable_grad())
    if autocast:
        stack.enter_context(torch.autocast(device, enabled=False))
    return stack
