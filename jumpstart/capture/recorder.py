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
from torch.utils.hooks import RemovableHandle

from jumpstart.capture.hooks import Begin, End, Read, ReadInput, ReadOutput, clear_dead
from jumpstart.capture.targets import Target
from jumpstart.capture.unit_dims import UnitDims, sizes_of
from jumpstart.choices import PointMode
from jumpstart.extrema import kernel
from jumpstart.extrema.record import Extrema, count_slices
from jumpstart.extrema.reduction import GROUP, SMALL, SMALL_COPY, SMALL_COPY_WITHOUT_KERNEL, Weights, extrema_of, tap
from jumpstart.extrema.rule import NextOp, Rule
from jumpstart.extrema.torch_internals import (
    in_backward,
    in_reentrant_checkpoint,
    is_replica,
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


class Recorder:
    """Keeps the preactivations of a forward pass until their extrema are read.

    Args:
        rule: How extrema are taken.
        unit_dim: The dimension of the units; None to learn it.
        drop_last: Whether to leave out the preactivation that is computed last (that of the output layer).

    Attributes:
        active: Whether a forward pass is running.
        ran: Whether there has been a forward pass.
        grad: Whether gradients were enabled when the latest pass began.
        calls: The hooks that have read a preactivation in the latest pass, in the order of the calls. Each pass starts
            a new list.
        kept: The preactivations that are kept: position in ``calls``, tensor, and version where torch counts it.
        small: Elements up to which a preactivation is kept and reduced later.
        in_graph: Whether the records of the latest pass can be differentiated.
        monitors: Monitors that count the passes. They are called before a pass is dropped, and after a
            :meth:`scope`.

    Raises:
        ValueError: If ``unit_dim`` is no integer, or 0.
    """

    in_graph = True

    def __init__(self, rule: Rule, unit_dim: int | None, *, drop_last: bool) -> None:
        self.rule, self.drop_last = rule, drop_last
        self.active = self.grad = self.ran = False
        self.small = SMALL
        self.calls: list[Read] = []
        self.kept: list[tuple[int, Tensor, int | None]] = []
        self.monitors: weakref.WeakSet[PassObserver] = weakref.WeakSet()
        self._unit_dims = UnitDims(unit_dim)
        self.learn = self._unit_dims.learn
        self._depth = 0
        self._records: list[Extrema] = []
        self._names: list[str] = []
        self._named: list[Read] = []  # the calls that _names belongs to

    # Attaching -------------------------------------------------------------------------------------------------------

    def attach(self, model: nn.Module, targets: list[Target]) -> list[RemovableHandle]:
        """Register the hooks on a model; the handles remove them."""
        clear_dead(model)
        handles = [
            model.register_forward_pre_hook(Begin(self), prepend=True),
            model.register_forward_hook(End(self), always_call=True),
        ]
        reads: list[tuple[Read, nn.Module]] = []
        for target in targets:
            module = target.module
            if target.reads_input:
                read: Read = ReadInput(self, target)
                handles.append(module.register_forward_pre_hook(read, with_kwargs=True))
            else:
                read = ReadOutput(self, target)
                handles.append(module.register_forward_hook(read))
            reads.append((read, module))
        self._unit_dims.attach(self, model, reads)
        return handles + self._unit_dims.hooks

    # During the forward pass -----------------------------------------------------------------------------------------

    def begin(self, module: nn.Module | None = None) -> None:
        """Start a new pass and drop the latest one. A call inside of a running pass belongs to that pass.

        Args:
            module: The module that is called.

        Raises:
            RuntimeError: Inside ``torch.nn.DataParallel`` or a reentrant checkpoint.
        """
        if module is not None and is_replica(module):
            raise RuntimeError(
                "JumpstartRegularization does not work inside torch.nn.DataParallel, whose replicas run in threads "
                "over one set of hooks. Use torch.nn.parallel.DistributedDataParallel."
            )
        # A checkpoint that recomputes the model during the backward pass starts no pass.
        if self._depth == 0 and (is_compiling() or not in_backward()):
            if not is_compiling():
                for monitor in list(self.monitors):
                    monitor.count_pending()
            self.forget()
            self.in_graph = type(self).in_graph
            self.active = self.ran = True
            self._unit_dims.begin()
            self.grad = torch.is_grad_enabled()
            if not self.grad and not is_compiling():
                _refuse_reentrant_checkpoint("the model")
        self._depth += 1

    def end(self) -> None:
        """End the pass. Later calls, such as those of a checkpoint that recomputes, are not part of it."""
        self._depth = max(0, self._depth - 1)
        if self._depth == 0:
            self.active = False
            self._unit_dims.end()

    @contextmanager
    def scope(self, *, grad: bool = True) -> Iterator[None]:
        """Record everything that runs inside as one forward pass; with ``grad=False`` without a graph."""
        self._depth = 0
        self.begin()
        if not grad:
            self.in_graph = self.grad = False
        try:
            yield
        finally:
            self._depth = 1
            self.end()
        for monitor in list(self.monitors):
            monitor.on_pass_end()

    def record(self, read: Read, z: Tensor) -> Tensor | None:
        """Record one preactivation: keep a small one, reduce a large one.

        Args:
            read: The hook that has read it.
            z: The preactivation.

        Returns:
            The tensor that must replace ``z`` in the model, if any.

        Raises:
            RuntimeError: Inside a reentrant checkpoint, where the loss would have no gradient.
            TypeError: If the tensor is nested or not of floating point.
            ValueError: If the tensor is empty or the dimension of its units is not known.
        """
        if z.is_nested:
            raise TypeError(
                f"the preactivation of {read.name!r} is a nested tensor, whose samples have no common shape. Give "
                "torch.nn.TransformerEncoder(..., enable_nested_tensor=False), or pad the batch."
            )
        position = len(self.calls)
        if self._unit_dims.learning or not read.resolved:
            self._unit_dims.note(read, position, z)
        if self.grad and not torch.is_grad_enabled():
            _refuse_reentrant_checkpoint(repr(read.name))
        if not self.in_graph:
            z = z.detach()
        self.calls.append(read)
        if z.numel() > self._largest_kept(read) and not transformed():
            return self._reduce_now(read, position, z)
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
        _check(read.name, z)
        unit_dim = self._unit_dims.of(read, position, z)
        new, record = tap(z, read.name, position, unit_dim=unit_dim, rule=self.rule, after=read.after)
        self._records.append(record)
        return None if new is z else new

    # After the forward pass ------------------------------------------------------------------------------------------

    def is_still(self, state: State) -> bool:
        """Whether nothing was recorded since :attr:`state` had this value."""
        calls, count = state
        return calls is self.calls and count == len(calls)

    @property
    def state(self) -> State:
        """The pass and how much of it is recorded. A counter would make torch.compile recompile every step."""
        return self.calls, len(self.calls)

    def forget(self) -> None:
        """Drop every tensor."""
        self.calls, self.kept, self._records = [], [], []
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
            RuntimeError: If a preactivation was overwritten after it was recorded.
            TypeError: If one is not of floating point.
            ValueError: If one is empty, or the dimension of its units is not known.
        """
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
                unit_dim = 1 if len(shape) == 2 else self._unit_dims.of(self.calls[position], position, z)
                positions, tensors = groups.setdefault((shape, dtype, device, unit_dim), ([], []))
            positions.append(position)
            tensors.append(z)
        return groups

    def _reduce(
        self, positions: list[int], tensors: list[Tensor], names: list[str], unit_dim: int, weights: Weights | None
    ) -> list[Extrema]:
        """The records of one group."""
        z = tensors[0]
        _check(names[positions[0]], z)
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


def _check(name: str, z: Tensor) -> None:
    if not z.is_floating_point():
        raise TypeError(
            f"the preactivation of {name!r} has dtype {z.dtype}; extrema need real floating-point numbers. "
            "Capture other modules: capture=[module names]."
        )
    if z.numel() == 0:
        raise ValueError(f"the preactivation of {name!r} is empty ({sizes_of(z)}). Skip empty batches.")


def _refuse_reentrant_checkpoint(name: str) -> None:
    """Raise if gradients are off because of a checkpoint that will recompute this call, and not on purpose."""
    if in_reentrant_checkpoint():
        raise RuntimeError(
            f"{name} runs inside a reentrant checkpoint, where no gradient of the Jumpstart loss can reach it. "
            "Call torch.utils.checkpoint.checkpoint(..., use_reentrant=False)."
        )
