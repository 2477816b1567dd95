"""The local executor: processes on this machine, one run at a time in each."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sweep.executors.worker import FULL
from sweep.grid.options import Keep
from sweep.ledger.alive import was_killed
from sweep.ledger.ledger import LOGS, Ledger, LedgerError, State

_ROOT = Path(__file__).resolve().parents[2]
_POLL_SECONDS = 0.2
_STOP_SECONDS = 60.0
_MOST_DEATHS = 3
"""Processes in a row that may end with an error of their own."""


@dataclass
class LocalExecutor:
    """Processes that train the runs of a sweep until none is left.

    Args:
        ledger: The ledger.
        workers: The number of processes.
        retries: How often a run that failed is tried again.
        keep: What the run directories keep.
        on_change: Called several times a second.
        command: The words that start a process, before those that every process gets.
    """

    ledger: Ledger
    workers: int
    retries: int
    keep: Keep
    on_change: Callable[[], object] = lambda: None
    command: Sequence[str] = (sys.executable, "-m", "sweep.executors.worker")
    _processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict, init=False)
    _deaths: int = field(default=0, init=False)

    def run(self) -> None:
        """Train all runs that are not finished.

        Raises:
            LedgerError: If one process after another ends with an error.
            OSError: If the disk is full. Runs that were interrupted by this are resumed by the next command.
            KeyboardInterrupt: At Ctrl-C, after the processes have stored the state of their runs.
        """
        try:
            for _ in range(min(self.workers, self._open_runs())):
                self._start()
            while self._processes:
                time.sleep(_POLL_SECONDS)
                for name, process in list(self._processes.items()):
                    if process.poll() is not None:
                        self._ended(name, process)
                self.on_change()
        finally:
            self._stop()

    def _open_runs(self) -> int:
        counts = self.ledger.counts()
        return sum(counts[state] for state in State if state is not State.FINISHED)

    def _start(self) -> None:
        name = f"worker-{uuid.uuid4().hex[:12]}"
        logs = self.ledger.folder / LOGS
        logs.mkdir(exist_ok=True)
        words = [*self.command, str(self.ledger.folder.absolute()), f"--name={name}"]
        words += [f"--retries={self.retries}", f"--keep={self.keep.value}"]
        with (logs / f"{name}.log").open("wb") as log:
            self._processes[name] = subprocess.Popen(
                words,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=_environment(),
                start_new_session=True,  # Ctrl-C reaches this process alone, which then stops the others in good order
            )

    def _ended(self, name: str, process: subprocess.Popen[bytes]) -> None:
        """Record the death of a process, and start another one in its place if it died."""
        del self._processes[name]
        if process.stdin is not None:
            process.stdin.close()
        code = process.returncode
        if code == 0:
            return
        if code == FULL:
            raise OSError(FULL, f"the disk is full: free some space on that of {self.ledger.folder}, and run it again.")
        log = self.ledger.folder / LOGS / f"{name}.log"
        last = log.read_text(errors="replace").strip().splitlines()[-1:]
        with log.open("a") as file:
            file.write(f"\nthe process {_death(code)}\n")
        # A process that was killed leaves its lock file. Any other one had an error outside of its runs.
        self._deaths = 0 if was_killed(self.ledger.folder, name) else self._deaths + 1
        if self._deaths >= _MOST_DEATHS:
            raise LedgerError(f"the processes of the sweep end with an error: {' '.join(last) or _death(code)}.")
        self._start()

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
        self.ledger.recover()


def default_workers() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _environment() -> dict[str, str]:
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
