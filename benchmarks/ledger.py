"""The ledger of a sweep against Optuna's journal: ``python -m benchmarks.ledger``.

Adds runs, claims and finishes each of them with one writer and with several, and kills a writer with kill -9 again and
again. Prints processor time and wall time per run, and what the kills left. Optuna is measured if it is installed.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import multiprocessing
import random
import sys
import tempfile
import time
import uuid
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from model.config.rectangular import RectangularConfig
from sweep.grid.expand import Grid, Member, expand, json_of
from sweep.ledger.alive import living
from sweep.ledger.entry import State
from sweep.ledger.ledger import Ledger

SUMMARY = {f"{part}/metric{number}": number / 7 for part in ("train", "val", "test") for number in range(22)}
KILLS = 20


class Store(Protocol):
    """What is measured: a place for runs that several processes claim and finish."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def add(self, members: list[Member]) -> None:
        """Add runs."""

    def work(self) -> int | None:
        """Claim and finish one run; its number, or None if none is left."""

    def finished(self) -> set[int]:
        """The numbers of the runs that are finished."""


class Sqlite:
    """The ledger of this project."""

    def __init__(self, folder: Path) -> None:
        self._ledger = Ledger(folder, "rectangular")
        self._living = living(folder, uuid.uuid4().hex)

    def __enter__(self) -> Self:
        self._life = self._living.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._living.__exit__(None, None, None)
        self._ledger.close()

    def add(self, members: list[Member]) -> None:
        """Add runs."""
        self._ledger.add(members)

    def work(self) -> int | None:
        """Claim and finish one run."""
        entry = self._ledger.claim(self._life, 10**6)
        if entry is not None:
            self._ledger.finish(entry.number, SUMMARY, 1.0)
        return None if entry is None else entry.number

    def finished(self) -> set[int]:
        """The numbers of the finished runs."""
        return {entry.number for entry in self._ledger.entries(State.FINISHED)}


class Journal:
    """Optuna's JournalStorage: a study whose trials are the runs."""

    def __init__(self, folder: Path) -> None:
        self._optuna: Any = importlib.import_module("optuna")
        journal = importlib.import_module("optuna.storages.journal")
        self._optuna.logging.set_verbosity(self._optuna.logging.ERROR)
        storage = self._optuna.storages.JournalStorage(journal.JournalFileBackend(str(folder / "journal.log")))
        sampler = self._optuna.samplers.RandomSampler()
        self._study = self._optuna.create_study(
            storage=storage, sampler=sampler, study_name="sweep", load_if_exists=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None: ...

    def add(self, members: list[Member]) -> None:
        """Add runs."""
        for number, member in enumerate(members, 1):
            self._study.enqueue_trial({"number": number}, user_attrs={"config": json_of(member.config)})

    def work(self) -> int | None:
        """Claim and finish one run."""
        trial = self._study.ask()
        if "config" not in trial.user_attrs:  # a new trial, because none was waiting
            return None
        number = int(trial.suggest_int("number", 1, 10**9))
        trial.set_user_attr("summary", json.dumps(SUMMARY))
        self._study.tell(trial, 0.0)
        return number

    def finished(self) -> set[int]:
        """The numbers of the finished runs."""
        complete = self._optuna.trial.TrialState.COMPLETE
        return {trial.params["number"] for trial in self._study.get_trials(states=(complete,))}


STORES: dict[str, type[Sqlite] | type[Journal]] = {"SQLite": Sqlite, "JournalStorage": Journal}


def members_of(count: int) -> list[Member]:
    """Runs of a grid."""
    return expand(RectangularConfig, [Grid({"seed": list(range(count))})])


def write(name: str, folder: Path, limit: float, results: Connection) -> None:
    """Claim and finish runs until none is left or the time is up; sends each number, then the processor time."""
    with STORES[name](folder) as store:
        results.send("ready")
        begin, until = time.process_time(), time.monotonic() + limit
        while time.monotonic() < until and (number := store.work()) is not None:
            results.send(number)
        results.send(time.process_time() - begin)


def writers(name: str, folder: Path, count: int, limit: float) -> tuple[int, float, float]:
    """Several processes that claim and finish runs: how many runs, their processor time, and the wall time."""
    context = multiprocessing.get_context("spawn")
    pipes = [context.Pipe(duplex=False) for _ in range(count)]
    processes = [context.Process(target=write, args=(name, folder, limit, send)) for _, send in pipes]
    for process in processes:
        process.start()
    ready = [receive.recv() for receive, _ in pipes]
    assert set(ready) == {"ready"}
    begin, done, cost = time.monotonic(), [], 0.0
    while pipes:
        for pipe in list(pipes):
            while pipe[0].poll(0.001):
                result = pipe[0].recv()
                if isinstance(result, float):
                    cost += result
                    pipes.remove(pipe)
                    break
                done.append(result)
    wall = time.monotonic() - begin
    for process in processes:
        process.join()
    assert len(done) == len(set(done)), "a run was claimed twice"
    return len(done), cost, wall


def kills(name: str, folder: Path, limit: float) -> tuple[int, float]:
    """Kill a writer again and again: finished runs that were lost, and the longest time to the next finished run."""
    context = multiprocessing.get_context("spawn")
    told: set[int] = set()
    longest = 0.0
    for _ in range(KILLS):
        receive, send = context.Pipe(duplex=False)
        process = context.Process(target=write, args=(name, folder, limit, send))
        process.start()
        receive.recv()
        begin = time.monotonic()
        told.add(receive.recv())
        longest = max(longest, time.monotonic() - begin)
        time.sleep(random.uniform(0.0, 0.05))
        process.kill()
        process.join()
        while receive.poll(0):
            try:
                told.add(receive.recv())
            except (EOFError, OSError):
                break
    with STORES[name](folder) as store:
        return len(told - store.finished()), longest


def measure(name: str, runs: int, counts: list[int], limit: float) -> None:
    """Print what one store costs."""
    members = members_of(runs)
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            begin = time.process_time()
            with STORES[name](Path(folder)) as store:
                store.add(members)
            added = time.process_time() - begin
            done, cost, wall = writers(name, Path(folder), count, limit)
        sys.stdout.write(
            f"{name}, {runs:,} runs, {count} writer(s): add {added / runs * 1e3:.2f} ms a run; claim and finish "
            f"{cost / done * 1e3:.2f} ms of processor time, {wall / done * 1e3:.2f} ms of wall time a run "
            f"({done:,} runs measured)\n"
        )
        sys.stdout.flush()
    with tempfile.TemporaryDirectory() as folder:
        with STORES[name](Path(folder)) as store:
            store.add(members_of(2000))
        lost, longest = kills(name, Path(folder), limit)
    sys.stdout.write(
        f"{name}, {KILLS} times kill -9: {lost} finished runs lost, at most {longest:.2f} s to the next finished run\n"
    )


def main() -> None:
    """Measure every store that is installed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000, help="runs of the sweep (default 10,000)")
    parser.add_argument("--writers", type=int, nargs="+", default=[1, 4], help="processes that write (default 1 4)")
    parser.add_argument("--limit", type=float, default=60.0, help="seconds of each measurement (default 60)")
    arguments = parser.parse_args()
    for name in STORES:
        if name == "JournalStorage" and importlib.util.find_spec("optuna") is None:
            sys.stdout.write("JournalStorage: optuna is not installed\n")
            continue
        measure(name, arguments.runs, arguments.writers, arguments.limit)


if __name__ == "__main__":
    main()
