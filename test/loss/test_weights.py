"""The loss is continuous in the weights of its hinges: a weight of 0 is the limit of small weights."""

from __future__ import annotations

import itertools

import pytest
import torch
from support.zoo import make

from jumpstart import JumpstartRegularization, Terms
from jumpstart.choices import Aggregate
from jumpstart.penalty import Penalty

NAMES = ("unit_positive", "unit_negative", "point_positive", "point_negative")
SETS = [names for count in range(1, 5) for names in itertools.combinations(NAMES, count)]


@pytest.mark.parametrize("weight", ["positive_weight", "negative_weight"])
@pytest.mark.parametrize("aggregate", Aggregate)
def test_a_weight_of_0_is_the_limit_of_small_weights(aggregate: Aggregate, weight: str) -> None:
    model, x = make("dense")
    other = "negative" if weight == "positive_weight" else "positive"
    with JumpstartRegularization(model) as jumpstart:
        model(x)
        records = jumpstart.extrema
    for terms in SETS:
        if any(term.endswith(other) for term in terms):
            zero, small = (Penalty(terms, aggregate, **{weight: value})(records) for value in (0.0, 1e-12))
            torch.testing.assert_close(zero, small, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("small", [True, False])
def test_a_weight_of_0_is_the_limit_in_the_loss_of_a_model_too(small: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jumpstart.capture.recorder.SMALL", 10**9 if small else 0)
    losses = []
    for value in (0.0, 1e-12):
        model, x = make("dense")
        options = {"terms": "unit_positive,point_negative", "aggregate": "mean", "positive_weight": value}
        with JumpstartRegularization(model, **options) as jumpstart:
            model(x)
            losses.append(jumpstart.loss)
    torch.testing.assert_close(*losses)
    assert losses[0] > 0


def test_terms_leave_slices_out_of_the_mean_and_weights_do_not() -> None:
    model, x = make("dense")
    with JumpstartRegularization(model) as jumpstart:
        model(x)
        records = jumpstart.extrema
    units, points = sum(record.unit.numel() for record in records), sum(record.point.numel() for record in records)
    alone = Penalty("point_negative", "mean")(records)
    beside = Penalty(Terms.UNIT_POSITIVE | Terms.POINT_NEGATIVE, "mean", positive_weight=0.0)(records)
    torch.testing.assert_close(beside, alone * points / (units + points))


@pytest.mark.parametrize(
    ("terms", "aggregate", "slices", "expected"),
    [
        ("all", "balanced", (1, 1), (1, 1, 1, 1)),
        ("all", "balanced", (4, 8), (1 / 4, 1 / 4, 1 / 8, 1 / 8)),
        ("all", "mean", (4, 12), (1 / 16, 1 / 16, 1 / 16, 1 / 16)),
        ("unit", "mean", (4, 12), (1 / 4, 1 / 4, 0, 0)),
        ("point", "mean", (4, 12), (0, 0, 1 / 12, 1 / 12)),
        ("unit", "balanced", (4, 8), (1 / 4, 1 / 4, 0, 0)),
        ("point", "balanced", (4, 8), (0, 0, 1 / 8, 1 / 8)),
        ("unit_negative,point_positive", "balanced", (4, 8), (0, 1 / 4, 1 / 8, 0)),
        ("all", "norm", (4, 8), None),
    ],
)
def test_each_hinge_of_a_mean_has_the_weight_of_its_slice(
    terms: str, aggregate: str, slices: tuple[int, int], expected: tuple[float, ...] | None
) -> None:
    assert Penalty(terms, aggregate).weigh(*slices) == expected


@pytest.mark.parametrize("names", SETS)
def test_a_text_of_terms_is_read_as_the_same_terms(names: tuple[str, ...]) -> None:
    terms = Terms.parse(names)
    assert Terms.parse(str(terms)) is terms
    assert f"terms={terms}, aggregate=mean" in repr(Penalty(terms, "mean"))


def test_the_texts_of_common_terms_are_short() -> None:
    assert [str(Terms.parse(name)) for name in ("all", "unit", "negative")] == ["all", "unit", "negative"]


@pytest.mark.parametrize("aggregate", ["balanced", "mean"])
def test_the_part_of_the_points_is_not_negative_although_a_loss_is_rounded(aggregate: str) -> None:
    model, x = make("dense")
    with JumpstartRegularization(model) as jumpstart:
        model(x)
        records = jumpstart.extrema
    penalty = Penalty(aggregate=aggregate)
    unit, point = penalty.parts(records, torch.tensor(0.0))  # a loss that is too small by far
    assert unit > 0
    assert point == 0
