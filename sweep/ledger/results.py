"""``results.csv`` of a sweep: one row for each run, with every option that varies and every metric of its summary."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence

from jumpstart.files import write_text
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
    summaries = [_flat(entry.summary) for entry in entries]
    metrics = sorted({name for summary in summaries for name in summary})
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_FIRST, *techniques, *varied, *metrics])
    for entry, summary in zip(entries, summaries, strict=True):
        first = (entry.number, entry.label, entry.state.value, entry.tries, entry.seconds, entry.error)
        options = [_cell(entry.config.get(name)) for name in varied]
        writer.writerow([*first, *[entry.technique] * len(techniques), *options, *map(summary.get, metrics)])
    return text.getvalue()


def varied_options(configs: Iterable[Mapping[str, object]]) -> list[str]:
    """The options that do not have the same value in all configs, in their order.

    Example:
        >>> varied_options([{"depth": 2, "lr": 0.1, "seed": 0}, {"depth": 3, "lr": 0.1, "seed": 1}])
        ['depth', 'seed']
    """
    first: dict[str, object] = {}
    varied: set[str] = set()
    for config in configs:
        for name, value in config.items():
            other = first.setdefault(name, value)
            if other is not value and (value != other or type(value) is not type(other)):
                varied.add(name)
    return [name for name in first if name in varied]


def _flat(summary: Mapping[str, object] | None) -> dict[str, object]:
    return {name: value for name, value in (summary or {}).items() if not isinstance(value, dict)}


def _cell(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
