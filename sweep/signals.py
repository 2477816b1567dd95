"""SIGTERM and SIGHUP end a run as Ctrl-C does: finished epochs are stored, and a message says how to continue."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

_NUMBERS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


class StoppedBySignal(SystemExit):
    """A signal asks the process to end, with the exit code 128 plus the number of the signal."""


@contextlib.contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Raise :class:`StoppedBySignal` in this block at SIGTERM and SIGHUP; further ones are ignored until its end.

    A signal that the process ignores, as under ``nohup``, or handles already is left alone, and so are all signals in
    a thread other than the main one.
    """
    main = threading.current_thread() is threading.main_thread()
    numbers = [number for number in _NUMBERS if main and signal.getsignal(number) == signal.SIG_DFL]

    def stop(number: int, frame: FrameType | None) -> None:
        for other in numbers:
            signal.signal(other, signal.SIG_IGN)
        raise StoppedBySignal(128 + number)

    for number in numbers:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)
