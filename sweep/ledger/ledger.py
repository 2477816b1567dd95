"""The ledger of a sweep, a SQLite file in its folder that several processes write.

A run is *waiting*, *running*, *finished*, *interrupted* or *failed*. A process that trains runs holds the lock of a
file of its own for as long as it lives, so a running run whose process has died is known to be interrupted, however
the process ended. Every change is one transaction, so no run is ever given to two processes, and no result is lost.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from sweep.files import RunDirectoryError
from sweep.grid.expand import Member, json_of
from sweep.ledger.alive import Life, is_alive
from sweep.ledger.alone import Copy, owned, read_only
from sweep.ledger.entry import Entry, State, entry_of, label_of
from sweep.ledger.place import network_drive_of
from sweep.ledger.sealing import ChangedError, is_whole, result_of, sealed_result

VERSION = 1
NAME = "ledger.sqlite"
LOGS = "logs"
"""The folder of what the processes print, in that of the sweep."""
_BUSY_SECONDS = 60.0
_NEVER = 2**31
_AT_ONCE = 500
"""Runs that one query reads by their numbers."""
_MARK = "state, tries, changed"
_SCHEMA = """
CREATE TABLE sweep (version INTEGER NOT NULL, family TEXT NOT NULL);
CREATE TABLE runs (
    number INTEGER PRIMARY KEY,
    identity TEXT NOT NULL UNIQUE,
    label TEXT NOT NULL UNIQUE,
    technique TEXT,
    config TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'waiting',
    tries INTEGER NOT NULL DEFAULT 0,
    failures INTEGER NOT NULL DEFAULT 0,
    error TEXT,
    worker TEXT,
    seconds REAL,
    changed REAL NOT NULL,
    summary TEXT
);
CREATE INDEX by_state ON runs (state, number);
"""


class LedgerError(RunDirectoryError):
    """A ledger that can't be read or written. The message is one line with a remedy."""


class Ledger:
    """The ledger in the folder of a sweep.

    Args:
        folder: The folder, which must exist. A ledger is made in it if there is none.
        family: The family of networks of the sweep, such as ``rectangular``; None for that of the ledger.
        alone: Whether no other process changes the ledger, so that the folder may be on a network drive.

    Attributes:
        folder: The folder.
        family: The family.

    Raises:
        LedgerError: If the ledger is damaged, of another version, of another family, or missing with ``family=None``;
            or if the folder is on a network drive, on which SQLite can't keep two processes apart, and several
            processes are to change the ledger. With ``family=None`` such a ledger is read, and so is one in a folder
            that can't be written.
        RunDirectoryError: If another command changes a ledger on a network drive.
    """

    def __init__(self, folder: Path, family: str | None, *, alone: bool = False) -> None:
        self.folder, self._path, self._held = folder, folder / NAME, contextlib.ExitStack()
        self._copy: Copy | None = None
        if family is None and not self._path.is_file():
            raise LedgerError(f"{folder} is no folder of a sweep: it has no {NAME}.")
        if family is None and not self._path.stat().st_size:
            raise self._empty()
        kind = network_drive_of(folder)
        can_write = kind is None and os.access(folder, os.W_OK | os.X_OK)
        self._writes = can_write or family is not None
        if kind is not None and self._writes:
            self._take_network_drive(kind, alone=alone)
        try:
            with self._reporting():
                self._database = self._connected(kind)
                self._database.row_factory = sqlite3.Row
                self.family = self._open(family)
        except BaseException:
            self._held.close()
            raise

    def _connected(self, kind: str | None) -> sqlite3.Connection:
        if kind is not None:
            self._copy = Copy(self._path)
            return self._copy.database
        if not self._writes:
            return read_only(self._path)
        database = sqlite3.connect(self._path, timeout=_BUSY_SECONDS, isolation_level=None)
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=NORMAL")
        return database

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        with self._held:
            self._save(now=True)
            self._database.close()

    def add(self, members: Sequence[Member]) -> tuple[int, int]:
        """Add the runs of a grid that are not in the ledger yet.

        Args:
            members: The runs.

        Returns:
            How many were added, and how many were there. A run that was there without a technique has that of the grid
            from now on.
        """
        with self._transaction():
            known = {row[0] for row in self._database.execute("SELECT identity FROM runs")}
            number = self._database.execute("SELECT coalesce(max(number), 0) FROM runs").fetchone()[0]
            new = [member for member in members if member.identity not in known]
            now = time.time()
            rows = [
                (
                    number + place,
                    member.identity,
                    label_of(number + place, member),
                    member.technique,
                    json_of(member.config),
                    now,
                )
                for place, member in enumerate(new, 1)
            ]
            self._database.executemany(
                "INSERT INTO runs (number, identity, label, technique, config, changed) VALUES (?, ?, ?, ?, ?, ?)", rows
            )
            self._name_techniques({member.identity: member.technique for member in members if member.technique})
        return len(new), len(members) - len(new)

    def _name_techniques(self, techniques: Mapping[str, str]) -> None:
        """Store the techniques of runs that have none. A result that has changed on the disk stays as it is."""
        rows = self._database.execute("SELECT * FROM runs WHERE technique IS NULL").fetchall() if techniques else []
        for row in [row for row in rows if row["identity"] in techniques]:
            try:
                summary = result_of(row)
            except ValueError:
                continue
            self._database.execute(
                "UPDATE runs SET technique = ?, changed = ? WHERE number = ?",
                (techniques[row["identity"]], time.time(), row["number"]),
            )
            if summary is not None:
                text = sealed_result(self._row(row["number"]), summary, row["seconds"])
                self._database.execute("UPDATE runs SET summary = ? WHERE number = ?", (text, row["number"]))

    def claim(self, life: Life, retries: int) -> Entry | None:
        """Take the next run: one that was interrupted, else one that waits, else one that failed.

        Args:
            life: The process that takes it.
            retries: How often a run that failed, or whose process died, is begun again.

        Returns:
            The run, which is now running; None if there is none left.
        """
        with self._transaction():
            self._recover(retries)
            for state, most in ((State.INTERRUPTED, None), (State.WAITING, None), (State.FAILED, retries)):
                row = self._database.execute(
                    "SELECT number FROM runs WHERE state = ? AND (? IS NULL OR failures <= ?) ORDER BY number LIMIT 1",
                    (state.value, most, most),
                ).fetchone()
                if row is not None:
                    self._database.execute(
                        "UPDATE runs SET state = 'running', tries = tries + 1, worker = ?, changed = ? "
                        "WHERE number = ?",
                        (life.name, time.time(), row[0]),
                    )
                    return self.entry(row[0])
        return None

    def forgive(self) -> int:
        """Count the tries of runs from the beginning again, and return how many runs have failed."""
        with self._transaction():
            self._database.execute("UPDATE runs SET failures = 0")
            return int(self._database.execute("SELECT count(*) FROM runs WHERE state = 'failed'").fetchone()[0])

    def finish(self, number: int, summary: Mapping[str, object], seconds: float) -> None:
        """Store the result of a run.

        Args:
            number: The run.
            summary: The content of its ``summary.json``.
            seconds: Seconds of this try.
        """
        with self._transaction():
            text = sealed_result(self._row(number), summary, seconds)
            self._set(number, State.FINISHED, error=None, seconds=seconds, summary=text)

    def fail(self, number: int, error: str, seconds: float) -> None:
        """Store the error that ended a run.

        Args:
            number: The run.
            error: One line.
            seconds: Seconds of this try.
        """
        with self._transaction():
            self._set(number, State.FAILED, error=error, seconds=seconds, summary=None)

    def interrupt(self, number: int) -> None:
        """Give a run back, to be resumed.

        Args:
            number: The run.
        """
        with self._transaction():
            self._set(number, State.INTERRUPTED, error=None, seconds=None, summary=None)

    def give_back(self, number: int) -> None:
        """Give a run back that was claimed and not begun.

        Args:
            number: The run.
        """
        with self._transaction():
            self._database.execute(
                "UPDATE runs SET state = 'waiting', tries = tries - 1, worker = NULL WHERE number = ?", (number,)
            )

    def recover(self, retries: int | None = None) -> int:
        """Mark the running runs whose process has died as interrupted, and return how many there were.

        Args:
            retries: How often a run whose process died is begun again; None to not count its death as a failure.
        """
        with self._transaction():
            return self._recover(retries)

    def reopen_changed(self) -> list[str]:
        """Mark the finished runs whose result has changed on the disk as interrupted, and return their labels."""
        with self._transaction():
            rows = self._database.execute("SELECT number, label, summary FROM runs WHERE state = 'finished'").fetchall()
            changed = [row for row in rows if not is_whole(row["summary"])]
            self._database.executemany(
                "UPDATE runs SET state = 'interrupted', summary = NULL, changed = ? WHERE number = ?",
                [(time.time(), row["number"]) for row in changed],
            )
        return [str(row["label"]) for row in changed]

    def counts(self) -> dict[State, int]:
        """The number of runs in every state."""
        with self._reporting():
            found = dict(self._database.execute("SELECT state, count(*) FROM runs GROUP BY state").fetchall())
        return {state: found.get(state.value, 0) for state in State}

    def mean_seconds(self) -> float | None:
        """Mean seconds of the finished runs; None if there is none."""
        with self._reporting():
            mean = self._database.execute("SELECT avg(seconds) FROM runs WHERE state = 'finished'").fetchone()[0]
        return None if mean is None else float(mean)

    def entries(self, *states: State) -> Iterator[Entry]:
        """The runs, in the order of their numbers.

        Args:
            states: The states of the runs to give; none for all.
        """
        chosen = states or tuple(State)
        marks = ", ".join("?" * len(chosen))
        with self._reporting():
            query = f"SELECT * FROM runs WHERE state IN ({marks}) ORDER BY number"
            yield from map(self._entry, self._database.execute(query, chosen))

    def marks(self) -> dict[int, tuple[object, ...]]:
        """The state, the tries and the time of the latest change of every run, by number: equal if nothing changed."""
        with self._reporting():
            return {row[0]: tuple(row[1:]) for row in self._database.execute(f"SELECT number, {_MARK} FROM runs")}

    def numbered(self, numbers: Sequence[int]) -> Iterator[Entry]:
        """The runs of some numbers, in no order.

        Args:
            numbers: The numbers.
        """
        for first in range(0, len(numbers), _AT_ONCE):
            some = numbers[first : first + _AT_ONCE]
            marks = ", ".join("?" * len(some))
            with self._reporting():
                query = f"SELECT * FROM runs WHERE number IN ({marks})"
                yield from map(self._entry, self._database.execute(query, some))

    def entry(self, number: int) -> Entry:
        """One run.

        Args:
            number: Its number.

        Raises:
            LedgerError: If there is none of this number.
        """
        return self._entry(self._row(number))

    def _row(self, number: int) -> sqlite3.Row:
        with self._reporting():
            row: sqlite3.Row | None = self._database.execute(
                "SELECT * FROM runs WHERE number = ?", (number,)
            ).fetchone()
        if row is None:
            raise LedgerError(f"{self.folder} has no run of number {number}.")
        return row

    def _entry(self, row: sqlite3.Row) -> Entry:
        try:
            return entry_of(row)
        except ChangedError:
            raise LedgerError(
                f"the result of run {row['label']} in {self._path} has changed since the run ended. Run the command "
                "of the sweep again: it reads the result from the directory of the run, or trains the run again."
            ) from None
        except (ValueError, TypeError, RecursionError):
            raise self._damaged(f"run {row['number']} can't be read") from None

    def _damaged(self, fault: str) -> LedgerError:
        return LedgerError(
            f"{self._path} can't be used: {fault}. It is kept as it is; choose another --name, or move it away "
            "(finished runs stay in their folders)."
        )

    def _empty(self) -> LedgerError:
        return LedgerError(f"{self._path} is empty. Run the command of the sweep again: it writes the ledger anew.")

    def _set(self, number: int, state: State, *, error: str | None, seconds: float | None, summary: str | None) -> None:
        self._database.execute(
            "UPDATE runs SET state = ?, failures = failures + ?, error = ?, seconds = ?, summary = ?, worker = NULL, "
            "changed = ? WHERE number = ?",
            (state.value, state is State.FAILED, error, seconds, summary, time.time(), number),
        )

    def _recover(self, retries: int | None) -> int:
        running = self._database.execute("SELECT DISTINCT worker FROM runs WHERE state = 'running'").fetchall()
        changed = 0
        for (worker,) in running:
            if is_alive(self.folder, worker):
                continue
            error = f"its process died: see {LOGS}/{worker}.log"
            changed += self._database.execute(
                "UPDATE runs SET state = iif(failures >= ?1, 'failed', 'interrupted'), failures = failures + ?2, "
                "error = ?3, worker = NULL, changed = ?4 WHERE state = 'running' AND worker = ?5",
                (_NEVER if retries is None else retries, retries is not None, error, time.time(), worker),
            ).rowcount
        return changed

    def _open(self, family: str | None) -> str:
        """Make the tables of a new ledger, or check those of an old one. Returns the family."""
        with self._transaction():
            tables = {row[0] for row in self._database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if not tables:
                if family is None:
                    raise self._empty()
                for statement in filter(str.strip, _SCHEMA.split(";")):
                    self._database.execute(statement)
                self._database.execute("INSERT INTO sweep VALUES (?, ?)", (VERSION, family))
            row = self._database.execute("SELECT version, family FROM sweep").fetchone()
        if row is None:
            raise self._damaged("it has lost its version")
        if row[0] != VERSION:
            raise LedgerError(
                f"{self._path} is of version {row[0]}, and this program writes version {VERSION}. Keep the folder, and "
                "choose another --name."
            )
        if family is not None and row[1] != family:
            raise LedgerError(f"{self.folder} is a sweep of {row[1]} networks. Choose another --name.")
        return str(row[1])

    def _take_network_drive(self, kind: str, *, alone: bool) -> None:
        if not alone:
            raise LedgerError(
                f"{self.folder} is on a network drive ({kind}), where the ledger of a sweep can be damaged by two "
                "processes. Choose an --output_dir on a local disk, and copy the folder afterwards, or an --executor "
                "whose processes leave the ledger to the command: ray or slurm."
            )
        self._held.enter_context(owned(self.folder))

    def _save(self, *, now: bool = False) -> None:
        """Write the file of a ledger that is in memory."""
        if self._copy is not None and self._writes:
            self._copy.save(now=now)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._reporting():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")
            self._save()

    @contextlib.contextmanager
    def _reporting(self) -> Iterator[None]:
        """Turn an error of SQLite into one with a remedy. A full disk stays what it is: the sweep can go on later."""
        try:
            yield
        except sqlite3.Error as error:
            raise self._damaged(" ".join(str(error).split())[:300]) from error
