"""Fresh starts: the schedules and the initial weights of each start; and the goals at which training ends."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from torch.nn.utils import parameters_to_vector

from model.config.rectangular import RectangularConfig
from model.fresh_starts import begins_anew, fresh_network
from model.goal import has_reached_goal
from model.optimization import lambda_at, lr_at, make_optimizer
from model.rectangular import RectangularNetwork
from model.rectangular_network import make_network

SCHEDULES: dict[str, dict[str, object]] = {
    "none": {},
    "multistep": {"milestones": (3, 7)},
    "linear": {"min_lr": 1e-4},
    "cosine": {"cosine_epochs": 4},
    "cosine_restarts": {"cycle_epochs": 2, "cycle_growth": 2},
    "cyclic": {"cycle_mode": "triangular2", "cycle_epochs": 5},
}


LAMBDAS = ("constant", "linear", "cosine", "cosine_restarts")
PAIRS = [(rate, weight) for rate in SCHEDULES for weight in LAMBDAS if (rate, weight) != ("cyclic", "cosine_restarts")]
"""Every schedule of the rate with every schedule of lambda, but for the pair that is refused."""


@pytest.mark.parametrize(("scheduler", "lambda_schedule"), PAIRS)
@pytest.mark.parametrize("warmup", [0, 2])
def test_each_start_has_the_schedules_of_a_run_of_its_own(scheduler: str, lambda_schedule: str, warmup: int) -> None:
    options = SCHEDULES[scheduler] | {"warmup_epochs": warmup, "lambda_min": 1e-3}
    alone = RectangularConfig(scheduler=scheduler, lambda_schedule=lambda_schedule, epochs=10, **options)
    whole = alone.replace(epochs=30, fresh_starts=3)
    for at in (lr_at, lambda_at):
        assert [at(whole, epoch) for epoch in range(30)] == 3 * [at(alone, epoch) for epoch in range(10)]


@pytest.mark.parametrize("growth", [1, 2])
@pytest.mark.parametrize("warmup", [0, 1, 4])
@pytest.mark.parametrize("cycle", [None, 3])
@pytest.mark.parametrize("starts", [1, 2])
def test_the_restarts_of_lambda_are_those_of_the_rate(growth: int, warmup: int, cycle: int | None, starts: int) -> None:
    config = RectangularConfig(
        scheduler="cosine_restarts",
        lambda_schedule="cosine_restarts",
        cycle_epochs=cycle,
        cycle_growth=growth,
        warmup_epochs=warmup,
        fresh_starts=starts,
        epochs=40,
        lr=0.5,
        min_lr=0.25,
        lambda_=0.5,
        lambda_min=0.25,
    )
    length = 40 // starts
    after = [epoch for epoch in range(40) if epoch % length >= warmup]
    rates = [lr_at(config, epoch) for epoch in after]
    assert rates == [lambda_at(config, epoch) for epoch in after]
    assert rates.count(0.5) > starts
    assert {lambda_at(config, epoch) for epoch in range(warmup)} <= {0.5}
    assert cycle is None or warmup or growth > 1 or rates[3] == rates[0] > rates[1]


def build_of(config: RectangularConfig) -> partial[RectangularNetwork]:
    return partial(make_network, config, (2,), 2)


def weights(config: RectangularConfig, epoch: int) -> torch.Tensor:
    return parameters_to_vector(fresh_network(config, epoch, build_of(config)).parameters()).detach()


def test_the_weights_of_a_start_depend_on_the_seed_and_the_number_of_the_start_alone() -> None:
    config = RectangularConfig(epochs=9, fresh_starts=3, depth=3)
    assert [epoch for epoch in range(9) if begins_anew(config, epoch)] == [3, 6]
    assert not any(begins_anew(config.replace(fresh_starts=1), epoch) for epoch in range(9))
    torch.manual_seed(5)
    state = torch.get_rng_state()
    second = weights(config, 3)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(6)
    assert torch.equal(weights(config, 5), second)
    assert torch.equal(weights(config.replace(epochs=18, lr=0.1), 6), second)
    torch.manual_seed(config.seed)
    first = parameters_to_vector(build_of(config)().parameters())
    others = [first, weights(config, 6), weights(config.replace(seed=43), 3)]
    assert not any(torch.equal(second, other) for other in others)


def test_the_generators_of_gpus_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    seeded: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    weights(RectangularConfig(epochs=4, fresh_starts=2, depth=2), 2)
    assert seeded == []


@pytest.mark.parametrize(
    ("goals", "row", "ends"),
    [
        ({}, (1.0, 0.0, 0.9), False),
        ({"early_stopping": True}, (0.5, 1.0, 1.0), True),
        ({"early_stopping": True}, (1.0, 0.0, 0.9), False),
        ({"stop_train_acc": 0.9}, (0.9, 1.0, 0.1), True),
        ({"stop_train_acc": 0.9}, (0.89, 0.0, 1.0), False),
        ({"stop_train_loss": 0.1}, (0.1, 0.1, 0.1), True),
        ({"stop_train_loss": 0.1}, (1.0, 0.11, 1.0), False),
        ({"stop_train_loss": 0.1}, (1.0, math.nan, 1.0), False),
        ({"stop_train_acc": 0.9, "stop_train_loss": 0.1}, (0.95, 0.2, 1.0), False),
        ({"stop_train_acc": 0.9, "stop_train_loss": 0.1}, (0.8, 0.05, 1.0), False),
        ({"stop_train_acc": 0.9, "stop_train_loss": 0.1}, (0.95, 0.05, 0.2), True),
        ({"stop_train_acc": 0.9, "early_stopping": True}, (0.1, 2.0, 1.0), True),
    ],
)
def test_training_ends_where_its_goals_are_reached(
    goals: dict[str, object], row: tuple[float, float, float], ends: bool
) -> None:
    config = RectangularConfig(**goals)
    metrics = dict(zip(("train/acc", "train/loss", "val/acc"), row, strict=True))
    assert has_reached_goal(config, metrics) is ends
    assert has_reached_goal(config, {}) is False


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "muon"])
def test_the_numbers_of_adam_reach_the_optimizer(optimizer: str) -> None:
    config = RectangularConfig(optimizer=optimizer, adam_betas=(0.8, 0.7), adam_eps=1e-3)
    (group,) = make_optimizer(config, [torch.nn.Parameter(torch.zeros(1))]).param_groups
    assert (group["betas"], group["eps"]) == ((0.8, 0.7), 1e-3)
