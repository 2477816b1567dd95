"""Status of every unit and point of any model: attach a monitor, run the data through, read the figures.

With a regularizer on the model it reads the records that the loss has made already; without one it puts hooks of its
own on, which make the same records without a graph.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from jumpstart.capture.passive import NothingCapturedError, Watcher, find_recorder
from jumpstart.capture.recorder import Recorder
from jumpstart.capture.targets import CaptureLike
from jumpstart.choices import Capture
from jumpstart.metrics import NetworkStatus
from jumpstart.status.sample import PointSample

logger = logging.getLogger(__name__)


class StatusMonitor:
    """Watches which units and points of a model are dead, linear or non-linear, while data pass through it.

    Every forward pass counts from the time the monitor is made (or reset) while it is :attr:`enabled`: run one epoch,
    read, :meth:`reset`. The model's outputs and gradients stay the same, bit for bit, and no global random number is
    drawn. Memory does not grow with the number of points.

    Where a :class:`~jumpstart.JumpstartRegularization` is attached to the model, or to one part of it, the monitor
    reads its records. So attach the regularizer first: while a monitor has hooks of its own on a model, a regularizer
    is refused there until :meth:`remove`.

    Args:
        model: The model.
        num_points: Points that :attr:`point_status` shows; the figures are of all.
        seed: Chooses these points, by a private generator.
        margin: That of the mean penalties. By default the regularizer's, without one 1.
        capture: What is read, as for the regularizer. As the next two, only where no regularizer is attached.
        skip_last: With ``capture="weights"``, leave out the layer that is called last.
        unit_dim: The dimension of the units in tensors of 3 dimensions and more; by default found out.
        enabled: Whether passes count from the start.

    Raises:
        TypeError: If ``model`` is not a module.
        ValueError: On a wrong option, if there is nothing to capture, or if an option is given that an attached
            regularizer decides.
        RuntimeError: If several regularizers are attached to parts of the model.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1))
        >>> with StatusMonitor(model) as monitor:
        ...     for batch in torch.randn(100, 2).split(32):
        ...         _ = model(batch)
        ...     figures = monitor.compute()
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
        capture: CaptureLike = Capture.ACTIVATIONS,
        skip_last: bool = True,
        unit_dim: int | None = None,
        enabled: bool = True,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}: {model!r:.60}.")
        if margin is not None and not 0 < margin < float("inf"):
            raise ValueError(f"margin must be a finite number > 0, got {margin}. The published value is 1.")
        self._sample = PointSample(num_points, seed)
        root, recorder = find_recorder(model)
        self._own: Watcher | None = None
        if recorder is None:
            recorder = Watcher(model, capture, skip_last=skip_last, unit_dim=unit_dim)
        elif (capture, skip_last, unit_dim) != (Capture.ACTIVATIONS, True, None):
            raise ValueError(
                "capture, skip_last and unit_dim must be left out: a regularizer or another monitor is attached to "
                f"this {type(model).__name__} already, and its records are read. Remove that one first."
            )
        if isinstance(recorder, Watcher):
            self._own = recorder
        recorder.users.add(self)
        self._recorder: Callable[[], Recorder | None] = weakref.ref(recorder)
        self._root: Callable[[], nn.Module | None] = weakref.ref(root)
        self._status = NetworkStatus(recorder.rule.margin if margin is None else margin, self._sample)
        self._device = torch.device("cpu")
        self._points = 0
        self._seen = recorder.calls  # each pass has a list of its own
        self._missed = 0
        self._enabled = enabled
        self._finished: Recorder | None = None
        _clear_dead(root)
        handle = root.register_forward_hook(_PassEnd(self))
        self._finalizer = weakref.finalize(self, _take_off, [handle], self._own)
        self._finalizer.atexit = False

    # Passes ------------------------------------------------------------------------------------------------------

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Count everything that runs inside as one forward pass, as the regularizer's own ``recording()`` does.

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
        """Count nothing that runs inside."""
        before, self.enabled = self.enabled, False
        try:
            yield
        finally:
            self.enabled = before

    def update(self) -> None:
        """Count the model's latest forward pass, unless it has been counted. By itself this happens after each.

        Needed with ``torch.compile``, whose graphs leave the monitor out.

        Raises:
            RuntimeError: Before any forward pass, and after one in which nothing was captured.
        """
        recorder = self._live()
        if not recorder.ran:
            raise RuntimeError("there is no forward pass to count: run the model first.")
        self._take(recorder)

    def _take(self, recorder: Recorder) -> None:
        self._finished = None
        if recorder.calls is self._seen:
            return
        self._seen = recorder.calls  # each pass has a list of its own
        records = recorder.read(_no_weights)
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

    def passed(self) -> None:
        """A pass of the model is over. The loss, if there is one, makes the records, so that they are taken later."""
        recorder = self._recorder()
        if not self._enabled:
            return
        if recorder is None:
            if self._missed == 0:
                logger.warning("The regularizer of a StatusMonitor was removed: forward passes are no longer counted.")
            self._missed += 1
        elif not recorder.active:  # else it is a part of what is recorded as one
            self._finished = recorder
            if self._own is not None:
                self._own.reduce()  # there is no loss to wait for

    def settle(self) -> None:
        """Take what the last finished pass has left, if it has not been taken and is there still."""
        recorder = self._finished
        if recorder is not None and not recorder.active:
            self._take(recorder)

    @property
    def enabled(self) -> bool:
        """Whether passes count now. It may be set."""
        return self._enabled

    @enabled.setter
    def enabled(self, value: bool) -> None:
        self.settle()
        recorder = self._recorder()
        if value and not self._enabled and recorder is not None:
            self._seen = recorder.calls  # each pass has a list of its own
        self._enabled = value

    def _live(self) -> Recorder:
        recorder = self._recorder()
        if recorder is None:
            raise RuntimeError(
                "this StatusMonitor is attached to no model: it, or the regularizer that it read, was removed, or it "
                "is a copy. Make a new one: StatusMonitor(model)."
            )
        return recorder

    # Figures -----------------------------------------------------------------------------------------------------
    # In a distributed run they are those of all processes, which must read them together.

    def compute(self) -> dict[str, Tensor]:
        """All figures, each a scalar, by the names of :meth:`NetworkStatus.compute`.

        Raises:
            RuntimeError: If no pass has been counted, or some could not be.
        """
        self._require_passes()
        found: dict[str, Tensor] = self._status.compute()
        return found

    def numbers(self) -> dict[str, float]:
        """The same as Python numbers: one transfer from the device instead of one for each."""
        self._require_passes()
        return self._status.numbers()

    @property
    def unit_status(self) -> dict[str, Tensor]:
        """The status of every unit, layer by layer in call order: (units,) codes of :class:`~jumpstart.Status`."""
        self._require_passes()
        return self._status.unit_status

    @property
    def unit_max(self) -> dict[str, Tensor]:
        """The largest preactivation of every unit, in the same form."""
        self._require_passes()
        return self._status.unit_max

    @property
    def unit_min(self) -> dict[str, Tensor]:
        """The smallest preactivation of every unit, in the same form."""
        self._require_passes()
        return self._status.unit_min

    @property
    def point_status(self) -> dict[str, Tensor]:
        """The status of the sampled points, layer by layer: (P,) codes, points in the order of :attr:`point_index`."""
        self._require_passes()
        return dict(zip(self.layers, self._sample.rows.unbind(1), strict=True))

    @property
    def point_index(self) -> Tensor:
        """(P,) which points are sampled, counted from the start of the epoch; the same every time."""
        self._require_passes()
        return self._sample.index

    @property
    def root(self) -> nn.Module | None:
        """The module whose calls are the passes: the model, or the part of it that has the regularizer."""
        return self._root()

    @property
    def points(self) -> int:
        """How many points have been counted, in this process."""
        self.settle()
        return self._points

    @property
    def layers(self) -> list[str]:
        """Names of the layers in call order; none before the first pass."""
        self.settle()
        return [name for name, _ in self._status.layout]

    def _require_passes(self) -> None:
        self.settle()
        self._status.settle()
        if self._missed:
            raise RuntimeError(
                f"{self._missed} forward passes were not counted, because the regularizer of the model was removed. "
                "reset() forgets this; a new StatusMonitor(model) counts on."
            )
        if self.points == 0:
            raise RuntimeError(
                "no forward pass has been counted yet: run the model first. (One that is compiled, or called by its "
                "parts, needs monitor.update() or `with monitor.recording():`.)"
            )

    # Life --------------------------------------------------------------------------------------------------------

    def reset(self) -> None:
        """Forget the epoch."""
        self._status.reset()
        self._points = self._missed = 0
        self._finished = None
        recorder = self._recorder()
        if recorder is not None:
            self._seen = recorder.calls  # each pass has a list of its own

    def remove(self) -> None:
        """Take the monitor's hooks off the model; the figures stay. May be called twice."""
        self.settle()
        recorder = self._recorder()
        if recorder is not None:
            recorder.users.discard(self)
        self._finalizer()
        self._own = None
        self._recorder = self._root = _nothing

    def __enter__(self) -> StatusMonitor:
        return self

    def __exit__(self, *exc: object) -> None:
        if exc[0] is not None:
            self._finished = None  # what a failure has left must not hide it
        self.remove()

    def __deepcopy__(self, memo: dict[int, Any]) -> StatusMonitor:
        return _restore(self._state())

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self._state(),)

    def _state(self) -> dict[str, Any]:
        """What a copy has: the options. It is attached to nothing, and has counted nothing."""
        sample = PointSample(self._sample.num_points, self._sample.seed)
        return {"_sample": sample, "_status": NetworkStatus(self._status.margin, sample), "_enabled": self._enabled}


class _PassEnd:
    """A hook on the model that tells its monitor, which it does not keep alive. Copies and pickles of it are dead."""

    def __init__(self, monitor: StatusMonitor | None = None) -> None:
        self._monitor = weakref.ref(monitor) if monitor is not None else None

    @property
    def monitor(self) -> StatusMonitor | None:
        """The living monitor, unless a graph is compiled: what is in there can't be counted."""
        return None if self._monitor is None or torch.compiler.is_compiling() else self._monitor()

    def __call__(self, *args: Any) -> None:
        monitor = self.monitor
        if monitor is not None:
            monitor.passed()

    def __reduce__(self) -> tuple[Any, ...]:
        return (_PassEnd, ())

    def __deepcopy__(self, memo: dict[int, Any]) -> _PassEnd:
        return _PassEnd()


def _no_weights(units: int, points: int) -> None:
    """No loss is asked for."""


def _take_off(handles: list[RemovableHandle], own: Watcher | None = None) -> None:
    for handle in handles:
        handle.remove()
    if own is not None and not list(own.users):  # in a list are the living alone
        for handle in own.handles:
            handle.remove()


def _clear_dead(module: nn.Module) -> None:
    """Take off what a deep copy or a pickle brought along."""
    for key, hook in list(module._forward_hooks.items()):
        if isinstance(hook, _PassEnd) and hook.monitor is None:
            module._forward_hooks.pop(key)


def _nothing() -> None:
    """What a weak reference gives whose object is gone."""


def _restore(state: dict[str, Any]) -> StatusMonitor:
    monitor = StatusMonitor.__new__(StatusMonitor)
    monitor.__dict__.update(state, _own=None, _recorder=_nothing, _root=_nothing, _points=0, _seen=0, _missed=0)
    monitor._finished = None
    monitor._device = torch.device("cpu")
    monitor._finalizer = weakref.finalize(monitor, _take_off, [])
    monitor._finalizer.atexit = False
    return monitor
