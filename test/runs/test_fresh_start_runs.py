"""Runs with fresh starts: the same by both engines, and the same when they are interrupted and resumed."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch
from support.runs import run_tiny

from jumpstart.engine.build import best_build
from jumpstart.engine.member import Member
from jumpstart.report.best_epoch import rank_row
from model.errors import ConfigError
from model.experiment import Experiment
from sweep.metrics_csv import MetricsCsv
from sweep.run_directory import RunDirectory

needs_engine = pytest.mark.skipif(best_build() is None, reason="no C++ compiler built the engine")
ENGINES = [pytest.param("compiled", marks=needs_engine), "lightning"]
# Momentum, because adam moves a bias before batch normalization by the sign of a rounding.
OPTIONS: dict[str, object] = {
    "fresh_starts": 2,
    "epochs": 6,
    "use_batchnorm": True,
    "optimizer": "sgd",
    "lr": 0.1,
    "scheduler": "none",
    "best_by": "train",
    "batch_size": None,
    "checkpoint_seconds": 0.0,
    "seed": 3,
}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunDirectory]:
    """The run by each engine."""
    engines = ["compiled", "lightning"] if best_build() is not None else ["lightning"]
    return {engine: run_tiny(tmp_path_factory.mktemp(engine), engine=engine, **OPTIONS)[0] for engine in engines}


def last_state(run: RunDirectory) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(run.last_checkpoint, weights_only=False)["state_dict"]
    return {name: value for name, value in state.items() if name.startswith("network.")}


def best_state(run: RunDirectory) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(run.best_checkpoint, weights_only=False)["state_dict"]
    return state


@needs_engine
def test_both_engines_begin_anew_alike(undisturbed: dict[str, RunDirectory]) -> None:
    compiled, lightning = (MetricsCsv(run.metrics).read() for run in undisturbed.values())
    pd.testing.assert_frame_equal(compiled, lightning, check_exact=False, rtol=1e-4, atol=1e-5)
    assert abs(compiled["train/loss"][3] - compiled["train/loss"][2]) > 1e-3
    for state in (last_state, best_state):
        one, other = map(state, undisturbed.values())
        assert one.keys() == other.keys()
        for name, value in one.items():
            torch.testing.assert_close(value, other[name], rtol=1e-4, atol=1e-5)


def test_the_steps_of_batch_normalization_are_those_of_the_start(undisturbed: dict[str, RunDirectory]) -> None:
    for run in undisturbed.values():
        steps = {int(value) for name, value in last_state(run).items() if name.endswith("num_batches_tracked")}
        assert steps == {3}


def test_the_training_part_chooses_the_weights(undisturbed: dict[str, RunDirectory]) -> None:
    for run in undisturbed.values():
        rows = MetricsCsv(run.metrics).read()
        ranks = {part: [rank_row(row, part) for _, row in rows.iterrows()] for part in ("train", "val")}
        wanted, other = (max(range(6), key=ranks[part].__getitem__) for part in ("train", "val"))
        assert torch.load(run.best_checkpoint, weights_only=False)["epoch"] == wanted != other


def interrupt(engine: str, epoch: int, patch: pytest.MonkeyPatch) -> None:
    """End the next run before an epoch: its last checkpoint has the epochs before."""
    name, kind = ("train", Member) if engine == "compiled" else ("on_train_epoch_end", Experiment)
    whole = getattr(kind, name)
    patch.setattr("sweep.compiled_run.SLICE_EPOCHS", 1)

    def ended(self: Member | Experiment, *arguments: object) -> object:
        if (self.epoch if isinstance(self, Member) else self.current_epoch) == epoch:
            raise InterruptedError
        return whole(self, *arguments)

    patch.setattr(kind, name, ended)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("epoch", [3, 4], ids=["between starts", "in a start"])
def test_a_resumed_run_has_the_undisturbed_result(
    engine: str, epoch: int, undisturbed: dict[str, RunDirectory], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        interrupt(engine, epoch, patch)
        with pytest.raises(InterruptedError):
            run_tiny(tmp_path, engine=engine, **OPTIONS)
    path = tmp_path / "run"
    assert torch.load(RunDirectory(path).last_checkpoint, weights_only=False)["row"]["epoch"] == epoch - 1
    run, _ = run_tiny(tmp_path, resume=path, engine=engine, **OPTIONS)
    assert run.metrics.read_text() == undisturbed[engine].metrics.read_text()
    for state in (last_state, best_state):
        found, wanted = state(run), state(undisturbed[engine])
        assert all(torch.equal(value, found[name]) for name, value in wanted.items())


def test_the_epochs_of_starts_can_not_be_changed(undisturbed: dict[str, RunDirectory]) -> None:
    from sweep.rectangular import run_rectangular

    run = next(iter(undisturbed.values()))
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}
    with pytest.raises(ConfigError, match=r"epochs can't be changed when a run with fresh_starts=2 is resumed"):
        run_rectangular(resume=run.path, epochs=12)
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*")} == before


@pytest.mark.parametrize("engine", ENGINES)
def test_a_goal_ends_a_run_for_good(engine: str, tmp_path: Path) -> None:
    goals = OPTIONS | {"fresh_starts": 1, "stop_train_acc": 0.3, "stop_train_loss": 2.0, "use_batchnorm": False}
    run, summary = run_tiny(tmp_path, engine=engine, **goals)
    assert summary["epochs"] == 1
    _, resumed = run_tiny(tmp_path, resume=run.path, engine=engine, **(goals | {"epochs": 9}))
    assert resumed["epochs"] == 1
