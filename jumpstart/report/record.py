"""The content of a run directory, read for the report. Files of a failed run may be missing or damaged."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from jumpstart.choices import Part
from jumpstart.files import UserPath, load_yaml, user_path
from jumpstart.files.checksums import CHECKSUMS, warn_of_changes
from jumpstart.files.outputs import KeptFiles
from jumpstart.history import StatusHistory, history_name
from jumpstart.report.best_epoch import best_epoch
from jumpstart.report.description import DESCRIPTION, RunDescription
from jumpstart.words import counted

T = TypeVar("T")
Floats = npt.NDArray[np.float64]

FILES = {
    "config.yaml": "the options",
    "environment.json": "versions, commit, command and devices",
    DESCRIPTION: "the network in words, and the commands that the advice quotes",
    "metrics.csv": "the metrics of every epoch",
    "summary.json": "the result, written when a run finishes",
    "status.npz": "the status of units and points, if it was recorded",
}
"""The files of a run directory, and what each of them holds."""

FOUND = "data.json"
"""The name of the file that describes data of the user; a run on a named data set has none."""

FAILURE = "failure.txt"
"""The name of the file with the reason why a run ended early."""


KEPT = (
    KeptFiles(
        "a run",
        (*FILES, FOUND, FAILURE, CHECKSUMS, "run.lock", "status-*.npz", "checkpoints/*", "plots/*", "wandb/*"),
        signs=FILES,
        least=2,
    ),
    KeptFiles("a sweep", ("ledger.sqlite*", "results.csv", "sweep.html", "logs/*"), signs=("ledger.sqlite",)),
)
"""The files of runs and sweeps, which no output that a person names may replace. Reports are left out."""


class NotARunError(ValueError):
    """A path that holds no run. The message is one line."""


@dataclass(frozen=True)
class RunRecord:
    """The content of one run directory.

    Attributes:
        path: The run directory.
        config: Every option by name; empty if unknown.
        environment: Versions, commit, command and devices; empty if unknown.
        description: The network in words, and the commands of the program that trained it.
        summary: The result; empty before the run has finished.
        found: What was found in data of the user; empty for a named data set.
        metrics: One column per name with one value per epoch, NaN where there is none; ``epoch`` is one of the names.
        history: The status of units and points in the validation part, or None.
        other_histories: The same in other parts of the data, as far as they were plotted.
        failure: The reason why the run ended early, or None.
        notes: Sentences about the files that are missing or damaged.
        changed: The names of the files that have changed since the run ended.
    """

    path: Path
    config: Mapping[str, object] = field(default_factory=dict)
    environment: Mapping[str, object] = field(default_factory=dict)
    description: RunDescription = field(default_factory=RunDescription)
    summary: Mapping[str, object] = field(default_factory=dict)
    found: Mapping[str, object] = field(default_factory=dict)
    metrics: Mapping[str, Floats] = field(default_factory=dict)
    history: StatusHistory | None = None
    other_histories: Mapping[Part, StatusHistory] = field(default_factory=dict)
    failure: str | None = None
    notes: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name of the run directory."""
        return self.path.resolve().name

    def series(self, name: str) -> tuple[Floats, Floats]:
        """The epochs in which a metric is finite, and its values in those epochs."""
        if name not in self.metrics:
            return np.empty(0), np.empty(0)
        values = self.metrics[name]
        keep = np.isfinite(values)
        return self.metrics["epoch"][keep], values[keep]

    def last(self, name: str) -> float | None:
        """The latest finite value of a metric, or None."""
        values = self.series(name)[1]
        return float(values[-1]) if len(values) else None

    def stage(self, name: str) -> str:
        """The full name of a metric: of the validation part, or of the training part if only that has values."""
        return next((full for part in ("val", "train") if len(self.series(full := f"{part}/{name}")[1])), f"val/{name}")

    @property
    def held_out(self) -> str:
        """The part whose metrics have names with ``val``, in words: the test part if there is no validation part."""
        return "test" if self.config.get("val_size") == 0 else "validation"

    @property
    def best_by(self) -> str:
        """The part whose accuracy chose the weights that are kept: ``val`` or ``train``."""
        return "val" if self.config.get("best_by") != "train" and len(self.series("val/acc")[1]) else "train"

    def best(self, name: str) -> tuple[int, float] | None:
        """The best epoch by an accuracy, and the accuracy in that epoch; None if the accuracy has no values.

        It is the epoch that the summary names, whose weights are kept; ``metrics.csv`` need not have a row of this
        epoch. Without a summary, if the run went on after the summary, or if another part of the data chose the
        weights, it is the best of the rows.

        Args:
            name: The full name of the metric, such as ``val/acc``.
        """
        epochs, values = self.series(name)
        if not len(values):
            return None
        kept, ended, value = (self.summary.get(key) for key in ("best_epoch", "epochs", name))
        row, top = dict(zip(epochs.tolist(), values.tolist(), strict=True)), float(values.max())
        is_latest = not isinstance(ended, int) or ended > epochs[-1]
        kept = kept if name.partition("/")[0] == self.best_by else None
        if isinstance(kept, int) and 0 <= kept <= epochs[-1] and (row[kept] == top if kept in row else is_latest):
            return kept, row.get(kept, float(value) if isinstance(value, int | float) else top)
        losses = dict(zip(*self.series(f"{name.partition('/')[0]}/loss"), strict=True))
        index = best_epoch(values.tolist(), [losses.get(epoch, math.nan) for epoch in epochs])
        return int(epochs[index]), float(values[index])

    @property
    def data(self) -> Mapping[str, object]:
        """The description of the data: class names and the size of each part; empty if unknown."""
        data = self.summary.get("data")
        return data if isinstance(data, dict) else self.found

    @property
    def epochs(self) -> int:
        """The number of recorded epochs."""
        rows = self.metrics.get("epoch", np.empty(0))
        recorded = self.history.epochs[-1] + 1 if self.history and self.history.epochs else 0
        return max(int(rows[-1]) + 1 if len(rows) else 0, recorded)


def read_run(path: UserPath) -> RunRecord:
    """Read a run directory.

    Args:
        path: The run directory.

    Returns:
        Its content. Files that are missing or damaged are named in ``notes``. Files that have changed since the run
        ended are named in ``changed`` and in a warning.

    Raises:
        NotARunError: If the path is no directory, or none of the files of a run is in it.
        ValueError: As :func:`~jumpstart.files.user_path`.
    """
    path = user_path(path, "run")
    if not path.is_dir():
        raise NotARunError(
            f"{path} is not a run directory: {'it is a file' if path.exists() else 'it does not exist'}."
        )
    if not any((path / name).is_file() for name in FILES):
        raise NotARunError(f"{path} is not a run directory: it has none of {', '.join(FILES)}.")
    notes: list[str] = []

    def read(name: str, parse: Callable[[Path], T], empty: T) -> T:
        if not (path / name).is_file():
            notes.append(f"{name} is missing ({FILES[name]}).")
            return empty
        try:
            return parse(path / name)
        except (OSError, ValueError, ArithmeticError, RecursionError) as error:
            notes.append(f"{name} can't be read: {' '.join(str(error).split())}")
            return empty

    no_summary: dict[str, object] = {}
    no_metrics: dict[str, Floats] = {}
    summary = read("summary.json", _read_json, no_summary)
    metrics = read("metrics.csv", partial(_read_metrics, notes=notes), no_metrics)
    notes.extend(_missing_rows(summary, metrics))
    others = {part: history_name(part) for part in (Part.TRAIN, Part.TEST)}
    recorded = {part: read(name, _read_history, None) for part, name in others.items() if (path / name).is_file()}
    return RunRecord(
        path=path,
        config=read("config.yaml", _read_yaml, {}),
        environment=read("environment.json", _read_json, {}),
        description=read(DESCRIPTION, lambda file: RunDescription.parse(_read_json(file)), RunDescription()),
        summary=summary,
        found=read(FOUND, _read_json, {}) if (path / FOUND).is_file() else {},
        metrics=metrics,
        history=read("status.npz", _read_history, None),
        other_histories={part: history for part, history in recorded.items() if history is not None},
        failure=_read_failure(path / FAILURE),
        notes=tuple(notes),
        changed=tuple(file.name for file in warn_of_changes(path)),
    )


def _mapping(content: object) -> dict[str, object]:
    if not isinstance(content, dict):
        raise ValueError("it holds no names with values.")
    return {str(key): value for key, value in content.items()}


def _read_yaml(path: Path) -> dict[str, object]:
    return _mapping(load_yaml(path.read_text(encoding="utf-8")))


def _read_json(path: Path) -> dict[str, object]:
    return _mapping(json.loads(path.read_text(encoding="utf-8")))


def _read_history(path: Path) -> StatusHistory | None:
    history = StatusHistory.load(path)
    if not history.epochs:
        raise ValueError("it holds no epoch yet.")
    return history


def _read_failure(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip() or None
    except (OSError, ValueError):
        return None


def _read_metrics(path: Path, notes: list[str]) -> dict[str, Floats]:
    """The columns without damaged rows, such as a last one that a crash left incomplete."""
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        header, *rows = list(csv.reader(file)) or [[]]
    if "epoch" not in header:
        raise ValueError("it has no column named epoch.")
    column = header.index("epoch")
    kept: list[list[float]] = []
    for row in rows:
        values = _numbers(row)
        complete = len(values) == len(header) and math.isfinite(values[column])
        if complete and (not kept or values[column] > kept[-1][column]):
            kept.append(values)
    if len(kept) < len(rows):
        notes.append(f"metrics.csv has {counted(len(rows) - len(kept), 'damaged row')}, left out here.")
    table = np.array(kept, dtype=np.float64).reshape(len(kept), len(header))
    return dict(zip(header, table.T, strict=True))


def _missing_rows(summary: Mapping[str, object], metrics: Mapping[str, Floats]) -> Iterator[str]:
    """A note on rows that a finished run had at its end."""
    row, epochs = summary.get("last"), metrics.get("epoch", np.empty(0))
    last = row.get("epoch") if isinstance(row, dict) else None
    if isinstance(last, int | float) and len(epochs) and epochs[-1] < last:
        yield f"metrics.csv ends at epoch {epochs[-1]:.0f}, but the run ended at epoch {last:.0f}: rows were lost."


def _numbers(row: list[str]) -> list[float]:
    """The cells as numbers, NaN for an empty cell; no numbers at all if a cell is none."""
    try:
        return [float(cell or "nan") for cell in row]
    except ValueError:
        return []
