"""``results.csv`` of a sweep: one row for each run, with every option that varies and every metric of its summary."""

from __future__ import annotations

import csv
import io

from jumpstart.files import write_text
from sweep.grid.expand import TECHNIQUE
from sweep.ledger.rows import Rows, cell, metrics

NAME = "results.csv"
_FIRST = ("number", "run", "state", "tries", "elapsed", "error")


def write_results(rows: Rows) -> None:
    """Write ``results.csv`` into the folder of the sweep.

    Args:
        rows: The runs.
    """
    write_text(rows.ledger.folder / NAME, results_text(rows))


def results_text(rows: Rows) -> str:
    """The table as text.

    Args:
        rows: The runs.
    """
    all_rows, varied = rows.read(), rows.varied()
    techniques = [TECHNIQUE] if any(row.technique for row in all_rows) else []
    names = metrics(all_rows)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_FIRST, *techniques, *varied, *names])
    for row in all_rows:
        first = (row.number, row.label, row.state.value, row.tries, row.seconds, row.error)
        options = [cell(rows.option(row, name)) for name in varied]
        writer.writerow([*first, *[row.technique] * len(techniques), *options, *map(row.summary.get, names)])
    return text.getvalue()
