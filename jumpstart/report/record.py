"""What a run directory holds, for the report. Any file may be missing or damaged: failed runs are looked at too."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from jumpstart.history import StatusHistory

T = TypeVar("T")

FILES = {
    "config.yaml": "the options",
    "environment.json": "where it ran",
    "metrics.csv": "the figures of every epoch",
    "summary.json": "the result: written when a run ends well",
    "status.npz": "the status of units and points: written with plot_status=True",
}
FAILURE = "failure.txt"
"""Why a run ended early; the run script leaves it."""


class NotARunError(ValueError):
    """A path that holds no run. The message is one line."""


@dataclass(frozen=True)
class RunRecord:
    """One run, as far as it is on record.

    Attributes:
        path: Its directory.
        config: Every option, or nothing.
        environment: Versions, commit, command and devices, or nothing.
        summary: The result, or nothing.
        metrics: Column name -> one value an epoch, NaN where there is none; ``epoch`` is among them.
        history: The status of units and points, or None.
        failure: Why the run ended early, or None.
        notes: What is missing or damaged, in words.
    """

    path: Path
    config: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    summary: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, npt.NDArray[np.float64]] = field(default_factory=dict)
    history: StatusHistory | None = None
    failure: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name of the directory."""
        return self.path.resolve().name

    def series(self, name: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """The epochs in which a metric is finite, and its values there."""
        if name not in self.metrics:
            return np.empty(0), np.empty(0)
        values = self.metrics[name]
        keep = np.isfinite(values)
        return self.metrics["epoch"][keep], values[keep]

    def last(self, name: str) -> float | None:
        """The latest finite value of a metric."""
        values = self.series(name)[1]
        return float(values[-1]) if len(values) else None

    def stage(self, name: str) -> str:
        """The metric over the validation part, or over the training part where there is no other."""
        return next((full for part in ("val", "train") if len(self.series(full := f"{part}/{name}")[1])), f"val/{name}")

    def best(self, name: str) -> int | None:
        """Where in its series an accuracy is highest; None where there is none.

        Of equal ones it is that of the summary, else that with the lowest loss of the same part.

        Args:
            name: Such as ``val/acc``.
        """
        epochs, values = self.series(name)
        if not len(values):
            return None
        equal = np.flatnonzero(values == values.max())
        named = equal[epochs[equal] == self._number("best_epoch")]
        if len(named):
            return int(named[0])
        losses = dict(zip(*self.series(f"{name.partition('/')[0]}/loss"), strict=True))
        return int(min(equal, key=lambda at: losses.get(epochs[at], math.inf)))

    def _number(self, name: str) -> float:
        """A number of the summary; NaN where there is none."""
        value = self.summary.get(name)
        return float(value) if isinstance(value, int | float) else math.nan

    @property
    def has_skips(self) -> bool:
        """Whether skip connections carry gradient past layers, by whichever option the network has for them."""
        return any(bool(self.config.get(name)) for name in ("skip_connections", "use_skip_connections"))

    @property
    def network(self) -> str:
        """The network in words, such as ``50 layers of 4 units``, or nothing."""
        config = self.config
        if "depth" not in config:
            return ""
        if "width" in config:
            return f"{config['depth']} layers of {config['width']} units"
        if "width_multiplier" not in config:
            return ""
        kind = "dense ResNet" if config.get("layer") == "dense" else "ResNet"
        words = [f"{kind}-{config['depth']}", f"width x{config['width_multiplier']}"]
        for name, crutch in (("use_skip_connections", "skip connections"), ("use_batchnorm", "batch normalization")):
            if name in config:
                words.append(f"{'with' if config[name] else 'without'} {crutch}")
        return ", ".join(words)

    @property
    def epochs(self) -> int:
        """How many epochs are on record."""
        rows = self.metrics.get("epoch", np.empty(0))
        drawn = self.history.epochs[-1] + 1 if self.history and self.history.epochs else 0
        return max(int(rows[-1]) + 1 if len(rows) else 0, drawn)


def read_run(path: str | Path) -> RunRecord:
    """Read a run directory.

    Args:
        path: The directory.

    Raises:
        NotARunError: If it is no directory, or none of the files of a run is in it.
    """
    path = Path(path)
    if not path.is_dir():
        raise NotARunError(
            f"{path} is not a run directory: {'it is a file' if path.exists() else 'it does not exist'}."
        )
    if not any((path / name).is_file() for name in FILES):
        raise NotARunError(f"{path} is not a run directory: it has none of {', '.join(FILES)}.")
    notes: list[str] = []

    def read(name: str, how: Callable[[Path], T], empty: T) -> T:
        if not (path / name).is_file():
            notes.append(f"{name} is missing ({FILES[name]}).")
            return empty
        try:
            return how(path / name)
        except (OSError, ValueError, ArithmeticError) as error:
            notes.append(f"{name} can't be read: {' '.join(str(error).split())}")
            return empty

    return RunRecord(
        path=path,
        config=read("config.yaml", _yaml, {}),
        environment=read("environment.json", _json, {}),
        summary=read("summary.json", _json, {}),
        metrics=read("metrics.csv", lambda file: _table(file, notes), {}),
        history=read("status.npz", _history, None),
        failure=_failure(path / FAILURE),
        notes=tuple(notes),
    )


def _mapping(content: Any) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise ValueError("it holds no names with values.")
    return {str(key): value for key, value in content.items()}


def _yaml(path: Path) -> dict[str, Any]:
    import yaml

    try:
        return _mapping(yaml.safe_load(path.read_text(encoding="utf-8")))
    except yaml.YAMLError as error:
        raise ValueError(error) from None


def _json(path: Path) -> dict[str, Any]:
    return _mapping(json.loads(path.read_text(encoding="utf-8")))


def _history(path: Path) -> StatusHistory | None:
    history = StatusHistory.load(path)
    if not history.epochs:
        raise ValueError("no epoch has been drawn yet.")
    return history


def _failure(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip() or None
    except (OSError, ValueError):
        return None


def _table(path: Path, notes: list[str]) -> dict[str, npt.NDArray[np.float64]]:
    """The columns; rows that are damaged, such as a last one that was half-written, are left out."""
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        header, *rows = list(csv.reader(file)) or [[]]
    if "epoch" not in header:
        raise ValueError("it has no column named epoch.")
    at = header.index("epoch")
    kept: list[list[float]] = []
    for row in rows:
        try:
            values = [float(cell or "nan") for cell in row]
        except ValueError:
            continue
        whole = len(values) == len(header) and math.isfinite(values[at])
        if whole and (not kept or values[at] > kept[-1][at]):
            kept.append(values)
    if len(kept) < len(rows):
        left = len(rows) - len(kept)
        notes.append(f"metrics.csv has {left} damaged row{'s' * (left > 1)}, left out here.")
    table = np.array(kept, dtype=np.float64).reshape(len(kept), len(header))
    return dict(zip(header, table.T, strict=True))
