"""The status of a run as a script of the page unpacks it: compressed, in base64, between the lines of a JSON text."""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

from jumpstart.history import StatusHistory
from jumpstart.palette import COLORS, LABELS
from jumpstart.plots.arrays import point_order
from jumpstart.report.record import RunRecord
from jumpstart.status.codes import Status

MOST_EPOCHS = 400
MOST_POINTS = 600
_MOST_CODES = 40_000_000

_FIGURES = ("train/loss", "val/loss", "train/acc", "val/acc", "train/jumpstart_loss", "val/jumpstart_loss")


def page_data(runs: list[RunRecord]) -> str:
    """JSON that is safe inside a ``<script>`` element.

    Args:
        runs: Those of the page; one without a history gives null.
    """
    content = {
        "status": [{"name": LABELS[code], "color": COLORS[code]} for code in Status],
        "runs": [_run(run) for run in runs],
    }
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    # No closing tag, comment or line end that HTML or JavaScript would see inside.
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def thin_epochs(history: StatusHistory) -> npt.NDArray[np.intp]:
    """Which of the drawn epochs enter the page: all, or as many, evenly chosen, as a page can hold; the last always.

    Args:
        history: Of at least one epoch.
    """
    size = max(sum(history.units), min(MOST_POINTS, history.point_status.shape[1]) * len(history.layers), 1)
    most = max(2, min(MOST_EPOCHS, _MOST_CODES // size))
    return np.unique(np.linspace(0, len(history) - 1, min(most, len(history))).round().astype(np.intp))


def points_shown(history: StatusHistory) -> tuple[npt.NDArray[np.intp], list[tuple[str, int]]]:
    """Which points enter the page, in the order in which structure shows, and the rows of each class.

    Args:
        history: Of at least one epoch; the last one decides about the order.

    Returns:
        Numbers of points, and (class, rows) pairs, the latter none where the classes are not on record.
    """
    last, labels = history.point_status[-1], history.labels
    if not len(last):
        return np.empty(0, dtype=np.intp), []
    order = point_order(last, labels)
    keep = np.unique(np.linspace(0, len(order) - 1, min(MOST_POINTS, len(order))).round().astype(np.intp))
    if labels is None:
        return order[keep], []
    # A class keeps a row however small it is.
    kept = np.union1d(keep, np.unique(labels[order], return_index=True)[1])
    classes, rows = np.unique(labels[order[kept]], return_counts=True)
    return order[kept], [(str(name), int(count)) for name, count in zip(classes, rows, strict=True)]


def _run(run: RunRecord) -> dict[str, Any] | None:
    history = run.history
    if history is None:
        return None
    epochs = thin_epochs(history)
    points, classes = points_shown(history)
    names = run.summary.get("data", {}) if isinstance(run.summary.get("data"), dict) else {}
    named = names.get("class_names")
    if isinstance(named, list):
        known = {str(index): str(name) for index, name in enumerate(named)}
        classes = [(known.get(label, label), rows) for label, rows in classes]
    drawn = [history.epochs[index] for index in epochs]
    return {
        "name": run.name,
        "epochs": drawn,
        "layers": list(history.layers),
        "units": list(history.units),
        # Epochs last: a unit's life is one stretch of equal codes, which packs well.
        "unitCodes": _pack(history.unit_status[epochs].T),
        "points": len(points),
        "allPoints": history.point_status.shape[1],
        "pointCodes": _pack(np.moveaxis(history.point_status[epochs][:, points], 0, -1)),
        "classes": classes,
        "figures": {name: _at(run, name, drawn) for name in _FIGURES if name in run.metrics},
    }


def _pack(codes: npt.NDArray[np.int8]) -> str:
    # The highest level takes twenty times as long over such stretches, and saves next to nothing.
    packed = zlib.compress(np.ascontiguousarray(codes, dtype=np.uint8).tobytes(), 6)
    return base64.b64encode(packed).decode("ascii")


def _at(run: RunRecord, name: str, epochs: list[int]) -> list[float | None]:
    """A metric in those epochs, or in the latest one on record before each."""
    x, y = run.series(name)
    found = np.searchsorted(x, np.array(epochs), side="right") - 1
    return [float(f"{y[index]:.5g}") if index >= 0 else None for index in found]
