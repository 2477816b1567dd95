"""The words of the verdict, against cases small enough to judge by eye."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jumpstart.history import StatusHistory
from jumpstart.report.findings import Tone, Verdict
from jumpstart.report.record import RunRecord
from jumpstart.report.verdict import chance, judge, since
from jumpstart.words import layer_words

DEAD, LINEAR, NONLINEAR = (-1.0, -2.0), (2.0, 1.0), (1.0, -1.0)
CODES = {"d": DEAD, "l": LINEAR, "n": NONLINEAR}


def history(
    lives: list[str], units: list[int], points: list[str] | None = None, every: int = 10, labels: Any = None
) -> StatusHistory:
    """One string a unit, one letter an epoch; one string a point of the last epoch, one letter a layer."""
    made = StatusHistory([f"layer{i}" for i in range(len(units))], units)
    codes = [["dln".index(letter) for letter in point] for point in points or ["n" * len(units)]]
    for epoch in range(len(lives[0])):
        ends = np.array([CODES[life[epoch]] for life in lives]).T
        made.append(epoch * every, ends[0], ends[1], codes, labels)
    return made


def record(**content: Any) -> RunRecord:
    """A run that ended well."""
    return RunRecord(**{"path": Path("runs/a"), "summary": {"epochs": 30}, "config": {"lambda_": 0.0}, **content})


def metrics(**columns: list[float]) -> dict[str, np.ndarray]:
    """Columns, the first underscore of a name being a slash."""
    length = len(next(iter(columns.values())))
    table = {name.replace("_", "/", 1): np.array(values) for name, values in columns.items()}
    return {"epoch": np.arange(float(length)), **table}


def texts(verdict: Verdict) -> str:
    return " ".join(finding.text for finding in verdict.findings)


def balanced(rows: int = 150) -> dict[str, Any]:
    """A summary in which chance gives one half."""
    return {"epochs": 3, "data": {"parts": {"val": {"rows": rows, "class_counts": [rows // 2, rows // 2]}}}}


# Units ------------------------------------------------------------------------------------------


def slow_since(column: list[bool]) -> int:
    """The same, by looking back row by row."""
    row = len(column)
    while row > 0 and column[row - 1]:
        row -= 1
    return row


def test_since_is_what_looking_back_gives() -> None:
    marked = np.random.default_rng(0).random((7, 200)) < 0.7
    assert since(marked).tolist() == [slow_since(column.tolist()) for column in marked.T]


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ([0], "layer 1"),
        ([30, 31, 32, 33, 34], "layers 31-35"),
        ([4, 0, 1, 4], "layers 1-2 and 5"),
        ([0, 2, 4, 6], "layers 1, 3, 5 and 7"),
        ([0, 2, 4, 6, 8], "5 layers between 1 and 9"),
    ],
)
def test_layers_in_words(layers: list[int], words: str) -> None:
    assert layer_words(layers) == words


def test_units_that_died_together() -> None:
    verdict = judge(record(history=history(["nnnd", "nndd", "nndd", "nnnn"], [2, 2])))
    assert "3 of 4 units are dead: 2 since epoch 20 (layers 1-2) and 1 since epoch 30 (layer 1)." in texts(verdict)
    verdict = judge(record(history=history(["nndd", "nndd", "nnnn", "nnnn"], [2, 2])))
    assert "2 of 4 units are dead since epoch 20, layer 1." in texts(verdict)
    assert verdict.headline == "2 of 4 units are dead."


def test_what_came_back_to_life_is_said() -> None:
    verdict = judge(record(history=history(["nddn", "nnnn"], [2])))
    assert "No unit is dead at the end. 1 unit was dead at some time before." in texts(verdict)
    verdict = judge(record(history=history(["ndnd", "nnnn"], [2])))
    assert "1 of 2 units is dead since epoch 30, layer 1." in texts(verdict)


def test_linear_units_are_told_apart() -> None:
    verdict = judge(record(history=history(["nnll", "llll", "nnnn"], [1, 2])))
    assert "2 of 3 units are linear: 1 since epoch 0 (layer 2) and 1 since epoch 20 (layer 1)." in texts(verdict)
    assert "No unit is dead at the end." in texts(verdict)


def test_many_deaths_at_many_times_are_summed_up() -> None:
    lives = ["n" * born + "d" * (10 - born) for born in range(10)]
    words = texts(judge(record(history=history(lives, [5, 5], every=1))))
    assert "10 of 10 units are dead, layers 1-2: half of them since epoch 4 or before" in words
    assert "the first since epoch 0, the last since epoch 9." in words


def test_how_often_it_was_drawn_is_said() -> None:
    assert "drawn every 10 epochs" in texts(judge(record(history=history(["nnd"], [1]))))
    assert "drawn every" not in texts(judge(record(history=history(["nnd"], [1], every=1))))


# Points -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("points", "words"),
    [
        (["nnn", "lln"], "Each of the 2 points drawn sends a gradient through all 3 layers."),
        (["dnn", "nnn"], "No gradient reaches layer 1 from 1 of the 2 points drawn since epoch 0: it dies in layer 1."),
        (["ndn", "dnn"], "No gradient reaches layer 1 from any of the 2 points drawn since epoch 0"),
        (["nnd", "ndn"], "No gradient reaches layers 1-2 from any of the 2 points drawn since epoch 0"),
        (["nnd", "ndd"], "No gradient reaches layers 1-3 from any"),
    ],
)
def test_points_that_no_gradient_comes_from(points: list[str], words: str) -> None:
    assert words in texts(judge(record(history=history(["nn", "nn", "nn"], [1, 1, 1], points))))


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"skip_connections": 2}, True),
        ({"skip_connections": None}, False),
        ({"use_skip_connections": True}, True),
        ({"use_skip_connections": False}, False),
        ({}, False),
    ],
)
def test_skip_connections_are_allowed_for(config: dict[str, Any], said: bool) -> None:
    drawn = record(history=history(["nn", "nn"], [1, 1], ["dn"]), config=config)
    figures = record(metrics=metrics(val_point_dead_ratio=[0.5]), config=config)
    works = {"summary": balanced(), "metrics": metrics(val_acc=[0.5, 1.0])}
    points = record(history=history(["nn", "nn"], [1, 1], ["nd"]), config=config, **works)
    assert ("skip connections may carry" in texts(judge(drawn))) is said
    assert ("skip connections may carry" in texts(judge(figures))) is said
    assert ("but by the skip connections" in judge(points).advice[0]) is said


# Training ---------------------------------------------------------------------------------------


def test_training_works_or_not() -> None:
    alive = history(["nnn"], [1])
    good = judge(record(history=alive, summary=balanced(), metrics=metrics(val_acc=[0.5, 0.9, 0.8])))
    assert good.headline == "Training works, and every unit is alive and non-linear."
    assert good.tone is Tone.GOOD
    assert "The best validation accuracy is 90.0 % (epoch 1); always naming the most common class" in texts(good)
    bad = judge(record(history=alive, summary=balanced(), metrics=metrics(val_acc=[0.5, 0.5, 0.5])))
    assert bad.headline == "Training does not work."
    assert "no better than chance" in texts(bad)
    assert "another lr" in bad.advice[0]


@pytest.mark.parametrize(
    ("named", "epoch"),
    [
        ({}, 3),  # the lowest loss
        ({"best_epoch": 2}, 2),
        ({"best_epoch": 0}, 3),  # not among the best, such as before the run was resumed
        ({"best_epoch": "damaged"}, 3),
    ],
)
def test_of_equal_epochs_the_best_is_that_of_the_summary(named: dict[str, Any], epoch: int) -> None:
    columns = metrics(val_acc=[0.5, 0.9, 0.9, 0.9, 0.9], val_loss=[0.1, 0.4, 0.3, 0.2, 0.2])
    run = record(metrics=columns, summary={**balanced(), **named})
    assert f"The best validation accuracy is 90.0 % (epoch {epoch});" in texts(judge(run))


def test_equal_epochs_without_a_loss_are_told_by_the_first() -> None:
    run = record(metrics=metrics(val_acc=[0.5, 0.9, 0.9]), summary=balanced())
    assert "(epoch 1)" in texts(judge(run))


def test_luck_is_not_training() -> None:
    lucky = judge(record(summary=balanced(100), metrics=metrics(val_acc=[0.5, 0.55])))
    assert "not clearly better than chance" in texts(lucky)
    many = judge(record(summary=balanced(10_000), metrics=metrics(val_acc=[0.5, 0.55])))
    assert "chance" not in texts(many)


def test_chance_is_that_of_the_classes() -> None:
    assert chance(record(summary={"data": {"parts": {"val": {"class_counts": [30, 10]}}}})) == (0.75, 40)
    labels = [0, 0, 0, 1, 2]
    assert chance(record(history=history(["n"], [1], ["n"] * 5, labels=labels))) == (0.6, 5)
    assert chance(record(summary={"data": "damaged"})) is None
    unknown = judge(record(metrics=metrics(val_acc=[0.9])))
    assert "is not on record" in texts(unknown)


def test_dead_and_not_training() -> None:
    run = record(
        history=history(["ddd", "ddd", "lll"], [2, 1]), summary=balanced(), metrics=metrics(val_acc=[0.5, 0.5, 0.5])
    )
    verdict = judge(run)
    assert verdict.headline == "Training does not work: 2 of 3 units are dead."
    assert verdict.tone is Tone.BAD
    assert verdict.advice == ("Turn Jumpstart on: run it again with --lambda_=0.01.",)


@pytest.mark.parametrize(
    ("config", "advice"),
    [
        ({"lambda_": 0.001}, "Raise lambda_ from 0.001, for instance to 0.01"),
        ({}, "Add the Jumpstart loss with a weight of 0.01"),
    ],
)
def test_advice_knows_the_weight(config: dict[str, Any], advice: str) -> None:
    verdict = judge(record(history=history(["dd", "nn"], [2]), config=config))
    assert advice in verdict.advice[0]


def test_points_that_die_in_a_network_that_works_are_no_alarm() -> None:
    run = record(
        history=history(["nn", "nn"], [1, 1], ["nd", "nn"]), summary=balanced(), metrics=metrics(val_acc=[0.5, 1.0])
    )
    verdict = judge(run)
    assert verdict.headline == "Training works, but 50.0 % of the points are dead in some layer."
    assert verdict.advice[0].startswith("Earlier layers learn no more from the points that die.")


def test_figures_alone_have_a_verdict_too() -> None:
    columns = metrics(val_acc=[0.9, 0.9], val_unit_dead_ratio=[0.5, 0.5], val_unit_linear_ratio=[0.1, 0.0])
    verdict = judge(record(summary=balanced(), metrics=columns, config={"lambda_": 0.0, "plot_status": False}))
    assert verdict.headline == "Training works, but 50.0 % of the units are dead."
    assert "50.0 % of the units are dead, as many or more since epoch 0." in texts(verdict)
    assert "No unit is linear at the end." in texts(verdict)
    assert "--plot_status=True" in verdict.advice[-1]


def test_a_run_that_failed() -> None:
    run = record(summary={}, failure="NonFiniteLossError: no number.", metrics=metrics(val_acc=[0.5, 0.5]))
    verdict = judge(run)
    assert verdict.headline == "The run ended early."
    assert verdict.findings[0].text == "The run ended early, after 2 epochs. NonFiniteLossError: no number."
    assert verdict.advice[0] == "Continue from its last checkpoint: python run_rectangular_sweep.py --resume=runs/a"


def test_a_run_that_is_going_on() -> None:
    verdict = judge(record(summary={}, config={"epochs": 100}, metrics=metrics(val_acc=[0.5])))
    assert "On record: 1 epoch, of 100." in verdict.findings[0].text


def test_what_else_to_do() -> None:
    alive = history(["nn"], [1])
    heart = metrics(train_acc=[0.9, 1.0], val_acc=[0.7, 0.7])
    assert "by heart" in judge(record(history=alive, summary=balanced(), metrics=heart)).advice[0]
    climbing = metrics(train_acc=[i / 100 for i in range(60, 90)], val_acc=[i / 100 for i in range(60, 90)])
    run = record(history=alive, summary=balanced(), metrics=climbing, environment={"command": "go.py --a='b c'"})
    assert judge(run).advice == (
        "It was still getting better at the end. Train on: python go.py --resume=runs/a --epochs=60",
    )
    done = metrics(train_acc=[1.0, 1.0], val_acc=[1.0, 1.0])
    assert judge(record(history=alive, summary=balanced(), metrics=done)).advice == ("Nothing needs to be done.",)


def test_nothing_is_known() -> None:
    verdict = judge(RunRecord(Path("a")))
    assert verdict.headline == "Nothing can be told yet."
    assert verdict.tone is Tone.INFO
