"""Sweeps on clusters: shares of jobs, outcomes, actors, what is missing, and ledgers on network drives."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.runs import ROOT, TINY

from model.config.rectangular import RectangularConfig
from model.errors import ConfigError
from sweep.cli import main, read_command
from sweep.executors import extras, slurm
from sweep.executors.executor import Work
from sweep.executors.outcome import Outbox, Outcome, packed, unpack
from sweep.executors.slurm import JOBS, Share, SlurmExecutor, end_jobs, read_outcome, write_outcome
from sweep.executors.worker import FULL, RUNS, STOPPED
from sweep.grid.expand import Grid, expand
from sweep.grid.options import Keep, SweepConfig
from sweep.ledger.alive import is_alive, joined, living
from sweep.ledger.alone import OWNER, owned
from sweep.ledger.entry import State
from sweep.ledger.ledger import NAME, Ledger, LedgerError
from sweep.run_directory import RunDirectoryError

HAS = {name: importlib.util.find_spec(name) is not None for name in ("ray", "submitit")}
QUICK: dict[str, list[Any]] = {name: [value] for name, value in TINY.items()} | {"epochs": [2], "threads": [1]}


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    (tmp_path / RUNS).mkdir()
    with Ledger(tmp_path, "rectangular") as opened:
        opened.add(expand(RectangularConfig, [Grid({**QUICK, "seed": list(range(5))})]))
        yield opened


def states(ledger: Ledger) -> list[tuple[str, int]]:
    return [(entry.state.value, entry.tries) for entry in ledger.entries()]


# Slurm --------------------------------------------------------------------------------------------


class Cluster:
    """A cluster whose jobs run one after the other, when the command looks whether they are done.

    Args:
        deaths: Jobs that die before one of their runs ends, and then all that follow are well.
    """

    def __init__(self, deaths: int = 0) -> None:
        self.deaths, self.canceled = deaths, 0
        self.submitted: list[Share] = []

    def batch(self) -> Any:
        return threading.Lock()

    def submit(self, share: Share) -> Any:
        self.submitted.append(share)
        return _Handle(self, share)


class _Handle:
    job_id = "7_0"

    def __init__(self, cluster: Cluster, share: Share) -> None:
        self.cluster, self.share = cluster, share

    def done(self, force_check: bool = False) -> bool:
        if self.cluster.deaths:
            self.cluster.deaths -= 1
            (self.share.folder / JOBS / self.share.name / str(self.share.entries[0].number)).mkdir()
        elif not self.cluster.canceled:
            self.share()
        return True

    def cancel(self, check: bool) -> None:
        self.cluster.canceled += 1


def results_of(*fails: int) -> Any:
    """In place of training: the runs of these numbers fail at their first try."""

    def train(outbox: Outbox, family: object, entry: Any, keep: Keep) -> int:
        if entry.number in fails and entry.tries == 1:
            outbox.fail(entry.number, "ValueError: no", 1.0)
        else:
            outbox.finish(entry.number, {"test/acc": entry.number / 10, "nothing": float("nan")}, 2.0)
        return 0

    return train


def on(cluster: Cluster, monkeypatch: pytest.MonkeyPatch, *fails: int, workers: int = 2) -> SlurmExecutor:
    monkeypatch.setattr(slurm, "train", results_of(*fails))
    monkeypatch.setattr(slurm, "_POLL_SECONDS", 0.0)
    monkeypatch.setattr(SlurmExecutor, "_submitit", lambda self, token: cluster)
    return SlurmExecutor(workers, {}, cluster="stub")


def test_jobs_share_the_runs_and_each_run_has_one_owner(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster()
    on(cluster, monkeypatch, 3).run(Work(ledger, 1, Keep.ALL))
    assert states(ledger) == [("finished", 1)] * 2 + [("finished", 2)] + [("finished", 1)] * 2
    assert [[entry.number for entry in share.entries] for share in cluster.submitted] == [[1, 3, 5], [2, 4], [3]]
    assert ledger.entry(4).summary is not None
    assert ledger.entry(4).summary["test/acc"] == 0.4
    assert not list((ledger.folder / JOBS).iterdir())
    assert not list((ledger.folder / "workers").iterdir())


@pytest.mark.parametrize("retries", [0, 1])
def test_a_job_that_dies_costs_the_run_that_it_trained(
    retries: int, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    on(Cluster(deaths=1), monkeypatch, workers=1).run(Work(ledger, retries, Keep.ALL))
    assert states(ledger) == [("finished", 2) if retries else ("failed", 1)] + [("finished", 1)] * 4
    assert retries or "its process died: see logs/slurm-" in (ledger.entry(1).error or "")


def test_jobs_that_all_die_end_the_sweep(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LedgerError, match="the jobs of the sweep end without a result: see logs/7_0/"):
        on(Cluster(deaths=9), monkeypatch, workers=1).run(Work(ledger, 9, Keep.ALL))
    assert ledger.counts()[State.RUNNING] == 0


def test_ctrl_c_cancels_the_jobs(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    cluster = Cluster()
    executor = on(cluster, monkeypatch)
    monkeypatch.setattr(_Handle, "done", lambda self, force_check=False: force_check)
    with pytest.raises(KeyboardInterrupt):
        executor.run(Work(ledger, 1, Keep.ALL, interrupt))
    assert cluster.canceled == 2
    assert states(ledger) == [("waiting", 0)] * 5, "nothing was begun"


def test_a_share_goes_on_where_it_was_stopped(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = tuple(ledger.entries())
    share = Share(ledger.folder, "me", "rectangular", Keep.ALL, entries)
    stopped = {2: STOPPED, 4: FULL}
    trained = []

    def train(outbox: Outbox, family: object, entry: Any, keep: Keep) -> int:
        trained.append(entry.number)
        code = stopped.pop(entry.number, 0)
        (outbox.interrupt if code else outbox.finish)(*((entry.number,) if code else (entry.number, {}, 1.0)))
        return code

    monkeypatch.setattr(slurm, "train", train)
    with living(ledger.folder, "me"):
        for code in (STOPPED, FULL):
            with pytest.raises(SystemExit) as stop:
                share()
            assert stop.value.code == code
        assert [entry.number for entry in share.not_begun()] == [5]
        share()
    assert trained == [1, 2, 2, 3, 4, 4, 5]
    assert [outcome.state for outcome in share.outcomes()] == [State.FINISHED] * 5
    share()
    assert len(trained) == 7, "a job whose command has ended trains nothing"


def test_what_jobs_of_a_killed_command_finished_is_kept(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    with living(ledger.folder, "slurm-old") as life:
        share = Share(ledger.folder, life.name, "rectangular", Keep.ALL, (ledger.claim(life, 0), ledger.claim(life, 0)))
    share.announce("sweep-abc")
    place = ledger.folder / JOBS / life.name
    (place / "1").mkdir()
    write_outcome(place / "1" / "outcome.json", Outcome(1, State.FINISHED, summary={"test/acc": 1.0}))
    calls: list[list[str]] = []

    def call(words: list[str], **_: object) -> Any:
        calls.append(words)
        return subprocess.CompletedProcess(words, 0, stdout=b"9 " if len(calls) == 2 else b"")

    monkeypatch.setattr(slurm.subprocess, "run", call)
    monkeypatch.setattr(slurm, "_POLL_SECONDS", 0.0)
    end_jobs(ledger)
    assert [words[0] for words in calls] == ["scancel", "squeue", "squeue"], "it waits until the jobs have gone"
    assert all("--name=sweep-abc" in words for words in calls)
    ledger.recover()
    assert states(ledger)[:3] == [("finished", 1), ("interrupted", 1), ("waiting", 0)]
    assert not place.exists()


def test_an_outcome_survives_its_file(tmp_path: Path) -> None:
    for outcome in (
        Outcome(7, State.FINISHED, summary={"a": 1, "b": float("inf"), "c": {"d": [1]}}, seconds=2.5),
        Outcome(8, State.FAILED, error="ValueError: é"),
        Outcome(9, State.INTERRUPTED),
    ):
        write_outcome(tmp_path / "outcome.json", outcome)
        assert read_outcome(tmp_path / "outcome.json") == outcome


def test_files_travel(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c.bin").write_bytes(bytes(range(256)))
    unpack(packed(tmp_path / "a"), tmp_path / "there")
    assert (tmp_path / "there" / "b" / "c.bin").read_bytes() == bytes(range(256))
    assert packed(tmp_path / "none") is None
    unpack(None, tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


_SBATCH = """#!{python}
import os, re, shlex, subprocess, sys
text = open(sys.argv[-1]).read()
assert "#SBATCH --partition=gpu" in text and "#SBATCH --requeue" in text and "#SBATCH --time=9" in text, text
size = int(re.search(r"--array=0-(\\d+)", text)[1]) + 1 if "--array" in text else 1
command = shlex.split(text.strip().splitlines()[-1])
command = command[next(i for i, word in enumerate(command) if word.endswith("python") or word == "{python}"):]
for task in range(size):
    names = dict(SLURM_JOB_ID=str(50 + task), SLURM_ARRAY_JOB_ID="50", SLURM_ARRAY_TASK_ID=str(task))
    if size == 1:
        names = dict(SLURM_JOB_ID="50")
    subprocess.Popen(command, env={{**os.environ, **names, "SUBMITIT_EXECUTOR": "slurm"}},
        stdout=open("{folder}/out.txt", "a"), stderr=subprocess.STDOUT)
print("Submitted batch job 50")
"""


@pytest.mark.slow
@pytest.mark.skipif(not HAS["submitit"], reason="submitit is not installed")
@pytest.mark.parametrize("cluster", ["slurm", "local"])
def test_submitit_runs_a_sweep(cluster: str, ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its local executor, and by commands that look like those of Slurm."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, text in {
        "sbatch": _SBATCH.format(python=sys.executable, folder=tools),
        **dict.fromkeys(("srun", "scancel", "squeue", "sacct"), "#!/bin/sh\n"),
    }.items():
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    options = SweepConfig(executor="slurm", slurm="partition=gpu,time=9", workers=2)
    executor = SlurmExecutor.planned(options)
    executor.cluster = cluster
    executor.run(Work(ledger, 0, Keep.WEIGHTS))
    out = (tools / "out.txt").read_text() if (tools / "out.txt").exists() else ""
    assert states(ledger) == [("finished", 1)] * 5, out
    assert len(list((tmp_path / RUNS).glob("*/summary.json"))) == 5


# Ray ----------------------------------------------------------------------------------------------

ray_needed = pytest.mark.skipif(not HAS["ray"], reason="ray is not installed")


def ray_sweep(folder: Path, *words: str) -> subprocess.Popen[bytes]:
    flags = [f"--{name}={value}" for name, value in TINY.items()]
    command = [sys.executable, "run_rectangular_sweep.py", *flags, f"--output_dir={folder}", "--name=ray"]
    return subprocess.Popen([*command, "--executor=ray", "--workers=2", *words], cwd=ROOT, start_new_session=True)


@pytest.mark.slow
@ray_needed
def test_ray_gives_the_run_of_a_lost_process_to_another_one(tmp_path: Path) -> None:
    command = ray_sweep(tmp_path, "--seed=0..3", "--epochs=300", "--checkpoint_seconds=0")
    lost = False
    while command.poll() is None:
        time.sleep(0.2)
        if not lost and list((tmp_path / "ray" / RUNS).glob("*/checkpoints/last.ckpt")):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                if path.read_bytes().startswith(b"ray::Trainer.train") and not lost:
                    os.kill(int(path.parent.name), signal.SIGKILL)
                    lost = True
    assert lost
    assert command.returncode == 0
    with Ledger(tmp_path / "ray", None) as ledger:
        assert sorted(states(ledger)) == [("finished", 1)] * 3 + [("finished", 2)]


@pytest.mark.slow
@ray_needed
def test_ctrl_c_stores_the_state_of_runs_on_ray(tmp_path: Path) -> None:
    command = ray_sweep(tmp_path, "--seed=0..3", "--epochs=100000")
    while not list((tmp_path / "ray" / RUNS).glob("*/metrics.csv")):
        assert command.poll() is None
        time.sleep(0.2)
    command.send_signal(signal.SIGINT)
    assert command.wait(90) == 130
    with Ledger(tmp_path / "ray", None) as ledger:
        assert "interrupted" in {state for state, _ in states(ledger)}
        assert ledger.counts()[State.RUNNING] == 0
    assert list((tmp_path / "ray" / RUNS).glob("*/checkpoints/last.ckpt"))


@pytest.mark.slow
@ray_needed
def test_ray_refuses_gpus_that_the_cluster_lacks(tmp_path: Path) -> None:
    assert ray_sweep(tmp_path, "--seed=0..3", "--gpus_per_run=0.25").wait() == 2
    assert not list(tmp_path.iterdir())


# What is missing ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("executor", "library"), [("ray", "ray"), ("slurm", "submitit")])
def test_a_missing_library_is_named_before_anything_is_written(
    executor: str, library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = extras.importlib.import_module

    def absent(name: str) -> Any:
        if name == library:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name)

    monkeypatch.setattr(extras.importlib, "import_module", absent)
    from sweep.rectangular import RECTANGULAR
    from sweep.sweep import Sweep, run_sweep

    words = [f"--executor={executor}", "--seed=0..1", f"--output_dir={tmp_path}", "--dataset=moons"]
    start = lambda command: run_sweep(Sweep(RECTANGULAR, command.grids, command.options))  # noqa: E731
    assert main(lambda run: None, RectangularConfig, words, description="", sweep=start) == 2
    assert f"needs {library}, which is not installed: pip install" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--executor=ray"], "executor=ray trains the runs of a sweep, got one run"),
        (["--executor=rai", "--seed=0,1"], "executor must be one of local, ray, slurm, got 'rai'. Did you mean 'ray'?"),
        (["--gpus_per_run=1.5", "--seed=0,1"], "gpus_per_run must be a whole number above 1, got 1.5"),
        (["--gpus_per_run=-1", "--seed=0,1"], "gpus_per_run must be >= 0"),
        (["--executor=slurm", "--gpus_per_run=0.5", "--seed=0,1"], "whole number with executor=slurm, got 0.5"),
        (["--ray_address=auto", "--seed=0,1"], "ray_address needs executor=ray, got executor=local"),
        (["--executor=ray", "--slurm=time=3", "--seed=0,1"], "slurm needs executor=slurm, got executor=ray"),
        (["--executor=slurm", "--slurm=partition", "--seed=0,1"], "slurm must be different name=value pairs"),
        (["--executor=slurm", "--slurm=time=1,time=2", "--seed=0,1"], "slurm must be different name=value pairs"),
        (["--executor=slurm", "--slurm=time=1-00:00", "--seed=0,1"], "time must be a whole number of minutes >= 1"),
    ],
)
def test_wrong_options_of_executors_are_one_line(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(lambda run: None, RectangularConfig, words, description="", sweep=lambda command: 0) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_slurm_without_its_commands_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm, "needed", lambda *_: None)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigError, match="executor=slurm needs sbatch and srun on this machine"):
        SlurmExecutor.planned(SweepConfig(executor="slurm"))


def test_options_of_sbatch_reach_submitit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm, "needed", lambda *_: None)
    monkeypatch.setattr(slurm.shutil, "which", lambda name: name)
    (grid,) = [
        read_command(
            RectangularConfig, ["--slurm=--partition=gpu, mem=8G,time=60", "--executor=slurm"], description=""
        ).grid
    ]
    assert SlurmExecutor.planned(grid.options).parameters == {
        "timeout_min": 60,
        "cpus_per_task": 1,
        "slurm_additional_parameters": {"requeue": True, "partition": "gpu", "mem": "8G"},
    }


# Ledgers on network drives ------------------------------------------------------------------------


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweep.ledger.ledger.network_drive_of", lambda folder: "nfs4")


@pytest.mark.usefixtures("network")
def test_one_command_writes_a_ledger_on_a_network_drive_and_others_read(tmp_path: Path) -> None:
    runs = expand(RectangularConfig, [Grid({"seed": [0, 1]})])
    with pytest.raises(LedgerError, match=r"on a network drive \(nfs4\).*or an --executor whose processes leave"):
        Ledger(tmp_path, "rectangular")
    with Ledger(tmp_path, "rectangular", alone=True) as ledger, living(tmp_path, "me") as life:
        ledger.add(runs)
        with pytest.raises(
            RunDirectoryError, match=rf"is in use by process {os.getpid()} on .* if it was killed, remove"
        ):
            Ledger(tmp_path, "rectangular", alone=True)
        entry = ledger.claim(life, 0)
        assert entry is not None
        ledger.finish(entry.number, {"test/acc": 1.0}, 1.0)
    with Ledger(tmp_path, None) as reader:
        assert states(reader) == [("finished", 1), ("waiting", 0)]
        before = (tmp_path / NAME).read_bytes()
        reader.fail(2, "no", 0.0)
    assert (tmp_path / NAME).read_bytes() == before, "a reader changes nothing"
    assert not (tmp_path / OWNER).exists()
    with Ledger(tmp_path, "rectangular", alone=True) as ledger:
        assert ledger.add(runs) == (0, 2)


def test_a_folder_may_move_between_a_local_disk_and_a_network_drive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Ledger(tmp_path, "rectangular") as ledger:
        ledger.add(expand(RectangularConfig, [Grid({"seed": [0, 1]})]))
    with monkeypatch.context() as patch:
        patch.setattr("sweep.ledger.ledger.network_drive_of", lambda folder: "nfs4")
        with Ledger(tmp_path, "rectangular", alone=True) as ledger:
            assert ledger.counts()[State.WAITING] == 2
            ledger.fail(1, "no", 0.0)
    with Ledger(tmp_path, None) as ledger:
        assert ledger.counts()[State.FAILED] == 1
    with sqlite3.connect(tmp_path / NAME) as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)


@pytest.mark.usefixtures("network")
def test_a_damaged_ledger_on_a_network_drive_is_kept(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"something else, longer than the header of a database" * 99)
    before = (tmp_path / NAME).read_bytes()
    for family in ("rectangular", None):
        with pytest.raises(LedgerError, match=r"ledger\.sqlite can't be used"):
            Ledger(tmp_path, family, alone=True)
    assert (tmp_path / NAME).read_bytes() == before
    assert not (tmp_path / OWNER).exists()


@pytest.mark.parametrize(("host", "taken"), [(socket.gethostname(), True), ("other", False)])
def test_the_folder_of_a_killed_command_is_taken_over_on_its_machine(host: str, taken: bool, tmp_path: Path) -> None:
    (tmp_path / OWNER).write_text(f"process 1 on {host}")
    if taken:
        with owned(tmp_path):
            assert (tmp_path / OWNER).read_text() == f"process {os.getpid()} on {host}"
        return
    with pytest.raises(RunDirectoryError, match="is in use by process 1 on other"), owned(tmp_path):
        pass
    assert (tmp_path / OWNER).read_text() == "process 1 on other"


def test_a_name_is_alive_until_both_processes_have_ended(tmp_path: Path) -> None:
    with living(tmp_path, "one") as life:
        both = joined(tmp_path, life.name)
        both.__enter__()
        path = tmp_path / "workers" / "one"
        os.link(path, tmp_path / "kept")  # as if the first process were killed, and could not remove its file
    os.rename(tmp_path / "kept", path)
    assert is_alive(tmp_path, "one")
    both.__exit__(None, None, None)
    assert not is_alive(tmp_path, "one")
    path.unlink()
    with pytest.raises(FileNotFoundError), joined(tmp_path, "one"):
        pass
