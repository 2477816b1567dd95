"""From a file or a pandas data frame to columns that are not interpreted yet."""

from __future__ import annotations

import csv
import io
import itertools
import warnings
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from data.cache import DataError
from data.own_tables.text import MISSING, SEPARATORS, Layout, Text, find_layout, lines_below, read_text, records


@dataclass(frozen=True, eq=False)
class RawTable:
    """Columns that are not interpreted yet.

    Attributes:
        name: The file or the parameter, for messages.
        frame: The columns, with distinct names; missing values are ``nan``.
        unnamed: Columns without a name in the header.
        place: Function from the number of a row to words such as ``line 7``.
        facts: How the file was read, such as ``separated by commas``.
        path: The file, or ``None``.
        sha256: Checksum of the file; empty without a file.
    """

    name: str
    frame: pd.DataFrame
    unnamed: frozenset[str]
    place: Callable[[int], str]
    facts: tuple[str, ...] = ()
    path: Path | None = None
    sha256: str = ""

    def error(self, message: str) -> Exception:
        """The exception for a fault in the data: of a file, or of an argument."""
        return ValueError(message) if self.path is None else DataError(message)


def read_file(path: Path, target: str | None = None) -> RawTable:
    """The columns of a file of separated values.

    Args:
        path: The file.
        target: The name or position of the target, which helps to find out whether there is a header.

    Raises:
        DataError: If the file is no table, or two columns have the same name.
    """
    text = read_text(path)
    if not text.content.strip():
        raise DataError(f"{path} is empty.")
    layout = find_layout(text.content, target)
    # pandas counts the lines that it leaves out in another way if a name has a line break.
    content = lines_below(text.content, layout.skipped).encode("utf-8", errors="replace")
    frame = _parse(text, content, layout, ".")
    facts = [f"separated by {SEPARATORS.get(layout.separator, repr(layout.separator))}", f"encoding {text.encoding}"]
    if layout.separator != "," and _has_decimal_commas(frame):
        frame = _parse(text, content, layout, ",")
        facts.append("decimal commas")
    names, unnamed = _column_names(path, layout)
    _check_widths(text, layout, frame)
    if names[-1] in unnamed and frame.iloc[:, layout.width - 1].isna().all():
        names = names[:-1]  # every line ends with a separator
    frame = frame.iloc[:, : len(names)]
    frame.columns = pd.Index(names)
    facts.append("no header" if layout.names is None else f"header in line {layout.skipped}")

    def place(row: int) -> str:
        try:
            _, line = next(itertools.islice(_body(text, layout), row, None))
        except csv.Error:  # a field is longer than the limit of the csv module, which pandas does not have
            return f"row {row + 1} below the header"
        return f"line {line}"

    return RawTable(path.name, frame, unnamed, place, tuple(facts), path, text.sha256)


def read_frame(frame: pd.DataFrame, name: str) -> RawTable:
    """The columns of a data frame; its index is ignored.

    Raises:
        ValueError: If two columns have the same name, or a value is a collection such as a list.
    """
    names = [str(column) for column in frame.columns]
    _refuse_repeated(name, names, ValueError)
    columns = frame.set_axis(names, axis=1).reset_index(drop=True)
    for column in columns.columns[[kind.kind == "O" for kind in columns.dtypes]]:
        for row, value in enumerate(columns[column]):
            if not isinstance(value, Hashable):
                raise ValueError(
                    f"column {column!r} of {name} must hold numbers, texts or booleans, got a {type(value).__name__} "
                    f"in row {row}: give each of its entries a column, or leave the column out."
                )
    return RawTable(name, columns, frozenset(), lambda row: f"row {row}")


def _parse(text: Text, content: bytes, layout: Layout, decimal: str) -> pd.DataFrame:
    """All the rows, and one column more than the table should have, which shows rows that are too long."""
    try:
        with warnings.catch_warnings():
            # pandas leaves out further fields of the first row, and warns.
            warnings.filterwarnings("error", "Length of header", pd.errors.ParserWarning)
            return pd.read_csv(
                io.BytesIO(content),
                header=None,
                names=list(range(layout.width + 1)),
                index_col=False,
                sep=r"\s+" if layout.separator == " " else layout.separator,
                decimal=decimal,
                na_values=list(MISSING),
                keep_default_na=False,
                skipinitialspace=True,
                low_memory=False,
                encoding="utf-8",
            )
    except pd.errors.ParserWarning as warning:
        _refuse_wrong_widths(text, layout)
        raise DataError(f"{text.path} is not a table of separated values: {warning}") from None
    except pd.errors.EmptyDataError:
        return pd.DataFrame(columns=range(layout.width + 1), dtype=float)
    except pd.errors.ParserError as error:
        if "Expected" in str(error):  # the line in the message is a record, which may have several lines
            _refuse_wrong_widths(text, layout)
        reason = "a quote has no end" if "inside string" in str(error) else " ".join(str(error).split())
        raise DataError(f"{text.path} is not a table of separated values: {reason}.") from None


def _body(text: Text, layout: Layout) -> Iterable[tuple[list[str], int]]:
    """The rows below the header, with their lines; a generator."""
    found = records(lines_below(text.content, layout.skipped), layout.separator)
    return ((record, layout.skipped + line) for record, line in found)


def _check_widths(text: Text, layout: Layout, frame: pd.DataFrame) -> None:
    """Refuse rows with too many or too few fields."""
    if frame.empty:
        return
    too_long = frame.iloc[:, layout.width].notna().any()
    # A row that is too short has no value in the last column; few files have such rows.
    if not too_long and not frame.iloc[:, layout.width - 1].isna().any():
        return
    _refuse_wrong_widths(text, layout)


def _refuse_wrong_widths(text: Text, layout: Layout) -> None:
    """Refuse the first row with too many or too few fields."""
    try:
        for record, line in _body(text, layout):
            width = len(record) - (len(record) == layout.width + 1 and record[-1] in MISSING)
            if width != layout.width:
                raise _wrong_width(text, layout, len(record), line)
    except csv.Error as error:
        raise DataError(f"{text.path} is not a table of separated values: {error}.") from None


def _wrong_width(text: Text, layout: Layout, width: int, line: int) -> DataError:
    fields = f"{width} field{'s' * (width != 1)}"
    if layout.names is None:
        return DataError(f"line {line} of {text.path} has {fields}, expected {layout.width} as in the lines before.")
    hint = " Is the name of the first column missing?" if width == layout.width + 1 else ""
    return DataError(f"line {line} of {text.path} has {fields}, but its header has {layout.width}.{hint}")


def _has_decimal_commas(frame: pd.DataFrame) -> bool:
    """Whether the texts of a column are all numbers with a decimal comma."""
    for _, column in frame.items():
        if not pd.api.types.is_numeric_dtype(column):
            texts = column.dropna().head(1000).astype(str)
            if texts.str.contains(",").any() and texts.str.fullmatch(r"\s*[-+]?\d*(,\d*)?([eE][-+]?\d+)?\s*").all():
                return True
    return False


def _column_names(path: Path, layout: Layout) -> tuple[list[str], frozenset[str]]:
    """The names of the columns; a column without a name is called by its position, counted from 0."""
    cells = [""] * layout.width if layout.names is None else list(layout.names)
    names = [cell or f"column_{position}" for position, cell in enumerate(cells)]
    _refuse_repeated(str(path), names, DataError)
    missing = [] if layout.names is None else [name for name, cell in zip(names, cells, strict=True) if not cell]
    return names, frozenset(missing)


def _refuse_repeated(name: str, names: list[str], kind: type[Exception]) -> None:
    for position, column in enumerate(names):
        if column in names[:position]:
            raise kind(
                f"columns {names.index(column)} and {position} of {name} (counted from 0) have the same name, "
                f"{column!r}: rename one."
            )
