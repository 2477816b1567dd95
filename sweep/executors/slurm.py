"""The Slurm executor: an array of jobs, each of which trains a share of the runs.

The ledger stays with the command, which reads what became of each run from files that the jobs leave in the folder of
the sweep. A job that reaches its time limit, or makes way for another one, is queued again and goes on.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from jumpstart.files import write_text
from model.errors import ConfigError
from sweep.executors.executor import Executor, Work
from sweep.executors.extras import needed
from sweep.executors.local import environment_of_process, open_runs
from sweep.executors.outcome import Outbox, Outcome
from sweep.executors.worker import train
from sweep.families import family_named
from sweep.grid.options import Keep, SweepConfig
from sweep.ledger.alive import Life, joined, living
from sweep.ledger.entry import Entry, State
from sweep.ledger.ledger import LOGS, Ledger, LedgerError

JOBS = "slurm"
"""The folder of what the jobs leave, in that of the sweep."""
_JOB = "job.txt"
_MOST_JOBS = 100
_MINUTES = 240
_MOST_REQUEUES = 1000
_MOST_DEATHS = 3
_POLL_SECONDS = 0.5
_STOP_SECONDS = 120.0


@dataclass(frozen=True)
class Share:
    """The runs of one job, which submitit calls on a node of the cluster.

    Args:
        folder: The folder of the sweep.
        name: The name of the job in the ledger.
        family: The name of the family of networks.
        keep: What a finished run keeps.
        entries: The runs.
    """

    folder: Path
    name: str
    family: str
    keep: Keep
    entries: tuple[Entry, ...]

    def __call__(self) -> None:
        """Train the runs that have no outcome yet."""
        with contextlib.suppress(FileNotFoundError), joined(self.folder, self.name):
            family = family_named(self.family)
            for entry in self.entries:
                place = self._place(entry)
                if (place / "outcome.json").is_file():
                    continue
                place.mkdir(parents=True, exist_ok=True)
                outbox = Outbox(self.folder)
                code = train(outbox, family, entry, self.keep)
                if code:
                    raise SystemExit(code)  # no error, which submitit would take for the end of the job
                write_outcome(place / "outcome.json", outbox.outcomes[-1])

    def checkpoint(self) -> Any:
        """What submitit queues again at the time limit: the same share, whose finished runs have outcomes."""
        return needed("submitit", "executor=slurm").helpers.DelayedSubmission(self)

    def announce(self, token: str | None) -> None:
        """Make the folder of what the job leaves, and name the job in it before the job exists.

        Args:
            token: The name of the job in Slurm; None for none.
        """
        place = self.folder / JOBS / self.name
        place.mkdir(parents=True)
        if token is not None:
            (place / _JOB).write_text(token, encoding="utf-8")

    def not_begun(self) -> list[Entry]:
        """The runs that the job has not begun."""
        return [entry for entry in self.entries if not self._place(entry).is_dir()]

    def outcomes(self) -> list[Outcome]:
        """What became of the runs that have ended."""
        paths = (self._place(entry) / "outcome.json" for entry in self.entries)
        return [read_outcome(path) for path in paths if path.is_file()]

    def _place(self, entry: Entry) -> Path:
        return self.folder / JOBS / self.name / str(entry.number)


@dataclass
class _Job:
    """A share in the queue or on a node, with what the command holds for it."""

    share: Share
    held: ExitStack
    handle: Any
    recorded: set[int] = field(default_factory=set)

    def record(self, ledger: Ledger) -> None:
        """Store the outcomes that are new."""
        for outcome in self.share.outcomes():
            if outcome.number not in self.recorded:
                outcome.record(ledger)
                self.recorded.add(outcome.number)


@dataclass
class SlurmExecutor(Executor):
    """Jobs of a Slurm cluster that train the runs of a sweep.

    Args:
        workers: The number of jobs, each of which trains its share of the runs.
        parameters: Arguments of submitit's ``AutoExecutor.update_parameters``.
        cluster: The cluster as submitit names it; ``local`` for processes on this machine, in tests.
    """

    claims_alone: ClassVar[bool] = True

    workers: int
    parameters: Mapping[str, object]
    cluster: str = "slurm"
    _work: Work = field(init=False, repr=False, compare=False)
    _jobs: list[_Job] = field(default_factory=list, init=False)
    _deaths: int = field(default=0, init=False)

    @classmethod
    def planned(cls, options: SweepConfig) -> SlurmExecutor:
        """The executor for the Slurm cluster of this machine.

        Args:
            options: The options of the sweep.

        Raises:
            ConfigError: If submitit or Slurm is missing.
        """
        needed("submitit", "executor=slurm")
        if shutil.which("sbatch") is None or shutil.which("srun") is None:
            raise ConfigError(
                "executor=slurm needs sbatch and srun on this machine, got neither: choose executor=local."
            )
        sbatch = options.sbatch_options
        gpus = {"gpus_per_node": int(options.gpus_per_run)} if options.gpus_per_run else {}
        parameters: dict[str, object] = {
            "timeout_min": int(sbatch.pop("time", _MINUTES)),
            "cpus_per_task": int(sbatch.pop("cpus-per-task", 1)),
            "slurm_additional_parameters": {"requeue": True, **sbatch},
            **gpus,
        }
        return cls(options.workers or _MOST_JOBS, parameters)

    def run(self, work: Work) -> None:
        """Train all runs that are not finished; see :meth:`~sweep.executors.executor.Executor.run`."""
        self._work = work
        end_jobs(work.ledger)
        with _environment(environment_of_process()):
            try:
                self._submit(min(self.workers, open_runs(work.ledger)))
                while self._jobs:
                    time.sleep(_POLL_SECONDS)
                    for job in list(self._jobs):
                        done = job.handle.done()
                        job.record(work.ledger)
                        if done:
                            self._jobs.remove(job)
                            self._ended(job)
                    work.on_change()
            finally:
                self._stop()

    def _submit(self, count: int) -> None:
        """Claim all runs that are left, and submit a job array that shares them out."""
        ledger, keep = self._work.ledger, self._work.keep
        lives = [(f"slurm-{uuid.uuid4().hex[:12]}", ExitStack()) for _ in range(count)]
        for name, held in lives:
            held.enter_context(living(ledger.folder, name))
        claimed = list(_claims(ledger, [Life(name) for name, _ in lives], self._work.retries))
        token = f"sweep-{uuid.uuid4().hex[:12]}"
        jobs = []
        for place, (name, held) in enumerate(lives):
            share = Share(ledger.folder.absolute(), name, ledger.family, keep, tuple(claimed[place::count]))
            if not share.entries:
                held.close()
                continue
            share.announce(token if self.cluster == "slurm" else None)
            jobs.append((share, held))
        if not jobs:
            return
        executor = self._submitit(token)
        with executor.batch():
            handles = [executor.submit(share) for share, _ in jobs]
        self._jobs += [_Job(share, held, handle) for (share, held), handle in zip(jobs, handles, strict=True)]

    def _submitit(self, token: str) -> Any:
        submitit = needed("submitit", "executor=slurm")
        logs = self._work.ledger.folder.absolute() / LOGS / "%j"
        executor = submitit.AutoExecutor(logs, cluster=self.cluster, slurm_max_num_timeout=_MOST_REQUEUES)
        executor.update_parameters(**self.parameters, slurm_job_name=token)
        return executor

    def _ended(self, job: _Job) -> None:
        """Submit what a job has left, which counts as a failure for the run in which the job ended."""
        ledger = self._work.ledger
        log = ledger.folder / LOGS / f"{job.share.name}.log"
        log.parent.mkdir(exist_ok=True)
        log.write_text(f"the output of this job is in {LOGS}/{job.handle.job_id}/\n", encoding="utf-8")
        self._release(job)
        self._deaths = 0 if job.recorded else self._deaths + 1
        if self._deaths >= _MOST_DEATHS:
            raise LedgerError(f"the jobs of the sweep end without a result: see {LOGS}/{job.handle.job_id}/.")
        self._submit(1)

    def _release(self, job: _Job) -> None:
        """Give back the runs that a job has not begun, and let go of the others."""
        for entry in job.share.not_begun():
            self._work.ledger.give_back(entry.number)
        job.held.close()
        shutil.rmtree(job.share.folder / JOBS / job.share.name, ignore_errors=True)

    def _stop(self) -> None:
        """Cancel the jobs, wait until they have stored the state of their runs, and store their outcomes."""
        for job in self._jobs:
            job.handle.cancel(check=False)
        until = time.monotonic() + _STOP_SECONDS
        for job in self._jobs:
            while not job.handle.done(force_check=True) and time.monotonic() < until:
                time.sleep(_POLL_SECONDS)
            job.record(self._work.ledger)
            self._release(job)
        self._jobs.clear()
        self._work.ledger.recover()


def end_jobs(ledger: Ledger) -> None:
    """End the jobs of a command that was killed, store what they have finished, and give back their other runs.

    Args:
        ledger: The ledger.
    """
    places = [path for path in (ledger.folder / JOBS).glob("slurm-*") if path.is_dir()]
    names = ",".join({path.read_text(encoding="utf-8") for place in places for path in place.glob(_JOB)})
    if names:
        subprocess.run(["scancel", "--me", f"--name={names}"], check=False)
        until = time.monotonic() + _STOP_SECONDS
        while _queued(names) and time.monotonic() < until:
            time.sleep(_POLL_SECONDS)
    for place in places:
        for path in place.glob("*/outcome.json"):
            outcome = read_outcome(path)
            if ledger.entry(outcome.number).state is not State.FINISHED:
                outcome.record(ledger)
        shutil.rmtree(place, ignore_errors=True)


def write_outcome(path: Path, outcome: Outcome) -> None:
    """Write an outcome as JSON, atomically.

    Args:
        path: The file.
        outcome: The outcome.
    """
    write_text(path, json.dumps({**vars(outcome), "state": outcome.state.value}))


def read_outcome(path: Path) -> Outcome:
    """The outcome in a file of :func:`write_outcome`.

    Args:
        path: The file.
    """
    content = json.loads(path.read_text(encoding="utf-8"))
    return Outcome(**{**content, "state": State(content["state"])})


def _claims(ledger: Ledger, lives: list[Life], retries: int) -> Iterator[Entry]:
    """All runs that can be claimed, by the lives in turn."""
    place = 0
    while (entry := ledger.claim(lives[place % len(lives)], retries)) is not None:
        yield entry
        place += 1


def _queued(names: str) -> bool:
    """Whether Slurm still knows a job of these names as waiting or running."""
    words = ["squeue", "--me", "--noheader", f"--name={names}"]
    return bool(subprocess.run(words, check=False, capture_output=True).stdout.strip())


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """The environment of this process with other variables, which jobs inherit."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
