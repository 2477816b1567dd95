"""The regularizer: attach it to a model, read ``.loss``."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypedDict

import torch
import torch.distributed as dist
from torch import Tensor, nn

from jumpstart.capture.copies import HookHandle
from jumpstart.capture.hooks import attached
from jumpstart.capture.passive import PassiveRecorder
from jumpstart.capture.recorder import Recorder, State, in_graph
from jumpstart.capture.targets import CaptureLike, select_targets
from jumpstart.choices import MARGIN, Aggregate, Capture, PointMode, Terms, Ties, check_flag, choose
from jumpstart.extrema.distributed import whole_batch
from jumpstart.extrema.record import Extrema
from jumpstart.extrema.rule import Rule
from jumpstart.penalty import Penalty
from jumpstart.words import counted


class _State(TypedDict):
    """The options of a regularizer that its copies keep."""

    penalty: Penalty
    capture: str
    sync: bool
    _kind: str
    _registered: list[str]


class JumpstartRegularization:
    r"""Keeps every unit and every data point on both sides of zero before each activation.

    Attach a regularizer to a model once. After every forward pass, :attr:`loss` is the loss of its preactivations, to
    be added to the loss of the task. With :math:`U` the losses of all units of all layers and :math:`P` those of all
    points,

    .. math::
        \mathrm{loss} = \overline{U} + \overline{P}, \qquad
        \ell(z) = [m_+ - \max z]_+ + [m_- + \min z]_+ ,

    where :math:`[x]_+ = \max(x, 0)`, and :math:`z` is a slice of the preactivations of one layer: for a unit, its
    values over the batch (and all positions); for a point, its values over the units (and all positions).

    Args:
        model: The model. Its outputs stay the same, bit for bit.
        capture: Which preactivations are read: ``"activations"`` (the input of every activation module),
            ``"weights"`` (the output of every linear and convolutional layer), a list of module names, or a predicate
            ``(name, module) -> bool``. Named activations are read at their input, anything else at its output.
        skip_last: With ``capture="weights"``, leave out the layer that is called last: the output layer.
        terms: The hinges that enter the loss: :class:`Terms`, or names such as ``"unit,point_negative"``.
        aggregate: ``"balanced"``, ``"mean"``, ``"norm"``, ``"sum_of_squares"`` or ``"sum_of_squared_hinges"``.
        margin: :math:`m_+`, the distance from zero that the positive side should reach, in the units of the
            preactivations, which are not normalized.
        negative_margin: :math:`m_-`, the same for the negative side; None for that of ``margin``.
        positive_weight: Weight of the hinge that is 0 when the maximum reaches the margin.
        negative_weight: Weight of the hinge that is 0 when the minimum reaches minus its margin. The paper's code uses
            0.5 for both weights, so halve a ``lambda`` of that code.
        ties: Which entries get the gradient of a tied extremum: ``"single"``, ``"average"`` or ``"random"``.
        unit_dim: The dimension of the units in tensors of 3 dimensions and more. By default the layer before the
            activation decides (last after a linear layer, 1 after a convolution).
        batch_first: Whether dimension 0 holds the samples in tensors of 3 dimensions and more, or dimension 1, as in
            (T, N, C). By default, torch's transformer, recurrent and attention modules decide for the tensors inside of
            them; any other tensor has its samples in dimension 0, with a warning if that is doubtful.
        point: ``"sample"``, or ``"location"`` for every position of every sample.
        sync: Compute the loss of the whole batch of all processes of ``torch.distributed``. The loss is then the same
            number in every process. ``DistributedDataParallel`` and ``fully_shard`` average the gradients of the
            processes; this average is the gradient of one process with the whole batch. If one process reads
            :attr:`loss` after a forward pass, all processes must read it. :attr:`extrema` are those of this process.
            Without a process group, or with one process, this option changes nothing.
        process_group: With ``sync=True``, the ``torch.distributed`` group of the processes that share the loss; by
            default, all processes.

    Raises:
        TypeError: If ``model`` is not a module.
        ValueError: On an unknown option or module name, or if the model has nothing to capture.
        RuntimeError: If a regularizer is attached to the model already, or a monitor with its own hooks.

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
        margin: float = MARGIN,
        negative_margin: float | None = None,
        positive_weight: float = 1.0,
        negative_weight: float = 1.0,
        ties: Ties | str = Ties.SINGLE,
        unit_dim: int | None = None,
        batch_first: bool | None = None,
        point: PointMode | str = PointMode.SAMPLE,
        sync: bool = False,
        process_group: dist.ProcessGroup | None = None,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}: {model!r:.60}.")
        if isinstance(model, nn.DataParallel):
            raise TypeError(
                "model must not be a torch.nn.DataParallel, whose replicas share one set of hooks. Use "
                "torch.nn.parallel.DistributedDataParallel."
            )
        check_flag("sync", sync)
        if process_group is not None and not sync:
            raise ValueError("process_group is given, but sync is False. Use sync=True, or leave process_group out.")
        self.sync, self._group = sync, process_group
        self.penalty = Penalty(terms, aggregate, margin, negative_margin, positive_weight, negative_weight)
        rule = Rule(choose(Ties, ties, "ties"), choose(PointMode, point, "point"), self.penalty.margins)
        targets, drop_last = select_targets(model, capture, skip_last=skip_last)
        recorder = Recorder(rule, unit_dim, batch_first, drop_last=drop_last)
        _refuse_second(model)
        self.capture = capture
        self._kind = type(model).__name__
        self._registered = [target.name for target in targets]
        self._recorder: Recorder | None = recorder
        self._handles = recorder.attach(model, targets)
        self._loss: Tensor | None = None
        self._loss_records: list[Extrema] = []
        self._parts: tuple[Tensor, Tensor, Tensor] | None = None  # a loss, and its parts of units and of points
        self._extrema: list[Extrema] | None = None
        self._loss_of: State = ([], -1)
        self._extrema_of: State = ([], -1)
        self._finalizer = weakref.finalize(self, _remove, self._handles)
        self._finalizer.atexit = False

    @property
    def loss(self) -> Tensor:
        """The Jumpstart loss of the model's latest forward pass: a scalar, in float32 (float64 for float64 models).

        Two reads after one forward pass return the same tensor.

        Raises:
            RuntimeError: Before any forward pass, after one in which nothing was captured, after captured layers ran
                outside of a pass, and after ``remove()``. With ``sync=True`` also if the processes have run different
                layers.
        """
        recorder = self._latest()
        if torch.compiler.is_compiling():  # a compiled graph must not refer to a tensor of another step
            return self.penalty(self._gathered(self._records()))
        if self._loss is None or not recorder.is_still(self._loss_of):
            records = self._records()
            with in_graph(records[0].unit.device.type):
                self._loss_records = self._gathered(records)
                self._loss = self.penalty(self._loss_records)
            self._loss_of = recorder.state
        return self._loss

    @property
    def unit_loss(self) -> Tensor:
        """The part of the units in :attr:`loss`: a scalar without a graph, with all weights, for logs.

        The parts of units and points add up to the loss; with ``aggregate="norm"``, their squares add up to its square.

        Raises:
            RuntimeError: As for :attr:`loss`.
        """
        return self._loss_parts()[1]

    @property
    def point_loss(self) -> Tensor:
        """The part of the points in :attr:`loss`: a scalar without a graph, with all weights, for logs.

        Raises:
            RuntimeError: As for :attr:`loss`.
        """
        return self._loss_parts()[2]

    def _loss_parts(self) -> tuple[Tensor, Tensor, Tensor]:
        loss = self.loss
        if self._parts is None or self._parts[0] is not loss:
            records = self._gathered(self._records()) if torch.compiler.is_compiling() else self._loss_records
            with in_graph(loss.device.type):
                self._parts = loss, *self.penalty.parts(records, loss)
        return self._parts

    @property
    def extrema(self) -> list[Extrema]:
        """The records from which :attr:`loss` is computed, without a graph: one for all layer calls of one shape.

        Raises:
            RuntimeError: As for :attr:`loss`.
        """
        recorder = self._latest()
        if self._extrema is None or not recorder.is_still(self._extrema_of):
            self._extrema = [record.detach() for record in self._records()]
            self._extrema_of = recorder.state
        return list(self._extrema)

    @property
    def layers(self) -> list[str]:
        """The names of the captured layers, in call order (before the first pass: in the order of registration).

        The second call of a module in one pass is ``name#2``.
        """
        names = self._recorder.names if self._recorder is not None else []
        return list(names or self._registered)

    @contextmanager
    def recording(self, *, grad: bool = True) -> Iterator[None]:
        """Record everything that runs inside the block as one forward pass.

        For models that are not called as a whole (``model.features(x)``), and for losses over several calls. Inside of
        another such block, or of a call of the model, everything belongs to the outer pass.

        Args:
            grad: Whether the loss can be differentiated. If it cannot, the loss costs less, and the graph of the
                model has no node of the regularizer.

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
        """Detach from the model: remove the hooks and drop every tensor. May be called twice."""
        self._finalizer()
        self._recorder = None
        self._loss = self._extrema = self._parts = None
        self._loss_records = []

    def __enter__(self) -> JumpstartRegularization:
        return self

    def __exit__(self, *exc: object) -> None:
        self.remove()

    def __repr__(self) -> str:
        names = self.layers
        state = "" if self._recorder is not None else ", removed"
        capture = str(self.capture.value if isinstance(self.capture, Capture) else self.capture)
        how = repr(capture) if isinstance(self.capture, str) else "custom"
        layers = counted(len(names), "layer")
        shown = names if len(names) <= 12 else [*names[:6], f"... {len(names) - 11} more ...", *names[-5:]]
        options = "" if repr(self.penalty) == repr(Penalty()) else f", {self.penalty!r}"
        options += ", sync=True" if self.sync else ""
        head = f"JumpstartRegularization({self._kind}, {layers}, capture={how}{options}{state})"
        return "\n  ".join([head, *shown])

    def __deepcopy__(self, memo: dict[int, object]) -> JumpstartRegularization:
        return _restore(self._state())

    def __reduce__(self) -> tuple[Callable[[_State], JumpstartRegularization], tuple[_State]]:
        return _restore, (self._state(),)

    def _state(self) -> _State:
        capture = self.capture if isinstance(self.capture, str) else "custom"
        return {
            "penalty": self.penalty,
            "capture": capture,
            "sync": self.sync,
            "_kind": self._kind,
            "_registered": self._registered,
        }

    def _live(self) -> Recorder:
        if self._recorder is None:
            raise RuntimeError(
                "this JumpstartRegularization is attached to no model: it was removed, or is a copy. Attach a new one: "
                "JumpstartRegularization(model)."
            )
        return self._recorder

    def _latest(self) -> Recorder:
        """The recorder, if its latest pass is the latest call of captured layers."""
        recorder = self._live()
        if recorder.ran and recorder.outside is not None:
            raise RuntimeError(
                f"{recorder.outside!r} ran outside of a forward pass of the model, after the latest one, so there is "
                "no loss of what ran last. Wrap calls of parts, and of model.forward(), in `with "
                "jumpstart.recording():`. If these calls shall not count, read the loss before them."
            )
        return recorder

    def _records(self) -> list[Extrema]:
        recorder = self._live()
        if not recorder.ran:
            raise RuntimeError(
                "there is no Jumpstart loss yet: run the model first (call the model itself, or wrap calls of its "
                "parts in `with jumpstart.recording():`). If it has run: a model that torch.compile compiled "
                "ignores hooks that were attached later. Attach before compiling."
            )
        records = recorder.read(self.penalty.weigh)
        if not records:
            raise RuntimeError(
                f"the latest forward pass captured nothing: none of {', '.join(self._registered[:3])}... was called. "
                "Were the hooks attached after torch.compile, or is the model called by its parts? Attach before "
                "compiling; wrap calls of parts in `with jumpstart.recording():`."
            )
        if not torch.compiler.is_compiling() and (warning := recorder.warning()):
            warnings.warn(warning, stacklevel=3)
        return records

    def _gathered(self, records: list[Extrema]) -> list[Extrema]:
        """With ``sync=True`` the records of all processes, else those of this process."""
        return whole_batch(records, self._group) if self.sync else records


def _refuse_second(model: nn.Module) -> None:
    """Raise if a recorder is attached to the model or to a part of it."""
    other = attached(model)
    if isinstance(other, PassiveRecorder):
        raise RuntimeError(
            f"a StatusMonitor with its own hooks is attached to this {type(model).__name__} (or to a part of it). "
            "Call remove() on the monitor first, or attach the JumpstartRegularization before the monitor: a "
            "StatusMonitor that is attached later reads the records of the regularizer."
        )
    if other is not None:
        raise RuntimeError(
            f"a JumpstartRegularization is attached to this {type(model).__name__} (or to a part of it) already. "
            "Use that one, or call its remove() first."
        )


def _remove(handles: list[HookHandle]) -> None:
    for handle in handles:
        handle.remove()


def _restore(state: _State) -> JumpstartRegularization:
    """A regularizer with the same options that is attached to no model."""
    handle = JumpstartRegularization.__new__(JumpstartRegularization)
    handle.__dict__.update(state, _recorder=None, _handles=[])
    handle._finalizer = weakref.finalize(handle, _remove, [])
    handle._finalizer.atexit = False
    return handle
