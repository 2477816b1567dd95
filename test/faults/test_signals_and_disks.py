"""A machine that fails a run: full disks, deleted folders, signals, wrong settings."""

from __future__ import annotations

import errno
import gc
import json
import os
import pkgutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import tqdm
from support.faults import resume
from support.runs import ROOT, command, flags, network_weights, run_tiny

from jumpstart.files import checkpoints as checkpoint_file
from sweep.metrics_csv import MetricsCsv
from sweep.run import _closed_properly
from sweep.run_directory import RunDirectory

ROOT_SCRIPT = ROOT / "run_rectangular_sweep.py"
ENGINES = ["compiled", "lightning"]
TORCH_SAYS = {
    "compiled": "[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0",
    "lightning": "basic_ios::clear: iostream error",
}
"""What torch says, depending on the place, when the disk is full."""


def tiny_flags(folder: Path, **changes: object) -> list[str]:
    options = {
        "epochs": 3,
        "depth": 2,
        "num_points": 40,
        "checkpoint_seconds": 0,
        "output_dir": folder,
        "name": "a run",
    }
    return flags(**{**options, **changes})


@pytest.fixture
def only_line(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Callable[[], str]:
    """The error line of a command that showed nothing else."""

    def read() -> str:
        captured = capsys.readouterr()
        assert captured.err.count("\n") == 1
        assert "Traceback" not in captured.err + caplog.text
        assert not [record for record in caplog.records if record.exc_info]
        return captured.err

    return read


@pytest.mark.parametrize("engine", ENGINES)
def test_a_full_disk_is_one_line_with_the_command_that_continues(
    engine: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    only_line: Callable[[], str],
) -> None:
    save, calls = torch.save, []

    def fill(content: object, file: Path) -> None:
        calls.append(file)
        if len(calls) > 2:
            raise RuntimeError(TORCH_SAYS[engine])
        save(content, file)

    monkeypatch.setattr(checkpoint_file.torch, "save", fill)
    monkeypatch.setattr("sweep.compiled_run.SLICE_EPOCHS", 1)
    assert command(*tiny_flags(tmp_path, engine=engine)) == 2
    line = only_line()
    assert line.startswith("error: a file can't be read or written: ")
    assert line.endswith(f"continue with: python {ROOT_SCRIPT} --resume='{tmp_path / 'a run'}'\n")
    assert not list(tmp_path.rglob("*.tmp*"))
    monkeypatch.setattr(checkpoint_file.torch, "save", save)
    resume(RunDirectory(tmp_path / "a run"))


def break_rows(monkeypatch: pytest.MonkeyPatch, act: Callable[[MetricsCsv], object]) -> None:
    """Act once, before rows are written for the first time."""
    flush = MetricsCsv.flush
    done: list[object] = []

    def acting(self: MetricsCsv) -> None:
        if self._rows and not done:
            done.append(act(self))
        flush(self)

    monkeypatch.setattr(MetricsCsv, "flush", acting)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_run_directory_that_is_deleted_in_mid_run_is_one_line(
    engine: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    only_line: Callable[[], str],
) -> None:
    break_rows(monkeypatch, lambda metrics: metrics.path.parent.rename(tmp_path / "gone"))
    assert command(*tiny_flags(tmp_path, engine=engine)) == 2
    assert only_line() == (
        f"error: {tmp_path / 'a run'} was deleted while the run wrote its files there. Run the same command again.\n"
    )


def test_a_file_that_can_not_be_written_before_the_first_checkpoint_names_no_resumption(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    only_line: Callable[[], str],
) -> None:
    def refuse(metrics: MetricsCsv) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(metrics.path))

    break_rows(monkeypatch, refuse)
    monkeypatch.setattr(checkpoint_file, "save_checkpoint", refuse)
    assert command(*tiny_flags(tmp_path)) == 2
    assert "metrics.csv'. No epoch was stored yet: " in only_line()


def test_a_failure_is_not_hidden_by_a_disk_that_is_full_too(
    finished: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(metrics: MetricsCsv) -> None:
        raise OSError(errno.ENOSPC, "full")

    metrics = MetricsCsv(finished.metrics)
    monkeypatch.setattr(MetricsCsv, "flush", refuse)
    with pytest.raises(ZeroDivisionError), _closed_properly(finished, metrics, wandb=False, report=False):
        raise ZeroDivisionError


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=["term", "hangup"])
def test_a_signal_outside_of_training_ends_a_run_as_in_training(
    engine: str,
    number: signal.Signals,
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def signaled(*_: object) -> None:
        os.kill(os.getpid(), number)

    monkeypatch.setattr("sweep.run.summarize", signaled)
    assert command(*tiny_flags(tmp_path, engine=engine)) == code
    assert capsys.readouterr().err.startswith("interrupted; continue with: python ")
    run = RunDirectory(tmp_path / "a run")
    assert run.failure.read_text() == "It was interrupted.\n"
    assert signal.getsignal(number) == signal.SIG_DFL


@pytest.mark.parametrize("engine", ENGINES)
def test_a_hangup_in_training_keeps_what_is_finished(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    break_rows(monkeypatch, lambda metrics: os.kill(os.getpid(), signal.SIGHUP))
    assert command(*tiny_flags(tmp_path, engine=engine)) == 129
    assert capsys.readouterr().err.splitlines()[-1].startswith("interrupted; continue with: python ")
    run = RunDirectory(tmp_path / "a run")
    assert run.failure.read_text() == "It was interrupted.\n"
    assert len(resume(run).directory.metrics.read_text().splitlines()) == 4


def test_a_run_that_is_killed_before_its_first_checkpoint_starts_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("sweep.compiled_run.save_checkpoint", killed)
        with pytest.raises(Killed):
            command(*tiny_flags(tmp_path, engine="compiled", epochs=5))
    run = RunDirectory(tmp_path / "a run")
    assert run.metrics.is_file()
    assert resume(run).summary["epochs"] == 5


STEPS = {
    "compiled": [
        ("jumpstart.engine.member.Member.train", 2),
        ("sweep.watchers.epoch_rows.EpochRows.end_epoch", 4),
    ],
    "lightning": [
        ("sweep.watchers.epoch_rows.EpochRows.end_epoch", 3),
    ],
}
"""Functions of a run, and the call after which Ctrl-C comes."""


@pytest.fixture(scope="module")
def thinned(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, bytes]]:
    """The results of an undisturbed run of each engine in which not every epoch has a row."""
    results = {}
    for engine in ENGINES:
        folder = tmp_path_factory.mktemp(engine)
        assert command(*thinned_flags(folder, engine)) == 0
        results[engine] = results_of(folder / "a run")
    return results


def thinned_flags(folder: Path, engine: str) -> list[str]:
    return tiny_flags(folder, engine=engine, epochs=7, curve_points=2, noise=0.4)


def results_of(run: Path) -> dict[str, bytes]:
    weights = network_weights(run / "checkpoints/last.ckpt")
    summary = {
        name: value for name, value in json.loads((run / "summary.json").read_text()).items() if name != "seconds"
    }
    return {
        "metrics": (run / "metrics.csv").read_bytes(),
        "summary": json.dumps(summary).encode(),
        **{name: value.numpy().tobytes() for name, value in weights.items()},
    }


@pytest.mark.parametrize(("engine", "step", "call"), [(engine, *step) for engine in ENGINES for step in STEPS[engine]])
def test_ctrl_c_between_two_steps_loses_and_adds_nothing(
    engine: str,
    step: str,
    call: int,
    tmp_path: Path,
    thinned: dict[str, dict[str, bytes]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sweep.compiled_run.SLICE_EPOCHS", 2)
    holder, _, name = step.rpartition(".")
    original = getattr(pkgutil.resolve_name(holder), name)
    calls: list[None] = []

    def interrupted(*arguments: object, **options: object) -> object:
        result = original(*arguments, **options)
        calls.append(None)
        if len(calls) == call:
            os.kill(os.getpid(), signal.SIGINT)
        return result

    with monkeypatch.context() as patch:
        patch.setattr(step, interrupted)
        assert command(*thinned_flags(tmp_path, engine)) == 130
    assert "Traceback" not in capsys.readouterr().err
    assert command(f"--resume={tmp_path / 'a run'}") == 0
    assert results_of(tmp_path / "a run") == thinned[engine]


def test_a_signal_before_the_run_directory_exists_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sweep.run.seed_everything", lambda seed: os.kill(os.getpid(), signal.SIGTERM))
    assert command(*tiny_flags(tmp_path)) == 143
    assert capsys.readouterr().err == "interrupted before the run began.\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("words", [["--progress=True"], ["--seed=0,1"]], ids=["run", "sweep"])
def test_ctrl_c_while_a_progress_bar_is_made_is_no_traceback(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place_of = tqdm.std.tqdm._get_free_pos

    def interrupted(bar: object) -> object:
        os.kill(os.getpid(), signal.SIGINT)
        return place_of(bar)

    with monkeypatch.context() as patch:
        patch.setattr(tqdm.std.tqdm, "_get_free_pos", staticmethod(interrupted))
        assert command(*tiny_flags(tmp_path), *words) == 130
        gc.collect()  # a bar that is made by half complains now
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(("name", "value"), [("WANDB_BASE_URL", "nonsense"), ("WANDB_CONSOLE", "rubbish")])
def test_settings_that_wandb_refuses_are_one_warning(
    name: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import wandb

    wandb.teardown()  # an earlier run of this process has read the settings once and for all
    monkeypatch.setenv(name, value)
    monkeypatch.setenv("WANDB_MODE", "offline")
    directory, summary = run_tiny(tmp_path, wandb=True, epochs=1, depth=2, num_points=40)
    assert summary["epochs"] == 1
    (warning,) = (record.getMessage() for record in caplog.records if record.name.startswith("sweep"))
    assert warning.startswith("Weights & Biases can't be used (")
    assert warning.endswith(f"), so this run is stored in {directory.path} alone.")
    assert "\n" not in warning
