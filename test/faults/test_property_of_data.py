"""Any content of a data file: a table with the numbers that were written, or an error of one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from support.properties import tried

from data.cache import DataError
from data.own_tables.load import table_of_files
from data.tables import Kind, Table
from data.uci.catalog import UCI
from data.uci.reading import UciSource, read_commas

NUMBERS = st.one_of(st.integers(-99, 99).map(str), st.floats(-1e9, 1e9).map(repr), st.just("0.5"))
JUNK = st.text(st.one_of(st.sampled_from(list(",;\"'\n\r\t \x00@?%{}|#é_-.eE")), st.characters()), max_size=4)
PLAIN = sorted(name for name, source in UCI.items() if source.read is read_commas and len(source.files) == 1)


@st.composite
def records(draw: st.DrawFn, source: UciSource) -> list[list[str]]:
    """Some records of one data set."""
    kinds = {
        Kind.NUMBER: st.one_of(NUMBERS, st.just(source.missing)),
        Kind.CATEGORY: st.sampled_from(["a", "b", "A b", source.missing]),
        Kind.TARGET: st.sampled_from(sorted(source.classes)),
        Kind.DROPPED: st.sampled_from(["x1", "7"]),
    }
    return draw(
        st.lists(st.tuples(*[kinds[column.kind] for column in source.columns]).map(list), min_size=1, max_size=3)
    )


@st.composite
def changed(draw: st.DrawFn, text: str) -> bytes:
    """A text in which some characters are replaced, or the end is missing."""
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(text)))
        text = text[:place] + draw(JUNK) + text[place + draw(st.integers(0, 5)) :]
    content = text.encode("utf-8", "surrogatepass")
    return content[: draw(st.integers(0, len(content)))] if draw(st.booleans()) else content


def written(values: list[list[str]]) -> str:
    return "".join(",".join(record) + "\n" for record in values)


def check_message(error: Exception) -> None:
    message = str(error)
    assert message
    assert "\n" not in message.strip()
    assert len(message) < 2000


@given(data=st.data(), name=st.sampled_from(PLAIN))
@tried(6)
def test_property_the_numbers_of_a_file_of_uci_are_those_in_its_text(data: st.DataObject, name: str) -> None:
    source = UCI[name]
    rows = data.draw(records(source))
    table = source.table([written(rows).encode()])
    numeric = [i for i, column in enumerate(source.columns) if column.kind is Kind.NUMBER]
    for row, record in enumerate(rows):
        expected = [np.nan if record[i] == source.missing else float(record[i]) for i in numeric]
        np.testing.assert_array_equal(table.numbers[row], expected)
    labels = [i for i, column in enumerate(source.columns) if column.kind is Kind.TARGET]
    order = list(source.classes)
    assert [order.index(record[labels[0]]) for record in rows] == table.labels.tolist()


@given(data=st.data(), name=st.sampled_from(sorted(UCI)))
@tried(16)
def test_property_any_file_of_uci_is_a_table_or_an_error(data: st.DataObject, name: str) -> None:
    source = UCI[name]
    contents = [data.draw(st.one_of(changed(written(data.draw(records(source)))), st.binary())) for _ in source.files]
    try:
        table = source.table(contents)
    except ValueError as error:
        check_message(error)
        return
    check_table(table, source.num_features)


def check_table(table: Table, features: int | None) -> None:
    """The parts of a table fit together."""
    rows = len(table.labels)
    assert rows > 0
    assert len(table.numbers) == len(table.categories) == rows
    assert not np.isinf(table.numbers.astype(float)).any()
    assert table.labels.min() >= 0
    assert table.labels.max() < len(table.class_names)
    if features is not None:
        assert table.numbers.shape[1] + table.categories.shape[1] == features


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tables") / "own.csv"


CELLS = st.one_of(NUMBERS, st.sampled_from(["a", "b", "", "?", "NA", "1,5", '"x, y"', "é"]), JUNK)


@given(data=st.data())
@tried(10)
def test_property_any_own_file_is_a_table_or_an_error(file: Path, data: st.DataObject) -> None:
    width = data.draw(st.integers(1, 4))
    separator = data.draw(st.sampled_from([",", ";", "\t", " "]))
    lines = data.draw(st.lists(st.lists(CELLS, min_size=width, max_size=width), min_size=1, max_size=6))
    names = [f"c{i}" for i in range(width - 1)]
    text = "\n".join(
        separator.join(line)
        for line in [[*names, "kind"], *[[*line[:-1], "ab"[i % 2]] for i, line in enumerate(lines)]]
    )
    content = data.draw(st.one_of(st.just(text.encode("utf-8", "surrogatepass")), changed(text)))
    file.write_bytes(content)
    try:
        table = table_of_files(file, target=data.draw(st.sampled_from(["kind", None])))
    except (DataError, ValueError) as error:
        check_message(error)
        return
    check_table(table, None)


@given(
    numbers=st.lists(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=2), min_size=6, max_size=9, unique_by=tuple)
)
@tried(6)
def test_property_the_numbers_of_an_own_file_are_those_in_its_text(file: Path, numbers: list[list[float]]) -> None:
    assume(len({row[0] for row in numbers}) > 1 and len({row[1] for row in numbers}) > 1)
    lines = [f"{one!r},{other!r},{'xy'[i % 2]}\n" for i, (one, other) in enumerate(numbers)]
    file.write_text("one,other,kind\n" + "".join(lines))
    table = table_of_files(file, target="kind")
    read = dict(zip(table.number_names, table.numbers.T.tolist(), strict=True))
    for name, column in zip(("one", "other"), zip(*numbers, strict=True), strict=True):
        if name in read:
            assert read[name] == list(column)
