"""The local executor: processes on this machine, one run at a time in each."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from model.errors import ConfigError
from sweep.executors.executor import Executor, Work
from sweep.executors.gpus import VISIBLE, names_of_gpus, room_for, shares
from sweep.executors.worker import FULL
from sweep.ledger.alive import was_killed
from sweep.ledger.entry import State
from sweep.ledger.ledger import LOGS, Ledger, LedgerError

_ROOT = Path(__file__).resolve().parents[2]
_POLL_SECONDS = 0.2
_STOP_SECONDS = 60.0
_MOST_DEATHS = 3
"""Processes in a row that may end with an error of their own."""


@dataclass
class LocalExecutor(Executor):
    """Processes that train the runs of a sweep until none is left.

    Args:
        workers: The number of processes.
        gpus: The GPUs that each process may see, as CUDA_VISIBLE_DEVICES names them; empty for no change.
        command: The words that start a process, before those that every process gets.
    """

    workers: int
    gpus: Sequence[str] = ()
    command: Sequence[str] = (sys.executable, "-m", "sweep.executors.worker")
    _work: Work = field(init=False, repr=False, compare=False)
    _processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict, init=False)
    _places: dict[str, int] = field(default_factory=dict, init=False)
    _deaths: int = field(default=0, init=False)

    @classmethod
    def planned(cls, workers: int | None, gpus_per_run: float | None, *, on_gpus: bool) -> LocalExecutor:
        """The executor for this machine.

        Args:
            workers: The number of processes; None: one for each core, or as many as the GPUs have room for.
            gpus_per_run: GPUs of each run; None: one, or the share of one that the number of processes leaves.
            on_gpus: Whether the runs use the GPUs that they can see.

        Raises:
            ConfigError: If there are fewer GPUs than one run needs.
        """
        gpus = names_of_gpus() if on_gpus and gpus_per_run != 0 else []
        if gpus_per_run and not on_gpus:
            raise ConfigError("gpus_per_run needs gpus=auto in the runs: leave out --gpus, or leave out gpus_per_run.")
        if gpus_per_run and len(gpus) < gpus_per_run:
            raise ConfigError(f"gpus_per_run must be at most the {len(gpus)} of this machine, got {gpus_per_run:g}.")
        if not gpus:
            hidden = [""] if on_gpus and gpus_per_run == 0 else []
            workers = workers or default_workers()
            return cls(workers, hidden * workers)
        workers = workers or room_for(len(gpus), gpus_per_run or 1)
        return cls(workers, shares(gpus, gpus_per_run or 1, workers))

    def run(self, work: Work) -> None:
        """Train all runs that are not finished; see :meth:`~sweep.executors.executor.Executor.run`."""
        self._work = work
        try:
            for place in range(min(self.workers, open_runs(work.ledger))):
                self._start(place)
            while self._processes:
                time.sleep(_POLL_SECONDS)
                for name, process in list(self._processes.items()):
                    if process.poll() is not None:
                        self._ended(name, process)
                work.on_change()
        finally:
            self._stop()

    def _start(self, place: int) -> None:
        name = f"worker-{uuid.uuid4().hex[:12]}"
        folder = self._work.ledger.folder
        (folder / LOGS).mkdir(exist_ok=True)
        words = [*self.command, str(folder.absolute()), f"--name={name}"]
        words += [f"--retries={self._work.retries}", f"--keep={self._work.keep.value}"]
        environment = environment_of_process() | ({VISIBLE: self.gpus[place]} if self.gpus else {})
        self._places[name] = place
        with (folder / LOGS / f"{name}.log").open("wb") as log:
            self._processes[name] = subprocess.Popen(
                words,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,  # Ctrl-C reaches this process alone, which then stops the others in good order
            )

    def _ended(self, name: str, process: subprocess.Popen[bytes]) -> None:
        """Record the death of a process, and start another one in its place if it died."""
        del self._processes[name]
        if process.stdin is not None:
            process.stdin.close()
        code, folder = process.returncode, self._work.ledger.folder
        if code == 0:
            return
        if code == FULL:
            raise disk_full(folder)
        log = folder / LOGS / f"{name}.log"
        last = log.read_text(errors="replace").strip().splitlines()[-1:]
        with log.open("a") as file:
            file.write(f"\nthe process {_death(code)}\n")
        # A process that was killed leaves its lock file. Any other one had an error outside of its runs.
        self._deaths = 0 if was_killed(folder, name) else self._deaths + 1
        if self._deaths >= _MOST_DEATHS:
            raise LedgerError(f"the processes of the sweep end with an error: {' '.join(last) or _death(code)}.")
        self._start(self._places[name])

    def _stop(self) -> None:
        """Let every process store the state of its run and end; kill those that do not end in time."""
        for process in self._processes.values():
            if process.stdin is not None:
                with contextlib.suppress(OSError):
                    process.stdin.close()
        until = time.monotonic() + _STOP_SECONDS
        for process in self._processes.values():
            try:
                process.wait(max(0.0, until - time.monotonic()))
            except (subprocess.TimeoutExpired, KeyboardInterrupt):
                process.kill()
                process.wait()
        self._processes.clear()
        self._work.ledger.recover()


def default_workers() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def disk_full(folder: Path) -> OSError:
    """The error that ends a sweep when no file can be written any more."""
    return OSError(FULL, f"the disk is full: free some space on that of {folder}, and run it again.")


def open_runs(ledger: Ledger) -> int:
    """The number of runs that are not finished."""
    counts = ledger.counts()
    return sum(counts[state] for state in State if state is not State.FINISHED)


def environment_of_process() -> dict[str, str]:
    """The environment of a process: this project on the path, and one thread, because the cores have a run each."""
    paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"OMP_NUM_THREADS": "1", **os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def _death(code: int) -> str:
    """The end of a process in words."""
    if code < 0:
        name = signal.Signals(-code).name
        memory = ", which also happens when the memory is full" if code == -signal.SIGKILL else ""
        return f"was killed by {name}{memory}"
    return f"ended with code {code}"
