"""With ``ties="random"``, one of the equal extrema has the whole gradient, and each of them is as likely.

Weights of 0 make all extrema equal, and inputs that are the rows of the identity show, in the gradient of the weights,
which point and which unit was chosen.
"""

from __future__ import annotations

import pytest
import torch
from scipy import stats
from support.engine import BUILDS, Parts, cloud, config, every_build, member_of
from torch import Tensor

from jumpstart.engine.build import Build
from jumpstart.engine.layout import AGGREGATES
from jumpstart.engine.member import Member

SMALLEST_P = 1e-4


FIXED = {"depth": 1, "init": "zero", "use_loss": False, "skip_last": True, "lambda_": 1.0, "batch_size": None}


def tied(build: Build, width: int, rows: int, **options: object) -> Member:
    """A layer of equal units and points, on which Jumpstart alone acts."""
    part = torch.eye(rows), torch.arange(rows) % 2
    run = config(width=width, **{**FIXED, "ties": "random", "lr": 1e-50, "optimizer": "sgd", "epochs": 9, **options})
    return member_of(run, (part, part), build, 2)


def gradient_of(member: Member, width: int, rows: int) -> Tensor:
    """The gradient of the weights after one more epoch, (units, points)."""
    return gradient_with_biases(member)[: width * rows].reshape(width, rows).clone()


def gradient_with_biases(member: Member) -> Tensor:
    gradient = member.keep_gradient()
    member.train(member.epoch + 1)
    return gradient


def is_uniform(chosen: Tensor, count: int) -> bool:
    return bool(stats.chisquare(torch.bincount(chosen, minlength=count)).pvalue > SMALLEST_P)


@pytest.mark.parametrize("build", BUILDS, ids=every_build)
@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_a_unit_has_one_of_its_points_on_each_side(build: Build, aggregate: str) -> None:
    width, rows = 600, 19
    gradient = gradient_of(tied(build, width, rows, terms="unit", aggregate=aggregate), width, rows)
    (size,) = gradient.abs().unique()[1:].tolist()  # besides 0
    lowest, highest = (gradient > 0).sum(1), (gradient < 0).sum(1)
    assert torch.equal(lowest, highest)
    assert set(lowest.tolist()) == {0, 1}  # 0 where both sides chose the same point
    assert size > 0
    apart = gradient[lowest == 1]
    assert stats.binomtest(int((lowest == 0).sum()), width, 1 / rows).pvalue > SMALLEST_P
    assert is_uniform(apart.argmin(1), rows)
    assert is_uniform(apart.argmax(1), rows)


@pytest.mark.parametrize("build", BUILDS, ids=every_build)
@pytest.mark.parametrize("aggregate", AGGREGATES)
@pytest.mark.parametrize("width", [2, 5, 16])
def test_a_point_has_one_of_the_units_on_each_side(build: Build, aggregate: str, width: int) -> None:
    rows = 500
    gradient = gradient_of(tied(build, width, rows, terms="point", aggregate=aggregate), width, rows)
    assert len(gradient.abs().unique()) == 2
    lowest, highest = (gradient > 0).sum(0), (gradient < 0).sum(0)
    assert torch.equal(lowest, highest)
    assert set(lowest.tolist()) == {0, 1}
    apart = gradient[:, lowest == 1]
    assert stats.binomtest(int((lowest == 0).sum()), rows, 1 / width).pvalue > SMALLEST_P
    assert is_uniform(apart.argmin(0), width)
    assert is_uniform(apart.argmax(0), width)


@pytest.mark.parametrize("terms", ["unit", "point"])
def test_each_step_chooses_anew_and_every_build_alike(terms: str) -> None:
    members = [tied(build, 30, 40, terms=terms) for build in BUILDS]
    steps = [[gradient_of(member, 30, 40) for member in members] for _ in range(3)]
    for gradients in steps:
        assert all(torch.equal(gradient, gradients[0]) for gradient in gradients)
    (first, *_), (second, *_), (third, *_) = steps
    assert not torch.equal(first, second)
    assert not torch.equal(second, third)
    other = gradient_of(tied(BUILDS[0], 30, 40, terms=terms, seed=1), 30, 40)
    assert not torch.equal(first, other)


WORD = 2**64
GOLDEN = 0x9E3779B97F4A7C15


def mixed(value: int) -> int:
    """The output of SplitMix64 for a state, in Python."""
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 % WORD
    value = (value ^ value >> 27) * 0x94D049BB133111EB % WORD
    return value ^ value >> 31


def chosen(seed: int, step: int, choice: int, count: int) -> int:
    """The number below ``count`` that a step of one batch per epoch draws for a choice."""
    key = 0
    for number in (seed, step, step):
        key = mixed((key + number + GOLDEN) % WORD)
    return (mixed((key + (choice + 1) * GOLDEN) % WORD) >> 32) * count >> 32


def test_the_mixing_function_is_that_of_splitmix64() -> None:
    # The first two numbers that the generator of java.util.SplittableRandom gives for the seed 0.
    assert mixed(GOLDEN) == 0xE220A8397B1DCDAF
    assert mixed(2 * GOLDEN % WORD) == 0x6E789E6AA1B965F4


@pytest.mark.parametrize("build", BUILDS, ids=every_build)
@pytest.mark.parametrize("terms", ["unit", "point"])
def test_choices_are_those_of_the_generator(build: Build, terms: str) -> None:
    width, rows, seed = 7, 40, 3
    member = tied(build, width, rows, terms=terms, seed=seed)
    for step in range(3):
        expected = torch.zeros(width, rows)
        for number in range(width if terms == "unit" else rows):
            for side, sign in enumerate((-1, 1)):
                if terms == "unit":
                    expected[number, chosen(seed, step, 2 * number + side, rows)] += sign
                else:
                    expected[chosen(seed, step, 2 * (2**32 + number) + side, width), number] += sign
        assert torch.equal(gradient_of(member, width, rows).sign(), expected), step


@pytest.mark.parametrize("build", BUILDS, ids=every_build)
@pytest.mark.parametrize("terms", ["unit", "point"])
def test_an_extremum_without_an_equal_has_the_gradient_beside_others_that_are_tied(build: Build, terms: str) -> None:
    width, rows = 6, 40
    gradients = []
    for ties in ("random", "single"):
        member = tied(build, width, rows, terms=terms, ties=ties)
        weights = member.weights[: width * rows].view(width, rows)
        free = weights[::2] if terms == "unit" else weights[:, ::2]
        free.copy_(torch.linspace(-0.5, 0.5, free.numel()).view_as(free))
        gradient = gradient_of(member, width, rows)
        gradients.append(gradient[::2] if terms == "unit" else gradient[:, ::2])
    assert torch.equal(*gradients)
    assert bool(gradients[0].any(1 if terms == "unit" else 0).all())


def test_layers_choose_independently() -> None:
    width, rows = 5, 500
    gradient = gradient_with_biases(tied(BUILDS[0], width, rows, terms="point", depth=2))
    first = gradient[width * rows :][:width]
    second = gradient[width * (rows + 1 + width) :][:width]
    assert bool(second.any())
    assert not torch.equal(first, second)


@pytest.mark.parametrize("build", BUILDS, ids=every_build)
def test_without_ties_the_bits_are_those_of_the_first_entry(build: Build) -> None:
    data: Parts = cloud(40)
    runs = [config(depth=2, init="torch", epochs=6, lambda_=1.0, ties=ties) for ties in ("single", "random")]
    single, chosen = (member_of(run, data, build) for run in runs)
    single.train()
    chosen.train()
    assert torch.equal(single.weights, chosen.weights)


@pytest.mark.parametrize("batch_size", [None, 16])
def test_a_resumed_run_chooses_as_an_undisturbed_one(batch_size: int | None) -> None:
    run = config(init="zero", epochs=8, lambda_=1.0, ties="random", batch_size=batch_size)
    through, begun, resumed = (member_of(run, cloud(40), BUILDS[0]) for _ in range(3))
    through.train()
    begun.train(5)
    resumed.load_state_dict(begun.state_dict())
    resumed.train()
    assert torch.equal(through.weights, resumed.weights)
    assert not torch.equal(through.weights, begun.weights)
