"""Parsing of UCI's files, with their irregularities."""

from __future__ import annotations

import numpy as np
import pytest

from data.tables import Kind
from data.uci.catalog import UCI
from data.uci.reading import read_broken_lines, read_levels

NAN = float("nan")


# Two invented records in each format: the texts of the files, and the numbers and categories of the last record.
FORMATS: dict[str, tuple[list[str], list[float], list[str]]] = {
    "abalone": (
        ["M,0.4,0.3,0.1,0.5,0.2,0.1,0.2,15\nI,0.3,0.2,0.1,0.2,0.1,0.05,0.06,7\n"],
        [0.3, 0.2, 0.1, 0.2, 0.1, 0.05, 0.06],
        ["I"],
    ),
    "credit_approval": (
        ["b,30.5,0,u,g,w,v,1.25,t,t,01,f,g,00202,0,+\na,?,4.5,?,g,q,h,3,t,f,06,f,s,?,560,-\n"],
        [NAN, 4.5, 3, 6, NAN, 560],
        ["a", "nan", "g", "q", "h", "t", "f", "f", "s"],
    ),
    "cylinder_bands": (
        [
            ",".join(["1", "X1", "A", "2", *["YES"] * 16, *["3.5"] * 19, "band"])
            + "\n"
            + ",".join(["1", "X1", "A", "2", *["No", "?"] * 8, *["?"] * 18, "7", "noband"])
            + "\n" * 11
        ],
        [NAN] * 18 + [7],
        ["no", "nan"] * 8,
    ),
    "dermatology": (
        [",".join("2" * 33) + ",55,2\n" + ",".join("3" * 33) + ",?,1\n"],
        [3] * 33 + [NAN],
        [],
    ),
    "heart_disease": (
        [
            "63.0,1.0,1.0,145.0,233.0,1.0,2.0,150.0,0.0,2.3,3.0,0.0,6.0,0\n"
            "67.0,0.0,4.0,160.0,286.0,0.0,1.0,108.0,1.0,1.5,2.0,?,?,4\n"
        ],
        [67, 160, 286, 108, 1.5, NAN],
        ["0.0", "4.0", "0.0", "1.0", "1.0", "2.0", "nan"],
    ),
    "diabetic": (
        ["@relation dr\n\n@attribute 0 numeric\n@data\n" + "1," * 19 + "0\n" + "2.5," * 19 + "1"],
        [2.5] * 19,
        [],
    ),
    "dishonest_users": (
        ["ctrust,cuntrust,last,context,score\r\n1,2,3,game,trustworthy\r\n4,1,2,sport,untrustworthy"],
        [4, 1, 2],
        ["sport"],
    ),
    "early_stage_diabetes_risk": (
        ["Age," * 16 + "class\r\n40," + "No," * 15 + "Positive\r\n41," + "Yes," * 15 + "Negative\r\n"],
        [41],
        ["Yes"] * 15,
    ),
    "fertility": (
        ["-0.33,0.7,0,1,1,0,0.8,0,0.9,N\r\n1,0.9,1,0,1,0,0.8,-1,0.3,O\r\n"],
        [0.9, 1, 0, 1, 0, 0.8, -1, 0.3],
        ["1"],
    ),
    "haberman": (["30,64,1,1\n31,65,4,2\n"], [31, 65, 4], []),
    "hayes_roth": (["92,2,1,1,2,1\n", "3,2,4,1,3\n"], [], ["3", "2", "4", "1"]),
    "hcv": (
        [
            '"","Category","Age","Sex","ALB","ALP","ALT","AST","BIL","CHE","CHOL","CREA","GGT","PROT"\n'
            '"1","0=Blood Donor",32,"m",1,2,3,4,5,6,7,8,9,10\n'
            '"2","3=Cirrhosis",33,"f",11,NA,13,14,15,16,NA,18,19,20\n'
        ],
        [33, 11, NAN, 13, 14, 15, 16, NAN, 18, 19, 20],
        ["f"],
    ),
}


@pytest.mark.parametrize("name", UCI)
def test_each_format_is_parsed(name: str) -> None:
    texts, numbers, categories = FORMATS[name]
    table = UCI[name].table([text.encode() for text in texts])
    assert len(table) == 2
    np.testing.assert_array_equal(table.numbers[-1], numbers)
    assert [str(value) for value in table.categories[-1]] == categories
    assert len(set(table.labels.tolist())) == 2


def test_class_numbers_of_abalone_have_no_gap() -> None:
    assert list(UCI["abalone"].classes.values())[-2:] == ["27 rings", "29 rings"]
    source = UCI["abalone"]
    record = b"M,0.4,0.3,0.1,0.5,0.2,0.1,0.2,"
    table = source.table([b"\n".join(record + rings for rings in (b"1", b"27", b"29"))])
    assert table.labels.tolist() == [0, 26, 27]
    with pytest.raises(ValueError, match="unknown class '28'"):
        source.table([record + b"28"])


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("position", [0, 1, 5, 40, 77])
@pytest.mark.parametrize("replaces_comma", [False, True])
def test_a_record_broken_anywhere_is_joined(position: int, newline: str, replaces_comma: bool) -> None:
    whole = ",".join("abcdefghij" * 4)
    if replaces_comma:
        position += whole[position] != ","
    rest = whole[position + replaces_comma :]
    broken = whole[:position] + newline + rest
    text = newline.join([whole, broken, whole]) + newline * 10
    assert read_broken_lines(text) == [whole.split(",")] * 3


def test_case_of_nominal_values_is_folded_in_cylinder_bands() -> None:
    source = UCI["cylinder_bands"]
    kinds = [column.kind for column in source.columns]

    def line(word: str, label: str) -> str:
        field = {Kind.CATEGORY: word, Kind.TARGET: label, Kind.NUMBER: "1", Kind.DROPPED: word}
        return ",".join(field[kind] for kind in kinds)

    table = source.table([f"{line('YES', 'band')}\n{line('yes', 'noband')}\n".encode()])
    assert table.groups().tolist() == [0, 0]
    assert set(table.categories.ravel()) == {"yes"}


@pytest.mark.parametrize(
    "text",
    [
        "ctrust,cuntrust,last,context,score\r\n4,1,4,sport,untrustworthy\r\n",
        "CT_range_4,CU_range_1,LT_range_4,sport,untrustworthy\n",
        "CT CU LT TC TS\n4 1 4 sport untrustworthy\n",
        "4\t1\t4\tsport\tuntrustworthy",
    ],
)
def test_levels_are_parsed_in_every_known_layout(text: str) -> None:
    assert read_levels(text) == [["4", "1", "4", "sport", "untrustworthy"]]


def test_a_record_that_does_not_fit_is_refused_with_its_place() -> None:
    with pytest.raises(ValueError, match=r"record 2 of haberman\.data has 3 fields, expected 4"):
        UCI["haberman"].table([b"30,64,1,1\n30,62,3\n"])
    with pytest.raises(ValueError, match="column 'age' is not numeric"):
        UCI["haberman"].table([b"old,64,1,1\n"])
    with pytest.raises(ValueError, match="no records"):
        UCI["haberman"].table([b""])
