"""One run in the ledger of a sweep: its state, its name, and what is known of it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from jumpstart.files import beginning_of_name
from sweep.grid.expand import Member
from sweep.ledger.sealing import result_of


class State(StrEnum):
    """What became of a run."""

    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"
    INTERRUPTED = "interrupted"
    FAILED = "failed"


@dataclass(frozen=True)
class Entry:
    """One run in the ledger.

    Attributes:
        number: Its number, from 1 on, in the order in which runs were added.
        identity: The hash of what decides its result.
        label: The name of its run directory.
        technique: The name of its technique, or None.
        config: Its options by name.
        state: What became of it.
        tries: How often it was begun.
        failures: How often it failed in the latest command.
        error: The error of the latest try, or None.
        seconds: Seconds of the latest try, or None.
        summary: Its summary, or None before it is finished.
    """

    number: int
    identity: str
    label: str
    technique: str | None
    config: Mapping[str, object]
    state: State
    tries: int
    failures: int
    error: str | None
    seconds: float | None
    summary: Mapping[str, object] | None


def label_of(number: int, member: Member) -> str:
    """The name of the directory of a run: its number, its technique, and the values that vary.

    Example:
        >>> from model.config.rectangular import RectangularConfig
        >>> from sweep.grid.expand import Grid, expand
        >>> runs = expand(RectangularConfig, [Grid({"depth": [2, 3]}, ["jumpstart"])])
        >>> label_of(7, runs[1])
        '00007-jumpstart-depth=3'
    """
    words = [member.technique] if member.technique else []
    words += [f"{name}={_short(value)}" for name, value in member.varied.items()]
    text = "-".join(word for word in words)
    safe = "".join(sign if sign.isalnum() or sign in "=+-._" else "_" for sign in text)
    return beginning_of_name(f"{number:05d}-{safe}").rstrip("-")


def _short(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def entry_of(row: sqlite3.Row) -> Entry:
    """The run in a row of the ledger.

    Args:
        row: All columns.

    Raises:
        ChangedError: If its result has changed since it was stored.
        ValueError, TypeError, RecursionError: If the row is damaged in another way.
    """
    return Entry(
        number=row["number"],
        identity=row["identity"],
        label=row["label"],
        technique=row["technique"],
        config=json.loads(row["config"]),
        state=State(row["state"]),
        tries=row["tries"],
        failures=row["failures"],
        error=row["error"],
        seconds=row["seconds"],
        summary=result_of(row),
    )
