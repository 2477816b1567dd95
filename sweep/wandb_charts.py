"""Interactive charts of a finished run in Weights & Biases: curves, shares, units by layer, and the report."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from jumpstart.history import StatusHistory
from jumpstart.literal import visible
from jumpstart.report.maps import by_part
from jumpstart.report.page import run_page
from jumpstart.report.record import RunRecord, read_run
from jumpstart.status.codes import Status

if TYPE_CHECKING:
    import wandb
    from wandb.plot.custom_chart import CustomChart

logger = logging.getLogger(__name__)

Series = Mapping[str, tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]

_CURVES = {"loss": "loss", "accuracy": "acc", "jumpstart_loss": "jumpstart_loss"}
"""The metric of each chart of curves."""
_SHARES = ("dead", "linear", "nonlinear")
_MOST_ROWS = 10_000
"""Rows of a table that Weights & Biases draws."""


def log_charts(run: wandb.Run, directory: Path) -> None:
    """Log the charts of a finished run under ``charts/``. If one fails, a warning says so, and the run goes on.

    Args:
        run: The open run of Weights & Biases.
        directory: The run directory.
    """
    try:
        run.log(make_charts(read_run(directory)))
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        logger.warning("Weights & Biases has no interactive charts of this run: %s", reason)


def make_charts(record: RunRecord) -> dict[str, object]:
    """The charts of a run by the names under which they are logged.

    Args:
        record: The content of the run directory.
    """
    import wandb

    charts: dict[str, object] = {}
    for name, metric in _CURVES.items():
        series = {part: record.series(f"{part}/{metric}") for part in ("train", "val")}
        charts[f"charts/{name}"] = _lines(name.replace("_", " "), series)
    for part in ("train", "val"):
        series = {status: record.series(f"{part}/unit_{status}_ratio") for status in _SHARES}
        charts[f"charts/unit_shares_{part}"] = _lines(f"shares of units ({part})", series)
    for title, of_part in by_part(record).items():
        if of_part.history is not None:
            part = title.partition(" ")[0].lower() or "validation"
            charts[f"charts/layers_{part}"] = _layers(of_part.history)
    charts["charts/report"] = wandb.Html(run_page(record), inject=False)
    return {name: chart for name, chart in charts.items() if chart is not None}


def _lines(title: str, series: Series) -> CustomChart | None:
    """A chart with one line per series that has a value; None if none has."""
    import wandb

    series = {name: _thinned(x, y) for name, (x, y) in series.items() if len(x)}
    if not series:
        return None
    return wandb.plot.line_series(
        xs=[x.tolist() for x, _ in series.values()],
        ys=[y.tolist() for _, y in series.values()],
        keys=list(series),
        title=title,
        xname="epoch",
    )


def _thinned(
    x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    most = _MOST_ROWS // len(_SHARES)
    keep = np.unique(np.linspace(0, len(x) - 1, min(most, len(x))).round().astype(np.intp))
    return x[keep], y[keep]


def _layers(history: StatusHistory) -> wandb.Table:
    """A table of the layers: their units by status and their preactivations in the latest epoch."""
    import wandb

    places = np.cumsum(history.units)[:-1]
    arrays = (history.unit_status[-1], history.unit_min[-1], history.unit_max[-1])
    rows: list[Iterable[object]] = []
    for number, (name, status, low, high) in enumerate(
        zip(history.layers, *(np.split(array, places) for array in arrays), strict=True), 1
    ):
        counts = [int((status == code).sum()) for code in Status]
        rows.append([number, visible(name), len(status), *counts, float(low.min()), float(high.max())])
    columns: list[str | int] = ["layer", "name", "units", *_SHARES, "smallest preactivation", "largest preactivation"]
    return wandb.Table(columns=columns, data=rows[:_MOST_ROWS])
