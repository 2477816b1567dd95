"""Schedules of the learning rate and of lambda: equal to torch's, with the ends that they promise, and alike."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from support.runs import fit, tiny
from torch import nn
from torch.optim import lr_scheduler

from model.choices import CycleMode, Scheduler
from model.config.rectangular import RectangularConfig
from model.errors import ConfigError
from model.optimization import lambda_at, lr_at

Torch = Callable[[torch.optim.Optimizer, RectangularConfig], lr_scheduler.LRScheduler]


def cyclic(optimizer: torch.optim.Optimizer, config: RectangularConfig) -> lr_scheduler.LRScheduler:
    rise = config.cycle_length // 2
    return lr_scheduler.CyclicLR(
        optimizer,
        config.min_lr,
        config.lr,
        step_size_up=rise,
        step_size_down=config.cycle_length - rise,
        mode=config.cycle_mode,
        gamma=config.cycle_gamma,
        cycle_momentum=False,
    )


TORCH: dict[str, Torch] = {
    "none": lambda optimizer, config: lr_scheduler.ConstantLR(optimizer, 1.0),
    "multistep": lambda optimizer, config: lr_scheduler.MultiStepLR(optimizer, list(config.milestones), config.gamma),
    "linear": lambda optimizer, config: lr_scheduler.LinearLR(
        optimizer, 1.0, config.min_lr / config.lr, total_iters=config.epochs - 1
    ),
    "cosine": lambda optimizer, config: lr_scheduler.CosineAnnealingLR(
        optimizer, config.cosine_epochs or config.epochs - 1, config.min_lr
    ),
    "cosine_restarts": lambda optimizer, config: lr_scheduler.CosineAnnealingWarmRestarts(
        optimizer, config.cycle_length, config.cycle_growth, config.min_lr
    ),
    "cyclic": cyclic,
}


def draw(rng: random.Random, scheduler: str, **changes: object) -> RectangularConfig:
    epochs = rng.randint(2, 40)
    milestones = sorted(rng.sample(range(1, 50), rng.randint(1, 4))) if scheduler == "multistep" else []
    values: dict[str, object] = {
        "lr": rng.choice([1e-3, 0.01, 0.3, 1.0]),
        "epochs": epochs,
        "scheduler": scheduler,
        "milestones": tuple(milestones),
        "gamma": rng.choice([0.1, 0.5]),
        "min_lr": 0.0 if scheduler == "multistep" else rng.choice([0.0, 1e-4, 3e-4]),
        "cosine_epochs": rng.choice([None, 1, epochs // 2, epochs]) if scheduler == "cosine" else None,
        "cycle_epochs": rng.choice([None, 2, rng.randint(2, epochs)]),
        "cycle_growth": rng.choice([1, 2, 3]) if scheduler == "cosine_restarts" else 1,
        "cycle_mode": rng.choice(list(CycleMode)) if scheduler == "cyclic" else "triangular",
        "cycle_gamma": rng.choice([0.5, 0.97, 1.0]),
    }
    return RectangularConfig(**{**values, **changes})


def rates_of(config: RectangularConfig, extra: int = 0) -> list[float]:
    return [lr_at(config, epoch) for epoch in range(config.epochs + extra)]


def warmed(config: RectangularConfig, rates: list[float]) -> list[float]:
    """The rates that a schedule of the remaining epochs gives, after a linear warm-up."""
    warmup = config.warmup_epochs
    return [config.lr * (epoch + 1) / (warmup + 1) for epoch in range(warmup)] + rates


@pytest.mark.parametrize("scheduler", TORCH)
@pytest.mark.parametrize("seed", range(8))
def test_the_learning_rate_equals_that_of_torchs_scheduler(scheduler: str, seed: int) -> None:
    config = draw(random.Random(f"{scheduler} {seed}"), scheduler)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=config.lr)
    schedule = TORCH[scheduler](optimizer, config)
    expected = []
    for _ in range(config.epochs):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates_of(config) == pytest.approx(expected, rel=1e-7, abs=1e-12)


@pytest.mark.parametrize("scheduler", [name for name in Scheduler if name not in ("multistep", "plateau")])
@pytest.mark.parametrize("seed", range(3))
def test_warm_up_moves_the_schedule_to_the_remaining_epochs(scheduler: str, seed: int) -> None:
    plain = draw(random.Random(seed), scheduler, cycle_epochs=4, cosine_epochs=None, epochs=20)
    warm = plain.replace(warmup_epochs=5, epochs=25)
    assert rates_of(warm) == pytest.approx(warmed(warm, rates_of(plain)), rel=1e-12)


@pytest.mark.parametrize("scheduler", [name for name in Scheduler if name not in ("multistep", "plateau")])
@pytest.mark.parametrize("seed", range(10))
def test_every_rate_is_between_its_bounds_and_finite(scheduler: str, seed: int) -> None:
    config = draw(random.Random(seed), scheduler)
    assert all(config.min_lr <= rate <= config.lr for rate in rates_of(config, extra=5))


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize("epochs", [1, 2, 3, 10, 4000])
@pytest.mark.parametrize("end", [0.0, 0.001, 0.01])
def test_rate_and_lambda_fall_alike_from_the_first_epoch_to_the_last(schedule: str, epochs: int, end: float) -> None:
    start = 0.01
    config = tiny(
        epochs=epochs,
        lr=start,
        min_lr=end,
        scheduler=schedule,
        lambda_=start,
        lambda_min=end,
        lambda_schedule=schedule,
    )
    rates = rates_of(config, extra=3)
    assert rates[0] == start
    assert epochs == 1 or rates[epochs - 1 :] == [end] * 4
    assert all(later <= earlier for earlier, later in pairwise(rates))
    assert epochs == 1 or start == end or len({*rates[:epochs]}) == epochs
    assert rates == [lambda_at(config, epoch) for epoch in range(epochs + 3)]


@pytest.mark.parametrize("period", [1, 4, 9])
def test_a_given_period_repeats_for_rate_and_lambda_alike(period: int) -> None:
    config = tiny(
        epochs=20,
        lr=0.01,
        scheduler="cosine",
        cosine_epochs=period,
        lambda_=0.01,
        lambda_schedule="cosine",
        lambda_cosine_epochs=period,
    )
    rates = rates_of(config)
    assert rates == [lambda_at(config, epoch) for epoch in range(20)]
    assert [epoch for epoch, rate in enumerate(rates) if rate == 0] == list(range(period, 20, 2 * period))
    assert rates[2 * period :] == pytest.approx(rates[: -2 * period], abs=1e-12)


@pytest.mark.parametrize("mode", CycleMode)
@pytest.mark.parametrize("length", [2, 3, 7, 10])
def test_every_cycle_reaches_both_ends(mode: str, length: int) -> None:
    config = tiny(
        epochs=4 * length,
        scheduler="cyclic",
        cycle_epochs=length,
        cycle_mode=mode,
        lr=1.0,
        min_lr=0.25,
        cycle_gamma=0.9,
    )
    rates = rates_of(config)
    for cycle in range(4):
        part = rates[cycle * length : (cycle + 1) * length]
        top = cycle * length + length // 2
        height = {"triangular": 1.0, "triangular2": 0.5**cycle, "exp_range": 0.9**top}[mode]
        assert part[0] == 0.25
        assert part[length // 2] == max(part) == pytest.approx(0.25 + 0.75 * height, abs=1e-12)


@pytest.mark.parametrize(("growth", "starts"), [(1, range(0, 40, 3)), (2, (0, 3, 9, 21)), (3, (0, 3, 12, 39))])
def test_restarts_begin_at_lr_and_grow(growth: int, starts: range | tuple[int, ...]) -> None:
    config = tiny(epochs=40, scheduler="cosine_restarts", cycle_epochs=3, cycle_growth=growth)
    rates = rates_of(config)
    assert [epoch for epoch, rate in enumerate(rates) if rate == config.lr] == list(starts)
    falls = [later < earlier for earlier, later in pairwise(rates)]
    assert [epoch + 1 for epoch, falling in enumerate(falls) if not falling] == list(starts)[1:]


def test_the_default_cycle_is_a_tenth_of_the_epochs() -> None:
    config = tiny(scheduler="cyclic", epochs=60)
    assert [epoch for epoch, rate in enumerate(rates_of(config)) if rate == 0] == list(range(0, 60, 6))
    assert tiny(scheduler="cyclic", epochs=2).cycle_length == 2


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_rate_and_lambda_of_every_epoch_are_in_its_row(schedule: str) -> None:
    config = tiny(
        scheduler=schedule,
        lambda_schedule=schedule,
        lr=0.02,
        min_lr=0.001,
        lambda_=0.02,
        lambda_min=0.001,
        epochs=4,
    )
    _, seen = fit(config)
    rows = [(row["lr"], row["lambda"]) for row in seen.rows]
    assert rows == [(lr_at(config, epoch), lambda_at(config, epoch)) for epoch in range(4)]
    assert all(rate == weight for rate, weight in rows)
    assert (rows[0], rows[-1]) == ((0.02, 0.02), (0.001, 0.001))


ENDLESS: dict[str, object] = {"epochs": -1, "patience": 5, "scheduler": "none"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs must be an integer >= 1, or -1, got 0."),
        ({"epochs": -2}, "epochs must be an integer >= 1, or -1, got -2."),
        ({"epochs": 1.5}, "epochs must be an integer >= 1, or -1, got 1.5."),
        ({"epochs": -1, "scheduler": "none"}, "epochs=-1 needs something that ends training: set patience,"),
        (
            {**ENDLESS, "scheduler": "cosine"},
            "scheduler='cosine' depends on the number of epochs, got epochs=-1. Set cos",
        ),
        ({**ENDLESS, "scheduler": "linear"}, "got epochs=-1. Use scheduler='none'."),
        ({**ENDLESS, "scheduler": "cyclic"}, "got epochs=-1. Set cycle_epochs, or scheduler='none'."),
        ({**ENDLESS, "scheduler": "cosine_restarts"}, "got epochs=-1. Set cycle_epochs, or scheduler='none'."),
        ({**ENDLESS, "lambda_schedule": "cosine"}, "lambda_schedule='cosine' depends on the number of epochs"),
        ({**ENDLESS, "lambda_schedule": "linear"}, "lambda_schedule='linear' depends on the number of epochs"),
        ({"cosine_epochs": 0}, "cosine_epochs must be >= 1, got 0."),
        ({"cosine_epochs": 6, "epochs": 5}, "cosine_epochs must be <= epochs = 5, got 6."),
        ({"cycle_epochs": -3}, "cycle_epochs must be >= 1, got -3."),
        ({"cycle_epochs": 6, "epochs": 5, "scheduler": "cyclic"}, "cycle_epochs must be <= epochs = 5, got 6."),
        ({"epochs": 1, "scheduler": "cyclic"}, "cycle_epochs must be <= epochs = 1, got 2."),
        ({"cycle_epochs": 1, "scheduler": "cyclic"}, "cycle_epochs must be >= 2 with scheduler='cyclic', got 1"),
        ({"cycle_growth": 0}, "cycle_growth must be >= 1, got 0."),
        ({"cycle_growth": 1.5}, "cycle_growth must be an integer >= 1, got 1.5."),
        ({"cycle_gamma": 0}, "cycle_gamma must be > 0 and <= 1, got 0.0."),
        ({"cycle_gamma": 1.1}, "cycle_gamma must be > 0 and <= 1, got 1.1."),
        ({"cycle_gamma": float("nan")}, "cycle_gamma must be finite, got nan."),
        ({"cycle_mode": "triangle"}, "cycle_mode must be one of triangular, triangular2, exp_range, got 'triangle'."),
        ({"lambda_cosine_epochs": 0}, "lambda_cosine_epochs must be >= 1, got 0."),
        ({"lambda_cosine_epochs": 6, "epochs": 5}, "lambda_cosine_epochs must be <= epochs = 5, got 6."),
        ({"patience": 0}, "patience must be >= 1, got 0."),
        ({"patience": -1}, "patience must be >= 1, got -1."),
        ({"patience": 5, "epochs": 5}, "patience must be < epochs = 5, got 5: it would never stop training."),
        ({"patience": 10, "epochs": 50, "scheduler": "plateau"}, "patience must be > plateau_patience = 10 with sched"),
        ({"min_delta": -0.1}, "min_delta must be >= 0, got -0.1."),
        ({"min_delta": float("nan")}, "min_delta must be finite, got nan."),
        ({"monitor": "val/los"}, "monitor must be one of val/loss, val/acc, got 'val/los'. Did you mean 'val/loss'?"),
        ({"gradient_clip_value": -1}, "gradient_clip_value must be >= 0, got -1.0."),
        ({"gradient_clip_value": float("inf")}, "gradient_clip_value must be finite, got inf."),
    ],
)
def test_options_that_no_training_can_follow_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        tiny(**options)
    assert str(caught.value).startswith(message) or message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"scheduler": "cosine", "cosine_epochs": 100},
        {"scheduler": "cyclic", "cycle_epochs": 100, "warmup_epochs": 20},
        {"scheduler": "cosine_restarts", "cycle_epochs": 3, "cycle_growth": 2},
        {"scheduler": "plateau", "plateau_patience": 2},
        {"lambda_schedule": "cosine", "lambda_cosine_epochs": 7},
    ],
)
def test_schedules_of_a_given_length_need_no_last_epoch(options: dict[str, object]) -> None:
    endless = tiny(**{**ENDLESS, **options})
    known = endless.replace(epochs=200)
    assert [lr_at(endless, epoch) for epoch in range(200)] == rates_of(known)
    assert [lambda_at(endless, epoch) for epoch in range(200)] == [lambda_at(known, epoch) for epoch in range(200)]
