"""Optimizers, learning rates and lambdas, against slow formulas and against the values in the optimizer."""

from __future__ import annotations

import io
import math
import random
from collections.abc import Callable, Iterator

import pytest
import torch
from support.runs import fit, tiny
from torch import nn

from model.config.rectangular import RectangularConfig
from model.errors import ConfigError
from model.optimization import LearningRate, clip_gradient, clip_values, lr_at, make_optimizer

SCHEDULES: dict[str, dict[str, object]] = {
    "none": {},
    "multistep": {"milestones": (4, 6, 7), "gamma": 0.5},
    "cosine": {},
    "linear": {},
    "cosine_restarts": {"cycle_epochs": 3},
    "growing restarts": {"scheduler": "cosine_restarts", "cycle_epochs": 2, "cycle_growth": 2},
    "cosine period": {"scheduler": "cosine", "cosine_epochs": 3},
    "cyclic": {"cycle_epochs": 4},
    "triangular2": {"scheduler": "cyclic", "cycle_epochs": 3, "cycle_mode": "triangular2"},
    "exp_range": {"scheduler": "cyclic", "cycle_epochs": 3, "cycle_mode": "exp_range"},
    "plateau": {"plateau_patience": 0, "gamma": 0.5},
}


@pytest.mark.parametrize("scheduler", SCHEDULES)
@pytest.mark.parametrize("warmup", [0, 3])
def test_the_warm_up_grows_to_lr(scheduler: str, warmup: int) -> None:
    config = tiny(warmup_epochs=warmup, epochs=12, lr=1.0, **{"scheduler": scheduler, **SCHEDULES[scheduler]})
    rates = [lr_at(config, epoch) for epoch in range(config.epochs)]
    assert rates[:warmup] == [0.25, 0.5, 0.75][:warmup]
    assert rates[warmup] == (0 if config.scheduler == "cyclic" else 1)


def slow_plateau(config: RectangularConfig, losses: list[float]) -> list[float]:
    """The rate of every epoch: warm-up, then lowered after more than ``patience`` epochs without a lower loss."""
    rates = [config.lr * (epoch + 1) / (config.warmup_epochs + 1) for epoch in range(config.warmup_epochs)]
    rate, best, bad = config.lr, math.inf, 0
    for loss in losses[config.warmup_epochs :]:
        rates.append(rate)
        if loss < best * (1 - 1e-4):
            best, bad = loss, 0
        else:
            bad += 1
        if bad > config.plateau_patience:
            rate, bad = max(rate * config.gamma, config.min_lr), 0
    return rates


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("warmup", [0, 4])
def test_plateau_warms_up_and_falls_when_the_loss_does_not(seed: int, warmup: int) -> None:
    rng = random.Random(seed)
    config = tiny(
        scheduler="plateau", plateau_patience=seed % 3, gamma=0.5, min_lr=1e-3, warmup_epochs=warmup, epochs=60, lr=0.1
    )
    losses = [rng.uniform(0.1, 1.0) * 0.97**epoch for epoch in range(60)]
    rate = LearningRate(config, torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=config.lr))
    found = []
    for epoch, loss in enumerate(losses):
        found.append(rate.value)
        rate.step(epoch, loss)
    expected = slow_plateau(config, losses)
    assert found == pytest.approx(expected)
    assert len(set(expected)) > 3 + warmup


@pytest.mark.parametrize("scheduler", SCHEDULES)
@pytest.mark.parametrize("stop", [0, 1, 3, 7])
def test_a_rate_that_is_stored_and_loaded_follows_the_same_schedule(scheduler: str, stop: int) -> None:
    config = tiny(warmup_epochs=2, epochs=10, **{"scheduler": scheduler, **SCHEDULES[scheduler]})
    losses = [random.Random(epoch).random() for epoch in range(10)]

    def rates_of(rate: LearningRate, first: int, last: int) -> list[float]:
        found = []
        for epoch in range(first, last):
            found.append(rate.value)
            rate.step(epoch, losses[epoch])
        return found

    def begin() -> tuple[torch.optim.Optimizer, LearningRate]:
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=config.lr)
        return optimizer, LearningRate(config, optimizer)

    optimizer, rate = begin()
    found = rates_of(rate, 0, stop)
    file = io.BytesIO()
    torch.save([optimizer.state_dict(), rate.state_dict()], file)
    file.seek(0)
    stored = torch.load(file)
    optimizer, rate = begin()
    optimizer.load_state_dict(stored[0])
    rate.load_state_dict(stored[1])
    rate.begin(stop)
    assert found + rates_of(rate, stop, 10) == rates_of(begin()[1], 0, 10)


def test_a_run_resumed_with_more_epochs_follows_the_new_schedule_at_once() -> None:
    short, long = (tiny(scheduler="cosine", epochs=epochs) for epochs in (4, 8))
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=short.lr)
    rate = LearningRate(short, optimizer)
    for epoch in range(4):
        rate.step(epoch, 0.0)
    assert rate.value == 0
    assert lr_at(short, 3) == 0
    longer = LearningRate(long, optimizer)
    longer.load_state_dict(rate.state_dict())
    longer.begin(4)
    assert longer.value == lr_at(long, 4) > 0


@pytest.mark.parametrize("warmup", [0, 2])
@pytest.mark.parametrize("scheduler", ["none", "multistep", "cosine", "cosine_restarts", "cyclic", "plateau"])
def test_every_rate_reaches_the_optimizer_and_the_row_of_its_epoch(scheduler: str, warmup: int) -> None:
    # The noise makes the validation loss rise and fall, so that plateau lowers the rate.
    options = {"scheduler": scheduler, **SCHEDULES[scheduler]}
    config = tiny(warmup_epochs=warmup, epochs=8, noise=1.0, lr=0.05, weight_decay=0.1, **options)
    _, seen = fit(config)
    expected = [lr_at(config, epoch) for epoch in range(8)]
    if scheduler == "plateau":
        expected = slow_plateau(config, [row["val/loss"] for row in seen.rows])
        assert len(set(expected)) > 1 + warmup
    assert [len(rates) for rates in seen.rates] == [1] * 8
    assert [rates.pop() for rates in seen.rates] == pytest.approx(expected)
    assert [row["lr"] for row in seen.rows] == pytest.approx(expected)


class Model(nn.Module):
    """Weights of one and more dimensions, batch normalization, and a parameter that requires no gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.linear = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(2, 3)
        self.frozen = nn.Parameter(torch.ones(2, 2), requires_grad=False)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd", "muon"])
def test_weights_decay_and_biases_and_normalization_do_not(name: str) -> None:
    model = Model()
    config = tiny(optimizer=name, weight_decay=0.5, lr=0.1)
    optimizer = make_optimizer(config, model.parameters())
    before = {key: value.detach().clone() for key, value in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
    optimizer.step()
    changed = {key for key, value in model.named_parameters() if not torch.equal(value, before[key])}
    assert changed == {"conv.weight", "linear.weight"}
    trained = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(trained) == sorted(id(p) for p in model.parameters() if p is not model.frozen)


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("sgd", lambda weights, config: torch.optim.SGD(weights, config.lr, config.momentum, foreach=False)),
        ("adam", lambda weights, config: torch.optim.Adam(weights, config.lr, foreach=False)),
        ("adamw", lambda weights, config: torch.optim.AdamW(weights, config.lr, weight_decay=0.0, foreach=False)),
    ],
)
def test_steps_equal_those_of_torchs_default_optimizers(
    name: str, plain: Callable[[Iterator[nn.Parameter], RectangularConfig], torch.optim.Optimizer]
) -> None:
    config = tiny(optimizer=name, lr=0.05, momentum=0.7)
    models = [nn.Linear(3, 2), nn.Linear(3, 2)]
    models[1].load_state_dict(models[0].state_dict())
    optimizers = [make_optimizer(config, models[0].parameters()), plain(models[1].parameters(), config)]
    for step in range(5):
        x = torch.randn(4, 3, generator=torch.Generator().manual_seed(step))
        for model, optimizer in zip(models, optimizers, strict=True):
            optimizer.zero_grad()
            model(x).square().sum().backward()
            optimizer.step()
    for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("largest", [0.1, 1.0, 1e3])
@pytest.mark.parametrize("scale", [0.0, 1e-3, 1.0, 1e20])
def test_gradients_are_clipped_as_torch_clips_them(largest: float, scale: float) -> None:
    shapes: list[tuple[int, ...]] = [(3,), (), (100, 100), (2, 3, 4), (5000,)]
    pairs = [[nn.Parameter(torch.zeros(shape)) for shape in shapes] for _ in range(2)]
    for one, other in zip(*pairs, strict=True):
        one.grad = scale * torch.randn(one.shape)
        other.grad = one.grad.clone()
    idle = nn.Parameter(torch.zeros(3))
    clip_gradient(torch.optim.SGD([{"params": pairs[0][:2]}, {"params": [idle, *pairs[0][2:]]}], lr=1.0), largest)
    nn.utils.clip_grad_norm_(pairs[1], largest)
    for one, other in zip(*pairs, strict=True):
        torch.testing.assert_close(one.grad, other.grad)
    assert idle.grad is None


@pytest.mark.parametrize("largest", [0.1, 1.0, 1e3])
def test_entries_of_the_gradient_are_cut_on_both_sides(largest: float) -> None:
    parameters = [nn.Parameter(torch.zeros(shape)) for shape in ((3,), (), (20, 30))]
    for parameter in parameters:
        parameter.grad = torch.randn(parameter.shape)
    expected = [parameter.grad.clone().clamp(-largest, largest) for parameter in parameters]
    idle = nn.Parameter(torch.zeros(3))
    clip_values(torch.optim.SGD([{"params": parameters[:1]}, {"params": [idle, *parameters[1:]]}], lr=1.0), largest)
    assert all(torch.equal(parameter.grad, wanted) for parameter, wanted in zip(parameters, expected, strict=True))
    assert idle.grad is None


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd", "muon"])
def test_every_optimizer_trains(name: str) -> None:
    _, seen = fit(tiny(optimizer=name, lr=0.1 if name == "sgd" else 0.02, depth=2, width=8, epochs=10))
    assert seen.rows[-1]["train/loss"] < 0.7 * seen.rows[0]["train/loss"]


def test_a_plateau_that_lowers_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="gamma must be < 1"):
        tiny(scheduler="plateau", gamma=1)
