"""The best run, or the best setting, of every technique and data set, chosen on the validation part."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from numbers import Real
from statistics import fmean
from typing import TYPE_CHECKING

from jumpstart.tables.formats import Best, check_best
from jumpstart.tables.records import Record, Rows, check_name, frame_of, names_of, number_of, records_of, setting_of

if TYPE_CHECKING:
    import pandas as pd


def best_runs(
    rows: Rows,
    by: str | Sequence[str] = ("technique", "dataset"),
    on: str = "val/acc",
    *,
    best: Best = "max",
    tuned: str | Sequence[str] | None = None,
) -> pd.DataFrame:
    """The best run, or the runs of the best setting, of each group. The choice does not read the test part.

    Args:
        rows: One row per run.
        by: The settings that make a group, such as technique and data set.
        on: The metric that decides, of the validation part.
        best: Whether the highest (``max``) or the lowest (``min``) value is best.
        tuned: The options that are chosen, such as ``lambda_`` and ``lr``. The runs of a group that share their values
            are one setting, such as all seeds of it. The setting with the best mean of ``on`` is chosen, and all of
            its runs are returned; :func:`results_table` averages their results. None: every run is a setting of its
            own, and one run per group is returned.

    Returns:
        The chosen rows, in the order of the groups' first appearance. Among settings that are equally good, the one
        with the lowest mean loss of the same part is chosen, if the runs have one, then the first. NaN is worse than
        any number.

    Raises:
        ValueError: If there are no rows, a name is in none of them, a run lacks ``on``, or ``on`` is a metric of the
            test part.

    Example:
        >>> runs = [
        ...     {"dataset": "moons", "lambda_": 0.1, "seed": 0, "val/acc": 1.0, "test/acc": 0.8},
        ...     {"dataset": "moons", "lambda_": 0.1, "seed": 1, "val/acc": 0.6, "test/acc": 0.7},
        ...     {"dataset": "moons", "lambda_": 0.2, "seed": 0, "val/acc": 0.9, "test/acc": 0.9},
        ...     {"dataset": "moons", "lambda_": 0.2, "seed": 1, "val/acc": 0.9, "test/acc": 0.7},
        ... ]
        >>> best_runs(runs, "dataset")["test/acc"].tolist()
        [0.8]
        >>> best_runs(runs, "dataset", tuned="lambda_")["test/acc"].tolist()
        [0.9, 0.7]
    """
    check_best(best)
    if on.startswith("test/"):
        raise ValueError(f"on must not be a metric of the test part, got {on!r}: choose on val/{on[5:]}.")
    records, keys = records_of(rows), names_of(by)
    options = [] if tuned is None else names_of(tuned)
    for name in (*keys, *options, on):
        check_name(name, records)
    groups: dict[tuple[Hashable, ...], dict[Hashable, list[Record]]] = {}
    for number, record in enumerate(records):
        settings = groups.setdefault(_values(record, keys), {})
        settings.setdefault(number if tuned is None else _values(record, options), []).append(record)
    loss = f"{on.partition('/')[0]}/loss"
    sign = 1.0 if best == "max" else -1.0
    chosen = [max(settings.values(), key=lambda runs: _score(runs, on, loss, sign)) for settings in groups.values()]
    return frame_of(run for runs in chosen for run in runs)


def _values(record: Record, names: Sequence[str]) -> tuple[Hashable, ...]:
    return tuple(setting_of(record.get(name)) for name in names)


def _score(runs: Sequence[Record], on: str, loss: str, sign: float) -> tuple[float, float]:
    """What the best setting has the most of: the metric, then the smallest loss."""
    losses = [run.get(loss) for run in runs]
    known = [float(value) for value in losses if isinstance(value, Real)]
    return _finite(sign * fmean(number_of(run, on) for run in runs)), _finite(-fmean(known) if known else math.nan)


def _finite(value: float) -> float:
    """The value, or minus infinity for NaN, which no comparison orders."""
    return -math.inf if math.isnan(value) else value
