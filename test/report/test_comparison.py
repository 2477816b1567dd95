"""Techniques compared: the choice on validation, wins and draws, ranks and their tests, against results by hand."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from jumpstart.table import (
    Rows,
    best_runs,
    dataset_table,
    key_figures,
    rank_techniques,
    results_table,
    wins_draws_losses,
)


def run(technique: str, dataset: str, **values: object) -> dict[str, object]:
    named = {name.replace("_", "/", 1) if name.startswith(("val_", "test_")) else name: v for name, v in values.items()}
    return {"technique": technique, "dataset": dataset, **named}


def runs_of(accuracies: dict[str, list[float]]) -> list[dict[str, object]]:
    """One run for each technique and data set."""
    return [run(name, f"set {i}", test_acc=acc) for name, every in accuracies.items() for i, acc in enumerate(every)]


# The choice ---------------------------------------------------------------------------------------

TRIED = [
    run("plain", "moons", lambda_=0.0, seed=0, val_acc=0.6, val_loss=0.5, test_acc=0.9),
    run("plain", "moons", lambda_=0.0, seed=1, val_acc=0.5, val_loss=0.5, test_acc=0.8),
    run("ours", "moons", lambda_=0.1, seed=0, val_acc=1.0, val_loss=0.2, test_acc=0.7),
    run("ours", "moons", lambda_=0.1, seed=1, val_acc=0.5, val_loss=0.3, test_acc=0.6),
    run("ours", "moons", lambda_=0.2, seed=0, val_acc=0.9, val_loss=0.4, test_acc=0.5),
    run("ours", "moons", lambda_=0.2, seed=1, val_acc=0.8, val_loss=0.4, test_acc=0.3),
    run("ours", "iris", lambda_=0.1, seed=0, val_acc=0.7, val_loss=0.9, test_acc=0.2),
    run("ours", "iris", lambda_=0.2, seed=0, val_acc=0.7, val_loss=0.8, test_acc=0.1),
]


def test_the_best_run_of_each_group_is_chosen_on_validation() -> None:
    best = best_runs(TRIED)
    # Runs of iris are equally good, and the second has the lower loss; no choice follows the test accuracy.
    assert best["test/acc"].tolist() == [0.9, 0.7, 0.1]
    assert best_runs(TRIED, "dataset", "val/loss", best="min")["val/loss"].tolist() == [0.2, 0.8]


def test_the_best_setting_is_that_of_the_best_mean_over_seeds() -> None:
    best = best_runs(pd.DataFrame(TRIED), tuned=["lambda_"])
    assert best["test/acc"].tolist() == [0.9, 0.8, 0.5, 0.3, 0.1]
    spread = results_table(best, ["technique", "dataset"])["test/acc"][1]
    assert (spread.mean, spread.count) == (0.4, 2)
    assert spread.std == pytest.approx(math.sqrt(0.02))


def test_the_choice_depends_neither_on_the_test_part_nor_on_the_order_of_runs() -> None:
    rng = np.random.default_rng(0)
    rows = [run("t", "d", lambda_=i, val_acc=float(rng.random()), test_acc=float(rng.random())) for i in range(9)]
    chosen = best_runs(rows, "dataset")["lambda_"].tolist()
    for _ in range(5):
        other = [{**row, "test/acc": float(rng.random())} for row in rng.permutation(np.array(rows))]
        assert best_runs(other, "dataset")["lambda_"].tolist() == chosen


def test_a_diverged_run_is_never_the_best() -> None:
    for rows in (TRIED[:2], TRIED[1::-1]):
        diverged = [{**rows[0], "val/acc": math.nan}, rows[1]]
        assert best_runs(diverged, "dataset")["val/acc"].tolist() == [rows[1]["val/acc"]]
        assert best_runs(diverged, "dataset", "val/acc", best="min")["val/acc"].tolist() == [rows[1]["val/acc"]]


# Wins, draws, losses ------------------------------------------------------------------------------

THREE = {"a": [0.5, 0.9, 0.7001, 1.0], "b": [0.6, 0.8, 0.7004, 1.0], "c": [0.1, 0.9, 0.8, 0.9]}


def test_wins_draws_and_losses_by_hand() -> None:
    table = wins_draws_losses(runs_of(THREE)).set_index(["technique", "against"])
    expected = {
        ("a", "b"): (1, 2, 1),
        ("a", "c"): (2, 1, 1),
        ("b", "a"): (1, 2, 1),
        ("b", "c"): (2, 0, 2),
        ("c", "a"): (1, 1, 2),
        ("c", "b"): (2, 0, 2),
    }
    assert {pair: tuple(row) for pair, row in table.iterrows()} == expected
    assert tuple(wins_draws_losses(runs_of(THREE), digits=4).iloc[0, 2:]) == (1, 1, 2)
    assert tuple(wins_draws_losses(runs_of(THREE), best="min").iloc[1, 2:]) == (1, 1, 2)


@pytest.mark.parametrize(
    ("one", "other", "alpha", "drawn"),
    [
        # t = 3 / sqrt(2 / 3) = 3.674 with 4 degrees of freedom: p = 0.0213.
        ([1, 2, 3], [4, 5, 6], 0.05, False),
        ([1, 2, 3], [4, 5, 6], 0.01, True),
        # Spreads that differ: t = 10 / sqrt(100) = 1 with 2 degrees of freedom: p = 0.42.
        ([0, 0, 0], [-7.3205081, 10, 27.3205081], 0.4, True),
        ([1, 1], [1, 1], 0.05, True),
        ([1, 1], [2, 2], 0.05, False),
    ],
)
def test_a_draw_by_a_test(one: list[float], other: list[float], alpha: float, drawn: bool) -> None:
    rows = [run(name, "d", seed=i, x=x) for name, every in (("a", one), ("b", other)) for i, x in enumerate(every)]
    table = wins_draws_losses(rows, "x", draw="test", alpha=alpha)
    assert table["draws"].tolist() == [drawn, drawn]
    assert table["losses"].tolist() == [not drawn, False]


def test_numbers_of_opposite_signs_that_are_shown_as_0_draw() -> None:
    rows = [run("a", "d", x=0.0001), run("b", "d", x=-0.0001)]
    assert wins_draws_losses(rows, "x")["draws"].tolist() == [1, 1]
    assert wins_draws_losses(rows, "x", digits=4)["draws"].tolist() == [0, 0]


@pytest.mark.parametrize("kind", [float, np.float32, np.float64, int])
def test_a_smaller_loss_decides_between_equal_accuracies_whatever_its_type(kind: Callable[[float], object]) -> None:
    rows = [{"seed": i, "val/acc": 0.5, "val/loss": kind(loss)} for i, loss in enumerate((3.0, 1.0, 2.0))]
    assert best_runs(rows, [])["seed"].tolist() == [1]


# Ranks --------------------------------------------------------------------------------------------


def test_ranks_by_hand() -> None:
    rows = runs_of({"c": [0.1, 0.1, 0.1, 0.1], "a": [0.9, 0.9, 0.9, 0.9], "b": [0.9, 0.5, 0.5, 0.5]})
    ranks = rank_techniques(rows)
    assert ranks.table.iloc[0].tolist() == ["set 0", 3.0, 1.5, 1.5]
    assert ranks.mean == {"a": 1.125, "b": 1.875, "c": 3.0}
    assert list(ranks.mean) == ["a", "b", "c"], "the best first"
    # 12 * 4 / (3 * 4) * (1.125^2 + 1.875^2 + 3^2 - 3 * 4^2 / 4) = 7.125, over 1 - (2^3 - 2) / (4 * 3 * (3^2 - 1)).
    assert ranks.statistic == pytest.approx(7.125 / 0.9375)
    assert ranks.p_value == pytest.approx(math.exp(-7.6 / 2)), "two degrees of freedom"
    assert "chi-squared(2) = 7.600" in str(ranks)
    assert rank_techniques(rows, best="min").mean == {"c": 1.0, "b": 2.125, "a": 2.875}


def test_the_critical_difference_is_that_of_the_published_table() -> None:
    # Table 5 of Demšar (2006), for 2 to 10 techniques.
    published = {0.05: (2.343, 2.569, 2.728, 2.850), 0.10: (2.052, 2.291, 2.459, 2.589)}
    for alpha, quantiles in published.items():
        for techniques, quantile in enumerate(quantiles, 3):
            rows = runs_of({str(n): [n + (i % 2) * n % 2 for i in range(6)] for n in range(techniques)})
            expected = quantile * math.sqrt(techniques * (techniques + 1) / (6 * 6))
            assert rank_techniques(rows, alpha=alpha).critical_difference == pytest.approx(expected, rel=5e-4)


def test_pairs_differ_where_their_mean_ranks_are_a_critical_difference_apart() -> None:
    rng = np.random.default_rng(3)
    ranks = rank_techniques(runs_of({str(n): list(rng.normal(n / 4, 1, 12)) for n in range(6)}))
    means = np.array(list(ranks.mean.values()))
    assert list(ranks.pairs.index) == list(ranks.pairs.columns) == list(ranks.mean)
    apart = np.abs(means[:, None] - means) > ranks.critical_difference
    assert 0 < apart.sum() < apart.size
    assert (apart == (ranks.pairs.to_numpy() < 0.05)).all()


def test_techniques_that_are_equal_everywhere_do_not_differ() -> None:
    ranks = rank_techniques(runs_of({name: [0.5, 1.0] for name in "abc"}))
    assert (ranks.statistic, ranks.p_value) == (0.0, 1.0)
    assert set(ranks.mean.values()) == {2.0}
    assert ranks.pairs.to_numpy() == pytest.approx(1.0)


# Key figures and data sets ------------------------------------------------------------------------


def test_key_figures_of_runs_that_are_chosen_on_validation() -> None:
    names = ("val/acc", "test/acc", "test/unit_dead_ratio", "test/unit_linear_ratio")
    models = {
        "plain": [(0.9, 0.6, 0.5, 0.0), (0.8, 0.7, 0.1, 0.3)],
        "ours": [(math.nan, 1.0, 0.9, 0.9), (0.7, 0.9, 0.0, 0.1)],
    }
    rows = [
        {"lambda_": name, "data": "moons", **dict(zip(names, model, strict=True))}
        for name, every in models.items()
        for model in every
    ]
    figures = key_figures(rows, part="test", on="val/acc", technique="lambda_", dataset="data").set_index("lambda_")
    assert figures.loc["plain"].tolist() == pytest.approx([1.0, 0.5, 0.0, 0.0, 0.0, 0.6 - 0.9])
    assert figures.loc["ours"].tolist() == pytest.approx([0.0, 0.0, 0.0, 0.1, 1.0, 0.0])
    assert key_figures(rows, part="test", technique="lambda_", dataset="data")["convergence"].tolist() == pytest.approx(
        [-0.3, 0.0]
    )


def test_a_data_set_of_two_sizes_has_two_rows() -> None:
    facts = [(100, 2, 2), (150, 4, 3), (100, 2, 2), (1000, 2, 2)]
    names = ("data/rows", "data/features", "data/classes")
    rows = [
        {"dataset": name, **dict(zip(names, fact, strict=True))}
        for name, fact in zip(("moons", "iris", "moons", "moons"), facts, strict=True)
    ]
    table = dataset_table(rows)
    assert list(table.columns) == ["dataset", "rows", "features", "classes"]
    assert [tuple(row) for row in table.to_numpy()] == [
        ("moons", 100, 2, 2),
        ("iris", 150, 4, 3),
        ("moons", 1000, 2, 2),
    ]


# Bad input ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda rows: best_runs(rows, on="test/acc"),
            "on must not be a metric of the test part, got 'test/acc': choose",
        ),
        (lambda rows: best_runs(rows, by="set"), "no run has 'set'"),
        (lambda rows: best_runs(rows, tuned="lamda_", on="x/acc"), "no run has 'lamda_'"),
        (lambda rows: best_runs(rows, best="high"), "best must be 'max' or 'min', got 'high'"),
        (lambda rows: wins_draws_losses(rows, draw="never"), "draw must be one of digits, test, got 'never'"),
        (lambda rows: wins_draws_losses(rows, draw="test"), "draw='test' needs at least 2 runs .* 1 of 'a' on 'set 0'"),
        (lambda rows: wins_draws_losses(rows, alpha=5), "alpha must be between 0 and 1, got 5"),
        (lambda rows: wins_draws_losses(rows, digits=-1), "digits must be a whole number from 0 to 17, got -1"),
        (lambda rows: wins_draws_losses(rows[:4]), "at least 2 techniques to compare, got 1 under 'technique'"),
        (lambda rows: wins_draws_losses(rows[:-1]), "every technique on every data set, 'c' lacks 'set 3'"),
        (
            lambda rows: wins_draws_losses(rows, technique="Technique"),
            "no run has 'Technique'. Did you mean 'technique'",
        ),
        (lambda rows: rank_techniques(rows[:8]), "at least 3 techniques to compare, got 2"),
        (lambda rows: rank_techniques(rows[::4]), "at least 2 data sets to rank techniques over, got 1"),
        (
            lambda rows: rank_techniques([*rows, {**rows[0], "test/acc": math.nan}]),
            "not be NaN, got NaN for 'a' on 'set 0'",
        ),
        (
            lambda rows: rank_techniques([*rows, {"dataset": "set 0"}]),
            r"a technique and a dataset, got \(None, 'set 0'\)",
        ),
        (lambda rows: key_figures(rows, part="tests"), "part must be one of train, val, test, got 'tests'"),
        (lambda rows: dataset_table(rows), "no run has 'data/rows'"),
    ],
)
def test_bad_input_is_refused(call: Callable[[Rows], object], message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        call(runs_of(THREE))
    assert not re.search(r"\n", str(error.value))


def test_a_folder_is_not_taken_for_runs() -> None:
    with pytest.raises(TypeError, match=r"got 'runs/depths'. read_results\(\) reads a folder"):
        results_table("runs/depths", "dataset")
