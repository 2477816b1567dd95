"""Mean and standard deviation over runs, and the table of them."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import TYPE_CHECKING

from jumpstart.tables.records import Record, Rows, check_name, names_of, number_of, records_of, setting_of

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean and standard deviation of a metric over several runs.

    Attributes:
        mean: The mean; NaN if any of the values is NaN.
        std: The sample standard deviation (divided by count - 1); NaN for fewer than two values.
        count: Number of values.

    Example:
        >>> Spread.of([0.96, 0.98])
        Spread(mean=0.97, std=0.0141..., count=2)
    """

    mean: float
    std: float
    count: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """The mean, the standard deviation and the number of values."""
        values = [float(value) for value in values]
        mean = fmean(values) if values else math.nan
        enough = len(values) > 1 and math.isfinite(mean)
        return cls(mean, stdev(values) if enough else math.nan, len(values))

    def text(self, digits: int, plus_minus: str = "±") -> str:
        """``0.970 ± 0.014``; the mean alone for one value, a dash for none."""
        if self.count == 0:
            return "-"
        mean = f"{self.mean:.{digits}f}"
        return mean if math.isnan(self.std) else f"{mean} {plus_minus} {self.std:.{digits}f}"


def results_table(
    rows: Rows,
    by: str | Sequence[str],
    values: str | Sequence[str] = "test/acc",
    columns: str | None = None,
) -> pd.DataFrame:
    """Mean and standard deviation over runs that share some settings and differ in all others.

    Args:
        rows: One flat mapping per run that holds settings and results, such as the configuration of the
            run joined with its summary.
        by: The settings that identify a row of the table. Results are averaged over all other settings, such
            as the seed, so name every setting that the comparison depends on.
        values: The results to average.
        columns: A setting whose values become the columns, such as the technique. Allowed with a single
            name in ``values``.

    Returns:
        The columns of ``by``, then columns of :class:`Spread`; rows and columns in the order of first appearance.

    Raises:
        ValueError: If there are no rows, ``values`` is empty, a name is in none of them, a run lacks one of ``values``,
            or ``columns`` is given with several ``values``.

    Example:
        >>> from jumpstart.table import to_markdown
        >>> runs = [
        ...     {"dataset": "moons", "lambda_": 0.0, "seed": 1, "test/acc": 0.5},
        ...     {"dataset": "moons", "lambda_": 0.01, "seed": 1, "test/acc": 0.96},
        ...     {"dataset": "moons", "lambda_": 0.01, "seed": 2, "test/acc": 0.98},
        ... ]
        >>> print(to_markdown(results_table(runs, "dataset", columns="lambda_"), best="max"))
        | dataset | 0.0 | 0.01 |
        |:---|---:|---:|
        | moons | 0.500 | **0.970 ± 0.014** |
    """
    import pandas as pd

    records = records_of(rows)
    keys, metrics = names_of(by), names_of(values)
    if not metrics:
        raise ValueError("values must name at least one metric, got none.")
    for name in (*keys, *metrics, *([columns] if columns else [])):
        check_name(name, records)
    if columns is not None and len(metrics) != 1:
        raise ValueError(f"columns={columns!r} takes one of values, got {len(metrics)}.")

    def heads_of(record: Record) -> list[str]:
        return metrics if columns is None else [str(setting_of(record.get(columns)))]

    heads = list(dict.fromkeys(head for record in records for head in heads_of(record)))
    settings = {setting_of(record.get(columns)) for record in records} if columns is not None else set()
    if len(settings) > len(heads):
        raise ValueError(f"columns={columns!r} has values of equal texts, such as 1 and '1': make them one value.")
    groups: dict[tuple[Hashable, ...], dict[str, list[float]]] = {}
    for record in records:
        group = groups.setdefault(tuple(setting_of(record.get(key)) for key in keys), {})
        for head, metric in zip(heads_of(record), metrics, strict=True):
            group.setdefault(head, []).append(number_of(record, metric))
    cells = [[*key, *(Spread.of(group.get(head, [])) for head in heads)] for key, group in groups.items()]
    return pd.DataFrame(cells, columns=[*keys, *heads], dtype=object)
