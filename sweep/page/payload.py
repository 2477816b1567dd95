"""The data for the script of the page of a sweep: one list for each column of the table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jumpstart.choices import Part
from jumpstart.literal import visible
from jumpstart.report.html import METRIC_WORDS, METRICS_SHOWN, value_text
from jumpstart.words import shorten
from sweep.executors.worker import RUNS
from sweep.grid.expand import TECHNIQUE
from sweep.ledger.entry import State
from sweep.ledger.rows import Row, Rows, cell
from sweep.open import OPENED
from sweep.run_directory import RunDirectory

PLACES = ("", f"{RUNS}/*/", f"{RUNS}/*/report.html", f"{OPENED}/*/report.html")
"""Where a link of a run leads to, from the folder of the sweep; the star is the label of the run."""
_PARTS = {Part.TEST: "test", Part.VAL: "validation", Part.TRAIN: "training"}
_METRICS = {
    **{f"{part}/{name}": f"{words} {METRIC_WORDS[name]}" for part, words in _PARTS.items() for name in METRICS_SHOWN},
    "best_epoch": "epoch of the best weights",
    "epochs": "epochs",
    "parameters": "parameters",
}
"""The metrics of the page, with their words."""
_LONGEST_VALUE, _LONGEST_ERROR = 120, 300
_DIGITS = 6


@dataclass
class Payload:
    """The data of the page, of which only what has changed is made again.

    Args:
        rows: The runs.
    """

    rows: Rows
    _numbers: dict[int, tuple[Row, list[float | None]]] = field(default_factory=dict, init=False)
    _places: dict[int, tuple[Row, int]] = field(default_factory=dict, init=False)
    _options: tuple[int, list[dict[str, object]]] = field(default=(-1, []), init=False)

    def make(self) -> dict[str, object]:
        """What JSON can store: ``runs``, ``options`` and ``metrics``, each with one list for a column."""
        rows = self.rows.read()
        if self._options[0] != len(rows):  # the options of a run never change
            self._options = (len(rows), [self._option(rows, name) for name in self._names(rows)])
        options = self._options[1]
        taken = [option["name"] for option in options]
        errors = list(dict.fromkeys(row.error for row in rows if row.error is not None))
        place_of = {error: place for place, error in enumerate(errors)}
        states = list(State)
        return {
            "states": states,
            "errors": [_text(error, _LONGEST_ERROR) for error in errors],
            "places": PLACES,
            "runs": {
                "number": [row.number for row in rows],
                "label": [_text(row.label, _LONGEST_VALUE) for row in rows],
                "state": [states.index(row.state) for row in rows],
                "tries": [row.tries for row in rows],
                "elapsed": [_rounded(row.seconds) for row in rows],
                "error": [None if row.error is None else place_of[row.error] for row in rows],
                "place": self._where(rows),
            },
            "options": options,
            "metrics": [metric for metric in self._metrics(rows) if metric["name"] not in taken],
        }

    def _names(self, rows: Sequence[Row]) -> list[str]:
        """The options that vary, and ``technique``."""
        several = len({row.technique for row in rows}) > 1
        return [*([TECHNIQUE] if several else []), *self.rows.varied()]

    def _option(self, rows: Sequence[Row], name: str) -> dict[str, object]:
        """An option: its values in their order, and for each run the place of its value among them."""
        given = [self.rows.option(row, name) for row in rows]
        keys = [cell(value) for value in given]
        values = dict(zip(keys, given, strict=True))
        if all(value is None or isinstance(value, int | float) for value in given):
            values = dict(sorted(values.items(), key=lambda item: _size(item[1])))
        numbers = [_number(value) for value in values.values()]
        are_numbers = numbers.count(None) == (None in values.values())
        place_of = {key: place for place, key in enumerate(values)}
        return {
            "name": _text(name, _LONGEST_VALUE),
            "values": [_text(text, _LONGEST_VALUE) for text in _value_texts(list(values.values()))],
            "numbers": numbers if are_numbers else None,
            "codes": [place_of[key] for key in keys],
        }

    def _metrics(self, rows: Sequence[Row]) -> list[dict[str, object]]:
        for row in rows:
            if self._numbers.get(row.number, (None,))[0] is not row:
                self._numbers[row.number] = (row, [_rounded(row.summary.get(name)) for name in _METRICS])
        columns = zip(*(self._numbers[row.number][1] for row in rows), strict=True)
        return [
            {"name": name, "words": words, "share": _is_share(name), "values": values}
            for (name, words), values in zip(_METRICS.items(), columns, strict=False)
            if any(value is not None for value in values)
        ]

    def _where(self, rows: Sequence[Row]) -> list[int]:
        """For each run, which of :data:`PLACES` it has."""
        folder = self.rows.ledger.folder
        opened = {path.name for path in folder.glob(f"{OPENED}/*") if RunDirectory(path).report.is_file()}
        for row in rows:
            if self._places.get(row.number, (None,))[0] is not row or row.state is State.RUNNING:
                self._places[row.number] = (row, _place(folder, row) if row.tries else 0)
        return [3 if row.label in opened else self._places[row.number][1] for row in rows]


def _place(folder: Path, row: Row) -> int:
    run = RunDirectory(folder / RUNS / row.label)
    return 2 if run.report.is_file() else int(run.path.is_dir())


def _is_share(name: str) -> bool:
    return "/" in name and not name.endswith("loss")


def _value_texts(values: Sequence[object]) -> list[str]:
    """Values as texts: four digits of each number, or all of them if the texts would be equal otherwise."""
    short = [f"{value:.4g}" if isinstance(value, float) else value_text(value) for value in values]
    return short if len(set(short)) == len(short) else [value_text(value) for value in values]


def _text(text: object, most: int) -> str:
    return shorten(visible(text), most)


def _number(value: object) -> float | None:
    """A finite number, which JSON can store; None for anything else."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) else None


def _size(value: object) -> tuple[bool, float]:
    return (True, value) if isinstance(value, int | float) else (False, 0.0)


def _rounded(value: object) -> float | None:
    """A number with few digits, which take little room in the page; an integer as it is."""
    number = _number(value)
    return float(f"{number:.{_DIGITS}g}") if isinstance(number, float) else number
