"""A recorder for monitors of a model that has no loss attached, and the search for a recorder on a model."""

from __future__ import annotations

from torch import nn

from jumpstart.capture.hooks import End, Read, recorder_hooks
from jumpstart.capture.recorder import Recorder
from jumpstart.capture.targets import CaptureLike, select_targets
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
        batch_first: Whether dimension 0 holds the samples; None if the modules decide.

    Raises:
        ValueError: On a wrong option, or if there is nothing to capture.
    """

    in_graph = False
    defers = True

    def __init__(
        self,
        model: nn.Module,
        capture: CaptureLike,
        *,
        skip_last: bool,
        unit_dim: int | None,
        batch_first: bool | None,
    ) -> None:
        targets, drop_last = select_targets(model, capture, skip_last=skip_last)
        super().__init__(Rule(), unit_dim, batch_first, drop_last=drop_last)
        self._skips = False  # whether a pass is running that no monitor counts
        self.handles = self.attach(model, targets)

    def _enabled(self) -> bool:
        return any(monitor.enabled for monitor in self.monitors)

    def begin(self, module: nn.Module | None = None, *, scope: bool = False) -> bool:
        """Begin a call of the model, or a recording, if a monitor is enabled."""
        self._skips = not self._enabled()
        if not self._skips:
            try:
                return super().begin(module, scope=scope)
            except Exception as error:  # nothing that fails here may stop the model
                self.forget()
                self._failure = error
        return scope

    def end(self) -> None:
        """End the pass."""
        self._skips = False
        super().end()

    def note_outside(self, read: Read) -> None:
        """Note that a captured module ran outside of a pass, if a monitor is enabled."""
        if not self._skips and self._failure is None and self._enabled():
            super().note_outside(read)

    def reduce(self) -> None:
        """Reduce the kept tensors. An error is raised by :meth:`read`."""
        if self._failure is None:
            try:
                super().read(no_weights)
            except Exception as error:  # nothing that fails here may stop the model
                self._failure = error


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
