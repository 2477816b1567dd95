"""The files of a run directory can neither run code nor mislead training, nor lead writing out of the directory."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from support.runs import ROOT, command, run_tiny

from model.experiment import Experiment
from sweep.files import RunDirectoryError
from sweep.lock import locked
from sweep.run_directory import RunDirectory


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory, _ = run_tiny(tmp_path_factory.mktemp("trained"), epochs=2, engine="lightning")
    return directory.path


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> RunDirectory:
    """A copy of a finished run."""
    shutil.copytree(trained, tmp_path / "run")
    return RunDirectory(tmp_path / "run")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_refused(run: RunDirectory, capsys: pytest.CaptureFixture[str], *words: str) -> None:
    """--resume ends with code 2 and one line that has these words, and changes no file."""
    before = contents(run.path)
    capsys.readouterr()
    assert command(f"--resume={run.path}") == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("error: ")
    for word in words:
        assert word in err
    assert contents(run.path) == before


# Code in a checkpoint -------------------------------------------------------------------------


class Bomb:
    """An object whose unpickling creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("inside", [True, False], ids=["in a whole checkpoint", "a bare pickle"])
def test_code_in_a_checkpoint_does_not_run(
    inside: bool, run: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bomb = Bomb(tmp_path / "created")
    if inside:
        torch.save({**torch.load(run.last_checkpoint, weights_only=True), "more": bomb}, run.last_checkpoint)
    else:
        run.last_checkpoint.write_bytes(pickle.dumps(bomb))
    assert_refused(run, capsys, "last.ckpt can't be resumed from: ")
    assert not bomb.path.exists()


# A checkpoint and a config that do not belong together ----------------------------------------


@pytest.mark.parametrize(
    ("option", "value"),
    [("seed", 7), ("lr", 0.5), ("lambda_", 0.0), ("activation", "gelu"), ("test_size", 0.3), ("depth", 3)],
)
def test_an_option_that_was_edited_after_training_is_named(
    option: str, value: object, run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = run.read_config()
    run.config.write_text(yaml.safe_dump({**stored, option: value}))
    assert_refused(run, capsys, f"{option} is {value!r} in the first, and {stored[option]!r} in the second")


def test_fewer_epochs_than_the_checkpoint_was_trained_for_are_refused(
    run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    run.config.write_text(yaml.safe_dump({**run.read_config(), "epochs": 1}))
    assert_refused(run, capsys, "epochs is 1 in the first, and 2 in the second")


@pytest.mark.parametrize("kept", [0, 1, 10])
def test_a_config_that_was_cut_takes_no_defaults(
    kept: int, run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = run.config.read_text().splitlines(keepends=True)
    run.config.write_text("".join(lines[: len(lines) - kept - 1]) if kept else "".join(lines[1:]))
    assert_refused(run, capsys, "config.yaml lacks ", "so it is damaged")


def test_a_run_may_have_moved(run: RunDirectory) -> None:
    run.config.write_text(yaml.safe_dump({**run.read_config(), "output_dir": "elsewhere", "name": "other"}))
    assert command(f"--resume={run.path}", "--epochs=3") == 0


@pytest.mark.parametrize("changes", [{"seed": 7}, {"width": 5}], ids=str)
def test_the_checkpoint_of_another_run_is_refused(
    changes: dict[str, object], run: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other, _ = run_tiny(tmp_path / "other", epochs=2, engine="lightning", **changes)
    shutil.copy(other.last_checkpoint, run.last_checkpoint)
    assert_refused(run, capsys, f"{next(iter(changes))} is ", "does not fit")


def change(content: Any, path: str, act: Callable[[dict[str, object], str], object]) -> None:
    *folders, last = path.split("/")
    for folder in folders:
        content = content[folder]
    act(content, last)


@pytest.mark.parametrize(
    "part",
    [
        "callbacks", "callbacks/BestAndLast", "callbacks/BestAndLast/best_row", "callbacks/BestAndLast/elapsed",
        "callbacks/BestAndLast/weights", "epoch", "hyper_parameters", "hyper_parameters/config", "learning_rate",
        "loops", "optimizer_states", "random", "row", "state_dict",
    ],
)  # fmt: skip
def test_an_incomplete_checkpoint_is_refused(part: str, run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    content = torch.load(run.last_checkpoint, weights_only=True)
    change(content, part, lambda mapping, key: mapping.pop(key))
    torch.save(content, run.last_checkpoint)
    assert_refused(run, capsys, "last.ckpt can't be resumed from: it has no ")


@pytest.mark.parametrize("place", ["state_dict/network.", "callbacks/BestAndLast/weights/"])
@pytest.mark.parametrize("act", ["missing", "added", "of another shape"])
def test_weights_of_another_network_are_refused(
    place: str, act: str, run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    content = torch.load(run.last_checkpoint, weights_only=True)
    name = next(iter(content["callbacks"]["BestAndLast"]["weights"]))
    acts: dict[str, Callable[[dict[str, object], str], object]] = {
        "missing": lambda mapping, key: mapping.pop(key),
        "added": lambda mapping, key: mapping.update({f"{key}2": mapping[key]}),
        "of another shape": lambda mapping, key: mapping.update({key: torch.zeros(3, 1)}),
    }
    change(content, f"{place}{name}", acts[act])
    torch.save(content, run.last_checkpoint)
    assert_refused(run, capsys, "holds another network: in its ", f"{name}{'2' * (act == 'added')} is ")


# Links ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["metrics.csv", "plots", "checkpoints", "checkpoints/last.ckpt", "checkpoints/best.ckpt", "run.lock"]
)
def test_a_link_does_not_lead_writing_out_of_the_run(
    name: str, run: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target, place = tmp_path / "target", run.path / name
    if place.exists():
        place.rename(target)
    else:
        target.write_text("of the user's\n")
    place.symlink_to(target)
    before = contents(target) if target.is_dir() else target.read_bytes()
    assert_refused(run, capsys, str(place))
    assert (contents(target) if target.is_dir() else target.read_bytes()) == before


# Two processes --------------------------------------------------------------------------------

HOLD = """
import sys
from sweep.lock import locked
from sweep.run_directory import RunDirectory
with locked(RunDirectory(sys.argv[1])):
    sys.stdout.write("locked\\n")
    sys.stdout.flush()
    sys.stdin.read()
"""


def hold(path: Path) -> subprocess.Popen[str]:
    """A process that holds the lock of a run until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"
    return process


def test_a_second_process_is_refused_until_the_first_has_ended_or_was_killed(
    run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    with hold(run.path) as first:
        assert_refused(run, capsys, f"{run.path} is in use by process {first.pid} on ")
        first.kill()
    assert run.lock.exists()
    assert command(f"--resume={run.path}", "--epochs=3") == 0
    assert not run.lock.exists()


def test_a_new_run_is_locked_while_it_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin = Experiment.on_train_start

    def resume_too(self: Experiment) -> None:
        with pytest.raises(RunDirectoryError, match=rf"run is in use by process {os.getpid()} on .* since"):
            run_tiny(tmp_path, resume=tmp_path / "run")
        begin(self)

    monkeypatch.setattr(Experiment, "on_train_start", resume_too)
    directory, summary = run_tiny(tmp_path, epochs=1, engine="lightning")
    assert summary["epochs"] == 1
    assert not directory.lock.exists()


def test_a_lock_file_that_is_replaced_while_it_is_opened_does_not_count(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[int] = []
    open_file = os.open

    def replace_once(path: Path, *args: int) -> int:
        opened.append(open_file(path, *args))
        if len(opened) == 1:
            Path(path).unlink()
        return opened[-1]

    monkeypatch.setattr("sweep.lock.os.open", replace_once)
    with locked(run):
        assert len(opened) == 2
        assert run.lock.read_text().startswith(f"process {os.getpid()} on ")


def test_a_lock_file_that_can_not_be_removed_hides_no_error_of_the_block(run: RunDirectory) -> None:
    with pytest.raises(ZeroDivisionError), locked(run):
        shutil.rmtree(run.path)
        run.path.write_text("a file in place of the directory")
        raise ZeroDivisionError


def test_a_file_system_without_locks_is_a_warning(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("sweep.lock.fcntl.flock", refuse)
    with locked(run):
        pass
    assert "can't be locked on this file system" in caplog.text
