"""Tables of the user: files in every layout, types of columns, given parts, and what is refused."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import logging
import lzma
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data.__main__ import main
from data.cache import DataError
from data.data import make_datamodule
from data.datamodules import TabularDataModule
from data.datasets import load_table
from data.own_tables.load import table_of_files
from data.own_tables.reading import read_file
from data.tables import Table

ROWS = [
    [f"{row * 0.37 - 5:.2f}", str(row * row % 7), ("red", "dark blue", "", "green")[row % 4], "yn"[row % 3 > 0]]
    for row in range(60)
]
NAMES = ["size", "count", "color, of paint", "bought"]


def text(separator: str = ",", comma: bool = False, header: bool = True, end: str = "\n") -> str:
    rows = [[cell.replace(".", ",") if comma else cell for cell in row] for row in ROWS]
    if separator == " ":
        rows = [[cell or "?" for cell in row] for row in rows]
    buffer = io.StringIO()
    csv.writer(buffer, delimiter=separator, lineterminator=end).writerows([NAMES] * header + rows)
    return buffer.getvalue()


def write(folder: Path, content: str | bytes, name: str = "table.csv") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def served(path: Path, **options: object) -> TabularDataModule:
    module = make_datamodule(str(path), **{"target": "bought", **options})
    module.setup()
    assert isinstance(module, TabularDataModule)
    return module


def same(one: Table, other: Table) -> bool:
    pairs = zip((one.numbers, one.labels, one.groups()), (other.numbers, other.labels, other.groups()), strict=True)
    return all(np.array_equal(a, b, equal_nan=True) for a, b in pairs) and one.class_names == other.class_names


# Layouts -----------------------------------------------------------------------------------------

LAYOUTS: dict[str, tuple[str | bytes, str, list[str]]] = {
    "commas": (text(), ".csv", ["separated by commas", "encoding UTF-8", "header in line 1"]),
    "tabs": (text("\t"), ".tsv", ["separated by tabs"]),
    "semicolons": (text(";"), ".data", ["separated by semicolons"]),
    "bars": (text("|"), ".txt", ["separated by vertical bars"]),
    "blanks": (text(" "), ".dat", ["separated by blanks"]),
    "semicolons and decimal commas": (text(";", comma=True), ".csv", ["separated by semicolons", "decimal commas"]),
    "tabs and decimal commas": (text("\t", comma=True), ".csv", ["decimal commas"]),
    "Windows line ends": (text(end="\r\n"), ".csv", []),
    "blank lines": ("\n\n" + text(end="\n  \n\n"), ".csv", ["header in line 3"]),
    "a line sep=;": ("sep=;\n" + text(";"), ".csv", ["separated by semicolons", "header in line 2"]),
    "a separator at the end of lines": (text(end=",\n"), ".csv", []),
    "no line end": (text().rstrip("\n"), ".csv", []),
    "blanks around cells": (text().replace(",", " , ").replace('"color ,  of paint"', '"color, of paint"'), ".csv", []),
    "UTF-8 with a mark": (text().encode("utf-8-sig"), ".csv", ["encoding UTF-8"]),
    "UTF-16": (text().encode("utf-16"), ".csv", ["encoding UTF-16"]),
    "gzip": (gzip.compress(text().encode()), ".csv.gz", []),
    "bzip2": (bz2.compress(text().encode()), ".csv.bz2", []),
    "xz": (lzma.compress(text().encode()), ".csv.xz", []),
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Table:
    return table_of_files(write(tmp_path_factory.mktemp("plain"), text()), target="bought")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_table(layout: str, tmp_path: Path, plain: Table) -> None:
    content, ending, facts = LAYOUTS[layout]
    table = table_of_files(write(tmp_path, content, f"table{ending}"), target="bought")
    assert same(table, plain)
    assert table.number_names == ("size", "count")
    assert table.category_names == ("color, of paint",)
    assert set(facts) <= set(table.files[0].facts)
    np.testing.assert_allclose(table.numbers[:, 0], [float(row[0]) for row in ROWS])


@pytest.mark.parametrize(("separator", "comma"), [(",", False), ("\t", True), (";", True), (" ", False), (" ", True)])
def test_a_file_without_a_header_is_recognized(separator: str, comma: bool, tmp_path: Path, plain: Table) -> None:
    path = write(tmp_path, text(separator, comma, header=False))
    for target in ("-1", "3", 3, "column_3"):
        table = table_of_files(path, target=target)
        assert same(table, plain)
        assert "no header" in table.files[0].facts
        assert table.number_names == ("column_0", "column_1")


@pytest.mark.parametrize(
    ("content", "header"),
    [
        ("a,b\n1,x\n2,y\n", True),
        ("1,x\n2,y\n3,x\n", False),
        ("color,kind\nred,x\nblue,y\nred,x\n", True),
        ("red,x\nblue,y\nred,x\nblue,x\nred,y\n", False),
        ("0,1,2\n1.5,3,x\n2.5,1,y\n", True),
        ("0,1,2,label\n1.5,3,2,x\n2.5,1,4,y\n", True),
        (",0,1\n0,1.5,x\n1,2.5,y\n", True),
        ("5,1,2\n1,3,2\n2,1,4\n", False),
        ("name,2019,2020\n0,3,2\n1,1,4\n", True),
        ("a,b\n", True),
        ("?,1\n2,3\n", False),
        ("a,b\n1,x\n2,y\na,b\n3,x\n", True),
    ],
)
def test_a_header_is_told_from_data(content: str, header: bool) -> None:
    from data.own_tables.text import find_layout

    assert (find_layout(content).names is not None) == header


def test_text_that_is_not_utf_8_is_read_as_windows_1252_and_said(tmp_path: Path) -> None:
    path = write(tmp_path, text().replace("red", "rosé").encode("cp1252"))
    table = table_of_files(path, target="bought")
    assert "rosé" in table.categories
    assert "encoding Windows-1252 (it is not UTF-8)" in table.files[0].facts


def test_a_file_of_a_known_data_set_gives_its_inputs_and_split(tmp_path: Path) -> None:
    known = load_table("iris")
    frame = pd.DataFrame(known.numbers, columns=pd.Index(known.number_names))
    frame["species"] = np.array(known.class_names)[known.labels]
    path = tmp_path / "iris.csv"
    frame.to_csv(path, index=False)
    built_in = make_datamodule("iris", seed=3)
    built_in.setup()
    module = served(path, target="species", seed=3)
    for part in ("x_train", "y_train", "x_val", "y_val", "x_test", "y_test"):
        assert getattr(module, part).equal(getattr(built_in, part))
    assert module.class_names == built_in.class_names


# Types of columns ----------------------------------------------------------------------------------


def kinds(path: Path, **options: object) -> dict[str, tuple[str, int, str]]:
    table = table_of_files(path, **{"target": "y", **options})  # type: ignore[arg-type]
    return {column.name: (str(column.kind), column.missing, column.values) for column in table.columns}


def frame(**columns: object) -> pd.DataFrame:
    rows = np.arange(40)
    return pd.DataFrame({"a": rows * 1.5, **columns, "y": np.where(rows % 2, "p", "n")})


ROW = np.arange(40)


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (ROW * 2 % 7, ("number", 0, "0 to 6")),
        (np.where(ROW % 4, 2.5, np.nan), ("number", 10, "constant 2.5")),
        (["?", "NA", "", "1e3", "NaN", "null", "n/a", "-4"] * 5, ("number", 30, "-4 to 1000")),
        (["? ", "1", " NA ", "2"] * 10, ("number", 20, "1 to 2")),
        (ROW % 2 == 0, ("category", 0, "2: False, True")),
        (["True", "", "False", "True"] * 10, ("category", 10, "2: False, True")),
        (["red", "?", "blue", "green"] * 10, ("category", 10, "3: blue, green, red")),
        (["None", "x"] * 20, ("category", 0, "2: None, x")),
        (["one"] * 40, ("category", 0, "constant one")),
        ([""] * 40, ("left out", 0, "it has no values")),
        (["1", "2", "S", "M", "L"] * 8, ("category", 0, "5: 1, 2, L, M, S")),
        (["12345678901234567890123", "1"] * 20, ("number", 0, "1 to 1.23457e+22")),
    ],
)
def test_types_are_found(values: object, found: tuple[str, int, str], tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    frame(b=values).to_csv(path, index=False)
    assert kinds(path)["b"] == found


@pytest.mark.parametrize("name", ["id", "ID", "Unnamed: 0", "index", ""])
def test_a_column_that_numbers_the_rows_is_left_out(name: str, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    shuffled = np.random.default_rng(0).permutation(ROW) + 500
    frame().assign(**{name: shuffled}).to_csv(path, index=False)
    found = kinds(path, target="y")
    assert found[name or "column_2"] == ("left out", 0, "it numbers the rows")
    frame().to_csv(path)
    assert kinds(path)["column_0"][0] == "left out"
    frame().assign(**{name: shuffled % 39}).to_csv(path, index=False)
    assert kinds(path)[name or "column_2"][0] == "number"


def test_the_only_feature_is_kept_even_if_it_counts(tmp_path: Path) -> None:
    path = write(tmp_path, "x,y\n" + "".join(f"{row},{row % 2}\n" for row in range(40)))
    assert kinds(path)["x"] == ("number", 0, "0 to 39")


def test_columns_can_be_dropped_and_numbers_made_categories(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    frame(day=[f"2024-01-{row % 28 + 1:02}" for row in ROW], code=ROW % 3, grade=list("123+") * 10).to_csv(path)
    found = kinds(path, drop_columns="day, 0", category_columns="code,grade")
    assert found["column_0"] == ("left out", 0, "by drop_columns")
    assert found["day"] == ("left out", 0, "by drop_columns")
    assert found["code"] == ("category", 0, "3: 0, 1, 2")
    assert found["grade"] == ("category", 0, "4: +, 1, 2, 3")


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (np.array([10, 9, 2])[ROW % 3], ("2", "9", "10")),
        (np.array([0.5, 1.0])[ROW % 2], ("0.5", "1")),
        (ROW % 2 == 0, ("False", "True")),
        (np.array(["b", "a"])[ROW % 2], ("a", "b")),
        (np.array(["None", "some"])[ROW % 2], ("None", "some")),
    ],
)
def test_classes_of_every_kind_are_numbered_in_their_order(
    labels: object, names: tuple[str, ...], tmp_path: Path
) -> None:
    path = tmp_path / "table.csv"
    frame(label=labels).to_csv(path, index=False)
    table = table_of_files(path, target="label")
    assert table.class_names == names
    written = [names[label] for label in table.labels]
    assert written == [f"{value:g}" if isinstance(value, float | np.number) else str(value) for value in labels]  # type: ignore[attr-defined]


# Given parts -------------------------------------------------------------------------------------


def test_given_parts_are_used_as_they_are(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    train = write(tmp_path, text())
    held = pd.read_csv(train)[::-1]
    held["size"] += 100
    held.loc[0, "color, of paint"] = "new"
    held[NAMES[::-1]].to_csv(tmp_path / "val.csv", index=False, sep=";", decimal=",")
    with caplog.at_level(logging.INFO):
        module = served(train, val=tmp_path / "val.csv", test=train)
    assert [module.num_rows(part) for part in ("train", "val", "test")] == [60, 60, 60]
    assert "color, of paint: new not in training" in caplog.text
    alone = served(train, test=train)
    assert module.y_test.equal(alone.y_test)
    assert module.x_test.equal(module.x_train)
    assert module.y_val.tolist() == alone.y_test.tolist()[::-1]
    x = module.x_train[:, 0]
    assert float(x.mean()) == pytest.approx(0, abs=1e-6)
    assert float(module.x_val[:, 0].mean()) > 10
    assert module.describe()["rows_shared_with_train"] == {"val": 0, "test": 60}
    assert "60 rows of the test part have the features of rows of the training part" in module.found()
    assert [alone.num_rows(part) for part in ("train", "val", "test")] == [51, 9, 60]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": "x"}, "column 'size' of val.csv must hold numbers as in table.csv, but holds 'x' in line 2"),
        ({"bought": "maybe"}, "has the class 'maybe' in line 2, which table.csv lacks"),
        ({"more": 1}, "val.csv must have the columns of table.csv, but has also more"),
        ({"bought": np.nan}, "target 'bought' of val.csv is missing in 60 rows, first in line 2"),
    ],
)
def test_given_parts_that_do_not_fit_are_refused(change: dict[str, object], message: str, tmp_path: Path) -> None:
    train = write(tmp_path, text())
    pd.read_csv(train).assign(**change).to_csv(tmp_path / "val.csv", index=False)
    with pytest.raises((ValueError, DataError), match=message):
        served(train, val=tmp_path / "val.csv")


def test_a_missing_column_of_a_given_part_is_named(tmp_path: Path) -> None:
    train = write(tmp_path, text())
    pd.read_csv(train).drop(columns="count").to_csv(tmp_path / "test.csv", index=False)
    with pytest.raises(ValueError, match=r"test\.csv must have the columns of table\.csv, but lacks count"):
        served(train, test=tmp_path / "test.csv")


# What is refused ---------------------------------------------------------------------------------

BASE = "a,b,y\n" + "".join(f"{row * 1.5},{row % 5},{'pn'[row % 2]}\n" for row in range(40))

REFUSED: dict[str, tuple[str | bytes, dict[str, object], str]] = {
    "no target": (
        BASE,
        {"target": None},
        "target must name the column of the classes: .* columns a, b, y. Give target=y",
    ),
    "a wrong target": (BASE, {"target": "yy"}, r"target must be a column, got 'yy': .* a, b, y\.$"),
    "a wrong position": (BASE, {"target": 3}, "target must be a position from -3 to 2 or a name, got 3"),
    "a name without header": (BASE[6:], {}, "got 'y': .* column_0, column_1, column_2. No header was found"),
    "a wrong column to drop": (BASE, {"drop_columns": "c"}, "drop_columns must be a column, got 'c'"),
    "a column twice": (BASE, {"drop_columns": "a,0"}, "drop_columns must name each column once, got 'a' twice"),
    "the target dropped": (BASE, {"drop_columns": "y"}, "drop_columns must not hold the target"),
    "nothing": ("", {}, "table.csv is empty"),
    "blank lines": ("\n \n", {}, "table.csv is empty"),
    "a header alone": ("a,b,y\n", {}, "table.csv has no rows of data"),
    "one row": ("a,b,y\n1,2,p\n", {}, "table.csv has 1 row of data, but 3 parts need at least 3"),
    "three rows": (
        "\n".join(BASE.split("\n")[:4]),
        {},
        "val_size must leave each part a row, got a share of 0.15 of 3 rows",
    ),
    "one class": (BASE.replace(",n\n", ",p\n"), {}, "target 'y' of table.csv has one class, 'p', in all 40 rows"),
    "a missing class": (f"{BASE}1,2,?\n", {}, "target 'y' of table.csv is missing in 1 row, first in line 42"),
    "measurements": (BASE, {"target": "a"}, "target 'a' .* has 40 different values in 40 rows: .*regression"),
    "classes that never repeat": (
        "a,n\n" + "".join(f"{row % 7},{row * 3}\n" for row in range(30)),
        {"target": "n"},
        "target 'n' .* has 30 different values in 30 rows",
    ),
    "no feature": ("y\np\nn\np\nn\n", {}, "table.csv has no column besides the target"),
    "a text among numbers": (f"{BASE}1,2,p\nfive,2,p\n", {}, "column 'a' .* mixes numbers and text: 'five' in line 43"),
    "an infinite number": (f"{BASE}inf,2,p\n", {}, "column 'a' of table.csv is infinite in line 42"),
    "a huge number": (f"{BASE}1e200,2,p\n", {}, r"column 'a' .* is too large to be scaled \(1e\+200\) in line 42"),
    "dates": ("d,a,y\n" + "2024-01-31,1,p\n2024-02-01,2,n\n" * 9, {}, "column 'd' .* dates .*drop_columns=d"),
    "quoted commas": ("a,y\n" + '"1,5",p\n"2,5",n\n' * 9, {}, r"column 'a' .* holds numbers with commas \('1,5'\)"),
    "commas for thousands": ("a,y\n" + '"1,500",p\n"2,500.5",n\n' * 9, {}, "holds numbers with commas"),
    "percents": (
        "a,y\n" + "".join(f"{row}.5%,{'pn'[row % 2]}\n" for row in range(9)),
        {},
        r"with other characters \('0\.5%'\)",
    ),
    "money": ("a,y\n" + "-$5,p\n$ 7.50,n\n" * 9, {}, "write them like -1234.5, or give category_columns=a"),
    "blanks for thousands": ("a,y\n" + "1\u00a0500,p\n2 500 000.5,n\n" * 9, {}, "holds numbers with other characters"),
    "a minus sign": ("a,y\n" + "\u22121.5,p\n\u22122,n\n" * 9, {}, "holds numbers with other characters"),
    "points for thousands": (
        "a;b;y\n" + "1,5;1.234,00;p\n2,5;-12.500,75;n\n" * 9,
        {},
        "column 'b' .* other characters",
    ),
    "classes beyond 2**53": (
        "a,y\n" + "".join(f"{row},{2**53 + row % 3}\n" for row in range(30)),
        {},
        "column 'y' of table.csv holds the category 9007199254740992 in line 2, .* begin each with a letter",
    ),
    "classes beyond 2**64": (
        "a,y\n" + "".join(f"{row},{-(10**25) - row % 3}\n" for row in range(30)),
        {},
        "the category -10000000000000000000000000 in line 2",
    ),
    "categories beyond 2**53": (
        "a,b,y\n" + "".join(f"{2**63 + row % 3},{row * 3},{row % 2}\n" for row in range(30)),
        {"category_columns": "a"},
        "column 'a' of table.csv holds the category 9223372036854775808 in line 2",
    ),
    "many texts": (
        "d,a,y\n" + "".join(f"u{row % 101},{row},{row % 2}\n" for row in range(400)),
        {},
        "column 'd' of table.csv has 101 different texts in 400 rows, .* at most 100 .*drop_columns=d",
    ),
    "texts that never repeat": (
        "d,a,y\n" + "".join(f"u{row},{row * 2},{row % 2}\n" for row in range(30)),
        {},
        "has 30 different texts in 30 rows",
    ),
    "two equal names": (BASE.replace("a,b", "b,b"), {}, "columns 0 and 1 of .* have the same name, 'b'"),
    "a long line": (f"{BASE}1,2,p,4\n", {}, "line 42 of .* has 4 fields, but its header has 3"),
    "a very long line": (f"{BASE}1,2,p,4,5,6\n", {}, "line 42 of .* has 6 fields, but its header has 3"),
    "a long first line": ("a,b,y\n1,2,p,,5\n" + "1,2,n\n" * 9, {}, "line 2 of .* has 5 fields, but its header has 3"),
    "a short line": (f"{BASE}1,2\n1,2,p\n", {}, "line 42 of .* has 2 fields, but its header has 3"),
    "names of rows": (BASE.replace("\n", "\nr,").removesuffix("r,"), {}, "line 2 of .* Is the name of the first"),
    "an open quote": (f'{BASE}1,"2,p\n', {}, "is not a table of separated values: a quote has no end"),
    "a workbook": (b"PK\x03\x04", {}, "a zip archive or an Excel workbook"),
    "bytes": (b"\x00\x01\x02", {}, "it has null bytes"),
    "UTF-16 without its end": (BASE.encode("utf-16") + b"x", {}, "is neither UTF-8 nor UTF-16"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_a_table_that_cannot_be_used_is_refused_in_one_line(fault: str, tmp_path: Path) -> None:
    content, options, message = REFUSED[fault]
    with pytest.raises((ValueError, DataError), match=message) as error:
        served(write(tmp_path, content), **{"target": "y", **options})
    assert "\n" not in str(error.value)


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, gzip.compress(BASE.encode())[:50], "table.csv.gz")
    with pytest.raises(DataError, match=r"table.csv.gz can't be unpacked: .*Copy it again"):
        served(path)


@pytest.mark.parametrize("separator", [",", ";", " "])
@pytest.mark.parametrize("row", [0, 17, 39])
def test_the_line_of_a_fault_is_right_in_every_layout(row: int, separator: str, tmp_path: Path) -> None:
    cells = [[f"{number * 1.5}", "two words", "pn"[number % 2]] for number in range(40)]
    if separator != " ":
        cells = [[one, f"two\n{two}", three] for one, two, three in cells]
    cells[row][0] = "fault"
    buffer = io.StringIO()
    csv.writer(buffer, delimiter=separator, lineterminator="\n").writerows([["a", "b", "y"], *cells])
    content = "\n" + buffer.getvalue().replace("y\n", "y\n   \n\n", 1)
    begin = content[: content.index("fault")].count("\n")
    line = begin + (1 if separator == " " else 2)  # a quoted line break makes two lines of a record
    with pytest.raises(DataError, match=f"'fault' in line {line},"):
        served(write(tmp_path, content), target="y")


@pytest.mark.parametrize("before", ["", "\n", "\n \n", "sep={}\n"], ids=repr)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|", " "])
@pytest.mark.parametrize("breaks", range(4))
def test_the_rows_are_those_of_the_csv_module_whatever_line_breaks_names_have(
    breaks: int, separator: str, end: str, before: str, tmp_path: Path
) -> None:
    names = ["\n" * breaks + "the size", "two words" + "\nof b" * breaks, "y"]
    rows = [[str(number), f"{number}.5", "pn"[number % 2]] for number in range(90)]
    buffer = io.StringIO()
    csv.writer(buffer, delimiter=separator, lineterminator="\n").writerows([names, *rows])
    content = (before.format(separator) + buffer.getvalue()).replace("\n", end)
    found = read_file(write(tmp_path, content))
    expected = list(csv.reader(io.StringIO(buffer.getvalue().replace("\n", end), newline=""), delimiter=separator))
    assert found.frame.columns.tolist() == [name.strip() for name in expected[0]]
    assert [[str(cell) for cell in row] for row in found.frame.to_numpy().tolist()] == expected[1:]
    for row in (0, 1, 89):
        line = content[: content.index(separator.join(rows[row]))].count("\n") + 1
        assert found.place(row) == f"line {line}"


@pytest.mark.parametrize("separator", [",", ";", " "])
@pytest.mark.parametrize("wrong", [2, 4, 5, 7])
def test_the_line_of_a_row_with_wrong_fields_is_right_below_names_and_cells_with_line_breaks(
    wrong: int, separator: str, tmp_path: Path
) -> None:
    head, cells = [["a\nb", "c\nd", "y"]], [["1", "e\nf", "p"]] * 9
    buffer = io.StringIO()
    csv.writer(buffer, delimiter=separator, lineterminator="\n").writerows([*head, *cells, ["2"] * wrong, *cells])
    with pytest.raises(DataError, match=f"line 22 of .* has {wrong} fields, but its header has 3"):
        served(write(tmp_path, buffer.getvalue()), target="-1")


def test_a_class_in_few_rows_stays_in_training_and_is_said(tmp_path: Path) -> None:
    module = served(write(tmp_path, f"{BASE}1,2,rare\n"), target="y")
    assert "in fewer than three distinct rows, so in training only: rare" in module.found()


# Arguments and the command -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "moons", "target": "y"}, "target has an effect for a table of your own only, not for moons"),
        ({"name": "moons", "val": "v.csv"}, "val has an effect"),
        ({"name": "moons", "drop_columns": "a"}, "drop_columns has an effect"),
        ({"name": "missing.csv"}, "dataset=missing.csv does not exist"),
        ({"as_images": True}, "as_images has an effect"),
        ({"image_size": 8}, "image_size has an effect"),
        ({"val": "missing.csv"}, "val_dataset=missing.csv does not exist"),
        ({"test": "."}, "test_dataset=. is a folder"),
        ({"val": 3}, "val_dataset must be the path of a file like dataset, got int"),
        ({"val_size": -0.1}, "val_size must be a share"),
    ],
)
def test_arguments_are_refused_at_construction(options: dict[str, object], message: str, tmp_path: Path) -> None:
    path = write(tmp_path, BASE)
    with pytest.raises((ValueError, DataError), match=message):
        make_datamodule(**{"name": str(path), **options})


def test_the_command_shows_what_a_run_would_train_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(write(tmp_path, text()))
    assert main([path, "--target=bought", "--drop_columns=count"]) == 0
    shown = capsys.readouterr().out
    module = served(Path(path), drop_columns="count")
    assert shown == f"{module.found()}\n"
    for words in ("separated by commas", "left out", "category", "y (20)", "train 42, val 9, test 9"):
        assert words in shown
    assert main([path, "--target=-1", "--drop_columns=count", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(module.describe()))
    for arguments in ([path], ["moons", "--target=y"], [path, "--target=x"]):
        with pytest.raises(SystemExit) as error:
            main(arguments)
        assert error.value.code == 2
        assert "target" in capsys.readouterr().err


def test_a_wide_table_is_shown_in_few_lines(tmp_path: Path) -> None:
    wide = pd.DataFrame(np.random.default_rng(0).normal(size=(40, 300)).round(2)).assign(
        kind=["p", "n"] * 20, y=ROW % 2
    )
    wide.to_csv(tmp_path / "wide.csv", index=False)
    lines = served(tmp_path / "wide.csv", target="y").found().splitlines()
    assert len(lines) < 50
    assert "... and 262 more columns" in lines[-2]
    assert any("category" in line for line in lines)
