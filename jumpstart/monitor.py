"""The status of every unit and point of any model: attach a monitor, run the data, read the metrics.

On a model with a regularizer, a monitor reads the records that the regularizer makes. On any other model, the monitor
attaches its own hooks, which make the same records without a graph.
"""

from __future__ import annotations

import logging
import warnings
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypedDict

import torch
from torch import Tensor, nn

from jumpstart.capture.copies import Hook, HookHandle
from jumpstart.capture.hooks import after_module, clear_dead
from jumpstart.capture.passive import NothingCapturedError, PassiveRecorder, find_recorder, no_weights
from jumpstart.capture.recorder import Recorder
from jumpstart.capture.targets import CaptureLike
from jumpstart.choices import MARGIN, Capture, check_margins
from jumpstart.extrema.torch_internals import check_values, in_jit_trace
from jumpstart.metrics import NetworkStatus
from jumpstart.status.sample import PointSample, processes

logger = logging.getLogger(__name__)


class _State(TypedDict):
    """The options of a monitor that its copies keep."""

    _sample: PointSample
    _status: NetworkStatus
    _enabled: bool


class StatusMonitor:
    """Counts which units and points of a model are dead, linear or non-linear, over the forward passes of an epoch.

    Every forward pass since the construction (or :meth:`reset`) counts while the monitor is :attr:`enabled`. So: run
    one epoch, read the metrics, :meth:`reset`. The outputs and gradients of the model stay the same, bit for bit, and
    no global random number is drawn. Memory does not grow with the number of points. A pass that cannot be counted,
    such as one that skips a layer, does not stop the model: reading the metrics then raises an error with the reason,
    until :meth:`reset`.

    If a :class:`~jumpstart.JumpstartRegularization` is attached to the model, or to one part of it, the monitor reads
    its records. Attach the regularizer first: while a monitor has its own hooks on a model, a regularizer is refused
    there until :meth:`remove`.

    Args:
        model: The model.
        num_points: The number of points in :attr:`point_status`; the metrics count all points.
        seed: Seed of the private generator that draws these points.
        margin: Margin of the positive mean penalties; by default that of the regularizer, or 1 without one.
        negative_margin: Margin of the negative ones; by default that of ``margin`` if it is given, or that of the
            regularizer.
        capture: Which preactivations are read, as for the regularizer. ``capture``, ``skip_last``,
            ``unit_dim`` and ``batch_first`` can be given only if no regularizer is attached.
        skip_last: With ``capture="weights"``, leave out the layer that is called last.
        unit_dim: The dimension of the units in tensors of 3 dimensions and more, as for the regularizer.
        batch_first: Whether dimension 0 holds the samples in tensors of 3 dimensions and more, as for the regularizer.
        enabled: Whether passes count from the start.

    Attributes:
        failure: The error that stopped the counting, or None. After an error, no pass is counted until :meth:`reset`.

    Raises:
        TypeError: If ``model`` is not a module.
        ValueError: On a wrong option, if there is nothing to capture, or if an option is given that an attached
            regularizer determines.
        RuntimeError: If several regularizers are attached to parts of the model.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1))
        >>> with StatusMonitor(model) as monitor:
        ...     for batch in torch.randn(100, 2).split(32):
        ...         _ = model(batch)
        ...     metrics = monitor.compute()
        >>> monitor.points, list(monitor.unit_status), monitor.point_status["1"].shape
        (100, ['1'], torch.Size([100]))
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        num_points: int = 500,
        seed: int = 0,
        margin: float | None = None,
        negative_margin: float | None = None,
        capture: CaptureLike = Capture.ACTIVATIONS,
        skip_last: bool = True,
        unit_dim: int | None = None,
        batch_first: bool | None = None,
        enabled: bool = True,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}: {model!r:.60}.")
        check_margins(MARGIN if margin is None else margin, negative_margin)
        self._sample = PointSample(num_points, seed)
        root, recorder = find_recorder(model)
        self._own: PassiveRecorder | None = None
        if recorder is None:
            recorder = PassiveRecorder(model, capture, skip_last=skip_last, unit_dim=unit_dim, batch_first=batch_first)
        elif (capture, skip_last, unit_dim, batch_first) != (Capture.ACTIVATIONS, True, None, None):
            raise ValueError(
                "capture, skip_last, unit_dim and batch_first must be left out: a regularizer or another monitor is "
                f"attached to this {type(model).__name__} already, and its records are read. Remove that one first."
            )
        if isinstance(recorder, PassiveRecorder):
            self._own = recorder
        if margin is None:
            margin, opposite = recorder.rule.margins
            negative_margin = opposite if negative_margin is None else negative_margin
        recorder.monitors.add(self)
        self._recorder: Callable[[], Recorder | None] = weakref.ref(recorder)
        self._root: Callable[[], nn.Module | None] = weakref.ref(root)
        self._device = torch.device("cpu")
        with self._device:  # whatever the default device is
            self._status = NetworkStatus(margin, negative_margin, self._sample)
        self._points = 0
        self._counted = recorder.calls  # identifies a pass, because each pass starts a new list
        self._missed = 0
        self._enabled = enabled
        self._pending: Recorder | None = None
        self.failure: Exception | None = None
        clear_dead(root)
        handle = after_module(root, _PassEnd(self))
        self._finalizer = weakref.finalize(self, _detach, [handle], self._own)
        self._finalizer.atexit = False

    # Passes ------------------------------------------------------------------------------------------------------

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Count everything that runs inside the block as one forward pass, as ``recording()`` of a regularizer does.

        For models that are not called as a whole (``model.features(x)``).

        Example:
            >>> model = nn.Sequential(nn.Linear(2, 4), nn.ReLU())
            >>> with StatusMonitor(model) as monitor:
            ...     with monitor.recording():
            ...         _ = model[1](model[0](torch.randn(8, 2)))
            ...     monitor.points
            8
        """
        with self._live().scope():
            yield

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Count nothing that runs inside the block."""
        before, self.enabled = self.enabled, False
        try:
            yield
        finally:
            self.enabled = before

    def update(self) -> None:
        """Count the latest forward pass of the model, unless it has been counted.

        Needed with ``torch.compile`` only, whose graphs leave out the hook of the monitor. Otherwise every pass is
        counted without a call of this method.

        Raises:
            RuntimeError: Before any forward pass, and after one in which nothing was captured.
        """
        recorder = self._live()
        if not recorder.ran:
            raise RuntimeError("there is no forward pass to count: run the model first.")
        self._count(recorder)

    def _count(self, recorder: Recorder) -> None:
        """Count the latest pass of a recorder, unless it has been counted."""
        self._pending = None
        if recorder.calls is self._counted:
            return
        self._counted = recorder.calls
        if recorder.kept:
            check_values(recorder.kept[0][1])
        records = recorder.read(no_weights)
        if not records:
            raise NothingCapturedError(
                "the latest forward pass captured nothing. Were the hooks attached after torch.compile, or is the "
                "model called by its parts? Attach before compiling; wrap calls in `with monitor.recording():`."
            )
        device = records[0].unit.device
        if device != self._device:
            self._status.to(device)
            self._device = device
        self._status.add(records)
        self._points += records[0].samples

    def label(self, labels: Tensor | None) -> None:
        """Give the classes of the points that were counted since the last call, for :attr:`point_labels`.

        Args:
            labels: (N,) integers in the order of the points; None if these points have no classes.
        """
        if labels is not None and not isinstance(labels, Tensor):
            raise TypeError(f"labels must be a tensor of one class per point, got {type(labels).__name__}.")
        self._sample.label(labels)

    def on_pass_end(self) -> None:
        """Note that a pass is over.

        The pass is counted later, by :meth:`count_pending`, because reading the loss makes the records at less cost.
        """
        recorder = self._recorder()
        if not self._enabled or in_jit_trace():
            return
        if recorder is None:
            if self._missed == 0:
                logger.warning("The regularizer of a StatusMonitor was removed: forward passes are no longer counted.")
            self._missed += 1
        elif not recorder.active:  # otherwise this call of the model is a part of a pass
            self._pending = recorder
            if self._own is not None:
                self._own.reduce()  # no loss will be read

    def count_pending(self) -> None:
        """Count the pass that is over, if it has not been counted. An error is stored as :attr:`failure`.

        This runs inside of the next call of the model, which must not fail because it is monitored.
        """
        recorder = self._pending
        if recorder is not None and not recorder.active:
            self._pending = None
            self._try_to_count(recorder)

    def _try_to_count(self, recorder: Recorder) -> None:
        if self.failure is None:
            try:
                self._count(recorder)
            except Exception as error:  # any error, see above
                self.failure = error

    def note_outside(self, name: str) -> None:
        """Note that a captured module ran outside of a pass, so that it is not counted.

        Args:
            name: The name of the module.
        """
        if self._enabled and self.failure is None:
            self.failure = RuntimeError(
                f"{name!r} ran outside of a forward pass of the model. Wrap calls of parts, and of model.forward(), in "
                "`with monitor.recording():`, or in `with monitor.pause():` if they shall not count."
            )

    @property
    def enabled(self) -> bool:
        """Whether passes count now. Can be set."""
        return self._enabled

    @enabled.setter
    def enabled(self, value: bool) -> None:
        self.count_pending()
        recorder = self._recorder()
        if value and not self._enabled and recorder is not None:
            self._counted = recorder.calls
        self._enabled = value

    def _live(self) -> Recorder:
        recorder = self._recorder()
        if recorder is None:
            raise RuntimeError(
                "this StatusMonitor is attached to no model: it, or the regularizer that it read, was removed, or it "
                "is a copy. Make a new one: StatusMonitor(model)."
            )
        return recorder

    # Metrics -----------------------------------------------------------------------------------------------------
    # In a distributed run the metrics cover all processes, and all processes must read them together.

    def compute(self) -> dict[str, Tensor]:
        """All metrics, each a scalar, by the names of :meth:`NetworkStatus.compute`.

        Raises:
            RuntimeError: If no pass has been counted, or one could not be.
        """
        self._require_passes()
        metrics: dict[str, Tensor] = self._status.compute()
        return metrics

    def numbers(self) -> dict[str, float]:
        """The metrics of :meth:`compute` as Python numbers, with one transfer from the device instead of one each."""
        self._require_passes()
        return self._status.numbers()

    @property
    def unit_status(self) -> dict[str, Tensor]:
        """The status of every unit, by layer in call order: (units,) codes of :class:`~jumpstart.Status`."""
        self._require_passes()
        return self._status.unit_status

    @property
    def unit_max(self) -> dict[str, Tensor]:
        """The largest preactivation of every unit, by layer in call order: (units,)."""
        self._require_passes()
        return self._status.unit_max

    @property
    def unit_min(self) -> dict[str, Tensor]:
        """The smallest preactivation of every unit, by layer in call order: (units,)."""
        self._require_passes()
        return self._status.unit_min

    @property
    def point_status(self) -> dict[str, Tensor]:
        """The status of the sampled points, by layer in call order: (P,) codes, in the order of :attr:`point_index`."""
        self._require_passes()
        return dict(zip(self._status.unit_max, self._sample.rows.unbind(1), strict=True))

    @property
    def point_index(self) -> Tensor:
        """(P,) positions of the sampled points, counted from the start of the epoch; the same in every epoch."""
        self._require_passes()
        return self._sample.index

    @property
    def point_labels(self) -> Tensor | None:
        """(P,) classes of the sampled points, in the order of :attr:`point_index`; None unless all were labeled."""
        self._require_passes()
        return self._sample.labels

    @property
    def root(self) -> nn.Module | None:
        """The module whose calls are passes: the model, or the part to which the regularizer is attached."""
        return self._root()

    @property
    def points(self) -> int:
        """The number of points that have been counted, in this process."""
        self.count_pending()
        return self._points

    @property
    def layers(self) -> list[str]:
        """The names of the layers in call order; none before the first pass."""
        self.count_pending()
        return [name for name, _ in self._status.layout]

    def _require_passes(self) -> None:
        self.count_pending()
        if self.failure is not None:
            raise RuntimeError(f"not all forward passes were counted: {self.failure} reset() clears this error.") from (
                self.failure
            )
        self._status.reduce_pending()
        recorder = self._recorder()
        if recorder is not None and (warning := recorder.warning()):
            warnings.warn(warning, stacklevel=3)
        if self._missed:
            raise RuntimeError(
                f"not all forward passes were counted: {self._missed} came after the regularizer was removed. "
                "reset() clears this error; a new StatusMonitor(model) counts further passes."
            )
        if self.points == 0 and processes()[0] > 1:
            self._join_others()  # which may have counted passes, and wait for this process
        elif self.points == 0:
            self._live()
            raise RuntimeError(
                "no forward pass has been counted yet: run the model first. (One that is compiled, or called by its "
                "parts, needs monitor.update() or `with monitor.recording():`.)"
            )

    def _join_others(self) -> None:
        """Move the metric, which moves with the first pass otherwise, to the device of the model."""
        root = self._root()
        parameter = None if root is None else next(root.parameters(), None)
        if parameter is not None:
            self._status.to(parameter.device)

    # Reset and removal -------------------------------------------------------------------------------------------

    def reset(self) -> None:
        """Start a new epoch."""
        self._status.reset()
        self._points = self._missed = 0
        self._pending = self.failure = None
        recorder = self._recorder()
        if recorder is not None:
            self._counted = recorder.calls

    def remove(self) -> None:
        """Remove the hooks of this monitor from the model. The metrics can still be read. May be called twice."""
        self.count_pending()
        recorder = self._recorder()
        if recorder is not None:
            recorder.monitors.discard(self)
        self._finalizer()
        self._own = None
        self._recorder = self._root = _none

    def __enter__(self) -> StatusMonitor:
        return self

    def __exit__(self, *exc: object) -> None:
        if exc[0] is not None:
            self._pending = None  # counting the failed pass could raise another error, which would hide the first
        self.remove()

    def __deepcopy__(self, memo: dict[int, object]) -> StatusMonitor:
        return _restore(self._state())

    def __reduce__(self) -> tuple[Callable[[_State], StatusMonitor], tuple[_State]]:
        return _restore, (self._state(),)

    def _state(self) -> _State:
        """The options, for a copy that is attached to no model and has counted nothing."""
        sample = PointSample(self._sample.num_points, self._sample.seed)
        with torch.device("cpu"):
            status = NetworkStatus(*self._status.margins, sample)
        return {"_sample": sample, "_status": status, "_enabled": self._enabled}


class _PassEnd(Hook[StatusMonitor]):
    """Runs after the model and reports the end of a pass to the monitor, but not from a compiled graph."""

    def __call__(self, module: nn.Module, args: object, output: object) -> None:
        monitor = None if torch.compiler.is_compiling() else self.owner
        if monitor is not None:
            monitor.on_pass_end()


def _detach(handles: list[HookHandle], own: PassiveRecorder | None = None) -> None:
    """Remove the hooks of a monitor, and those of its recorder if no other monitor uses it."""
    for handle in handles:
        handle.remove()
    if own is not None and not list(own.monitors):  # the list has no references to monitors that are gone
        for handle in own.handles:
            handle.remove()


def _none() -> None:
    """A weak reference to an object that is gone."""


def _restore(state: _State) -> StatusMonitor:
    """A monitor with the same options that is attached to no model."""
    monitor = StatusMonitor.__new__(StatusMonitor)
    monitor.__dict__.update(state, _own=None, _recorder=_none, _root=_none, _points=0, _counted=[], _missed=0)
    monitor._pending = monitor.failure = None
    monitor._device = torch.device("cpu")
    monitor._finalizer = weakref.finalize(monitor, _detach, [])
    monitor._finalizer.atexit = False
    return monitor
