"""The data sets of the runs: rows, features and classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from jumpstart.tables.records import Record, Rows, check_name, records_of, setting_of

if TYPE_CHECKING:
    import pandas as pd

FACTS = ("rows", "features", "classes")
"""What a table of data sets holds of the description of the data in a summary."""


def data_facts(summary: Record) -> dict[str, object]:
    """The facts of the data in the summary of a run, as columns.

    Example:
        >>> data_facts({"test/acc": 0.9, "data": {"rows": 1000, "features": 2, "classes": 2, "seed": 0}})
        {'data/rows': 1000, 'data/features': 2, 'data/classes': 2}
    """
    data = summary.get("data")
    return {f"data/{fact}": data[fact] for fact in FACTS if fact in data} if isinstance(data, Mapping) else {}


def dataset_table(rows: Rows, dataset: str = "dataset") -> pd.DataFrame:
    """The data sets of runs with their numbers of rows, features and classes.

    Args:
        rows: One row per run, as :func:`read_results` returns them.
        dataset: The setting whose values are the data sets.

    Returns:
        ``dataset``, ``rows``, ``features`` and ``classes``; one row per data set, in the order of first appearance. A
        data set that was read with different sizes has a row for each of them.

    Raises:
        ValueError: If there are no rows, or no run has the data set or the facts.

    Example:
        >>> iris = {"dataset": "iris", "data/rows": 150, "data/features": 4, "data/classes": 3}
        >>> dataset_table([iris | {"seed": 0}, iris | {"seed": 1}])
          dataset rows features classes
        0    iris  150        4       3
    """
    import pandas as pd

    records = records_of(rows)
    names = (dataset, *(f"data/{fact}" for fact in FACTS))
    for name in names:
        check_name(name, records)
    found = dict.fromkeys(tuple(setting_of(record.get(name)) for name in names) for record in records)
    return pd.DataFrame(list(found), columns=[dataset, *FACTS], dtype=object)
