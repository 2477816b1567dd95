"""Early stopping, patience and the best epoch: the rules of the runs, applied to the metrics of the engine."""

from __future__ import annotations

import pytest
import torch
from support.engine import BUILDS, cloud, config, every_build, member_of, network_of
from torch.nn.utils import parameters_to_vector

from jumpstart.engine.build import Build
from jumpstart.engine.layout import Outcome
from jumpstart.engine.member import Member
from jumpstart.report.best_epoch import best_epoch
from model.config.rectangular import RectangularConfig
from model.experiment import regularizer_of
from model.goal import has_reached_goal
from model.optimization import make_optimizer
from sweep.watchers.patience_rule import PatienceRule

EPOCHS = 60


def column(member: Member, name: str) -> list[float]:
    """One metric of all epochs."""
    values: list[float] = member.metric(name).tolist()
    return values


def run_of(seed: int, **options: object) -> RectangularConfig:
    """A run whose metrics jump: a large learning rate on few rows."""
    return config(lr=0.05, batch_size=8, epochs=EPOCHS, seed=seed, **options)


@pytest.mark.parametrize("build", BUILDS[:1], ids=every_build)
@pytest.mark.parametrize("monitor", ["val/loss", "val/acc"])
@pytest.mark.parametrize(("patience", "min_delta"), [(2, 0.0), (3, 0.0), (4, 0.02), (7, 1e-9)])
def test_patience_is_that_of_the_runs(build: Build, monitor: str, patience: int, min_delta: float) -> None:
    ends = set()
    for seed in range(6):
        parts = cloud(40, seed=seed, val_rows=24)
        free = member_of(run_of(seed), parts, build)
        free.train()
        run = run_of(seed, patience=patience, min_delta=min_delta, monitor=monitor)
        rule = PatienceRule.of(run)
        assert rule is not None
        last = next((epoch for epoch, value in enumerate(column(free, monitor)) if rule.ends(value)), EPOCHS - 1)
        stopped = member_of(run, parts, build)
        while stopped.train(seconds=0.0) is Outcome.TIME_IS_UP:  # the rule's state outlives a slice
            pass
        assert stopped.epoch == last + 1
        assert stopped.waited == rule.state_dict()["wait_count"]
        assert stopped.outcome is (Outcome.STOPPED_EARLY if rule.exhausted else Outcome.FINISHED)
        ends.add(last)
    assert len(ends) > 1


@pytest.mark.parametrize("build", BUILDS[:1], ids=every_build)
def test_training_stops_at_a_perfect_epoch(build: Build) -> None:
    parts = cloud(40, classes=2, seed=1, val_rows=6)
    free, stopped = (
        member_of(config(epochs=EPOCHS, lr=0.02, early_stopping=stops), parts, build, 2) for stops in (False, True)
    )
    free.train()
    perfect = column(free, "val/acc").index(1.0)
    assert 0 < perfect < EPOCHS - 1
    assert stopped.train() is Outcome.STOPPED_EARLY
    assert stopped.epoch == perfect + 1
    assert stopped.best_epoch == perfect
    assert torch.equal(stopped.best_weights, stopped.weights)


@pytest.mark.parametrize("build", BUILDS, ids=every_build)
@pytest.mark.parametrize("batchnorm", [False, True])
def test_the_best_epoch_is_that_of_the_reports(build: Build, batchnorm: bool) -> None:
    found = set()
    for seed in range(6):
        parts = cloud(40, seed=seed, val_rows=24)
        member = member_of(run_of(seed, use_batchnorm=batchnorm), parts, build)
        member.train()
        wanted = best_epoch(column(member, "val/acc"), column(member, "val/loss"))
        assert member.best_epoch == wanted
        until_then = member_of(run_of(seed, use_batchnorm=batchnorm), parts, build)
        until_then.train(wanted + 1)
        assert torch.equal(member.best_weights, until_then.weights)
        assert member.best_batches == until_then.steps == 5 * (wanted + 1)
        if batchnorm:
            assert member.best_running is not None
            assert until_then.running is not None
            assert torch.equal(member.best_running, until_then.running)
        found.add(wanted)
    assert len(found) > 1


@pytest.mark.parametrize("build", BUILDS[:1], ids=every_build)
def test_of_equal_epochs_the_first_is_the_best(build: Build) -> None:
    """A rate that changes no weight leaves every epoch the same."""
    parts = cloud(30)
    member = member_of(config(lr=1e-30, epochs=5, optimizer="sgd", momentum=0.0), parts, build)
    begin = member.weights.clone()
    member.train()
    assert torch.equal(member.weights, begin)
    assert member.best_epoch == 0
    assert member.measure(*parts[1], best=True) == member.measure(*parts[1])


@pytest.mark.parametrize("build", BUILDS, ids=every_build)
@pytest.mark.parametrize(
    "goals",
    [
        {"stop_train_acc": 0.75},
        {"stop_train_loss": 0.6},
        {"stop_train_acc": 0.8, "stop_train_loss": 0.55},
        {"stop_train_acc": 0.75, "stop_train_loss": 1e-9},
    ],
)
def test_training_stops_at_its_goals(build: Build, goals: dict[str, float]) -> None:
    ends = set()
    for seed in range(3):
        parts = cloud(40, classes=2, seed=seed, val_rows=6)
        free, stopped = (member_of(run_of(seed, **some), parts, build, 2) for some in ({}, goals))
        free.train()
        rows = [metrics for _, metrics in free.rows()]
        last = next((epoch for epoch, row in enumerate(rows) if has_reached_goal(run_of(seed, **goals), row)), EPOCHS)
        outcome = Outcome.FINISHED if last == EPOCHS else Outcome.STOPPED_EARLY
        assert (stopped.train(), stopped.epoch) == (outcome, min(last + 1, EPOCHS))
        ends.add(last)
    assert ends == {EPOCHS} if goals.get("stop_train_loss") == 1e-9 else min(ends) < EPOCHS


@pytest.mark.parametrize("build", BUILDS, ids=every_build)
@pytest.mark.parametrize("batch_size", [8, None])
def test_the_training_part_can_choose_the_best_epoch(build: Build, batch_size: int | None) -> None:
    found = set()
    for seed in range(4):
        parts = cloud(40, seed=seed, val_rows=24)
        run = config(lr=0.05, batch_size=batch_size, epochs=EPOCHS, seed=seed, best_by="train")
        member = member_of(run, parts, build)
        member.train()
        assert member.best_epoch == best_epoch(column(member, "train/acc"), column(member, "train/loss"))
        found.add(member.best_epoch == best_epoch(column(member, "val/acc"), column(member, "val/loss")))
        if batch_size is None:  # the metrics of the only batch are those of the weights before the step
            row = dict(member.rows())[member.best_epoch]
            for name, value in member.measure(*parts[0], best=True).items():
                assert row[f"train/{name}"] == value
    assert False in found


@pytest.mark.parametrize("build", BUILDS, ids=every_build)
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_member_that_begins_anew_is_a_new_member(build: Build, optimizer: str) -> None:
    parts = cloud(40, val_rows=24)
    options = {"use_batchnorm": True, "optimizer": optimizer, "batch_size": None}
    member = member_of(config(epochs=9, **options), parts, build)
    member.train(4)
    new = member_of(config(epochs=5, seed=8, **options), parts, build)
    member.begin_anew(new.weights)
    member.train()
    new.train()
    assert torch.equal(member.weights, new.weights)
    assert member.running is not None
    assert new.running is not None
    assert torch.equal(member.running, new.running)
    assert (member.steps, member.epoch) == (new.steps, 9)


@pytest.mark.parametrize("build", BUILDS[:1], ids=every_build)
@pytest.mark.parametrize("numbers", [{"adam_betas": (0.5, 0.999)}, {"adam_betas": (0.9, 0.6)}, {"adam_eps": 0.1}])
def test_the_numbers_of_adam_reach_the_engine(build: Build, numbers: dict[str, object]) -> None:
    parts = cloud(40)
    for steps, optimizer in ((3, "adam"), (3, "adamw")):
        run = config(epochs=steps, optimizer=optimizer, batch_size=None, **numbers)
        member = member_of(run, parts, build)
        network = network_of(run, parts)
        made = make_optimizer(run, network.parameters())
        jumpstart = regularizer_of(run, network)
        for _ in range(steps):
            loss = torch.nn.functional.cross_entropy(network(parts[0][0]), parts[0][1])
            made.zero_grad()
            (loss + run.lambda_ * jumpstart.loss).backward()
            made.step()
        member.train()
        torch.testing.assert_close(member.weights, parameters_to_vector(network.parameters()).detach())
