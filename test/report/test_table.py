"""Tables: metrics computed by hand, and formats that can be read back."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from jumpstart.table import (
    Spread,
    key_figures,
    results_table,
    summary_table,
    to_csv,
    to_latex,
    to_markdown,
)

RUNS: list[dict[str, object]] = [
    {"dataset": "moons", "lambda_": 0.0, "batch_size": None, "seed": 0, "test/acc": 0.5},
    {"dataset": "moons", "lambda_": 0.0, "batch_size": None, "seed": 1, "test/acc": 0.7},
    {"dataset": "moons", "lambda_": 0.01, "batch_size": 256, "seed": 0, "test/acc": 0.96},
    {"dataset": "iris", "lambda_": 0.01, "batch_size": 256, "seed": 0, "test/acc": 0.9},
    {"dataset": "moons", "lambda_": 0.01, "batch_size": 256, "seed": 1, "test/acc": 0.98},
    {"dataset": "moons", "lambda_": 0.01, "batch_size": 256, "seed": 2, "test/acc": 1.0},
]


def cells(markdown: str) -> list[list[str]]:
    rows = [line.strip("|").split("|") for line in markdown.splitlines()]
    return [[cell.strip() for cell in row] for row in rows]


@pytest.mark.parametrize("values", [[], [0.5], [0.5, 0.7], [1, 2, 4], [0.5, math.nan]])
def test_spread(values: list[float]) -> None:
    spread = Spread.of(values)
    assert spread.count == len(values)
    mean = float(np.mean(values)) if values else math.nan
    std = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
    assert spread.mean == pytest.approx(mean, nan_ok=True)
    assert spread.std == pytest.approx(std, nan_ok=True)


def test_spread_as_text() -> None:
    assert Spread.of([0.5, 0.7]).text(2) == "0.60 ± 0.14"
    assert Spread.of([0.5]).text(3) == "0.500"
    assert Spread.of([]).text(3) == "-"
    assert Spread.of([math.nan, 1.0]).text(3) == "nan"


def test_runs_are_grouped_by_their_settings() -> None:
    table = results_table(RUNS, ["dataset", "lambda_"])
    assert list(table.columns) == ["dataset", "lambda_", "test/acc"]
    assert [tuple(row) for row in table[["dataset", "lambda_"]].to_numpy()] == [
        ("moons", 0.0),
        ("moons", 0.01),
        ("iris", 0.01),
    ]
    spreads = list(table["test/acc"])
    assert [s.count for s in spreads] == [2, 3, 1]
    assert [s.mean for s in spreads] == pytest.approx([0.6, 0.98, 0.9])
    assert spreads[0].std == pytest.approx(math.sqrt(0.02))
    assert spreads[1].std == pytest.approx(0.02)


def test_a_setting_can_be_the_columns() -> None:
    table = results_table(RUNS, "dataset", columns="lambda_")
    assert list(table.columns) == ["dataset", "0.0", "0.01"]
    assert table["0.0"][1].count == 0
    assert table["0.01"][0].mean == pytest.approx(0.98)
    table = results_table(RUNS, "dataset", columns="batch_size")
    assert list(table.columns) == ["dataset", "None", "256"]


def test_data_frames_and_mappings_make_the_same_table() -> None:
    for by in (["dataset", "lambda_"], "batch_size"):
        expected = to_markdown(results_table(RUNS, by))
        frame = pd.DataFrame(RUNS, dtype=object)
        assert to_markdown(results_table(frame, by)) == expected
        assert to_markdown(results_table(frame.set_index(["dataset", "seed"]), by)) == expected


def test_settings_may_be_lists_and_missing() -> None:
    runs: list[dict[str, object]] = [
        {"pool_at": [1, 2], "acc": 1.0},
        {"pool_at": [1, 2], "acc": 0.0},
        {"acc": 0.5},
        {"pool_at": None, "acc": 0.5},
    ]
    table = results_table(runs, "pool_at", "acc")
    assert list(table["pool_at"]) == [(1, 2), None]
    assert [spread.count for spread in table["acc"]] == [2, 2]


def test_settings_may_be_collections() -> None:
    rows = [{"a": {"x": 1}, "b": [[2], 3], "acc": acc} for acc in (0.0, 1.0)] + [{"a": {"x": 2}, "b": None, "acc": 1.0}]
    assert [(row.a, row.b) for row in results_table(rows, ["a", "b"], "acc").itertuples()] == [
        ("{'x': 1}", ((2,), 3)),
        ("{'x': 2}", None),
    ]
    with pytest.raises(TypeError, match=r"table must be a pandas.DataFrame, .* got <class 'list'>"):
        to_markdown([{"a": 1}])


def test_markdown() -> None:
    table = results_table(RUNS, "dataset", columns="lambda_")
    assert to_markdown(table, digits=2, best="max").splitlines() == [
        "| dataset | 0.0 | 0.01 |",
        "|:---|---:|---:|",
        "| moons | 0.60 ± 0.14 | **0.98 ± 0.02** |",
        "| iris | - | 0.90 |",
    ]
    assert "**0.60 ± 0.14**" in to_markdown(table, digits=2, best="min")
    assert "**" not in to_markdown(table)


def test_settings_that_are_numbers_never_compete() -> None:
    runs = [{"lr": 5.0, "technique": t, "acc": a} for t, a in (("a", 0.1), ("b", 0.2))]
    text = to_markdown(results_table(runs, "lr", "acc", columns="technique"), 1, "max")
    assert cells(text)[2] == ["5.0", "0.1", "**0.2**"]


def test_numbers_of_any_type_compete_but_for_integers() -> None:
    row = [10, 0.5, np.float32(0.75), True, np.int64(3)]
    table = pd.DataFrame([row], columns=["depth", "plain", "ours", "sure", "runs"], dtype=object)
    assert cells(to_markdown(table, 2, "max"))[2] == ["10", "0.50", "**0.75**", "True", "3"]


def test_numbers_that_are_equal_at_these_digits_are_all_the_best() -> None:
    table = pd.DataFrame({"set": ["x"], "a": [0.9004], "b": [0.8996], "c": [math.nan]})
    assert cells(to_markdown(table, 3, "max"))[2] == ["x", "**0.900**", "**0.900**", "nan"]
    assert cells(to_markdown(table, 4, "max"))[2] == ["x", "**0.9004**", "0.8996", "nan"]


def test_an_index_is_shown_unless_it_only_numbers_the_rows() -> None:
    table = pd.DataFrame({"acc": [0.5, 1.0], "n": [1, 2]}, index=["plain", "ours"])
    assert cells(to_markdown(table))[2] == ["plain", "0.500", "1"]
    numbered = pd.DataFrame({"acc": [0.5, 1.0, 0.0]})
    assert cells(to_markdown(numbered[numbered["acc"] > 0.5])) == [["acc"], ["---:"], ["1.000"]]
    named = pd.DataFrame({"acc": [0.5]}, index=pd.Index([50], name="depth"))
    assert cells(to_markdown(named))[0] == ["depth", "acc"]


def test_special_characters_are_escaped() -> None:
    table = pd.DataFrame({"a|b_c": ["x|y & 5 % of $1 #2 {z} \\w"]})
    assert to_markdown(table).splitlines()[0] == r"| a\|b_c |"
    head, body = to_latex(table).splitlines()[2], to_latex(table).splitlines()[4]
    assert head == r"a\textbar{}b\_c \\"
    assert body == r"x\textbar{}y \& 5 \% of \$1 \#2 \{z\} \textbackslash{}w \\"


def test_latex() -> None:
    table = results_table(RUNS, "dataset", columns="lambda_")
    assert to_latex(table, digits=2, best="max").splitlines() == [
        r"\begin{tabular}{lrr}",
        r"\toprule",
        r"dataset & 0.0 & 0.01 \\",
        r"\midrule",
        r"moons & $0.60 \pm 0.14$ & $\mathbf{0.98 \pm 0.02}$ \\",
        r"iris & - & $0.90$ \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


def test_csv_keeps_every_digit() -> None:
    table = results_table(RUNS, ["dataset", "batch_size"])
    read = list(csv.reader(io.StringIO(to_csv(table))))
    assert read[0] == ["dataset", "batch_size", "test/acc", "test/acc_std", "test/acc_count"]
    for line, spread in zip(read[1:], table["test/acc"], strict=True):
        assert float(line[2]) == spread.mean
        assert line[3] == ("" if spread.count == 1 else repr(spread.std))
        assert int(line[4]) == spread.count
    assert [line[1] for line in read[1:]] == ["", "256", "256"]
    assert to_csv(pd.DataFrame({"a,b": ['x"y']})) == '"a,b"\n"x""y"\n'


def model(dataset: str, technique: str, accuracy: float, dead: float = 0.0, linear: float = 0.0) -> dict[str, object]:
    return {
        "dataset": dataset,
        "technique": technique,
        "accuracy": accuracy,
        "unit_dead_ratio": dead,
        "unit_linear_ratio": linear,
    }


def test_key_figures_by_hand() -> None:
    results = [
        # The best model of "plain" on moons is the second: its first, all dead, must not count.
        model("moons", "plain", 0.5, dead=1.0),
        model("moons", "plain", 0.6, dead=0.3, linear=0.5),
        model("moons", "ours", 1.0, dead=0.0, linear=0.2),
        model("iris", "plain", 0.4, dead=0.2, linear=0.0),
        model("iris", "ours", 0.4, dead=0.1, linear=0.21),
        model("wine", "plain", 0.9, dead=0.4, linear=0.25),
        model("wine", "ours", 0.7, dead=0.0, linear=0.0),
        model("hcv", "plain", 0.3, dead=0.7, linear=0.3),
        model("hcv", "ours", 0.9, dead=0.05, linear=0.0),
    ]
    expected = {
        "plain": (3 / 4, (0.3 + 0.2 + 0.4 + 0.7) / 4, 3 / 4, (0.5 + 0 + 0.25 + 0.3) / 4,
                  2 / 4, (-0.4 + 0 + 0 - 0.6) / 4),
        "ours": (0 / 4, (0 + 0.1 + 0 + 0.05) / 4, 1 / 4, (0.2 + 0.21 + 0 + 0) / 4,
                 2 / 4, (0 + 0 - 0.2 + 0) / 4),
    }  # fmt: skip
    for rows in (results, pd.DataFrame(results)):
        figures = key_figures(rows).set_index("technique")
        assert list(figures.columns) == [
            "dead_units", "dead_units_area", "linear_units", "linear_units_area",
            "trainability", "convergence",
        ]  # fmt: skip
        for technique, row in expected.items():
            assert tuple(figures.loc[technique]) == pytest.approx(row)
    assert key_figures(results, threshold=0.1)["dead_units"].tolist() == [1.0, 0.0]


def test_the_area_is_that_under_the_curve_of_thresholds() -> None:
    rng = np.random.default_rng(0)
    results = [model(str(i), "t", 0.5, *rng.random(2)) for i in range(20)]
    thresholds = np.linspace(0, 1, 1001)
    curves = [key_figures(results, t)[["dead_units", "linear_units"]] for t in thresholds]
    heights = np.array([curve.to_numpy()[0] for curve in curves])
    areas = key_figures(results)[["dead_units_area", "linear_units_area"]].to_numpy()[0]
    assert areas == pytest.approx(np.trapezoid(heights, thresholds, axis=0), abs=1e-3)


def test_ties_of_accuracy_do_not_depend_on_the_order_of_rows() -> None:
    results = [
        model("moons", "t", 1.0, dead=0.5, linear=0.0),
        model("moons", "t", 1.0, dead=0.1, linear=0.4),
        model("moons", "t", 1.0, dead=0.1, linear=0.3),
    ]
    for rows in (results, results[::-1]):
        figures = key_figures(rows).iloc[0]
        assert figures["dead_units_area"] == 0.1
        assert figures["linear_units_area"] == 0.3
        assert figures["trainability"] == 0.0


def test_summary() -> None:
    text = summary_table(
        {
            "epochs": 4000,
            "test/acc": 0.9733333,
            "train/acc": 1.0,
            "val/unit_dead_ratio": 0.0,
            "val/loss": 1.23456e-7,
            "seconds": 125.3,
            "diverged": False,
            "data": {"name": "moons", "rows": np.int64(1000)},
            "data_dir": None,
            "test/loss": math.nan,
        }
    )
    assert [line.split() for line in text.splitlines()] == [
        ["train", "val", "test"],
        ["acc", "1.0000", "-", "0.9733"],
        ["unit_dead_ratio", "-", "0.0000", "-"],
        ["loss", "-", "1.23e-07", "nan"],
        [],
        ["epochs", "4000"],
        ["seconds", "125.3000"],
        ["diverged", "False"],
        ["data.name", "moons"],
        ["data.rows", "1000"],
        ["data_dir", "-"],
    ]
    lines = text.splitlines()
    assert len({len(line) for line in lines[:4]}) == 1
    assert all(line == line.rstrip() for line in lines)


def test_summary_without_splits_or_without_other_values() -> None:
    assert summary_table({"epochs": 3}) == "epochs   3"
    assert summary_table({"val/acc": 0.5}).splitlines() == ["         val", "acc   0.5000"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: results_table([], "dataset"), "at least one run"),
        (lambda: results_table(RUNS, "data_set"), r"no run has 'data_set'\. Did you mean 'dataset'\? There are: "),
        (lambda: results_table(RUNS, "dataset", "test/acs"), r"Did you mean 'test/acc'\?"),
        (lambda: results_table(RUNS, "dataset", columns="lamda"), r"Did you mean 'lambda_'\?"),
        (lambda: results_table([*RUNS, {"seed": 3}], "dataset"), "number for 'test/acc', got None"),
        (
            lambda: results_table(RUNS, "dataset", ["test/acc", "seed"], columns="lambda_"),
            "columns='lambda_' takes one of values, got 2",
        ),
        (lambda: to_markdown(pd.DataFrame({"a": [1.0]}), best="most"), "best must be 'max' or 'min', got 'most'"),
        (lambda: key_figures([]), "at least one run"),
        (lambda: key_figures([{"dataset": "moons"}]), "no run has 'technique'"),
        (lambda: key_figures([model("m", "t", 1.5)]), r"accuracy must be in \[0, 1\], got 1.5"),
        (lambda: key_figures([model("m", "t", math.nan)]), "accuracy must be in .* got nan"),
        (lambda: key_figures([model("m", "t", 1, dead=-1)]), "unit_dead_ratio must be in"),
        (
            lambda: key_figures([model("m", "a", 1), model("w", "a", 1), model("m", "b", 1)]),
            "every technique on every data set, 'b' lacks 'w'",
        ),
        (lambda: key_figures([model("m", "t", 1)], threshold=20), r"threshold must be a share in \[0, 1\], got 20"),
        (lambda: key_figures([model("m", "t", 1)], threshold="20"), "threshold must be a share .* got '20'"),
        (
            lambda: results_table([{"lr": 1, "a": 1.0}, {"lr": "1", "a": 0.0}], [], "a", columns="lr"),
            "columns='lr' has values of equal texts",
        ),
        (lambda: results_table([{"a": 1, "acc": 10**400}], "a", "acc"), "'acc' that a float can hold"),
        (
            lambda: to_markdown(pd.DataFrame({"a": [1.0]}, index=pd.Index([3], name="a"))),
            "index of the table has the name of a column, 'a'",
        ),
        (lambda: summary_table({}), "at least one value"),
    ],
)
def test_bad_input_is_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
