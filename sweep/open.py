"""The whole run directory of one member of a sweep, with plots and the report."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path

from jumpstart.files.checksums import warn_of_changes
from sweep.executors.worker import RUNS
from sweep.families import family_named
from sweep.ledger.entry import Entry, State
from sweep.ledger.ledger import Ledger, LedgerError
from sweep.run_directory import RunDirectory

OPENED = "opened"
"""The folder of the run directories that are made by hand, in that of the sweep."""
_TIMES = ("seconds",)

logger = logging.getLogger(__name__)


def whole_directory(ledger: Ledger, entry: Entry) -> Path:
    """The directory of a run with plots and report. A run that did not keep them is trained again, from its seed.

    Args:
        ledger: The ledger.
        entry: The run, which must be finished.

    Raises:
        LedgerError: If the run is not finished, or must be trained again in a folder that can't be written.
    """
    if entry.state is not State.FINISHED or entry.summary is None:
        raise LedgerError(f"run {entry.label} is {entry.state.value}: only a finished run can be opened.")
    for folder in (ledger.folder / RUNS, ledger.folder / OPENED):
        run = RunDirectory(folder / entry.label)
        if run.report.is_file() and any(run.plots.glob("*")):
            warn_of_changes(run.path)
            return run.path
    if not os.access(ledger.folder, os.W_OK | os.X_OK):
        reason = f"{ledger.folder} can't be written"
        raise LedgerError(f"{reason}: make it writable, or open the run in a copy of the folder.")
    from sweep.run import run as train

    family = family_named(ledger.family)
    place = ledger.folder / OPENED / entry.label
    changes = {"output_dir": str(place.parent), "name": place.name, "plot_status": True}
    config = family.config_class.from_dict({**entry.config, **changes})
    begun = RunDirectory(place).config.is_file()
    result = train(config, family.make_data(config), family.build, resume=place if begun else None)
    _compare(entry, result.summary)
    return place


def _compare(entry: Entry, summary: Mapping[str, object]) -> None:
    """Log a warning if the run has another result than in the sweep, for example with another version of torch."""
    assert entry.summary is not None
    numbers = {name: value for name, value in entry.summary.items() if not isinstance(value, dict)}
    other = [name for name, value in numbers.items() if name not in _TIMES and summary.get(name) != value]
    if other:
        logger.warning(
            "%s has another result here than in the sweep (%s, ...): the versions or the machine differ.",
            entry.label,
            ", ".join(other[:3]),
        )
