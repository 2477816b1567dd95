"""Types of columns: which hold numbers, which categories, which are left out, and what the target is."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from data.own_tables.reading import RawTable
from data.own_tables.text import MISSING
from data.tables import Floats, Integers, Objects

MOST_CATEGORIES = 100
"""Most distinct values of a column of categories, and most classes of a target of numbers."""

_LARGEST = 1e100
"""Magnitude up to which numbers can be scaled: their squares must be finite."""
_EXACT = 2.0**53
"""Magnitude below which every whole number is exact: ``9007199254740993`` becomes ``9007199254740992``."""
_COMMAS = re.compile(r"[-+]?\d+(,\d+)+(\.\d+)?")
_MARKED = re.compile(
    r"[-+\u2212]?[$\u20ac\u00a3\u00a5]?\s?[-+\u2212]?\d+([.,' _\u00a0\u202f\u2019]\d{3})*([.,]\d*)?([eE][-+]?\d+)?"
    r"\s?[%$\u20ac\u00a3\u00a5]?"
)
"""A number with characters that are not read: a percent sign, a currency, thousands, or a typographic minus sign."""
_DATE = re.compile(
    r"(\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4})([T ]\d{1,2}:\d{2}.*)?|\d{1,2}:\d{2}(:\d{2}.*)?"
)


@dataclass(frozen=True, eq=False)
class Cells:
    """The values of one column.

    Attributes:
        name: The name of the column.
        numbers: The values if all of them are numbers, ``nan`` where missing; else ``None``.
        codes: Positions in ``texts``, -1 where missing; for numbers empty.
        texts: The distinct texts, in the order in which they occur; for numbers empty.

    Shape:
        - numbers, codes: ``(rows,)``.
    """

    name: str
    numbers: Floats | None
    codes: Integers
    texts: tuple[str, ...] = ()

    @property
    def missing(self) -> npt.NDArray[np.bool_]:
        """Which values are missing: ``(rows,)``."""
        return self.codes < 0 if self.numbers is None else np.isnan(self.numbers)

    def as_texts(self) -> Cells:
        """The same column with each number as a text; whole numbers have no decimal point."""
        if self.numbers is None:
            return self
        codes, values = pd.factorize(self.numbers)
        return Cells(self.name, None, codes.astype(np.int64), tuple(map(number_text, values)))

    def objects(self) -> Objects:
        """The texts of all rows, ``nan`` where missing: ``(rows,)``."""
        return np.array([*self.texts, np.nan], dtype=object)[self.codes]


def number_text(value: float) -> str:
    """A number as a text; whole numbers have no decimal point.

    Example:
        >>> number_text(3.0), number_text(2.5)
        ('3', '2.5')
    """
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def read_cells(raw: RawTable, name: str, *, mixed: bool = False) -> Cells:
    """The values of one column, as numbers if all of them are numbers, else as texts.

    Args:
        raw: The table.
        name: The column.
        mixed: Whether numbers and texts may be mixed, and texts may look like dates.

    Raises:
        DataError: If the column of a file holds dates, infinite numbers, or numbers with a few texts between them.
        ValueError: The same for a data frame.
    """
    column = raw.frame[name]
    if pd.api.types.is_bool_dtype(column.dtype):
        truth = np.where(column.isna(), -1, column.fillna(False).astype(bool))
        return Cells(name, None, np.asarray(truth, dtype=np.int64), ("False", "True"))
    if isinstance(column.dtype, pd.CategoricalDtype):
        texts = tuple(map(str, column.cat.categories))
        return Cells(name, None, np.asarray(column.cat.codes, dtype=np.int64), texts)
    if pd.api.types.is_complex_dtype(column.dtype):
        raise raw.error(f"column {name!r} of {raw.name} holds complex numbers: give real numbers.")
    if pd.api.types.is_numeric_dtype(column.dtype):
        numbers = column.to_numpy(np.float64, na_value=np.nan)
        return Cells(name, _finite(raw, name, numbers), np.empty(0, np.int64))
    if not (pd.api.types.is_object_dtype(column.dtype) or pd.api.types.is_string_dtype(column.dtype)):
        raise raw.error(
            f"column {name!r} of {raw.name} has the type {column.dtype}, which is not supported{_remedy(name)}"
        )
    return _read_texts(raw, name, column, mixed)


def _read_texts(raw: RawTable, name: str, column: pd.Series, mixed: bool) -> Cells:
    """The values of a column of texts, or of numbers that pandas has not recognized."""
    codes, values = pd.factorize(column)
    stripped = [str(value).strip() for value in values]
    texts = sorted(set(stripped))
    position = {text: -1 if text in MISSING else place for place, text in enumerate(texts)}
    codes = np.array([*(position[text] for text in stripped), -1], dtype=np.int64)[codes]
    counts = np.bincount(codes[codes >= 0], minlength=len(texts))
    numbers = pd.to_numeric(pd.Series(texts, dtype=object), errors="coerce").to_numpy(np.float64)
    numeric = ~np.isnan(numbers)
    if numeric[counts > 0].all():
        return Cells(name, _finite(raw, name, np.append(numbers, np.nan)[codes]), np.empty(0, np.int64))
    cells = Cells(name, None, codes, tuple(texts))
    if not mixed:
        _refuse_mixed(raw, cells, counts, numeric)
        _refuse_likely(raw, cells, counts)
    return cells


def _refuse_mixed(raw: RawTable, cells: Cells, counts: Integers, numeric: npt.NDArray[np.bool_]) -> None:
    """Refuse a column of numbers with a few texts between them."""
    if 2 * counts[numeric].sum() >= counts.sum():
        row = int(np.flatnonzero((cells.codes >= 0) & ~numeric[cells.codes])[0])
        raise raw.error(
            f"column {cells.name!r} of {raw.name} mixes numbers and text: {cells.texts[cells.codes[row]]!r} in "
            f"{raw.place(row)}, but {counts[numeric].sum():,} of {counts.sum():,} values are numbers. Correct it, "
            f"leave it empty, or give category_columns={cells.name}."
        )


def _refuse_likely(raw: RawTable, cells: Cells, counts: Integers) -> None:
    """Refuse texts of which most are dates, or numbers that are not written as plain numbers."""
    texts = [text for text, count in zip(cells.texts, counts, strict=True) if count]
    for kind, what, remedy in (
        (_DATE, "dates", f"which are not supported{_remedy(cells.name)}"),
        (
            _COMMAS,
            "numbers with commas",
            "which can stand for decimals or thousands: write the numbers without commas.",
        ),
        (
            _MARKED,
            "numbers with other characters",
            f"which are not read: write them like -1234.5, or give category_columns={cells.name} if they are "
            "categories.",
        ),
    ):
        like = [text for text in texts if kind.fullmatch(text)]
        if 2 * len(like) > len(texts):
            raise raw.error(f"column {cells.name!r} of {raw.name} holds {what} ({like[0]!r}), {remedy}")


def refuse_inexact(raw: RawTable, cells: Cells) -> None:
    """Refuse whole numbers as categories or classes if several of them would become one.

    Raises:
        DataError: If a number of a file has a magnitude of 2^53 or more.
        ValueError: The same for a data frame.
    """
    if cells.numbers is None:
        return
    wrong = np.flatnonzero(np.abs(cells.numbers) >= _EXACT)
    if len(wrong):
        row = int(wrong[0])
        raise raw.error(
            f"column {cells.name!r} of {raw.name} holds the category {raw.frame[cells.name].iloc[row]} in "
            f"{raw.place(row)}, but whole numbers from 2**53 on are not exact: begin each with a letter, so that it is "
            "a text."
        )


def _remedy(name: str) -> str:
    return f": turn them into numbers, or leave the column out with drop_columns={name}."


def _finite(raw: RawTable, name: str, numbers: Floats) -> Floats:
    wrong = np.flatnonzero(np.abs(numbers) > _LARGEST)
    if len(wrong):
        row = int(wrong[0])
        what = "is infinite" if np.isinf(numbers[row]) else f"is too large to be scaled ({numbers[row]:g})"
        raise raw.error(
            f"column {name!r} of {raw.name} {what} in {raw.place(row)}: correct the value, or leave it empty if it is "
            "missing."
        )
    return numbers
