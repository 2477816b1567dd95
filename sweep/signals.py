"""Signals that end a run: finished epochs are stored, and a message says how to continue.

SIGTERM and SIGHUP end a run as Ctrl-C does. None of the three comes between two steps that belong together.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

_Handler = Callable[[int, FrameType | None], object] | signal.Handlers
_NUMBERS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


class StoppedBySignal(SystemExit):
    """A signal asks the process to end, with the exit code 128 plus the number of the signal."""


class _Hold:
    """How many blocks hold signals back, and which signals have come meanwhile."""

    depth = 0
    numbers: tuple[int, ...] = ()


@contextlib.contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Raise :class:`StoppedBySignal` in this block at SIGTERM and SIGHUP; further ones are ignored until its end.

    These signals and Ctrl-C are held back by :func:`signals_held`. A signal that the process ignores, as under
    ``nohup``, or handles already is left alone, and so are all signals in a thread other than the main one.
    """
    defaults: dict[int, _Handler] = {
        signal.SIGINT: signal.default_int_handler,
        **dict.fromkeys(_NUMBERS, signal.SIG_DFL),
    }
    main = threading.current_thread() is threading.main_thread()
    numbers = [number for number, default in defaults.items() if main and signal.getsignal(number) == default]

    def stop(number: int, frame: FrameType | None) -> None:
        if _Hold.depth:
            _Hold.numbers += (number,)
            return
        for other in numbers:
            signal.signal(other, signal.SIG_IGN)
        raise StoppedBySignal(128 + number)

    for number in numbers:
        signal.signal(number, interrupt if number == signal.SIGINT else stop)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, defaults[number])


def interrupt(number: int, frame: FrameType | None) -> None:
    """A handler of signals that does what Ctrl-C does, but not while :func:`signals_held` holds signals back."""
    if _Hold.depth:
        _Hold.numbers += (number,)
    else:
        raise KeyboardInterrupt


@contextlib.contextmanager
def signals_held() -> Iterator[None]:
    """Let the signals of :func:`stopped_by_signals` that come during this block take effect at its end."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _Hold.depth += 1
    try:
        yield
    finally:
        _Hold.depth -= 1
        if _Hold.numbers and not _Hold.depth:
            number, _Hold.numbers = _Hold.numbers[0], ()
            signal.raise_signal(number)
