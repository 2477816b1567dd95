"""A monitor for use inside a training that is not ours: it never raises where the training would stop."""

from __future__ import annotations

from jumpstart.capture.passive import NothingCapturedError
from jumpstart.capture.recorder import Recorder
from jumpstart.monitor import StatusMonitor


class TolerantMonitor(StatusMonitor):
    """A monitor whose errors do not stop the training: it keeps the first one, and counts no further pass.

    Attributes:
        failure: The first error, if any.
    """

    failure: Exception | None = None

    @property
    def alone(self) -> bool:
        """Whether the monitor has its own hooks, because no regularizer is attached."""
        return self._own is not None

    def able(self) -> bool:
        """Whether the monitor can count further passes. If not, its hooks are removed."""
        if self.failure is None and self._recorder() is None:
            self.failure = RuntimeError("the regularizer whose records it reads was removed.")
        if self.failure is None:
            return True
        self.remove()
        return False

    def catch_up(self) -> None:
        """Count the latest pass, if the hook of the monitor did not: a compiled network may not call the hook."""
        self.count_pending()
        recorder = self._recorder()
        if recorder is not None and recorder.ran and not recorder.active:
            self._count(recorder)

    def _count(self, recorder: Recorder) -> None:
        if self.failure is not None:
            return
        try:
            super()._count(recorder)
        except NothingCapturedError:  # a step need not run a captured layer
            pass
        except (RuntimeError, TypeError, ValueError) as error:
            self.failure = error
