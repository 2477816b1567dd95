"""The data for the script of a report page: the status of units and points, compressed and in base64."""

from __future__ import annotations

import base64
import math
import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from jumpstart.history import StatusHistory
from jumpstart.palette import COLORS, LABELS
from jumpstart.plots.arrays import point_order
from jumpstart.report.record import RunRecord
from jumpstart.status.codes import Status

MOST_EPOCHS = 400
"""The most epochs that a page holds."""
MOST_POINTS = 600
"""The most points that a page holds, except that every class has at least one."""
_MOST_CODES = 40_000_000
"""The most codes of units or of points that a page holds, whatever the size of the network."""

_METRICS = ("train/loss", "val/loss", "train/acc", "val/acc", "train/jumpstart_loss", "val/jumpstart_loss")


def page_data(runs: Sequence[RunRecord]) -> dict[str, object]:
    """What the script of a report page reads.

    Args:
        runs: The runs of the page; a run without a history becomes None.
    """
    return {
        "status": [{"name": LABELS[code], "color": COLORS[code]} for code in Status],
        "runs": [_run(run) for run in runs],
        "single": len({run.path for run in runs}) == 1,
    }


def thin_epochs(history: StatusHistory) -> npt.NDArray[np.intp]:
    """The indices of the recorded epochs that the page holds: all, or evenly chosen ones that include the last.

    Args:
        history: A history of at least one epoch.
    """
    size = max(sum(history.units), min(MOST_POINTS, history.point_status.shape[1]) * len(history.layers), 1)
    most = max(2, min(MOST_EPOCHS, _MOST_CODES // size))
    return np.unique(np.linspace(0, len(history) - 1, min(most, len(history))).round().astype(np.intp))


def points_shown(history: StatusHistory) -> tuple[npt.NDArray[np.intp], list[tuple[str, int]]]:
    """The points that the page holds, sorted by class and by the first layer in which each is dead.

    Args:
        history: A history of at least one epoch. The last epoch decides about the order.

    Returns:
        The indices of the points; and the name and the number of points of each class, empty if the classes are not
        recorded.
    """
    last, labels = history.point_status[-1], history.labels
    if not len(last):
        return np.empty(0, dtype=np.intp), []
    order = point_order(last, labels)
    keep = np.unique(np.linspace(0, len(order) - 1, min(MOST_POINTS, len(order))).round().astype(np.intp))
    if labels is None:
        return order[keep], []
    # The smallest class has at least one row.
    kept = np.union1d(keep, np.unique(labels[order], return_index=True)[1])
    classes, rows = np.unique(labels[order[kept]], return_counts=True)
    return order[kept], [(str(name), int(count)) for name, count in zip(classes, rows, strict=True)]


def _run(run: RunRecord) -> dict[str, object] | None:
    history = run.history
    if history is None:
        return None
    epochs = thin_epochs(history)
    points, classes = points_shown(history)
    class_names = run.data.get("class_names")
    if isinstance(class_names, list):
        names = {str(index): str(name) for index, name in enumerate(class_names)}
        classes = [(names.get(label, label), rows) for label, rows in classes]
    numbers = [history.epochs[index] for index in epochs]
    return {
        "name": run.name,
        "epochs": numbers,
        "layers": list(history.layers),
        "units": list(history.units),
        # Epochs last: the codes of one unit are then long stretches of equal values, which compress well.
        "unitCodes": _pack(history.unit_status[epochs].T),
        "points": len(points),
        "pointCodes": _pack(np.moveaxis(history.point_status[epochs][:, points], 0, -1)),
        "classes": classes,
        "metrics": {name: _values_at(run, name, numbers) for name in _METRICS if name in run.metrics},
    }


def _pack(codes: npt.NDArray[np.int8]) -> str:
    # Level 9 takes twenty times as long for such stretches and saves almost nothing.
    packed = zlib.compress(np.ascontiguousarray(codes, dtype=np.uint8).tobytes(), 6)
    return base64.b64encode(packed).decode("ascii")


def _values_at(run: RunRecord, name: str, epochs: list[int]) -> list[float | None]:
    """The value of a metric in each epoch, or its latest value before that epoch."""
    x, y = run.series(name)
    indices = np.searchsorted(x, np.array(epochs), side="right") - 1
    return [_rounded(float(y[index])) if index >= 0 else None for index in indices]


def _rounded(value: float) -> float:
    """Five digits of a number; all of them, if rounding would make the number infinite."""
    rounded = float(f"{value:.5g}")
    return rounded if math.isfinite(rounded) else value
