"""The words of the verdict, compared with cases small enough to check by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jumpstart.history import StatusHistory
from jumpstart.report.description import Remedies, RunDescription
from jumpstart.report.findings import Tone, chance, since
from jumpstart.report.record import RunRecord
from jumpstart.report.verdict import Verdict, judge
from jumpstart.words import layer_words
from model.config.experiment import ExperimentConfig
from model.config.rectangular import RectangularConfig
from model.config.resnet import ResnetConfig
from sweep.description import describe_run

DEAD, LINEAR, NONLINEAR = (-1.0, -2.0), (2.0, 1.0), (1.0, -1.0)
CODES = {"d": DEAD, "l": LINEAR, "n": NONLINEAR}


REMEDIES = Remedies(
    resume="python go.py --resume={run}",
    extend="python go.py --resume={run} --epochs={epochs}",
    weight="--lambda_={weight}",
    record_status="--plot_status=True",
)


def history(
    status: list[str], units: list[int], points: list[str] | None = None, every: int = 10, labels: Any = None
) -> StatusHistory:
    """A history from letters: ``status`` has a string per unit with a letter per epoch, ``points`` a string per point
    with a letter per layer.
    """
    made = StatusHistory([f"layer{i}" for i in range(len(units))], units)
    codes = [["dln".index(letter) for letter in point] for point in points or ["n" * len(units)]]
    for epoch in range(len(status[0])):
        ends = np.array([CODES[letters[epoch]] for letters in status]).T
        made.append(epoch * every, ends[0], ends[1], codes, labels)
    return made


def record(**content: Any) -> RunRecord:
    """A run that ended as planned, with a weight of 0 unless the description says otherwise."""
    description = RunDescription(weight=0.0, remedies=REMEDIES)
    defaults = {"path": Path("runs/a"), "summary": {"epochs": 30}, "description": description}
    return RunRecord(**{**defaults, **content})


def metrics(**columns: list[float]) -> dict[str, np.ndarray]:
    """Metrics by column; the first underscore of a name stands for a slash."""
    length = len(next(iter(columns.values())))
    table = {name.replace("_", "/", 1): np.array(values) for name, values in columns.items()}
    return {"epoch": np.arange(float(length)), **table}


def texts(verdict: Verdict) -> str:
    return " ".join(finding.text for finding in verdict.findings)


def balanced(rows: int = 150) -> dict[str, Any]:
    """A summary in which the accuracy of chance is one half."""
    return {"epochs": 3, "data": {"parts": {"val": {"rows": rows, "class_counts": [rows // 2, rows // 2]}}}}


# Units ------------------------------------------------------------------------------------------


def slow_since(column: list[bool]) -> int:
    """The result of ``since``, by looking back row by row."""
    row = len(column)
    while row > 0 and column[row - 1]:
        row -= 1
    return row


def test_since_equals_looking_back_row_by_row() -> None:
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
    assert "2 of 4 units have been dead since epoch 20 (layer 1)." in texts(verdict)
    assert verdict.headline == "2 of 4 units are dead."


def test_units_that_recovered_are_counted() -> None:
    verdict = judge(record(history=history(["nddn", "nnnn"], [2])))
    assert "No unit is dead at the end. 1 unit was dead earlier." in texts(verdict)
    verdict = judge(record(history=history(["ndnd", "nnnn"], [2])))
    assert "1 of 2 units has been dead since epoch 30 (layer 1)." in texts(verdict)


def test_linear_units_are_distinguished_from_dead_ones() -> None:
    verdict = judge(record(history=history(["nnll", "llll", "nnnn"], [1, 2])))
    assert "2 of 3 units are linear: 1 since epoch 0 (layer 2) and 1 since epoch 20 (layer 1)." in texts(verdict)
    assert "No unit is dead at the end." in texts(verdict)


def test_deaths_in_many_epochs_are_summarized() -> None:
    status = ["n" * death + "d" * (10 - death) for death in range(10)]
    words = texts(judge(record(history=history(status, [5, 5], every=1))))
    assert "10 of 10 units are dead (layers 1-2): half of them since epoch 4 or earlier" in words
    assert "the first since epoch 0, the last since epoch 9." in words


def test_the_recording_interval_is_stated() -> None:
    assert "recorded every 10 epochs, so a unit may have died up to 9 epochs before" in texts(
        judge(record(history=history(["nnd"], [1])))
    )
    assert "recorded every" not in texts(judge(record(history=history(["nnd"], [1], every=1))))


# Points -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("points", "words"),
    [
        (["nnn", "lln"], "Each of the 2 recorded points sends a gradient through all 3 layers."),
        (
            ["dnn", "nnn"],
            "Since epoch 0, no gradient reaches layer 1 from 1 of the 2 recorded points, which is dead in layer 1.",
        ),
        (
            ["ndn", "dnn"],
            "Since epoch 0, no gradient reaches layer 1 from any of the 2 recorded points, which are dead",
        ),
        (["nnd", "ndn"], "Since epoch 0, no gradient reaches layers 1-2 from any of the 2 recorded points"),
        (["nnd", "ndd"], "no gradient reaches layers 1-3 from any"),
    ],
)
def test_points_that_send_no_gradient(points: list[str], words: str) -> None:
    assert words in texts(judge(record(history=history(["nn", "nn", "nn"], [1, 1, 1], points))))


@pytest.mark.parametrize(
    ("config", "mentioned"),
    [
        (RectangularConfig(skip_connections=2), True),
        (RectangularConfig(), False),
        (ResnetConfig(use_skip_connections=True), True),
        (ResnetConfig(), False),
        (None, False),
    ],
)
def test_skip_connections_are_mentioned(config: ExperimentConfig | None, mentioned: bool) -> None:
    description = RunDescription.parse(describe_run(config) or {})
    assert description.has_skips is mentioned
    recorded = record(history=history(["nn", "nn"], [1, 1], ["dn"]), description=description)
    shares = record(metrics=metrics(val_point_dead_ratio=[0.5]), description=description)
    works = {"summary": balanced(), "metrics": metrics(val_acc=[0.5, 1.0])}
    points = record(history=history(["nn", "nn"], [1, 1], ["nd"]), description=description, **works)
    assert ("Skip connections may carry" in texts(judge(recorded))) is mentioned
    assert ("Skip connections may carry" in texts(judge(shares))) is mentioned
    assert ("except through the skip connections" in judge(points).advice[0]) is mentioned


# Training ---------------------------------------------------------------------------------------


def test_training_works_or_not() -> None:
    alive = history(["nnn"], [1])
    good = judge(record(history=alive, summary=balanced(), metrics=metrics(val_acc=[0.5, 0.9, 0.8])))
    assert good.headline == "Training works, and every unit is alive and non-linear."
    assert good.tone is Tone.GOOD
    assert "The best validation accuracy is 90.0 % (epoch 1); always predicting the most common class" in texts(good)
    bad = judge(record(history=alive, summary=balanced(), metrics=metrics(val_acc=[0.5, 0.5, 0.5])))
    assert bad.headline == "Training does not work."
    assert "no better than chance" in texts(bad)
    assert "another learning rate" in bad.advice[0]


@pytest.mark.parametrize(
    ("named", "epoch"),
    [
        ({}, 3),  # the lowest loss
        ({"best_epoch": 2}, 2),
        ({"best_epoch": 0}, 3),  # not among the best, such as before the run was resumed
        ({"best_epoch": "damaged"}, 3),
    ],
)
def test_among_equal_epochs_the_summary_decides(named: dict[str, Any], epoch: int) -> None:
    columns = metrics(val_acc=[0.5, 0.9, 0.9, 0.9, 0.9], val_loss=[0.1, 0.4, 0.3, 0.2, 0.2])
    run = record(metrics=columns, summary={**balanced(), **named})
    assert f"The best validation accuracy is 90.0 % (epoch {epoch});" in texts(judge(run))


def test_among_equal_epochs_without_a_loss_the_first_is_best() -> None:
    run = record(metrics=metrics(val_acc=[0.5, 0.9, 0.9]), summary=balanced())
    assert "(epoch 1)" in texts(judge(run))


def test_an_accuracy_within_the_noise_of_chance_is_no_training() -> None:
    lucky = judge(record(summary=balanced(100), metrics=metrics(val_acc=[0.5, 0.55])))
    assert "not clearly better than chance" in texts(lucky)
    many = judge(record(summary=balanced(10_000), metrics=metrics(val_acc=[0.5, 0.55])))
    assert "chance" not in texts(many)


def test_chance_follows_from_the_class_counts() -> None:
    assert chance(record(summary={"data": {"parts": {"val": {"class_counts": [30, 10]}}}})) == (0.75, 40)
    labels = [0, 0, 0, 1, 2]
    assert chance(record(history=history(["n"], [1], ["n"] * 5, labels=labels))) == (0.6, 5)
    assert chance(record(summary={"data": "damaged"})) is None
    unknown = judge(record(metrics=metrics(val_acc=[0.9])))
    assert "is not recorded" in texts(unknown)


def test_dead_and_not_training() -> None:
    run = record(
        history=history(["ddd", "ddd", "lll"], [2, 1]), summary=balanced(), metrics=metrics(val_acc=[0.5, 0.5, 0.5])
    )
    verdict = judge(run)
    assert verdict.headline == "Training does not work: 2 of 3 units are dead."
    assert verdict.tone is Tone.BAD
    assert verdict.advice == ("Turn Jumpstart on: train again with --lambda_=0.01.",)


@pytest.mark.parametrize(
    ("description", "advice"),
    [
        (
            RunDescription(weight=0.001, remedies=REMEDIES),
            "Raise the weight of the Jumpstart loss from 0.001, for instance to 0.01 (--lambda_=0.01); if units die",
        ),
        (RunDescription(weight=0.001), "Raise the weight of the Jumpstart loss from 0.001, for instance to 0.01; if"),
        (RunDescription(weight=0.0), "Turn Jumpstart on: train again with a weight of 0.01."),
        (RunDescription(), "Add the Jumpstart loss with a weight of 0.01"),
    ],
)
def test_advice_depends_on_the_weight(description: RunDescription, advice: str) -> None:
    verdict = judge(record(history=history(["dd", "nn"], [2]), description=description))
    assert advice in verdict.advice[0]


def test_dead_points_in_a_network_that_trains_call_for_nothing() -> None:
    run = record(
        history=history(["nn", "nn"], [1, 1], ["nd", "nn"]), summary=balanced(), metrics=metrics(val_acc=[0.5, 1.0])
    )
    verdict = judge(run)
    assert verdict.headline == "Training works, but 50.0 % of the points are dead in some layer."
    assert verdict.advice[0].startswith("Earlier layers no longer learn from the dead points.")


def test_a_verdict_from_metrics_alone() -> None:
    quiet = RunDescription(weight=0.0, records_status=False, remedies=REMEDIES)
    columns = metrics(val_acc=[0.9, 0.9], val_unit_dead_ratio=[0.5, 0.5], val_unit_linear_ratio=[0.1, 0.0])
    verdict = judge(record(summary=balanced(), metrics=columns, description=quiet))
    assert verdict.headline == "Training works, but 50.0 % of the units are dead."
    assert "50.0 % of the units are dead; the share has been at least this high since epoch 0." in texts(verdict)
    assert "No unit is linear at the end." in texts(verdict)
    assert "--plot_status=True" in verdict.advice[-1]


def test_a_run_that_failed() -> None:
    run = record(summary={}, failure="NonFiniteLossError: no number.", metrics=metrics(val_acc=[0.5, 0.5]))
    verdict = judge(run)
    assert verdict.headline == "The run ended early."
    assert verdict.findings[0].text == "The run ended early, after 2 epochs. NonFiniteLossError: no number."
    assert verdict.advice[0] == "Continue the run from its last checkpoint: python go.py --resume=runs/a"


def test_a_run_that_is_still_training() -> None:
    verdict = judge(record(summary={}, description=RunDescription(epochs=100), metrics=metrics(val_acc=[0.5])))
    assert "Recorded so far: 1 of 100 epochs." in verdict.findings[0].text


def test_advice_on_accuracy() -> None:
    alive = history(["nn"], [1])
    overfitting = metrics(train_acc=[0.9, 1.0], val_acc=[0.7, 0.7])
    assert "overfits" in judge(record(history=alive, summary=balanced(), metrics=overfitting)).advice[0]
    climbing = metrics(train_acc=[i / 100 for i in range(60, 90)], val_acc=[i / 100 for i in range(60, 90)])
    run = record(history=alive, summary=balanced(), metrics=climbing)
    assert judge(run).advice == (
        "Validation accuracy was still rising at the end. Train for longer: python go.py --resume=runs/a --epochs=60",
    )
    done = metrics(train_acc=[1.0, 1.0], val_acc=[1.0, 1.0])
    assert judge(record(history=alive, summary=balanced(), metrics=done)).advice == ("Nothing needs to be done.",)


def test_an_empty_record() -> None:
    verdict = judge(RunRecord(Path("a")))
    assert verdict.headline == "There is no verdict yet."
    assert verdict.tone is Tone.INFO
