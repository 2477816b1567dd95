"""A run that can't be resumed is refused in one line, and none of its files is changed."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from support import resnet_runs, runs
from support.runs import run_tiny, tiny

from model.config.rectangular import RectangularConfig
from sweep.callbacks.checkpoints import BestAndLast
from sweep.files import RunDirectoryError
from sweep.ledger.ledger import Ledger
from sweep.metrics_csv import MetricsCsv
from sweep.resumption import check_resumable
from sweep.run_directory import RunDirectory

DAMAGE: dict[str, Callable[[Path], object]] = {
    "cut short": lambda file: file.write_bytes(file.read_bytes()[:500]),
    "empty": lambda file: file.write_bytes(b""),
    "text": lambda file: file.write_text("no checkpoint\n"),
    "a list": lambda file: torch.save([1], file),
    "the best weights": lambda file: file.write_bytes(file.with_name("best.ckpt").read_bytes()),
    "one bit": lambda file: flip(file),
    "a folder": lambda file: file.rename(file.with_name("old")).with_name("last.ckpt").mkdir(),
}


def check(run: RunDirectory, *, warn: bool = True) -> None:
    check_resumable(run, RectangularConfig.from_dict(run.read_config()), warn=warn)


def flip(file: Path) -> None:
    """Change a number among the weights."""
    content = bytearray(file.read_bytes())
    weights = next(value for value in runs.network_weights(file).values() if value.numel() > 4)
    content[content.index(weights.numpy().tobytes())] ^= 1
    file.write_bytes(content)


def snapshot(folder: Path) -> dict[Path, tuple[int, bytes]]:
    """Times and contents of all files in a folder."""
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, bytes]:
    """The files of a finished run."""
    directory, _ = run_tiny(tmp_path_factory.mktemp("whole"), epochs=3)
    return {path.relative_to(directory.path): path.read_bytes() for path in directory.path.rglob("*") if path.is_file()}


@pytest.fixture
def finished(whole: dict[Path, bytes], tmp_path: Path) -> RunDirectory:
    """A finished run."""
    directory = RunDirectory(tmp_path / "run")
    directory.plots.mkdir(parents=True)
    directory.checkpoints.mkdir()
    for path, content in whole.items():
        (directory.path / path).write_bytes(content)
    return directory


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_refused(damage: str, finished: RunDirectory) -> None:
    DAMAGE[damage](finished.last_checkpoint)
    before = snapshot(finished.path)
    with pytest.raises(RunDirectoryError) as caught:
        check(finished)
    message = str(caught.value)
    assert message.startswith(f"{finished.last_checkpoint} can't be resumed from: ")
    assert f"or start a new run with --config={finished.config} --name=" in message
    assert "\n" not in message
    assert snapshot(finished.path) == before


def test_an_undamaged_checkpoint_is_accepted(finished: RunDirectory) -> None:
    before = snapshot(finished.path)
    check(finished)
    assert snapshot(finished.path) == before


@pytest.fixture(scope="module", params=[runs, resnet_runs], ids=["rectangular", "resnet"])
def script_and_run(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[ModuleType, RunDirectory]:
    """A script, and a finished run of it."""
    directory, _ = request.param.run_tiny(tmp_path_factory.mktemp("finished"), epochs=1)
    return request.param, directory


@pytest.mark.parametrize("damage", ["cut short", "gone"])
def test_the_command_refuses_in_one_line_with_code_2_and_leaves_the_run(
    script_and_run: tuple[ModuleType, RunDirectory],
    damage: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    script, whole = script_and_run
    directory = RunDirectory(shutil.copytree(whole.path, tmp_path / "run"))
    if damage == "gone":
        directory.last_checkpoint.unlink()
    else:
        DAMAGE[damage](directory.last_checkpoint)
    before = snapshot(tmp_path)
    capsys.readouterr()
    assert script.command(f"--resume={directory.path}") == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(rf"error: {re.escape(str(directory.last_checkpoint))} .*\n", err)
    assert snapshot(tmp_path) == before


def test_the_remedy_is_a_command_that_works(finished: RunDirectory, tmp_path: Path) -> None:
    finished.last_checkpoint.unlink()
    with pytest.raises(RunDirectoryError) as caught:
        check(finished)
    words = shlex.split(str(caught.value).partition("new run with ")[2].rstrip("."))
    assert runs.command(*words, f"--output_dir={tmp_path / 'elsewhere'}") == 0
    again = RunDirectory(tmp_path / "elsewhere" / "ANOTHER_NAME")
    assert again.metrics.read_bytes() == finished.metrics.read_bytes()


@pytest.mark.parametrize("left", ["summary.json", "checkpoints/best.ckpt", "metrics.csv"])
def test_finished_epochs_without_their_checkpoint_are_not_trained_again(left: str, finished: RunDirectory) -> None:
    finished.last_checkpoint.unlink()
    for path in (finished.summary, finished.best_checkpoint, finished.metrics):
        if path != finished.path / left:
            path.unlink()
    before = snapshot(finished.path)
    with pytest.raises(RunDirectoryError, match=rf"last\.ckpt is missing, but {Path(left).name} .* Put the file back"):
        run_tiny(finished.path.parent, resume=finished.path)
    assert snapshot(finished.path) == before


@pytest.mark.parametrize("rows", [None, "", "epoch,train/loss\n", "epoch,train/loss\n0,1.5\n", "epoch,a\n0,1\n12"])
def test_a_run_that_stopped_before_its_first_checkpoint_starts_again_and_logs_it(
    rows: str | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = RunDirectory.create(tmp_path, "run", tiny())
    if rows is not None:
        run.metrics.write_text(rows)
    with caplog.at_level("WARNING", "sweep"):
        check(run)
    (record,) = [record for record in caplog.records if record.name.startswith("sweep")]
    assert record.getMessage() == f"{run.path} has no checkpoint yet: training starts again from epoch 0."
    caplog.clear()
    check(run, warn=False)
    assert not caplog.records


def test_a_run_that_stops_in_its_first_checkpoint_can_start_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("pytorch_lightning.Trainer.save_checkpoint", stop)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            run_tiny(tmp_path, epochs=2, engine="lightning")
    directory = RunDirectory.open(tmp_path / "run")
    assert MetricsCsv(directory.metrics).last_epoch == 0
    _, summary = run_tiny(tmp_path, epochs=2, engine="lightning", resume=directory.path)
    assert summary["epochs"] == 2


def test_the_best_weights_of_a_run_that_fails_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, epochs = BestAndLast.on_train_epoch_end, []

    def fail_in_the_third(self: BestAndLast, *arguments: object) -> None:
        self.seconds = 1e9
        write(self, *arguments)
        epochs.append(self.best_row["epoch"])
        if len(epochs) == 3:
            self.best_row = {**self.best_row, "epoch": 2}
            raise OSError("no more")

    monkeypatch.setattr(BestAndLast, "on_train_epoch_end", fail_in_the_third)
    with pytest.raises(OSError, match="no more"):
        run_tiny(tmp_path, engine="lightning")
    directory = RunDirectory(tmp_path / "run")
    assert torch.load(directory.best_checkpoint, weights_only=False)["epoch"] == 2
    check(directory)


def test_a_damaged_table_is_refused_before_anything_changes(finished: RunDirectory) -> None:
    finished.metrics.write_text(finished.metrics.read_text().replace("\n1,", "\nx,"))
    before = snapshot(finished.path)
    with pytest.raises(RunDirectoryError, match=r"metrics\.csv is damaged in line 3"):
        run_tiny(finished.path.parent, resume=finished.path, epochs=3)
    assert snapshot(finished.path) == before


def test_a_run_of_a_sweep_keeps_its_number_of_epochs(finished: RunDirectory) -> None:
    config = RectangularConfig.from_dict(finished.read_config())
    check_resumable(finished, config.replace(epochs=9))
    folder = finished.path.parent / "sweep"
    (folder / "runs").mkdir(parents=True)
    Ledger(folder, "rectangular").close()
    member = RunDirectory(finished.path.rename(folder / "runs" / "00001"))
    before = snapshot(folder)
    check_resumable(member, config.replace(wandb_notes="again"))
    command = f"--config={member.config} --name=ANOTHER_NAME --epochs=9"
    with pytest.raises(RunDirectoryError, match=f"can't be changed from 3 to 9. Start a new run with {command}"):
        check_resumable(member, config.replace(epochs=9))
    assert snapshot(folder) == before
