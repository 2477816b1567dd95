"""Early stopping, patience and the best epoch: the rules of the runs, applied to the metrics of the engine."""

from __future__ import annotations

import pytest
import torch
from support.engine import BUILDS, cloud, config, every_build, member_of

from jumpstart.engine.build import Build
from jumpstart.engine.layout import Outcome
from jumpstart.engine.member import Member
from jumpstart.report.best_epoch import best_epoch
from model.config.rectangular import RectangularConfig
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
        assert member.best_steps == until_then.steps == 5 * (wanted + 1)
        if batchnorm:
            assert member.best_running is not None
            assert until_then.running is not None
            assert torch.equal(member.best_running, until_then.running)
        found.add(wanted)
    assert len(found) > 1


@pytest.mark.parametrize("build", BUILDS[:1], ids=every_build)
def test_of_equal_epochs_the_first_is_the_best(build: Build) -> None:
    """A rate that changes no weight leaves every epoch the same."""
    member = member_of(config(lr=1e-30, epochs=5, optimizer="sgd", momentum=0.0), cloud(30), build)
    begin = member.weights.clone()
    member.train()
    assert torch.equal(member.weights, begin)
    assert member.best_epoch == 0
