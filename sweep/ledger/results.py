"""``results.csv`` of a sweep: a row for each run, with the options that vary, all metrics and the facts of the data."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence

from jumpstart.files import write_text
from jumpstart.literal import csv_text
from jumpstart.tables.data_sets import data_facts
from sweep.grid.expand import TECHNIQUE
from sweep.ledger.ledger import Entry, Ledger

NAME = "results.csv"
_FIRST = ("number", "run", "state", "tries", "elapsed", "error")


def write_results(ledger: Ledger) -> None:
    """Write ``results.csv`` into the folder of the sweep.

    Args:
        ledger: The ledger.
    """
    write_text(ledger.folder / NAME, results_text(list(ledger.entries())))


def results_text(entries: Sequence[Entry]) -> str:
    """The table as text.

    Args:
        entries: The runs.
    """
    varied = varied_options([entry.config for entry in entries])
    techniques = [TECHNIQUE] if any(entry.technique for entry in entries) else []
    results = [_flat(entry.summary or {}) for entry in entries]
    metrics = sorted({name for result in results for name in result})
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_FIRST, *techniques, *varied, *metrics])
    for entry, result in zip(entries, results, strict=True):
        first = (entry.number, entry.label, entry.state.value, entry.tries, entry.seconds, entry.error)
        options = [_option(entry.config.get(name)) for name in varied]
        cells = (*first, *[entry.technique] * len(techniques))
        texts = [csv_text(cell) if isinstance(cell, str) else cell for cell in cells]
        writer.writerow([*texts, *options, *map(result.get, metrics)])
    return text.getvalue()


def varied_options(configs: Iterable[Mapping[str, object]]) -> list[str]:
    """The options that do not have the same value in all configs, in their order.

    Example:
        >>> varied_options([{"depth": 2, "lr": 0.1, "seed": 0}, {"depth": 3, "lr": 0.1, "seed": 1}])
        ['depth', 'seed']
    """
    values: dict[str, set[str]] = {}
    for config in configs:
        for name, value in config.items():
            values.setdefault(name, set()).add(_cell(value))
    return [name for name, found in values.items() if len(found) > 1]


def _flat(summary: Mapping[str, object]) -> dict[str, object]:
    """The metrics of a summary, and the facts of the data."""
    return {**{name: value for name, value in summary.items() if not isinstance(value, dict)}, **data_facts(summary)}


def _option(value: object) -> str:
    """The value of an option as a cell that no spreadsheet reads as a formula."""
    return csv_text(value) if isinstance(value, str) else _cell(value)


def _cell(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
