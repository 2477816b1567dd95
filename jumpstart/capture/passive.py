"""A recorder for monitors of a model that has no loss attached, and the search for a recorder on a model."""

from __future__ import annotations

from torch import Tensor, nn

from jumpstart.capture.hooks import End, Read, recorder_hooks
from jumpstart.capture.recorder import Recorder, Weigh
from jumpstart.capture.targets import CaptureLike, select_targets
from jumpstart.extrema.record import Extrema
from jumpstart.extrema.rule import Rule


class NothingCapturedError(RuntimeError):
    """A forward pass in which no captured layer ran."""


class PassiveRecorder(Recorder):
    """A recorder without a loss: it records without a graph, and only while one of its monitors is ``enabled``.

    Kept tensors hold the graph of the model until they are reduced, so :meth:`reduce` is to be called as soon as a pass
    is over. The hooks are removed when the last monitor is removed.

    Args:
        model: The model.
        capture: Which preactivations are read.
        skip_last: With ``capture="weights"``, leave out the layer that is called last.
        unit_dim: The dimension of the units; None to learn it.

    Raises:
        ValueError: On a wrong option, or if there is nothing to capture.
    """

    in_graph = False

    def __init__(self, model: nn.Module, capture: CaptureLike, *, skip_last: bool, unit_dim: int | None) -> None:
        targets, drop_last = select_targets(model, capture, skip_last=skip_last)
        super().__init__(Rule(), unit_dim, drop_last=drop_last)
        self._failure: Exception | None = None
        self.handles = self.attach(model, targets)

    def begin(self, module: nn.Module | None = None) -> None:
        """Start a new pass, if a monitor is enabled."""
        if any(monitor.enabled for monitor in self.monitors):
            super().begin(module)
            self.grad = False  # without a loss, a reentrant checkpoint is allowed

    def record(self, read: Read, z: Tensor) -> None:
        """Record one preactivation without its graph. An error does not stop the model: :meth:`read` raises it."""
        try:
            super().record(read, z)
        except (RuntimeError, TypeError, ValueError) as error:
            self._failure = self._failure or error

    def reduce(self) -> None:
        """Reduce the kept tensors. An error is raised by :meth:`read`."""
        if self._failure is None:
            try:
                super().read(no_weights)
            except (RuntimeError, TypeError, ValueError) as error:
                self._failure = error

    def read(self, weigh: Weigh) -> list[Extrema]:
        """The records of the latest pass.

        Raises:
            RuntimeError, TypeError, ValueError: The first error of :meth:`record` or :meth:`reduce` in the pass.
        """
        if self._failure is not None:
            raise self._failure
        return super().read(weigh)

    def forget(self) -> None:
        """Drop every tensor, and the error."""
        super().forget()
        self._failure = None


def no_weights(units: int, points: int) -> None:
    """No weights, for records that are read without a loss."""


def find_recorder(model: nn.Module) -> tuple[nn.Module, Recorder | None]:
    """The part of a model to which a recorder is attached, with the recorder; else the model itself and None.

    Raises:
        RuntimeError: If there are several, or if the model is a part of another one that has a recorder.
    """
    hooks = list(recorder_hooks(model))
    roots = [(module, hook.owner) for module, hook in hooks if isinstance(hook, End) and hook.owner is not None]
    if len(roots) > 1:
        raise RuntimeError(
            f"{len(roots)} regularizers are attached to parts of this {type(model).__name__}. Make one StatusMonitor "
            "for each of these parts, or NetworkStatusPlot(module=...)."
        )
    if roots:
        root, recorder = roots[0]
        assert isinstance(recorder, Recorder)
        return root, recorder
    if any(hook.owner is not None for _, hook in hooks):
        raise RuntimeError(
            f"this {type(model).__name__} is a part of a model that has a regularizer attached. Give that model to "
            "StatusMonitor, or leave out the module of NetworkStatusPlot."
        )
    return model, None
