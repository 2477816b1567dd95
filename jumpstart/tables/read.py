"""Results of sweeps and run directories, read as one DataFrame with one row per run."""

from __future__ import annotations

import csv
import json
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from jumpstart.files import UserPath, load_yaml, user_path
from jumpstart.files.checksums import CHECKSUMS, change_of, changed_files
from jumpstart.literal import csv_value
from jumpstart.tables.data_sets import data_facts
from jumpstart.tables.records import Record, flattened, frame_of

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

RESULTS = "results.csv"
"""The file with all results in the folder of a sweep."""

_CONFIG, _SUMMARY, _FAILURE = "config.yaml", "summary.json", "failure.txt"
_FINISHED = "finished"
_TEXTS = ("run", "state", "error", "technique")
"""Columns of ``results.csv`` whose cells are texts, whatever they look like."""
_RUNS_OF_SWEEP = ("runs", "opened")
"""The folders of the run directories in that of a sweep."""
_PER_RUN = ("name", "output_dir")
"""Options that name a run and its place."""


def read_results(*folders: UserPath, finished: bool = True) -> pd.DataFrame:
    r"""The results of runs: one row for each run, with its options, its metrics and the facts of its data.

    Args:
        folders: Folders of sweeps, run directories, or folders that hold several of these, such as ``runs``.
        finished: Whether to leave out runs that have no result; a warning then says how many.

    A run of a sweep whose directory is read too counts once.

    Returns:
        ``run`` and ``state``; options under their names; metrics of the best weights as ``test/acc``; ``data/rows``,
        ``data/features`` and ``data/classes``. If an option has the name of a value of the summary, such as ``epochs``,
        it is the option if it varies in the sweep, or if it was read from a run directory.

    Raises:
        ValueError: If no folder is given, one holds no runs, no run has finished, or a file is damaged.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "results.csv").write_text("run,state,depth,test/acc\na,finished,2,0.5\nb,failed,4,\n")
        >>> read_results(folder)
          run     state  depth  test/acc
        0   a  finished      2       0.5
    """
    paths = [user_path(folder, "folder", "folder") for folder in folders]
    if not paths:
        raise ValueError("folders must hold at least one folder, got none.")
    sources = {source.resolve(): source for path in paths for source in _sources(path)}
    sweeps = {place: list(_sweep_rows(source)) for place, source in sources.items() if (source / RESULTS).is_file()}
    known = {run for place, rows in sweeps.items() for run in _directories(place, rows)}
    rows: list[Record] = []
    for place, source in sources.items():
        if place in sweeps:
            rows += sweeps[place]
        elif place not in known:  # a run of a sweep counts once, and its row in the sweep says more
            rows.append(_run_row(source))
    return frame_of(only_finished(rows, ", ".join(map(str, paths))) if finished else rows)


def only_finished(rows: list[Record], place: str) -> list[Record]:
    """The rows of the runs that have finished, with a warning about the others.

    Args:
        rows: The rows, with their ``state``.
        place: Where the runs are, for messages.

    Raises:
        ValueError: If no run has finished.
    """
    kept = [row for row in rows if row.get("state") == _FINISHED]
    if not kept:
        raise ValueError(f"{place} has no finished run.")
    if len(kept) < len(rows):
        logger.warning(
            "%d of %d runs in %s have not finished and are left out.", len(rows) - len(kept), len(rows), place
        )
    return kept


def _sources(folder: Path) -> list[Path]:
    """The sweeps and run directories that a folder is or holds."""
    if _is_source(folder):
        return [folder]
    if not folder.is_dir():
        raise ValueError(f"folder must exist, got {folder}.")
    found = [child for child in sorted(folder.iterdir()) if _is_source(child)]
    if not found:
        raise ValueError(
            f"folder must hold runs, got {folder}, which has neither {RESULTS} of a sweep nor {_CONFIG} of a run, and "
            "no folder that has one."
        )
    return found


def _is_source(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (RESULTS, _CONFIG, _SUMMARY))


def _directories(sweep: Path, rows: list[Record]) -> Iterator[Path]:
    """Where the run directories of a sweep can be: those that it trained, and those that ``open`` made."""
    for row in rows:
        for folder in _RUNS_OF_SWEEP:
            yield (sweep / folder / Path(str(row["run"])).name).resolve()


def _run_row(directory: Path) -> Record:
    """The row of a run directory. The options come first, and win over values of the summary with the same name."""
    config, summary = _unchanged(directory, _CONFIG), _unchanged(directory, _SUMMARY)
    failed = "failed" if (directory / _FAILURE).is_file() else "unfinished"
    numbers = {name: value for name, value in summary.items() if not isinstance(value, Mapping)}
    options = dict(flattened({name: value for name, value in config.items() if name not in _PER_RUN}))
    state = _FINISHED if summary else failed
    return {"run": directory.resolve().name, "state": state, **options, **data_facts(summary), **(numbers | options)}


def _unchanged(directory: Path, name: str) -> dict[str, object]:
    """The content of a file of a run, which must be as it was when the run ended; empty if there is no file."""
    content = _mapping(directory / name)
    for path in changed_files(directory, name):
        raise ValueError(
            f"{change_of(path)}. Restore the file, leave out the run, or remove {directory / CHECKSUMS} to take the "
            "files as they are."
        )
    return content


def _mapping(path: Path) -> dict[str, object]:
    """The content of a YAML or JSON file; empty if there is no file."""
    if not path.is_file():
        return {}
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if path.suffix == ".json" else load_yaml(text)
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} can't be read: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} can't be read: it holds no names with values.")
    return {str(name): value for name, value in content.items()}


def _sweep_rows(folder: Path) -> list[Record]:
    """The rows of a sweep: its ``results.csv``, and the options that have one value in all runs."""
    rows = list(_csv_rows(folder / RESULTS))
    runs = (folder / "runs" / Path(str(row["run"])).name for row in rows)
    config = _unchanged(next((run for run in runs if os.path.isfile(run / _CONFIG)), folder), _CONFIG)
    known = {name for row in rows for name in row}
    constant = {name: value for name, value in config.items() if name not in known and name not in _PER_RUN}
    return [{**row, **constant} for row in rows]


def _csv_rows(path: Path) -> Iterator[Record]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            head, *lines = list(csv.reader(file)) or [[]]
    except (OSError, ValueError, csv.Error) as error:
        raise ValueError(f"{path} can't be read: {' '.join(str(error).split())}") from None
    if not {"run", "state"} <= set(head):
        raise ValueError(f"{path} can't be read: it has no columns run and state, as the {RESULTS} of a sweep has.")
    for number, line in enumerate(lines, 1):
        if len(line) != len(head):
            raise ValueError(f"{path} can't be read: row {number} has {len(line)} cells, not {len(head)}.")
        row: dict[str, object] = {}
        for name, cell in zip(head, line, strict=True):
            row.setdefault(csv_value(name), _value(name, cell))
        yield row


def _value(name: str, cell: str) -> object:
    """The value of a cell: a number, a list, a truth value, None, or a text."""
    if not cell:
        return None
    if name in _TEXTS:
        return csv_value(cell)
    try:
        if "/" in name and not name.startswith("data/"):
            return float(cell)
        value: object = json.loads(cell, parse_constant=str)  # NaN is the name of something, not a number
    except (ValueError, RecursionError):
        return csv_value(cell)
    return csv_value(cell) if isinstance(value, str | dict) else value
