"""What executors share: the work that they are given, and the one method that does it."""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Self

from sweep.grid.options import Keep
from sweep.ledger.ledger import Ledger


@dataclass(frozen=True)
class Work:
    """The runs of a sweep that are not finished.

    Attributes:
        ledger: The ledger.
        retries: How often a run that failed is tried again.
        keep: What the run directories keep.
        on_change: Called about twice a second while the executor runs.
    """

    ledger: Ledger
    retries: int
    keep: Keep
    on_change: Callable[[], object] = lambda: None


class Executor(contextlib.AbstractContextManager["Executor"], abc.ABC):
    """Trains the runs of a sweep. A block of ``with`` holds what the executor uses, such as a connection.

    Every run is claimed in the ledger before it is trained, so that no two processes train it, and is given back when
    the process that trains it dies.

    Attributes:
        claims_alone: Whether only the process of the command changes the ledger, which may be on a network drive then.
    """

    claims_alone: ClassVar[bool] = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    @abc.abstractmethod
    def run(self, work: Work) -> None:
        """Train all runs that are not finished.

        Args:
            work: The runs.

        Raises:
            LedgerError: If one process after another ends with an error.
            OSError: If the disk is full. Runs that were interrupted by this are resumed by the next command.
            KeyboardInterrupt: At Ctrl-C, after the processes have stored the state of their runs.
        """
