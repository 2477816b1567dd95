"""Parsing of UCI's files: from text to records, from records to a table, with every record checked."""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from data.tables import Floats, Integers, Kind, Objects, Table
from data.uci.files import Content, DataFile, Remote

Records = list[list[str]]
Scalar = TypeVar("Scalar", bound=np.generic)


@dataclass(frozen=True)
class Column:
    """A column of a file: its name and its role."""

    name: str
    kind: Kind


def number(names: str) -> tuple[Column, ...]:
    """Numeric columns, including ordered levels. Names are separated by commas."""
    return _columns(names, Kind.NUMBER)


def category(names: str) -> tuple[Column, ...]:
    """Nominal columns. Names are separated by commas."""
    return _columns(names, Kind.CATEGORY)


def target(name: str) -> tuple[Column, ...]:
    """The class column."""
    return (Column(name, Kind.TARGET),)


def dropped(names: str) -> tuple[Column, ...]:
    """Columns that identify a row and are left out. Names are separated by commas."""
    return _columns(names, Kind.DROPPED)


def _columns(names: str, kind: Kind) -> tuple[Column, ...]:
    return tuple(Column(name, kind) for name in names.split(", "))


def read_commas(text: str) -> Records:
    """One record per line, with fields separated by commas, quoted or not. Empty lines are skipped."""
    return [[field.strip() for field in record] for record in csv.reader(text.splitlines()) if record]


def read_commas_with_header(text: str) -> Records:
    """Records as in :func:`read_commas`, after a first line of column names."""
    return read_commas(text)[1:]


def read_arff(text: str) -> Records:
    """The records after the line ``@data`` of an ARFF file; all records if there is no such line."""
    head, mark, body = text.partition("@data")
    return read_commas(body) if mark else read_commas(head)


def read_broken_lines(text: str) -> Records:
    """Records of 40 fields, of which some are broken over two lines; the lines of such a record are joined.

    The line break may be inside a field or in place of a comma: the number of fields decides. A line break inside the
    last field cannot be detected.
    """
    num_fields = 40
    records: Records = []
    begun = ""
    for line in (line.strip() for line in text.splitlines()):
        if not line:
            continue
        record = begun + line
        if begun and record.count(",") == num_fields - 2:
            record = f"{begun},{line}"
        if record.count(",") < num_fields - 1:
            begun = record
            continue
        records += read_commas(record)
        begun = ""
    return records + (read_commas(begun) if begun else [])


_LEVEL = re.compile(r"(?:[A-Za-z]+_range_|[A-Za-z]+)?(\d+)")


def read_levels(text: str) -> Records:
    """Records of three levels and two words, with any separator, with or without a header.

    Of a level, such as ``CT_range_4``, only the number is kept.
    """
    records = [re.split(r"[,;\s]+", line.strip()) for line in text.splitlines() if line.strip()]
    if records and not any(_LEVEL.fullmatch(field) for field in records[0]):
        records = records[1:]
    return [[level[1] if (level := _LEVEL.fullmatch(field)) else field for field in record] for record in records]


@dataclass(frozen=True, eq=False)
class UciSource:
    """Files of one UCI data set, and how they are parsed into a table.

    Attributes:
        title: UCI's title of the data set.
        creators: Names of the creators.
        columns: Every column of the files, in order.
        classes: Class names by the label in the file, in the order of the class numbers.
        counts: Rows of each class, in all files together.
        number: UCI's number of the data set.
        slug: UCI's name of the data set in addresses.
        files: Files of the data set.
        read: Function from the text of a file to its records.
        missing: Text of a missing value.
        fold_case: Whether nominal values that differ in case alone are the same.
        known_layout: First line of a file in the layout that the known checksums belong to; empty if there is only
            one layout.
        note: What a user must know about the rows and columns.
    """

    title: str
    creators: str
    columns: tuple[Column, ...]
    classes: Mapping[str, str]
    counts: tuple[int, ...]
    number: int
    slug: str
    files: tuple[DataFile, ...]
    read: Callable[[str], Records] = read_commas
    missing: str = "?"
    fold_case: bool = False
    known_layout: str = ""
    note: str = ""

    @property
    def rows(self) -> int:
        """Number of rows in all files together."""
        return sum(self.counts)

    @property
    def num_features(self) -> int:
        """Number of columns that are used, before categories are encoded."""
        return sum(column.kind in (Kind.NUMBER, Kind.CATEGORY) for column in self.columns)

    @property
    def url(self) -> str:
        """UCI's page of the data set."""
        return f"https://archive.ics.uci.edu/dataset/{self.number}/{self.slug}"

    def remote(self, folder: str) -> Remote:
        """The archive and its files, to be cached in this folder."""
        return Remote(folder, f"{self.number}/{self.slug}.zip", self.files, self.inspect)

    def table(self, contents: list[bytes]) -> Table:
        """The table in the bytes of the files.

        Args:
            contents: Bytes of each of :attr:`files`, in their order.

        Raises:
            ValueError: If a file has no records, or a record does not have the expected columns.
        """
        parts = [self._columns(file, content) for file, content in zip(self.files, contents, strict=True)]
        joined = {name: [value for part in parts for value in part.get(name, [])] for name in parts[0]}
        return self._table(joined)

    def inspect(self, file: DataFile, content: bytes) -> Content:
        """The parsed content of a file whose checksum is unknown.

        Raises:
            ValueError: If the file cannot be parsed.
        """
        columns = self._columns(file, content)
        table = self._table(columns)
        counts = tuple(np.bincount(table.labels, minlength=len(self.classes)).tolist())
        fault = "" if counts == self.counts else f"it has {counts} rows by class, expected {self.counts}"
        fields = "\n".join(",".join(record) for record in zip(*columns.values(), strict=True))
        first = _decode(content).split("\n", 1)[0].strip()
        return Content(
            digest=hashlib.sha256(fields.encode()).hexdigest(),
            known_layout=not self.known_layout or first == self.known_layout,
            fault=fault,
        )

    def _columns(self, file: DataFile, content: bytes) -> dict[str, list[str]]:
        names = [column.name for column in self.columns if column.name not in file.absent]
        try:
            records = self.read(_decode(content))
        except csv.Error as error:
            raise ValueError(f"{file.name} is not a table ({error})") from None
        for row, record in enumerate(records, start=1):
            if len(record) != len(names):
                raise ValueError(f"record {row} of {file.name} has {len(record)} fields, expected {len(names)}")
        if not records:
            raise ValueError(f"{file.name} has no records")
        return {name: [record[i] for record in records] for i, name in enumerate(names)}

    def _table(self, columns: Mapping[str, list[str]]) -> Table:
        names = {kind: tuple(c.name for c in self.columns if c.kind is kind) for kind in Kind}
        rows = len(columns[names[Kind.TARGET][0]])
        return Table(
            numbers=_stack([self._numbers(name, columns[name]) for name in names[Kind.NUMBER]], rows, np.float64),
            categories=_stack([self._nominal(columns[name]) for name in names[Kind.CATEGORY]], rows, object),
            labels=self._labels(columns[names[Kind.TARGET][0]]),
            class_names=tuple(self.classes.values()),
            number_names=names[Kind.NUMBER],
            category_names=names[Kind.CATEGORY],
        )

    def _numbers(self, name: str, values: list[str]) -> Floats:
        try:
            return np.array([np.nan if value == self.missing else float(value) for value in values])
        except ValueError as error:
            raise ValueError(f"column {name!r} is not numeric ({error})") from None

    def _nominal(self, values: list[str]) -> Objects:
        fold = str.casefold if self.fold_case else str
        return np.array([np.nan if value == self.missing else fold(value) for value in values], dtype=object)

    def _labels(self, values: list[str]) -> Integers:
        order = {label: i for i, label in enumerate(self.classes)}
        unknown = sorted(set(values) - set(order))
        if unknown:
            raise ValueError(f"unknown class {unknown[0]!r}, expected one of {', '.join(order)}")
        return np.array([order[value] for value in values], dtype=np.int64)


def _decode(content: bytes) -> str:
    return content.decode("utf-8-sig", errors="replace")


def _stack(columns: Sequence[npt.NDArray[Scalar]], rows: int, dtype: npt.DTypeLike) -> npt.NDArray[Scalar]:
    """Columns side by side, ``(rows, columns)``, also if there are none."""
    return np.stack(columns, axis=1) if columns else np.empty((rows, 0), dtype=dtype)
