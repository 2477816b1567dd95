"""Work beside a sweep that is repeated so seldom that it costs a small share of the time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

_SHARE = 0.002
"""The largest share of the time: 2 ms for a run of one second."""


@dataclass
class Seldom:
    """An action that is repeated after some seconds, or later if it takes long.

    Args:
        action: What is done; called with the seconds until the next time, as far as they are known.
        seconds: Least seconds between two calls.
        clock: The time in seconds.
    """

    action: Callable[[float], object]
    seconds: float
    clock: Callable[[], float] = time.monotonic
    _wait: float = field(default=0.0, init=False)
    _last: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self._last, self._wait = self.clock(), self.seconds

    def __call__(self) -> None:
        """Do it if it is time."""
        if self.clock() - self._last >= self._wait:
            self.now()

    def now(self) -> None:
        """Do it now."""
        begin = self.clock()
        self.action(self._wait)
        self._last = self.clock()
        self._wait = max(self.seconds, (self._last - begin) / _SHARE)
