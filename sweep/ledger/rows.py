"""The runs of a ledger as rows, of which only the changed ones are read again.

A sweep of 10,000 runs writes its table and its page many times. Reading all options of all runs takes half a second;
reading the runs that changed takes some milliseconds.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from jumpstart.tables.data_sets import data_facts
from sweep.grid.expand import TECHNIQUE
from sweep.ledger.entry import Entry, State
from sweep.ledger.ledger import Ledger

_MISSING = object()
_EPOCHS = ("best_row", "last")
_OF_EPOCHS = ("train/acc", "train/loss", "val/acc", "val/loss")
"""Metrics that were measured in the best and in the last epoch, which a row has beside those of the best weights."""


@dataclass(frozen=True)
class Row:
    """One run.

    Attributes:
        number: Its number.
        label: The name of its run directory.
        state: What became of it.
        tries: How often it was begun.
        error: The error of the latest try, or None.
        seconds: Seconds of the latest try, or None.
        technique: The name of its technique, or None.
        changes: Its options that differ from those of the first run.
        summary: The numbers of its summary; empty before the run is finished.
    """

    number: int
    label: str
    state: State
    tries: int
    error: str | None
    seconds: float | None
    technique: str | None
    changes: Mapping[str, object]
    summary: Mapping[str, object]


@dataclass
class Rows:
    """The runs of a ledger in the order of their numbers.

    Args:
        ledger: The ledger.
    """

    ledger: Ledger
    _rows: dict[int, Row] = field(default_factory=dict, init=False)
    _marks: dict[int, tuple[object, ...]] = field(default_factory=dict, init=False)
    _first: Mapping[str, object] = field(default_factory=dict, init=False)

    def read(self) -> list[Row]:
        """The rows as the ledger is now, and nothing read again that has not changed."""
        marks = self.ledger.marks()
        changed = [number for number, mark in marks.items() if self._marks.get(number) != mark]
        for entry in self.ledger.numbered(changed):
            self._first = self._first or entry.config
            self._rows[entry.number] = _row(entry, self._first)
        self._marks = marks
        return [self._rows[number] for number in sorted(self._rows)]

    def varied(self) -> list[str]:
        """The options that do not have the same value in all runs, in their order."""
        names = {name for row in self._rows.values() for name in row.changes}
        return [*filter(names.__contains__, self._first), *sorted(names.difference(self._first))]

    def option(self, row: Row, name: str) -> object:
        """The value of an option in a run, or None; for ``technique`` the name of its technique.

        Args:
            row: The run.
            name: The option.
        """
        return row.technique if name == TECHNIQUE else row.changes.get(name, self._first.get(name))


def _row(entry: Entry, first: Mapping[str, object]) -> Row:
    return Row(
        number=entry.number,
        label=entry.label,
        state=entry.state,
        tries=entry.tries,
        error=entry.error,
        seconds=entry.seconds,
        technique=entry.technique,
        changes=dict(_differences(entry.config, first)),
        summary=_flat(entry.summary or {}),
    )


def _flat(summary: Mapping[str, object]) -> dict[str, object]:
    """The metrics of a summary, and the facts of the data."""
    # JSON makes a new text of every name in every run.
    metrics = {sys.intern(name): value for name, value in summary.items() if not isinstance(value, dict)}
    ends = {
        sys.intern(f"{epoch}/{name}"): row[name]
        for epoch in _EPOCHS
        if isinstance(row := summary.get(epoch), dict)
        for name in _OF_EPOCHS
        if name in row
    }
    return {**metrics, **ends, **data_facts(summary)}


def _differences(config: Mapping[str, object], first: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    for name, value in config.items():
        other = first.get(name, _MISSING)
        if value is not other and (type(value) is not type(other) or value != other):
            yield sys.intern(name), value
    for name in first.keys() - config.keys():
        yield name, None


def cell(value: object) -> str:
    """An option as text: JSON, and a text as it is."""
    return value if isinstance(value, str) else json.dumps(value)


def metrics(rows: Iterable[Row]) -> list[str]:
    """The names of all numbers in the summaries, sorted."""
    return sorted({name for row in rows for name in row.summary})
