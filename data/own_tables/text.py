"""Text of a file of separated values: its encoding, its separator, its header."""

from __future__ import annotations

import bz2
import codecs
import csv
import gzip
import hashlib
import io
import itertools
import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from data.cache import DataError

MISSING = ("", "?", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "null", "NULL", "<NA>")
"""Texts of a missing value."""

SEPARATORS = {"\t": "tabs", ";": "semicolons", "|": "vertical bars", ",": "commas", " ": "blanks"}
"""Separators of columns, in the order in which they are tried, and their names."""

_UNPACK: dict[str, Callable[[io.BytesIO], gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile]] = {
    ".gz": lambda packed: gzip.GzipFile(fileobj=packed),
    ".bz2": bz2.BZ2File,
    ".xz": lzma.LZMAFile,
}
_RATIO, _ANY_SIZE = 100, 64 << 20
"""How many times its packed size a file may have, and the size in bytes that it may have in any case."""
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_NOT_TEXT = (
    (b"PK\x03\x04", "a zip archive or an Excel workbook"),
    (b"\xd0\xcf\x11\xe0", "an Excel workbook"),
    (b"PAR1", "a Parquet file"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x1f\x8b", "a compressed file"),
)
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+|\d+,\d+)(?:[eE][-+]?\d+)?")
_RECORD = re.compile(r"""(?:(?<![^\t;|, ])"[^"]*"|[^\r\n])*""")
"""The first record of a text. A quote begins a field with line breaks only behind a separator."""
_SAMPLE, _SAMPLE_RECORDS = 200_000, 200


@dataclass(frozen=True)
class Text:
    """The text of a file.

    Attributes:
        path: The file.
        content: Its text.
        encoding: The encoding, in words.
        sha256: Checksum of the bytes of the file.
    """

    path: Path
    content: str
    encoding: str
    sha256: str


@dataclass(frozen=True)
class Layout:
    """The layout of separated values.

    Attributes:
        separator: One of :data:`SEPARATORS`; a blank stands for any number of blanks and tabs.
        names: The names of the columns, as they are in the header; ``None`` without a header.
        width: The number of columns.
        skipped: Lines before the first row of data. A quoted line break ends a line, but no record.
    """

    separator: str
    names: tuple[str, ...] | None
    width: int
    skipped: int


def read_text(path: Path) -> Text:
    """The text of a file, unpacked if its name ends with ``.gz``, ``.bz2`` or ``.xz``.

    Text without a byte order mark is UTF-8, or else Windows-1252, of which Latin-1 is a part.

    Raises:
        DataError: If the file cannot be read or is no text.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror}.") from None
    sha256 = hashlib.sha256(content).hexdigest()
    unpack = _UNPACK.get(path.suffix.lower())
    if unpack is not None:
        try:
            most = _RATIO * len(content) + _ANY_SIZE
            content = unpack(io.BytesIO(content)).read(most + 1)
        except (OSError, EOFError, ValueError, lzma.LZMAError, zlib.error) as error:
            raise DataError(f"{path} can't be unpacked: {error}. Copy it again.") from None
        if len(content) > most:
            raise DataError(f"{path} has more than {most:,} bytes when it is unpacked: unpack it by hand.")
    for mark, kind in _NOT_TEXT:
        if content.startswith(mark):
            raise DataError(f"{path} is {kind}, not a text of separated values: save the table as a .csv file.")
    text, encoding = _decode(path, content)
    if "\0" in text:
        raise DataError(
            f"{path} is not a text of separated values: it has null bytes. Save the table as a UTF-8 .csv file."
        )
    return Text(path, text, encoding, sha256)


def _decode(path: Path, content: bytes) -> tuple[str, str]:
    """The text of some bytes, and its encoding in words."""
    marked = next((encoding for mark, encoding in _MARKS if content.startswith(mark)), None)
    for encoding in (marked,) if marked else ("utf-8", "cp1252"):
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        word = {"utf-8-sig": "utf-8", "cp1252": "Windows-1252 (it is not UTF-8)"}.get(encoding, encoding)
        return text, word.upper() if word.startswith("utf") else word
    raise DataError(f"{path} is neither UTF-8 nor {(marked or 'Windows-1252').upper()}: save it as UTF-8.")


def find_layout(text: str, target: str | None = None) -> Layout:
    r"""The separator, the header and the width of a text.

    The separator is the first of :data:`SEPARATORS` that divides all the first records into the same number of
    columns, or else the most frequent one in the first record. The first record is a header if it holds the target,
    or if a text in it stands above a column of numbers. Without a column of numbers it is a header unless most of its
    texts occur again below. A record with numbers is a header only if these are the numbers of the columns.

    Args:
        text: Text that is not blank.
        target: The name or position of the target, if it is known.

    Example:
        >>> find_layout("size;kind\n1,5;a\n2,5;b\n")
        Layout(separator=';', names=('size', 'kind'), width=2, skipped=1)
        >>> find_layout("0.5 a\n0.7 b\n").names is None
        True
    """
    lines = re.match(r"(?: *[\r\n])*", text)
    blank = lines.end() if lines else 0
    skipped = len(text[:blank].splitlines())
    sample = text[blank : blank + _SAMPLE]
    declared = re.match(r"sep=(.)\r?\n", sample)  # the first line of some of Excel's files
    if declared:
        sample, skipped = sample[declared.end() :], skipped + 1
    complete = blank + _SAMPLE >= len(text)
    separator = declared[1] if declared else _find_separator(sample, complete)
    found = _sample_records(sample, separator, complete)
    if not found:
        return Layout(separator, None, 0, skipped)
    records = [record for record, _ in found]
    first, line = found[0]
    if not _is_header(records, target):
        return Layout(separator, None, max(map(len, records)), skipped)
    return Layout(separator, tuple(first), len(first), skipped + line)


def records(text: str, separator: str) -> Iterator[tuple[list[str], int]]:
    """Every record that is not blank, with the number of its last line.

    Raises:
        csv.Error: If a field is too large, which a quote without an end causes.
    """
    lines: Iterator[str] = io.StringIO(text, newline="")
    reader = csv.reader(
        map(_without_tabs, lines) if separator == " " else lines, delimiter=separator, skipinitialspace=True
    )
    for record in reader:
        fields = [field.strip() for field in record]
        if fields and fields != [""]:  # a line of blanks is a blank line
            yield fields, reader.line_num


def is_number(cell: str) -> bool:
    """Whether a cell holds a number, with a decimal point or a decimal comma."""
    return _NUMBER.fullmatch(cell) is not None


def lines_below(text: str, number: int) -> str:
    r"""The text below its first lines, counted as :func:`records` counts them.

    Example:
        >>> lines_below('"a\nb",y\r\n1,2\n', 2)
        '1,2\n'
    """
    lines = itertools.islice(io.StringIO(text, newline=""), number)
    return text[sum(map(len, lines)) :]


def _without_tabs(line: str) -> str:
    """The line with a blank for each tab, and with none at its end, where they would begin another field."""
    content = line.rstrip("\r\n")
    return content.rstrip(" \t").replace("\t", " ") + line[len(content) :]


def _split(line: str) -> list[str]:
    return [quoted or plain for quoted, plain in re.findall(r'"([^"]*)"|(\S+)', line)]


def _sample_records(sample: str, separator: str, complete: bool) -> list[tuple[list[str], int]]:
    try:
        found = list(itertools.islice(records(sample, separator), _SAMPLE_RECORDS + 1))
    except csv.Error:  # an opening quote without a closing one; reported when the whole file is read
        return []
    # The last record of a sample may be cut.
    return found[:_SAMPLE_RECORDS] if complete or len(found) > _SAMPLE_RECORDS else found[:-1]


def _find_separator(sample: str, complete: bool) -> str:
    found = _RECORD.match(sample)
    record = found[0] if found else ""
    first, words = re.sub(r'"[^"]*"', "", record), _split(record)
    if len(words) > 1 and not set("\t;|") & set(first) and all("," not in word or is_number(word) for word in words):
        return " "  # a comma stands in quotes or in a number only
    marks = [separator for separator in SEPARATORS if separator != " " and separator in first]
    for separator in marks:
        widths = {len(record) for record, _ in _sample_records(sample, separator, complete)}
        if len(widths) == 1 and widths != {1}:
            return separator
    if marks:
        return max(marks, key=first.count)
    return " " if len(words) > 1 else ","


def _is_header(records: list[list[str]], target: str | None) -> bool:
    first, rest = records[0], [record for record in records[1:] if record != records[0]]
    if target is not None and target in first and not re.fullmatch(r"-?\d+", target):
        return True
    columns = [
        [record[i] for record in rest if i < len(record) and record[i] not in MISSING] for i in range(len(first))
    ]
    texts = [i for i, cell in enumerate(first) if cell not in MISSING and not is_number(cell)]
    if any(columns[i] and sum(map(is_number, columns[i])) > 0.9 * len(columns[i]) for i in texts):
        return True
    repeated = sum(first[i] in columns[i] for i in texts)
    numbers = [(i, cell) for i, cell in enumerate(first) if is_number(cell)]
    if not numbers:
        return bool(texts) and 2 * repeated < len(texts)
    offsets = {int(cell) - i if cell.isdecimal() else None for i, cell in numbers}
    return offsets in ({-1}, {0}, {1}) and not repeated and (len(numbers) > 2 or bool(texts) or not first[0])
