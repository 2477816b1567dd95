"""The regularizer: attach it to a model, read ``.loss``."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from jumpstart.capture.hooks import attached
from jumpstart.capture.passive import Watcher
from jumpstart.capture.recorder import Recorder, State, in_graph
from jumpstart.capture.targets import CaptureLike, find_targets
from jumpstart.choices import Aggregate, Capture, PointMode, Terms, Ties, choose
from jumpstart.extrema.distributed import whole_batch
from jumpstart.extrema.record import Extrema
from jumpstart.extrema.rule import Rule
from jumpstart.penalty import Penalty


class JumpstartRegularization:
    r"""Keeps every unit and every data point on both sides of zero before each activation.

    Attach it to a model once. Every forward pass then leaves the loss of its preactivations in :attr:`loss`, to be
    added to the task's. With :math:`U` the losses of all units of all layers and :math:`P` those of all points,

    .. math::
        \mathrm{loss} = \overline{U} + \overline{P}, \qquad
        \ell(z) = [m - \max z]_+ + [m + \min z]_+ ,

    where a unit's slice runs over the batch (and space) and a point's over the units (and space) of one layer.

    Args:
        model: The model. Its outputs stay the same, bit for bit.
        capture: Which preactivations are read: ``"activations"`` (the input of every activation module),
            ``"weights"`` (the output of every linear and convolutional layer), a list of module names, or a predicate
            ``(name, module) -> bool``. Named activations are read at their input, anything else at its output.
        skip_last: With ``capture="weights"``, leave out the layer that is called last: the output layer.
        terms: The hinges that enter: :class:`Terms`, or names such as ``"unit,point_negative"``.
        aggregate: ``"balanced"``, ``"mean"``, ``"norm"`` or ``"sum_of_squares"``.
        margin: :math:`m`, how far both sides should reach. Preactivations are not normalized.
        positive_weight: Weight of the hinge that asks for positive values.
        negative_weight: Weight of the hinge that asks for negative ones. The paper's own code used 0.5 for both: a
            ``lambda`` quoted from it is twice the one that is needed here.
        ties: Who gets the gradient of a tied extremum: ``"single"``, ``"average"`` or ``"random"``.
        unit_dim: The dimension of the units in tensors of 3 dimensions and more. By default what feeds the activation
            decides (last after a linear layer, 1 after a convolution).
        point: ``"sample"``, or ``"location"`` for every position of every sample.
        sync: Across the processes of ``torch.distributed``, make the loss that of the whole batch: the same number in
            every process, and after the mean of gradients of ``DistributedDataParallel`` or ``fully_shard`` the
            gradient of one process with the whole batch. All processes must then read :attr:`loss`, after each forward
            pass of which one of them does. :attr:`extrema` stay those of this process. Without a process group, or
            with one process, it changes nothing.
        process_group: With ``sync=True``, the group to talk to; by default the one of all processes.

    Raises:
        TypeError: If ``model`` is not a module.
        ValueError: On an unknown option or module name, or if the model has nothing to capture.
        RuntimeError: If a regularizer is attached to the model already, or a monitor with hooks of its own.

    Source:
        Riera, Puertas, Pujol, *Unit-Centric Regularization for Efficient Deep Neural Networks*, IEEE Access 2025.

    Example:
        >>> import torch
        >>> model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1))
        >>> jumpstart = JumpstartRegularization(model)
        >>> loss = model(torch.randn(8, 2)).square().mean() + 0.01 * jumpstart.loss
        >>> loss.backward()
        >>> jumpstart
        JumpstartRegularization(Sequential, 1 layer, capture='activations')
          1
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        capture: CaptureLike = Capture.ACTIVATIONS,
        skip_last: bool = True,
        terms: Terms | str | Iterable[str] = Terms.ALL,
        aggregate: Aggregate | str = Aggregate.BALANCED,
        margin: float = 1.0,
        positive_weight: float = 1.0,
        negative_weight: float = 1.0,
        ties: Ties | str = Ties.SINGLE,
        unit_dim: int | None = None,
        point: PointMode | str = PointMode.SAMPLE,
        sync: bool = False,
        process_group: Any = None,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}: {model!r:.60}.")
        if isinstance(model, nn.DataParallel):
            raise TypeError(
                "model must not be a torch.nn.DataParallel, whose replicas share one set of hooks. Use "
                "torch.nn.parallel.DistributedDataParallel."
            )
        if unit_dim is not None and (not isinstance(unit_dim, int) or isinstance(unit_dim, bool) or unit_dim == 0):
            raise ValueError(f"unit_dim must be an integer other than 0 (that of the samples), got {unit_dim!r}.")
        if process_group is not None and not sync:
            raise ValueError("process_group is given, but sync is False. Use sync=True, or leave process_group out.")
        self.sync, self._group = sync, process_group
        self.penalty = Penalty(terms, aggregate, margin, positive_weight, negative_weight)
        rule = Rule(choose(Ties, ties, "ties"), choose(PointMode, point, "point"), margin)
        targets = find_targets(model, capture)
        other = attached(model)
        if isinstance(other, Watcher):
            raise RuntimeError(
                f"a StatusMonitor with hooks of its own is attached to this {type(model).__name__} (or to a part of "
                "it). Take it off first with its remove(), or attach the JumpstartRegularization before it: a "
                "StatusMonitor that comes later reads along."
            )
        if other is not None:
            raise RuntimeError(
                f"a JumpstartRegularization is attached to this {type(model).__name__} (or to a part of it) already. "
                "Use that one, or take it off first with its remove()."
            )
        self.capture = capture
        self._kind = type(model).__name__
        self._registered = [target.name for target in targets]
        drop_last = isinstance(capture, str) and capture == Capture.WEIGHTS and skip_last
        if drop_last and len(targets) == 1:
            raise ValueError(
                f"nothing to capture in {self._kind}: {targets[0].name!r} is its only Linear or Conv layer, and "
                "skip_last leaves the last one out. Use skip_last=False."
            )
        self._recorder: Recorder | None = Recorder(rule, unit_dim, drop_last=drop_last)
        self._handles = self._recorder.attach(model, targets)
        self._loss: Tensor | None = None
        self._extrema: list[Extrema] | None = None
        self._loss_of: State = ([], -1)
        self._extrema_of: State = ([], -1)
        self._finalizer = weakref.finalize(self, _remove, self._handles)
        self._finalizer.atexit = False

    @property
    def loss(self) -> Tensor:
        """The Jumpstart loss of the model's latest forward pass: a scalar, in float32 (float64 for float64 models).

        Read twice, it is the same tensor.

        Raises:
            RuntimeError: Before any forward pass, after one in which nothing was captured, and after ``remove()``. With
                ``sync=True`` also if the processes have run different layers.
        """
        recorder = self._live()
        if torch.compiler.is_compiling():  # a graph keeps no tensor of another step
            return self.penalty(self._whole(self._records()))
        if self._loss is None or not recorder.is_still(self._loss_of):
            records = self._records()
            with in_graph(records[0].unit.device.type):
                self._loss = self.penalty(self._whole(records))
            self._loss_of = recorder.state
        return self._loss

    @property
    def extrema(self) -> list[Extrema]:
        """The records behind :attr:`loss`, without a graph: one per group of layer calls of equal shape.

        Raises:
            RuntimeError: As for :attr:`loss`.
        """
        recorder = self._live()
        if self._extrema is None or not recorder.is_still(self._extrema_of):
            self._extrema = [record.detach() for record in self._records()]
            self._extrema_of = recorder.state
        return list(self._extrema)

    @property
    def layers(self) -> list[str]:
        """What is captured, in call order (before the first forward pass: in the order of registration).

        The second call of a module in one pass is ``name#2``.
        """
        names = self._recorder.names if self._recorder is not None else []
        return list(names or self._registered)

    @contextmanager
    def recording(self, *, grad: bool = True) -> Iterator[None]:
        """Count everything that runs inside as one forward pass.

        For models that are not called as a whole (``model.features(x)``), and for losses over several calls.

        Args:
            grad: Whether the loss can be differentiated. Without, it costs less, and nothing that runs inside is
                given a graph.

        Example:
            >>> import torch
            >>> model = nn.Sequential(nn.Linear(2, 4), nn.ReLU())
            >>> with JumpstartRegularization(model) as jumpstart:
            ...     with jumpstart.recording():
            ...         _ = model(torch.randn(8, 2)), model(torch.randn(8, 2))
            ...     jumpstart.layers
            ['1', '1#2']
        """
        with self._live().scope(grad=grad):
            yield

    def remove(self) -> None:
        """Take the hooks off the model and let go of everything. May be called twice."""
        self._finalizer()
        self._recorder = None
        self._loss = self._extrema = None

    def __enter__(self) -> JumpstartRegularization:
        return self

    def __exit__(self, *exc: object) -> None:
        self.remove()

    def __repr__(self) -> str:
        names = self.layers
        state = "" if self._recorder is not None else ", removed"
        capture = str(self.capture.value if isinstance(self.capture, Capture) else self.capture)
        how = repr(capture) if isinstance(self.capture, str) else "custom"
        layers = f"{len(names)} layer{'s' * (len(names) != 1)}"
        shown = names if len(names) <= 12 else [*names[:6], f"... {len(names) - 11} more ...", *names[-5:]]
        options = "" if repr(self.penalty) == repr(Penalty()) else f", {self.penalty!r}"
        options += ", sync=True" if self.sync else ""
        head = f"JumpstartRegularization({self._kind}, {layers}, capture={how}{options}{state})"
        return "\n  ".join([head, *shown])

    def __deepcopy__(self, memo: dict[int, Any]) -> JumpstartRegularization:
        return self._detached()

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self._state(),)

    def _state(self) -> dict[str, Any]:
        capture = self.capture if isinstance(self.capture, str) else "custom"
        return {
            "penalty": self.penalty,
            "capture": capture,
            "sync": self.sync,
            "_kind": self._kind,
            "_registered": self._registered,
        }

    def _detached(self) -> JumpstartRegularization:
        return _restore(self._state())

    def _live(self) -> Recorder:
        if self._recorder is None:
            raise RuntimeError(
                "this JumpstartRegularization is attached to no model: it was removed, or is a copy. Attach a new one: "
                "JumpstartRegularization(model)."
            )
        return self._recorder

    def _records(self) -> list[Extrema]:
        recorder = self._live()
        if not recorder.ran:
            raise RuntimeError(
                "there is no Jumpstart loss yet: run the model first (call the model itself, or wrap calls of its "
                "parts in `with jumpstart.recording():`). If it has run: a model that torch.compile compiled does not "
                "see hooks that were attached later. Attach before compiling."
            )
        records = recorder.read(self.penalty.weigh)
        if not records:
            raise RuntimeError(
                f"the latest forward pass captured nothing: none of {', '.join(self._registered[:3])}... was called. "
                "Were the hooks attached after torch.compile, or is the model called by its parts? Attach before "
                "compiling; wrap calls of parts in `with jumpstart.recording():`."
            )
        return records

    def _whole(self, records: list[Extrema]) -> list[Extrema]:
        return whole_batch(records, self._group) if self.sync else records


def _remove(handles: list[RemovableHandle]) -> None:
    for handle in handles:
        handle.remove()


def _restore(state: dict[str, Any]) -> JumpstartRegularization:
    """A handle with the same options that is attached to nothing."""
    handle = JumpstartRegularization.__new__(JumpstartRegularization)
    handle.__dict__.update(state, _recorder=None, _handles=[])
    handle._finalizer = weakref.finalize(handle, _remove, [])
    handle._finalizer.atexit = False
    return handle
