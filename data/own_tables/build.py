"""From columns that are not interpreted yet to a table: target, types, and given validation and test parts."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Unpack

import numpy as np

from data.own_tables.columns import MOST_CATEGORIES, Cells, number_text, read_cells, refuse_inexact
from data.own_tables.reading import RawTable
from data.splitting import PARTS
from data.tables import ColumnInfo, ColumnOptions, FileInfo, Integers, Kind, Names, Table
from jumpstart.choices import did_you_mean

MOST_CLASSES = 1000
"""Most classes of a target of texts; a target of whole numbers has at most :data:`MOST_CATEGORIES`."""

_MOST_FRACTIONS = 20
"""Most classes of a target of numbers with a fractional part."""
_FEWEST_NAMES = 10
"""Rows above which a column of texts that are all different is no category."""
_INDEX_NAMES = ("id", "index", "row", "row_id", "rowid", "unnamed: 0")
_SHOWN = 8

Parts = Mapping[str, RawTable]
"""The tables by part: ``"train"``, and ``"val"`` and ``"test"`` where they are given."""


@dataclass(frozen=True, eq=False)
class _Column:
    """A column of all parts: its role, the values of each part, and why it is left out."""

    kind: Kind
    parts: tuple[Cells, ...]
    reason: str = ""


def build_table(parts: Parts, **options: Unpack[ColumnOptions]) -> Table:
    """The table of the user.

    Args:
        parts: The columns of each part. Types are found in the training part, and hold for all parts.
        **options: ``target``, the column of the classes, which must be given; ``drop_columns``, columns that are left
            out; ``category_columns``, columns whose values are categories, also if they are numbers.

    Raises:
        ValueError: If a column does not exist, or the data cannot be used. The message names the column.
        DataError: The same for data of a file.
    """
    raw = parts["train"]
    names = [str(name) for name in raw.frame.columns]
    label = find_column(raw, names, "target", options.get("target"))
    dropped = find_columns(raw, names, "drop_columns", options.get("drop_columns", ()))
    forced = find_columns(raw, names, "category_columns", options.get("category_columns", ()))
    for name in dropped:
        if name == label or name in forced:
            raise ValueError(f"drop_columns must not hold the target or one of category_columns, got {name!r}.")
    _check_rows(parts)
    for table in parts.values():
        _check_columns(raw, table, dropped)
    class_names, labels = find_classes(parts, label, force=label in forced)
    columns = {name: _Column(Kind.DROPPED, (), "by drop_columns") for name in dropped}
    for name in names:
        if name != label and name not in dropped:
            columns[name] = _interpret(parts, name, force=name in forced)
    _choose_indices(raw, columns)
    return _assemble(parts, {name: columns[name] for name in names if name != label}, label, class_names, labels)


# Names -------------------------------------------------------------------------------------------


def find_column(raw: RawTable, names: Sequence[str], option: str, column: str | int | None) -> str:
    """The name of the column that an option names, by its name or by its position from 0, or from -1 at the end.

    Raises:
        ValueError: If there is no such column; the message lists the columns.
    """
    there = f"{raw.name} has the columns {_some(names)}"
    if column is None:
        raise ValueError(
            f"{option} must name the column of the classes: {there}. Give {option}={names[-1]}, for example."
        )
    text = str(column).strip()
    if text in names:
        return text
    if re.fullmatch(r"-?\d+", text):
        position = int(text)
        if -len(names) <= position < len(names):
            return names[position]
        raise ValueError(
            f"{option} must be a position from {-len(names)} to {len(names) - 1} or a name, got {text}: {there}."
        )
    hint = did_you_mean(text, names)
    if "no header" in raw.facts:
        hint = f" No header was found; a position such as {option}=-1 names a column, too."
    raise ValueError(f"{option} must be a column, got {text!r}: {there}.{hint}")


def find_columns(raw: RawTable, names: Sequence[str], option: str, columns: Names) -> list[str]:
    """The names of several columns; see :func:`find_column`.

    Raises:
        ValueError: If there is no such column, or it is named twice.
    """
    words = next(csv.reader([columns], skipinitialspace=True), []) if isinstance(columns, str) else list(columns)
    found = [find_column(raw, names, option, word) for word in words]
    for name in found:
        if found.count(name) > 1:
            raise ValueError(f"{option} must name each column once, got {name!r} twice.")
    return found


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return ", ".join(map(str, names[:20])) + more


def _check_columns(train: RawTable, table: RawTable, dropped: Sequence[str]) -> None:
    """Refuse a part that has other columns than the training part; their order may differ."""
    wanted, found = ([str(name) for name in raw.frame.columns if name not in dropped] for raw in (train, table))
    lacking, further = [name for name in wanted if name not in found], [name for name in found if name not in wanted]
    if lacking or further:
        words = f"lacks {_some(lacking)}" if lacking else f"has also {_some(further)}"
        raise ValueError(f"{table.name} must have the columns of {train.name}, but {words}.")


def _check_rows(parts: Parts) -> None:
    for part, table in parts.items():
        least = len(PARTS) + 1 - len(parts) if part == "train" else 1
        rows = len(table.frame)
        if rows < least:
            found = "no rows" if not rows else f"{rows} row{'s' * (rows != 1)}"
            need = "" if least == 1 else f", but {least} parts need at least {least}"
            raise table.error(f"{table.name} has {found} of data{need}.")


# Classes -----------------------------------------------------------------------------------------


def find_classes(tables: Parts, name: str, *, force: bool = False) -> tuple[tuple[str, ...], list[Integers]]:
    """The names of the classes in order, and the class numbers of each part.

    Numbers are sorted as numbers, categories of pandas stay in their order, and other texts are sorted.

    Args:
        tables: The parts.
        name: The target.
        force: Whether numbers are treated as texts, and may be mixed with texts.

    Raises:
        ValueError: If a class is missing, there is one class only, or there are too many classes.
        DataError: The same for data of a file.
    """
    cells = [read_cells(table, name, mixed=force) for table in tables.values()]
    for raw, column in zip(tables.values(), cells, strict=True):
        refuse_inexact(raw, column)
    if force:
        cells = [column.as_texts() for column in cells]
    for raw, column in zip(tables.values(), cells, strict=True):
        _refuse_missing(raw, name, column)
    train, raw = cells[0], tables["train"]
    _refuse_regression(raw, train)
    if train.numbers is not None:
        names = tuple(map(number_text, np.unique(train.numbers)))
    else:
        names = tuple(train.texts[code] for code in np.unique(train.codes))
    if len(names) == 1:
        raise raw.error(
            f"target {name!r} of {raw.name} has one class, {names[0]!r}, in all {len(train.missing):,} rows: at least "
            "two are needed."
        )
    return names, [_numbered(raw, tables, column, names) for raw, column in zip(tables.values(), cells, strict=True)]


def _numbered(raw: RawTable, tables: Parts, column: Cells, names: tuple[str, ...]) -> Integers:
    order = {name: position for position, name in enumerate(names)}
    texts = column.as_texts()
    numbers: Integers = np.array([order.get(text, -1) for text in texts.texts], dtype=np.int64)[texts.codes]
    unknown = np.flatnonzero(numbers < 0)
    if len(unknown):
        row = int(unknown[0])
        raise raw.error(
            f"target {column.name!r} of {raw.name} has the class {texts.texts[texts.codes[row]]!r} in "
            f"{raw.place(row)}, which {tables['train'].name} lacks: a class must occur in training."
        )
    return numbers


def _refuse_missing(raw: RawTable, name: str, column: Cells) -> None:
    missing = np.flatnonzero(column.missing)
    if len(missing):
        rows = f"{len(missing):,} row{'s' * (len(missing) != 1)}"
        raise raw.error(
            f"target {name!r} of {raw.name} is missing in {rows}, first in {raw.place(int(missing[0]))}: fill in the "
            "class, or remove the row."
        )


def _refuse_regression(raw: RawTable, column: Cells) -> None:
    """Refuse a target of measurements or identifiers."""
    rows = len(column.missing)
    if column.numbers is None:
        count, most = len(np.unique(column.codes)), MOST_CLASSES
        remedy = "choose a column with fewer classes"
    else:
        values = np.unique(column.numbers)
        count = len(values)
        most = MOST_CATEGORIES if (values == np.rint(values)).all() else _MOST_FRACTIONS
        remedy = (
            "predicting numbers (regression) is not supported. Choose a column of classes, or turn ranges of numbers "
            "into classes"
        )
    if count > most or (count > 2 and 2 * count > rows):
        raise raw.error(
            f"target {column.name!r} of {raw.name} has {count:,} different values in {rows:,} rows: {remedy}."
        )


# Features ----------------------------------------------------------------------------------------


def _interpret(tables: Parts, name: str, *, force: bool) -> _Column:
    """The role of a feature, found in the training part, and its values in every part."""
    raw = tables["train"]
    train = read_cells(raw, name, mixed=force)
    if train.missing.all():
        return _Column(Kind.DROPPED, (), "it has no values")
    if train.numbers is None or force:
        cells = [train, *(read_cells(table, name, mixed=True) for part, table in tables.items() if part != "train")]
        for table, column in zip(tables.values(), cells, strict=True):
            refuse_inexact(table, column)
        texts = [column.as_texts() for column in cells]
        if not _is_index(raw, name, texts[0]):
            _refuse_many(raw, texts[0])
        return _Column(Kind.CATEGORY, tuple(texts))
    others = [_number_cells(raw, table, name) for part, table in tables.items() if part != "train"]
    return _Column(Kind.NUMBER, (train, *others))


def _number_cells(train: RawTable, raw: RawTable, name: str) -> Cells:
    cells = read_cells(raw, name)
    if cells.numbers is None:
        row = int(np.flatnonzero(~cells.missing)[0])
        raise raw.error(
            f"column {name!r} of {raw.name} must hold numbers as in {train.name}, but holds "
            f"{cells.texts[cells.codes[row]]!r} in {raw.place(row)}."
        )
    return cells


def _refuse_many(raw: RawTable, column: Cells) -> None:
    """Refuse categories of which most occur once, or of which there are too many for one input each."""
    count, rows = len(np.unique(column.codes[column.codes >= 0])), len(column.codes)
    if count > MOST_CATEGORIES or (count == rows > _FEWEST_NAMES):
        example = column.texts[column.codes[column.codes >= 0][0]]
        raise raw.error(
            f"column {column.name!r} of {raw.name} has {count:,} different texts in {rows:,} rows, such as "
            f"{example!r}; at most {MOST_CATEGORIES} categories are supported, and some must repeat. Leave the column "
            f"out with drop_columns={column.name}."
        )


def _is_index(raw: RawTable, name: str, cells: Cells) -> bool:
    """Whether a column identifies the rows: its name says so and no value repeats, or it counts the rows."""
    rows = len(cells.missing)
    if cells.missing.any():
        return False
    if cells.numbers is not None and name == str(raw.frame.columns[0]) and rows > 1:
        counts = cells.numbers - np.arange(rows)
        if counts[0] in (0.0, 1.0) and (counts == counts[0]).all():
            return True
    named = name in raw.unnamed or name.strip().casefold() in _INDEX_NAMES
    return named and len(np.unique(cells.codes if cells.numbers is None else cells.numbers)) == rows


def _choose_indices(raw: RawTable, columns: dict[str, _Column]) -> None:
    """Leave out the columns that identify rows, unless no other feature remains."""
    kept = [name for name, column in columns.items() if column.kind is not Kind.DROPPED]
    indices = [name for name in kept if _is_index(raw, name, columns[name].parts[0])]
    if len(indices) < len(kept):
        for name in indices:
            columns[name] = _Column(Kind.DROPPED, (), "it numbers the rows")
    elif not kept:
        raise raw.error(
            f"{raw.name} has no column besides the target that can be used: columns are separated by commas, "
            "semicolons, tabs, vertical bars or blanks."
        )
    else:
        for name in indices:
            if columns[name].kind is Kind.CATEGORY:
                _refuse_many(raw, columns[name].parts[0])


# The table ---------------------------------------------------------------------------------------


def _assemble(
    parts: Parts, columns: Mapping[str, _Column], target: str, class_names: tuple[str, ...], labels: list[Integers]
) -> Table:
    numeric = {name: column for name, column in columns.items() if column.kind is Kind.NUMBER}
    nominal = {name: column for name, column in columns.items() if column.kind is Kind.CATEGORY}
    all_labels = np.concatenate(labels)
    numbers = np.empty((len(all_labels), len(numeric)), dtype=np.float64)
    categories = np.empty((len(all_labels), len(nominal)), dtype=object)
    for position, column in enumerate(numeric.values()):
        numbers[:, position] = np.concatenate([cells.numbers for cells in column.parts if cells.numbers is not None])
    for position, column in enumerate(nominal.values()):
        categories[:, position] = np.concatenate([cells.objects() for cells in column.parts])
    given = np.repeat([PARTS.index(part) for part in parts], [len(rows) for rows in labels]).astype(np.int64)
    infos = {name: _info(name, column) for name, column in columns.items()}
    counts = np.bincount(all_labels, minlength=len(class_names))
    classes = [f"{name} ({count:,})" for name, count in zip(class_names, counts, strict=True)]
    infos[target] = ColumnInfo(target, Kind.TARGET, 0, _first(classes))
    return Table(
        numbers=numbers,
        categories=categories,
        labels=all_labels,
        class_names=class_names,
        number_names=tuple(numeric),
        category_names=tuple(nominal),
        given=given if len(parts) > 1 else None,
        columns=tuple(infos[str(name)] for name in parts["train"].frame.columns),
        files=tuple(
            FileInfo(part if len(parts) > 1 else "all", str(raw.path), raw.sha256, raw.facts)
            for part, raw in parts.items()
            if raw.path is not None
        ),
    )


def _info(name: str, column: _Column) -> ColumnInfo:
    missing = sum(int(cells.missing.sum()) for cells in column.parts)
    if column.kind is Kind.DROPPED:
        return ColumnInfo(name, column.kind, missing, column.reason)
    if column.kind is Kind.NUMBER:
        values = np.concatenate([cells.numbers for cells in column.parts if cells.numbers is not None])
        least, most = np.nanmin(values), np.nanmax(values)
        words = f"constant {least:g}" if least == most else f"{least:g} to {most:g}"
        return ColumnInfo(name, column.kind, missing, words)
    texts = sorted({cells.texts[code] for cells in column.parts for code in np.unique(cells.codes) if code >= 0})
    words = f"constant {texts[0]}" if len(texts) == 1 else f"{len(texts)}: {_first(texts)}"
    return ColumnInfo(name, column.kind, missing, words)


def _first(texts: Sequence[str]) -> str:
    more = ", ..." if len(texts) > _SHOWN else ""
    return ", ".join(texts[:_SHOWN]) + more
