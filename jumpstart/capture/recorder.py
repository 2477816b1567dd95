"""What the hooks of a model leave behind: the records of its latest forward pass."""

from __future__ import annotations

import sys
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.compiler import is_compiling
from torch.utils.checkpoint import CheckpointFunction
from torch.utils.hooks import RemovableHandle

from jumpstart.capture.hooks import Begin, End, Feed, Read, ReadInput, ReadOutput, clear_dead
from jumpstart.capture.targets import Target
from jumpstart.capture.unit_dims import feeder_dim, hides_units
from jumpstart.choices import PointMode
from jumpstart.extrema import kernel
from jumpstart.extrema.record import Extrema, count_slices
from jumpstart.extrema.reduction import GROUP, SMALL, SMALL_COPY, SMALL_COPY_WITHOUT_KERNEL, Weights, extrema_of, tap
from jumpstart.extrema.rule import NextOp, Rule
from jumpstart.extrema.torch_internals import in_backward, transformed

Groups: TypeAlias = dict[tuple[Any, ...], tuple[list[int], list[Tensor]]]
"""Positions in call order, and tensors, by shape, dtype, device and dimension of the units."""
State: TypeAlias = tuple[list[Read], int]
Weigh: TypeAlias = Callable[[int, int], Weights | None]


class Recorder:
    """Holds the preactivations of a forward pass until somebody reads their extrema.

    Args:
        rule: How extrema are taken.
        unit_dim: The dimension of the units, None to find out.
        drop_last: Forget the preactivation that is called last (the output layer).

    Attributes:
        active: Whether a forward pass is going on.
        ran: Whether there has been a forward pass.
        grad: Whether gradients were enabled when the latest pass began.
        calls: The reads of the latest pass, in their order.
        waiting: Of those that wait: position in ``calls``, tensor, and its version where that can be told.
        fed: Where the module that ran last puts its units, while that is still to be found out.
        small: Elements up to which a preactivation waits.
        in_graph: Whether the records of the latest pass can be differentiated.
        users: Monitors that count its passes: told before one is forgotten, and when a :meth:`scope` is over.
    """

    in_graph = True

    def __init__(self, rule: Rule, unit_dim: int | None, *, drop_last: bool) -> None:
        self.rule, self.unit_dim, self.drop_last = rule, unit_dim, drop_last
        self.active = self.grad = self.ran = False
        self.small = SMALL
        self.calls: list[Read] = []
        self.waiting: list[tuple[int, Tensor, int | None]] = []
        self.fed: int | None = None
        self.users: weakref.WeakSet[Any] = weakref.WeakSet()
        self._depth = 0
        self._records: list[Extrema] = []
        self._names: list[str] = []
        self._named: list[Read] = []  # the calls that _names belongs to
        self._feeds: list[RemovableHandle] = []
        self._unresolved: list[Read] = []
        self._fed_at: dict[int, int | None] = {}  # by position, of calls of modules that are fed differently
        self._probing = False

    # Attaching ---------------------------------------------------------------------------------------------------

    def attach(self, model: nn.Module, targets: list[Target]) -> list[RemovableHandle]:
        """Put the hooks on; the handles take them off again."""
        clear_dead(model)
        begin, end = Begin(self), End(self)
        handles = [
            model.register_forward_pre_hook(begin, prepend=True),
            model.register_forward_hook(end, always_call=True),
        ]
        for target in targets:
            if target.reads_input:
                read: Read = ReadInput(self, target)
                handles.append(target.module.register_forward_pre_hook(read, with_kwargs=True))
                self._unresolved.append(read)
            else:
                handles.append(target.module.register_forward_hook(ReadOutput(self, target)))
        if self._unresolved and self.unit_dim is None:
            for module in model.modules():
                dim = feeder_dim(module)
                if dim is not None or hides_units(module):
                    self._feeds.append(module.register_forward_hook(Feed(self, dim)))
            self._probing = bool(self._feeds)
        return handles + self._feeds

    # During the forward pass -------------------------------------------------------------------------------------

    def begin(self, module: nn.Module | None = None) -> None:
        """A new pass: what the last one left is forgotten. Nested calls belong to the outer one."""
        if module is not None and getattr(module, "_is_replica", False):
            raise RuntimeError(
                "JumpstartRegularization does not work inside torch.nn.DataParallel, whose replicas run in threads "
                "over one set of hooks. Use torch.nn.parallel.DistributedDataParallel."
            )
        # A checkpoint that runs the model again during the backward pass is no pass of its own.
        if self._depth == 0 and (is_compiling() or not in_backward()):
            if not is_compiling():
                for user in list(self.users):
                    user.settle()
            self.forget()
            self.in_graph = type(self).in_graph
            self.active = self.ran = True
            self.fed = None  # what ran outside of any pass feeds nothing
            self.grad = torch.is_grad_enabled()
            if not self.grad and not is_compiling():
                _refuse_reentrant_checkpoint("the model")
        self._depth += 1

    def end(self) -> None:
        """The pass is over: calls from here on (a checkpoint that recomputes) are not part of it."""
        self._depth = max(0, self._depth - 1)
        if self._depth:
            return
        self.active = False
        self.fed = None
        if not is_compiling() and self._probing:
            for read in self._unresolved:
                read.simple = read.resolved and not read.varies and read.after is NextOp.READS
            self._unresolved = [read for read in self._unresolved if read.varies or not read.resolved]
            if not self._unresolved:
                self._probing = False
                for handle in self._feeds:
                    handle.remove()
                self._feeds = []

    @contextmanager
    def scope(self, *, grad: bool = True) -> Iterator[None]:
        """Count all that runs inside as one forward pass, with ``grad=False`` without a graph."""
        self._depth = 0
        self.begin()
        if not grad:
            self.in_graph = self.grad = False
        try:
            yield
        finally:
            self._depth = 1
            self.end()
        for user in list(self.users):
            user.passed()

    def take(self, read: Read, z: Tensor) -> Tensor | None:
        """Note one preactivation; the result, if any, goes on in its place."""
        if z.is_nested:
            raise TypeError(
                f"the preactivation of {read.name!r} is a nested tensor, whose samples have no common shape. Give "
                "torch.nn.TransformerEncoder(..., enable_nested_tensor=False), or pad the batch."
            )
        position = len(self.calls)
        if not read.resolved:
            read.fed, read.resolved = self.fed if self._probing else None, True
            read.simple = not self._probing and read.after is NextOp.READS
        elif self._probing and isinstance(read, ReadInput):
            read.varies = read.varies or (z.dim() > 2 and read.fed != self.fed)
            if read.varies:
                self._fed_at[position] = self.fed
        if self.grad and not torch.is_grad_enabled():
            _refuse_reentrant_checkpoint(repr(read.name))
        if not self.in_graph:
            z = z.detach()
        self.calls.append(read)
        if z.numel() <= self._limit(read) or transformed():
            compiling = is_compiling()
            if read.after is not NextOp.READS or (not compiling and z.is_inference()):
                self.waiting.append((position, z.clone(), None))
            else:
                self.waiting.append((position, z, None if compiling else z._version))
            return None
        _check(read.name, z)
        new, record = tap(
            z,
            read.name,
            position,
            unit_dim=self._unit_dim(position, z),
            rule=self.rule,
            after=read.after,
        )
        self._records.append(record)
        return None if new is z else new

    def _limit(self, read: Read) -> int:
        """Elements up to which a preactivation waits."""
        if read.after is NextOp.READS:
            return self.small
        return min(self.small, SMALL_COPY if kernel.available() else SMALL_COPY_WITHOUT_KERNEL)

    def _unit_dim(self, position: int, z: Tensor) -> int:
        read, dims = self.calls[position], z.dim()
        if dims == 2:
            return 1
        if dims < 2:
            raise ValueError(
                f"the preactivation of {read.name!r} has shape ({_sizes(z)}), but needs a dimension of samples and one "
                "of units. Run the model on a batch: x.unsqueeze(0) makes one of a single sample."
            )
        dim = self.unit_dim if self.unit_dim is not None else self._fed_at.get(position, read.fed)
        if dim is None and dims > 3:
            dim = 1
        if dim is None:
            raise ValueError(
                f"the preactivation of {read.name!r} has shape ({_sizes(z)}) and nothing known feeds it. Say where its "
                "units are: unit_dim=-1 for (N, T, C), unit_dim=1 for (N, C, T)."
            )
        if not -dims < dim < dims or dim % dims == 0:
            raise ValueError(
                f"unit_dim must be one of 1 to {dims - 1} or negative for the {dims}-dimensional preactivation of "
                f"{read.name!r}, got {dim}. Dimension 0 is that of the samples."
            )
        return dim % dims

    # After it ----------------------------------------------------------------------------------------------------

    def is_still(self, state: State) -> bool:
        """Whether there has been nothing new to read since :attr:`state` was this."""
        calls, count = state
        return calls is self.calls and count == len(calls)

    @property
    def state(self) -> State:
        """What has been read so far. Each pass has a list of its own: a number would have a compiled step made anew."""
        return self.calls, len(self.calls)

    def forget(self) -> None:
        """Let go of every tensor."""
        self.calls, self.waiting, self._records = [], [], []
        if self._fed_at:
            self._fed_at = {}

    @property
    def names(self) -> list[str]:
        """The calls of the latest pass in their order: ``layer``, then ``layer#2`` for the second call of a module."""
        if self.calls != self._named:  # the same modules in the same order are the rule
            seen: Counter[str] = Counter()
            self._names = []
            for read in self.calls:
                seen[read.name] += 1
                self._names.append(read.name if seen[read.name] == 1 else f"{read.name}#{seen[read.name]}")
            self._named = list(self.calls)
        return self._names[:-1] if self.drop_last else self._names

    def read(self, weigh: Weigh) -> list[Extrema]:
        """The records of the latest pass, in graph where gradients were enabled. Waiting tensors are let go.

        Args:
            weigh: From the number of units and of points of the pass to the weights of their hinges, if the loss is
                linear in them: records of waiting tensors then know what they pay.
        """
        names = self.names
        if self.drop_last:
            self._records = [record for record in self._records if record.order[0] < len(names)]
        if self.waiting:
            groups = self._group(names)
            self.waiting = []
            with in_graph("cpu") if self.in_graph else torch.no_grad():
                weights = weigh(*self._count_slices(groups))
                for (*_, unit_dim), (positions, tensors) in groups.items():
                    self._records += self._reduce(positions, tensors, names, unit_dim, weights)
        # A tapped call does not know yet that its module is called again.
        return [record if len(record.order) > 1 else record.named(names[record.order[0]]) for record in self._records]

    def _count_slices(self, groups: Groups) -> tuple[int, int]:
        units, points = count_slices(self._records)
        for (shape, *_, unit_dim), (_, tensors) in groups.items():
            units += len(tensors) * shape[unit_dim]
            positions = shape.numel() // (shape[0] * shape[unit_dim]) if shape.numel() else 0
            points += len(tensors) * shape[0] * (positions if self.rule.point is PointMode.LOCATION else 1)
        return units, points

    def _group(self, names: list[str]) -> Groups:
        """The waiting tensors that can be reduced together, by shape, dtype, device and dimension of the units."""
        groups: Groups = {}
        # Those of the tensor before: in a deep network mostly the same.
        shape: torch.Size | None = None
        dtype, device = torch.float32, None
        positions: list[int] = []
        tensors: list[Tensor] = []
        for position, z, version in self.waiting:
            if position >= len(names):
                continue
            if version is not None and version != z._version:
                raise RuntimeError(
                    f"the preactivation of {names[position]!r} was written into after it was captured, so its extrema "
                    "are lost. Work on a copy after the activation (x = x + y instead of x += y)."
                )
            if z.shape != shape or z.dtype != dtype or z.device != device or len(shape) > 2:
                shape, dtype, device = z.shape, z.dtype, z.device
                unit_dim = 1 if len(shape) == 2 else self._unit_dim(position, z)
                positions, tensors = groups.setdefault((shape, dtype, device, unit_dim), ([], []))
            positions.append(position)
            tensors.append(z)
        return groups

    def _reduce(
        self, positions: list[int], tensors: list[Tensor], names: list[str], unit_dim: int, weights: Weights | None
    ) -> list[Extrema]:
        z = tensors[0]
        _check(names[positions[0]], z)
        names = names if len(positions) == len(names) else [names[i] for i in positions]
        # The kernel needs no copies of the tensors, so that it needs no limit to them either.
        fits = kernel.layout_of(z, unit_dim, self.rule) is not None
        size = len(tensors) if fits else max(1, GROUP // z.numel())
        parts = [slice(start, start + size) for start in range(0, len(tensors), size)]
        return [
            extrema_of(tensors[part], names[part], positions[part], unit_dim=unit_dim, rule=self.rule, weights=weights)
            for part in parts
        ]


def in_graph(device: str) -> AbstractContextManager[object]:
    """A record must not depend on where it is read: keep the graph if there is one, and the precision."""
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
        raise ValueError(f"the preactivation of {name!r} is empty ({_sizes(z)}). Skip empty batches.")


def _sizes(z: Tensor) -> str:
    return "x".join(map(str, z.shape))


def _refuse_reentrant_checkpoint(name: str) -> None:
    """Gradients are off here but on in the model: either on purpose, or by a checkpoint that will run this again."""
    frame = sys._getframe()
    while frame is not None:
        if frame.f_code is CheckpointFunction.forward.__code__:
            raise RuntimeError(
                f"{name} runs inside a reentrant checkpoint, where no gradient of the Jumpstart loss can reach it. "
                "Call torch.utils.checkpoint.checkpoint(..., use_reentrant=False)."
            )
        frame = frame.f_back  # type: ignore[assignment]
