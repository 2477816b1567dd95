"""The metrics of a run in a CSV file that grows by rows and survives a crash."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, SupportsFloat, TypedDict

from jumpstart.files import UserPath, sync_file, user_path, write_text
from sweep.files import RunDirectoryError
from sweep.signals import signals_held

if TYPE_CHECKING:
    import pandas as pd


_MOST_DIGITS = 18
"""Digits of the largest epoch."""


class Mark(TypedDict):
    """What a checkpoint stores of the rows that were written before it."""

    rows: int
    sha256: str


class MetricsCsv:
    """The metrics of a run, one row per epoch, written in blocks.

    Numbers keep every digit, and :meth:`read` returns them exactly. A missing value is empty; NaN is ``nan``. A crash
    of the process loses at most the rows since the last :meth:`flush`, and a crash of the machine those since the last
    :meth:`sync`: call :meth:`sync` before a checkpoint is written, and :meth:`keep` when a checkpoint is loaded.

    Args:
        path: File to make or to extend. A last line that a crash left half-written is dropped.
        columns: First columns after ``epoch``; any row can add others.
        buffer_rows: Number of rows after which a block is written.
        flush_seconds: Seconds after which the next row writes the block, however small.
        repair: Whether to cut a half-written last line off the file at once.

    Raises:
        RunDirectoryError: If the file exists and was not written by this class, or is damaged.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> path = Path(tempfile.mkdtemp(), "metrics.csv")
        >>> with MetricsCsv(path) as metrics:
        ...     metrics.append(1, {"train/loss": 0.1})
        ...     metrics.append(1, {"val/loss": None})
        ...     metrics.append(2, {"val/loss": 0.25})
        >>> print(path.read_text())
        epoch,train/loss,val/loss
        1,0.1,
        2,,0.25
        <BLANKLINE>
    """

    def __init__(
        self,
        path: UserPath,
        *,
        columns: Sequence[str] = (),
        buffer_rows: int = 64,
        flush_seconds: float = 5.0,
        repair: bool = True,
    ) -> None:
        self.path = user_path(path, "path", "file")
        self._buffer_rows = buffer_rows
        self._flush_seconds = flush_seconds
        self._flushed_at = time.monotonic()
        self._rows: dict[int, dict[str, str]] = {}
        self._columns: dict[str, None] = {"epoch": None}
        self._size = 0
        self._written_columns = 0
        self._is_stored = True
        self._last: int | None = None
        self._last_line = ""
        self._count = 0
        self._earlier = hashlib.sha256()  # of the rows in the file but the last
        self._load(repair=repair)
        for name in columns:
            self._add_column(name)

    def __enter__(self) -> MetricsCsv:
        return self

    def __exit__(self, *_: object) -> None:
        self.sync()

    @property
    def last_epoch(self) -> int | None:
        """The epoch of the latest row, in the file or in the buffer; None without rows."""
        return next(reversed(self._rows), self._last)

    @property
    def mark(self) -> Mark:
        """The number of the rows in the file, and the checksum of their cells, whatever columns are added later."""
        digest = self._earlier.copy()
        if self._count:
            digest.update(_cells(self._columns, self._last_line))
        return {"rows": self._count, "sha256": digest.hexdigest()}

    def holds(self, mark: Mark) -> bool:
        """Whether the file begins with the rows that it had when this mark was taken."""
        names, *lines = self._text().splitlines()[: mark["rows"] + 1] or [""]
        digest = hashlib.sha256()
        for line in lines:
            digest.update(_cells(names.split(","), line))
        return mark == {"rows": len(lines), "sha256": digest.hexdigest()}

    def append(self, epoch: int, values: Mapping[str, SupportsFloat | None]) -> None:
        """Add metrics to the row of an epoch: the latest row, or a new one after it.

        Args:
            epoch: The epoch of the row, from 0.
            values: Numbers or scalar tensors by column; None leaves a field empty.

        Raises:
            ValueError: If the epoch is before the latest one, or the name of a column would damage the file.
        """
        row = self._rows.get(epoch)
        if row is None:
            row = self._rows[epoch] = self._new_row(epoch)
        for name, value in values.items():
            if name not in self._columns or name == "epoch":
                self._add_column(name)
            row[name] = repr(value) if type(value) is float else _number(value)
        late = time.monotonic() - self._flushed_at >= self._flush_seconds
        if late or len(self._rows) >= self._buffer_rows:
            self.flush()

    def flush(self) -> None:
        """Write the rows of the buffer."""
        self._flushed_at = time.monotonic()
        if self._rows:
            with signals_held():
                self._write_rows()

    def sync(self) -> None:
        """Write the rows of the buffer, and wait until the disk has stored all rows, as it has a checkpoint."""
        self.flush()
        if not self._is_stored:
            sync_file(self.path)
            self._is_stored = True

    def keep(self, rows: int) -> None:
        """Drop all rows but the first ones, because a resumed run repeats the others.

        Args:
            rows: The number of rows that stay: that of the :attr:`mark` in the checkpoint that the run resumes from.
        """
        self.flush()
        if self._count > rows:
            header, *lines = self._text().splitlines(keepends=True)
            write_text(self.path, "".join([header, *lines[:rows]]))
            self._load(repair=True)

    def read(self) -> pd.DataFrame:
        """Every row, to the last digit; missing values are NaN."""
        import pandas as pd

        self.flush()
        lines = self._text().splitlines()[1:]
        # Some releases of pandas round the last digit of what they read.
        values = [[float(text or "nan") for text in line.split(",")] for line in lines]
        names = list(self._columns)[: self._written_columns or None]
        return pd.DataFrame(values, columns=names, dtype=float).astype({"epoch": int})

    def _write_rows(self) -> None:
        """Write the rows of the buffer, of which there are some."""
        names = list(self._columns)
        lines = [",".join([row.get(name, "") for name in names]) + "\n" for row in self._rows.values()]
        block = "".join(lines).encode()
        if len(names) != self._written_columns:
            self._widen(names)
        with self.path.open("r+b") as file:
            file.truncate(self._size)
            file.seek(self._size)
            file.write(block)
        self._is_stored = False
        self._size += len(block)
        for epoch, line in zip(self._rows, lines, strict=True):
            self._note(epoch, line)
        self._rows.clear()

    def _new_row(self, epoch: int) -> dict[str, str]:
        last = self.last_epoch or 0
        if epoch < last:
            raise ValueError(f"epoch must be >= {last}, that of the latest row, got {epoch}.")
        if epoch == self._last:
            self._size -= len(self._last_line)
            texts = self._last_line.rstrip("\n").split(",")
            return dict(zip(self._columns, texts, strict=False))
        return {"epoch": str(int(epoch))}

    def _add_column(self, name: str) -> None:
        if not name.isprintable() or name in ("", "epoch") or "," in name or '"' in name:
            raise ValueError(f"a column can't be named {name!r}.")
        self._columns[name] = None

    def _widen(self, names: Sequence[str]) -> None:
        """Rewrite the file with more columns, which are empty in the rows so far."""
        old = self._text().splitlines()
        commas = "," * (len(names) - self._written_columns)
        text = "\n".join([",".join(names), *(line + commas for line in old[1:])]) + "\n"
        write_text(self.path, text)
        self._size = len(text.encode())
        self._written_columns = len(names)

    def _load(self, *, repair: bool) -> None:
        """Read columns, size and last row of the file, without a line that a crash left half-written."""
        self._size = self._written_columns = self._count = 0
        self._last, self._last_line, self._earlier = None, "", hashlib.sha256()
        content = self.path.read_bytes() if self.path.exists() else b""
        lines = [line.decode(errors="replace") for line in content.splitlines(keepends=True)]
        if not lines or not lines[0].endswith("\n"):
            return
        names = lines[0].rstrip("\n").split(",")
        if names[0] != "epoch":
            raise RunDirectoryError(f"{self.path} is no table of epochs: its first column is {names[0]!r}, not epoch.")
        if "\ufffd" in lines[0] or len(set(names)) < len(names):  # the sign that stands for bytes that are no text
            raise RunDirectoryError(f"{self.path} is damaged in line 1.")
        self._columns = dict.fromkeys(names)
        self._written_columns = len(names)
        self._size = len(lines[0].encode())
        for number, line in enumerate(lines[1:], start=2):
            if not _is_row(line, len(names), self._last):
                if number < len(lines):
                    raise RunDirectoryError(f"{self.path} is damaged in line {number}.")
                break
            self._note(int(line.partition(",")[0]), line)
            self._size += len(line.encode())
        if repair and self._size < len(content):
            os.truncate(self.path, self._size)

    def _note(self, epoch: int, line: str) -> None:
        """Note a row in the file as the last one."""
        if epoch != self._last and self._count:
            self._earlier.update(_cells(self._columns, self._last_line))
        self._count += epoch != self._last
        self._last, self._last_line = epoch, line

    def _text(self) -> str:
        """The header and the whole rows of the file."""
        return self.path.read_bytes()[: self._size].decode() if self._size else ""


def _is_row(line: str, width: int, after: int | None) -> bool:
    first = line.partition(",")[0]
    complete = line.endswith("\n") and line.isascii() and line.count(",") == width - 1
    known = complete and first.isdecimal() and len(first) <= _MOST_DIGITS
    return known and (after is None or int(first) > after) and all(map(_is_cell, line.rstrip("\n").split(",")))


def _is_cell(text: str) -> bool:
    try:
        float(text or "nan")
    except ValueError:
        return False
    return True


def _cells(names: Iterable[str], line: str) -> bytes:
    """The cells of a row that have a value, with their columns."""
    cells = zip(names, line.rstrip("\n").split(","), strict=False)
    return (",".join(f"{name}={text}" for name, text in cells if text) + "\n").encode()


def _number(value: SupportsFloat | None) -> str:
    if value is None:
        return ""
    if isinstance(value, int):
        return str(int(value))
    return repr(float(value))
