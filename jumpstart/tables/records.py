"""Results as the tables take them: one flat mapping per run, or a DataFrame with one row per run."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from numbers import Integral, Real
from typing import TYPE_CHECKING, TypeAlias, cast

from jumpstart.choices import did_you_mean
from jumpstart.literal import visible
from jumpstart.words import some

if TYPE_CHECKING:
    import pandas as pd

Record: TypeAlias = Mapping[str, object]
Rows: TypeAlias = "Sequence[Record] | pd.DataFrame"

_LARGEST_INTEGER = 2**53
"""The largest integer up to which a column of floats holds every integer."""
_MOST_NAMES = 20
"""The most names that a message lists."""


def records_of(rows: Rows) -> list[Record]:
    """The rows as mappings.

    Raises:
        TypeError: If the rows are neither mappings nor a DataFrame.
        ValueError: If there is no row.

    Example:
        >>> records_of("runs/depths")
        Traceback (most recent call last):
        TypeError: rows must be mappings or a DataFrame, got 'runs/depths'. read_results() reads a folder.
    """
    import pandas as pd

    if isinstance(rows, pd.DataFrame):
        rows = cast("list[Record]", flat(rows).to_dict("records"))
    if isinstance(rows, str | Mapping) or not isinstance(rows, Iterable):
        raise TypeError(f"rows must be mappings or a DataFrame, got {rows!r:.60}. read_results() reads a folder.")
    records = list(rows)
    if not records:
        raise ValueError("rows must hold at least one run, got none.")
    return records


def frame_of(records: Iterable[Record]) -> pd.DataFrame:
    """The records as a DataFrame. Columns of numbers have their type; all others hold the values as they are.

    A name that a record lacks is None there. In a column of floats, None is NaN.

    Example:
        >>> frame_of([{"depth": 2, "batch_size": None}, {"depth": 3, "batch_size": 256, "test/acc": 0.5}])
           depth batch_size  test/acc
        0      2       None       NaN
        1      3        256       0.5
    """
    import pandas as pd

    rows = [dict(record) for record in records]
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: [row.get(name) for row in rows] for name in names}
    return pd.DataFrame({name: pd.Series(values, dtype=_type_of(values)) for name, values in columns.items()})


def _type_of(values: Sequence[object]) -> type:
    """The type of a column with these values."""
    kinds = {_kind(value) for value in values}
    if float in kinds and kinds <= {float, int, None}:
        return float
    return next(iter(kinds)) or object if len(kinds) == 1 else object


def _kind(value: object) -> type | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return bool
    if isinstance(value, Integral):
        return int if abs(int(value)) <= _LARGEST_INTEGER else object
    return float if isinstance(value, Real) else object


def flat(table: pd.DataFrame) -> pd.DataFrame:
    """The table with its index as first columns, unless the index only numbers the rows."""
    import pandas as pd

    if not isinstance(table, pd.DataFrame):
        raise TypeError(f"table must be a pandas.DataFrame, such as that of results_table(...), got {type(table)}.")
    if shared := set(table.index.names) & set(table.columns):
        raise ValueError(f"the index of the table has the name of a column, {shared.pop()!r}: rename one of them.")
    counts = pd.api.types.is_integer_dtype(table.index) and table.index.names == [None]
    return table.reset_index(drop=counts)


def names_of(names: str | Iterable[str]) -> list[str]:
    """One name, or several, as a list."""
    return [names] if isinstance(names, str) else list(names)


def check_name(name: str, records: Sequence[Record]) -> None:
    """Refuse a name that is in none of the records.

    Raises:
        ValueError: The message suggests the nearest name.
    """
    if not any(name in record for record in records):
        known = sorted({key for record in records for key in record})
        listed = some([visible(other) for other in known], _MOST_NAMES)
        raise ValueError(f"no run has {name!r}.{did_you_mean(name, known)} There are: {listed}.")


def number_of(record: Record, name: str) -> float:
    """The number under a name.

    Raises:
        ValueError: If there is none.
    """
    value = record.get(name)
    if not isinstance(value, Real):
        raise ValueError(f"every run must have a number for {name!r}, got {value!r}.")
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"every run must have a number for {name!r} that a float can hold, got one beyond.") from None


def setting_of(value: object) -> Hashable:
    """A setting in a form that can be compared.

    Lists become tuples, NaN (a gap in a DataFrame) becomes None, and other collections become texts.
    """
    if isinstance(value, list):
        return tuple(map(setting_of, value))
    if not isinstance(value, Hashable):
        return str(value)
    return None if isinstance(value, float) and math.isnan(value) else value


def flattened(mapping: Record, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Names and values of a mapping and of those nested in it, whose names are joined by dots.

    Example:
        >>> dict(flattened({"lr": 0.1, "data": {"rows": 150}}))
        {'lr': 0.1, 'data.rows': 150}
    """
    for name, value in mapping.items():
        if isinstance(value, Mapping):
            yield from flattened(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
