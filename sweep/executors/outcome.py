"""What became of a run that was trained far from its ledger, and the files of its directory as bytes."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sweep.ledger.entry import State
from sweep.ledger.ledger import Ledger


@dataclass(frozen=True)
class Outcome:
    """What became of one try of a run.

    Attributes:
        number: The run.
        state: Finished, failed or interrupted.
        summary: Its summary, if it is finished.
        error: Its error in one line, if it failed.
        seconds: Seconds of this try.
    """

    number: int
    state: State
    summary: Mapping[str, object] | None = None
    error: str | None = None
    seconds: float = 0.0

    def record(self, ledger: Ledger) -> None:
        """Store this outcome in the ledger.

        Args:
            ledger: The ledger.
        """
        if self.state is State.FINISHED:
            ledger.finish(self.number, self.summary or {}, self.seconds)
        elif self.state is State.FAILED:
            ledger.fail(self.number, self.error or "", self.seconds)
        else:
            ledger.interrupt(self.number)


class Outbox:
    """Takes the results of runs in place of a ledger, in a process that can't write the ledger.

    Args:
        folder: The folder whose ``runs/`` holds the run directories.

    Attributes:
        folder: The folder.
        outcomes: What became of the runs, in their order.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.outcomes: list[Outcome] = []

    def finish(self, number: int, summary: Mapping[str, object], seconds: float) -> None:
        """Note the result of a run, as :meth:`~sweep.ledger.ledger.Ledger.finish` does."""
        self.outcomes.append(Outcome(number, State.FINISHED, summary=dict(summary), seconds=seconds))

    def fail(self, number: int, error: str, seconds: float) -> None:
        """Note the error of a run, as :meth:`~sweep.ledger.ledger.Ledger.fail` does."""
        self.outcomes.append(Outcome(number, State.FAILED, error=error, seconds=seconds))

    def interrupt(self, number: int) -> None:
        """Note that a run was interrupted, as :meth:`~sweep.ledger.ledger.Ledger.interrupt` does."""
        self.outcomes.append(Outcome(number, State.INTERRUPTED))


def packed(folder: Path) -> bytes | None:
    """A folder as bytes that :func:`unpack` reads; None if there is no such folder.

    Args:
        folder: The folder.
    """
    if not folder.is_dir():
        return None
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        archive.add(folder, arcname=".")
    return content.getvalue()


def unpack(content: bytes | None, folder: Path) -> None:
    """Write the files of :func:`packed` into a folder, over what is there.

    Args:
        content: The bytes; None for no files.
        folder: The folder, which is made.
    """
    if content is not None:
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            archive.extractall(folder, filter="data")
