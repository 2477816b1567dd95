"""A process that trains runs of a sweep, one after the other, until none is left: ``python -m sweep.executors.worker``.

The modules are imported once for all runs. The process ends with code 0 when no run is left, with :data:`FULL` when the
disk is full, and with :data:`STOPPED` when it was asked to stop. It stops by itself when its standard input is closed,
so that it never outlives the command that started it.
"""

from __future__ import annotations

import argparse
import errno
import json
import logging
import os
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from jumpstart.files import path_argument
from jumpstart.files.checksums import change_of, changed_files
from model.config.experiment import ExperimentConfig
from sweep.families import Family, family_named
from sweep.grid.expand import identity_of
from sweep.grid.options import Keep
from sweep.ledger.alive import living
from sweep.ledger.entry import Entry
from sweep.ledger.ledger import NAME, Ledger, LedgerError
from sweep.run_directory import RunDirectory, RunDirectoryError

FULL = 28
STOPPED = 130
RUNS = "runs"
"""The folder of the run directories, in that of the sweep."""

logger = logging.getLogger(__name__)


class Records(Protocol):
    """What takes the results of runs: a :class:`~sweep.ledger.ledger.Ledger`, or what is sent to one."""

    @property
    def folder(self) -> Path:
        """The folder whose ``runs/`` holds the run directories."""

    def finish(self, number: int, summary: Mapping[str, object], seconds: float) -> None:
        """Store the result of a run."""

    def fail(self, number: int, error: str, seconds: float) -> None:
        """Store the error that ended a run."""

    def interrupt(self, number: int) -> None:
        """Give a run back, to be resumed."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Train runs until none is left.

    Args:
        arguments: The words of the command line; None: those of the process.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(prog="python -m sweep.executors.worker", description=__doc__)
    parser.add_argument("folder", type=path_argument("folder", "folder"), help="the folder of the sweep")
    parser.add_argument("--name", required=True, help="the name of this process in the ledger")
    parser.add_argument("--retries", type=int, required=True, help="how often a run that failed is tried again")
    parser.add_argument("--keep", choices=[*Keep], required=True, help="what a finished run keeps")
    options = parser.parse_args(arguments)
    # A command in the background ignores Ctrl-C, and so would this process, which is stopped by it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _stop_when_input_ends()
    with Ledger(options.folder, None) as ledger, living(options.folder, options.name) as life:
        family = family_named(ledger.family)
        while (entry := ledger.claim(life, options.retries)) is not None:
            code = train(ledger, family, entry, Keep(options.keep))
            if code:
                return code
    return 0


def train(ledger: Records, family: Family[ExperimentConfig], entry: Entry, keep: Keep) -> int:
    """Train one run, and store what became of it.

    Args:
        ledger: Takes the result.
        family: The networks of the sweep.
        entry: The run.
        keep: What its directory keeps.

    Returns:
        0 to go on with the next run, or the exit code of the process.
    """
    begin = time.monotonic()
    try:
        summary = _run(ledger.folder, family, entry, keep)
    except (KeyboardInterrupt, SystemExit):  # Lightning turns Ctrl-C into SystemExit
        ledger.interrupt(entry.number)
        return STOPPED
    except Exception as error:  # one run that fails never stops the others
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            ledger.interrupt(entry.number)
            return FULL
        sys.stderr.write(f"{entry.label}\n{traceback.format_exc()}")
        ledger.fail(entry.number, f"{type(error).__name__}: {' '.join(str(error).split())}", time.monotonic() - begin)
        return 0
    ledger.finish(entry.number, summary, time.monotonic() - begin)
    return 0


def _run(folder: Path, family: Family[ExperimentConfig], entry: Entry, keep: Keep) -> dict[str, object]:
    """Train one run to its end, from its beginning or from where it was interrupted."""
    from sweep.run import run

    place = folder / RUNS / entry.label
    config = family.config_class.from_dict({**entry.config, "output_dir": str(place.parent), "name": place.name})
    if identity_of(config) != entry.identity:
        raise LedgerError(
            f"the options of run {entry.number} in {folder / NAME} are not those that it was added with: the file is "
            "damaged, or another version of this program wrote it. Choose another --name."
        )
    summary = _summary_of_pruned(RunDirectory(place))
    if summary is not None:
        prune(RunDirectory(place), keep)
        return summary
    begun = RunDirectory(place).config.is_file()
    result = run(
        config, family.make_data(config), family.build, resume=place if begun else None, report=keep is Keep.ALL
    )
    prune(result.directory, keep)
    return dict(result.summary)


def _summary_of_pruned(run: RunDirectory) -> dict[str, object] | None:
    """The summary of a run whose process was killed after the run, when it had begun to prune it; else None.

    A run has its last checkpoint from its first epoch until :func:`prune`, which removes this file first.

    Raises:
        RunDirectoryError: If the summary has changed since the run ended.
    """
    if run.last_checkpoint.exists() or not run.summary.exists():
        return None
    for path in changed_files(run.path, run.summary.name):
        raise RunDirectoryError(f"{change_of(path)}. Restore it, or remove {run.path} to train the run again.")
    summary: dict[str, object] = json.loads(run.summary.read_text(encoding="utf-8"))
    return summary


def prune(run: RunDirectory, keep: Keep) -> None:
    """Remove what a finished run does not keep.

    Args:
        run: The run directory.
        keep: What stays.
    """
    if keep is Keep.ALL:
        return
    for path in (run.last_checkpoint, run.report, run.status, run.description):
        path.unlink(missing_ok=True)
    for folder in (run.plots, run.wandb, *([run.checkpoints] if keep is Keep.METRICS else [])):
        shutil.rmtree(folder, ignore_errors=True)


def _stop_when_input_ends() -> None:
    """Interrupt this process as Ctrl-C does when the command that started it ends or closes the pipe."""

    def watch() -> None:
        while os.read(0, 4096):  # not sys.stdin, whose lock a thread must not hold when Python ends
            pass
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    sys.exit(main())
