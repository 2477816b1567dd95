"""Executors: one run of a sweep as the single run, what it keeps, errors, processes that die, and the commands."""

from __future__ import annotations

import datetime
import errno
import json
import os
import shutil
import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.processes import Forked
from support.runs import TINY, run_tiny

from model.config.rectangular import RectangularConfig
from model.errors import ConfigError
from sweep.__main__ import main as look
from sweep.executors import worker
from sweep.executors.executor import Executor, Work
from sweep.executors.local import LocalExecutor
from sweep.executors.worker import FULL, RUNS, STOPPED, train
from sweep.grid.expand import Grid, expand
from sweep.grid.options import Keep, SweepConfig
from sweep.ledger.alive import living
from sweep.ledger.entry import Entry, State
from sweep.ledger.ledger import Ledger, LedgerError
from sweep.rectangular import RECTANGULAR
from sweep.run_directory import RunDirectory, RunDirectoryError
from sweep.sweep import Sweep, run_sweep

QUICK: dict[str, list[Any]] = {name: [value] for name, value in TINY.items()} | {"epochs": [2], "threads": [1]}


def ledger_of(folder: Path, **changes: list[Any]) -> Ledger:
    (folder / RUNS).mkdir(exist_ok=True)
    ledger = Ledger(folder, "rectangular")
    ledger.add(expand(RectangularConfig, [Grid({**QUICK, **changes})]))
    return ledger


def claimed(ledger: Ledger) -> Entry:
    with living(ledger.folder, "me") as life:
        entry = ledger.claim(life, 0)
        assert entry is not None
        return entry


def summary_of(run: RunDirectory) -> dict[str, object]:
    content: dict[str, object] = json.loads(run.summary.read_text())
    return {name: value for name, value in content.items() if name != "seconds"}


# One run ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    """A sweep of one run, trained by the code of a worker."""
    ledger = ledger_of(tmp_path_factory.mktemp("sweep"))
    assert train(ledger, RECTANGULAR, claimed(ledger), Keep.WEIGHTS) == 0
    return ledger


def test_a_member_has_the_result_of_its_single_run(finished: Ledger, tmp_path: Path) -> None:
    entry = finished.entry(1)
    member = RunDirectory(finished.folder / RUNS / entry.label)
    alone, _ = run_tiny(tmp_path, epochs=2, threads=1)
    assert entry.state is State.FINISHED
    assert member.metrics.read_bytes() == alone.metrics.read_bytes()
    assert summary_of(member) == summary_of(alone)
    assert {name: value for name, value in (entry.summary or {}).items() if name != "seconds"} == summary_of(alone)


def test_what_a_run_keeps(finished: Ledger, tmp_path: Path) -> None:
    member = RunDirectory(finished.folder / RUNS / finished.entry(1).label)
    kept = {path.relative_to(member.path).as_posix() for path in member.path.rglob("*") if path.is_file()}
    files = {"config.yaml", "environment.json", "metrics.csv", "summary.json", "SHA256SUMS", "checkpoints/best.ckpt"}
    assert kept == files
    for keep, files in ((Keep.ALL, {"a.png", "best.ckpt", "last.ckpt"}), (Keep.METRICS, set())):
        run = RunDirectory(tmp_path / keep.value)
        run.checkpoints.mkdir(parents=True)
        run.plots.mkdir()
        for path in (run.plots / "a.png", run.best_checkpoint, run.last_checkpoint):
            path.touch()
        worker.prune(run, keep)
        assert {path.name for path in run.path.rglob("*") if path.is_file()} == files


@pytest.mark.parametrize("keep", [Keep.WEIGHTS, Keep.METRICS])
def test_a_process_may_be_killed_while_it_prunes_a_run(
    keep: Keep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(run: RunDirectory, _: Keep) -> None:
        run.last_checkpoint.unlink()
        raise SystemExit

    ledger = ledger_of(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(worker, "prune", killed)
        assert train(ledger, RECTANGULAR, claimed(ledger), keep) == STOPPED
    assert train(ledger, RECTANGULAR, claimed(ledger), keep) == 0
    entry = ledger.entry(1)
    run = RunDirectory(tmp_path / RUNS / entry.label)
    assert (entry.state, entry.summary) == (State.FINISHED, json.loads(run.summary.read_text()))
    assert run.best_checkpoint.exists() == (keep is Keep.WEIGHTS)


@pytest.mark.parametrize("damage", ["checkpoint", "config", "no checkpoint"])
def test_the_remedy_for_a_damaged_run_is_that_of_a_sweep(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise SystemExit

    ledger = ledger_of(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(worker, "prune", killed)
        assert train(ledger, RECTANGULAR, claimed(ledger), Keep.WEIGHTS) == STOPPED
    run = RunDirectory(tmp_path / RUNS / ledger.entry(1).label)
    if damage == "checkpoint":
        run.last_checkpoint.write_bytes(run.last_checkpoint.read_bytes()[:-100])
    elif damage == "config":
        run.config.write_text(run.config.read_text().replace("depth: ", "deep: "))
    else:
        run.summary.unlink()
        run.last_checkpoint.unlink()
    assert train(ledger, RECTANGULAR, claimed(ledger), Keep.WEIGHTS) == 0
    entry = ledger.entry(1)
    assert entry.state is State.FAILED
    assert f"or delete {run.path}: the next command of the sweep trains this run" in (entry.error or "")
    assert "--name" not in (entry.error or "")
    shutil.rmtree(run.path)
    with living(ledger.folder, "me") as life:
        again = ledger.claim(life, 1)
    assert again is not None
    assert train(ledger, RECTANGULAR, again, Keep.WEIGHTS) == 0
    assert ledger.entry(1).state is State.FINISHED


@pytest.mark.parametrize(
    ("error", "code", "state", "told"),
    [
        (ValueError("no\nway"), 0, State.FAILED, "ValueError: no way"),
        (ConfigError("x"), 0, State.FAILED, "ConfigError: x"),
        (MemoryError(), 0, State.FAILED, "MemoryError: "),
        (KeyboardInterrupt(), STOPPED, State.INTERRUPTED, None),
        (SystemExit(1), STOPPED, State.INTERRUPTED, None),
        (OSError(errno.ENOSPC, "full"), FULL, State.INTERRUPTED, None),
    ],
)
def test_an_error_of_one_run_is_stored(
    error: BaseException,
    code: int,
    state: State,
    told: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(worker, "_run", fail)
    ledger = ledger_of(tmp_path)
    assert train(ledger, RECTANGULAR, claimed(ledger), Keep.WEIGHTS) == code
    entry = ledger.entry(1)
    assert (entry.state, entry.error) == (state, told)


# Processes ----------------------------------------------------------------------------------------

_STUB = """
import os, sys, time
from pathlib import Path
from typing import Any
from sweep.ledger.alive import living
from sweep.ledger.ledger import Ledger
folder, name = Path(sys.argv[1]), sys.argv[2].partition("=")[2]
retries = int(sys.argv[3].partition("=")[2])
with Ledger(folder, None) as ledger, living(folder, name) as life:
    while (entry := ledger.claim(life, retries)) is not None:
        if entry.config["seed"] == 1 and entry.tries <= {deaths}:
            os.kill(os.getpid(), 9)
        if entry.config["seed"] == 2:
            ledger.fail(entry.number, "ValueError: no", 0.0)
            continue
        ledger.finish(entry.number, {{"test/acc": 0.5, "process": name}}, 0.0)
"""


def execute(ledger: Ledger, code: str, **changes: Any) -> None:
    """Run Python code in place of two workers."""
    work = Work(ledger, retries=1, keep=Keep.ALL, **changes)
    LocalExecutor(workers=2, command=(sys.executable, "-c", code)).run(work)


@pytest.fixture
def forks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The processes of a sweep are forks, which need not import anything."""
    monkeypatch.setattr("sweep.executors.local.subprocess.Popen", Forked)


@pytest.mark.usefixtures("forks")
@pytest.mark.parametrize("deaths", [1, 9])
def test_a_process_that_dies_is_replaced_and_its_run_is_tried_again(deaths: int, tmp_path: Path) -> None:
    ledger = ledger_of(tmp_path, seed=[0, 1, 2, 3])
    execute(ledger, _STUB.format(deaths=deaths))
    entries = list(ledger.entries())
    assert [entry.state.value for entry in entries] == [
        "finished", "finished" if deaths == 1 else "failed", "failed", "finished",
    ]  # fmt: skip
    assert (entries[1].tries, entries[2].tries) == (2, 2)
    logs = "".join(path.read_text() for path in (tmp_path / "logs").iterdir())
    told = "the process was killed by SIGKILL, which also happens when the memory is full"
    assert logs.count(told) == min(deaths, 2)
    if deaths == 9:
        assert (entries[1].error or "").startswith("its process died: see logs/worker-")


@pytest.mark.usefixtures("forks")
def test_processes_that_fail_at_their_start_end_the_sweep(tmp_path: Path) -> None:
    ledger = ledger_of(tmp_path, seed=[0, 1])
    with pytest.raises(LedgerError, match=r"the processes of the sweep end with an error: .*no module of this name"):
        execute(ledger, "raise SystemExit('no module of this name')")
    assert ledger.counts()[State.WAITING] == 2


@pytest.mark.usefixtures("forks")
def test_a_full_disk_ends_the_sweep(tmp_path: Path) -> None:
    ledger = ledger_of(tmp_path, seed=[0, 1])
    with pytest.raises(OSError, match="the disk is full: free some space"):
        execute(ledger, f"raise SystemExit({FULL})")


@pytest.mark.usefixtures("forks")
def test_processes_stop_with_the_command(tmp_path: Path) -> None:
    ledger = ledger_of(tmp_path, seed=[0, 1])
    code = "import os, sys\nwhile os.read(0, 1): pass\nopen(sys.argv[1] + '/stopped', 'w')"

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute(ledger, code, on_change=interrupt)
    assert (tmp_path / "stopped").exists()


def test_a_worker_stops_when_its_input_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    real = os.read
    monkeypatch.setattr(worker.os, "read", lambda _, size: real(read, size))
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(worker.os, "kill", lambda pid, number: sent.append((pid, number)))
    started: list[Any] = []
    monkeypatch.setattr(worker.threading.Thread, "start", lambda self: started.append(self))
    worker._stop_when_input_ends()
    os.close(write)
    started[0].run()
    os.close(read)
    assert sent == [(os.getpid(), signal.SIGINT)]


# Commands -----------------------------------------------------------------------------------------


def sweep_of(folder: Path, **changes: Any) -> Sweep:
    grid = Grid({**QUICK, "output_dir": [str(folder)], "name": ["grid"], "seed": [0, 1]})
    return Sweep(RECTANGULAR, [grid], SweepConfig(**{"workers": 1, **changes}))


def test_a_process_of_a_sweep_finds_its_code_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ledger = ledger_of(tmp_path)
    with living(tmp_path, "other") as life:
        ledger.claim(life, 0)  # leaves nothing to train, for which the process would import torch
        LocalExecutor(workers=1).run(Work(ledger, retries=0, keep=Keep.ALL))
    (log,) = (tmp_path / "logs").iterdir()
    assert log.read_text() == ""
    assert ledger.entry(1).tries == 1


@pytest.mark.usefixtures("forks")
def test_a_sweep_from_the_grid_to_the_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines: list[str] = []
    assert run_sweep(sweep_of(tmp_path, dry_run=True), lines.append) == 0
    assert lines == ["00001-seed=0\n00002-seed=1\n2 runs\n"]
    assert not any(tmp_path.iterdir())
    assert run_sweep(sweep_of(tmp_path), lines.append) == 0
    folder = tmp_path / "grid"
    assert f"2 runs in {folder}\n" in lines
    assert "2 of 2 runs finished" in lines[-1]
    assert (folder / "results.csv").read_text().count("finished") == 2
    assert "All 2 runs finished" in (folder / "sweep.html").read_text(encoding="utf-8")
    assert f"page: {folder / 'sweep.html'}\n" in lines[-1]
    before = (folder / RUNS / "00001-seed=0" / "summary.json").stat().st_mtime_ns
    assert run_sweep(sweep_of(tmp_path), lines.append) == 0
    assert "2 of them known (2 finished)" in lines[-3]
    assert (folder / RUNS / "00001-seed=0" / "summary.json").stat().st_mtime_ns == before
    assert look(["status", str(folder)]) == 0
    assert "finished            2" in capsys.readouterr().out


def test_a_command_may_be_killed_before_it_has_a_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object, **__: object) -> None:
        raise SystemExit

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr("sweep.sweep.Ledger", killed)
        run_sweep(sweep_of(tmp_path))
    monkeypatch.setattr("sweep.sweep.executor_of", lambda *_: Finisher())
    assert run_sweep(sweep_of(tmp_path)) == 0


class Finisher(Executor):
    """Finishes every run that it can claim."""

    def run(self, work: Work) -> None:
        with living(work.ledger.folder, "finisher") as life:
            while entry := work.ledger.claim(life, work.retries):
                work.ledger.finish(entry.number, {}, 0.0)


@pytest.mark.parametrize("other", ["finishes", "is killed"])
def test_a_command_waits_for_another_one_and_takes_over_what_it_leaves(
    other: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = sweep_of(tmp_path)
    (tmp_path / "grid").mkdir()
    ledger = Ledger(tmp_path / "grid", "rectangular")
    ledger.add(sweep.members())
    ends = ExitStack()
    life = ends.enter_context(living(ledger.folder, "another command"))
    held = ledger.claim(life, 0)
    assert held is not None
    seen: list[int] = []
    lines: list[str] = []

    def passes(_: float) -> None:
        seen.append(ledger.counts()[State.RUNNING])
        if len(seen) == 2:
            if other == "finishes":
                ledger.finish(held.number, {}, 1.0)
            ends.close()

    monkeypatch.setattr("sweep.sweep.time.sleep", passes)
    monkeypatch.setattr("sweep.sweep.executor_of", lambda *_: Finisher())
    assert run_sweep(sweep, lines.append) == 0
    assert seen == [1, 1]
    assert ledger.entry(held.number).tries == (1 if other == "finishes" else 2)
    assert [line for line in lines if line.startswith("waiting for 1 run of another command")]
    assert lines[-1].startswith("2 of 2 runs finished")


@pytest.mark.usefixtures("data_alone")
def test_a_finished_run_is_opened_with_plots_and_the_same_result(
    finished: Ledger, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert look(["open", str(finished.folder), "1"]) == 0
    run = RunDirectory(capsys.readouterr().out.strip())
    assert run.report.is_file()
    assert (run.plots / "accuracy.png").is_file()
    numbers = {name: value for name, value in (finished.entry(1).summary or {}).items() if name != "seconds"}
    assert summary_of(run) == numbers
    assert not caplog.records
    before = run.summary.stat().st_mtime_ns
    assert look(["open", str(finished.folder), finished.entry(1).label]) == 0
    assert run.summary.stat().st_mtime_ns == before, "the run is made once"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["status", "{}/none"], "is no folder of a sweep"),
        (["open", "{}", "7"], "has no run of number 7"),
        (["open", "{}", "seven"], "has no run 'seven'"),
        (["open", "{}", "1"], "is waiting: only a finished run can be opened"),
    ],
)
def test_wrong_commands_are_one_line(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger_of(tmp_path).close()
    with pytest.raises(SystemExit) as stop:
        look([word.format(tmp_path) for word in arguments])
    err = capsys.readouterr().err
    assert (stop.value.code, err.count("\n")) == (2, 1)
    assert message in err


def test_sweeps_without_a_name_that_begin_at_once_have_folders_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.datetime(2026, 1, 2)
    clock = SimpleNamespace(datetime=SimpleNamespace(now=lambda: now))
    monkeypatch.setattr("sweep.sweep.datetime", clock)
    monkeypatch.setattr(LocalExecutor, "run", lambda *_: None)
    for seeds in ([0, 1], [2, 3], [4, 5]):
        grid = Grid({**QUICK, "output_dir": [str(tmp_path)], "seed": seeds})
        run_sweep(Sweep(RECTANGULAR, [grid], SweepConfig(workers=1)), lambda _: None)
    folders = [tmp_path / f"sweep-20260102-000000{ending}" for ending in ("", "-2", "-3")]
    assert all(Ledger(folder, None).counts()[State.WAITING] == 2 for folder in folders)


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "grid").mkdir()
    (tmp_path / "grid" / "thesis.tex").touch()
    with pytest.raises(RunDirectoryError, match=r"holds something else than a sweep\. Choose another --name"):
        run_sweep(sweep_of(tmp_path), lambda line: None)
    (tmp_path / "grid" / "config.yaml").touch()
    with pytest.raises(RunDirectoryError, match=r"is the directory of a single run\. Choose another --name"):
        run_sweep(sweep_of(tmp_path), lambda line: None)
    unknown = Sweep(RECTANGULAR, [Grid({**QUICK, "dataset": ["moons", "mooons"]})], SweepConfig())
    with pytest.raises(ConfigError, match="mooons"):
        run_sweep(unknown, lambda line: None)


def test_a_system_without_locks_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweep.ledger.alive.sys.platform", "win32")
    with pytest.raises(RunDirectoryError, match="a sweep needs locks of files, which Windows does not have: run it on"):
        run_sweep(sweep_of(tmp_path), lambda line: None)
    assert not any(tmp_path.iterdir())
