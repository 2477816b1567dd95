"""The state of a sweep as text: how many runs are finished, the time that is left, and the errors."""

from __future__ import annotations

import datetime
from collections.abc import Mapping

from jumpstart.words import counted
from sweep.ledger.entry import Entry, State
from sweep.ledger.ledger import Ledger

_MOST_ERRORS = 10


def status_text(ledger: Ledger) -> str:
    """A table of the states, the running runs, the time that is left, and the errors of runs that failed.

    Args:
        ledger: The ledger.
    """
    counts = ledger.counts()
    total = sum(counts.values())
    lines = [f"{ledger.folder}: {counted(total, 'run')} of {ledger.family} networks", ""]
    lines += [
        f"{state.value:12} {count:>8,}  {_bar(count, total)}".rstrip() for state, count in counts.items() if count
    ]
    left = time_left(counts, ledger.mean_seconds())
    if left is not None:
        lines += ["", f"time left: about {left}"]
    lines += [f"running: {entry.label}" for entry in ledger.entries(State.RUNNING)]
    return "\n".join([*lines, *failures(ledger)])


def failures(ledger: Ledger) -> list[str]:
    """Lines about the runs that failed, the first of them with their errors.

    Args:
        ledger: The ledger.
    """
    failed: list[Entry] = list(ledger.entries(State.FAILED))
    if not failed:
        return []
    lines = ["", f"{counted(len(failed), 'run')} failed:"]
    lines += [f"  {entry.label}: {entry.error}" for entry in failed[:_MOST_ERRORS]]
    more = len(failed) - _MOST_ERRORS
    return lines + ([f"  and {more} more, see results.csv"] if more > 0 else [])


def time_left(counts: Mapping[State, int], seconds: float | None) -> str | None:
    """The time until all runs are finished, if the running ones go on as they are.

    Args:
        counts: Runs in every state.
        seconds: Mean seconds of a finished run; None if none is finished.

    Returns:
        Hours, minutes and seconds; None if nothing runs, or nothing is known yet.

    Example:
        >>> time_left({State.RUNNING: 2, State.WAITING: 99, State.INTERRUPTED: 0}, 30.0)
        '0:25:15'
    """
    running = counts.get(State.RUNNING, 0)
    if not running or seconds is None:
        return None
    rounds = (counts.get(State.WAITING, 0) + counts.get(State.INTERRUPTED, 0) + running) / running
    return str(datetime.timedelta(seconds=round(rounds * seconds)))


def _bar(count: int, total: int) -> str:
    return "#" * round(40 * count / max(total, 1))
