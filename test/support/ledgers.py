"""Ledgers of sweeps that were not trained."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from model.config.rectangular import RectangularConfig
from sweep.grid.expand import Grid, expand
from sweep.ledger.alive import living
from sweep.ledger.entry import Entry
from sweep.ledger.ledger import Ledger
from sweep.ledger.rows import Rows

PARTS = ("train", "val", "test")


def ledger_of(folder: Path, values: Mapping[str, Sequence[Any]], techniques: Sequence[str] = ()) -> Ledger:
    """A ledger in a new folder, all of whose runs wait."""
    folder.mkdir(parents=True, exist_ok=True)
    ledger = Ledger(folder, "rectangular")
    ledger.add(expand(RectangularConfig, [Grid(values, techniques)]))
    return ledger


def finish(ledger: Ledger, most: int | None = None, fail_every: int = 0, error: str = "ValueError: no") -> None:
    """End some runs with random results, and every so many with an error."""
    draw = random.Random(1)
    with living(ledger.folder, f"worker-{draw.random()}-{most}") as life:
        while most is None or most > 0:
            most = None if most is None else most - 1
            entry = ledger.claim(life, 0)
            if entry is None:
                return
            if fail_every and entry.number % fail_every == 0:
                ledger.fail(entry.number, error, 1.5)
            else:
                ledger.finish(entry.number, summary(draw), 10 * draw.random())


def summary(draw: random.Random) -> dict[str, object]:
    """The summary of a run: three metrics of each part, and what else a summary has."""
    metrics = {f"{part}/{name}": draw.random() for part in PARTS for name in ("acc", "loss", "unit_dead_ratio")}
    return {**metrics, "best_epoch": draw.randrange(99), "data": {"rows": 3}}


def mean_of(entries: Sequence[Entry], metric: str) -> float:
    """The mean of a metric over runs."""
    return sum(float(str((entry.summary or {})[metric])) for entry in entries) / len(entries)


def rows_of(ledger: Ledger) -> Rows:
    """The rows of a ledger, read."""
    rows = Rows(ledger)
    rows.read()
    return rows
