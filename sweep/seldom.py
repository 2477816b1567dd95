"""Work beside a sweep that is repeated so seldom that it costs a small share of the time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

_SHARE = 0.002
"""The share of the time that the work may cost: 2 ms for a run of one second."""
_LONGEST = 300.0
"""Most seconds between two calls, however long the work takes."""


@dataclass
class Seldom:
    """Work that is repeated after some seconds, or later if it takes long.

    Args:
        action: The work; called with the seconds after which it is likely to be done again.
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

    def __call__(self) -> bool:
        """Do the work if enough time has passed, and return whether it was done."""
        begin = self.clock()
        if begin - self._last < self._wait:
            return False
        self.action(self._wait)
        self._last = self.clock()
        self._wait = max(self.seconds, min((self._last - begin) / _SHARE, _LONGEST))
        return True
