"""Plots at the end of a run, from its metrics and its status histories."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jumpstart.choices import Margins, Part
from jumpstart.history import StatusHistory, history_name
from jumpstart.plots.canvas import save_figure
from jumpstart.plotting import plot_curves, plot_ranges, plot_status_shares, plot_unit_life
from model.config.experiment import ExperimentConfig
from sweep.metrics_csv import MetricsCsv
from sweep.run_directory import RunDirectory

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

_CURVES = (("loss", "loss", True), ("accuracy", "acc", False), ("jumpstart_loss", "jumpstart_loss", True))
"""Name of the file, metric, and whether its axis is logarithmic."""


def draw_final_plots(config: ExperimentConfig, directory: RunDirectory, metrics: MetricsCsv) -> None:
    """Draw every plot of a finished run. A plot that fails is named in a warning; the run goes on.

    Args:
        config: Names the parts of the data that are plotted.
        directory: Holds the status histories, and receives the plots.
        metrics: The metrics of the run.
    """
    draw_curves(metrics, directory.plots, config.parts_plotted)
    for part in config.parts_plotted:
        path = directory.path / history_name(part)
        with _said(f"the plots of {path.name}"):
            if path.is_file():
                draw_units(StatusHistory.load(path), config.margins, directory.plots, part)


def draw_curves(metrics: MetricsCsv, folder: Path, parts: tuple[Part | None, ...] = (None,)) -> None:
    """Plot losses, accuracies and shares of unit status over the epochs.

    Args:
        metrics: The metrics of a run. With fewer than two rows, nothing is plotted.
        folder: Receives ``loss.png``, ``accuracy.png``, ``jumpstart_loss.png`` and ``unit_shares.png``.
        parts: The parts of the data whose shares are plotted; None for the validation part, in a file without its name.
    """
    table = metrics.read()
    if len(table) < 2:
        return
    for name, metric, logy in _CURVES:
        with _said(f"{name}.png"):
            _draw_metric(table, name, metric, folder, logy=logy)
    for part in parts:
        with _said(f"unit_shares{_suffix(part)}.png"):
            _draw_shares(table, part, folder)


def draw_units(history: StatusHistory, margins: Margins, folder: Path, part: Part | None = None) -> None:
    """Plot the status of every unit over the plotted epochs, and the range of its preactivations in the latest one.

    Args:
        history: The status history of a run, of at least one epoch.
        margins: The margins of the Jumpstart loss, positive and negative, marked in the plot of ranges.
        folder: Receives ``unit_life.png``, if there are two epochs, and ``unit_ranges.png``.
        part: The part of the data, for titles and the names of files; None for names without a part.
    """
    if len(history) > 1:
        figure = plot_unit_life(history.unit_status, history.epochs, history.units, history.layers)
        save_figure(figure, folder / f"unit_life{_suffix(part)}.png")
    places = np.cumsum(history.units)[:-1]
    figure = plot_ranges(
        np.split(history.unit_max[-1], places),
        np.split(history.unit_min[-1], places),
        history.layers,
        margins[0],
        f"Preactivations{f' ({part})' if part else ''}, epoch {history.epochs[-1]}",
        negative_margin=margins[1],
    )
    save_figure(figure, folder / f"unit_ranges{_suffix(part)}.png")


def _draw_metric(table: pd.DataFrame, name: str, metric: str, folder: Path, *, logy: bool) -> None:
    columns = {stage: f"{stage}/{metric}" for stage in ("train", "val")}
    curves = {stage: table[column].to_numpy(float) for stage, column in columns.items() if column in table.columns}
    curves = {stage: values for stage, values in curves.items() if np.isfinite(values).any()}
    if curves:
        # A loss that is 0 in every epoch has no place on a logarithmic axis.
        logy = logy and all((values > 0).any() for values in curves.values())
        figure = plot_curves(table["epoch"].to_numpy(), curves, logy=logy, title=name.replace("_", " "))
        save_figure(figure, folder / f"{name}.png")


def _draw_shares(table: pd.DataFrame, part: Part | None, folder: Path) -> None:
    stage = part or (Part.VAL if "val/unit_dead_ratio" in table.columns else Part.TRAIN)
    columns = [f"{stage}/unit_{status}_ratio" for status in ("dead", "linear", "nonlinear")]
    if stage == Part.TEST:  # measured once, after training
        return
    measured = table.dropna(subset=columns)
    if len(measured):
        dead, linear, nonlinear = (measured[column].to_numpy() for column in columns)
        title = f"Units over training ({stage})"
        figure = plot_status_shares(measured["epoch"].to_numpy(), dead, linear, nonlinear, title)
        save_figure(figure, folder / f"unit_shares{_suffix(part)}.png")


def _suffix(part: Part | None) -> str:
    return f"-{part}" if part else ""


@contextmanager
def _said(what: str) -> Iterator[None]:
    """Turn an error into a warning that names what was not drawn: the results of the run are complete without it."""
    try:
        yield
    except Exception as error:
        logger.warning("%s can't be drawn: %s", what, " ".join(f"{type(error).__name__}: {error}".split()))
