"""A recorder for those who watch a model without a loss, and the search for one that is there already."""

from __future__ import annotations

from torch import Tensor, nn

from jumpstart.capture.hooks import End, Hook, Read
from jumpstart.capture.recorder import Recorder, Weigh
from jumpstart.capture.targets import CaptureLike, find_targets
from jumpstart.choices import Capture
from jumpstart.extrema.record import Extrema
from jumpstart.extrema.rule import Rule


class NothingCapturedError(RuntimeError):
    """A forward pass in which no captured layer ran."""


class Watcher(Recorder):
    """A recorder that no loss reads: it records without a graph, and only while one of its users is ``enabled``.

    What waits is in the graph of the model until it is reduced, which is to be done as soon as a pass is over.

    Args:
        model: The model.
        capture: What is read.
        skip_last: With ``capture="weights"``, leave out the layer that is called last.
        unit_dim: The dimension of the units, None to find out.

    The hooks are taken off when the last of its users leaves.

    Raises:
        ValueError: On a wrong option, or if there is nothing to capture.
    """

    in_graph = False

    def __init__(self, model: nn.Module, capture: CaptureLike, *, skip_last: bool, unit_dim: int | None) -> None:
        if unit_dim is not None and (not isinstance(unit_dim, int) or isinstance(unit_dim, bool) or unit_dim == 0):
            raise ValueError(f"unit_dim must be an integer other than 0 (that of the samples), got {unit_dim!r}.")
        targets = find_targets(model, capture)
        drop_last = isinstance(capture, str) and capture == Capture.WEIGHTS and skip_last
        if drop_last and len(targets) == 1:
            raise ValueError(
                f"nothing to capture in {type(model).__name__}: {targets[0].name!r} is its only Linear or Conv layer, "
                "and skip_last leaves the last one out. Use skip_last=False."
            )
        super().__init__(Rule(), unit_dim, drop_last=drop_last)
        self._failure: Exception | None = None
        self.handles = self.attach(model, targets)

    def begin(self, module: nn.Module | None = None) -> None:
        """A new pass, unless nobody counts it."""
        if any(user.enabled for user in self.users):
            super().begin(module)
            self.grad = False  # a reentrant checkpoint does no harm here

    def take(self, read: Read, z: Tensor) -> None:
        """Note one preactivation without its graph. The model is not stopped: a failure is told who reads."""
        try:
            super().take(read, z)
        except (RuntimeError, TypeError, ValueError) as error:
            self._failure = self._failure or error

    def reduce(self) -> None:
        """Reduce what waits. A failure is told who reads."""
        if self._failure is None:
            try:
                super().read(_no_weights)
            except (RuntimeError, TypeError, ValueError) as error:
                self._failure = error

    def read(self, weigh: Weigh) -> list[Extrema]:
        """The records of the latest pass.

        Raises:
            RuntimeError, TypeError, ValueError: What a preactivation of the pass was refused for.
        """
        if self._failure is not None:
            raise self._failure
        return super().read(weigh)

    def forget(self) -> None:
        """Let go of every tensor."""
        super().forget()
        self._failure = None


def _no_weights(units: int, points: int) -> None:
    """No loss is asked for."""


def find_recorder(model: nn.Module) -> tuple[nn.Module, Recorder | None]:
    """The part of a model that has a live recorder, or else the model itself."""
    hooks = [
        (module, hook)
        for module in model.modules()
        for hook in (*module._forward_hooks.values(), *module._forward_pre_hooks.values())
    ]
    found = [(module, hook.recorder) for module, hook in hooks if isinstance(hook, End) and hook.recorder is not None]
    if len(found) > 1:
        raise RuntimeError(
            f"{len(found)} regularizers are attached to parts of this {type(model).__name__}. Make one StatusMonitor "
            "for each of these parts, or NetworkStatusPlot(module=...)."
        )
    if found:
        return found[0]
    if any(isinstance(hook, Hook) and hook.recorder is not None for _, hook in hooks):
        raise RuntimeError(
            f"this {type(model).__name__} is a part of a model that has a regularizer attached. Give that model to "
            "StatusMonitor, or leave out the module of NetworkStatusPlot."
        )
    return model, None
