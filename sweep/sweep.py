"""A sweep: many runs in one folder, each begun once, resumed if it was interrupted, and listed if it failed."""

from __future__ import annotations

import contextlib
import datetime
import itertools
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jumpstart.files import user_path
from jumpstart.words import counted
from model.config.experiment import ExperimentConfig
from model.config.options import Value, options
from model.errors import ConfigError
from sweep.executors.choose import executor_of
from sweep.executors.executor import Executor, Work
from sweep.executors.worker import RUNS
from sweep.families import Family, data_key
from sweep.grid.expand import Grid, Member, expand
from sweep.grid.options import Keep, SweepConfig
from sweep.ledger.alive import check_locks, remove_dead
from sweep.ledger.entry import State, label_of
from sweep.ledger.ledger import NAME, Ledger
from sweep.ledger.results import NAME as RESULTS
from sweep.ledger.results import write_results
from sweep.ledger.rows import Rows
from sweep.ledger.status import failures
from sweep.page.write import NAME as PAGE
from sweep.page.write import SECONDS as PAGE_SECONDS
from sweep.page.write import SweepPage
from sweep.run_directory import RunDirectory, RunDirectoryError
from sweep.seldom import Seldom
from sweep.signals import interrupt, signals_held

_INTERRUPTED = 130
_WAIT_SECONDS = 1.0
"""How often a command that has no run left looks whether another command has finished its own."""
_RESULTS_SECONDS = 10.0
"""Least time between two versions of ``results.csv``."""


@dataclass(frozen=True)
class Sweep:
    """What to run.

    Attributes:
        family: The networks.
        grids: The values of the options of the runs.
        options: The options of the sweep.
    """

    family: Family[ExperimentConfig]
    grids: Sequence[Grid]
    options: SweepConfig

    def members(self) -> list[Member]:
        """The runs.

        Raises:
            ConfigError: If there are too many, a combination is refused, or the grids name several folders.
        """
        self._refuse_several_folders()
        count = sum(grid.count for grid in self.grids)
        if count > self.options.max_runs:
            raise ConfigError(
                f"the grid has {count:,} runs, and max_runs is {self.options.max_runs:,}: give fewer values, or "
                f"--max_runs={count}."
            )
        return expand(self.family.config_class, [_with_defaults(grid, self.options) for grid in self.grids])

    def _refuse_several_folders(self) -> None:
        table = options(self.family.config_class)
        for name in ("name", "output_dir"):
            given = [grid.values.get(name, [table[name].default])[0] for grid in self.grids]
            if len(found := list(dict.fromkeys(given))) > 1:
                raise ConfigError(
                    f"{name} must be the same in all grids of a sweep, which has one folder, got "
                    f"{', '.join(map(repr, found))}: give it outside of the grids, or as --{name}=VALUE."
                )


def run_sweep(sweep: Sweep, write: Callable[[str], object] | None = None) -> int:
    """Train all runs of a sweep that are not finished.

    Args:
        sweep: What to run.
        write: Takes the lines for the user; None for the standard output.

    Returns:
        0 if all runs are finished, 1 if some failed, 130 after Ctrl-C or SIGTERM. The same command goes on then.

    Raises:
        ConfigError: If an option is wrong. Nothing is written in this case.
        RunDirectoryError: If the folder can't be used.
    """
    write = write or sys.stdout.write
    members = sweep.members()
    _check_data(sweep.family, members)
    if sweep.options.dry_run:
        lines = [f"{label_of(number, member)}\n" for number, member in enumerate(members, 1)]
        write("".join([*lines, f"{counted(len(members), 'run')}\n"]))
        return 0
    check_locks()
    with executor_of(sweep.options, [member.config for member in members]) as executor:
        return _run(sweep, members, executor, write)


def _run(sweep: Sweep, members: Sequence[Member], executor: Executor, write: Callable[[str], object]) -> int:
    """Train the runs that are not finished, and write the results."""
    folder = _folder(members[0].config)
    with Ledger(folder, _family_name(sweep.family), alone=executor.claims_alone) as ledger:
        (folder / RUNS).mkdir(exist_ok=True)  # after the ledger, without which a folder that is not empty is refused
        new, old = ledger.add(members)
        ledger.forgive()
        ledger.recover()
        remove_dead(folder)
        for label in ledger.reopen_changed():
            write(f"the result of run {label} has changed in {NAME}: it is read from its directory, or trained again\n")
        write(_beginning(ledger, new, old))
        tables = _Tables(ledger)
        write(f"page: {folder / PAGE}\n")
        try:
            with _terminable():
                on_change = _Progress(ledger, tables)
                work = Work(ledger, sweep.options.retries, Keep(sweep.options.keep), on_change)
                _train(executor, work, write)
        except KeyboardInterrupt:
            write(f"interrupted; the same command goes on with --name={folder.name}\n")
            return _INTERRUPTED
        finally:
            tables.end()
        write(_end(ledger))
        return int(ledger.counts()[State.FAILED] > 0)


def _train(executor: Executor, work: Work, write: Callable[[str], object]) -> None:
    """Train until no run is left, also of those that another command in the folder has begun and leaves unfinished."""
    executor.run(work)
    running = work.ledger.counts()[State.RUNNING]
    if running:
        write(f"waiting for {counted(running, 'run')} of another command in this folder; Ctrl-C leaves them to it\n")
    while work.ledger.counts()[State.RUNNING]:
        time.sleep(_WAIT_SECONDS)
        work.ledger.recover(work.retries)
        counts = work.ledger.counts()
        if counts[State.INTERRUPTED] or counts[State.WAITING]:
            executor.run(work)
        work.on_change()


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Stop at SIGTERM as at Ctrl-C, so that the processes store the state of their runs."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [signal.SIGTERM]
    if signal.getsignal(signal.SIGINT) == signal.default_int_handler:  # and not ignored, as in the background
        numbers.append(signal.SIGINT)
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Tables:
    """Keeps ``results.csv`` and the page up to date."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger, self._rows = ledger, Rows(ledger)
        self._page = SweepPage(self._rows)
        self._results = Seldom(lambda _: write_results(self._rows), _RESULTS_SECONDS)
        self._pages = Seldom(self._page.try_to_write, PAGE_SECONDS)
        self._written: Mapping[State, int] = ledger.counts()
        self._page.try_to_write(PAGE_SECONDS)

    def __call__(self, counts: Mapping[State, int]) -> None:
        """Write what has changed, if enough time has passed."""
        if counts != self._written and self._results():
            self._written = counts
        self._pages()

    def end(self) -> None:
        """Write both for the last time, or for another command that goes on in this folder."""
        write_results(self._rows)
        self._page.try_to_write(PAGE_SECONDS if self._ledger.counts()[State.RUNNING] else None)


class _Progress:
    """Keeps the tables and a progress bar up to date."""

    def __init__(self, ledger: Ledger, tables: _Tables) -> None:
        from tqdm import tqdm

        self._ledger, self._tables, self._counts = ledger, tables, ledger.counts()
        total, done = sum(self._counts.values()), self._counts[State.FINISHED]
        with signals_held():  # a bar that is made by half prints a traceback when it is deleted
            self._bar = tqdm(total=total, initial=done, unit="run", mininterval=0.5 if sys.stderr.isatty() else 30.0)

    def __call__(self) -> None:
        counts = self._ledger.counts()
        self._tables(counts)
        if counts == self._counts:
            return
        self._counts = counts
        self._bar.n = counts[State.FINISHED]
        self._bar.set_postfix(running=counts[State.RUNNING], failed=counts[State.FAILED], refresh=False)
        self._bar.update(0)
        if counts[State.FINISHED] + counts[State.FAILED] == sum(counts.values()):
            self._bar.close()


def _with_defaults(grid: Grid, options: SweepConfig) -> Grid:
    """The grid, with the values that suit many runs where none is given: one thread, no plots, no W&B."""
    plots = options.keep == Keep.ALL
    defaults: dict[str, Sequence[Value]] = {
        "progress": [False],
        "threads": [1],
        "plot_status": [plots],
        "wandb": [False],
    }
    return Grid({**defaults, **grid.values}, grid.techniques)


def _check_data(family: Family[ExperimentConfig], members: Sequence[Member]) -> None:
    """Refuse data that can't be made, before any run begins."""
    first: dict[object, ExperimentConfig] = {}
    for member in members:
        first.setdefault(data_key(member.config), member.config)
    for config in first.values():
        family.check_data(config)


def _folder(config: ExperimentConfig) -> Path:
    """The folder of the sweep; it is made if it does not exist."""
    parent = user_path(config.output_dir, "output_dir", "folder")
    folder = parent / config.name if config.name else _new_folder(parent)
    if RunDirectory(folder).config.is_file():
        raise RunDirectoryError(f"{folder} is the directory of a single run. Choose another --name for the sweep.")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / NAME).is_file():
        raise RunDirectoryError(f"{folder} holds something else than a sweep. Choose another --name.")
    _make(folder)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise RunDirectoryError(f"{folder} can't be written. Make it writable, or choose another --output_dir.")
    return folder


def _new_folder(parent: Path) -> Path:
    """Make the folder of a sweep without a name, which no other command uses, even if it began in the same second."""
    name = f"sweep-{datetime.datetime.now():%Y%m%d-%H%M%S}"
    for number in itertools.count(1):
        folder = parent / (f"{name}-{number}" if number > 1 else name)
        if not folder.exists() and _make(folder):
            break
    return folder


def _make(folder: Path) -> bool:
    """Make a folder; False if another process has just made it."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir()
    except FileExistsError:
        if not folder.is_dir():
            raise RunDirectoryError(f"{folder} can't be made: it is a file. Choose another --name.") from None
        return False
    except OSError as error:
        raise RunDirectoryError(f"{folder} can't be made: {error.strerror}. Choose another --output_dir.") from None
    return True


def _family_name(family: Family[ExperimentConfig]) -> str:
    return family.config_class.__name__.removesuffix("Config").lower()


def _beginning(ledger: Ledger, new: int, old: int) -> str:
    counts = ledger.counts()
    others = sum(counts.values()) - new - old
    there = f", {old:,} of them known ({counts[State.FINISHED]:,} finished)" if old or others else ""
    more = f"; {counted(others, 'run')} of other grids in this folder are trained too" if others else ""
    return f"{counted(new + old, 'run')} in {ledger.folder}{there}{more}\n"


def _end(ledger: Ledger) -> str:
    counts = ledger.counts()
    lines = [f"{counts[State.FINISHED]:,} of {counted(sum(counts.values()), 'run')} finished", *failures(ledger)]
    return "\n".join([*lines, f"results: {ledger.folder / RESULTS}", f"page: {ledger.folder / PAGE}", ""])
