"""A killed and resumed run has the same result as an uninterrupted one, bit for bit."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from support.processes import begin, finish
from support.runs import ROOT, flags, network_weights, run_tiny, same, tiny

from model.errors import ConfigError
from model.optimization import lr_at
from sweep.callbacks.checkpoints import BestAndLast
from sweep.callbacks.epoch_log import EpochLog
from sweep.metrics_csv import MetricsCsv
from sweep.run_directory import RunDirectory
from sweep.watchers.best_weights import BestState, BestWeights

CASES: dict[str, dict[str, object]] = {
    "dropout": {"dropout": 0.2, "width": 6, "curve_points": 3, "epochs": 12},
    "plateau": {
        "scheduler": "plateau",
        "plateau_patience": 0,
        "gamma": 0.7,
        "noise": 1.0,
        "use_batchnorm": True,
        "optimizer": "adamw",
        "weight_decay": 0.1,
        "warmup_epochs": 2,
        "epochs": 12,
    },
    "random ties": {
        "optimizer": "sgd",
        "ties": "random",
        "init": "constant",
        "lambda_schedule": "linear",
        "plot_status": True,
        "plot_every": 4,
    },
    "muon": {"optimizer": "muon", "depth": 3, "weight_decay": 0.1, "scheduler": "cosine", "epochs": 8},
    "early stopping": {
        "engine": "lightning",
        "dataset": "blobs",
        "early_stopping": True,
        "depth": 2,
        "width": 8,
        "epochs": 200,
        "curve_points": 50,
        "scheduler": "none",
    },
    "compiled": {
        "engine": "compiled",
        "use_batchnorm": True,
        "width": 5,
        "epochs": 14,
        "curve_points": 4,
        "plot_status": True,
        "plot_every": 3,
    },
}


def state(run: Path) -> dict[str, object]:
    """Everything that must be equal in two runs."""
    summary = json.loads((run / "summary.json").read_text())
    assert summary.pop("seconds") > 0
    return {
        "rows": (run / "metrics.csv").read_text(),
        "summary": summary,
        "plots": {path.name: path.read_bytes() for path in (run / "plots").glob("[!.]*")},
        "files": sorted(path.name for path in run.rglob("*") if not path.name.startswith(".")),
    }


def assert_same(run: Path, expected: Path) -> None:
    for name in ("last.ckpt", "best.ckpt"):
        weights, wanted = (network_weights(folder / "checkpoints" / name) for folder in (run, expected))
        assert same(weights, wanted), name
    assert state(run) == state(expected)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The finished, uninterrupted run of every case."""
    folders = {case: tmp_path_factory.mktemp(case.replace(" ", "_")) for case in CASES}
    processes = [begin(folder, *command_of(folder, case)) for case, folder in folders.items()]
    assert [finish(process) for process in processes] == [0] * len(CASES)
    stopped = json.loads((folders["early stopping"] / "run" / "summary.json").read_text())
    assert stopped["val/acc"] == 1
    assert 5 < stopped["epochs"] < 150
    assert stopped["epochs"] % 4 != 1  # the last row is not a multiple of the interval
    return folders


def command_of(folder: Path, case: str) -> list[str]:
    """The flags that start the run, or resume it if it exists."""
    if (folder / "run").exists():
        return [f"--resume={folder / 'run'}"]
    return flags(output_dir=folder, name="run", checkpoint_seconds=0, **CASES[case])


@pytest.mark.parametrize("case", CASES)
def test_a_run_that_is_killed_several_times_has_the_same_result(
    case: str, undisturbed: dict[str, Path], tmp_path: Path
) -> None:
    rng = random.Random(case)
    operations = int((undisturbed[case] / "operations.txt").read_text())
    # About 15 operations make the directory and end the first epoch; the last ones follow the training.
    moments = [rng.randint(4, 16), rng.randint(operations // 2, operations - 6), rng.randint(1, 20)]
    moments.append(operations - rng.randint(0, 6))
    far = 0
    for moment in moments:
        code = finish(begin(tmp_path, *command_of(tmp_path, case), die_at=moment))
        assert code in (0, -signal.SIGKILL), (tmp_path / "output.txt").read_text()
        far += code != 0 and (tmp_path / "run" / "checkpoints" / "last.ckpt").exists()
    assert far
    code = finish(begin(tmp_path, *command_of(tmp_path, case)))
    assert code == 0, (tmp_path / "output.txt").read_text()
    assert_same(tmp_path / "run", undisturbed[case] / "run")


def test_a_run_that_is_killed_at_random_times_has_the_same_result(undisturbed: dict[str, Path], tmp_path: Path) -> None:
    rng, case = random.Random(), "dropout"
    killed = 0
    for delay in (0.05, *(rng.uniform(0.05, 0.4) for _ in range(3))):
        process = begin(tmp_path, *command_of(tmp_path, case))
        time.sleep(delay)
        process.kill()
        killed += finish(process) == -signal.SIGKILL
    assert killed
    assert finish(begin(tmp_path, *command_of(tmp_path, case))) == 0, (tmp_path / "output.txt").read_text()
    assert_same(tmp_path / "run", undisturbed[case] / "run")


@pytest.mark.parametrize("case", ["dropout", "early stopping"])
def test_a_run_that_is_killed_after_its_last_checkpoint_has_the_same_result(
    case: str, undisturbed: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = EpochLog.on_train_end

    def copy_what_a_kill_would_leave(self: EpochLog, *arguments: object) -> None:
        shutil.copytree(tmp_path / "run", tmp_path / "killed")
        end(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(EpochLog, "on_train_end", copy_what_a_kill_would_leave)
        run_tiny(tmp_path, checkpoint_seconds=0.0, **CASES[case])
    run_tiny(tmp_path, checkpoint_seconds=0.0, resume=tmp_path / "killed", **CASES[case])
    assert_same(tmp_path / "killed", undisturbed[case] / "run")


@pytest.mark.parametrize("engine", ["compiled", "lightning"])
def test_a_run_that_is_killed_between_its_last_two_checkpoints_has_both(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"engine": engine, "checkpoint_seconds": 0, "epochs": 12, "depth": 2}
    whole, _ = run_tiny(tmp_path / "whole", **options)
    with monkeypatch.context() as patch:
        patch.setattr(BestWeights, "write_best", lambda *_: None)  # what the kill prevents
        run_tiny(tmp_path, **options)
    run, _ = run_tiny(tmp_path, resume=tmp_path / "run", **options)
    for name in ("last.ckpt", "best.ckpt"):
        assert same(*(network_weights(one.path / "checkpoints" / name) for one in (run, whole))), name


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "term"])
def test_an_interrupted_run_prints_the_command_that_continues_it(
    number: int, code: int, undisturbed: dict[str, Path], tmp_path: Path
) -> None:
    process = begin(tmp_path, *command_of(tmp_path, "plateau"))
    while not (tmp_path / "run" / "checkpoints" / "last.ckpt").exists() and process.is_alive():
        time.sleep(0.001)
    assert process.pid is not None
    os.kill(process.pid, number)
    assert finish(process) == code
    last = (tmp_path / "output.txt").read_text().splitlines()[-1]
    assert re.fullmatch(rf"interrupted; continue with: python \S*sweep\.py --resume={tmp_path}/run", last)
    assert finish(begin(tmp_path, *command_of(tmp_path, "plateau"))) == 0
    assert_same(tmp_path / "run", undisturbed["plateau"] / "run")


@pytest.mark.slow
def test_the_command_itself_can_be_killed_and_resumed(tmp_path: Path) -> None:
    script = [sys.executable, str(ROOT / "run_rectangular_sweep.py")]

    def arguments(folder: Path) -> list[str]:
        return flags(output_dir=folder, name="run", epochs=300, dropout=0.1, checkpoint_seconds=0.1)

    run = tmp_path / "killed" / "run"
    process = subprocess.Popen([*script, *arguments(run.parent)], cwd=tmp_path)
    for _ in range(2):
        while not (run / "checkpoints" / "last.ckpt").exists() and process.poll() is None:
            time.sleep(0.01)
        time.sleep(random.uniform(0.2, 1.0))
        process.kill()
        process.wait()
        process = subprocess.Popen([*script, f"--resume={run}"], cwd=tmp_path)
    assert process.wait(120) == 0
    subprocess.run([*script, *arguments(tmp_path / "whole")], cwd=tmp_path, check=True)
    assert_same(run, tmp_path / "whole" / "run")


@pytest.mark.parametrize("case", ["dropout", "early stopping"])
def test_resuming_a_finished_run_trains_no_further(
    case: str, undisturbed: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = RunDirectory(shutil.copytree(undisturbed[case] / "run", tmp_path / "run"))
    summary = json.loads(directory.summary.read_text())
    before = {path: path.stat().st_mtime_ns for path in directory.checkpoints.iterdir()}
    rows = directory.metrics.read_bytes()
    monkeypatch.setattr("model.experiment.Experiment.training_step", lambda *_: pytest.fail("trains on"))
    _, again = run_tiny(tmp_path, resume=directory.path, **CASES[case])
    assert again["seconds"] == pytest.approx(summary["seconds"], abs=0.5)
    assert {**again, "seconds": 0} == {**summary, "seconds": 0}
    assert directory.metrics.read_bytes() == rows
    assert {path for path in before if path.suffix == ".ckpt"} == set(directory.checkpoints.iterdir())


# With this rate and seed, epoch 1 is the best one.
LONGER: dict[str, object] = {"scheduler": "none", "dropout": 0.2, "lambda_": 0.05, "lr": 0.3, "seed": 2}


@pytest.fixture(scope="module")
def short_and_whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunDirectory, RunDirectory]:
    """A run of 4 epochs, and the same of 9."""
    short, whole = (run_tiny(tmp_path_factory.mktemp("run"), epochs=epochs, **LONGER)[0] for epochs in (4, 9))
    return short, whole


@pytest.mark.parametrize("late", [False, True], ids=["more epochs", "rows after the last checkpoint"])
def test_a_resumed_run_has_the_result_of_the_longer_run(
    late: bool, short_and_whole: tuple[RunDirectory, RunDirectory], tmp_path: Path
) -> None:
    short, whole = short_and_whole
    directory = RunDirectory(shutil.copytree(short.path, tmp_path / "run"))
    if late:  # as left by a kill in epoch 7
        with directory.metrics.open("a") as file:
            file.writelines(whole.metrics.read_text().splitlines(keepends=True)[5:8])
    _, summary = run_tiny(tmp_path, epochs=9, resume=directory.path, **LONGER)
    assert (summary["epochs"], summary["best_epoch"]) == (9, 1), "the best epoch is before the checkpoint"
    assert_same(directory.path, whole.path)
    assert yaml.safe_load(directory.config.read_text())["epochs"] == 9


def test_more_epochs_follow_the_schedule_of_the_longer_run(tmp_path: Path) -> None:
    directory, _ = run_tiny(tmp_path, epochs=4)
    run_tiny(tmp_path, epochs=8, resume=directory.path)
    found = MetricsCsv(directory.metrics).read()["lr"].tolist()
    rates = {epochs: [lr_at(tiny(epochs=epochs), epoch) for epoch in range(epochs)] for epochs in (4, 8)}
    assert found == rates[4] + rates[8][4:]


def test_a_run_without_a_checkpoint_starts_again_from_epoch_0(tmp_path: Path) -> None:
    whole, _ = run_tiny(tmp_path / "whole")
    config = tiny(output_dir=str(tmp_path), name="run")
    empty = RunDirectory.create(tmp_path, "run", config)
    empty.metrics.write_text("epoch,train/loss\n0,1.5\n1,0.")  # killed at its first checkpoint
    run_tiny(tmp_path, resume=empty.path)
    columns = [name for name in MetricsCsv(whole.metrics).read().columns if name != "epoch"]
    assert MetricsCsv(empty.metrics).read()[columns].equals(MetricsCsv(whole.metrics).read()[columns])
    assert same(network_weights(empty.last_checkpoint), network_weights(whole.last_checkpoint))


def test_seconds_of_training_are_summed_over_resumptions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory, _ = run_tiny(tmp_path, epochs=3, engine="lightning")
    load = BestAndLast.load_state_dict

    def longer(self: BestAndLast, state_dict: BestState) -> None:
        load(self, {**state_dict, "elapsed": 1000.0})

    monkeypatch.setattr(BestAndLast, "load_state_dict", longer)
    _, summary = run_tiny(tmp_path, epochs=5, engine="lightning", resume=directory.path)
    assert 1000 < summary["seconds"] < 1060


def test_a_refused_resumption_changes_nothing(tmp_path: Path) -> None:
    directory, _ = run_tiny(tmp_path)
    before = {path: path.read_bytes() for path in directory.path.rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match="gpus must be among the"):
        run_tiny(tmp_path, resume=directory.path, gpus=99)
    assert {path: path.read_bytes() for path in directory.path.rglob("*") if path.is_file()} == before
    assert os.listdir(tmp_path) == ["run"]
